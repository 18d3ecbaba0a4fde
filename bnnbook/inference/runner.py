"""One runner for all samplers: tasks advanced on threads until they are done, or somebody stops."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from bnnbook.checks import core_count
from bnnbook.inference.callbacks import FitState, Reporter
from bnnbook.inference.progress import progress_bar

__all__ = ["Task", "run_tasks"]

LOOK = 0.05  # seconds between two looks at the tasks


class Task(Protocol):
    """A chain, or some chains together, that can be moved on piece by piece.

    Successive calls of ``advance`` may come from different threads, never two at a time: settings
    of a thread, such as JAX's precision, belong inside it. What the properties promise must be in
    place before they rise, since other threads read them meanwhile.
    """

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""

    @property
    def steps(self) -> int:
        """Steps done, of all its chains together, for the progress bar."""

    @property
    def ready(self) -> int:
        """Steps of each of its chains that callbacks may read."""

    @property
    def lp(self) -> float:
        """Log density last seen; NaN if none."""

    def advance(self) -> None:
        """Do the next piece: about half a second's work at most, so that Ctrl-C is heard."""


def run_tasks(
    tasks: Sequence[Task],
    *,
    cores: int | None,
    label: str,
    total: int,
    progressbar: bool,
    reporter: Reporter,
    state: Callable[[int], tuple[FitState, np.ndarray]],
    unit: str = "step",
) -> str:
    """Advance the least advanced task, on each of ``cores`` threads, until all are done.

    Linear algebra has one thread: with one a core, two chains whose products want both cores each
    are thirty times slower, and one chain of small factorizations ten times on a busy machine.

    Parameters
    ----------
    tasks : sequence of Task
    cores : int, optional
        Tasks that run at once; the number of CPUs by default.
    label, total, progressbar
        Of the progress bar, which counts the ``steps`` of all tasks up to ``total``.
    reporter : Reporter
        The callbacks, called in this thread when the least ``ready`` of the tasks has risen.
    state : function of that number
        What the callbacks are to see.
    unit : str
        What ``ready`` counts, for the record.

    Returns
    -------
    str
        How it ended: ``"finished"``, ``"interrupted"`` by Ctrl-C, or ``"stopped at step 300: "``
        and what the callback said that raised ``StopIteration``.

    Raises
    ------
    Exception
        What a task or a callback raised. The other tasks end after the piece they are at.
    """
    workers = min(core_count(cores), len(tasks))
    waiting, lock, stop = list(tasks), threading.Lock(), threading.Event()

    def work() -> None:
        try:
            while not stop.is_set():
                with lock:
                    if not waiting:
                        return
                    task = min(waiting, key=lambda t: t.steps)
                    waiting.remove(task)
                if not task.done:
                    task.advance()
                if not task.done:
                    with lock:
                        waiting.append(task)
        except BaseException:
            stop.set()
            raise

    ended, reported = "finished", 0
    with (
        progress_bar(label, total, show=progressbar, value_name="log density") as update,
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(workers) as pool,
    ):
        futures = [pool.submit(work) for _ in range(workers)]
        try:
            with reporter:
                running = True
                while running:
                    finished, unfinished = wait(futures, LOOK, return_when=FIRST_EXCEPTION)
                    for future in finished:
                        future.result()
                    running = bool(unfinished)
                    update(min(sum(task.steps for task in tasks), total), tasks[0].lp)
                    ready = min(task.ready for task in tasks)
                    if reporter and ready > reported:
                        reported = ready
                        reporter(*state(ready))
        except StopIteration as enough:
            ended = f"stopped at {unit} {reported}: {enough}"
        except KeyboardInterrupt:
            ended = "interrupted"
        finally:
            stop.set()
    for future in futures:
        future.result()
    return ended
