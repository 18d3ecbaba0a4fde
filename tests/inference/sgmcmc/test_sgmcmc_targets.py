"""Stochastic-gradient MCMC against exact stationary distributions, with controls that must fail."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov
from sgmcmc_help import LAMBDAS, Z, biased, sample, variance_z

from bnnbook import inference


def sghmc_variance(lam, eps, friction):
    """Position variance of the linear recursion of Chen et al. (2014), eq. 15."""
    A = np.array([[1 - eps * lam, 1 - friction], [-eps * lam, 1 - friction]])
    noise = 2 * friction * eps * np.ones((2, 2))
    return solve_discrete_lyapunov(A, noise)[0, 0]


@pytest.mark.parametrize("eps", [2e-3, 1e-2])
def test_sgld_has_the_exact_biased_variance(gaussian, eps):
    theta = sample(gaussian, inference.sgld(eps))["posterior"]["theta"].to_numpy()
    assert np.abs(variance_z(theta, biased(LAMBDAS, eps))).max() < Z
    # the test has the power to see the bias where there is one, and a factor of 2 anywhere
    assert np.abs(variance_z(theta, 2 * biased(LAMBDAS, eps))).min() > Z
    if eps == 1e-2:
        assert np.abs(variance_z(theta, 1 / LAMBDAS)).max() > Z


@pytest.mark.parametrize("v", [0.25, 4.0])
def test_psgld_has_the_exact_biased_variance_of_its_preconditioner(gaussian, v):
    kernel = inference.sgld(4e-3, preconditioner="rms")
    metric = 1 / (1e-5 + np.sqrt(v))
    start = kernel.init

    def fixed(position):
        weight, *sums = start(position)
        return (weight + 1, *(a + v for a in sums))

    kernel = replace(kernel, init=fixed, needs_tune=False)
    theta = sample(gaussian, kernel, tune=0)["posterior"]["theta"].to_numpy()[:, 100:]
    assert np.abs(variance_z(theta, biased(LAMBDAS, 4e-3 * metric))).max() < Z


@pytest.mark.parametrize("friction", [0.1, 0.5, 1.0])
def test_sghmc_has_the_exact_biased_variance(gaussian, friction):
    kernel = inference.sghmc(2e-3, friction=friction)
    theta = sample(gaussian, kernel)["posterior"]["theta"].to_numpy()
    exact = np.array([sghmc_variance(lam, 2e-3, friction) for lam in LAMBDAS])
    assert np.abs(variance_z(theta, exact)).max() < Z
    if friction == 1.0:
        np.testing.assert_allclose(exact, biased(LAMBDAS, 2e-3))


def test_temperature_scales_the_variance(gaussian):
    theta = sample(gaussian, inference.sgld(2e-3, temperature=0.25))["posterior"]["theta"]
    assert np.abs(variance_z(theta.to_numpy(), 0.25 * biased(LAMBDAS, 2e-3))).max() < Z


def hot(kernel):
    return replace(kernel, temperature=4.0)


def square_root_noise(kernel):
    def update(position, memory, gradient, noise, step):
        return tuple(
            p + step.size * g + step.size**0.5 * noise(i)
            for i, (p, g) in enumerate(zip(position, gradient, strict=True))
        ), memory

    return replace(kernel, update=update)


@pytest.mark.parametrize("wrong", [hot, square_root_noise])
def test_wrong_noise_fails(gaussian, wrong):
    theta = sample(gaussian, wrong(inference.sgld(2e-3)))["posterior"]["theta"].to_numpy()
    assert np.abs(variance_z(theta, biased(LAMBDAS, 2e-3))).min() > 2 * Z


def test_preconditioner_that_goes_on_adapting_fails(gaussian):
    """Without Gamma, a preconditioner that follows the gradient changes the target."""
    kernel = inference.sgld(2e-3, preconditioner="rms", decay=0.1, damping=0.2)

    def adapting(position, memory, gradient, noise, step):
        return kernel.update(position, memory, gradient, noise, replace(step, adapt=1.0))

    right = sample(gaussian, kernel)["posterior"]["theta"].to_numpy()
    wrong = sample(gaussian, replace(kernel, update=adapting))["posterior"]["theta"].to_numpy()
    most = biased(LAMBDAS, 2e-3 / 0.2)  # G is at most 1 / damping
    assert (variance_z(right, 1 / LAMBDAS) > -Z).all()
    assert (variance_z(right, most) < Z).all()
    assert (variance_z(wrong, most) > 2 * Z).all()


def test_configurational_temperature_is_that_of_the_biased_chain(gaussian):
    """T + eps E|g|^2 / 2D at rest: the mean over dimensions of lambda times the variance."""
    for eps in (2e-3, 1e-2):
        tree = sample(gaussian, inference.sgld(eps))
        measured = tree["sample_stats"]["configurational_temperature"].to_numpy()
        expected = (LAMBDAS * biased(LAMBDAS, eps)).mean()
        error = measured.mean(axis=1).std(ddof=1) / 2
        assert abs(measured.mean() - expected) < Z * error + 0.01
        gradients = tree["sample_stats"]["grad_norm"].to_numpy() ** 2
        assert measured.mean() == pytest.approx(1 + eps * gradients.mean() / 6, abs=0.05)
    assert expected > 1.2
