"""Climbing towards a maximum with L-BFGS."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import optimize
from threadpoolctl import threadpool_limits

__all__ = ["Climb", "climb"]

MEMORY = 10  # steps that L-BFGS remembers
RELATIVE_GAIN = 1e-12  # of the objective: smaller steps are rounding
GRADIENT = 1e-6
STALLED = 1e-2  # gradient at which "no further gain" is a stall and no maximum

ValueAndGradient = Callable[[np.ndarray], tuple[float, np.ndarray]]


class Climb(NamedTuple):
    """Where a climb ended.

    ``arrived`` is whether the gradient vanished, or steps no longer gained more than rounding;
    ``gradient`` the largest of its components.
    """

    theta: np.ndarray
    value: float
    steps: int
    arrived: bool
    gradient: float


def climb(
    value_and_gradient: ValueAndGradient,
    start: np.ndarray,
    max_steps: int,
    record: Callable[[np.ndarray, float], None] | None = None,
    *,
    memory: int = MEMORY,
) -> Climb:
    """Maximise with L-BFGS (Liu and Nocedal 1989), on one thread of linear algebra.

    Parameters
    ----------
    value_and_gradient : function (theta (D,)) -> float, array (D,)
    start : array (D,)
    max_steps : int
        Iterations, over restarts: L-BFGS starts again from where it stops with a gradient that is
        not small, as long as that gains something.
    record : function (theta, value), optional
        Called after every iteration, with an array that the next one overwrites. Must not raise
        StopIteration, which SciPy would keep to itself.
    memory : int
        Iterations that L-BFGS remembers.
    """
    evaluate = _negative(value_and_gradient)
    report = _reporter(record)
    theta, best, steps = np.asarray(start, np.float64), np.inf, 0
    with threadpool_limits(1, user_api="blas"):  # threads of many fits fight for the cores
        while True:
            left = max_steps - steps
            options = {
                "maxiter": left, "maxfun": 4 * left, "maxcor": memory, "ftol": RELATIVE_GAIN,
                "gtol": GRADIENT,
            }  # fmt: skip
            found = optimize.minimize(
                evaluate, theta, jac=True, method="L-BFGS-B", callback=report, options=options
            )
            theta, steps = found.x, steps + found.nit
            slope, gain = float(np.abs(found.jac).max()), best - found.fun
            best = float(found.fun)
            out_of_steps = found.status == 1 or steps >= max_steps
            if out_of_steps or slope <= STALLED or not gain > 1e-6 * max(1.0, abs(best)):
                break
    return Climb(theta, -best, steps, slope <= STALLED or not out_of_steps, slope)


def _negative(value_and_gradient: ValueAndGradient) -> ValueAndGradient:
    def evaluate(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = value_and_gradient(theta)
        return -float(value), -np.asarray(gradient, np.float64)

    return evaluate


def _reporter(
    record: Callable[[np.ndarray, float], None] | None,
) -> Callable[[optimize.OptimizeResult], None]:
    def report(intermediate_result: optimize.OptimizeResult) -> None:
        if record is not None:
            record(intermediate_result.x, -float(intermediate_result.fun))

    return report
