"""Chains of SG-MCMC on 1, 2, 4 and 8 worker processes of a Dask cluster on this machine.

Run with ``make bench ONLY=scaling``, on Linux: each worker is given one core. What a chain sends
and brings back, what it computes and what a task costs the scheduler are measured; from these
follows how many workers one scheduler can keep busy. More workers than cores share the cores: there
the time must stay, and what it rises by is the price of the processes.
"""

from __future__ import annotations

import os
import pickle
import statistics
import time
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from benchmarks import report
from benchmarks.references.page import filled
from benchmarks.task import Task
from bnnbook import inference, models
from bnnbook.inference.executors import packed, run_parts

__all__ = ["SCALING", "lines", "main", "measured", "write_page"]

SCALING = report.ROOT / "benchmarks" / "scaling.json"
WORKERS = (1, 2, 4, 8)
CHAINS = 8
ROWS, SIZES = 6_000, (784, 300, 100, 10)
BATCH, STEPS, DRAWS = 100, 750, 5
EMPTY = 50  # tasks that do nothing, to time the scheduler
REPEATS = 5
TASK = Task(
    "scaling", "scaling",
    f"{CHAINS} chains of pSGLD on LeNet-300-100, batch {BATCH} of {ROWS:,} rows, {STEPS:,} steps",
    "run", "", ours=None, peers={},  # type: ignore[arg-type]
)  # fmt: skip


def network(rows: int) -> pm.Model:
    """Random images and labels: the time does not depend on what they show."""
    rng = np.random.default_rng(0)
    images, labels = rng.random((rows, SIZES[0]), dtype=np.float32), rng.integers(0, 10, rows)
    return models.mlp_classifier(
        images, labels, SIZES[1:-1], n_classes=10, activation="relu", bias=True
    )


def run(model: pm.Model, steps: int, executor: Executor, seed: int) -> tuple[float, xr.DataTree]:
    """Wall seconds of all chains, and the fit."""
    clock = time.perf_counter()
    fit = inference.sample_sgmcmc(
        model, inference.sgld(1e-8, preconditioner="rms"), batch_size=BATCH, draws=DRAWS,
        tune=steps - DRAWS, chains=CHAINS, seed=seed, dtype="float32", progressbar=False,
        executor=executor,
    )  # fmt: skip
    return time.perf_counter() - clock, fit


def on_one_core(number: int) -> None:
    """Give all threads of this process one core, so that one worker does not use two."""
    cores = sorted(os.sched_getaffinity(0))
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), {cores[number % len(cores)]})


def nothing(payload: bytes, number: int) -> int:
    """A task that costs what its sending costs."""
    return number + len(payload)


def empty_tasks(executor: Executor, payload: bytes) -> float:
    """Seconds a task that does nothing takes."""
    clock = time.perf_counter()
    run_parts(nothing, payload, EMPTY, executor, label="nothing", progressbar=False)
    return (time.perf_counter() - clock) / EMPTY


def measured(workers: int, *, quick: bool = False) -> dict[str, Any]:
    """What ``workers`` processes need for all chains, and what a task costs."""
    from distributed import Client, LocalCluster, WorkerPlugin

    class OneCore(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            on_one_core(worker.name)

    rows, steps, repeats = (600, 50, 1) if quick else (ROWS, STEPS, REPEATS)
    model = network(rows)
    payload = packed(model)
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.register_plugin(OneCore())
        executor = client.get_executor()
        cold, _ = run(model, steps, executor, 0)
        warm, fits = zip(*(run(model, steps, executor, 1 + i) for i in range(repeats)), strict=True)
        small, large = empty_tasks(executor, b""), empty_tasks(executor, payload)
    posterior = fits[0]["posterior"].to_dataset()
    return {
        "workers": workers, "cold": cold, "warm": list(warm), "task": small, "task_data": large,
        "sent": len(payload), "back": len(pickle.dumps(posterior)) // CHAINS,
    }  # fmt: skip


def main(*, quick: bool, workers: tuple[int, ...] = WORKERS, path: Path = SCALING) -> int:
    """Measure, print, store and show; a quick run is not stored."""
    row = report.described(TASK, quick=quick) | {"runs": []}
    clock = time.perf_counter()
    for count in workers[:2] if quick else workers:
        row["runs"].append(measured(count, quick=quick))
        print("\n".join(table(row["runs"])[-1:]), flush=True)
    row["seconds"] = time.perf_counter() - clock
    if not quick:
        report.save(row, path)
        write_page()
    where = "a quick run, not stored" if quick else f"stored in {path.name}"
    print(f"bench: {row['seconds']:,.0f} s; {where}")
    return 0


def table(runs: list[dict[str, Any]]) -> list[str]:
    """One line for each number of workers; the speed-up is of the medians."""
    lines = [
        "| workers | all chains: median (min-max) | as fast as one worker | with imports and "
        "compiling | a task of nothing | with the data |",
        "|---|---|---|---|---|---|",
    ]
    one = statistics.median(runs[0]["warm"])
    for each in runs:
        warm = each["warm"]
        middle = statistics.median(warm)
        cells = [
            f"{each['workers']}", f"{middle:.1f} s ({min(warm):.1f}-{max(warm):.1f})",
            f"{one / middle:.2f}x", f"{each['cold']:.1f} s", f"{1e3 * each['task']:.1f} ms",
            f"{1e3 * each['task_data']:.0f} ms",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def lines(stored: dict[str, Any]) -> list[str]:
    """The section of the page: the table, and what follows from it."""
    row = stored["tasks"].get(TASK.name)
    if row is None:
        return ["Not measured yet: `make bench ONLY=scaling` does it."]
    runs = row["runs"]
    chain = statistics.median(runs[0]["warm"]) / CHAINS
    sent = min(each["task_data"] for each in runs)
    return [
        *report.intro([row | {"contestants": [{"runs": each["warm"]} for each in runs]}]),
        f"{row['what']}.", "", *table(runs), "",
        f"- A chain is sent {runs[0]['sent'] / 1e6:.1f} MB, the model with its data, and brings "
        f"back {runs[0]['back'] / 1e6:.1f} MB, {DRAWS} draws.",
        f"- It computes for {chain:.2f} s on a worker with a core to itself. The scheduler needs "
        f"{1e3 * sent:.0f} ms to send it, so that it can keep about {chain / sent:,.0f} workers "
        "busy with chains so short, and ten times as many with chains ten times as long.",
        f"- The machine has {row['machine']['cores']} cores: more workers than that cannot be "
        "faster.",
    ]  # fmt: skip


def write_page() -> None:
    """Write the section into the page."""
    text = filled(report.PAGE, {"scaling": lines(report.load(SCALING))})
    report.PAGE.write_text(text, encoding="utf-8")
