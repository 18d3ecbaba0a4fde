"""Predictions of a 2-5-5-1 network from draws: ours beside NumPy, jitted JAX and PyMC."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr

from benchmarks.task import Run, Task, Timed
from bnnbook import models, predict

DRAWS = 500
SHAPES = {"w1": (2, 5), "w2": (5, 5), "w_out": (5,)}


def problem(points: int) -> tuple[pm.Model, xr.Dataset, list[np.ndarray], np.ndarray]:
    """Model, draws as a posterior and as arrays, and inputs."""
    rng = np.random.default_rng(0)
    model = models.mlp_classifier(rng.normal(size=(500, 2)), rng.integers(0, 2, 500))
    draws = {k: rng.normal(size=(1, DRAWS, *s)) for k, s in SHAPES.items()}
    dims = {k: ("chain", "draw", *model.named_vars_to_dims[k]) for k in SHAPES}
    posterior = xr.Dataset({k: (dims[k], v) for k, v in draws.items()})
    return model, posterior, [v[0] for v in draws.values()], rng.normal(size=(points, 2))


def by_numpy(w: list[np.ndarray], X: np.ndarray) -> np.ndarray:
    """The probabilities (draws, points)."""
    logit = np.tanh(np.tanh(X @ w[0]) @ w[1]) @ w[2][..., None]
    return 1 / (1 + np.exp(-logit[..., 0]))


def timed(call: Callable[[], np.ndarray], w: list[np.ndarray], X: np.ndarray, calls: int) -> Timed:
    """Repeat a call; its error is that of the first 100 points."""

    def run(_: int) -> Run:
        clock = time.perf_counter()
        for _ in range(calls):
            found = call()
        seconds = time.perf_counter() - clock
        error = np.abs(found[:, :100] - by_numpy(w, X[:100])).max()
        return Run(seconds, work=calls, quality={"largest error": float(error)})

    return run


def ours(quick: bool, points: int, calls: int) -> Timed:
    """A compiled predictor, bound to its draws where the rows are few."""
    model, posterior, w, X = problem(points)
    predictor = predict.compile_predictor(model, "p")
    bound = predictor.bind(posterior)
    call = bound if points == 1 else lambda X: predictor(posterior, X)
    return timed(lambda: call(X)["p"].to_numpy()[0], w, X, few(calls, quick))


def numpy(quick: bool, points: int, calls: int) -> Timed:
    """Written by hand."""
    _, _, w, X = problem(points)
    return timed(lambda: by_numpy(w, X), w, X, few(calls, quick))


def jitted(quick: bool, points: int, calls: int) -> Timed:
    """Written by hand in JAX, draw by draw, in double precision as ours."""
    _, _, w, X = problem(points)

    @jax.jit
    def function(w: list[jax.Array], X: jax.Array) -> jax.Array:
        def one(w: Any) -> jax.Array:
            return jax.nn.sigmoid(w[2] @ jnp.tanh(w[1].T @ jnp.tanh(w[0].T @ X.T)))

        return jax.lax.map(one, w)

    return timed(lambda: np.asarray(function(w, X)), w, X, few(calls, quick))


def by_pymc(_: bool, points: int, calls: int) -> Timed:
    """``pm.sample_posterior_predictive``, which compiles in every call: few of them."""
    model, posterior, w, X = problem(points)
    tree = xr.DataTree.from_dict({"posterior": posterior})

    def call() -> np.ndarray:
        with model:
            pm.set_data({"X": X, "y": np.zeros(points, int)}, coords={"obs_id": np.arange(points)})
            found = pm.sample_posterior_predictive(
                tree, var_names=["p", "obs"], freeze_vars=list(SHAPES), random_seed=1,
                progressbar=False,
            )  # fmt: skip
        return found["posterior_predictive"]["p"].to_numpy()[0]

    return timed(call, w, X, max(calls // 1_000, 1))


def few(calls: int, quick: bool) -> int:
    """A tenth of the calls, at least one."""
    return max(calls // 10, 1) if quick else calls


def task(name: str, points: int, calls: int, goal: str) -> Task:
    """Ours and three peers at some number of points."""
    peers = {
        "JAX, jitted": jitted, "NumPy": numpy, "pm.sample_posterior_predictive": by_pymc
    }  # fmt: skip
    return Task(
        name, "predict",
        f"probabilities of {DRAWS} draws at {points:,} point{'s' * (points > 1)}, 2-5-5-1, float64",
        "call", goal, partial(ours, points=points, calls=calls),
        {peer: partial(f, points=points, calls=calls) for peer, f in peers.items()},
    )  # fmt: skip


TASKS = (
    task("predict-10000", 10_000, 10, "at most 1.2x jitted JAX, 8x faster than PyMC"),
    task("predict-1", 1, 1_000, "at most .5 ms"),
)
