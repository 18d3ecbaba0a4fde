"""Chains on an executor: one task each, in whatever process or machine it runs them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, as_completed
from dataclasses import fields
from typing import NamedTuple

import cloudpickle
import numpy as np

from bnnbook.checks import check_not_forked
from bnnbook.density import compile_log_density
from bnnbook.density.minibatch import cut
from bnnbook.inference.executors import opened_once
from bnnbook.inference.progress import progress_bar
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
    """In the worker."""
    check_not_forked()
    job, compiled, constrain = _opened(payload)
    alone = range(chain, chain + 1)
    store = None if job.store is None else open_store(job)
    memory = MemoryDraws(job.density, alone, job.draws, job.dtype, variables=store is None)
    group = Group(job, compiled, alone, memory, constrain, store)
    while not group.done:
        group.advance()
    return outcome_of(group, memory, chain), compiled.seconds


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

    After Ctrl-C, chains that have not finished are given as far as their checkpoint or the store
    has them.

    Raises
    ------
    Exception
        What the first chain that failed raised; chains that have not begun then never do.
    """
    rest = {
        field.name: getattr(job, field.name)
        for field in fields(job)
        if field.name not in ("model", "density", "batches", "whole")
    }
    payload = cloudpickle.dumps((job.model, rest))
    futures = {executor.submit(_run_chain, payload, c): c for c in range(job.chains)}
    label, ended = f"{job.kernel.name.upper()} chains", "finished"
    with progress_bar(label, job.chains, show=progressbar, value_name="log density") as update:
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                update(done, float(future.result()[0].draws["lp"][-1]))
        except KeyboardInterrupt:
            ended = "interrupted"
        finally:
            for future in futures:
                future.cancel()
    outcomes = [
        future.result()[0] if _finished(future) else _so_far(job, chain)
        for future, chain in futures.items()
    ]
    seconds = [future.result()[1] for future in futures if _finished(future)]
    return [o for o in outcomes if o is not None], max(seconds, default=0.0), ended


def _finished(future: Future) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


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
