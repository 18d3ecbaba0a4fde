"""Static HMC against a closed form, what it keeps and rejects, and bad input."""

import numpy as np
import pytest

from bnnbook import inference

HMC = {"step_size": 0.05, "n_steps": 3}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_conjugate_posterior(line, z_scores, dtype):
    model, mean, covariance, _ = line
    fit = inference.sample_hmc(
        model, **HMC, draws=1500, tune=100, seed=2, dtype=dtype, progressbar=False
    )
    beta = fit["posterior"]["beta"]
    assert beta.dtype == np.float64
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


def test_static_hmc_keeps_its_settings_and_every_draw(line):
    fit = inference.sample_hmc(line[0], **HMC, draws=150, tune=0, seed=0, progressbar=False)
    start = fit["posterior"]["beta"][:, 0].to_numpy()
    assert fit["posterior"].sizes["draw"] == 150
    assert {"lp", "accepted", "acceptance_rate", "diverging", "energy"} <= set(fit["sample_stats"])
    later = inference.sample_hmc(line[0], **HMC, draws=50, tune=100, seed=0, progressbar=False)
    np.testing.assert_array_equal(later["posterior"]["beta"], fit["posterior"]["beta"][:, 100:])
    assert not np.allclose(start, later["posterior"]["beta"][:, 0])


def test_a_step_that_is_too_long_is_rejected(line):
    fit = inference.sample_hmc(
        line[0], step_size=5.0, n_steps=5, draws=100, tune=0, seed=0, progressbar=False
    )
    assert not fit["sample_stats"]["accepted"].any()
    assert fit["sample_stats"]["diverging"].all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"step_size": 0.0}, ValueError, "step_size must be positive and finite, got 0.0"),
        ({"step_size": -0.1}, ValueError, "step_size must be positive and finite, got -0.1"),
        ({"step_size": np.inf}, ValueError, "step_size must be positive and finite, got inf"),
        ({"step_size": "0.1"}, TypeError, "step_size must be a number, got '0.1'"),
        ({"n_steps": 0}, ValueError, "n_steps must be at least 1, got 0"),
        ({"n_steps": 2.5}, TypeError, "n_steps must be an integer, got 2.5"),
        ({"tune": -1}, ValueError, "tune must be at least 0, got -1"),
        ({"draws": 0}, ValueError, "draws must be at least 1, got 0"),
        ({"chains": 0}, ValueError, "chains must be at least 1, got 0"),
    ],
)
def test_bad_hmc_arguments(line, arguments, error, message):
    with pytest.raises(error, match=message):
        inference.sample_hmc(line[0], **(HMC | {"seed": 0} | arguments))
