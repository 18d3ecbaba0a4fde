"""Scores of real-valued predictions: equal mixtures of normals over the posterior draws."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import ndtr

from bnnbook.metrics.inputs import (
    SAMPLE_DIMS,
    parameter_draws,
    real_numbers,
    real_targets,
    same_labels,
)
from bnnbook.metrics.mixtures import log_score

__all__ = ["crps", "gaussian_mixture_nll", "normal_draws", "normal_input", "pit", "rmse"]


def rmse(y: Any, mu: Any) -> float:
    """Root mean squared error of the predictive mean, in the units of ``y``.

    Parameters
    ----------
    y : array (n,) or (n, D)
    mu : DataArray with dims (chain, draw, obs[, output]), or array (draws, n[, D]) or as ``y``
        Draws are averaged first; an array of the shape of ``y`` holds the means themselves.

    Examples
    --------
    >>> rmse([1.0, 2.0], [[0.0, 2.0], [2.0, 6.0]]) == 2**0.5
    True
    """
    if isinstance(mu, xr.DataArray):
        labelled = any(d in mu.dims for d in SAMPLE_DIMS)
        draws = parameter_draws("mu", mu if labelled else mu.expand_dims("sample"))
    else:
        array = real_numbers("mu", mu)
        draws = parameter_draws("mu", array[None] if array.shape == np.shape(y) else array)
    target = real_targets(y, draws, mu)
    return float(np.sqrt(np.mean((target - draws.mean(axis=0)) ** 2)))


def gaussian_mixture_nll(y: Any, mu: Any, sigma: Any) -> float:
    """Mean negative log predictive density, nats per row, in the units of ``y``.

    -log((1 / S) sum_s prod_d N(y_d | mu_sd, sigma_sd^2)): densities are averaged over the draws,
    not their logarithms. With several outputs a row's density is their joint one.

    Examples
    --------
    >>> mu, sigma = [[0.0], [1.0]], [[1.0], [1.0]]  # two draws, one target
    >>> round(gaussian_mixture_nll([0.5], mu, sigma), 4)
    1.0439
    """
    target, mean, sd = normal_input(y, mu, sigma)
    return log_score(-0.5 * ((target - mean) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi))


def crps(y: Any, mu: Any, sigma: Any = None) -> float:
    """Mean continuous ranked probability score, in the units of ``y`` (Gneiting and Raftery 2007).

    With ``sigma`` exact for the mixture of normals (Grimit et al. 2006, eq. 4), at a cost that
    grows with the square of the number of draws. Without, ``mu`` holds draws of the target or of a
    noise-free function themselves.

    Examples
    --------
    >>> crps([1.0], [[3.5]])  # one certain draw: the absolute error
    2.5
    >>> round(crps([0.0], [[0.0]], [[1.0]]), 4)
    0.2337
    """
    target, mean, sd = normal_input(y, mu, sigma)
    target, mean = target.ravel(), mean.reshape(len(mean), -1).T
    if sd is None:
        import scoringrules

        return float(np.mean(scoringrules.crps_ensemble(target, mean, backend="numpy")))
    import jax

    sd = sd.reshape(len(sd), -1).T
    rows = max(1, 1_000_000 // mean.shape[1] ** 2)  # keeps the square of the draws in memory
    blocks = [slice(i, i + rows) for i in range(0, len(target), rows)]
    with jax.enable_x64(True):
        scores = [np.asarray(_crps_of_mixtures()(target[b], mean[b], sd[b])) for b in blocks]
    return float(np.mean(np.concatenate(scores)))


def pit(y: Any, mu: Any, sigma: Any) -> np.ndarray:
    """Predictive distribution function at ``y``: uniform if calibrated (Dawid 1984).

    Examples
    --------
    >>> pit([0.0, 3.0], [[0.0, 0.0]], [[1.0, 1.0]]).round(3).tolist()
    [0.5, 0.999]
    """
    target, mean, sd = normal_input(y, mu, sigma)
    return ndtr((target - mean) / sd).mean(axis=0)


def normal_draws(mu: Any, sigma: Any) -> tuple[np.ndarray, Any]:
    """Means and sds as (draws, n[, D]); the sds None if they are not given."""
    mean = parameter_draws("mu", mu)
    if sigma is None:
        return mean, None
    if isinstance(mu, xr.DataArray) and isinstance(sigma, xr.DataArray):
        if set(mu.dims) != set(sigma.dims):
            raise ValueError(f"mu and sigma must have the same dims, got {mu.dims}, {sigma.dims}")
        same_labels(mu, sigma, "mu and sigma")
        samples = [d for d in SAMPLE_DIMS if d in mu.dims]
        sigma = sigma.transpose(*samples, *(d for d in mu.dims if d not in samples))
    sd = parameter_draws("sigma", sigma, positive=True)
    if mean.shape != sd.shape:
        raise ValueError(f"mu and sigma must have the same shape, got {mean.shape}, {sd.shape}")
    return mean, sd


def normal_input(y: Any, mu: Any, sigma: Any) -> tuple[np.ndarray, np.ndarray, Any]:
    """Targets, means and sds, or an error that names the argument."""
    mean, sd = normal_draws(mu, sigma)
    return real_targets(y, mean, mu), mean, sd


@functools.cache
def _crps_of_mixtures() -> Callable[..., Any]:
    """The library's function, compiled: seven times as fast as it is in NumPy."""
    import jax
    import scoringrules

    return jax.jit(functools.partial(scoringrules.crps_mixnorm, backend="jax"))
