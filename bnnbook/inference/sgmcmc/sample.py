"""Stochastic-gradient MCMC for any PyMC model, in one compiled loop per chain."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pymc as pm
import xarray as xr

from bnnbook.checks import core_count, positive_number
from bnnbook.density import precision
from bnnbook.inference.callbacks import Callback, FitState, Reporter
from bnnbook.inference.docs import with_shared_docs
from bnnbook.inference.executors import check_executor
from bnnbook.inference.runner import run_tasks
from bnnbook.inference.sgmcmc.checkpoint import check_folder
from bnnbook.inference.sgmcmc.collect import Run, collect, joined
from bnnbook.inference.sgmcmc.draw_store import MemoryDraws, bytes_of_draws, constrainer, open_store
from bnnbook.inference.sgmcmc.executors import outcome_of, run_on_executor
from bnnbook.inference.sgmcmc.group import Group
from bnnbook.inference.sgmcmc.job import Job, check_job
from bnnbook.inference.sgmcmc.kernel import Kernel
from bnnbook.inference.sgmcmc.loop import compile_loop
from bnnbook.inference.sgmcmc.state import call_size

__all__ = ["sample_sgmcmc"]

MAX_BYTES = 8e9  # of the whole posterior, unless the caller allows more
BUFFERS = 3  # copies of the draws of one call on their way to their place, as measured
TRANSFORMED = 10  # the same, if they have to be taken to the model's own space


@with_shared_docs
def sample_sgmcmc(
    model: pm.Model,
    kernel: Kernel,
    *,
    batch_size: int | None = None,
    draws: int = 1000,
    tune: int = 1000,
    thin: int = 1,
    chains: int = 4,
    seed: int,
    start: Any = None,
    dtype: str = "float64",
    chain_method: str | None = None,
    executor: Executor | None = None,
    cores: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: float = 60.0,
    store: str | Path | None = None,
    max_bytes: float = MAX_BYTES,
    callbacks: Sequence[Callback] = (),
    progressbar: bool = True,
) -> xr.DataTree:
    r"""Sample the posterior with gradients of minibatches.

    The log density of a batch B of n rows is

    .. math:: \log p(\theta) + \frac{N}{n} \sum_{i \in B} \log p(y_i \mid x_i, \theta),

    on the unconstrained space, with the Jacobians of the transforms. Observed variables of
    different lengths have batches, and N / n, of their own. Batches are cut from epochs without
    replacement, reshuffled for each epoch and chain; the last N mod n rows of an epoch's order are
    left out.

    Parameters
    ----------
    model : pymc.Model
        Any model without discrete free variables. For minibatches its likelihood has to be a sum
        over rows of ``pm.Data`` containers.
    kernel : Kernel
        From :func:`sgld` or :func:`sghmc`.
    batch_size : int, optional
        n; all N rows by default.
    draws, tune : int
        Kept draws and discarded steps per chain. The preconditioner adapts during ``tune``.
    thin : int
        Steps between two draws.
    {chains}
    {seed}
        The executor and the number of cores make no difference; ``chain_method`` only to rounding.
    {start}
        Draws from the prior by default.
    dtype : {"float64", "float32"}
        Precision of everything, the draws included.
    chain_method : {"parallel", "vectorized"}, optional
        One thread per chain, or all chains in one compiled step. By default parallel on a CPU and
        vectorized on an accelerator, where each is the faster.
    {chains_executor}
        A chain that has a checkpoint goes on from there, and Ctrl-C keeps what is in it.
    {cores}
    checkpoint : path, optional
        Folder in which each chain's state and draws are saved every ``checkpoint_every`` seconds.
        The same call goes on from there, to the same draws as without the interruption.
    store : path, optional
        Folder of a zarr store to which draws are written as they come, for posteriors larger than
        memory. The result reads them from there when they are used; so does
        ``xarray.open_datatree(store, engine="zarr")`` later.
    max_bytes : float
        Refuse a run without ``store`` whose draws would take more memory, with the copies made
        on the way.
    {callbacks}
        Looked at about twice a second, by default at every entry of ``history``. Not with an
        executor.
    {progressbar}

    Returns
    -------
    xarray.DataTree
        ``posterior`` (chain, draw, ...); ``sample_stats`` of each draw: ``lp`` (log density) and
        ``grad_norm`` (norm of its gradient), both estimated at the draw on the minibatch of the
        step that follows it; ``configurational_temperature``, whose mean is the temperature where
        the draws are right and above it where step size or minibatch noise widen them;
        ``step_size``, ``temperature`` and ``cycle`` of the step that led to it. ``history``
        (chain, step): ``lp`` after up to 4,096 of the steps. Attributes ``N``, ``n``,
        ``temperature``, ``convention``.
        {interrupted}

    Raises
    ------
    DivergedError
        When a chain is no longer finite, which names the step, the chain, the parameter and the
        last finite log density; or when its numbers have run away.
    TypeError, ValueError
        For a model that cannot be cut into minibatches, a start at which its density is not
        finite, or an argument out of range.
    """
    job = check_job(
        model, kernel, batch_size=batch_size, draws=draws, tune=tune, thin=thin, chains=chains,
        seed=seed, start=start, dtype=dtype, checkpoint=checkpoint,
        checkpoint_every=checkpoint_every, store=store,
    )  # fmt: skip
    vectorized = _check_how(job, chain_method, executor, cores, callbacks)
    clock = time.perf_counter()
    _check_places(job)
    if executor is not None:
        _check_size(job, 1, 1, max_bytes)
        outcomes, compile_seconds, ended = run_on_executor(job, executor, progressbar)
        run = joined(outcomes)
    else:
        together, workers = (chains, 1) if vectorized else (1, min(core_count(cores), chains))
        _check_size(job, together, workers, max_bytes)
        run, compile_seconds, ended = _run_here(job, together, workers, callbacks, progressbar)
    seconds = time.perf_counter() - clock - compile_seconds
    return collect(job, run, seconds, compile_seconds, ended)


def _check_how(
    job: Job, chain_method: str | None, executor: Executor | None, cores: int | None,
    callbacks: Sequence[Callback],
) -> bool:  # fmt: skip
    """Whether the chains are to run in one compiled step."""
    if chain_method not in (None, "parallel", "vectorized"):
        raise ValueError(f"chain_method must be 'parallel' or 'vectorized', got {chain_method!r}")
    core_count(cores)
    if executor is not None:
        check_executor(executor, callbacks, cores)
        if chain_method == "vectorized":
            raise ValueError("an executor runs one chain a task: leave out chain_method")
    if chain_method is None:
        return jax.default_backend() != "cpu" and job.chains > 1
    return chain_method == "vectorized"


def _check_places(job: Job) -> None:
    """Before tasks in other processes write there, and before any work is wasted."""
    saved = [] if job.checkpoint is None else check_folder(job.checkpoint, job.chains)
    if job.store is None:
        return
    if saved and not job.store.exists():
        raise ValueError(
            f"store {job.store} has none of the draws that checkpoint {job.checkpoint} counts; "
            "bring it back, or remove the checkpoint"
        )
    open_store(job)


def _check_size(job: Job, together: int, workers: int, max_bytes: float) -> None:
    _, slots = call_size(job, together)
    buffer = slots * together * job.density.size * np.dtype(job.dtype).itemsize
    size = bytes_of_draws(job.density, job.chains, job.draws, job.dtype)
    as_they_are = all(name in job.density.names for name in job.density.dims)
    size += (BUFFERS if as_they_are else TRANSFORMED) * workers * buffer
    if size > positive_number("max_bytes", max_bytes) and job.store is None:
        raise ValueError(
            f"the draws would take {size / 1e9:.2g} GB, more than max_bytes={max_bytes / 1e9:.2g} "
            "GB: take fewer draws (a larger thin), write them to a store, or raise max_bytes"
        )


def _run_here(
    job: Job, together: int, workers: int, callbacks: Sequence[Callback], progressbar: bool
) -> tuple[Run, float, str]:
    """Run the chains on threads of this process."""
    compiled = compile_loop(job, together)
    store = None if job.store is None else open_store(job)
    everything = range(job.chains)
    memory = MemoryDraws(job.density, everything, job.draws, job.dtype, variables=store is None)
    constrain = constrainer(job.density, job.dtype, compiled.slots)
    groups = [
        Group(job, compiled, range(c, c + together), memory, constrain, store)
        for c in range(0, job.chains, together)
    ]
    clock = time.perf_counter()
    with precision(job.dtype):
        ended = run_tasks(
            groups, cores=workers, label=f"{job.kernel.name.upper()}, draws {_destination(job)}",
            total=job.plan.steps * job.chains, progressbar=progressbar,
            reporter=Reporter(
                callbacks, method=job.kernel.name, settings=job.settings,
                default_every=job.history_every,
            ),
            state=lambda step: _state(job, groups, step, time.perf_counter() - clock),
        )  # fmt: skip
    if ended != "finished":
        for group in groups:
            group.save()
    common = min(group.drawn for group in groups)
    rows = [outcome_of(group, memory, chain) for group in groups for chain in group.chains]
    draws = {name: a[:, :common] for name, a in (memory.values | memory.stats).items()}
    run = joined([row._replace(draws={}) for row in rows])
    return run._replace(draws=draws), compiled.seconds, ended


def _state(job: Job, groups: list[Group], step: int, seconds: float) -> tuple[FitState, np.ndarray]:
    """What the callbacks see: where the chains are, and their mean log density so far."""
    lp = np.concatenate([g.history[:, : -(-step // job.history_every)] for g in groups])
    losses = -np.repeat(lp.mean(axis=0, dtype=float), job.history_every)[:step]
    positions = [group.state.position for group in groups]

    def sample(n: int) -> np.ndarray:
        flat = [
            np.concatenate([np.reshape(p, (len(p), -1)) for p in position], axis=1)
            for position in positions
        ]
        chains = np.concatenate(flat).astype(np.float64)
        return chains[np.arange(n) % len(chains)]

    return FitState(step, -losses[-1], seconds, job.kernel.name, job.density, sample), losses


def _destination(job: Job) -> str:
    if job.store is not None:
        return "to the store"
    size = bytes_of_draws(job.density, job.chains, job.draws, job.dtype)
    return f"take {size / 1e6:,.0f} MB" if size >= 1e6 else f"take {size / 1e3:,.0f} kB"
