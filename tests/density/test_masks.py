"""Rows chosen by a boolean container: as many as it says, and no batches."""

import numpy as np
import pymc as pm
import pytest

from bnnbook import inference


def masked(how):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 2))
    kept = rng.random(30) < 0.7
    y = (X @ [1.0, -2.0] + 0.5 * rng.normal(size=30))[kept]
    with pm.Model() as model:
        w = pm.Normal("w", 0, 1, shape=2)
        mask = {
            "boolean": lambda: pm.Data("kept", kept),
            "inverted": lambda: ~pm.Data("gone", ~kept),
            "computed": lambda: pm.Data("weight", kept.astype(float)) > 0.5,
        }[how]()
        mu = pm.Data("X", X) @ w
        pm.Normal("obs", mu[mask], 0.5, observed=y)
    return model, X[kept], y


@pytest.mark.parametrize("how", ["boolean", "inverted", "computed"])
def test_density_is_pymcs(how):
    model, *_ = masked(how)
    density = inference.compile_log_density(model)
    theta = np.array([0.3, -0.7])
    found = density.log_prior(theta, density.data) + density.log_likelihood(theta, density.data)
    assert float(found) == pytest.approx(float(model.compile_logp()({"w": theta})), rel=1e-8)


def test_fit_has_the_closed_form_and_batches_are_refused():
    model, X, y = masked("boolean")
    precision = X.T @ X / 0.25 + np.eye(2)
    fit = inference.fit_laplace(model, seed=0, n_starts=1, progressbar=False)
    mean = fit["variational"]["w"].sel(stat="mean")
    np.testing.assert_allclose(mean, np.linalg.solve(precision, X.T @ y / 0.25), atol=1e-5)
    np.testing.assert_allclose(
        fit["variational"]["covariance"], np.linalg.inv(precision), rtol=1e-5
    )
    with pytest.raises(ValueError, match="rows of length"):
        inference.fit_advi(model, 50, batch_size=5, seed=0, progressbar=False)
