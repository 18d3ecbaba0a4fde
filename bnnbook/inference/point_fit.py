"""One climb to a maximum of a log density: the objective, its trace, its callbacks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bnnbook.density import LogDensity, Minibatches, compiled_once, density_key, precision
from bnnbook.inference.arrival import FAR, close_in
from bnnbook.inference.callbacks import FitState, Reporter
from bnnbook.inference.climb import STALLED, climb
from bnnbook.inference.held_out import Member

__all__ = ["Objective", "PointFit", "fit_from", "joined_history"]


class PointFit(NamedTuple):
    """Where one start has led.

    ``distance`` from the mode is in posterior sds, see :class:`bnnbook.inference.arrival.Arrival`;
    ``history`` is (steps, 2): log density, seconds. ``ended`` is "arrived", "out of steps",
    "short" of the mode, "stopped" by a callback, or "interrupted".
    """

    theta: np.ndarray
    value: float
    gradient: float
    distance: float
    history: np.ndarray
    ended: str
    stopped_early: bool


class Objective:
    """Log likelihood, and log prior if asked for, with its gradient and Hessian, in float64.

    Compiled when first needed; ``compile_seconds`` counts that.
    """

    def __init__(self, density: LogDensity, *, prior: bool) -> None:
        self.density, self.prior, self.compile_seconds = density, prior, 0.0
        with precision("float64"):
            self._data = density.arrays()
        self._compiled: dict[Any, Callable[..., Any]] = {}

    def value_and_gradient(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """At ``theta`` (D,), given all rows."""
        return self._call("value and gradient", jax.value_and_grad, (theta,), self._data, None)

    def hessian(self, theta: np.ndarray) -> np.ndarray:
        """Second derivatives (D, D) at ``theta``, given all rows."""
        return np.asarray(self._call("hessian", _hessian, (theta,), self._data, None))

    def hessian_product(self, theta: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """Second derivatives times ``vector``, (D,)."""
        given = theta, vector
        return np.asarray(self._call("product", _hessian_product, given, self._data, None))

    def on(
        self, batches: Minibatches, rows: tuple[np.ndarray, ...]
    ) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
        """Value and gradient given some rows alone, each variable's likelihood times N_k / n_k."""
        with precision("float64"):
            data = batches.take(self._data, tuple(jnp.asarray(r) for r in rows))

        def evaluate(theta: np.ndarray) -> tuple[float, np.ndarray]:
            return self._call("value and gradient", jax.value_and_grad, (theta,), data, batches)

        return evaluate

    def _call(
        self, kind: str, transform: Callable[..., Any], given: tuple[np.ndarray, ...],
        data: tuple, batches: Minibatches | None,
    ) -> Any:  # fmt: skip
        density, prior = self.density, self.prior
        likelihood = density.log_likelihood if batches is None else batches.log_likelihood
        key = (kind, None if batches is None else batches.key)

        def objective(theta: jax.Array, data: tuple) -> jax.Array:
            value = likelihood(theta, data)
            return value + density.log_prior(theta, data) if prior else value

        with precision("float64"):
            if key not in self._compiled:
                clock = time.perf_counter()
                self._compiled[key] = compiled_once(
                    ("point fit", *key, prior, density_key(density, data)),
                    lambda: jax.jit(transform(objective)).lower(*given, data).compile(),
                )
                self.compile_seconds += time.perf_counter() - clock
            return self._compiled[key](*given, data)


def _hessian(objective: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    product = _hessian_product(objective)

    def hessian(theta: jax.Array, data: tuple) -> jax.Array:  # by columns: all at once are slower
        return jax.lax.map(lambda vector: product(theta, vector, data), jnp.eye(theta.size))

    return hessian


def _hessian_product(objective: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    def product(theta: jax.Array, vector: jax.Array, data: tuple) -> jax.Array:
        return jax.jvp(lambda t: jax.grad(objective)(t, data), (theta,), (vector,))[1]

    return product


class _Trace:
    """What a climb has passed: values and seconds, the last point, and the last one in range."""

    def __init__(self, start: np.ndarray) -> None:
        self.theta, self.steps, self._clock = start, 0, time.perf_counter()
        self.in_range = start
        self._losses, self._seconds = np.empty(64), np.empty(64)

    @property
    def losses(self) -> np.ndarray:
        """Negative log density of each step; a view, which later steps leave as it is."""
        return self._losses[: self.steps]

    @property
    def history(self) -> np.ndarray:
        """Log density and seconds, (steps, 2)."""
        return np.column_stack([-self.losses, self._seconds[: self.steps]])

    def add(self, theta: np.ndarray, value: float) -> None:
        if self.steps == len(self._losses):
            self._losses = np.concatenate([self._losses, np.empty_like(self._losses)])
            self._seconds = np.concatenate([self._seconds, np.empty_like(self._seconds)])
        self._losses[self.steps] = -value
        self._seconds[self.steps] = time.perf_counter() - self._clock
        self.theta, self.steps = theta.copy(), self.steps + 1  # the optimiser's own is overwritten
        if np.isfinite(value) and np.isfinite(theta).all():
            self.in_range = self.theta

    def state(self, method: str, density: LogDensity) -> FitState:
        theta, step = self.theta, self.steps
        return FitState(
            step, -float(self._losses[step - 1]), float(self._seconds[step - 1]), method, density,
            lambda n: np.tile(theta, (n, 1)),
        )  # fmt: skip


def fit_from(
    objective: Objective,
    start: np.ndarray,
    max_steps: int,
    method: str,
    reporter: Reporter,
    progress: Callable[[int, float], None],
    member: Member | None = None,
) -> PointFit:
    """Climb from ``start``, first with the rows of ``member`` held out if there is one.

    ``progress`` hears of every step and its value, and so do the callbacks.
    """
    trace = _Trace(start)

    def record(theta: np.ndarray, value: float) -> None:
        trace.add(theta, value)
        progress(trace.steps, value)
        if reporter:
            try:
                reporter(trace.state(method, objective.density), trace.losses)
            except StopIteration as stop:
                raise _Stopped(*stop.args) from None

    ended, slope, distance, early = "stopped", np.nan, np.nan, False
    try:
        with reporter:
            try:
                if member is not None:
                    trace.theta, early = member.climb(objective.on, start, max_steps, record)
                ended = "arrived"
                if not early:
                    left = max_steps - trace.steps
                    trace.theta, slope, left = _climb(objective, trace.theta, left, record)
                    if left <= 0 and slope > STALLED:
                        ended = "out of steps"
                    else:
                        trace.theta, distance = close_in(objective, trace.theta, left, record)
                        ended = "arrived" if distance <= FAR else "short"
            except _Stopped as stopped:
                raise StopIteration(*stopped.args) from None
    except StopIteration:
        ended = "stopped"  # a callback has seen enough of this start
    except KeyboardInterrupt:
        ended = "interrupted"
    theta = np.array(trace.theta)
    value = float(objective.value_and_gradient(theta)[0])
    if not (np.isfinite(value) and np.isfinite(theta).all()):
        # as where the last step of a climb without a top has left the range of numbers
        theta = np.array(trace.in_range)
        value = float(objective.value_and_gradient(theta)[0])
    return PointFit(theta, value, slope, distance, trace.history, ended, early)


class _Stopped(Exception):
    """A callback's StopIteration on its way through SciPy, which would keep one to itself."""


def _climb(
    objective: Objective, theta: np.ndarray, max_steps: int,
    record: Callable[[np.ndarray, float], None],
) -> tuple[np.ndarray, float, int]:  # fmt: skip
    """Where L-BFGS has ended, its largest slope there, and how many steps are left."""
    if max_steps == 0:
        return theta, float(np.abs(objective.value_and_gradient(theta)[1]).max()), 0
    found = climb(objective.value_and_gradient, theta, max_steps, record)
    return found.theta, found.gradient, max_steps - found.steps


def joined_history(histories: list[np.ndarray]) -> xr.Dataset:
    """Log density and seconds per step; with a chain axis if there are several members."""
    length = max(len(h) for h in histories)
    padded = np.full((len(histories), length, 2), np.nan)
    for row, h in zip(padded, histories, strict=True):
        row[: len(h)] = h
    dataset = xr.Dataset(
        {
            "log_density": (("chain", "step"), padded[..., 0]),
            "seconds": (("chain", "step"), padded[..., 1]),
        },
        coords={"chain": np.arange(len(histories)), "step": np.arange(1, length + 1)},
    )
    return dataset.squeeze("chain", drop=True) if len(histories) == 1 else dataset
