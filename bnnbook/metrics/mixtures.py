"""Scores of a mixture of posterior draws, from the log density of each draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from bnnbook.metrics.inputs import SAMPLE_DIMS, real_numbers

__all__ = ["log_density_of_mixture", "log_score"]


def log_density_of_mixture(log_density: np.ndarray) -> np.ndarray:
    """Log of the mean density over axis 0: log((1 / S) sum_s p_s), without underflow."""
    with np.errstate(divide="ignore"):  # no draw allows the target: log 0 = -inf
        return logsumexp(log_density, axis=0) - np.log(len(log_density))


def log_score(log_density_draws: Any) -> float:
    """Mean negative log predictive density of the mixture of draws, nats per row.

    -(1 / n) sum_i log((1 / S) sum_s p(y_i | theta_s)): for any likelihood, given the log densities
    or log probabilities of the targets under each draw, such as the group ``log_likelihood`` of a
    fit. Densities are averaged over the draws, not their logarithms. As all scores of this package
    it is a loss: lower is better (Gneiting and Raftery 2007 maximise its negative).

    Parameters
    ----------
    log_density_draws : DataArray with dims (chain, draw, obs, ...), or array (draws, n[, D])
        With several outputs D the density of a row is their joint one: the logarithms are summed
        over all axes after the first of the rows. -inf stands for density zero.

    Raises
    ------
    ValueError
        If a dim is missing, the array is empty, or a value is NaN or +inf.

    Examples
    --------
    >>> import numpy as np
    >>> round(log_score(np.log([[0.2], [0.6]])), 4), round(float(-np.log(0.4)), 4)
    (0.9163, 0.9163)
    """
    value = log_density_draws
    if isinstance(value, xr.DataArray):
        dims = [d for d in SAMPLE_DIMS if d in value.dims]
        if not dims:
            raise ValueError(
                f"log_density_draws must have dims chain and draw, or sample, got {value.dims}"
            )
        rows = [d for d in value.dims if d not in dims]
        value = value.transpose(*dims, *(["obs"] if "obs" in rows else []), ...).to_numpy()
        value = value.reshape(-1, *value.shape[len(dims) :])
    density = real_numbers("log_density_draws", value)
    if density.ndim < 2 or density.size == 0:
        raise ValueError(
            f"log_density_draws must have shape (draws, n) or (draws, n, D), got {density.shape}"
        )
    if np.isnan(density).any() or (density == np.inf).any():
        raise ValueError("log_density_draws must hold logarithms of densities, got NaN or +inf")
    joint = density.reshape(*density.shape[:2], -1).sum(axis=-1)
    return float(-log_density_of_mixture(joint).mean())
