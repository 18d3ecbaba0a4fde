"""Effective draws of the *function* per second on chapter 3's posterior, which has two modes.

`sample_tempered` beside NumPyro's NUTS on the same model (2-3-2-1 with biases, 80 points, prior sd
3.33): the smallest bulk ESS of the probability over a 25 x 25 grid, by seconds that include
compiling. Each run has a process of its own, so that both compile anew and NumPyro has one host
device per chain; NumPyro runs in its default single precision, ours in double.

Chains of NUTS stay in the mode in which they start, so that their ESS is a count of accidents: it
barely grows with the draws, and the longer the run, the fewer there are to a second.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bnnbook import datasets, diagnostics, inference, models, plots, predict

PRIOR_SD = 1 / 0.3
CHAINS = 4
REPEATS = 3
TEMPERED = {"draws": 1000, "tune": 2000, "thin": 10}
NUMPYRO = {"draws": 2000, "tune": 1000}
SHAPES = {"w1": (2, 3), "b1": (3,), "w2": (3, 2), "b2": (2,), "w_out": (2,), "b_out": ()}


class Run(NamedTuple):
    """One run: smallest bulk ESS and largest R-hat on the grid, and seconds."""

    ess: float
    rhat: float
    seconds: float
    compile_seconds: float


def problem() -> tuple[datasets.Dataset, Any]:
    """The data and the model of chapter 3."""
    data = datasets.boxes(seed=1234)
    return data, models.mlp_classifier(
        data.X_train, data.y_train, hidden=(3, 2), bias=True, prior_sd=PRIOR_SD
    )


def judged(posterior: xr.Dataset, model: Any, seconds: float, compile_seconds: float) -> Run:
    """Diagnostics over the grid, which are no part of the time."""
    where = plots.grid((-6, 6), (-6, 6), 25)
    p = predict.compile_predictor(model, "p")(posterior, where.points)["p"]
    found = diagnostics.function_space(p).attrs
    return Run(found["min_ess_bulk"], found["max_rhat"], seconds, compile_seconds)


def run_tempered(seed: int, settings: dict[str, int]) -> Run:
    """Parallel tempering; its clock starts before the model is compiled."""
    _, model = problem()
    clock = time.perf_counter()
    fit = inference.sample_tempered(model, **settings, chains=CHAINS, seed=seed, progressbar=False)
    seconds = time.perf_counter() - clock
    posterior = fit["posterior"].to_dataset()
    return judged(posterior, model, seconds, seconds - fit.attrs["seconds"])


def run_numpyro(seed: int, settings: dict[str, int]) -> Run:
    """NumPyro's NUTS with its defaults, one host device per chain."""
    import numpyro
    import numpyro.distributions as dist
    import numpyro.infer as infer

    data, model = problem()

    def network(X: Any, y: Any) -> None:
        w = {
            name: numpyro.sample(name, dist.Normal(0, PRIOR_SD).expand(shape).to_event(len(shape)))
            for name, shape in SHAPES.items()
        }
        hidden = jnp.tanh(jnp.tanh(X @ w["w1"] + w["b1"]) @ w["w2"] + w["b2"])
        numpyro.sample("obs", dist.Bernoulli(logits=hidden @ w["w_out"] + w["b_out"]), obs=y)

    assert jax.local_device_count() == CHAINS
    with jax.enable_x64(False):
        inputs = jnp.asarray(data.X_train, "float32"), jnp.asarray(data.y_train, "int32")
        clock = time.perf_counter()
        sampler = infer.MCMC(
            infer.NUTS(network), num_warmup=settings["tune"], num_samples=settings["draws"],
            num_chains=CHAINS, chain_method="parallel", progress_bar=False,
        )  # fmt: skip
        compiling = infer.MCMC(
            infer.NUTS(network), num_warmup=1, num_samples=1, num_chains=CHAINS,
            chain_method="parallel", progress_bar=False,
        )  # fmt: skip
        compiling.run(jax.random.key(seed), *inputs)
        compile_seconds = time.perf_counter() - clock
        clock = time.perf_counter()
        sampler.run(jax.random.key(seed), *inputs)
        draws = {
            name: np.asarray(value, dtype=float)
            for name, value in sampler.get_samples(group_by_chain=True).items()
        }
        seconds = time.perf_counter() - clock
    dims = {name: ("chain", "draw", *model.named_vars_to_dims.get(name, ())) for name in draws}
    posterior = xr.Dataset({name: (dims[name], value) for name, value in draws.items()})
    return judged(posterior, model, seconds, compile_seconds)


def in_new_process(function: Any, *arguments: Any) -> Run:
    """Call in a fresh interpreter that sees one host device per chain."""
    before = os.environ.get("XLA_FLAGS")
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={CHAINS}"
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(function, *arguments).result()
    finally:
        os.environ.pop("XLA_FLAGS")
        if before is not None:
            os.environ["XLA_FLAGS"] = before


def main(repeats: int = REPEATS) -> dict[str, float]:
    """Print the table; return the median ESS per second, compiling included, by library."""
    samplers = {
        "sample_tempered (float64)": (run_tempered, TEMPERED),
        "NumPyro NUTS (float32)": (run_numpyro, NUMPYRO),
    }
    runs: dict[str, list[Run]] = {name: [] for name in samplers}
    for seed in range(repeats):
        for name, (function, settings) in samplers.items():
            runs[name].append(in_new_process(function, seed, settings))
    rates = {name: median(run.ess / run.seconds for run in found) for name, found in runs.items()}
    print(f"\nBox model, {CHAINS} chains, smallest ESS of p on a 25 x 25 grid;")
    print(f"medians of {repeats} interleaved runs, one process each, compiling included\n")
    print(f"{'':28}{'ESS':>7}{'R-hat':>8}{'seconds':>9}{'compile s':>11}{'ESS/s':>8}{'range':>16}")
    for name, found in runs.items():
        middle = [median(column) for column in zip(*found, strict=True)]
        each = sorted(run.ess / run.seconds for run in found)
        spread = f"{each[0]:.2f}-{each[-1]:.2f}"
        print(
            f"{name:28}{middle[0]:7.0f}{middle[1]:8.3f}{middle[2]:9.1f}{middle[3]:11.1f}"
            f"{rates[name]:8.2f}{spread:>16}"
        )
    ours, theirs = rates.values()
    print(f"\nsample_tempered has {ours / theirs:.1f} times the effective draws per second")
    return rates


if __name__ == "__main__":
    main()
