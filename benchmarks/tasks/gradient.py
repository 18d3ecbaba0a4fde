"""Log density and gradient of chapter 2's model: ours beside two layouts by hand in JAX.

Single precision, one thread, in a compiled loop, as a sampler calls them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.task import Run, Task, Timed
from bnnbook import datasets, models
from bnnbook.density import precision
from bnnbook.inference import compile_log_density

EVALUATIONS = 3_000
SHAPES = ((2, 5), (5, 5), (5,), (3,), (18, 2, 5), (18, 5, 5), (18, 5))
ENDS = np.cumsum([int(np.prod(shape)) for shape in SHAPES])
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def ours(quick: bool) -> Timed:
    """The compiled density of the non-centred model."""
    data = datasets.grouped_moons(seed=31)
    density = compile_log_density(models.hierarchical_mlp_classifier(data.X_train, data.y_train))

    def log_density(theta: Any) -> Any:
        arrays = tuple(jnp.asarray(a) for a in density.data)
        return density.log_prior(theta, arrays) + density.log_likelihood(theta, arrays)

    return looped(log_density, quick)


def by_hand(quick: bool, network: Callable[..., Any]) -> Timed:
    """The same density, up to its constants."""
    data = datasets.grouped_moons(seed=31)
    with precision("float32"):
        rows_last = jnp.swapaxes(jnp.asarray(data.X_train, jnp.float32), 1, 2)
        y = jnp.asarray(data.y_train)

    def log_density(theta: Any) -> Any:
        split = jnp.split(theta, ENDS[:-1])
        parts = [part.reshape(shape) for part, shape in zip(split, SHAPES, strict=True)]
        means, log_sd, offsets = parts[:3], parts[3], parts[4:]
        sd = jnp.exp(log_sd)
        weights = [m + s * e for m, s, e in zip(means, sd, offsets, strict=True)]
        squares = sum((part**2).sum() for part in (*means, sd, *offsets))
        f = jnp.where(y == 1, -1.0, 1.0) * network(rows_last, *weights)
        softplus = jnp.maximum(f, 0) + jnp.log1p(jnp.exp(-jnp.abs(f)))
        return log_sd.sum() - 0.5 * squares - softplus.sum()

    return looped(log_density, quick)


def products(X: Any, w1: Any, w2: Any, w3: Any) -> Any:
    """Batched products, observations last: the best found by hand."""
    h = jnp.tanh(jnp.swapaxes(w1, 1, 2) @ X)
    return (w3[:, None] @ jnp.tanh(jnp.swapaxes(w2, 1, 2) @ h))[:, 0]


def einsum(X: Any, w1: Any, w2: Any, w3: Any) -> Any:
    """Observations last, sums named by letters."""
    h = jnp.tanh(jnp.einsum("gio,gin->gon", w1, X))
    h = jnp.tanh(jnp.einsum("gio,gin->gon", w2, h))
    return jnp.einsum("gi,gin->gn", w3, h)


def looped(log_density: Callable[[Any], Any], quick: bool) -> Timed:
    """Climb by steps too short to matter, so that no evaluation is left out."""
    gradient = jax.value_and_grad(log_density)
    count = EVALUATIONS // 10 if quick else EVALUATIONS

    def loop(theta: Any) -> Any:
        def body(_: Any, state: Any) -> Any:
            value, slope = gradient(state[0])
            return state[0] + 1e-9 * slope, state[1] + value

        return jax.lax.fori_loop(0, count, body, (theta, jnp.float32(0)))

    with precision("float32"):
        start = jnp.asarray(np.random.default_rng(0).normal(size=ENDS[-1]) / 2, jnp.float32)
        compiled = jax.jit(loop)

    def run(_: int) -> Run:
        with precision("float32"):
            clock = time.perf_counter()
            _, total = jax.block_until_ready(compiled(start))
            seconds = time.perf_counter() - clock
        return Run(seconds, work=count, quality={"finite": float(np.isfinite(total))})

    return run


TASKS = (
    Task(
        "gradient-hierarchical", "gradient", "18 networks 2-5-5-1 of 50 rows, 763 parameters",
        "gradient", "level with the best by hand", ours,
        {
            "JAX by hand, products": partial(by_hand, network=products),
            "JAX by hand, einsum": partial(by_hand, network=einsum),
        },
        flags=ONE_THREAD,
    ),
)  # fmt: skip
