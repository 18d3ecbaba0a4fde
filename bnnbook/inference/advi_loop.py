"""The loop of automatic differentiation variational inference, over blocks of compiled steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from threadpoolctl import threadpool_limits

from bnnbook.checks import DivergedError
from bnnbook.density import check_start, compiled_once, density_key, precision
from bnnbook.inference.advi_state import ADVIState
from bnnbook.inference.advi_step import Frame, Loop, cholesky, compiled_steps
from bnnbook.inference.callbacks import Reporter
from bnnbook.inference.progress import progress_bar

__all__ = ["Run", "run_loop"]


@dataclass(frozen=True)
class Run:
    """One start's outcome: mean (D,), Cholesky factor (D,) or (D, D), ELBO and seconds by step."""

    mean: np.ndarray
    chol: np.ndarray
    elbo: np.ndarray
    seconds: np.ndarray
    ended: str
    compile_seconds: float

    @property
    def final_elbo(self) -> float:
        return (
            float(self.elbo[-max(len(self.elbo) // 10, 1) :].mean()) if len(self.elbo) else -np.inf
        )


def run_loop(
    loop: Loop, mean: np.ndarray, sd: np.ndarray, frame: Frame | None, reporter: Reporter, *,
    seed: int, label: str, progressbar: bool,
) -> Run:  # fmt: skip
    """Run compiled blocks until done, stopped or interrupted.

    ``mean`` and ``sd`` (D,) are where the parameters start, in the coordinates of ``frame``.
    """
    n, block = loop.n, loop.block
    clock = time.perf_counter()
    advance = _compiled(loop, frame)
    compile_seconds = time.perf_counter() - clock
    with precision(loop.dtype):
        state = _initial_state(loop, mean, sd)
    keys = jax.random.split(
        jax.random.key(seed), -(-n // loop.interval) * -(-loop.interval // block)
    )
    elbo, seconds = np.empty(n), np.empty(n)
    done, number, ended = 0, 0, "finished"
    clock = time.perf_counter()
    with (
        threadpool_limits(1, user_api="blas"),  # small factorizations: threads would only wait
        progress_bar(label, n, show=progressbar, value_name="ELBO") as update,
    ):
        try:
            with reporter:
                while done < n:
                    steps = min(block, n - done, loop.interval - done % loop.interval)
                    now, pad = slice(done, done + steps), np.zeros(block - steps)
                    state, values = advance(
                        state, keys[number], steps, np.append(loop.rates[now], pad),
                        np.append(loop.weights[now], pad),
                    )  # fmt: skip
                    elbo[now] = np.asarray(values)[:steps]
                    passed = time.perf_counter() - clock
                    before = seconds[done - 1] if done else 0.0
                    seconds[now] = np.linspace(before, passed, steps + 1)[1:]
                    _check_finite(loop, frame, mean, elbo, done, steps)
                    done, number = done + steps, number + 1
                    update(done, float(elbo[done - 1]))
                    if reporter:
                        reporter(_seen(loop, frame, state, elbo[:done], passed), -elbo[:done])
        except StopIteration as stop:
            ended = f"stopped at step {done}: {stop}"
        except KeyboardInterrupt:
            ended = "interrupted"
    mean, chol = _in_theta(loop.method, state[0], frame)
    return Run(mean, chol, elbo[:done], seconds[:done], ended, compile_seconds)


def _in_theta(method: str, params: tuple, frame: Frame | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and Cholesky factor on the model's unconstrained space."""
    mean = np.asarray(params[0], np.float64)
    with precision("float64"):
        chol = np.asarray(cholesky(method, params[1]), np.float64)
    if frame is None:
        return mean, chol
    centre, scale = frame
    if scale.ndim == 1:
        return centre + scale * mean, scale.reshape(-1, *[1] * (chol.ndim - 1)) * chol
    return centre + scale @ mean, scale @ chol


def _compiled(loop: Loop, frame: Frame | None) -> Callable[..., tuple]:
    """Up to ``block`` steps on (parameters, optimiser's state), with a run-time number of steps."""
    density = loop.density
    with precision(loop.dtype):
        data = density.arrays()
        placed = None if frame is None else tuple(jnp.asarray(a, loop.dtype) for a in frame)
        key: Hashable = (
            "advi", loop.method, loop.batches.key, loop.block, loop.dtype,
            None if placed is None else placed[1].ndim,
            None if loop.optimizer is None else id(loop.optimizer),  # kept with the code: its own
            density_key(density, data),
        )  # fmt: skip

        def build() -> Any:
            zeros = np.zeros(density.size)
            example = _initial_state(loop, zeros, zeros + 1), jax.random.key(0), 0
            rates = (np.zeros(loop.block),) * 2
            steps = jax.jit(compiled_steps(loop))
            return steps.lower(*example, *rates, placed, data).compile(), loop.optimizer

        function, _ = compiled_once(key, build)

    def advance(*arguments: Any) -> tuple:
        with precision(loop.dtype):
            return function(*arguments, placed, data)

    return advance


def _initial_state(loop: Loop, mean: np.ndarray, sd: np.ndarray) -> tuple[tuple, Any]:
    where = jnp.asarray(mean, loop.dtype)
    scale = jnp.asarray(sd + np.log(-np.expm1(-sd)), loop.dtype)  # inverse softplus
    params = (where, scale if loop.method == "advi" else jnp.diag(scale))
    if loop.optimizer is not None:
        return params, loop.optimizer.init(params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    return params, (zeros, zeros, jnp.asarray(0.0, loop.dtype))


def _check_finite(
    loop: Loop, frame: Frame | None, mean: np.ndarray, elbo: np.ndarray, done: int, steps: int
) -> None:
    bad = np.flatnonzero(~np.isfinite(elbo[done : done + steps]))
    if not bad.size:
        return
    step = done + int(bad[0])
    if step == 0:  # names the variable that is to blame, if the start is
        check_start(loop.density, (mean if frame is None else frame.centre)[None])
    last = f"{elbo[step - 1]:.6g}" if step else "none"
    raise DivergedError(
        f"the ELBO became {elbo[step]} at step {step + 1}; last finite ELBO: {last}. "
        "Try a smaller learning_rate"
    )


def _seen(
    loop: Loop, frame: Frame | None, state: tuple, elbo: np.ndarray, seconds: float
) -> ADVIState:
    """What the callbacks see of the loop's state."""
    method, density, step = loop.method, loop.density, len(elbo)
    mean, chol = _in_theta(method, state[0], frame)
    sd = chol if method == "advi" else np.sqrt((chol**2).sum(axis=1))
    below = np.flatnonzero(loop.weights[:step] < 1)

    def sample(draws: int) -> np.ndarray:
        xi = np.random.default_rng(step).normal(size=(draws, density.size))
        return mean + (chol * xi if method == "advi" else xi @ chol.T)

    return ADVIState(
        step, float(elbo[-1]), seconds, method, density, sample, mean, sd,
        annealed=int(below[-1]) + 1 if below.size else 0,
    )  # fmt: skip
