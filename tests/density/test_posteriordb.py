"""Models of posteriordb, written anew: PyMC's log density, and the published moments.

Data and moments (mean and standard deviation of 10,000 reference draws each) are those of
posteriordb (Magnusson et al. 2024, https://github.com/stan-dev/posteriordb).
"""

import json
from pathlib import Path

import arviz as az
import jax.numpy as jnp
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest

from bnnbook import inference
from bnnbook.density import compile_log_density, precision

PUBLISHED = json.loads((Path(__file__).parent / "posteriordb.json").read_text())
REFERENCE_DRAWS = 10_000


def eight_schools(y, sigma):
    shift = pm.Normal("theta_trans", 0, 1, shape=8)
    mu, tau = pm.Normal("mu", 0, 5), pm.HalfCauchy("tau", 5)
    pm.Normal("obs", mu + tau * shift, sigma, observed=y)


def autoregression(y, lags=5):
    before = np.stack([y[lags - k - 1 : len(y) - k - 1] for k in range(lags)], axis=1)
    alpha, beta = pm.Normal("alpha", 0, 10), pm.Normal("beta", 0, 10, shape=lags)
    sigma = pm.HalfCauchy("sigma", 2.5)
    mu = alpha + pm.Data("X", before) @ beta
    pm.Normal("obs", mu, sigma, observed=pm.Data("y", y[lags:]))


def regression(x, y):
    """The intercept and the slope of inputs far from zero depend on each other."""
    beta, sigma = pm.Flat("beta", shape=2), pm.HalfCauchy("sigma", 2.5)
    pm.Normal("obs", beta[0] + beta[1] * pm.Data("x", x), sigma, observed=pm.Data("y", y))


def garch(y):
    mu, alpha0 = pm.Flat("mu"), pm.HalfFlat("alpha0")
    alpha1, u = pm.Uniform("alpha1", 0, 1), pm.Uniform("u", 0, 1)
    pm.Potential("uniform beta1", pt.log1p(-alpha1))
    shocks = alpha0 + alpha1 * (y[:-1] - mu) ** 2
    start = pt.constant(np.array([0.25]))
    variances = pytensor.scan(
        lambda shock, before, beta1: shock + beta1 * before,
        sequences=[shocks], outputs_info=[start[0]], non_sequences=[u * (1 - alpha1)],
        return_updates=False,
    )  # fmt: skip
    pm.Normal("obs", mu, pt.sqrt(pt.concatenate([start, variances])), observed=y)


def gaussian_process(x, y):
    rho, alpha, sigma = pm.Gamma("rho", 25, 4), pm.HalfNormal("alpha", 2), pm.HalfNormal("sigma", 1)
    square = (x[:, None] - x[None, :]) ** 2
    cov = alpha**2 * pt.exp(-0.5 * square / rho**2) + sigma * np.eye(len(x))
    pm.MvNormal("obs", np.zeros(len(x)), cov=cov, observed=y)


def hidden_markov(y):
    """Its likelihood is a potential, and nothing is observed."""
    rows = [pm.Dirichlet(f"theta{k}", np.ones(2)) for k in (1, 2)]
    ordered = pm.distributions.transforms.ordered
    mu = pm.Normal("mu", [3.0, 10.0], 1.0, transform=ordered, initval=[3.0, 10.0])
    terms = pm.logp(pm.Normal.dist(mu[None, :], 1.0), pm.Data("y", y)[:, None])
    forward = pytensor.scan(
        lambda term, before, log_rows: pt.logsumexp(before[:, None] + log_rows, axis=0) + term,
        sequences=[terms[1:]], outputs_info=[terms[0]], non_sequences=[pt.log(pt.stack(rows))],
        return_updates=False,
    )  # fmt: skip
    pm.Potential("likelihood", pt.logsumexp(forward[-1]))


MODELS = {
    "eight_schools": eight_schools,
    "arK": autoregression,
    "kidiq": regression,
    "garch": garch,
    "gp_regr": gaussian_process,
    "hmm_example": hidden_markov,
}


def build(name, rows=None):
    data = {k: np.array(v, dtype=float) for k, v in PUBLISHED[name]["data"].items()}
    with pm.Model() as model:
        MODELS[name](**{k: v[:rows] for k, v in data.items()})
    return model


@pytest.mark.parametrize("name", MODELS)
def test_log_density_is_pymcs(name):
    model = build(name, rows=40)
    density = compile_log_density(model)
    pymcs = model.compile_logp(mode="FAST_COMPILE")
    with precision(np.float64):
        data = tuple(map(jnp.asarray, density.data))
        for theta in density.initial_points(1, jitter=0.5, seed=1):
            got = density.log_prior(theta, data) + density.log_likelihood(theta, data)
            expected = pymcs({k: np.asarray(v) for k, v in density.split(theta).items()})
            assert float(got) == pytest.approx(float(expected), rel=1e-8)


@pytest.mark.parametrize("name", ["eight_schools", "arK", "kidiq"])
def test_draws_have_the_published_moments(name):
    fit = inference.sample_nuts(
        build(name), draws=1000, tune=600, chains=2, target_accept=0.9, seed=1, progressbar=False
    )
    posterior = fit["posterior"].to_dataset()
    moments = PUBLISHED[name]["moments"]
    compared = 0
    for variable in set(posterior.data_vars) - {"theta_trans"}:
        values = posterior[variable]
        columns = values.to_numpy().reshape(*values.shape[:2], -1)
        for k in range(columns.shape[2]):
            entry = variable if values.ndim == 2 else f"{variable}[{k + 1}]"
            mean, sd = moments[entry]
            ess = float(az.ess(columns[:, :, k]))
            error = sd * np.sqrt(1 / ess + 1 / REFERENCE_DRAWS)
            assert abs(columns[:, :, k].mean() - mean) < 4 * error, entry
            assert columns[:, :, k].std() == pytest.approx(sd, rel=4 * np.sqrt(2 / ess)), entry
            compared += 1
    assert compared == {"eight_schools": 2, "arK": 7, "kidiq": 3}[name]
