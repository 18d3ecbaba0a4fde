"""What the tests of stochastic-gradient MCMC share: runs, exact variances, z-scores."""

import arviz as az
import numpy as np
import pymc as pm

from bnnbook import inference

LAMBDAS = np.array([5.0, 20.0, 80.0])
Z = 4.5  # false alarms: 7e-6 a comparison


def sample(model, kernel, **options):
    options = {"chains": 4, "draws": 4000, "thin": 10, "tune": 500, "seed": 3} | options
    return inference.sample_sgmcmc(model, kernel, progressbar=False, **options)


def short(model, kernel=None, **options):
    options = {"draws": 10, "tune": 5, "thin": 1, "chains": 2, "seed": 0} | options
    return sample(model, kernel or inference.sgld(1e-3), **options)


def variance_z(theta, exact):
    """z-scores of the second moments about 0, with their own Monte Carlo standard error."""
    squares = theta**2
    mcse = np.array([az.mcse(squares[..., i], method="mean") for i in range(squares.shape[-1])])
    return (squares.mean(axis=(0, 1)) - exact) / mcse


def biased(lam, eps):
    """Stationary variance of theta <- (1 - eps lam) theta + sqrt(2 eps) xi."""
    return 1 / (lam * (1 - eps * lam / 2))


def positive_regression():
    """A model with a transformed parameter."""
    rng = np.random.default_rng(0)
    with pm.Model(coords={"output": ["a", "b"]}) as model:
        sigma = pm.HalfNormal("sigma", dims="output")
        mu = pm.Normal("mu", dims="output")
        pm.Normal("obs", mu, sigma, observed=pm.Data("y", rng.normal(size=(40, 2))))
    return model


def stop_at(step, error=KeyboardInterrupt):
    """A callback: Ctrl-C, or a request to stop, once every chain has done so many steps."""

    def callback(state, losses, done):
        if done >= step:
            raise error("enough")

    callback.every = 1
    return callback
