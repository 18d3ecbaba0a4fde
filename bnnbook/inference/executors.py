"""Independent parts of a fit on an executor: one task each, in whatever process runs them."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import cloudpickle

from bnnbook.checks import check_not_forked
from bnnbook.inference.progress import Update, progress_bar

__all__ = ["check_executor", "opened_once", "packed", "run_parts"]


def check_executor(
    executor: object, callbacks: Sequence[object], cores: int | None = None
) -> None:  # fmt: skip
    """Raise TypeError for what is no executor, ValueError if there are callbacks or cores too."""
    if not hasattr(executor, "submit"):
        raise TypeError(f"executor must be a concurrent.futures.Executor, got {executor!r}")
    if callbacks:
        raise ValueError("callbacks need the fit in this process, got an executor too")
    if cores is not None:
        raise ValueError(f"an executor has workers of its own: leave out cores, got {cores}")


def packed(job: object) -> bytes:
    """Pickle what all parts share, the model with its data in it.

    Raises
    ------
    TypeError
        If it cannot be pickled; says what could not.
    """
    try:
        return cloudpickle.dumps(job)
    except Exception as error:
        raise TypeError(f"model cannot be pickled, as an executor needs: {error}") from error


def opened_once[T](open_: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """``open_``, its last result kept, so that a process compiles once for all its parts."""
    last = functools.lru_cache(maxsize=1)(open_)
    lock = threading.Lock()  # threads of one process wait for the first to compile

    @functools.wraps(open_)
    def opened(payload: bytes) -> T:
        with lock:
            return last(payload)

    return opened


def run_parts(
    function: Callable[[bytes, int], Any], payload: bytes, count: int, executor: Executor, *,
    label: str, progressbar: bool,
) -> tuple[list[Any], bool]:  # fmt: skip
    """``function(payload, number)`` for every number below ``count``; the bar counts the finished.

    Parts that were lost since a worker died are run once more, in a new pool of the same kind if
    it was a process pool, which does not outlive its workers.

    Returns the results of the finished parts by number, and whether Ctrl-C has ended the run.

    Raises
    ------
    Exception
        What the first part that failed raised, with a note of its number. Parts that have not
        begun then never do.
    RuntimeError
        If a worker dies again; names the parts that are lost.
    """
    results: dict[int, Any] = {}
    interrupted = False
    with progress_bar(label, count, show=progressbar, value_name="finished") as update:
        run = _Run(function, payload, count, label, results, update)
        try:
            lost = run.on(executor, range(count))
            if lost:
                with _again(executor) as fresh:
                    lost = run.on(fresh, lost)
            if lost:
                raise RuntimeError(
                    f"{label}: a worker of the executor died, and once more in the second try, "
                    f"before part {', '.join(map(str, lost))} of {count} was done (counted from "
                    "0): is there memory enough for every worker?"
                )
        except KeyboardInterrupt:
            interrupted = True
    return [results[number] for number in sorted(results)], interrupted


class _Run:
    """The parts of one run, and what has come of them."""

    def __init__(
        self, function: Callable[[bytes, int], Any], payload: bytes, count: int, label: str,
        results: dict[int, Any], update: Update,
    ) -> None:  # fmt: skip
        self.function, self.payload, self.count, self.label = function, payload, count, label
        self.results, self.update = results, update

    def on(self, executor: Executor, numbers: Iterable[int]) -> list[int]:
        """Run these parts; the numbers of those that a worker has taken with it."""
        futures: dict[Future, int] = {}
        lost = []
        try:
            for number in numbers:
                try:
                    futures[executor.submit(_part, self.function, self.payload, number)] = number
                except BrokenExecutor:
                    lost.append(number)
            for future in as_completed(futures):
                number = futures[future]
                try:
                    self.results[number] = future.result()
                except BrokenExecutor:
                    lost.append(number)
                except Exception as error:
                    error.add_note(
                        f"{self.label}: in part {number} of {self.count} on the executor"
                    )
                    raise
                self.update(len(self.results), float(len(self.results)))
        finally:
            for future, number in futures.items():
                future.cancel()
                if future.done() and not future.cancelled() and future.exception() is None:
                    self.results[number] = future.result()
        return sorted(lost)


def _again(executor: Executor) -> AbstractContextManager[Executor]:
    """An executor for the second try: the same, or a new pool for one that is broken for good."""
    if type(executor) is not ProcessPoolExecutor:
        return nullcontext(executor)
    broken: Any = executor  # how it starts its workers it tells nobody
    return ProcessPoolExecutor(
        broken._max_workers, broken._mp_context, broken._initializer, broken._initargs
    )


def _part(function: Callable[[bytes, int], Any], payload: bytes, number: int) -> Any:
    """In the worker."""
    check_not_forked()
    return function(payload, number)
