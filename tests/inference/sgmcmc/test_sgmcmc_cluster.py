"""Chains on a Dask cluster of processes of its own, one of which is killed while it samples."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import xarray as xr
from distributed import Client
from sgmcmc_help import short

ROOT = Path(__file__).parents[3]
OPTIONS = {"batch_size": 7, "draws": 100, "thin": 3000}  # a second a chain


def dask(*arguments):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture
def cluster(tmp_path):
    """A client, and the processes of the two workers by address."""
    file, here = tmp_path / "scheduler.json", ("--host", "127.0.0.1", "--no-dashboard")
    scheduler = dask("scheduler", "--scheduler-file", file, "--port", 0, *here)
    workers = {
        name: dask(
            "worker", "--scheduler-file", file, "--name", name, "--nthreads", 1, "--no-nanny",
            "--local-directory", tmp_path / name, *here,
        )
        for name in ("one", "two")
    }  # fmt: skip
    try:
        while not file.exists():
            assert scheduler.poll() is None
            time.sleep(0.05)
        with Client(scheduler_file=str(file), timeout=120) as client:
            client.wait_for_workers(2, timeout=120)
            known = client.scheduler_info()["workers"]
            yield client, {address: workers[known[address]["name"]] for address in known}
    finally:
        for process in (scheduler, *workers.values()):
            process.kill()
            process.wait()


def test_a_worker_killed_while_it_samples_loses_nothing(line, cluster, tmp_path):
    client, workers = cluster
    folder, killed = tmp_path / "checkpoint", []

    def kill_one():
        while not killed:
            time.sleep(0.02)
            if any(folder.glob("*.npz")):  # chains are on their way
                busy = [address for address, tasks in client.processing().items() if tasks]
                killed.append(workers[busy[0]])
                killed[0].kill()

    thread = threading.Thread(target=kill_one)
    thread.start()
    there = short(
        line[0], executor=client.get_executor(), checkpoint=folder, checkpoint_every=0.1, **OPTIONS
    )
    thread.join()
    assert killed[0].wait() == -signal.SIGKILL
    assert len(client.scheduler_info()["workers"]) == 1
    here = short(line[0], **OPTIONS)
    for group in ("posterior", "sample_stats", "history"):
        xr.testing.assert_equal(there[group].to_dataset(), here[group].to_dataset())
