"""Scores of mixture density networks: in each draw, a mixture of normals for each row.

All take the targets ``y`` (n,) and, for each draw, ``weight``, ``mu`` and ``sigma`` of the
components: arrays (draws, n, K), or DataArrays with dims (chain, draw, obs, component). Weights sum
to 1 over the components. The predictive distribution is the equal mixture over draws of these
mixtures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy.special import logsumexp, ndtr

from bnnbook.metrics.inputs import (
    SAMPLE_DIMS,
    check_rows_sum_to_one,
    parameter_draws,
    real_targets,
    same_labels,
)
from bnnbook.metrics.mixtures import log_score

__all__ = ["crps_mixture", "nll_mixture", "pit_mixture"]


def nll_mixture(y: Any, weight: Any, mu: Any, sigma: Any) -> float:
    """Mean negative log predictive density, nats per row (Bishop 1994, eq. 29).

    See :mod:`bnnbook.metrics.normal_mixture` for the arguments.

    Examples
    --------
    >>> round(nll_mixture([0.5], [[[0.5, 0.5]]], [[[0.0, 1.0]]], [[[1.0, 1.0]]]), 4)
    1.0439
    """
    target, w, mean, sd = _check(y, weight, mu, sigma)
    log_density = -0.5 * ((target[:, None] - mean) / sd) ** 2 - np.log(sd * np.sqrt(2 * np.pi))
    return log_score(logsumexp(log_density, axis=-1, b=w))


def crps_mixture(y: Any, weight: Any, mu: Any, sigma: Any) -> float:
    """Mean continuous ranked probability score, in the units of ``y`` (Grimit et al. 2006, eq. 4).

    Exact, at a cost that grows with the square of draws times components. See
    :mod:`bnnbook.metrics.normal_mixture` for the arguments.

    Examples
    --------
    >>> round(crps_mixture([0.0], [[[1.0, 0.0]]], [[[0.0, 9.0]]], [[[1.0, 1.0]]]), 4)
    0.2337
    """
    import scoringrules

    target, w, mean, sd = _check(y, weight, mu, sigma)
    mean, sd, w = (np.moveaxis(a, 1, 0).reshape(len(target), -1) for a in (mean, sd, w / len(w)))
    rows = max(1, 1_000_000 // mean.shape[1] ** 2)  # keeps the square of the normals in memory
    blocks = [slice(i, i + rows) for i in range(0, len(target), rows)]
    scores = [
        scoringrules.crps_mixnorm(target[b], mean[b], sd[b], w[b], backend="numpy") for b in blocks
    ]
    return float(np.mean(np.concatenate(scores)))


def pit_mixture(y: Any, weight: Any, mu: Any, sigma: Any) -> np.ndarray:
    """Predictive distribution function at ``y``: uniform if calibrated (Dawid 1984).

    See :mod:`bnnbook.metrics.normal_mixture` for the arguments.

    Examples
    --------
    >>> pit_mixture([0.0], [[[0.5, 0.5]]], [[[0.0, 50.0]]], [[[1.0, 1.0]]]).tolist()
    [0.25]
    """
    target, w, mean, sd = _check(y, weight, mu, sigma)
    return (w * ndtr((target[:, None] - mean) / sd)).sum(axis=-1).mean(axis=0)


def _check(y: Any, weight: Any, mu: Any, sigma: Any) -> tuple[np.ndarray, ...]:
    """Targets (n,) and the components (draws, n, K), or an error that names the argument."""
    dims = mu.dims if isinstance(mu, xr.DataArray) else ()
    given = {"weight": weight, "mu": mu, "sigma": sigma}
    if dims:
        if "component" not in dims:
            raise ValueError(f"mu must have dims chain, draw, obs and component, got {dims}")
        order: list[Any] = [d for d in dims if d in SAMPLE_DIMS]
        order += [d for d in dims if d not in (*SAMPLE_DIMS, "component")] + ["component"]
        for name, value in given.items():
            if isinstance(value, xr.DataArray):
                if set(value.dims) != set(dims):
                    raise ValueError(f"{name} must have the dims of mu, {dims}, got {value.dims}")
                same_labels(mu, value, f"mu and {name}")
                given[name] = value.transpose(*order)
    w, mean, sd = (parameter_draws(n, v, positive=n == "sigma") for n, v in given.items())
    if mean.ndim != 3 or not w.shape == mean.shape == sd.shape:
        raise ValueError(
            "weight, mu and sigma must have the same shape (draws, n, components), got "
            f"{w.shape}, {mean.shape} and {sd.shape}"
        )
    if (w < 0).any():
        raise ValueError(f"weight must not be negative, got {w.min()}")
    check_rows_sum_to_one("weight", w, np.float64)
    target = real_targets(y, mean[..., 0], mu)
    return target, w, mean, sd
