"""Chains put together, judged, and made into a result."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from bnnbook.inference.results import draws_dataset, result_tree
from bnnbook.inference.sgmcmc.draw_store import STATS, DrawStore, open_store
from bnnbook.inference.sgmcmc.executors import Outcome
from bnnbook.inference.sgmcmc.health import Vitals, problems_of
from bnnbook.inference.sgmcmc.job import Job
from bnnbook.inference.sgmcmc.kernel import CONVENTION

__all__ = ["Run", "collect", "joined"]


class Run(NamedTuple):
    """Chains and what they have in common: their first draws, by name, (chain, draw, ...)."""

    chains: list[int]
    draws: dict[str, np.ndarray]
    history: np.ndarray | None
    vitals: Vitals | None


def joined(outcomes: list[Outcome]) -> Run:
    """Stack chains, cut to what all of them have."""
    if not outcomes:
        raise KeyboardInterrupt("interrupted before any chain had its first draw")
    common = min((len(o.draws["lp"]) for o in outcomes if o.draws), default=0)
    draws = {
        name: np.stack([o.draws.pop(name)[:common] for o in outcomes])
        for name in list(outcomes[0].draws)
    }
    history, vitals = None, None
    known = [o.history for o in outcomes if o.history is not None]
    if len(known) == len(outcomes):
        length = min(len(h) for h in known)
        history = np.stack([h[:length] for h in known])
    found = [o.vitals for o in outcomes if o.vitals is not None]
    if len(found) == len(outcomes):
        vitals = Vitals(*(np.stack(values) for values in zip(*found, strict=True)))
    return Run([o.chain for o in outcomes], draws, history, vitals)


def _history(job: Job, lp: np.ndarray, chains: list[int]) -> xr.Dataset:
    """Log density along the run, at up to HISTORY steps that every chain has done."""
    last = np.minimum((np.arange(lp.shape[1]) + 1) * job.history_every, job.plan.steps)
    return xr.Dataset(
        {
            "lp": (("chain", "step"), lp),
            "step_size": ("step", job.plan.step_size[last - 1]),
            "temperature": ("step", job.kernel.temperature * job.plan.noisy[last - 1]),
            "cycle": ("step", job.plan.cycle[last - 1]),
        },
        coords={"chain": chains, "step": last},
    )


def collect(job: Job, run: Run, seconds: float, compile_seconds: float, ended: str) -> xr.DataTree:
    """Judge the chains and assemble what :func:`sample_sgmcmc` returns."""
    common = run.draws["lp"].shape[1] if run.draws else 0
    if common == 0:
        raise KeyboardInterrupt("interrupted before every chain had its first draw")
    stats = {name: run.draws.pop(name) for name in STATS}
    problems = []
    if run.history is not None and run.vitals is not None:
        problems = problems_of(job, run.chains, stats, run.history, run.vitals)
    last = job.plan.draw_at[:common] - 1
    shape = (len(run.chains), common)
    stats |= {
        "step_size": np.broadcast_to(job.plan.step_size[last], shape),
        "temperature": np.broadcast_to(job.kernel.temperature * job.plan.noisy[last], shape),
        "cycle": np.broadcast_to(job.plan.cycle[last], shape),
    }
    store: DrawStore | None = None
    if job.store is None:
        posterior = draws_dataset(job.density, run.draws).assign_coords(chain=run.chains)
    else:
        store = open_store(job)
        posterior = store.posterior().isel(draw=slice(common), chain=run.chains)
    tree = result_tree(
        job.density, posterior, sample_stats=stats, method=job.kernel.name, settings=job.settings,
        seed=job.seed, n=job.n, seconds=seconds, compile_seconds=compile_seconds,
        history=None if run.history is None else _history(job, run.history, run.chains),
        problems=problems,
        attrs={
            "temperature": job.kernel.temperature, "convention": CONVENTION,
            "steps": job.plan.steps, "interrupted": ended == "interrupted", "stopped": ended,
        },
    )  # fmt: skip
    if store is not None:
        store.finish(tree)
    return tree
