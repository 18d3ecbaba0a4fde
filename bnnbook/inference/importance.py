"""Pareto smoothed importance weights (Vehtari et al. 2024): how far an approximation is off."""

from __future__ import annotations

import numpy as np
from arviz_stats.base import array_stats

__all__ = ["PARETO_K", "smoothed_log_weights"]

PARETO_K = 0.7  # above it importance weights cannot be trusted (Vehtari et al. 2024, sec. 3)


def smoothed_log_weights(log_ratios: np.ndarray) -> tuple[np.ndarray, float]:
    """Log weights that add up to 1, and the shape k of their tail.

    Parameters
    ----------
    log_ratios : array (draws,)
        log p - log q at draws from q, p known up to a constant.

    Returns
    -------
    log_weights : array (draws,)
    pareto_k : float
        Infinite where a ratio is not finite or there are fewer than 25 draws.
    """
    ratios = np.asarray(log_ratios, dtype=np.float64)
    if len(ratios) < 25 or not np.isfinite(ratios).all():
        return ratios - np.logaddexp.reduce(ratios), np.inf
    log_weights, pareto_k = array_stats.psislw(-ratios)
    return log_weights, float(pareto_k)
