"""A process forked after JAX has started is told so, and does not hang."""

import os
import subprocess
import sys
import textwrap

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("started", [True, False])
def test_methods_in_a_forked_child(started):
    """With JAX started in the parent they refuse; without they work."""
    script = textwrap.dedent(f"""
        import multiprocessing as mp, warnings
        from concurrent.futures import ProcessPoolExecutor
        import numpy as np, pymc as pm
        from bnnbook import inference
        warnings.simplefilter("ignore")

        with pm.Model() as model:
            mu = pm.Normal("mu")
            pm.Normal("obs", mu, 1.0, observed=pm.Data("y", np.zeros(5)))

        def fit():
            best = inference.fit_map(model, seed=0, progressbar=False)
            return float(best["posterior"]["mu"][0, 0])

        if {started}:
            fit()
        with ProcessPoolExecutor(1, mp_context=mp.get_context("fork")) as pool:
            future = pool.submit(fit)
            try:
                print("RESULT", abs(future.result(timeout=100)) < 1e-3)
            except RuntimeError as error:
                print("RESULT", error)
    """)
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=True
    )
    (result,) = [line for line in run.stdout.splitlines() if line.startswith("RESULT")]
    if started:
        assert "forked after JAX had started" in result
        assert "get_context('spawn')" in result
    else:
        assert result == "RESULT True"
