"""Is an approximation where it belongs? A climb from it at fixed noise tells, and one from afar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bnnbook.density import LogDensity
from bnnbook.inference.advi_start import compiled_on_data, mean_field_climb
from bnnbook.inference.advi_step import LOG_2PI
from bnnbook.inference.climb import climb

__all__ = ["gain_elsewhere", "gain_of_a_climb"]

STEPS = 30  # iterations of the climb
PAIRS = 10  # of opposite noise vectors that it climbs on
FRESH = 50  # of those that its end is judged by
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
    value_and_gradient = compiled_on_data(density, "shifted", _shifted)
    values = compiled_on_data(density, "values", _values)

    shifts = _spread(chol, 2, PAIRS)

    def scaled(u: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = value_and_gradient(
            mean + (chol * u if chol.ndim == 1 else chol @ u), shifts
        )
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return -1e250, np.zeros(D)
        gradient = np.asarray(gradient)
        return float(value), chol * gradient if chol.ndim == 1 else chol.T @ gradient

    found = climb(scaled, np.zeros(D), STEPS, memory=STEPS)
    moved = mean + (chol * found.theta if chol.ndim == 1 else chol @ found.theta)
    fresh = _spread(chol, 3, FRESH)
    gains = np.asarray(values(moved, fresh)) - np.asarray(values(mean, fresh))
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
    values = compiled_on_data(density, "values", _values)(centre, _spread(scale, 4, FRESH))
    if not np.isfinite(values).all():
        return -np.inf, 0.0
    entropy = np.log(scale).sum() + 0.5 * density.size * (1 + LOG_2PI)
    mean, error = _mean_and_error(np.asarray(values))
    return mean + entropy - elbo, error


def _spread(chol: np.ndarray, seed: int, pairs: int) -> np.ndarray:
    """Opposite pairs of draws around zero, (2 pairs, D)."""
    xi = np.random.default_rng(seed).normal(size=(pairs, len(chol)))
    shifts = chol * xi if chol.ndim == 1 else xi @ chol.T
    return np.concatenate([shifts, -shifts])


def _mean_and_error(values: np.ndarray) -> tuple[float, float]:
    pairs = values.reshape(2, FRESH).mean(axis=0)
    return float(pairs.mean()), float(pairs.std(ddof=1) / np.sqrt(FRESH))


def _shifted(log_density: Callable[..., Any], theta: jax.Array, shifts: jax.Array) -> tuple:
    def add(total: tuple, shift: jax.Array) -> tuple:
        value, gradient = jax.value_and_grad(log_density)(theta + shift)
        return (total[0] + value, total[1] + gradient), None

    zero = jnp.zeros(()), jnp.zeros_like(theta)
    (value, gradient), _ = jax.lax.scan(add, zero, shifts)
    return value / len(shifts), gradient / len(shifts)


def _values(log_density: Callable[..., Any], theta: jax.Array, shifts: jax.Array) -> jax.Array:
    return jax.lax.map(lambda shift: log_density(theta + shift), shifts)
