"""Point fits: ``fit_map`` beside SciPy's L-BFGS-B on a density written by hand in JAX."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from benchmarks.task import Run, Task, Timed
from bnnbook import datasets, inference, models

MOST = 2_000  # iterations; BLAS has one thread for all contestants
SHAPES = ((2, 5), (5, 5), (5,))
ENDS = np.cumsum([int(np.prod(shape)) for shape in SHAPES])


def ours(quick: bool, members: int) -> Timed:
    """``fit_map``, or ``fit_ensemble`` with as many iterations a member."""
    data = datasets.two_moons(seed=1)
    model = models.mlp_classifier(data.X_train, data.y_train)
    most = MOST // 20 if quick else MOST

    def run(seed: int) -> Run:
        quiet = {"max_steps": most, "seed": seed, "progressbar": False}
        clock = time.perf_counter()
        if members == 1:
            fit = inference.fit_map(model, **quiet)
        else:
            fit = inference.fit_ensemble(model, n_members=members, **quiet)
        seconds = time.perf_counter() - clock
        X, y = data.X_train, data.y_train
        values = [
            float(negative(jnp.asarray(np.concatenate([w.ravel() for w in each])), X, y))
            for each in zip(*(fit["posterior"][k].to_numpy().reshape(members, *s)
                              for k, s in zip(("w1", "w2", "w_out"), SHAPES, strict=True)),
                            strict=True)
        ]  # fmt: skip
        return Run(seconds, work=members, quality={"median log p": -float(np.median(values))})

    return run


def negative(theta: Any, X: Any, y: Any) -> Any:
    """Minus the log joint density, with its constants left out."""
    w = [part.reshape(s) for part, s in zip(jnp.split(theta, ENDS[:-1]), SHAPES, strict=True)]
    f = jnp.tanh(jnp.tanh(X @ w[0]) @ w[1]) @ w[2]
    return jax.nn.softplus(jnp.where(y == 1, -f, f)).sum() + 0.5 * theta @ theta


def by_scipy(quick: bool, members: int) -> Timed:
    """The same optimiser from draws of the prior."""
    data = datasets.two_moons(seed=1)
    both = jax.jit(jax.value_and_grad(negative))
    X, y = jnp.asarray(data.X_train), jnp.asarray(data.y_train)
    most = MOST // 20 if quick else MOST

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = both(theta, X, y)
        return float(value), np.asarray(gradient)

    def run(seed: int) -> Run:
        rng = np.random.default_rng(seed)
        clock = time.perf_counter()
        found = [
            minimize(objective, rng.normal(size=ENDS[-1]), jac=True, method="L-BFGS-B",
                     options={"maxiter": most}).fun
            for _ in range(members)
        ]  # fmt: skip
        seconds = time.perf_counter() - clock
        return Run(seconds, work=members, quality={"median log p": -float(np.median(found))})

    return run


TASKS = tuple(
    Task(
        name,
        "points",
        f"{what}, 2-5-5-1 on 500 rows, at most {MOST:,} iterations",
        "fit",
        "at most 1.1x",
        partial(ours, members=members),
        {"SciPy and JAX by hand": partial(by_scipy, members=members)},
    )
    for name, what, members in (("MAP", "one mode", 1), ("ensemble", "20 modes", 20))
)
