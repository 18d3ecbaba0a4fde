"""Predictive intervals: their ends, how often they hold, how wide they are, a score of both."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr

from bnnbook.metrics.inputs import real_numbers, same_labels, unit_level
from bnnbook.metrics.regression import normal_draws

__all__ = ["Interval", "coverage", "interval_score", "interval_width", "predictive_interval"]


class Interval(NamedTuple):
    """Ends of a predictive interval, each (n,) or (n, D)."""

    lower: np.ndarray
    upper: np.ndarray


def predictive_interval(mu: Any, sigma: Any = None, *, level: float = 0.9) -> Interval:
    """Central interval of the mixture of normals; of the draws ``mu`` themselves without ``sigma``.

    The ends are the quantiles (1 - level) / 2 and (1 + level) / 2 of the mixture, by bisection.

    Examples
    --------
    >>> low, high = predictive_interval([[0.0], [4.0]], [[1.0], [1.0]], level=0.9)
    >>> round(float(low[0]), 3), round(float(high[0]), 3)
    (-1.282, 5.282)
    """
    level = unit_level(level)
    mean, sd = normal_draws(mu, sigma)
    tails = (1 - level) / 2, (1 + level) / 2
    if sd is None:
        return Interval(*np.quantile(mean, tails, axis=0))
    reach = 40 * sd.max(axis=0)
    return Interval(*(_quantile(q, mean, sd, reach) for q in tails))


def coverage(y: Any, lower: Any, upper: Any) -> float:
    """Share of targets in [lower, upper], ends included.

    Examples
    --------
    >>> coverage([0.0, 1.0, 5.0, 6.0], lower=[0, 2, 4, 4], upper=[1, 3, 5, 5])
    0.5
    """
    target, low, high = _check_interval(y, lower, upper)
    return float(((target >= low) & (target <= high)).mean())


def interval_width(lower: Any, upper: Any) -> float:
    """Mean width of the intervals, in the units of the target; the narrower at equal coverage wins.

    Raises
    ------
    ValueError
        If an upper end lies below its lower end.

    Examples
    --------
    >>> interval_width(lower=[0.0, 1.0], upper=[1.0, 4.0])
    2.0
    """
    _, low, high = _check_interval(lower, lower, upper)
    return float((high - low).mean())


def interval_score(y: Any, lower: Any, upper: Any, *, level: float) -> float:
    """Mean width plus a penalty for what lies outside (Gneiting and Raftery 2007, eq. 43).

    (u - l) + (2 / a) (l - y)+ + (2 / a) (y - u)+ with a = 1 - level: a proper score of a central
    interval, in the units of ``y``; lower is better.

    Examples
    --------
    >>> interval_score([1.0, 5.0], [0.0, 0.0], [2.0, 4.0], level=0.5)
    5.0
    """
    level = unit_level(level)
    target, low, high = _check_interval(y, lower, upper)
    outside = np.maximum(low - target, 0) + np.maximum(target - high, 0)
    return float((high - low + 2 / (1 - level) * outside).mean())


def _quantile(level: float, mean: np.ndarray, sd: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Quantile of the equal mixture over axis 0, to one part in 2^50 of the starting bracket."""
    low, high = mean.min(axis=0) - reach, mean.max(axis=0) + reach
    for _ in range(50):
        middle = 0.5 * (low + high)
        below = ndtr((middle - mean) / sd).mean(axis=0) < level
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 0.5 * (low + high)


def _check_interval(y: Any, lower: Any, upper: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    given = {"y": y, "lower": lower, "upper": upper}
    target, low, high = (real_numbers(name, value) for name, value in given.items())
    for name in ("lower", "upper"):
        same_labels(y, given[name], f"y and {name}")
    if not target.shape == low.shape == high.shape or target.size == 0:
        raise ValueError(
            "y, lower and upper must have the same shape and not be empty, "
            f"got {target.shape}, {low.shape} and {high.shape}"
        )
    if not (np.isfinite(target) & (high >= low)).all():  # also catches NaN
        raise ValueError("y must be finite and upper must not lie below lower")
    return target, low, high
