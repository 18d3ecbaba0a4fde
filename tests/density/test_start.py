"""Where methods start: large data are looked at in blocks of rows, and every row is seen."""

import re
from pathlib import Path

import numpy as np
import pymc as pm
import pytest

from bnnbook import inference, models
from bnnbook.density import check_start, compile_log_density, start

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
N, WIDTH = 90_000, 400


def counts(y):
    with pm.Model() as model:
        pm.Poisson("obs", pm.math.exp(pm.Normal("a")), observed=pm.Data("y", y))
    return model


def test_a_start_is_looked_at_in_the_precision_of_the_method():
    with pm.Model() as model:  # squares of 1e20 leave the range of float32
        pm.Normal("obs", pm.Normal("a"), observed=pm.Data("y", np.full(5, 1e20)))
    density = compile_log_density(model)
    check_start(density, np.zeros((1, 1)))
    with pytest.raises(ValueError, match="not finite at starting point 0 in float32: 5 of 5 rows"):
        check_start(density, np.zeros((1, 1)), np.float32)
    with pytest.raises(ValueError, match="in float32"):
        inference.sample_sgmcmc(
            model, inference.sgld(1e-9), batch_size=2, draws=1, tune=1, chains=2, seed=0,
            dtype="float32", progressbar=False,
        )  # fmt: skip


@pytest.mark.parametrize("bad", [0, 2, 3, 9])
def test_a_row_without_a_finite_likelihood_is_found_in_any_block(bad, monkeypatch):
    monkeypatch.setattr(start, "LARGE", 0)
    monkeypatch.setattr(start, "BLOCK", 3)  # of ten rows: the last block overlaps
    y = np.ones(10, dtype=int)
    check_start(compile_log_density(counts(y)), np.zeros((2, 1)))
    y[bad] = -1
    with pytest.raises(ValueError, match=f"1 of 10 rows of observed variable obs .* row {bad}"):
        check_start(compile_log_density(counts(y)), np.zeros((2, 1)))


def test_what_is_no_sum_over_rows_is_looked_at_whole(monkeypatch):
    monkeypatch.setattr(start, "LARGE", 0)
    monkeypatch.setattr(start, "BLOCK", 3)
    y = np.ones(10)
    with pm.Model() as model:
        a = pm.Normal("a")
        pm.MvNormal("obs", a * np.ones(10), np.eye(10), observed=pm.Data("y", y))
    density = compile_log_density(model)
    check_start(density, np.zeros((1, 1)))
    with pytest.raises(ValueError, match="log likelihood"):
        check_start(density, np.full((1, 1), 1e200))


def resident(key):
    return 1024 * int(re.search(rf"{key}:\s+(\d+)", STATUS.read_text())[1])


@pytest.mark.skipif(not CLEAR.exists(), reason="needs Linux")
def test_a_start_does_not_hold_the_hidden_units_of_all_rows():
    """They would take 288 MB; the data take 9 MB, in two precisions."""
    X = np.random.default_rng(0).normal(size=(N, 12))
    model = models.mlp_regression(X, X[:, 0], (WIDTH,))
    kernel = inference.sgld(1e-9)
    run = {"batch_size": 10, "draws": 2, "chains": 1, "tune": 0, "seed": 0, "progressbar": False}
    CLEAR.write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    with pytest.warns(inference.ConvergenceWarning):
        inference.sample_sgmcmc(model, kernel, **run)
    assert resident("VmHWM") - before < 8 * N * WIDTH / 2
