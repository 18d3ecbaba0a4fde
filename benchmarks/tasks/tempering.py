"""Effective draws of the *function* on chapter 3's posterior, which has two modes.

Chains of NUTS stay in the mode in which they start, so that their ESS is a count of accidents.
Those of ``pm.sample_smc`` are independent runs of all particles: its draws count by the same ESS,
which is small where the runs do not agree.
"""

from __future__ import annotations

import time

import pymc as pm
import xarray as xr

from benchmarks.task import Run, Task, Timed
from benchmarks.tasks.nuts import DEVICES, draw_with
from bnnbook import datasets, diagnostics, inference, models, plots, predict

PRIOR_SD = 1 / 0.3
CHAINS = 4


def boxes() -> pm.Model:
    """Chapter 3's model."""
    data = datasets.boxes(seed=1234)
    return models.mlp_classifier(
        data.X_train, data.y_train, hidden=(3, 2), bias=True, prior_sd=PRIOR_SD
    )


def judged(posterior: xr.Dataset, model: pm.Model, seconds: float, compiling: float) -> Run:
    """Diagnostics over a 25 x 25 grid, which are no part of the time."""
    points = plots.grid((-6, 6), (-6, 6), 25).points
    p = predict.compile_predictor(model, "p")(posterior, points)["p"]
    found = diagnostics.function_space(p).attrs
    ess = float(found["min_ess_bulk"])
    return Run(seconds, compiling, ess, {"R-hat": float(found["max_rhat"]), "min ESS": ess})


def tempered(quick: bool) -> Timed:
    """``sample_tempered`` as chapter 3 calls it."""
    model = boxes()
    settings = {"draws": 100, "tune": 200} if quick else {"draws": 1000, "tune": 2000}

    def run(seed: int) -> Run:
        clock = time.perf_counter()
        fit = inference.sample_tempered(
            model, **settings, thin=10, chains=CHAINS, seed=seed, progressbar=False
        )
        wall = time.perf_counter() - clock
        loop = float(fit.attrs["seconds"])
        return judged(fit["posterior"].to_dataset(), model, loop, wall - loop)

    return run


def nuts_of_numpyro(quick: bool) -> Timed:
    """NumPyro's NUTS on the same model."""
    model = boxes()
    draws, tune = (100, 100) if quick else (2000, 1000)

    def run(seed: int) -> Run:
        posterior, seconds, compiling = draw_with("numpyro", model, draws, tune, seed)
        return judged(posterior, model, seconds, compiling)

    return run


def smc_of_pymc(quick: bool) -> Timed:
    """``pm.sample_smc`` on the same model; it does not tell its compiling apart."""
    model = boxes()
    draws = 100 if quick else 2000

    def run(seed: int) -> Run:
        clock = time.perf_counter()
        fit = pm.sample_smc(
            draws, model=model, chains=CHAINS, cores=CHAINS, random_seed=seed, progressbar=False,
            compute_convergence_checks=False,
        )  # fmt: skip
        seconds = time.perf_counter() - clock
        return judged(fit["posterior"].to_dataset(), model, seconds, 0.0)

    return run


TASKS = (
    Task(
        "tempering", "tempering", "chapter 3's boxes, 4 chains, ESS of the probability on a grid",
        "effective draw", "5x plain NUTS", tempered,
        {"NumPyro NUTS": nuts_of_numpyro, "pm.sample_smc": smc_of_pymc},
        fresh=True, flags=DEVICES,
    ),
)  # fmt: skip
