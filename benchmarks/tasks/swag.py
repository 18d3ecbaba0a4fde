"""SWAG: ``fit_swag`` beside JAX by hand, with as many steps of the same two optimisers.

Adam with a falling rate finds a mode; gradient descent with momentum wanders around it, and the
moments of its iterates are the fit.
"""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.task import Run, Task, Timed
from benchmarks.tasks.points import ENDS, SHAPES, negative
from bnnbook import datasets, inference, models

STEPS, QUICK_STEPS = 50_000, 2_000  # of each phase
BATCH, EVERY, RANK, DRAWS = 50, 50, 20, 1_000
ADAM_RATE, RATE, MOMENTUM = 0.01, 0.01, 0.9


def judged(seconds: float, steps: int, draws: np.ndarray, X: Any, y: Any) -> Run:
    """A run with the negative log likelihood of the rows under the mean of the draws' p."""
    f = jax.vmap(logits, (0, None))(jnp.asarray(draws), X)
    p = np.asarray(jax.nn.sigmoid(jnp.where(y == 1, f, -f))).mean(axis=0)
    quality = {"NLL": -float(np.log(p).mean()), "mean log sd": float(np.log(draws.std(0)).mean())}
    return Run(seconds, work=2 * steps, quality=quality)


def logits(theta: Any, X: Any) -> Any:
    """Chapter 1's network of one vector."""
    w = [part.reshape(s) for part, s in zip(jnp.split(theta, ENDS[:-1]), SHAPES, strict=True)]
    return jnp.tanh(jnp.tanh(X @ w[0]) @ w[1]) @ w[2]


def ours(quick: bool) -> Timed:
    """``fit_swag`` as a user calls it."""
    data = datasets.two_moons(seed=1)
    model = models.mlp_classifier(data.X_train, data.y_train)
    steps = QUICK_STEPS if quick else STEPS

    def run(seed: int) -> Run:
        clock = time.perf_counter()
        fit = inference.fit_swag(
            model, learning_rate=RATE, batch_size=BATCH, tune=steps, steps=steps,
            collect_every=EVERY, rank=RANK, draws=DRAWS, seed=seed, progressbar=False,
        )  # fmt: skip
        seconds = time.perf_counter() - clock
        draws = np.concatenate(
            [fit["posterior"][k].to_numpy().reshape(DRAWS, -1) for k in ("w1", "w2", "w_out")], 1
        )
        return judged(seconds, steps, draws, data.X_test, data.y_test)

    return run


def loss(theta: Any, X: Any, y: Any, rows: int) -> Any:
    """Minus the log posterior by the number of rows, from a batch."""
    prior = 0.5 * theta @ theta
    return (prior + (negative(theta, X, y) - prior) * (rows / len(X))) / rows


def by_hand(quick: bool) -> Timed:
    """Both phases in one compiled function; moments and draws in NumPy."""
    data = datasets.two_moons(seed=1)
    X, y = jnp.asarray(data.X_train), jnp.asarray(data.y_train)
    steps = QUICK_STEPS if quick else STEPS
    n = len(X)

    def phase(optimizer: Any, theta: Any, key: Any, X: Any, y: Any) -> tuple[Any, Any]:
        """The last point, and that of the end of each block."""

        def step(carry: tuple, key: Any) -> tuple:
            theta, state = carry
            rows = jax.random.randint(key, (BATCH,), 0, n)
            update, state = optimizer.update(jax.grad(loss)(theta, X[rows], y[rows], n), state)
            return (theta + update, state), None

        def block(carry: tuple, keys: Any) -> tuple:
            carry, _ = jax.lax.scan(step, carry, keys)
            return carry, carry[0]

        keys = jax.random.split(key, (steps // EVERY, EVERY))
        (theta, _), iterates = jax.lax.scan(block, (theta, optimizer.init(theta)), keys)
        return theta, iterates

    @jax.jit
    def descend(theta: Any, key: Any, X: Any, y: Any) -> Any:
        first, second = jax.random.split(key)
        theta, _ = phase(
            optax.adam(optax.cosine_decay_schedule(ADAM_RATE, steps)), theta, first, X, y
        )
        return phase(optax.sgd(RATE, momentum=MOMENTUM), theta, second, X, y)[1]

    def run(seed: int) -> Run:
        rng = np.random.default_rng(seed)
        clock = time.perf_counter()
        start = jnp.asarray(rng.normal(size=ENDS[-1]))
        iterates = np.asarray(descend(start, jax.random.key(seed), X, y))
        running = np.cumsum(iterates, axis=0) / np.arange(1, len(iterates) + 1)[:, None]
        deviations = (iterates - running)[-RANK:]
        z1, z2 = rng.normal(size=(DRAWS, ENDS[-1])), rng.normal(size=(DRAWS, RANK))
        draws = (
            running[-1]
            + z1 * iterates.std(axis=0) / np.sqrt(2)
            + z2 @ deviations / np.sqrt(2 * (RANK - 1))
        )
        seconds = time.perf_counter() - clock
        return judged(seconds, steps, draws, data.X_test, data.y_test)

    return run


TASKS = (
    Task(
        "SWAG-moons", "laplace",
        f"SWAG, 2-5-5-1, batches of {BATCH} of 500 rows, {STEPS:,} steps of each phase",
        "step", "ahead or level, stated", ours, {"JAX by hand": by_hand},
    ),
)  # fmt: skip
