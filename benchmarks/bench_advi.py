"""Mean-field ADVI: ``fit_advi`` beside NumPyro's ``SVI.run`` and ``pm.fit``, milliseconds a step.

The model is chapter 1's (2-5-5-1, tanh, 500 rows) and the estimator the same for all: one
reparametrised draw a step, Adam at 0.01. Runs are interleaved and the median is shown; compiling
is timed apart. Each library runs in its own default precision; NumPyro is shown in both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pymc as pm
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoNormal

from bnnbook import datasets, inference, models

STEPS = 30_000
REPEATS = 5
LEARNING_RATE = 0.01

Timed = Callable[[int], float]


def time_fit_advi(model: pm.Model, steps: int) -> tuple[Timed, float]:
    """Seconds of the loop; compiling (traced anew by every call) is stored by ``fit_advi``."""

    def run(seed: int) -> float:
        fit = inference.fit_advi(
            model, steps, learning_rate=LEARNING_RATE, draws=1, seed=seed, progressbar=False
        )
        return float(fit.attrs["seconds"])

    clock = time.perf_counter()
    loop = run(0)
    return run, time.perf_counter() - clock - loop


def time_numpyro(X: np.ndarray, y: np.ndarray, steps: int, *, x64: bool) -> tuple[Timed, float]:
    """``SVI.run`` under one ``jax.jit``, so that repeats do not compile again."""

    def network(X: Any, y: Any) -> None:
        w1 = numpyro.sample("w1", dist.Normal(0, 1).expand([2, 5]).to_event(2))
        w2 = numpyro.sample("w2", dist.Normal(0, 1).expand([5, 5]).to_event(2))
        w_out = numpyro.sample("w_out", dist.Normal(0, 1).expand([5]).to_event(1))
        hidden = jnp.tanh(jnp.tanh(X @ w1) @ w2)
        numpyro.sample("obs", dist.Bernoulli(logits=hidden @ w_out), obs=y)

    with jax.enable_x64(x64):
        inputs, labels = jnp.asarray(X, float), jnp.asarray(y)
        svi = SVI(network, AutoNormal(network), numpyro.optim.Adam(LEARNING_RATE), Trace_ELBO())
        compiled = jax.jit(lambda key: svi.run(key, steps, inputs, labels, progress_bar=False)[::2])

    def run(seed: int) -> float:
        with jax.enable_x64(x64):
            clock = time.perf_counter()
            _, losses = jax.block_until_ready(compiled(jax.random.key(seed)))
            seconds = time.perf_counter() - clock
        assert losses.dtype == (jnp.float64 if x64 else jnp.float32)
        assert bool(jnp.isfinite(losses).all())
        return seconds

    return run, run(0) - run(1)


def time_pm_fit(model: pm.Model, steps: int) -> tuple[Timed, float]:
    """The loop of ``pm.fit`` without its progress bar: its compiled step, called in turn."""
    clock = time.perf_counter()
    with model:
        advi = pm.ADVI(random_seed=0)
        step = advi.objective.step_function(
            obj_optimizer=pm.adam(learning_rate=LEARNING_RATE), score=True
        )
    step()
    compile_seconds = time.perf_counter() - clock

    def run(_: int) -> float:
        clock = time.perf_counter()
        for _ in range(steps):
            step()
        return time.perf_counter() - clock

    return run, compile_seconds


def main(steps: int = STEPS, repeats: int = REPEATS) -> dict[str, float]:
    """Print the table; return the median milliseconds a step by library."""
    data = datasets.two_moons(seed=1)
    model = models.mlp_classifier(data.X_train, data.y_train)
    few = max(steps // 3, 1)  # pm.fit is the slow one, and a loop of equal steps
    timed = {
        "fit_advi (float64)": (*time_fit_advi(model, steps), steps),
        "NumPyro SVI.run (float32)": (
            *time_numpyro(data.X_train, data.y_train, steps, x64=False), steps
        ),
        "NumPyro SVI.run (float64)": (
            *time_numpyro(data.X_train, data.y_train, steps, x64=True), steps
        ),
        "pm.fit (float64)": (*time_pm_fit(model, few), few),
    }  # fmt: skip
    runs: dict[str, list[float]] = {name: [] for name in timed}
    for repeat in range(repeats):
        for name, (run, _, length) in timed.items():
            runs[name].append(1e3 * run(repeat + 1) / length)
    medians = {name: float(np.median(values)) for name, values in runs.items()}
    ours = medians["fit_advi (float64)"]
    print(f"\nMean-field ADVI, 2-5-5-1 on {len(data.X_train)} rows, {steps:,} steps:")
    print(f"median (range) of {repeats} interleaved runs\n")
    print(f"{'':27s}{'ms/step':>9s}{'range':>18s}{'compile s':>11s}{'fit_advi is':>14s}")
    for name, values in runs.items():
        spread = f"{min(values):.4f}-{max(values):.4f}"
        ratio = f"{medians[name] / ours:.2f}x as fast"
        print(f"{name:27s}{medians[name]:9.4f}{spread:>18s}{timed[name][1]:11.1f}{ratio:>16s}")
    return medians


if __name__ == "__main__":
    main()
