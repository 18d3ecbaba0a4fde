"""Parallel tempering against closed forms, with negative controls, and bad input."""

import numpy as np
import pymc as pm
import pytest
from scipy import integrate, stats

from bnnbook import inference


@pytest.fixture(scope="module")
def tempered(two_modes):
    return inference.sample_tempered(
        two_modes[0], draws=2000, tune=1000, n_temperatures=8, seed=1, progressbar=False
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_conjugate_posterior(line, z_scores, dtype):
    model, mean, covariance, _ = line
    fit = inference.sample_tempered(
        model, draws=1500, tune=1000, thin=1, n_temperatures=5, seed=2, dtype=dtype,
        progressbar=False,
    )  # fmt: skip
    beta = fit["posterior"]["beta"]
    single = np.array_equal(beta, beta.astype(np.float32))
    assert single == (dtype == "float32")  # sampled, and not only stored, in that precision
    sd = np.sqrt(np.diag(covariance))
    z, mcse = z_scores(beta, mean)
    assert np.abs(z).max() < 4
    assert (mcse < 0.05 * sd).all()
    # with T = 2 the squared deviations would be twice as large
    z, mcse = z_scores((beta - mean) ** 2, np.diag(covariance))
    assert np.abs(z).max() < 4
    assert (mcse < 0.15 * np.diag(covariance)).all()


def test_tempering_finds_the_weights_of_separate_modes(tempered, z_scores):
    right = (tempered["posterior"]["theta"] > 0).astype(float)
    z, mcse = z_scores(right, 0.3)
    assert abs(float(z)) < 4
    assert float(mcse) < 0.02  # weights of one half each would be 10 errors away
    assert min(tempered.attrs["arrivals"]) > 50


def test_without_swaps_the_weights_are_wrong(two_modes):
    stuck = inference.sample_tempered(
        two_modes[0], draws=500, tune=500, thin=1, n_temperatures=1, seed=1, progressbar=False
    )
    right = (stuck["posterior"]["theta"] > 0).to_numpy().mean(axis=1)
    assert set(right) <= {0.0, 1.0}
    assert stuck.attrs["arrivals"] == [0, 0, 0, 0]
    assert np.isnan(stuck.attrs["log_evidence"])


def test_stepping_stones_add_up_to_the_log_evidence(line, two_modes, tempered):
    model, _, _, evidence = line
    fit = inference.sample_tempered(
        model, draws=1000, tune=500, n_temperatures=6, seed=3, progressbar=False
    )
    for found, truth in ((fit, evidence), (tempered, two_modes[1])):
        # a t statistic with three degrees of freedom: 10 is passed by one run in 500
        assert abs(found.attrs["log_evidence"] - truth) < 10 * found.attrs["log_evidence_se"]
        assert found.attrs["log_evidence_se"] < 0.1


def test_temperatures_share_the_rejections_evenly(tempered):
    levels = tempered["tempering"]
    assert (levels["beta"][:, 0] == 0).all()
    assert (levels["beta"][:, -1] == 1).all()
    assert (levels["beta"].diff("level") > 0).all()
    swaps = levels["swap_rate"].isel(level=slice(-1)).mean("chain")
    assert float(swaps.max() - swaps.min()) < 0.25
    assert np.isnan(levels["swap_rate"].isel(level=-1)).all()
    np.testing.assert_allclose(levels["acceptance_rate"], 0.8, atol=0.12)
    assert tempered.attrs["barrier"] == pytest.approx(float((1 - swaps).sum()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_temperatures": 0}, "n_temperatures must be at least 1, got 0"),
        ({"thin": 0}, "thin must be at least 1, got 0"),
        ({"tune": 0}, "tune must be at least 1, got 0"),
        ({"n_steps": 0}, "n_steps must be at least 1, got 0"),
        ({"target_accept": 1.2}, r"target_accept must lie in \(0, 1\), got 1.2"),
    ],
)
def test_bad_tempering_arguments(line, arguments, message):
    with pytest.raises(ValueError, match=message):
        inference.sample_tempered(line[0], seed=0, **arguments)


def quadrature(prior_sd, y):
    """Log evidence and posterior mean of y ~ N(0, e^s), s ~ N(0, prior_sd)."""

    def log_joint(s):
        sum_ = 0.5 * (y**2).sum() * np.exp(-2 * s) + len(y) * s + 0.5 * len(y) * np.log(2 * np.pi)
        return stats.norm.logpdf(s, 0, prior_sd) - sum_

    grid = np.linspace(-20, 10 * prior_sd, 400_001)
    peak = log_joint(grid).max()
    density = np.exp(log_joint(grid) - peak)
    total = integrate.trapezoid(density, grid)
    return peak + np.log(total), integrate.trapezoid(grid * density, grid) / total


@pytest.mark.parametrize(
    ("prior_sd", "seed"), [(150.0, 1), (150.0, 2), (150.0, 3), (400.0, 1), (20.0, 1)]
)
def test_a_prior_that_goes_where_the_likelihood_is_0(prior_sd, seed):
    """Its gradient is infinite there, and beta = 0 times that is no number."""
    y = np.array([0.7, -1.2, 0.4, 0.3, 1.0])
    with pm.Model() as model:
        s = pm.Normal("s", 0, prior_sd)
        pm.Normal("obs", 0, pm.math.exp(s), observed=y)
    fit = inference.sample_tempered(
        model, draws=500, tune=1000, n_temperatures=8, seed=seed, progressbar=False
    )
    levels = fit["tempering"]
    assert (levels["acceptance_rate"] > 0.6).all()
    assert (levels["swap_rate"].isel(level=slice(-1)) > 0.2).all()
    evidence, mean = quadrature(prior_sd, y)
    assert abs(fit.attrs["log_evidence"] - evidence) < 10 * fit.attrs["log_evidence_se"]
    assert fit.attrs["log_evidence_se"] < 0.2
    assert abs(float(fit["posterior"]["s"].mean()) - mean) < 0.1  # 5 standard errors
    assert fit.attrs["converged"] == 1


def test_masses_follow_the_scales_of_the_parameters(z_scores):
    """With equal masses the wide parameter would move one sd in ten thousand steps."""
    scale = np.array([1e-2, 1.0, 1e2])
    with pm.Model() as model:
        theta = pm.Normal("theta", 0, scale, shape=3)
        pm.Normal("obs", theta / scale, 1.0, observed=np.array([0.5, -1.0, 2.0]))
    for seed in range(3):
        fit = inference.sample_tempered(
            model, draws=500, tune=800, thin=2, n_temperatures=3, seed=seed, progressbar=False
        )
        theta = fit["posterior"]["theta"] / scale
        z, mcse = z_scores(theta, np.array([0.25, -0.5, 1.0]))
        assert np.abs(z).max() < 4.5
        assert mcse.max() < 0.06  # of an sd of .71: worth 140 draws or more, of 2,000
        assert fit.attrs["converged"] == 1


def test_replicas_start_where_they_are_told(two_modes):
    start = {"theta": np.array([10.0, -10.0])}
    fit = inference.sample_tempered(
        two_modes[0], start=start, n_temperatures=1, draws=50, tune=100, chains=2, seed=0,
        progressbar=False,
    )  # fmt: skip
    assert (np.sign(fit["posterior"]["theta"]) == np.array([[1], [-1]])).all()
