"""Predictive uncertainty, split into what is noisy and what is unknown."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.special import entr

from bnnbook.metrics.inputs import SAMPLE_DIMS, check_rows_sum_to_one, real_numbers

__all__ = [
    "Decomposition",
    "count_decomposition",
    "entropy_decomposition",
    "variance_decomposition",
]


class Decomposition(NamedTuple):
    """``total`` = ``aleatoric`` + ``epistemic``, per input."""

    aleatoric: Any
    epistemic: Any
    total: Any


def entropy_decomposition(probs: Any, *, class_axis: int | None = None) -> Decomposition:
    """Split predictive entropy into expected entropy and mutual information, in nats.

    H[E p] = E H[p] + I(y; theta) (Depeweg et al. 2018, eq. 2; Houlsby et al. 2011, eq. 1).

    Parameters
    ----------
    probs : DataArray with dims (chain, draw, obs[, class]), or array (draws, obs[, class])
        Probabilities for each posterior draw. A DataArray with a ``class`` dim holds one
        probability per class; without one it holds the probability of class 1 of two. For an array
        this is said by ``class_axis``.
    class_axis : int, optional
        Axis of the classes in an array; None means two classes and their p(class 1).

    Returns
    -------
    Decomposition
        Each (obs,), labelled if ``probs`` was.

    Raises
    ------
    ValueError
        If a probability is not in [0, 1], or classes do not sum to 1.

    Examples
    --------
    >>> parts = entropy_decomposition([[0.0], [1.0]])  # two draws, each certain, that disagree
    >>> [round(float(part[0]), 3) for part in parts]  # aleatoric, epistemic, total
    [0.0, 0.693, 0.693]
    """
    given = np.result_type(getattr(probs, "dtype", np.float64))
    dtype = given if given.kind == "f" else np.dtype(np.float64)
    if isinstance(probs, xr.DataArray):
        dims, probs = _draw_dims(probs), probs.astype(float, copy=False)
        classes = ["class"] if "class" in probs.dims else []
        probs = probs.transpose(*dims, ..., *classes)
        _check_probabilities(probs.to_numpy(), not classes, dtype)

        def entropy(p: xr.DataArray) -> xr.DataArray:
            return xr.apply_ufunc(
                _entropy, p, input_core_dims=[classes], kwargs={"binary": not classes}
            )

        total, aleatoric = entropy(probs.mean(dims)), entropy(probs).mean(dims)
        return Decomposition(aleatoric, (total - aleatoric).clip(min=0.0), total)
    array, binary = real_numbers("probs", probs), class_axis is None
    if class_axis is not None:
        if array.ndim < 2 or not 1 <= class_axis % array.ndim < array.ndim:
            raise ValueError(
                f"class_axis must be an axis after that of the draws, got {class_axis} for "
                f"shape {array.shape}"
            )
        array = np.moveaxis(array, class_axis, -1)
    _check_probabilities(array, binary, dtype)
    expected, whole = _entropy(array, binary).mean(axis=0), _entropy(array.mean(axis=0), binary)
    return Decomposition(expected, np.clip(whole - expected, 0.0, None), whole)


def variance_decomposition(mu: Any, sigma: Any) -> Decomposition:
    """Law of total variance: Var[y] = E[sigma^2] + Var[mu], population variance (ddof 0).

    Parameters
    ----------
    mu, sigma : DataArray with dims (chain, draw, obs, ...), or array (draws, obs, ...)
        Mean and standard deviation of the likelihood for each posterior draw. DataArrays are
        matched by the names of their dims, whose order may differ.

        Any likelihood will do; for counts see :func:`count_decomposition`.

    Returns
    -------
    Decomposition
        Each (obs, ...), labelled if ``mu`` and ``sigma`` were.

    Raises
    ------
    TypeError
        If only one of the two is a DataArray.
    ValueError
        If shapes or labels differ, a value is not finite or a sigma is negative.

    Examples
    --------
    >>> parts = variance_decomposition([[0.0], [2.0]], [[1.0], [3.0]])
    >>> [float(part[0]) for part in parts]  # aleatoric, epistemic, total
    [5.0, 1.0, 6.0]
    """
    if isinstance(mu, xr.DataArray) != isinstance(sigma, xr.DataArray):
        raise TypeError(
            "mu and sigma must both be DataArrays or both arrays, "
            f"got {type(mu).__name__} and {type(sigma).__name__}"
        )
    mu, sigma = _numbers("mu", mu), _numbers("sigma", sigma)
    if isinstance(mu, xr.DataArray):
        if set(mu.dims) != set(sigma.dims):
            raise ValueError(f"mu and sigma must have the same dims, got {mu.dims}, {sigma.dims}")
        sigma = sigma.transpose(*mu.dims)
    if np.shape(mu) != np.shape(sigma):
        raise ValueError(
            f"mu and sigma must have the same shape, got {np.shape(mu)} and {np.shape(sigma)}"
        )
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise ValueError("mu and sigma must be finite, got NaN or infinity")
    if (np.asarray(sigma) < 0).any():
        raise ValueError(f"sigma must not be negative, got {np.asarray(sigma).min()}")
    if isinstance(mu, xr.DataArray):
        dims = _draw_dims(mu)
        try:
            xr.align(mu, sigma, join="exact", copy=False)
        except ValueError as error:
            raise ValueError(f"mu and sigma must have the same labels: {error}") from error
        noise, spread = (sigma**2).mean(dims), mu.var(dims, ddof=0)
        return Decomposition(noise, spread, noise + spread)
    aleatoric, epistemic = np.mean(np.square(sigma), axis=0), np.var(mu, axis=0)
    return Decomposition(aleatoric, epistemic, aleatoric + epistemic)


def count_decomposition(mu: Any, alpha: Any = None, psi: Any = None) -> Decomposition:
    """:func:`variance_decomposition` of counts, from the parameters of their likelihood.

    A negative binomial has variance mu + mu^2 / alpha, a Poisson mu; with probability 1 - psi the
    count is 0 instead, which makes the mean psi mu and adds psi (1 - psi) mu^2.

    Parameters
    ----------
    mu, alpha, psi : DataArray with dims (chain, draw, obs), or array (draws, obs)
        As of :func:`bnnbook.models.mlp_counts`, and as in PyMC; without ``alpha`` the likelihood
        is a Poisson, without ``psi`` it has no more zeros.

    Raises
    ------
    TypeError
        If only some are DataArrays.
    ValueError
        If shapes or labels differ, a value is not finite, ``mu`` or ``alpha`` not positive or
        ``psi`` not in [0, 1].

    Examples
    --------
    >>> parts = count_decomposition([[1.0], [9.0]])  # two draws of a Poisson
    >>> [float(part[0]) for part in parts]  # aleatoric, epistemic, total
    [5.0, 16.0, 21.0]
    """
    mu, alpha, psi = (_numbers(n, v) for n, v in (("mu", mu), ("alpha", alpha), ("psi", psi)))
    for name, value in (("mu", mu), ("alpha", alpha), ("psi", psi)):
        if value is None:
            continue
        if hasattr(value, "dims") != hasattr(mu, "dims"):
            raise TypeError(f"{name} and mu must both be DataArrays or both arrays")
        if np.shape(value) != np.shape(mu):
            raise ValueError(
                f"{name} must have the shape of mu, {np.shape(mu)}, got {np.shape(value)}"
            )
        if not (np.asarray(value) >= 0).all() or (name != "psi" and (np.asarray(value) == 0).any()):
            raise ValueError(f"{name} must be positive, got {np.min(value)}")
    if psi is not None and (np.asarray(psi) > 1).any():
        raise ValueError(f"psi must lie in [0, 1], got {np.max(psi)}")
    variance = mu if alpha is None else mu + mu**2 / alpha
    if psi is None:
        return variance_decomposition(mu, np.sqrt(variance))
    variance = psi * variance + psi * (1 - psi) * mu**2
    return variance_decomposition(psi * mu, np.sqrt(variance))


def _numbers(name: str, value: Any) -> Any:
    """In double precision, labelled as before: the square of a small integer wraps."""
    if isinstance(value, xr.DataArray):
        return value.copy(data=real_numbers(name, value))
    return None if value is None else real_numbers(name, value)


def _draw_dims(array: xr.DataArray) -> list[str]:
    dims: list[str] = [d for d in SAMPLE_DIMS if d in array.dims]
    if not dims:
        raise ValueError(f"expected dims chain and draw (or sample), got {array.dims}")
    return dims


def _entropy(p: np.ndarray, binary: bool) -> np.ndarray:
    """Of p(class 1) of two classes, or of the classes on the last axis."""
    return entr(p) + entr(1 - p) if binary else entr(p).sum(axis=-1)


def _check_probabilities(array: np.ndarray, binary: bool, dtype: Any) -> None:
    if array.size == 0:
        raise ValueError("probs must not be empty")
    if not ((array >= 0) & (array <= 1)).all():  # also catches NaN
        raise ValueError("probs must lie in [0, 1], got a value outside or NaN")
    if not binary:
        check_rows_sum_to_one("probs", array, dtype)
