"""Pointwise log likelihoods, and what ArviZ makes of them."""

import arviz as az
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy import stats

from bnnbook import inference

QUIET = {"seed": 0, "progressbar": False}


@pytest.fixture(scope="module")
def fit(line):
    """Exact draws: the posterior of this model is normal."""
    model, *_ = line
    tree = inference.log_likelihood(inference.fit_laplace(model, draws=1000, **QUIET), model)
    predictive = pm.sample_posterior_predictive(
        tree, model=model, progressbar=False, random_seed=1,
        compile_kwargs={"mode": "FAST_COMPILE"},
    )  # fmt: skip
    tree["posterior_predictive"] = predictive["posterior_predictive"]
    return tree


def data(model):
    return model["X"].get_value(), model["y"].get_value()


def test_values_are_those_of_every_draw_and_row(fit, line):
    X, y = data(line[0])
    mu = fit["posterior"]["beta"].to_numpy() @ X.T
    expected = stats.norm.logpdf(y, mu, 0.5)
    np.testing.assert_allclose(fit["log_likelihood"]["obs"], expected, rtol=1e-7)
    assert set(fit["log_likelihood"].dims) == {"chain", "draw", *fit["observed_data"].dims}


def test_leaving_one_out_is_the_closed_form(fit, line):
    X, y = data(line[0])
    exact = 0.0
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        covariance = np.linalg.inv(np.eye(2) + X[rest].T @ X[rest] / 0.25)
        mean = covariance @ X[rest].T @ y[rest] / 0.25
        sd = np.sqrt(X[i] @ covariance @ X[i] + 0.25)
        exact += stats.norm.logpdf(y[i], X[i] @ mean, sd)
    result = az.loo(fit)
    assert result.elpd == pytest.approx(exact, abs=0.3)
    assert not result.warning


def test_other_uses_of_arviz(fit):
    worse = fit.copy()
    worse["log_likelihood"] = xr.DataTree(fit["log_likelihood"].to_dataset() - 1.0)
    table = az.compare({"better": fit, "worse": worse})
    assert list(table.index) == ["better", "worse"]
    pit = az.loo_pit(fit)["obs"].to_numpy()
    assert stats.kstest(pit, "uniform").pvalue > 1e-3
    assert az.plot_ppc_dist(fit, num_samples=10) is not None


def test_a_likelihood_in_potentials_has_no_rows_to_give():
    with pm.Model() as model:
        w = pm.Normal("w")
        pm.Potential("fit", -((pm.Data("y", np.ones(3)) - w) ** 2).sum())
    posterior = xr.Dataset({"w": (("chain", "draw"), np.zeros((1, 30)))})
    fit = xr.DataTree.from_dict({"posterior": posterior})
    with pytest.raises(ValueError, match=r"must have observed variables.*in fit: write"):
        inference.log_likelihood(fit, model)
