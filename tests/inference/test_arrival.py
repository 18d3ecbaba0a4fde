"""Have point fits arrived at the mode? Distances to closed forms in posterior sds."""

import json
import warnings

import numpy as np
import pymc as pm
import pytest

from bnnbook import inference, models
from bnnbook.inference import ConvergenceWarning
from bnnbook.inference.arrival import away, close_in

QUIET = {"seed": 0, "progressbar": False}
NEAR = 0.05  # posterior sds


def regression(seed, kind, n=100, d=7):
    """Inputs that span six decades, or of which each pair is nearly one; and targets."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    if kind == "six decades":
        X *= 10.0 ** np.linspace(-3, 3, d)
        slopes = rng.normal(size=d) / X.std(axis=0)
    else:
        half = d // 2
        X[:, half : 2 * half] = X[:, :half] + kind * X[:, half : 2 * half]
        slopes = np.ones(d)
    return X, X @ slopes + rng.normal(size=n)


def linear(X, y, sd=1e4):
    with pm.Model() as model:
        b = pm.Normal("b", 0, sd, shape=X.shape[1])
        pm.Normal("obs", pm.Data("X", X) @ b, 1.0, observed=pm.Data("y", y))
    return model


def sds_from_the_mode(fit, X, y, sd=1e4):
    precision = X.T @ X + np.eye(X.shape[1]) / sd**2
    root = np.linalg.cholesky(precision)
    error = fit["posterior"]["b"][:, 0].to_numpy() - np.linalg.solve(precision, X.T @ y)
    return np.linalg.norm(error @ root, axis=1)


def test_six_decades():
    """L-BFGS alone ends .37 sds away with the last of these seeds."""
    model = linear(*regression(0, "six decades"))
    for seed in range(4):
        X, y = regression(seed, "six decades")
        with model:
            pm.set_data({"X": X, "y": y})
        fit = inference.fit_map(model, seed=seed, progressbar=False)
        assert sds_from_the_mode(fit, X, y)[0] < NEAR
        assert fit.attrs["converged"] == 1


def test_nearly_collinear_from_twenty_starts():
    """L-BFGS alone ends up to 1.1 sds away in half of them."""
    X, y = regression(0, 1e-5)
    fit = inference.fit_ensemble(linear(X, y), n_members=20, validation=0, **QUIET)
    assert sds_from_the_mode(fit, X, y).max() < NEAR
    assert fit.attrs["converged"] == 1


def test_more_parameters_are_near_or_reported():
    X, y = regression(1, 1e-4, n=600, d=300)
    with pytest.warns(ConvergenceWarning, match=r"climb ended at least [\d.]+ posterior standard"):
        fit = inference.fit_map(linear(X, y), **QUIET)
    assert fit.attrs["converged"] == 0
    told = float(json.loads(fit.attrs["problems"])[0].split("at least ")[1].split()[0])
    assert 0.01 < told <= 1.01 * sds_from_the_mode(fit, X, y)[0]
    X, y = regression(1, 1.0, n=600, d=300)
    fit = inference.fit_map(linear(X, y), **QUIET)
    assert fit.attrs["converged"] == 1
    assert sds_from_the_mode(fit, X, y)[0] < NEAR


def test_fit_laplace_says_that_its_mode_is_none():
    X, y = regression(1, 1e-4, n=600, d=300)
    with pytest.warns(ConvergenceWarning, match="at least .* standard deviations from the mode"):
        fit = inference.fit_laplace(linear(X, y), n_starts=1, draws=2, **QUIET)
    assert fit.attrs["converged"] == 0


def test_networks_of_rectifiers_converge():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    model = models.mlp_classifier(X, y, (4,), activation="relu", bias=True)
    fit = inference.fit_ensemble(model, n_members=3, **QUIET)
    assert fit.attrs["converged"] == 1


class Quadratic:
    """-(theta^T A theta) / 2."""

    def __init__(self, A):
        self.A = np.asarray(A, float)

    def value_and_gradient(self, theta):
        return -0.5 * theta @ self.A @ theta, -self.A @ theta

    def hessian(self, _theta):
        return -self.A

    def hessian_product(self, _theta, vector):
        return -self.A @ vector


def test_distance_is_in_sds_whatever_the_scales():
    A = np.diag([1e-6, 1.0, 1e6])
    at = np.array([2e3, 0.0, 0.0])  # two sds
    path = []
    assert close_in(Quadratic(A), at, 0, lambda *_: None).distance == pytest.approx(2)
    end = close_in(Quadratic(A), at, 9, lambda *step: path.append(step))
    assert end.distance < 1e-6
    assert len(path) == 1
    many = np.full(300, 0.5)
    far = close_in(Quadratic(np.eye(300)), many, 0, lambda *_: None).distance
    assert far == pytest.approx(0.5 * np.sqrt(300))


def test_a_kink_is_no_distance():
    class Kink(Quadratic):
        def value_and_gradient(self, theta):
            value, gradient = super().value_and_gradient(theta)
            return value - 5 * np.abs(theta[0]), gradient - [5 * np.sign(theta[0]), 0]

    at = np.array([1e-9, 0.0])
    assert close_in(Kink(np.eye(2)), at, 0, lambda *_: None).distance == pytest.approx(5)
    end = close_in(Kink(np.eye(2)), at, 9, lambda *_: None)
    assert end.distance == 0
    np.testing.assert_array_equal(end.theta, at)


def test_saddles_and_what_is_not_finite_are_told():
    saddle = close_in(Quadratic(np.diag([1.0, -1.0])), np.zeros(2), 5, lambda *_: None)
    assert saddle.distance == np.inf
    assert "saddle" in away(saddle.distance)
    for D in (2, 300):
        broken = close_in(Quadratic(np.full((D, D), np.nan)), np.ones(D), 5, lambda *_: None)
        assert np.isnan(broken.distance)
        np.testing.assert_array_equal(broken.theta, 1.0)
    assert "not finite" in away(np.nan)


def test_a_scale_that_collapses_is_told_and_nothing_crashes():
    x = np.linspace(-1, 1, 30)
    with pm.Model() as model:
        mu = pm.Flat("a") + pm.Flat("b") * x
        pm.Normal("obs", mu, pm.HalfFlat("sigma"), observed=1 + 2 * x)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit = inference.fit_map(model, **QUIET)
    assert fit.attrs["converged"] == 0
    assert any("collapsed" in str(w.message) for w in told)


def test_directions_that_data_and_prior_leave_open_are_no_distance():
    with pm.Model() as model:
        pm.Normal("obs", pm.Flat("a") + pm.Flat("b"), 1, observed=np.arange(5.0))
    fit = inference.fit_map(model, **QUIET)
    assert fit.attrs["converged"] == 1
    total = fit["posterior"]["a"] + fit["posterior"]["b"]
    assert total.item() == pytest.approx(2, abs=1e-4)
