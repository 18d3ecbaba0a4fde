"""Is an approximation's mean where it belongs? A climb from it at fixed noise tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bnnbook.density import LogDensity
from bnnbook.inference.advi_start import compiled_on_data
from bnnbook.inference.climb import climb

__all__ = ["gain_of_a_climb"]

STEPS = 30  # iterations of the climb
PAIRS = 10  # of opposite noise vectors that it climbs on
FRESH = 50  # of those that its end is judged by


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

    def spread(seed: int, pairs: int) -> np.ndarray:
        xi = np.random.default_rng(seed).normal(size=(pairs, D))
        shifts = chol * xi if chol.ndim == 1 else xi @ chol.T
        return np.concatenate([shifts, -shifts])

    shifts = spread(2, PAIRS)

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
    fresh = spread(3, FRESH)
    gains = np.asarray(values(moved, fresh)) - np.asarray(values(mean, fresh))
    if not np.isfinite(gains).all():
        return np.inf, np.inf
    pairs = gains.reshape(2, FRESH).mean(axis=0)
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
