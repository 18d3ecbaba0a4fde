"""Stochastic-gradient MCMC: bad input, divergence, interruption and checkpoints."""

import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pymc as pm
import pytest
import xarray as xr

from bnnbook import inference
from bnnbook.inference import sgmcmc
from bnnbook.inference.sgmcmc import sample_sgmcmc

SGLD = inference.sgld(1e-3)


def sample(model, kernel=SGLD, **options):
    options = {"draws": 10, "tune": 5, "chains": 2, "seed": 0, "progressbar": False} | options
    return sample_sgmcmc(model, kernel, **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"batch_size": 41},
            ValueError,
            "at most the 40 rows of the data, got 41",
        ),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"draws": 0}, ValueError, "draws must be at least 1, got 0"),
        ({"thin": 0}, ValueError, "thin must be at least 1, got 0"),
        ({"thin": 1.5}, TypeError, "thin must be an integer, got 1.5"),
        ({"tune": -1}, ValueError, "tune must be at least 0, got -1"),
        (
            {"kernel": inference.sgld(1e-3, preconditioner="rms"), "tune": 0},
            ValueError,
            "tune must be at least 1 for a preconditioner",
        ),
        ({"seed": -1}, TypeError, "seed must be a non-negative integer, got -1"),
        ({"dtype": "float16"}, ValueError, "dtype must be 'float64' or 'float32', got 'float16'"),
        ({"kernel": "sgld"}, TypeError, "kernel must come from inference.sgld or inference.sghmc"),
        ({"start": np.zeros((2, 3))}, ValueError, r"start must have shape \(2, 2\), got \(2, 3\)"),
        ({"start": np.full((2, 2), np.nan)}, ValueError, "start must be finite"),
        ({"start": {"w": np.zeros((2, 2))}}, ValueError, "start must name beta, got w"),
        ({"start": {"beta": np.zeros(2)}}, ValueError, r"start\['beta'\] must have shape \(2, 2\)"),
        ({"backend": "torch"}, ValueError, "backend must be 'jax' or 'numba', got 'torch'"),
        ({"backend": "numba", "dtype": "float32"}, ValueError, "'numba' computes in float64"),
        ({"chain_method": "serial"}, ValueError, "chain_method must be 'parallel' or 'vectorized'"),
        ({"executor": 3}, TypeError, "executor must be a concurrent.futures.Executor, got 3"),
        ({"max_bytes": 10}, ValueError, "fewer draws"),
    ],
)
def test_bad_options(line, options, error, message):
    with pytest.raises(error, match=message):
        sample(line[0], **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: inference.sgld(-1e-3), ValueError, "positive and finite, got -0.001"),
        (lambda: inference.sgld(np.nan), ValueError, "positive and finite, got nan"),
        (lambda: inference.sgld("big"), TypeError, "step_size must be a number, got 'big'"),
        (lambda: inference.sgld(1.0, temperature=-1), ValueError, "temperature must be finite"),
        (lambda: inference.sgld(1.0, preconditioner="adam"), ValueError, "None or 'rms'"),
        (lambda: inference.sgld(1.0, decay=1.0), ValueError, r"decay must lie in \(0, 1\)"),
        (lambda: inference.sgld(1.0, damping=0.0), ValueError, "damping must be positive"),
        (
            lambda: inference.sgld(1.0, preconditioner="rms", control_variates=3),
            ValueError,
            "control_variates belong to plain SGLD",
        ),
        (lambda: inference.sghmc(1.0, friction=2.0), ValueError, r"friction must lie in \(0, 1\]"),
        (lambda: inference.cyclical(1.0, 0), ValueError, "n_cycles must be at least 1, got 0"),
        (lambda: inference.cyclical(1.0, 2, 1.0), ValueError, r"exploration must lie in \[0, 1\)"),
        (lambda: inference.polynomial(1.0, power=0.4), ValueError, r"power must lie in \(0.5, 1\]"),
        (
            lambda: inference.cyclical(1.0, 3).plan(10, 0, 1),
            ValueError,
            "draws must be a multiple of the 3 cycles, got 10",
        ),
    ],
)
def test_bad_kernels(call, error, message):
    with pytest.raises(error, match=message):
        call()


def regression(y_length=40, total_size=None, observed=None):
    rng = np.random.default_rng(0)
    with pm.Model() as model:
        beta = pm.Normal("beta")
        X = pm.Data("X", rng.normal(size=40))
        y = pm.Data("y", rng.normal(size=y_length)) if observed is None else observed
        pm.Normal("obs", beta * X, 1.0, observed=y, total_size=total_size)
    return model


def test_models_that_cannot_be_cut():
    with pytest.raises(ValueError, match=r"X.*40.*y.*39|y.*39.*X.*40"):
        sample(regression(39))
    with pytest.raises(ValueError, match="already scales obs by total_size"):
        sample(regression(total_size=80))
    with pytest.raises(ValueError, match="got rows of length 40 as constants"):
        sample(regression(observed=np.zeros(40)))
    with pm.Model() as model:
        beta = pm.Normal("beta")
        pm.Normal("obs", beta, 1.0, observed=np.zeros(40))
    with pytest.raises(ValueError, match=r"inputs and observed values in pm.Data, got none"):
        sample(model)
    with pm.Model() as model:
        X, y = pm.Minibatch(np.zeros(40), np.zeros(40), batch_size=5)
        mu = pm.Normal("beta") * X
        with pytest.warns(UserWarning, match="total_size not provided"):
            pm.Normal("obs", mu, 1.0, observed=y)
    with pytest.raises(ValueError, match=r"already has pm.Minibatch data"):
        sample(model)
    with pm.Model() as model:
        k = pm.Poisson("k", 3.0)
        pm.Normal("obs", k, 1.0, observed=pm.Data("y", np.zeros(40)))
    with pytest.raises(TypeError, match="discrete free variables, got k"):
        sample(model)
    with pm.Model() as model:
        beta = pm.Normal("beta")
        pm.Normal("obs", beta, 1.0, observed=pm.Data("y", np.zeros(40)))
        pm.Normal("total", beta, 1.0, observed=pm.Data("z", np.zeros(3)))
    with pytest.raises(ValueError, match="observed variable total must follow the 40 rows"):
        sample(model)
    with pm.Model() as model:
        beta = pm.Normal("beta")
        y = pm.Data("y", np.arange(40.0))
        pm.Normal("obs", beta * y.mean(), 1.0, observed=y)
    with pytest.raises(ValueError, match="likelihood must be a sum over the rows"):
        sample(model)
    with pm.Model() as model:
        beta = pm.Normal("beta")
        y = pm.Data("y", np.arange(40.0))
        pm.Potential("penalty", -((beta * y) ** 2))
        pm.Normal("obs", beta, 1.0, observed=y)
    with pytest.raises(ValueError, match="prior and potentials must not depend on the rows"):
        sample(model)


def test_divergence_names_step_parameter_and_last_log_density(line):
    with pytest.raises(
        inference.DivergedError,
        match=r"chain \d diverged at step \d+ of \d+: gradient not finite in beta; last finite log "
        r"density -\d",
    ):
        sample(line[0], inference.sgld(1.0), draws=5000)


def test_gradient_that_is_not_a_number():
    with pm.Model() as model:
        beta = pm.Normal("beta")
        pm.Normal("obs", pm.math.sqrt(beta - 100.0), 1.0, observed=pm.Data("y", np.zeros(40)))
    with pytest.raises(inference.DivergedError, match=r"step 1 of .* in beta; last finite .* nan"):
        sample(model)


def test_one_chain_warns(line):
    with pytest.warns(UserWarning, match="R-hat between chains needs chains > 1"):
        sample(line[0], chains=1)


def interrupt_after(monkeypatch, calls):
    """Ctrl-C in the main thread once each of two chains has run ``calls`` compiled blocks."""
    original, count = sgmcmc._GroupRun.advance, Counter()
    reached = threading.Event()

    def advance(run):
        if len(count) == 2 and min(count.values()) >= calls:
            reached.set()
            threading.Event().wait(0.2)  # let the main thread see it
        original(run)
        count[run.chains] += 1

    def sleep(_):
        if reached.wait(0.05):
            raise KeyboardInterrupt

    monkeypatch.setattr(sgmcmc._GroupRun, "advance", advance)
    monkeypatch.setattr(sgmcmc.time, "sleep", sleep)


def test_interrupted_run_returns_what_it_has(line, monkeypatch):
    whole = sample(line[0], draws=20_000, thin=2)["posterior"]["beta"]
    interrupt_after(monkeypatch, 3)
    tree = sample(line[0], draws=20_000, thin=2)
    got = tree["posterior"]["beta"]
    assert tree.attrs["interrupted"]
    assert 0 < got.sizes["draw"] < 20_000
    np.testing.assert_array_equal(got, whole[:, : got.sizes["draw"]])


@pytest.mark.parametrize(
    ("kernel", "calls"),
    [
        (inference.sgld(1e-3), 3),
        (inference.sgld(1e-3, preconditioner="rms"), 3),
        (inference.sghmc(1e-3, friction=0.1), 3),
        (inference.sgld(1e-3, control_variates=7), 30),
    ],
)
def test_resumed_run_draws_the_same(line, monkeypatch, tmp_path, kernel, calls):
    options = {"draws": 3000, "thin": 2, "tune": 50, "batch_size": 7}
    whole = sample(line[0], kernel, **options)["posterior"]["beta"]
    with monkeypatch.context() as patch:
        interrupt_after(patch, calls)
        sample(line[0], kernel, checkpoint=tmp_path, **options)
    assert len(list(tmp_path.glob("chains_*.npz"))) == 2
    assert not list(tmp_path.glob("*.part"))
    resumed = sample(line[0], kernel, checkpoint=tmp_path, **options)
    assert not resumed.attrs["interrupted"]
    np.testing.assert_array_equal(resumed["posterior"]["beta"], whole)


def test_checkpoints_of_others_and_broken_ones_are_refused_and_kept(line, tmp_path):
    sample(line[0], checkpoint=tmp_path)
    path = tmp_path / "chains_0_0.npz"
    good = path.read_bytes()
    for other in ({"seed": 1}, {"draws": 11}, {"batch_size": 7}, {"kernel": inference.sgld(2e-3)}):
        with pytest.raises(
            ValueError, match="belongs to another model, data, seed, setting or ver"
        ):
            sample(line[0], checkpoint=tmp_path, **other)
    with pytest.raises(ValueError, match="belongs to another model"):
        sample(regression(), checkpoint=tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bnnbook.inference.checkpoint.version", lambda _: "0")
        with pytest.raises(ValueError, match="belongs to another model"):
            sample(line[0], checkpoint=tmp_path)
    assert path.read_bytes() == good
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(ValueError, match="truncated or not a checkpoint"):
        sample(line[0], checkpoint=tmp_path)
    assert path.read_bytes() == good[: len(good) // 2]


def test_failed_write_keeps_the_last_checkpoint(line, tmp_path, monkeypatch):
    sample(line[0], checkpoint=tmp_path)
    path = tmp_path / "chains_0_0.npz"
    good = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("bnnbook.inference.checkpoint.np.savez", full)
    with pytest.raises(OSError, match="no space left"):
        sgmcmc.write_checkpoint(path, "run", {})
    assert path.read_bytes() == good
    assert not list(tmp_path.glob("*.part"))


def positive_regression():
    """A model with a transformed parameter."""
    rng = np.random.default_rng(0)
    with pm.Model(coords={"output": ["a", "b"]}) as model:
        sigma = pm.HalfNormal("sigma", dims="output")
        mu = pm.Normal("mu", dims="output")
        pm.Normal("obs", mu, sigma, observed=pm.Data("y", rng.normal(size=(40, 2))))
    return model


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_store_holds_the_draws_and_the_statistics(tmp_path, dtype):
    options = {"batch_size": 7, "draws": 300, "thin": 2, "dtype": dtype}
    memory = sample(positive_regression(), **options)
    stored = sample(positive_regression(), store=tmp_path / "draws", max_bytes=1, **options)
    xr.testing.assert_allclose(
        stored["posterior"].to_dataset(), memory["posterior"].to_dataset(), rtol=1e-6
    )
    reopened = xr.open_datatree(tmp_path / "draws", engine="zarr", consolidated=False)
    assert reopened["posterior"].sizes == {"chain": 2, "draw": 300, "output": 2}
    assert list(reopened["posterior"]["output"].to_numpy()) == ["a", "b"]
    np.testing.assert_array_equal(reopened["sample_stats"]["lp"], memory["sample_stats"]["lp"])
    assert reopened.attrs["convention"] == memory.attrs["convention"]


def test_store_and_checkpoint_resume_together(line, monkeypatch, tmp_path):
    options = {"draws": 3000, "thin": 2, "batch_size": 7}
    places = {"checkpoint": tmp_path / "state", "store": tmp_path / "draws"}
    whole = sample(line[0], **options)["posterior"]["beta"]
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        part = sample(line[0], **places, **options)["posterior"]["beta"]
    np.testing.assert_array_equal(part, whole[:, : part.sizes["draw"]])
    resumed = sample(line[0], **places, **options)["posterior"]["beta"]
    np.testing.assert_array_equal(resumed, whole)
    shutil.rmtree(tmp_path / "draws")
    with pytest.raises(ValueError, match="has none of the draws that checkpoint"):
        sample(line[0], **places, **options)
    assert not (tmp_path / "draws").exists()


def test_store_of_another_run_or_none_is_refused_and_kept(line, tmp_path, monkeypatch):
    first = sample(line[0], store=tmp_path / "draws")["posterior"]["beta"].to_numpy()
    with pytest.raises(ValueError, match="holds draws of another model, data, seed, setting"):
        sample(line[0], store=tmp_path / "draws", seed=1)
    kept = xr.open_datatree(tmp_path / "draws", engine="zarr", consolidated=False)
    np.testing.assert_array_equal(kept["posterior"]["beta"], first)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not a finished store of draws"):
        sample(line[0], store=tmp_path / "notes")
    assert (tmp_path / "notes" / "mine.txt").read_text() == "mine"
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ImportError, match=r"store needs zarr: pip install 'bnnbook\[zarr\]'"):
        sample(line[0], store=tmp_path / "new")


def test_killed_run_resumes_to_the_same_draws(tmp_path):
    """The process dies without a chance to save."""
    draws = 150_000
    script = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_sgmcmc_errors import positive_regression, sample
        sample(
            positive_regression(), draws={draws}, checkpoint={str(tmp_path)!r},
            checkpoint_every=0.05,
        )
    """)
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob("chains_*.npz"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    files = sorted(tmp_path.glob("chains_*.npz"))
    steps = [int(np.load(path)["step"]) for path in files]
    assert len(files) == 2
    assert 0 < max(steps) < draws
    resumed = sample(positive_regression(), draws=draws, checkpoint=tmp_path)["posterior"]["mu"]
    whole = sample(positive_regression(), draws=draws)["posterior"]["mu"]
    np.testing.assert_array_equal(resumed, whole)
