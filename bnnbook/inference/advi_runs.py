"""Runs of variational inference from several starts, here or on an executor, each a task."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any, NamedTuple

import cloudpickle
import numpy as np

from bnnbook.density import LogDensity, compile_log_density, cut
from bnnbook.inference.advi_loop import Run, run_loop
from bnnbook.inference.advi_start import STARTS, mean_field_climb, whitened
from bnnbook.inference.advi_step import Frame, Loop
from bnnbook.inference.callbacks import Callback, Reporter
from bnnbook.inference.executors import opened_once, packed, run_parts

__all__ = ["Done", "Runs", "starts_here", "starts_on"]


class Runs(NamedTuple):
    """What all starts have in common; ``given`` are means and perhaps sds (D,) to start from."""

    loop: Loop
    given: tuple[np.ndarray, np.ndarray | None] | None
    settings: dict[str, Any]
    seed: int


class Started(NamedTuple):
    """What came of one start, and whether its climb was over."""

    run: Run
    arrived: bool


class Done(NamedTuple):
    """What came of the starts, at least one; and whether Ctrl-C has ended the run."""

    starts: list[Started]
    seconds: float
    compile_seconds: float
    interrupted: bool


def starts_here(
    how: Runs, callbacks: Sequence[Callback], callback_every: int, progressbar: bool
) -> Done:
    """Run from one start after the other."""
    clock, starts, interrupted = time.perf_counter(), [], False
    for number in range(how.settings["n_starts"]):
        starts.append(_run(how, number, callbacks, callback_every, progressbar))
        interrupted = starts[-1].run.ended == "interrupted"
        if interrupted:
            break
    compile_seconds = sum(start.run.compile_seconds for start in starts)
    return Done(starts, time.perf_counter() - clock - compile_seconds, compile_seconds, interrupted)


def starts_on(
    executor: Executor, how: Runs, batch_size: int | None, progressbar: bool
) -> Done:  # fmt: skip
    """Run each start as a task; Ctrl-C keeps those that are done."""
    clock = time.perf_counter()
    bare: Any = None  # a worker compiles the model and cuts its data by itself
    loop = replace(how.loop, density=bare, batches=bare)
    starts, interrupted = run_parts(
        _run_start, packed((how.loop.density.model, batch_size, how._replace(loop=loop))),
        how.settings["n_starts"], executor, label=how.loop.method, progressbar=progressbar,
    )  # fmt: skip
    if not starts:
        raise KeyboardInterrupt(f"{how.loop.method}: no start had finished")
    compile_seconds = max(start.run.compile_seconds for start in starts)
    interrupted |= any(start.run.ended == "interrupted" for start in starts)
    return Done(starts, time.perf_counter() - clock - compile_seconds, compile_seconds, interrupted)


@opened_once
def _opened(payload: bytes) -> Runs:
    model, batch_size, how = cloudpickle.loads(payload)
    density = compile_log_density(model)
    return how._replace(loop=replace(how.loop, density=density, batches=cut(density, batch_size)))


def _run_start(payload: bytes, number: int) -> Started:
    """In the worker."""
    clock = time.perf_counter()
    how = _opened(payload)
    waited = time.perf_counter() - clock
    run, arrived = _run(how, number, (), 1, progressbar=False)
    return Started(replace(run, compile_seconds=run.compile_seconds + waited), arrived)


def _run(
    how: Runs, number: int, callbacks: Sequence[Callback], callback_every: int, progressbar: bool
) -> Started:
    loop, given, settings, seed = how
    method, n_starts = settings["method"], settings["n_starts"]
    start_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    begin = _begin(
        loop.density, method, given, settings["initial_sd"], settings["climbs"], start_seed
    )
    run = run_loop(
        loop, begin.mean, begin.sd, begin.frame,
        Reporter(callbacks, method=method, settings=settings, default_every=callback_every),
        seed=start_seed, progressbar=progressbar,
        label=method if n_starts == 1 else f"{method} {number + 1}/{n_starts}",
    )  # fmt: skip
    return Started(run, begin.arrived)


class _Begin(NamedTuple):
    """Means and standard deviations (D,) to start from, in the coordinates of ``frame``.

    ``arrived`` is whether the climb to that frame, if there was one, was over.
    """

    mean: np.ndarray
    sd: np.ndarray
    frame: Frame | None
    arrived: bool = True


def _begin(
    density: LogDensity, method: str, given: tuple[np.ndarray, np.ndarray | None] | None,
    initial_sd: float, climbs: int, seed: int,
) -> _Begin:  # fmt: skip
    """Means near the model's initial point, jittered to break a network's symmetry, or given."""
    sd = None if given is None else given[1]
    frame, arrived = None, True
    if climbs:
        if given is not None and sd is not None:
            frame = Frame(given[0], sd)
        else:
            starts = density.initial_points(STARTS, jitter=0.5, seed=seed)
            starts = starts if given is None else given[0][None]
            climbed = mean_field_climb(density, starts, initial_sd, climbs)
            if climbed is not None:
                frame, arrived = climbed
    if frame is not None:
        if method == "fullrank_advi":
            frame = whitened(density, frame)
        return _Begin(np.zeros(density.size), np.ones(density.size), frame, arrived)
    mean = density.initial_points(1, jitter=0.5, seed=seed)[0] if given is None else given[0]
    return _Begin(mean, np.full(density.size, initial_sd) if sd is None else sd, None)
