"""Laplace's approximation: closed forms, the limit of many rows, and what it refuses."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr

from bnnbook import inference, models

QUIET = {"seed": 0, "progressbar": False}


@pytest.mark.parametrize("curvature", ["ggn", "hessian"])
def test_linear_regression_is_exact(line, curvature):
    model, mean, covariance, evidence = line
    fit = inference.fit_laplace(model, curvature=curvature, draws=4000, **QUIET)
    np.testing.assert_allclose(fit["variational"]["covariance"], covariance, rtol=1e-6)
    np.testing.assert_allclose(fit["variational"]["beta"].sel(stat="mean"), mean, atol=1e-5)
    assert fit.attrs["log_evidence"] == pytest.approx(evidence, abs=1e-5)
    draws = fit["posterior"]["beta"][0].to_numpy()
    np.testing.assert_allclose(np.cov(draws.T), covariance, rtol=0.15, atol=2e-4)
    assert fit.attrs["converged"] == 1


def test_diagonal_is_the_inverse_of_the_precisions_diagonal(line):
    model, _, covariance, _ = line
    fit = inference.fit_laplace(model, structure="diagonal", **QUIET)
    sd = fit["variational"]["beta"].sel(stat="sd")
    np.testing.assert_allclose(sd, np.diag(np.linalg.inv(covariance)) ** -0.5, rtol=1e-6)


def test_decrement_is_what_a_newton_step_from_the_mode_gains(line):
    """Half a standard deviation away: 1/8 of a nat in the metric of either covariance."""
    model, mean, covariance, _ = line
    precision = np.linalg.inv(covariance)
    away = mean + 0.5 * np.linalg.cholesky(covariance)[:, 0]
    mode = xr.Dataset(
        {"beta": (("chain", "draw", "term"), away[None, None])}, {"term": ["intercept", "slope"]}
    )
    mode = xr.DataTree.from_dict({"posterior": mode})
    fit = inference.fit_laplace(model, mode=mode, **QUIET)
    assert fit.attrs["newton_decrement"] == pytest.approx(0.125, rel=1e-6)
    fit = inference.fit_laplace(model, structure="diagonal", mode=mode, **QUIET)
    gradient = precision @ (away - mean)
    expected = 0.5 * np.sum(gradient**2 / np.diag(precision))
    assert fit.attrs["newton_decrement"] == pytest.approx(expected, rel=1e-6)


def test_tuned_prior_maximises_the_evidence():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 8))
    y = X @ rng.normal(0, 0.1, 8) + rng.normal(size=60)
    with pm.Model() as model:
        w = pm.Normal("w", 0, 3, shape=8)
        pm.Normal("obs", pm.Data("X", X) @ w, 1, observed=pm.Data("y", y))
    fit = inference.fit_laplace(model, tune_prior=["w"], **QUIET)
    mode = fit["variational"]["w"].sel(stat="mean").to_numpy()  # found with the model's own prior
    scale = np.geomspace(1, 1e4, 2001)
    value = [
        4 * np.log(s) - s * mode @ mode / 18 - np.linalg.slogdet(X.T @ X + s * np.eye(8) / 9)[1] / 2
        for s in scale
    ]
    assert fit.attrs["prior_scale"] == pytest.approx(scale[int(np.argmax(value))], rel=0.01)
    assert np.isnan(fit.attrs["log_evidence"])  # no longer that of the model


def test_last_layer_leaves_the_rest_at_the_mode():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    y = (X[:, 0] > 0).astype(int)
    model = models.mlp_classifier(X, y, hidden=(3,))
    fit = inference.fit_laplace(model, last_layer="w_out", n_starts=2, draws=50, **QUIET)
    spread = fit["posterior"].std(("chain", "draw"))
    assert float(spread["w1"].max()) < 1e-12  # rounding of a mean of equal numbers
    assert float(spread["w_out"].min()) > 0.01
    with pytest.raises(ValueError, match=r"last_layer must hold free variables.*hidden_1.*'w_3'"):
        inference.fit_laplace(model, last_layer="w_3", **QUIET)
    with pytest.raises(TypeError, match=r"last_layer must name .* or dims, .* got True"):
        inference.fit_laplace(model, last_layer=True, **QUIET)


def test_curvature_of_a_bernoulli_and_a_log_transform():
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    y = rng.random(300) < 1 / (1 + np.exp(-0.5 - x))
    with pm.Model() as model:
        b = pm.Normal("b", 0, 1, shape=2)
        pm.Bernoulli("obs", logit_p=b[0] + b[1] * pm.Data("x", x), observed=y.astype(int))
    fit = inference.fit_laplace(model, **QUIET)
    mode = fit["variational"]["b"].sel(stat="mean").to_numpy()
    design = np.stack([np.ones(300), x], axis=1)
    p = 1 / (1 + np.exp(-design @ mode))
    precision = (design.T * (p * (1 - p))) @ design + np.eye(2)
    np.testing.assert_allclose(
        fit["variational"]["covariance"], np.linalg.inv(precision), rtol=1e-6
    )


def test_bad_input_is_named(line):
    model, *_ = line
    with pytest.raises(ValueError, match=r"structure must be one of .*'full'.* got 'kron'"):
        inference.fit_laplace(model, structure="kron", **QUIET)
    with pytest.raises(ValueError, match=r"curvature must be one of .* got 'fisher'"):
        inference.fit_laplace(model, curvature="fisher", **QUIET)
    away = inference.fit_map(model, max_steps=1, jacobian=True, **QUIET)
    away["posterior"]["beta"][:] = 3.0
    with pytest.raises(ValueError, match=r"must be a mode .* a Newton step from it would gain"):
        inference.fit_laplace(model, mode=away, **QUIET)
    with pm.Model() as discrete:
        k = pm.Poisson("k", 2)
        pm.Normal("obs", k, 1, observed=[0.0, 1.0])
    with pytest.raises(TypeError, match="no discrete free variables, got k"):
        inference.fit_laplace(discrete, **QUIET)


def test_an_open_direction_is_named():
    with pm.Model() as model:
        a = pm.Flat("a")
        b = pm.Flat("b")
        c = pm.Normal("c", 0, 1)
        pm.Normal("obs", a + b + c, 1, observed=np.arange(5.0))
    with pytest.raises(ValueError, match="singular or not positive along a, b"):
        inference.fit_laplace(model, **QUIET)
