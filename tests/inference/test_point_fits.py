"""Modes and ensembles: what stops them, what is said of it, and what they leave in memory."""

import json
import tracemalloc
import warnings
from functools import partial

import numpy as np
import pymc as pm
import pytest
from threadpoolctl import threadpool_info

from bnnbook import inference, models, predict
from bnnbook.inference import ConvergenceWarning

QUIET = {"seed": 0, "progressbar": False}
RNG = np.random.default_rng(3)


def rows(n):
    """Five features, of which one counts."""
    X = RNG.normal(size=(n, 5))
    return X, X[:, 0] + 0.5 * RNG.normal(size=n)


@pytest.fixture(scope="module")
def flexible():
    """A network with more weights than rows, which can fit the noise; and rows to test it by."""
    X, y = rows(60)
    return models.mlp_regression(X, y, (30,), heteroskedastic=False, prior_sd=1.0), *rows(500)


def score(model, fit, X, y):
    """Mean log density of new rows under the equal mixture of the members."""
    out = predict.compile_predictor(model, ["mu", "sigma"])(fit["posterior"], X)
    mu, sd = (out[name].to_numpy().reshape(-1, len(y)) for name in ("mu", "sigma"))
    log_p = -0.5 * ((y - mu) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi)
    return float((np.logaddexp.reduce(log_p, axis=0) - np.log(len(mu))).mean())


def problems(fit):
    return json.loads(fit.attrs["problems"])


def test_default_ensemble_stops_before_it_fits_the_noise(flexible):
    model, X, y = flexible
    safe = inference.fit_ensemble(model, n_members=2, **QUIET)
    assert score(model, safe, X, y) > -2  # the truth has -0.73, a constant -1.5
    assert safe["sample_stats"]["stopped_early"].sum() >= 1
    assert float(safe["posterior"]["noise"].min()) > 0.2
    with pytest.warns(ConvergenceWarning, match="all 500 steps before the gradient vanished"):
        unsafe = inference.fit_ensemble(model, n_members=2, max_steps=500, **QUIET)
    assert score(model, unsafe, X, y) < -100  # what the default is there to avoid
    assert unsafe["sample_stats"]["stopped_early"].sum() == 0
    assert unsafe.attrs["converged"] == 0


def test_mode_whose_noise_has_collapsed_says_so(flexible):
    model, *_ = flexible
    with pytest.warns(ConvergenceWarning, match="the noise of obs has collapsed to .* 60 values"):
        fit = inference.fit_map(model, max_steps=500, **QUIET)
    assert fit.attrs["converged"] == 0


@pytest.mark.parametrize("noise", [0.0, 1e-4])
def test_noise_of_a_regression_collapses_only_where_there_is_none(noise):
    x = np.linspace(-1, 1, 50)
    y = 1 + 2 * x + noise * RNG.normal(size=50)
    with pm.Model() as model:
        mu = pm.Normal("a", 0, 10) + pm.Normal("b", 0, 10) * x
        pm.Normal("obs", mu, pm.HalfNormal("sigma", 1), observed=y)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        fit = inference.fit_map(model, **QUIET)
    collapsed = [text for text in problems(fit) if "collapsed" in text]
    assert bool(collapsed) == (noise == 0)
    if noise:
        assert fit.attrs["converged"] == 1
        assert float(fit["posterior"]["sigma"][0, 0]) == pytest.approx(noise, rel=0.3)


def test_mode_is_found_where_scales_differ_by_a_thousand():
    """Year and intercept: a ridge of correlation .99996, on which L-BFGS stalls."""
    x = np.arange(1952.0, 2014.0)
    y = 9 + 0.01 * (x - 1980) + 0.8 * np.random.default_rng(3).normal(size=62)
    with pm.Model() as model:
        mu = pm.Flat("a") + pm.Flat("b") * x
        pm.Normal("obs", mu, pm.HalfFlat("sigma"), observed=y)
    fit = inference.fit_map(model, **QUIET)
    slope, level = np.polyfit(x, y, 1)
    spread = np.std(y - level - slope * x)
    assert float(fit["posterior"]["b"][0, 0]) == pytest.approx(slope, rel=1e-4)
    assert float(fit["posterior"]["a"][0, 0]) == pytest.approx(level, rel=1e-4)
    assert float(fit["posterior"]["sigma"][0, 0]) == pytest.approx(spread, rel=1e-4)
    assert fit.attrs["converged"] == 1


def test_too_few_steps_are_told(line):
    with pytest.warns(ConvergenceWarning, match="L-BFGS had used all 1 steps .* raise max_steps"):
        fit = inference.fit_map(line[0], max_steps=1, **QUIET)
    assert fit.attrs["converged"] == 0
    assert len(problems(fit)) == 1
    assert inference.fit_map(line[0], **QUIET).attrs["converged"] == 1


@pytest.mark.parametrize("fit", [inference.fit_map, inference.fit_mle, inference.fit_ensemble])
def test_start_outside_the_support_names_variable_and_rows(fit):
    y = np.array([1.0, 2.0, -1.0, 3.0, -4.0])
    with pm.Model() as model:
        pm.LogNormal("size", pm.Normal("mu"), 1, observed=pm.Data("y", y))
    with pytest.raises(ValueError, match=r"2 of 5 rows of observed variable size .* row 2"):
        fit(model, **QUIET)


@pytest.mark.parametrize(
    "fit",
    [
        inference.fit_map, inference.fit_ensemble, inference.fit_advi,
        partial(inference.fit_swag, learning_rate=1e-4),
    ],
)  # fmt: skip
def test_linear_algebra_has_one_thread(line, fit):
    """With one a core, ADVI of a marginal output layer took ten times as long on a busy machine."""
    seen = []

    def watch(state, losses, step):
        seen.extend(p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas")

    fit(line[0], callbacks=[watch], **QUIET)
    assert set(seen) == {1}


def test_callback_ends_each_start_where_it_says_so(line):
    def stop(state, losses, step):
        assert len(losses) == step
        if step == 2:
            raise StopIteration

    fit = inference.fit_ensemble(line[0], n_members=3, callbacks=[stop], **QUIET)
    assert dict(fit["history"].sizes) == {"chain": 3, "step": 2}
    assert fit.attrs["interrupted"] == 0


def test_no_iterate_is_kept():
    """Two hundred steps with 20,000 parameters, 32 MB if all were kept."""
    D, steps = 20_000, 200
    with pm.Model() as model:
        beta = pm.Normal("beta", 0, np.geomspace(1e-3, 1e3, D), shape=D, initval=np.ones(D))
        pm.Normal("obs", beta, 1.0, observed=np.zeros(D))
    with pytest.warns(ConvergenceWarning, match="all 3 steps"):
        inference.fit_map(model, max_steps=3, **QUIET)  # compiled, and modules imported
    tracemalloc.start()
    with pytest.warns(ConvergenceWarning, match=f"all {steps} steps"):
        fit = inference.fit_map(model, max_steps=steps, **QUIET)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert fit["history"].sizes["step"] == steps
    assert peak < 0.5 * 8 * D * steps


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"validation": 0.5}, ValueError, r"validation must lie in \[0, 1/2\), got 0.5"),
        ({"validation": -0.1}, ValueError, r"validation must lie in \[0, 1/2\), got -0.1"),
        ({"validation": float("nan")}, ValueError, r"validation must lie in .* got nan"),
        ({"validation": "some"}, TypeError, "validation must be a number, got 'some'"),
        ({"validation": True}, TypeError, "validation must be a number, got True"),
        ({"max_steps": 0}, ValueError, "max_steps must be at least 1, got 0"),
        ({"max_steps": 2.0}, TypeError, "max_steps must be an integer, got 2.0"),
        ({"n_members": np.int64(0)}, ValueError, "n_members must be at least 1, got 0"),
    ],
)
def test_bad_arguments_of_an_ensemble(line, arguments, error, message):
    with pytest.raises(error, match=message):
        inference.fit_ensemble(line[0], **QUIET | arguments)


def test_numpy_scalars_are_numbers(line):
    numpy = {"n_members": np.int32(2), "max_steps": np.int64(50), "validation": np.float32(0.25)}
    fit = inference.fit_ensemble(line[0], **numpy, seed=np.uint8(0), progressbar=False)
    assert fit["posterior"].sizes["chain"] == 2
    assert json.loads(fit.attrs["settings"])["validation"] == 0.25
