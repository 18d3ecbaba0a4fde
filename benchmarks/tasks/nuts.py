"""NUTS beside ``pm.sample``, nutpie and NumPyro, which draw from the same ``pm.Model``.

Compared are seconds for an effective draw, with and without compiling; every run has a process of
its own and compiles anew. For networks it is draws of the logits or means that count, not of the
weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import arviz as az
import numpy as np
import pymc as pm
import xarray as xr

from benchmarks.task import Run, Task, Timed
from bnnbook import datasets, diagnostics, inference, models, predict

CHAINS = 4
DEVICES = f"--xla_force_host_platform_device_count={CHAINS}"  # NumPyro's chains run at once


def eight_schools() -> pm.Model:
    """Non-centred (Gelman et al., section 5.5)."""
    y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
    sd = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
    with pm.Model() as model:
        mu, tau = pm.Normal("mu", 0, 5), pm.HalfCauchy("tau", 5)
        pm.Normal("obs", mu + tau * pm.Normal("offset", 0, 1, shape=8), sd, observed=y)
    return model


def ark() -> pm.Model:
    """Autoregression of order 5 on 200 simulated values, priors as in posteriordb."""
    rng = np.random.default_rng(0)
    y = np.zeros(205)
    for t in range(5, 205):
        y[t] = np.array([0.6, -0.3, 0.2, 0.1, -0.1]) @ y[t - 5 : t][::-1] + 0.15 * rng.normal()
    y = y[5:]
    lags = np.stack([y[4 - k : len(y) - 1 - k] for k in range(5)], axis=1)
    with pm.Model() as model:
        alpha, beta = pm.Normal("alpha", 0, 10), pm.Normal("beta", 0, 10, shape=5)
        pm.Normal("obs", alpha + lags @ beta, pm.HalfCauchy("sigma", 2.5), observed=y[5:])
    return model


def logistic() -> pm.Model:
    """10,000 rows of 10 features."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(10_000, 10))
    y = rng.random(10_000) < 1 / (1 + np.exp(-X @ rng.normal(size=10)))
    with pm.Model() as model:
        w = pm.Normal("w", 0, 1, shape=10)
        pm.Bernoulli("obs", logit_p=pm.Data("X", X) @ w, observed=y.astype(int))
    return model


def moons() -> pm.Model:
    """Chapter 1's network."""
    data = datasets.two_moons(seed=1)
    return models.mlp_classifier(data.X_train, data.y_train)


def hierarchical() -> pm.Model:
    """Chapter 2's model, the same parameterisation for all."""
    data = datasets.grouped_moons(seed=31)
    return models.hierarchical_mlp_classifier(
        data.X_train, data.y_train, centred=(False, False, "location")
    )


def yacht() -> pm.Model:
    """The reference posterior's network: known noise, the last layer integrated out."""
    data = datasets.uci("yacht", 0)
    return models.mlp_regression(
        data.X_train, data.y_train, (10,), heteroskedastic=False, noise_sd=2.0,
        marginal_output=True,
    )  # fmt: skip


def draw_with(
    sampler: str, model: pm.Model, draws: int, tune: int, seed: int, **settings: Any
) -> tuple[xr.Dataset, float, float]:
    """Posterior, seconds without and seconds of compiling, of one of the four samplers."""
    clock = time.perf_counter()
    if sampler == "bnnbook":
        fit = inference.sample_nuts(
            model, draws=draws, tune=tune, chains=CHAINS, seed=seed, progressbar=False, **settings
        )
        compiling = float(fit.attrs["compile_seconds"])
    elif sampler.startswith("nutpie"):
        import nutpie

        backend = sampler.partition(" ")[2]
        extra = {"gradient_backend": "jax"} if backend == "jax" else {}
        compiled = nutpie.compile_pymc_model(model, backend=backend, **extra)
        compiling = time.perf_counter() - clock
        fit = nutpie.sample(
            compiled, draws=draws, tune=tune, chains=CHAINS, seed=seed, progress_bar=False,
            **settings,
        )  # fmt: skip
    else:
        fit = pm.sample(
            draws, tune=tune, chains=CHAINS, cores=CHAINS, random_seed=seed, progressbar=False,
            nuts_sampler=sampler, compute_convergence_checks=False, **settings,
            model=model,
        )  # fmt: skip
        wall = time.perf_counter() - clock
        sampling = fit["posterior"].attrs.get("sampling_time", wall)
        compiling = max(wall - float(sampling), 0.0)
    wall = time.perf_counter() - clock
    return fit["posterior"].to_dataset(), wall - compiling, compiling


def contestant(
    quick: bool,
    sampler: str,
    build: Callable[[], pm.Model],
    draws: int,
    tune: int,
    settings: dict[str, Any],
) -> Timed:
    """Draw, and judge the draws outside the time."""
    model = build()
    draws, tune = (100, 100) if quick else (draws, tune)
    functions = {variable.name for variable in model.deterministics}

    def run(seed: int) -> Run:
        posterior, seconds, compiling = draw_with(sampler, model, draws, tune, seed, **settings)
        if output := next((name for name in ("p", "mu") if name in functions), None):
            f = predict.compile_predictor(model, output)(posterior, model["X"].get_value())[output]
            if output == "p":
                p = f.clip(1e-12, 1 - 1e-12)
                f = np.log(p / (1 - p))
            found = diagnostics.function_space(f).attrs
            ess, rhat = float(found["min_ess_bulk"]), float(found["max_rhat"])
        else:
            free = posterior[[v.name for v in model.free_RVs]]
            ess = min(float(v.min()) for v in az.ess(free).data_vars.values())
            rhat = max(float(v.max()) for v in az.rhat(free).data_vars.values())
        return Run(seconds, compiling, ess, {"R-hat": rhat, "min ESS": ess})

    return run


PEERS = {
    "pm.sample": "pymc", "nutpie, Numba": "nutpie numba", "nutpie, JAX": "nutpie jax",
    "NumPyro": "numpyro",
}  # fmt: skip


def task(
    name: str, what: str, build: Callable[[], pm.Model], peers: tuple[str, ...],
    goal: str = "ahead of each, compiling included", draws: int = 1000, tune: int = 1000,
    own: dict[str, Any] | None = None, **settings: Any,
) -> Task:  # fmt: skip
    """Ours and the peers on a model; ``settings`` are for all, ``own`` for ours alone."""
    same = {"build": build, "draws": draws, "tune": tune}
    return Task(
        name, "nuts", f"{what}, {CHAINS} x ({tune:,} + {draws:,})", "effective draw", goal,
        partial(contestant, sampler="bnnbook", settings=settings | (own or {}), **same),
        {
            peer: partial(contestant, sampler=PEERS[peer], settings=settings, **same)
            for peer in peers
        },
        fresh=True, flags=DEVICES,
    )  # fmt: skip


TASKS = (
    task("NUTS-schools", "eight schools, non-centred", eight_schools, tuple(PEERS)),
    task("NUTS-arK", "order 5 on 200 values", ark, tuple(PEERS)),
    task("NUTS-logistic", "10,000 rows of 10 features", logistic, tuple(PEERS)),
    task("NUTS-moons", "2-5-5-1 on 500 rows", moons, tuple(PEERS)),
    task("NUTS-yacht", "6-10-1 on 277 rows, marginal output", yacht, tuple(PEERS)),
    task(
        "NUTS-hierarchical", "18 networks 2-5-5-1, 763 parameters", hierarchical,
        ("nutpie, JAX", "NumPyro"), "3x NumPyro at R-hat of at most 1.01", 1500, 1000,
        {"dtype": "float32", "exchangeable": ("hidden_1", "hidden_2")}, target_accept=0.9,
    ),
)  # fmt: skip
