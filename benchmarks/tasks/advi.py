"""Mean-field ADVI: ``fit_advi`` beside NumPyro's ``SVI``, ``pm.fit`` and pymc-extras.

The estimator is the same for all: one reparametrised draw a step, Adam at 0.01, double precision.
The ELBO is the mean of the last tenth of the steps' estimates.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pymc as pm
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoNormal

from benchmarks.task import Run, Task, Timed
from bnnbook import datasets, inference, models

STEPS, QUICK_STEPS = 30_000, 1_000
RATE = 0.01
ROWS, BATCH = 1_000_000, 100


def moons() -> tuple[np.ndarray, np.ndarray, tuple[int, ...], int | None]:
    """Chapter 1's data and network."""
    data = datasets.two_moons(seed=1)
    return data.X_train, data.y_train, (5, 5), None


def wide() -> tuple[np.ndarray, np.ndarray, tuple[int, ...], int | None]:
    """500 rows of 20 features, a network of 12,100 weights."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 20))
    return X, (X[:, 0] * X[:, 1] > 0).astype(int), (100, 100), None


def rows() -> tuple[np.ndarray, np.ndarray, tuple[int, ...], int | None]:
    """A million rows in minibatches."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(ROWS, 2))
    return X, (X[:, 0] * X[:, 1] + 0.3 * rng.normal(size=ROWS) > 0).astype(int), (5, 5), BATCH


Problem = Callable[[], tuple[np.ndarray, np.ndarray, tuple[int, ...], int | None]]


def outcome(seconds: float, elbo: np.ndarray, compile_seconds: float | None = None) -> Run:
    """A run with its ELBO."""
    last = float(np.mean(elbo[-len(elbo) // 10 :]))
    return Run(seconds, compile_seconds, len(elbo), {"ELBO": last})


def ours(quick: bool, problem: Problem) -> Timed:
    """``fit_advi`` as a user calls it; its checks of the result count as the loop's."""
    X, y, hidden, batch = problem()
    model = models.mlp_classifier(X, y, hidden)
    steps = QUICK_STEPS if quick else STEPS

    def run(seed: int) -> Run:
        fit = inference.fit_advi(
            model, steps, learning_rate=RATE, batch_size=batch, draws=1, seed=seed,
            progressbar=False,
        )  # fmt: skip
        return outcome(fit.attrs["seconds"], fit["history"]["elbo"].to_numpy())

    return run


def by_numpyro(quick: bool, problem: Problem) -> Timed:
    """``SVI.run`` under one ``jax.jit``, so that repeats do not compile again."""
    X, y, hidden, batch = problem()
    widths = (X.shape[1], *hidden)
    steps = QUICK_STEPS if quick else STEPS

    def network(X: Any, y: Any) -> None:
        w = [
            numpyro.sample(f"w{i}", dist.Normal(0, 1).expand([a, b]).to_event(2))
            for i, (a, b) in enumerate(itertools.pairwise(widths))
        ]
        w_out = numpyro.sample("w_out", dist.Normal(0, 1).expand([widths[-1]]).to_event(1))
        with numpyro.plate("rows", len(X), subsample_size=batch) as chosen:
            h = X if batch is None else X[chosen]
            for one in w:
                h = jnp.tanh(h @ one)
            labels = y if batch is None else y[chosen]
            numpyro.sample("obs", dist.Bernoulli(logits=h @ w_out), obs=labels)

    inputs, labels = jnp.asarray(X, float), jnp.asarray(y)
    svi = SVI(network, AutoNormal(network), numpyro.optim.Adam(RATE), Trace_ELBO())
    compiled = jax.jit(lambda key, X, y: svi.run(key, steps, X, y, progress_bar=False)[::2])

    def run(seed: int) -> Run:
        clock = time.perf_counter()
        _, losses = jax.block_until_ready(compiled(jax.random.key(seed), inputs, labels))
        return outcome(time.perf_counter() - clock, -np.asarray(losses))

    return run


def by_pm_fit(quick: bool, problem: Problem) -> Timed:
    """The loop of ``pm.fit`` without its progress bar, for a tenth of the steps: it is slow."""
    X, y, hidden, batch = problem()
    if batch is not None:
        X, y = pm.Minibatch(X, y, batch_size=batch)
    with pm.Model() as model:
        h = X
        for i, width in enumerate(hidden):
            inputs = 2 if batch is not None and i == 0 else (hidden[i - 1] if i else X.shape[1])
            h = pm.math.tanh(h @ pm.Normal(f"w{i}", 0, 1, shape=(inputs, width)))
        logits = h @ pm.Normal("w_out", 0, 1, shape=hidden[-1])
        pm.Bernoulli("obs", logit_p=logits, observed=y, total_size=ROWS if batch else None)
    with model:
        advi = pm.ADVI(random_seed=0)
        step = advi.objective.step_function(obj_optimizer=pm.adam(learning_rate=RATE), score=True)
    steps = (QUICK_STEPS if quick else STEPS) // 10
    scale = ROWS / batch if batch else 1.0  # pm.fit divides its loss by it

    def run(_: int) -> Run:
        clock = time.perf_counter()
        losses = np.array([step() for _ in range(steps)])
        return outcome(time.perf_counter() - clock, -scale * losses)

    return run


def by_pymc_extras(quick: bool, problem: Problem) -> Timed:
    """``fit_advi``, which the releases seen until now (0.12.1) do not export."""
    from pymc_extras.inference import fit_advi

    X, y, hidden, batch = problem()
    if batch is not None:
        # printed in the table in the place of the peer's time
        raise NotImplementedError("minibatches are not tried")
    model = models.mlp_classifier(X, y, hidden)
    steps = QUICK_STEPS if quick else STEPS

    def run(seed: int) -> Run:
        clock = time.perf_counter()
        fit_advi(model=model, n_steps=steps, random_seed=seed)
        return Run(time.perf_counter() - clock, work=steps)

    return run


def task(name: str, what: str, problem: Problem) -> Task:
    """Ours and the peers on a problem."""
    peers = {
        "NumPyro SVI": by_numpyro, "pm.fit, a tenth of the steps": by_pm_fit,
        "pymc-extras fit_advi": by_pymc_extras,
    }  # fmt: skip
    return Task(
        name, "advi", f"mean-field ADVI, {STEPS:,} steps: {what}", "step",
        "faster than each, compiling included, at an equal or better ELBO",
        partial(ours, problem=problem), {k: partial(f, problem=problem) for k, f in peers.items()},
    )  # fmt: skip


TASKS = (
    task("ADVI-moons", "2-5-5-1 on 500 rows", moons),
    task("ADVI-wide", "20-100-100-1 on 500 rows", wide),
    task("ADVI-minibatches", "2-5-5-1, batches of 100 from 1,000,000 rows", rows),
)
