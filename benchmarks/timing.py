"""Run the contestants of a task in turn, each in a process of its own.

Every contestant has a new process, so that peak memory is its own and nothing is compiled already.
They take turns (A B A B), and a contestant that fails, dies or takes too long is reported with its
error and left out of the later turns.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import statistics
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cloudpickle
from threadpoolctl import threadpool_limits

from benchmarks.task import Run, Task

__all__ = ["measure", "peak_mb", "spread"]

LIMIT = 600.0  # seconds a run may take, its preparing included
TOTAL = 5_400.0  # seconds of a task after which no further turn of it is begun
START = 600.0  # seconds that importing may take


def measure(
    task: Task, *, repeats: int, quick: bool = False, limit: float = LIMIT
) -> list[dict[str, Any]]:
    """One record a contestant: what its runs took, and its ratio to ours.

    Parameters
    ----------
    task : Task
    repeats : int
        Runs of each contestant that count.
    quick : bool
        Handed on to the contestants, which then do less.
    limit : float
        Seconds until a run is given up, and in a quick run until no further turn is begun.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    names = list(task.contestants())
    runs: dict[str, list[Run]] = {name: [] for name in names}
    first: dict[str, float] = {}
    peak: dict[str, float] = {}
    errors: dict[str, str] = {}
    workers: dict[str, Worker] = {}
    clock = time.perf_counter()
    try:
        for turn in range(repeats if task.fresh else repeats + 1):
            if turn > 1 and time.perf_counter() - clock > (limit if quick else TOTAL):
                break
            left = [name for name in names if name not in errors]
            for name in left:  # all import at once, and nothing is timed meanwhile
                if name not in workers:
                    workers[name] = Worker(task, name, quick)
            for name in left:
                try:
                    workers[name].ready()
                except Exception as error:
                    errors[name] = str(error) or type(error).__name__
                    workers.pop(name).stop()
            for name in left:
                if name in errors:
                    continue
                try:
                    run, wall, peak_mb = workers[name].run(turn, limit)
                except Exception as error:  # whatever a peer raises is its result
                    errors[name] = str(error) or type(error).__name__
                    workers.pop(name).stop()
                    continue
                peak[name] = max(peak.get(name, 0.0), peak_mb)
                if turn == 0:
                    first[name] = wall
                if turn > 0 or task.fresh:
                    runs[name].append(run)
                if task.fresh:
                    workers.pop(name).stop()
    finally:
        for worker in workers.values():
            worker.stop()
    records = [record(name, runs[name], first, peak, errors) for name in names]
    return [ratios(one, records[0]) for one in records]


class Worker:
    """A process that prepares a contestant and runs it when told to."""

    def __init__(self, task: Task, name: str, quick: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        contestant = cloudpickle.dumps(task.contestants()[name])
        self.process = context.Process(target=serve, args=(theirs, contestant, quick, task.flags))
        self.process.start()
        theirs.close()
        self.waiting = True  # for the imports

    def ready(self) -> None:
        """Return when what the contestant needs is imported."""
        if self.waiting:
            self.answer(START)
            self.waiting = False

    def run(self, seed: int, limit: float) -> tuple[Run, float, float]:
        """The run, its wall seconds (with preparing, at first) and the peak in MB until now."""
        self.pipe.send(seed)
        return self.answer(limit)

    def answer(self, limit: float) -> Any:
        """What the process sends, or its error."""
        if not self.pipe.poll(limit):
            raise TimeoutError(f"not done after {limit:.0f} s")
        try:
            answer = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            raise RuntimeError(f"the process ended with {self.process.exitcode}") from None
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer

    def stop(self) -> None:
        """End the process."""
        self.pipe.close()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def serve(pipe: Connection, contestant: bytes, quick: bool, flags: str) -> None:
    """Answer each seed with a run, its wall seconds and peak memory, or with an error."""
    os.environ["XLA_FLAGS"] = flags  # read when JAX first computes
    run = None
    try:
        prepare = cloudpickle.loads(contestant)  # imports, also the libraries with threads
        if "xarray" in sys.modules:  # its first Dataset imports Dask, where that is installed
            sys.modules["xarray"].Dataset({"x": ("x", [0.0])})
        with threadpool_limits(1):
            before = peak_mb()
            pipe.send(None)
            while True:
                seed = pipe.recv()
                clock = time.perf_counter()
                run = run or prepare(quick)
                result = run(seed)
                pipe.send((result, time.perf_counter() - clock, peak_mb() - before))
    except EOFError:
        return
    except Exception as error:  # sent to who compares
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = (str(error).strip().splitlines() or [""])[0]
        said = re.sub(r" \((/|[A-Za-z]:\\)[^)]*\)", "", said)[
            :200
        ]  # where a module lies on this machine
        pipe.send(f"{type(error).__name__}: {said} ({place.name})")


def peak_mb() -> float:
    """Largest resident memory of this process until now, in MB.

    On Linux ``ru_maxrss`` begins with what the parent held, which can hide all that a child takes.
    """
    status = Path("/proc/self/status")
    if status.is_file() and (found := re.search(r"VmHWM:\s+(\d+)", status.read_text())):
        return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def record(
    name: str,
    runs: Sequence[Run],
    first: dict[str, float],
    peak: dict[str, float],
    errors: dict[str, str],
) -> dict[str, Any]:
    """What is stored of one contestant."""
    one: dict[str, Any] = {"name": name, "error": errors.get(name), "runs": []}
    if not runs or name in errors:
        return one
    middle = statistics.median(run.seconds for run in runs)
    once = max(first[name] - middle, 0.0)  # what the first run took beyond the others
    for run in runs:
        compiling = once if run.compile_seconds is None else run.compile_seconds
        one["runs"].append(asdict(run) | {"compile_seconds": compiling})
    one["peak_mb"] = peak[name]
    one["quality"] = {
        key: statistics.median(run.quality[key] for run in runs) for key in runs[0].quality
    }
    return one


def ratios(one: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """Add how many times our time it took for the same work, turn by turn."""
    pairs = list(zip(one["runs"], ours["runs"], strict=False))
    if one is ours or not pairs:
        return one | {"ratio": None, "ratio_with_compiling": None}
    alone = [a["seconds"] / a["work"] * b["work"] / b["seconds"] for a, b in pairs]
    both = [together(a, b["work"]) / together(b, b["work"]) for a, b in pairs]
    return one | {"ratio": spread(alone), "ratio_with_compiling": spread(both)}


def together(run: dict[str, Any], work: float) -> float:
    """Seconds of compiling once and doing so much work."""
    return run["compile_seconds"] + run["seconds"] / run["work"] * work


def spread(values: Sequence[float]) -> dict[str, float]:
    """Least, middle and largest."""
    return {
        "min": min(values), "median": statistics.median(values), "max": max(values),
    }  # fmt: skip
