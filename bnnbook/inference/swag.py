"""Stochastic weight averaging, Gaussian (Maddox et al. 2019), from one start or several."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple

import cloudpickle
import jax
import numpy as np
import optax
import pymc as pm
import xarray as xr

from bnnbook.checks import (
    batch_rows,
    float_dtype,
    non_negative_int,
    positive_int,
    positive_number,
    seed_int,
)
from bnnbook.density import LogDensity, compile_log_density, cut, first_points
from bnnbook.inference.callbacks import Callback
from bnnbook.inference.descent import (
    Descent,
    compile_descent,
    descend,
    descent_tree,
)
from bnnbook.inference.docs import with_shared_docs
from bnnbook.inference.executors import check_executor, opened_once, packed, run_parts
from bnnbook.inference.results import value_dataset

__all__ = ["fit_swag"]

MOMENTUM = 0.9
ADAM_RATE = 0.01


@with_shared_docs
def fit_swag(
    model: pm.Model,
    *,
    learning_rate: float,
    n_starts: int = 1,
    batch_size: int | None = None,
    tune: int = 3000,
    steps: int = 3000,
    collect_every: int = 50,
    rank: int = 20,
    draws: int = 1000,
    start: Any = None,
    dtype: str = "float64",
    callbacks: Sequence[Callback] = (),
    executor: Executor | None = None,
    seed: int,
    progressbar: bool = True,
) -> xr.DataTree:
    r"""Fit a normal to the iterates of stochastic gradient descent.

    ``tune`` steps of Adam with a falling rate find a mode; then ``steps`` steps of gradient descent
    with momentum 0.9 and the constant ``learning_rate``, on the negative log posterior divided by
    N, wander around it. With their mean :math:`\bar\theta`, variances :math:`\Sigma_{diag}` and the
    last K deviations from the running mean as columns of D, draws are (Maddox et al. 2019, eq. 1)

    .. math::
        \theta = \bar\theta + \tfrac{1}{\sqrt 2} \Sigma_{diag}^{1/2} z_1
        + \tfrac{1}{\sqrt{2 (K - 1)}} D z_2, \qquad z_1, z_2 \sim \mathcal{N}(0, I).

    The spread is that of the optimiser: it follows from ``learning_rate`` and ``batch_size``, and
    with all rows in every batch there is none.

    Parameters
    ----------
    model : pymc.Model
        Any model without discrete free variables whose data can be cut into minibatches.
    learning_rate : float
        Constant step size of the second phase, to be chosen on validation data.
    n_starts : int
        Independent runs; several are MultiSWAG (Wilson and Izmailov 2020). One chain each.
    batch_size : int, optional
        Rows per step, drawn with replacement; a tenth of the rows, at most 128, by default.
    tune, steps : int
        Steps of the two phases.
    collect_every : int
        Steps between two iterates that count.
    rank : int
        K above; at least 2 and at most the number of iterates.
    draws : int
        Draws per start.
    {start}
    dtype : {"float64", "float32"}
    {callbacks}
    {executor}
    {seed}
    {progressbar}

    Returns
    -------
    xarray.DataTree
        ``posterior`` (chain, draw, ...), one chain per start; ``history`` (chain, step) of the
        loss, the negative log posterior in nats, in the second phase; with one start
        ``variational`` (stat: mean, sd).

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range, there are fewer iterates than ``rank``, or the model cannot
        be cut into minibatches.
    DivergedError
        If the loss stops being finite.
    """
    learning_rate = positive_number("learning_rate", learning_rate)
    n_starts, draws = positive_int("n_starts", n_starts), positive_int("draws", draws)
    tune, steps = non_negative_int("tune", tune), positive_int("steps", steps)
    collect_every, rank = positive_int("collect_every", collect_every), positive_int("rank", rank)
    seed, dtype = seed_int(seed), float_dtype(dtype)
    kept = steps // collect_every
    if rank < 2 or kept < rank:
        raise ValueError(
            f"rank must be at least 2 and at most the {kept} iterates that {steps} steps, one in "
            f"{collect_every}, give; got {rank}"
        )
    if executor is not None:
        check_executor(executor, callbacks)
    density = compile_log_density(model)
    size = max(1, min(128, density.N // 10)) if batch_size is None else batch_size
    batches = cut(density, batch_rows(size, density.N))
    points = first_points(density, start, n_starts, seed=seed, dtype=dtype)
    settings = {
        "learning_rate": learning_rate, "n_starts": n_starts, "batch_size": batches.sizes[0],
        "tune": tune, "steps": steps, "collect_every": collect_every, "rank": rank,
        "draws": draws, "dtype": dtype,
    }  # fmt: skip
    clock = time.perf_counter()
    runs: list[_Run] = []
    if executor is not None:
        payload = packed(_Job(model, points, settings, seed))
        runs, _ = run_parts(
            _run_start, payload, n_starts, executor, label="SWAG", progressbar=progressbar
        )
        compile_seconds = max((run.waited for run in runs), default=0.0)
    else:
        phases = _compiled(density, settings)
        compile_seconds = sum(phase.seconds for phase in phases)
        for number, point in enumerate(points):
            run = _run(phases, point, number, settings, callbacks, seed, progressbar)
            runs.append(_Run(number, run))
            if run is None or run.ended == "interrupted":
                break
    seconds = time.perf_counter() - clock - compile_seconds
    return _result(density, runs, settings, seed, seconds, compile_seconds)


class _Job(NamedTuple):
    """All that a worker needs to run from any of the ``points`` (n, D)."""

    model: pm.Model
    points: np.ndarray
    settings: dict[str, Any]
    seed: int


class _Run(NamedTuple):
    """What came of one start, and the seconds that its worker waited for compiled code."""

    number: int
    descent: Descent | None
    waited: float = 0.0


@opened_once
def _opened(payload: bytes) -> tuple[_Job, tuple[Any, Any]]:
    job = cloudpickle.loads(payload)
    return job, _compiled(compile_log_density(job.model), job.settings)


def _run_start(payload: bytes, number: int) -> _Run:
    """In the worker."""
    clock = time.perf_counter()
    job, phases = _opened(payload)
    waited = time.perf_counter() - clock
    run = _run(phases, job.points[number], number, job.settings, (), job.seed, progressbar=False)
    return _Run(number, run, waited)


def _compiled(density: LogDensity, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """The two phases."""
    batches = cut(density, settings["batch_size"])
    tune, learning_rate = settings["tune"], settings["learning_rate"]

    def loss(theta: jax.Array, _: jax.Array, batch: tuple) -> jax.Array:
        return -density.log_prior(theta, batch) - batches.log_likelihood(theta, batch)

    finding = optax.adam(optax.cosine_decay_schedule(ADAM_RATE, max(tune, 1)))
    wandering = optax.sgd(learning_rate, momentum=MOMENTUM)
    phases = ((finding, ("swag, mode", tune)), (wandering, ("swag", learning_rate)))
    every, dtype = settings["collect_every"], settings["dtype"]
    first, second = (
        compile_descent(
            loss, density, batches, optimizer=optimizer, key=key, every=every, dtype=dtype
        )
        for optimizer, key in phases
    )
    return first, second


def _run(
    phases: tuple[Any, Any], point: np.ndarray, number: int, settings: dict[str, Any],
    callbacks: Sequence[Callback], seed: int, progressbar: bool,
) -> Descent | None:  # fmt: skip
    """Both phases from one start; None if it was interrupted before there were iterates."""
    finding, wandering = phases
    name = "SWAG" if settings["n_starts"] == 1 else f"SWAG {number + 1}/{settings['n_starts']}"
    states = np.random.SeedSequence([seed, number]).generate_state(2)
    seeds = dict(zip(("mode", "average"), states.tolist(), strict=True))

    def run(compiled: Any, point: np.ndarray, phase: str, steps: int, *called: Callback) -> Descent:
        return descend(
            compiled, point, steps=steps, seed=seeds[phase], method="swag",
            label=f"{name}, {phase}", settings=settings, callbacks=called, progressbar=progressbar,
            sample=lambda theta, n: np.repeat(theta[None], n, axis=0),
        )  # fmt: skip

    if settings["tune"]:
        found = run(finding, point, "mode", settings["tune"])
        if found.ended == "interrupted":
            return None
        point = found.theta
    return run(wandering, point, "average", settings["steps"], *callbacks)


def _moments(run: Descent, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (D,), sds (D,) and the last deviations from the running mean (K, D)."""
    iterates = run.iterates
    running = np.cumsum(iterates, axis=0) / np.arange(1, len(iterates) + 1)[:, None]
    return running[-1], iterates.std(axis=0), (iterates - running)[-rank:]


def _result(
    density: LogDensity, all_runs: list[_Run], settings: Mapping[str, Any], seed: int,
    seconds: float, compile_seconds: float,
) -> xr.DataTree:  # fmt: skip
    """Draws from what every start that has two iterates came to."""
    found = {
        number: run for number, run, _ in all_runs if run is not None and len(run.iterates) > 1
    }
    if not found:
        raise KeyboardInterrupt("interrupted before there were two iterates to average")
    runs = list(found.values())
    thetas, groups = [], {}
    for number, run in found.items():
        mean, sd, deviations = _moments(run, settings["rank"])
        rng = np.random.default_rng([seed, number])
        z1 = rng.normal(size=(settings["draws"], density.size))
        z2 = rng.normal(size=(settings["draws"], len(deviations)))
        low_rank = z2 @ deviations / np.sqrt(2 * max(len(deviations) - 1, 1))
        thetas.append(mean + z1 * sd / np.sqrt(2) + low_rank)
        if len(runs) == 1:
            total = np.sqrt(0.5 * sd**2 + (deviations**2).sum(0) / (2 * (len(deviations) - 1)))
            groups["variational"] = value_dataset(density, {"mean": mean, "sd": total})
    steps = min(len(run.losses) for run in runs)
    history = xr.Dataset(
        {"loss": (("chain", "step"), np.array([run.losses[:steps] for run in runs]))},
        coords={"chain": np.arange(len(runs)), "step": np.arange(1, steps + 1)},
    )
    return descent_tree(
        density, np.array(thetas), runs, history=history, remedy="more tune steps may help",
        interrupted=len(runs) < settings["n_starts"], method="swag", settings=settings, seed=seed,
        n=settings["batch_size"], seconds=seconds, compile_seconds=compile_seconds, groups=groups,
    )  # fmt: skip
