"""Has a climb arrived? The distance to the mode in posterior sds, and Newton's steps that close it.

A small gradient, or a small gain, says little on a narrow ridge. The Newton decrement (Boyd and
Vandenberghe 2004, section 9.5.1), the length of the gradient in the metric of the inverse
curvature, does not depend on the parameters' scales: it is the distance in sds to the mode that a
quadratic approximation has, and half its square is what is left to gain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

__all__ = ["FAR", "Arrival", "away", "close_in"]

FAR = 0.01  # sds from the mode at which a fit has not arrived
CLOSE = 1e-4  # sds from which no step is taken
DENSE = 256  # parameters up to which the Hessian is decomposed
MOST_STEPS = 50  # of Newton's with the Hessian
FEW_STEPS = 2  # with products alone
PRODUCTS = 20  # of Hessian and vector, a step
SOLVED = 1e-3  # of the gradient: what may remain of it in conjugate gradients
MOST_HALVINGS = 10
PROMISED = 0.1  # of the gain that the gradient promises: less shows a kink, or rounding
FLAT = 1e-13  # of the largest curvature, in units of the diagonal: less cannot be told from zero
NEGATIVE = 1e-6  # of the largest: rounding of flat directions is less


class Density(Protocol):
    """What is maximised over theta (D,), with its derivatives."""

    def value_and_gradient(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Nats, and array (D,)."""

    def hessian(self, theta: np.ndarray) -> np.ndarray:
        """Array (D, D)."""

    def hessian_product(self, theta: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """Hessian times vector, (D,)."""


class Arrival(NamedTuple):
    """Where Newton's steps have ended.

    ``distance`` from the mode is in posterior sds; with more than 256 parameters, at least that.
    It is 0 where the density has a kink, such as rectifiers make, and no step gains what the
    curvature promises; infinite at a saddle; NaN where derivatives are not finite.
    """

    theta: np.ndarray
    distance: float


def close_in(
    density: Density,
    theta: np.ndarray,
    max_steps: int,
    record: Callable[[np.ndarray, float], None],
) -> Arrival:
    """Measure the distance from the mode, and go there as far as ``max_steps`` allow.

    Steps are the gradient in the metric of the curvature's absolute value, which leads away from
    saddles (Dauphin et al. 2014), and are halved until they gain.
    """
    dense = theta.size <= DENSE
    measure = _by_eigenvectors if dense else _by_products
    most = min(max_steps, MOST_STEPS if dense else FEW_STEPS)
    value, gradient = density.value_and_gradient(theta)
    with threadpool_limits(1, user_api="blas"):
        for step in range(most + 1):
            move, distance, convex = measure(density, theta, np.asarray(gradient))
            if step == most or not distance > CLOSE:
                break
            for part in 0.5 ** np.arange(MOST_HALVINGS):
                new = theta + part * move
                new_value, new_gradient = density.value_and_gradient(new)
                if new_value - value >= PROMISED * part * distance**2:
                    break
            else:
                return Arrival(theta, 0.0)
            theta, value, gradient = new, new_value, new_gradient
            record(theta, float(value))
            if distance <= FAR:  # the step has squared that
                break
    return Arrival(theta, distance if convex else np.inf)


def away(distance: float) -> str:
    """Say how far from a mode a climb has ended, with what to do about it."""
    if np.isnan(distance):
        return (
            "where derivatives of the log density are not finite, which leaves open whether it is "
            "a mode: give priors that keep parameters from their bounds, or sample."
        )
    if np.isinf(distance):
        return "at a saddle of the log density: raise n_starts, or take another seed."
    return (
        f"at least {distance:.2g} posterior standard deviations from the mode: raise max_steps, "
        "bring the inputs to similar scales, or leave out those that nearly repeat others."
    )


def _by_eigenvectors(
    density: Density, theta: np.ndarray, gradient: np.ndarray
) -> tuple[np.ndarray, float, bool]:
    """Newton's step, its length in sds, and whether no direction curves upwards."""
    curvature = -density.hessian(theta)
    if not (np.isfinite(curvature).all() and np.isfinite(gradient).all()):
        return np.zeros_like(theta), np.nan, True
    unit = np.sqrt(np.abs(np.diag(curvature)))  # or scales of the parameters would look like rank
    unit = np.maximum(unit, max(1e-10 * unit.max(), 1e-150))
    bent, vectors = np.linalg.eigh(curvature / np.outer(unit, unit))
    most = np.abs(bent).max()
    metric = np.maximum(np.abs(bent), FLAT * most + 1e-300)
    slopes = vectors.T @ (gradient / unit)
    distance = float(np.sqrt(np.sum(slopes**2 / metric)))
    return vectors @ (slopes / metric) / unit, distance, bool(bent[0] >= -NEGATIVE * most)


def _by_products(
    density: Density, theta: np.ndarray, gradient: np.ndarray
) -> tuple[np.ndarray, float, bool]:
    """The same by conjugate gradients, up to where a direction does not curve downwards."""
    move, residual, search = np.zeros_like(theta), gradient, gradient
    square = start = float(gradient @ gradient)
    for _ in range(PRODUCTS):
        bent = -density.hessian_product(theta, search)
        curvature = float(search @ bent)
        if not np.isfinite(curvature):
            return move, np.nan, True
        if curvature <= 0 or square <= SOLVED**2 * start:
            break
        move = move + square / curvature * search
        residual = residual - square / curvature * bent
        before, square = square, float(residual @ residual)
        search = residual + square / before * search
    return move, float(np.sqrt(gradient @ move)), True
