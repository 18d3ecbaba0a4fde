"""Chains on an executor: one task each, in whatever process or machine it runs them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import fields
from typing import NamedTuple

import cloudpickle
import numpy as np

from bnnbook.density import compile_log_density
from bnnbook.density.minibatch import cut
from bnnbook.inference.executors import opened_once, packed, run_parts
from bnnbook.inference.sgmcmc.checkpoint import checkpoint_path, read_checkpoint
from bnnbook.inference.sgmcmc.draw_store import MemoryDraws, Values, constrainer, open_store
from bnnbook.inference.sgmcmc.group import Group, unprefixed
from bnnbook.inference.sgmcmc.health import Vitals
from bnnbook.inference.sgmcmc.job import Job
from bnnbook.inference.sgmcmc.loop import Compiled, compile_loop

__all__ = ["Outcome", "outcome_of", "run_on_executor"]


class Outcome(NamedTuple):
    """What one chain has come to: draws (draws, ...) by name, empty if they are in a store."""

    chain: int
    draws: Values
    history: np.ndarray | None
    vitals: Vitals | None


class _Opened(NamedTuple):
    job: Job
    compiled: Compiled
    constrain: Callable[[np.ndarray], Values]


@opened_once
def _opened(payload: bytes) -> _Opened:
    model, rest = cloudpickle.loads(payload)
    density = compile_log_density(model)
    job = Job(
        model=model, density=density, batches=cut(density, rest["batch_size"]),
        whole=cut(density, None), **rest,
    )  # fmt: skip
    compiled = compile_loop(job, 1)
    return _Opened(job, compiled, constrainer(density, job.dtype, compiled.slots))


def _run_chain(payload: bytes, chain: int) -> tuple[Outcome, float]:
    """In the worker: what came of the chain, and the seconds that it waited for compiled code."""
    clock = time.perf_counter()
    job, compiled, constrain = _opened(payload)
    waited = time.perf_counter() - clock
    alone = range(chain, chain + 1)
    store = None if job.store is None else open_store(job)
    memory = MemoryDraws(job.density, alone, job.draws, job.dtype, variables=store is None)
    group = Group(job, compiled, alone, memory, constrain, store)
    while not group.done:
        group.advance()
    return outcome_of(group, memory, chain), waited


def outcome_of(group: Group, memory: MemoryDraws, chain: int) -> Outcome:
    """Draws so far of one chain of a group."""
    row = group.chains.index(chain)
    health = group.state.health
    vitals = Vitals(
        np.asarray(health.first_lp)[row], np.asarray(health.felt)[row], np.asarray(group.ready)
    )
    history = group.history[row, : -(-group.ready // group.job.history_every)]
    return Outcome(chain, memory.of_chain(chain, group.drawn), history, vitals)


def run_on_executor(
    job: Job, executor: Executor, progressbar: bool
) -> tuple[list[Outcome], float, str]:
    """Run every chain; give the outcomes, the seconds of compiling and how the run ended.

    A chain that a worker has taken with it goes on from its checkpoint, if it has one. After
    Ctrl-C, chains that have not finished are given as far as their checkpoint or the store has
    them.

    Raises
    ------
    Exception, RuntimeError
        See :func:`bnnbook.inference.executors.run_parts`.
    """
    rest = {
        field.name: getattr(job, field.name)
        for field in fields(job)
        if field.name not in ("model", "density", "batches", "whole")
    }
    finished, interrupted = run_parts(
        _run_chain, packed((job.model, rest)), job.chains, executor,
        label=f"{job.kernel.name.upper()} chains", progressbar=progressbar,
    )  # fmt: skip
    done = {outcome.chain: outcome for outcome, _ in finished}
    chains = range(job.chains)
    outcomes = [done[chain] if chain in done else _so_far(job, chain) for chain in chains]
    waited = max((waited for _, waited in finished), default=0.0)
    known = [outcome for outcome in outcomes if outcome is not None]
    return known, waited, "interrupted" if interrupted else "finished"


def _so_far(job: Job, chain: int) -> Outcome | None:
    """What an unfinished chain has left in the store or its checkpoint."""
    if job.store is not None:
        stats = open_store(job).stats_of(chain)
        return Outcome(chain, stats, None, None) if len(stats["lp"]) else None
    if job.checkpoint is not None:
        saved = read_checkpoint(checkpoint_path(job.checkpoint, chain), job.run)
        if saved is not None and len(saved["history"]):
            return Outcome(chain, unprefixed(saved), saved["history"], None)
    return None
