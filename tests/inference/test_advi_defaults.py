"""ADVI at its defaults: regressions of any scale, networks; and what is said of runs that fail."""

import json
import warnings

import numpy as np
import pymc as pm
import pytest

from bnnbook import inference
from bnnbook.inference import ConvergenceWarning, EarlyStopping

QUIET = {"seed": 1, "progressbar": False}
N = 3_000  # steps: a tenth of the default, so that tests are quick


def columns(*features):
    return np.stack([np.ones(len(features[0])), *features], axis=1)


RNG = np.random.default_rng(5)
HEIGHT = RNG.normal(66.6, 3.8, size=400)
MALE = (RNG.random(400) < 0.4).astype(float)
NEARLY = RNG.normal(size=100)
# inputs, coefficients and noise, made like the regressions of posteriordb
DESIGNS = {
    "kidiq": (columns(RNG.normal(100, 15, size=434)), [25.8, 0.6], 18.3),
    "logearn": (columns(HEIGHT), [5.8, 0.06], 0.9),
    "interaction": (columns(HEIGHT, MALE, HEIGHT * MALE), [8.4, 0.02, -0.1, 0.007], 0.87),
    "years": (columns(np.arange(1952.0, 2014.0)), [-18.0, 0.014], 1.0),
    "units": (columns(1e-3 * RNG.normal(size=80), 1e3 * RNG.normal(size=80)), [1, 2e3, -3e-3], 2.0),
    "collinear": (columns(NEARLY, NEARLY + 0.01 * RNG.normal(size=100)), [0.0, 1.0, 2.0], 1.0),
}


def regression(name):
    """Model with flat priors, its exact posterior mean and covariance, and the noise's log."""
    X, beta, noise = DESIGNS[name]
    rng = np.random.default_rng(len(X))
    y = X @ beta + noise * rng.normal(size=len(X))
    with pm.Model() as model:
        b = pm.Flat("beta", shape=X.shape[1])
        sigma = pm.HalfFlat("sigma")
        pm.Normal("obs", pm.Data("X", X) @ b, sigma, observed=pm.Data("y", y))
    mean, (rss,), _, _ = np.linalg.lstsq(X, y)
    # beta is Student's t with N - D - 1 degrees of freedom: p(sigma) is flat, not 1 / sigma
    free = len(y) - X.shape[1] - 1
    return model, mean, np.linalg.inv(X.T @ X) * rss / free, 0.5 * np.log(rss / free)


@pytest.mark.parametrize("method", ["advi", "fullrank_advi"])
@pytest.mark.parametrize("name", DESIGNS)
def test_defaults_arrive_whatever_the_scales(name, method):
    model, mean, covariance, log_sigma = regression(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        fit = inference.fit_advi(model, N, method=method, **QUIET)
    assert fit.attrs["converged"] == 1
    sd = np.sqrt(np.diag(covariance))
    found = fit["variational"]["beta"].sel(stat=["mean", "sd"]).to_numpy()
    assert (abs(found[0] - mean) < 0.3 * sd).all()
    expected = 1 / np.sqrt(np.diag(np.linalg.inv(covariance))) if method == "advi" else sd
    np.testing.assert_allclose(found[1], expected, rtol=0.15)
    of_noise = fit["variational"]["sigma_log__"].sel(stat="mean")
    assert float(of_noise) == pytest.approx(
        log_sigma, abs=0.3 / np.sqrt(2 * len(model["y"].eval()))
    )


def test_fixed_steps_do_not_arrive_and_say_so():
    """Negative control: what the defaults were."""
    model, mean, covariance, _ = regression("years")
    with pytest.warns(
        ConvergenceWarning, match=r"nats of ELBO from where it belongs|The ELBO rose by"
    ):
        fit = inference.fit_advi(model, N, learning_rate=0.01, **QUIET)
    found = fit["variational"]["beta"].sel(stat="mean").to_numpy()
    assert (abs(found - mean) > 2 * np.sqrt(np.diag(covariance))).any()
    assert fit.attrs["converged"] == 0
    assert "Take more steps (n)" in json.loads(fit.attrs["problems"])[0]


def test_full_rank_goes_on_from_a_fit_at_the_defaults():
    model, mean, covariance, _ = regression("kidiq")
    first = inference.fit_advi(model, N, **QUIET)
    second = inference.fit_advi(model, N, method="fullrank_advi", start=first, **QUIET)
    found = second["variational"]["beta"].sel(stat=["mean", "sd"]).to_numpy()
    assert (abs(found[0] - mean) < 0.3 * np.sqrt(np.diag(covariance))).all()
    np.testing.assert_allclose(found[1], np.sqrt(np.diag(covariance)), rtol=0.15)


def test_two_likelihoods_of_different_length_have_their_own_scales():
    """The first of 100 rows, the second of 50, each with a level of its own, in batches of 20."""
    rng = np.random.default_rng(0)
    with pm.Model() as model:
        for name, rows in {"a": 100, "b": 50}.items():
            level = pm.Normal(f"level_{name}", 0, 10)
            pm.Normal(name, level, 1, observed=pm.Data(f"y_{name}", rng.normal(size=rows)))
    fit = inference.fit_advi(model, 20 * N, batch_size=20, **QUIET)
    for name, rows in {"a": 100, "b": 50}.items():
        sd = float(fit["variational"][f"level_{name}"].sel(stat="sd"))
        assert sd == pytest.approx(1 / np.sqrt(rows), rel=0.15)


def test_early_stopping_waits_for_the_end_of_the_annealing(line):
    stop = EarlyStopping(window=100, tolerance=100.0)
    fit = inference.fit_advi(
        line[0], 2000, kl_annealing=inference.linear_annealing(0.05, 0.5), callbacks=[stop], **QUIET
    )
    assert fit["history"].sizes["step"] == 1200  # two windows after step 1000
    plain = inference.fit_advi(line[0], 2000, callbacks=[stop], **QUIET)
    assert plain["history"].sizes["step"] == 200


def test_seconds_are_those_of_all_starts(line):
    fit = inference.fit_advi(line[0], 2000, n_starts=3, **QUIET)
    assert fit.attrs["seconds"] > 1.5 * float(fit["history"]["seconds"][-1])


def test_callbacks_far_apart_are_called_on_time(line):
    steps = []
    inference.fit_advi(
        line[0], 5000, callbacks=[lambda *a: steps.append(a[2])], callback_every=2100, **QUIET
    )
    assert steps == [2100, 4200]


@pytest.mark.parametrize("options", [{}, {"learning_rate": 0.01}, {"method": "fullrank_advi"}])
def test_start_outside_the_support_names_variable_and_rows(options):
    y = np.array([1.0, 2.0, -1.0, 3.0, -4.0])
    with pm.Model() as model:
        pm.LogNormal("size", pm.Normal("mu"), 1, observed=pm.Data("y", y))
    with pytest.raises(ValueError, match=r"2 of 5 rows of observed variable size .* row 2"):
        inference.fit_advi(model, 200, **options, **QUIET)


def test_numpy_scalars_are_numbers(line):
    numpy = {
        "n": np.int64(60), "draws": np.int32(5), "learning_rate": np.float32(0.01),
        "initial_sd": np.float64(0.1), "n_starts": np.int8(1), "batch_size": np.int64(20),
    }  # fmt: skip
    with pytest.warns(ConvergenceWarning, match="60 steps at full KL weight are too few"):
        fit = inference.fit_advi(line[0], **numpy, seed=np.uint8(0), progressbar=False)
    assert fit["posterior"].sizes["draw"] == 5


def test_a_run_at_a_poor_mode_is_told_of():
    """A bump at -10 that is 60 nats lower than the one at 10; only steps of one's own end there."""
    with pm.Model() as model:
        theta = pm.Normal("theta", 0, 10)
        bumps = [-0.5 * (theta - 10) ** 2, -60 - 0.5 * (theta + 10) ** 2]
        pm.Potential("bumps", pm.math.logaddexp(*bumps))
    problems = {}
    for at in (-10.0, 10.0):
        fit = inference.fit_advi(
            model, 2000, learning_rate=lambda f: 0.05 * (1 - f) + 1e-4, start={"theta": at}, **QUIET
        )
        assert float(fit["posterior"]["theta"].mean()) == pytest.approx(at, abs=0.5)
        problems[at] = json.loads(fit.attrs["problems"])
    assert problems[10.0] == []
    assert "is 60 nats below" in problems[-10.0][0]
    assert "n_starts" in problems[-10.0][0]
