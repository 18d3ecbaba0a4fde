"""Has the sampler converged? Asked of functions first, and of weights second."""

from __future__ import annotations

from typing import Any

import arviz_stats as azs
import numpy as np
import xarray as xr

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
        draw is the same, where the statistics are undefined (NaN) and left out of the extremes.

    Raises
    ------
    ValueError
        If a dim is missing, a value is not finite, or there are fewer than 4 draws.
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
    moving = predictions.std(["chain", "draw"]) > 0
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 where every draw is the same
        result = xr.Dataset(
            {
                "rhat": azs.rhat(dataset)[name].where(moving),
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

    ``p`` and ``q``: probabilities of class 1, (n,), or of each class, (n, K).
    """
    first, second = _pair(p, q)
    return float((first.argmax(axis=1) == second.argmax(axis=1)).mean())


def total_variation(p: Any, q: Any) -> float:
    """Mean over inputs of half the L1 distance between two predictives (Izmailov et al. 2021, 5.1).

    0 for equal predictives, 1 for certain and opposite ones.
    """
    first, second = _pair(p, q)
    return float(0.5 * np.abs(first - second).sum(axis=1).mean())


def canonicalise(posterior: xr.Dataset) -> xr.Dataset:
    """Map every draw of a tanh network to one member of its symmetry class.

    With an odd activation, flipping the signs of a hidden unit's inputs and outputs, or reordering
    the units of a layer, leaves the function as it was (Hecht-Nielsen 1990). Each unit is flipped
    so that the first of its incoming weights is positive, and the units are sorted by that weight.

    Parameters
    ----------
    posterior : Dataset with ``w1``, ``w2``, ..., ``w_out``; optional ``b1``, ... and ``w_scale``
        Dims (chain, draw, ...), weights as (chain, draw, in, out).

    Returns
    -------
    Dataset
        The same variables; the network computes the same function.
    """
    if "w1" not in posterior or "w_out" not in posterior:
        raise ValueError(f"posterior must have w1, ..., w_out, got {sorted(map(str, posterior))}")
    arrays = {name: posterior[name].to_numpy().copy() for name in posterior.data_vars}
    layer = 1
    while f"w{layer}" in arrays:
        below = arrays[f"w{layer}"]
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
            flat = above.ndim == 3  # a head with one output has no output axis
            above = above[..., None] if flat else above
            above = np.take_along_axis(above * sign[..., :, None], order[..., :, None], axis=-2)
            arrays[name] = above[..., 0] if flat else above
        if f"b{layer}" in arrays:
            arrays[f"b{layer}"] = np.take_along_axis(arrays[f"b{layer}"] * sign, order, axis=-1)
        layer += 1
    return posterior.copy(data=arrays)


def _pair(p: Any, q: Any) -> tuple[np.ndarray, np.ndarray]:
    arrays = []
    for name, value in {"p": p, "q": q}.items():
        array = np.asarray(value, dtype=float)
        if array.ndim not in (1, 2) or array.size == 0:
            raise ValueError(f"{name} must have shape (n,) or (n, K), got {array.shape}")
        if not ((array >= 0) & (array <= 1)).all():
            raise ValueError(f"{name} must lie in [0, 1], got a value outside or NaN")
        arrays.append(np.stack([1 - array, array], axis=1) if array.ndim == 1 else array)
    if arrays[0].shape != arrays[1].shape:
        raise ValueError(
            f"p and q must have the same shape, got {arrays[0].shape} and {arrays[1].shape}"
        )
    return arrays[0], arrays[1]
