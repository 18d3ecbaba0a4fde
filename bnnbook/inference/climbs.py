"""Point fits from many starts on an executor, each start a task."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import NamedTuple

import cloudpickle
import numpy as np
import pymc as pm

from bnnbook.density import compile_log_density
from bnnbook.inference.callbacks import Reporter
from bnnbook.inference.executors import opened_once, packed, run_parts
from bnnbook.inference.held_out import HeldOut, hold_out
from bnnbook.inference.point_fit import Objective, PointFit, fit_from

__all__ = ["Climbs", "climb_on"]


class Climbs(NamedTuple):
    """All that a worker needs to climb from any of the ``starts`` (n, D)."""

    model: pm.Model
    starts: np.ndarray
    max_steps: int
    method: str
    prior: bool
    jacobian: bool
    share: float | None  # of the rows to hold out; None for none
    seed: int


def climb_on(executor: Executor, job: Climbs, progressbar: bool) -> tuple[list[PointFit], bool]:
    """Climb from every start; the fits that have finished, and whether Ctrl-C has ended the run."""
    return run_parts(
        _climb, packed(job), len(job.starts), executor, label=job.method, progressbar=progressbar
    )


class _Opened(NamedTuple):
    job: Climbs
    objective: Objective
    held_out: HeldOut | None


@opened_once
def _opened(payload: bytes) -> _Opened:
    job = cloudpickle.loads(payload)
    density = compile_log_density(job.model, jacobian=job.jacobian)
    objective = Objective(density, prior=job.prior)
    objective.value_and_gradient(job.starts[0])
    held_out = None if job.share is None else hold_out(density, job.share, job.seed)
    return _Opened(job, objective, held_out)


def _climb(payload: bytes, number: int) -> PointFit:
    """In the worker."""
    job, objective, held_out = _opened(payload)
    return fit_from(
        objective, job.starts[number], job.max_steps, job.method,
        Reporter((), method=job.method, settings={}), _unheard,
        None if held_out is None else held_out.member(number),
    )  # fmt: skip


def _unheard(step: int, value: float) -> None:
    """Progress of single steps stays in the worker."""
