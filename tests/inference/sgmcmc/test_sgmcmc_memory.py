"""Memory of stochastic-gradient MCMC: what ``max_bytes`` promises, and how little N adds."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pymc as pm
import pytest
from sgmcmc_help import short, stop_at

from bnnbook import inference

MEASURE = textwrap.dedent("""
    import sys, threading, time, warnings
    warnings.simplefilter("ignore")  # a run for its memory is too short to converge
    sys.path.insert(0, {folder!r})
    from sgmcmc_help import short
    from test_sgmcmc_memory import resident, wide

    def most(model, **options):
        "Growth of this process's memory while it samples."
        short(model, **(options | {{"draws": 3}}))
        before, peak, running = resident(), [0], [True]

        def watch():
            while running:
                peak[0] = max(peak[0], resident())
                time.sleep(0.002)

        thread = threading.Thread(target=watch)
        thread.start()
        tree = short(model, **options)
        running.clear()
        thread.join()
        return peak[0] - before

    print("RESULT", most({call}))
""")


def resident():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


def wide(size=20_000, rows=4):
    """A model of many transformed parameters."""
    with pm.Model() as model:
        w = pm.HalfNormal("w", 1, shape=size)
        y = pm.Data("y", np.zeros(rows))
        pm.Normal("obs", 0 * w.sum() * y, 1.0, observed=y)
    return model


def growth(call):
    script = MEASURE.format(folder=str(Path(__file__).parent), call=call)
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ
    )
    return int(run.stdout.split("RESULT")[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_max_bytes_is_what_a_run_takes():
    """A fifth more than measured is enough, a fifth less is refused."""
    options = {"draws": 700, "tune": 0, "chains": 2}
    taken = growth("wide(), kernel=None, draws=700, tune=0, chains=2")
    with pytest.raises(ValueError, match="more than max_bytes"):
        short(wide(), max_bytes=taken / 1.2, **options)
    few = short(wide(), max_bytes=1.2 * taken, callbacks=[stop_at(1)], **options)
    assert few["posterior"].sizes["draw"] > 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_memory_does_not_grow_with_the_rows():
    """Some copies of the data and one order of the rows a chain: 33 to 50 bytes a row measured."""
    rows = 2_000_000
    taken = growth(f"wide(1, {rows}), batch_size=100, draws=500, thin=20")
    assert taken < 80 * rows


def test_float32_takes_half(line):
    options = {"draws": 10**6, "max_bytes": 6e7}
    with pytest.raises(ValueError, match="more than max_bytes"):
        short(line[0], inference.sgld(1e-3), **options, dtype="float64")
    tree = short(line[0], callbacks=[stop_at(1)], dtype="float32", **options)
    assert tree["posterior"].sizes["draw"] < 10**6
