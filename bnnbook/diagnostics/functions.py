"""Has the sampler converged? Asked of functions first, and of weights second."""

from __future__ import annotations

import re
from typing import Any

import arviz_stats as azs
import numpy as np
import xarray as xr

from bnnbook.metrics.inputs import SAMPLE_DIMS, class_probabilities

__all__ = ["agreement", "canonicalise", "function_space", "total_variation"]


def function_space(predictions: xr.DataArray) -> xr.Dataset:
    """R-hat and effective sample size of the *predictions* at fixed inputs.

    Weights of a network are not identified: permuting or flipping hidden units changes them and
    leaves the function alone. Predictions are identified, so mixing is judged on them. Statistics
    are rank-normalised (Vehtari et al. 2021, eqs. 4 and 10).

    Parameters
    ----------
    predictions : DataArray with dims (chain, draw, ...)
        Such as logits or probabilities; logits are better where probabilities saturate.

    Returns
    -------
    Dataset
        ``rhat``, ``ess_bulk`` and ``ess_tail`` per input; attributes ``max_rhat``,
        ``min_ess_bulk``, ``min_ess_tail`` and ``n_constant``, the number of inputs at which every
        draw is the same to the last bit, where the statistics are undefined (NaN) and left out of
        the extremes. Where each chain stands still at a value of its own, R-hat is infinite and the
        effective sample size about one a chain.

    Raises
    ------
    TypeError
        If ``predictions`` is no DataArray.
    ValueError
        If a dim is missing, a value is not finite, or there are fewer than 4 draws.

    Examples
    --------
    >>> import numpy as np
    >>> draws = np.random.default_rng(0).normal(size=(4, 500, 3))
    >>> found = function_space(xr.DataArray(draws, dims=("chain", "draw", "obs")))
    >>> found.attrs["max_rhat"] < 1.02, found["rhat"].shape
    (True, (3,))
    """
    if not isinstance(predictions, xr.DataArray):
        raise TypeError(f"predictions must be a DataArray, got {type(predictions).__name__}")
    if not {"chain", "draw"} <= set(predictions.dims):
        raise ValueError(f"predictions must have dims chain and draw, got {predictions.dims}")
    if predictions.sizes["draw"] < 4:
        raise ValueError(f"predictions need at least 4 draws, got {predictions.sizes['draw']}")
    if not np.isfinite(predictions).all():
        raise ValueError("predictions must be finite, got NaN or infinity")
    name = predictions.name or "prediction"
    dataset = predictions.rename(name).to_dataset()
    over = ["chain", "draw"]
    moving = predictions.max(over) > predictions.min(over)
    still = (predictions.max("draw") == predictions.min("draw")).all("chain")  # each at its own
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 where every draw is the same
        result = xr.Dataset(
            {
                "rhat": azs.rhat(dataset)[name].where(~still, np.inf).where(moving),
                "ess_bulk": azs.ess(dataset, method="bulk")[name].where(moving),
                "ess_tail": azs.ess(dataset, method="tail")[name].where(moving),
            }
        )
    result.attrs = {
        "max_rhat": float(result["rhat"].max()) if predictions.sizes["chain"] > 1 else np.nan,
        "min_ess_bulk": float(result["ess_bulk"].min()),
        "min_ess_tail": float(result["ess_tail"].min()),
        "n_constant": int((~moving).sum()),
    }
    return result


def agreement(p: Any, q: Any) -> float:
    """Share of inputs on which two predictives name the same class (Izmailov et al. 2021, 5.1).

    Parameters
    ----------
    p, q : array (n,) or (n, K), or DataArray with dims (chain, draw, obs[, class])
        Probabilities of class 1, or of each class; draws are averaged first.

    Raises
    ------
    ValueError
        If the shapes or labels differ, or a row of class probabilities does not sum to 1.

    Examples
    --------
    >>> agreement([0.9, 0.4, 0.6], [0.8, 0.6, 0.6])
    0.6666666666666666
    """
    first, second = _pair(p, q)
    return float((first.argmax(axis=1) == second.argmax(axis=1)).mean())


def total_variation(p: Any, q: Any) -> float:
    """Mean over inputs of half the L1 distance between two predictives (Izmailov et al. 2021, 5.1).

    0 for equal predictives, 1 for certain and opposite ones. Arguments and errors are those of
    :func:`agreement`.

    Examples
    --------
    >>> total_variation([0.0, 0.5], [1.0, 0.5])
    0.5
    """
    first, second = _pair(p, q)
    return float(0.5 * np.abs(first - second).sum(axis=1).mean())


def canonicalise(posterior: xr.Dataset | xr.DataTree) -> xr.Dataset:
    """Map every draw of a tanh network to one member of its symmetry class.

    With an odd activation, flipping the signs of a hidden unit's inputs and outputs, or reordering
    the units of a layer, leaves the function as it was (Hecht-Nielsen 1990). Each unit is flipped
    so that the first of its incoming weights is positive, and the units are sorted by that weight.

    Parameters
    ----------
    posterior : Dataset, or a fit's ``fit["posterior"]``, or the fit
        With ``w1``, ``w2``, ..., ``w_out``; optional ``b1``, ... and ``w_scale``. Weights have
        dims (in, out) besides those of the draws: chain and draw, or sample, or none. Dims called
        ``hidden_1``, ``hidden_2``, ..., as in :mod:`bnnbook.models`, may come in any order.

    Returns
    -------
    Dataset
        The same variables; the network computes the same function.

    Raises
    ------
    TypeError
        If ``posterior`` is neither.
    ValueError
        If a weight is missing or has other dims.

    Examples
    --------
    >>> dims = ("chain", "draw", "feature", "hidden_1")
    >>> w1, w_out = [[[[3.0, -1.0]]]], [[[1.0, 2.0]]]
    >>> draws = xr.Dataset({"w1": (dims, w1), "w_out": (("chain", "draw", "hidden_1"), w_out)})
    >>> found = canonicalise(draws)
    >>> found["w1"].values.ravel().tolist(), found["w_out"].values.ravel().tolist()
    ([1.0, 3.0], [-2.0, 1.0])
    """
    draws = _dataset(posterior)
    if "w1" not in draws or "w_out" not in draws:
        raise ValueError(f"posterior must have w1, ..., w_out, got {sorted(map(str, draws))}")
    samples = [d for d in SAMPLE_DIMS if d in draws.dims]
    ordered = draws.assign({name: _in_before_out(draws[name], samples).variable for name in draws})
    arrays = {name: ordered[name].to_numpy().copy() for name in ordered.data_vars}
    layer = 1
    while f"w{layer}" in arrays:
        below = arrays[f"w{layer}"]
        if below.ndim != len(samples) + 2:
            raise ValueError(
                f"w{layer} must have dims (in, out) besides those of the draws, "
                f"got {ordered[f'w{layer}'].dims}"
            )
        sign = np.where(below[..., 0, :] < 0, -1.0, 1.0)
        order = np.argsort(below[..., 0, :] * sign, axis=-1)
        arrays[f"w{layer}"] = np.take_along_axis(
            below * sign[..., None, :], order[..., None, :], axis=-1
        )
        last = f"w{layer + 1}" not in arrays
        for name in ("w_out", "w_scale") if last else (f"w{layer + 1}",):
            if name not in arrays:
                continue
            above = arrays[name]
            flat = above.ndim == len(samples) + 1  # a head with one output has no output axis
            above = above[..., None] if flat else above
            above = np.take_along_axis(above * sign[..., :, None], order[..., :, None], axis=-2)
            arrays[name] = above[..., 0] if flat else above
        if f"b{layer}" in arrays:
            arrays[f"b{layer}"] = np.take_along_axis(arrays[f"b{layer}"] * sign, order, axis=-1)
        layer += 1
    mapped = ordered.copy(data=arrays)
    in_order = {n: mapped[n].variable.transpose(*draws[n].dims) for n in arrays}
    return mapped.assign(in_order)


def _in_before_out(weights: xr.DataArray, samples: list[str]) -> xr.DataArray:
    """Sample dims first; a layer's inputs before its units, which ``hidden_k`` tells from them."""
    rest = [d for d in weights.dims if d not in samples]
    units = re.fullmatch(r"w(\d+)", str(weights.name))
    if units and f"hidden_{units[1]}" in rest:
        rest.sort(key=lambda d: d == f"hidden_{units[1]}")
    elif weights.name in ("w_out", "w_scale"):
        rest.sort(key=lambda d: not str(d).startswith("hidden_"))
    return weights.transpose(*samples, *rest)


def _dataset(posterior: Any) -> xr.Dataset:
    if isinstance(posterior, xr.DataTree):
        node = posterior["posterior"] if "posterior" in posterior.children else posterior
        return node.to_dataset()
    if not isinstance(posterior, xr.Dataset):
        raise TypeError(
            f"posterior must be a Dataset or a fit's DataTree, got {type(posterior).__name__}"
        )
    return posterior


def _pair(p: Any, q: Any) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(p, xr.DataArray) and isinstance(q, xr.DataArray):
        kept = ([d for d in a.dims if d not in SAMPLE_DIMS] for a in (p, q))
        for dim in set(next(kept)) & set(next(kept)):
            if dim in p.indexes and dim in q.indexes and not p.indexes[dim].equals(q.indexes[dim]):
                raise ValueError(f"p and q must have the same labels along {dim!r}")
    first, second = class_probabilities("p", p).probs, class_probabilities("q", q).probs
    if first.shape != second.shape:
        raise ValueError(f"p and q must have the same shape, got {first.shape} and {second.shape}")
    return first, second
