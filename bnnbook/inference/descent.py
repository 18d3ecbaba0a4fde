"""Stochastic gradient descent in one compiled loop: what SWAG and dropout share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from threadpoolctl import threadpool_limits

from bnnbook.checks import DivergedError
from bnnbook.density import (
    LogDensity,
    Minibatches,
    compiled_once,
    density_key,
    precision,
)
from bnnbook.inference.callbacks import Callback, FitState, Reporter
from bnnbook.inference.progress import progress_bar
from bnnbook.inference.results import posterior_dataset, result_tree

__all__ = ["Descent", "Loss", "compile_descent", "descend", "descent_tree"]

Loss = Callable[[jax.Array, jax.Array, tuple], jax.Array]
"""Function of theta (D,), a random key and a batch of the data: nats, for the full data."""


@dataclass(frozen=True)
class Descent:
    """One run: the last iterate, those at the end of each block, and how it went."""

    theta: np.ndarray
    iterates: np.ndarray  # (blocks, D)
    losses: np.ndarray  # (steps,), nats
    seconds: float
    ended: str


@dataclass(frozen=True)
class _Compiled:
    density: LogDensity
    optimizer: optax.GradientTransformation
    every: int
    dtype: str
    advance: Callable[..., Any]
    data: tuple
    seconds: float


def compile_descent(
    loss: Loss, density: LogDensity, batches: Minibatches, *,
    optimizer: optax.GradientTransformation, key: tuple, every: int, dtype: str,
) -> _Compiled:  # fmt: skip
    """Compile ``every`` steps of the optimiser on ``loss`` / N.

    The rows of each step's batch are drawn with replacement. ``key`` holds what decides ``loss``
    and ``optimizer`` besides the model: with an equal one nothing is compiled again.
    """
    clock = time.perf_counter()

    def rows(key: jax.Array) -> tuple:
        keys = jax.random.split(key, len(batches.lengths))
        return tuple(
            jax.random.randint(k, (n,), 0, length)
            for k, n, length in zip(keys, batches.sizes, batches.lengths, strict=True)
        )

    def advance(theta: Any, state: Any, key: Any, count: Any, data: tuple) -> tuple:
        def step(i: Any, carry: tuple) -> tuple:
            theta, state, losses = carry
            key_rows, key_loss = jax.random.split(jax.random.fold_in(key, i))
            batch = data if batches.sizes == batches.lengths else batches.take(data, rows(key_rows))
            value, gradient = jax.value_and_grad(loss)(theta, key_loss, batch)
            update, state = optimizer.update(gradient / density.N, state, theta)
            return theta + update, state, losses.at[i].set(value)

        losses = jnp.zeros(every, theta.dtype)
        return jax.lax.fori_loop(0, count, step, (theta, state, losses))

    with precision(dtype):
        data = density.arrays(dtype)
        theta = jnp.zeros(density.size, dtype)
        arguments = (theta, optimizer.init(theta), jax.random.key(0), np.int32(1), data)
        shapes = (every, dtype, batches.key, density_key(density, data))
        compiled = compiled_once(
            ("descent", *key, *shapes), lambda: jax.jit(advance).lower(*arguments).compile()
        )
    seconds = time.perf_counter() - clock
    return _Compiled(density, optimizer, every, dtype, compiled, data, seconds)


def descend(
    compiled: _Compiled,
    start: np.ndarray,
    *,
    steps: int,
    seed: int,
    method: str,
    label: str,
    settings: dict[str, Any],
    callbacks: Sequence[Callback],
    progressbar: bool,
    sample: Callable[[np.ndarray, int], np.ndarray],
) -> Descent:
    """Run ``steps`` steps from ``start`` (D,), or until Ctrl-C or a callback's StopIteration.

    ``sample(theta, n)`` gives what callbacks get as n unconstrained vectors.

    Raises
    ------
    DivergedError
        If the loss stops being finite: names the step and the last finite loss.
    """
    density, every = compiled.density, compiled.every
    losses, iterates, ended, done = np.zeros(steps), [], "finished", 0
    clock = time.perf_counter()
    reporter = Reporter(callbacks, method=method, settings=settings, default_every=every)
    with precision(compiled.dtype):
        theta: Any = jnp.asarray(start, compiled.dtype)
        state = compiled.optimizer.init(theta)
        keys = jax.random.split(jax.random.key(seed), -(-steps // every))
        with (
            threadpool_limits(1, user_api="blas"),  # small factorizations: threads would only wait
            progress_bar(label, steps, show=progressbar, value_name="loss") as update,
        ):
            try:
                with reporter:
                    for key in keys:
                        count = min(every, steps - done)
                        theta, state, values = compiled.advance(
                            theta, state, key, np.int32(count), compiled.data
                        )
                        losses[done : done + count] = np.asarray(values)[:count]
                        _check_finite(losses, done, count)
                        done += count
                        iterates.append(np.asarray(theta, np.float64))
                        update(done, float(losses[done - 1]))
                        if reporter:
                            view = FitState(
                                done, -float(losses[done - 1]), time.perf_counter() - clock,
                                method, density, partial(sample, iterates[-1]),
                            )  # fmt: skip
                            reporter(view, losses[:done])
            except StopIteration as stop:
                ended = f"stopped at step {done}: {stop}"
            except KeyboardInterrupt:
                ended = "interrupted"
    if not iterates:
        raise KeyboardInterrupt("interrupted before the first steps were done")
    return Descent(
        iterates[-1], np.array(iterates), losses[:done], time.perf_counter() - clock, ended
    )


def _check_finite(losses: np.ndarray, done: int, count: int) -> None:
    bad = np.flatnonzero(~np.isfinite(losses[done : done + count]))
    if bad.size:
        step = done + int(bad[0])
        last = f"{losses[step - 1]:.6g}" if step else "none"
        raise DivergedError(
            f"the loss became {losses[step]} at step {step + 1}; last finite loss: {last}. "
            "Try a smaller learning_rate"
        )


def descent_tree(
    density: LogDensity, thetas: np.ndarray, runs: Sequence[Descent], *, history: xr.Dataset,
    remedy: str, interrupted: bool = False, **fields: Any,
) -> xr.DataTree:  # fmt: skip
    """Draws (chain, draw, D) and the runs they came from; ``fields`` go to :func:`result_tree`.

    ``interrupted`` is whether there were to be more runs.
    """
    problems = [text for run in runs for text in _still_falling(run.losses, remedy)]
    interrupted |= any(run.ended == "interrupted" for run in runs)
    return result_tree(
        density, posterior_dataset(density, thetas), sample_stats={}, history=history,
        problems=list(dict.fromkeys(problems)), attrs={
            "interrupted": int(interrupted),
            "stopped": "interrupted" if interrupted else runs[-1].ended,
        }, **fields,
    )  # fmt: skip


def _still_falling(losses: np.ndarray, remedy: str) -> list[str]:
    """Say so, in one sentence, if the loss fell over the last fifth by more than its noise."""
    half = len(losses) // 10
    if half < 10:
        return []
    before, after = losses[-2 * half : -half], losses[-half:]
    # means of ten pieces each: neighbouring steps share batches and momentum
    pieces = [np.array([p.mean() for p in np.array_split(part, 10)]) for part in (before, after)]
    gain = before.mean() - after.mean()
    error = np.sqrt(sum(p.var(ddof=1) / 10 for p in pieces))
    if gain < max(4 * error, 1.0):
        return []
    return [f"The loss still fell by {gain:.1f} nats over the last tenth of the steps; {remedy}."]
