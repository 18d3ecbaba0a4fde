"""Is an approximation where it belongs? A climb from it at fixed noise tells, and one from afar."""

from __future__ import annotations

import numpy as np

from bnnbook.density import LogDensity
from bnnbook.inference.advi_start import PAIRS, log_density_at, mean_field_climb
from bnnbook.inference.advi_step import LOG_2PI
from bnnbook.inference.climb import climb

__all__ = ["gain_elsewhere", "gain_of_a_climb"]

STEPS = 30  # iterations of the climb
FRESH = 5 * PAIRS  # of opposite noise vectors that its end is judged by
ELSEWHERE = 2  # other starts


def gain_of_a_climb(density: LogDensity, mean: np.ndarray, chol: np.ndarray) -> tuple[float, float]:
    """Nats of ELBO that a better mean gains, the spread of the approximation as it is.

    L-BFGS climbs in coordinates in which the approximation has unit scale, on some noise vectors;
    others, drawn anew, say what that was worth. If the posterior is normal, a mean that is k of its
    standard deviations away gains at least k^2 / 2.

    Parameters
    ----------
    density : LogDensity
    mean : array (D,)
    chol : array (D,) or (D, D)
        Standard deviations, or a lower triangle.

    Returns
    -------
    gain, error : float
        With its standard error, both infinite if the density is not finite there.
    """
    D = density.size
    log_density = log_density_at(density)
    shifts = _spread(chol, 2, PAIRS)

    def scaled(u: np.ndarray) -> tuple[float, np.ndarray]:
        moved = mean + (chol * u if chol.ndim == 1 else chol @ u)
        with np.errstate(over="ignore", invalid="ignore"):  # far out: the line search turns back
            values, gradients = log_density(moved + shifts)
            value, gradient = values.mean(), gradients.mean(axis=0)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return -1e250, np.zeros(D)
        return float(value), chol * gradient if chol.ndim == 1 else chol.T @ gradient

    found = climb(scaled, np.zeros(D), STEPS, memory=STEPS)
    moved = mean + (chol * found.theta if chol.ndim == 1 else chol @ found.theta)
    fresh = _spread(chol, 3, FRESH)
    gains = log_density(moved + fresh)[0] - log_density(mean + fresh)[0]
    if not np.isfinite(gains).all():
        return np.inf, np.inf
    return _mean_and_error(gains)


def gain_elsewhere(
    density: LogDensity, elbo: float, sd: float, max_steps: int, seed: int
) -> tuple[float, float]:
    """Nats above ``elbo`` that independent normals reach from other starts by a short climb.

    Parameters
    ----------
    density : LogDensity
    elbo : float
        Nats.
    sd : float
        Standard deviation to start from.
    max_steps, seed : int
        Iterations over all climbs; and of the starts.

    Returns
    -------
    gain, error : float
        With its standard error; minus infinity where nothing was reached.
    """
    starts = density.initial_points(ELSEWHERE, jitter=0.5, seed=seed)
    try:
        found = mean_field_climb(density, starts, sd, max_steps)
    except ValueError:  # the density is not finite at those
        found = None
    if found is None:
        return -np.inf, 0.0
    centre, scale = found.frame
    values, _ = log_density_at(density)(centre + _spread(scale, 4, FRESH))
    if not np.isfinite(values).all():
        return -np.inf, 0.0
    entropy = np.log(scale).sum() + 0.5 * density.size * (1 + LOG_2PI)
    mean, error = _mean_and_error(values)
    return mean + entropy - elbo, error


def _spread(chol: np.ndarray, seed: int, pairs: int) -> np.ndarray:
    """Opposite pairs of draws around zero, (2 pairs, D)."""
    xi = np.random.default_rng(seed).normal(size=(pairs, len(chol)))
    shifts = chol * xi if chol.ndim == 1 else xi @ chol.T
    return np.concatenate([shifts, -shifts])


def _mean_and_error(values: np.ndarray) -> tuple[float, float]:
    pairs = values.reshape(2, FRESH).mean(axis=0)
    return float(pairs.mean()), float(pairs.std(ddof=1) / np.sqrt(FRESH))
