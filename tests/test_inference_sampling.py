"""Markov chain samplers against closed forms, with negative controls, and bad input."""

import _thread
import sys
import time

import arviz_stats as azs
import numpy as np
import pymc as pm
import pytest

from bnnbook import inference, models
from bnnbook.inference import nuts
from bnnbook.inference.chains import BLOCK, run_chains

HMC = {"step_size": 0.05, "n_steps": 3}


@pytest.fixture(scope="module")
def two_modes():
    """Posterior with modes of weight 0.3 at +9.9 and 0.7 at -9.9, forty sds apart.

    The prior is symmetric, so that the weights are the mixture's; returns the log evidence too.
    """
    with pm.Model() as model:
        theta = pm.Normal("theta", 0, 5)
        pm.NormalMixture(
            "obs", w=np.array([0.3, 0.7]), mu=theta + np.array([-10.0, 10.0]),
            sigma=np.array([0.5, 0.5]), observed=np.array(0.0),
        )  # fmt: skip
    variance = 5.0**2 + 0.5**2
    return model, -0.5 * (100 / variance + np.log(2 * np.pi * variance))


@pytest.fixture(scope="module")
def tempered(two_modes):
    return inference.sample_tempered(
        two_modes[0], draws=2000, tune=1000, n_temperatures=8, seed=1, progressbar=False
    )


def z_scores(draws, truth):
    """Error of the mean in Monte Carlo standard errors, and these, by variable."""
    dataset = draws.to_dataset(name="x") if hasattr(draws, "to_dataset") else draws
    mcse = azs.mcse(dataset)["x"].to_numpy()
    return (draws.mean(["chain", "draw"]).to_numpy() - truth) / mcse, mcse


@pytest.mark.parametrize(
    "sample",
    [
        lambda m: inference.sample_hmc(m, **HMC, draws=1500, tune=100, seed=2, progressbar=False),
        lambda m: inference.sample_tempered(
            m, draws=1500, tune=1000, thin=1, n_temperatures=5, seed=2, progressbar=False
        ),
    ],
    ids=["hmc", "tempered"],
)
def test_conjugate_posterior(line, sample):
    model, mean, covariance, _ = line
    beta = sample(model)["posterior"]["beta"]
    sd = np.sqrt(np.diag(covariance))
    z, mcse = z_scores(beta, mean)
    assert np.abs(z).max() < 4
    assert (mcse < 0.05 * sd).all()
    # with T = 2 the squared deviations would be twice as large
    z, mcse = z_scores((beta - mean) ** 2, np.diag(covariance))
    assert np.abs(z).max() < 4
    assert (mcse < 0.15 * np.diag(covariance)).all()


def test_tempering_finds_the_weights_of_separate_modes(tempered):
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
    ("name", "settings"), [("sample_hmc", HMC), ("sample_nuts", {"target_accept": 0.9})]
)
def test_chains_begin_where_they_are_told(two_modes, name, settings):
    signs = np.array([1, -1, -1, 1])
    fit = getattr(inference, name)(
        two_modes[0], start={"theta": 10.0 * signs}, draws=20, tune=20, seed=0,
        progressbar=False, **settings,
    )  # fmt: skip
    # no chain crosses from one mode to the other
    assert (np.sign(fit["posterior"]["theta"]) == signs[:, None]).all()
    again = getattr(inference, name)(
        two_modes[0], start=10.0 * signs[:, None], draws=20, tune=20, seed=0,
        progressbar=False, **settings,
    )  # fmt: skip
    np.testing.assert_array_equal(fit["posterior"]["theta"], again["posterior"]["theta"])
    with pytest.raises(ValueError, match=r"start must have shape \(4, 1\), got \(3, 1\)"):
        getattr(inference, name)(two_modes[0], start=np.zeros((3, 1)), seed=0, **settings)


def test_exchangeable_parameters_share_their_variance_and_are_sampled_right():
    y = np.array([[1.0, -1.0], [0.0, 2.0], [0.5, 0.0]])
    with pm.Model(coords={"unit": range(2), "row": range(3)}) as model:
        pm.HalfNormal("rate", 1)
        theta = pm.Normal("theta", 0, [10.0, 1.0, 0.1], dims=("unit", "row"), shape=(2, 3))
        pm.Normal("other", 0, 1, shape=2)
        pm.Normal("obs", theta.T, 1.0, observed=y)
    density = inference.compile_log_density(model)
    tied = nuts._tied(density, ("unit",), dense_mass=False)
    assert tied.tolist() == [0, 1, 2, 3, 1, 2, 3, 4, 5]
    fit = inference.sample_nuts(
        model, exchangeable=("unit",), draws=1000, tune=500, seed=1, progressbar=False
    )
    precision = 1 + 1 / np.array([10.0, 1.0, 0.1]) ** 2
    z, _ = z_scores(fit["posterior"]["theta"], y.T / precision)
    assert np.abs(z).max() < 4
    z, _ = z_scores((fit["posterior"]["theta"] - y.T / precision) ** 2, 1 / precision)
    assert np.abs(z).max() < 4
    assert fit["sample_stats"]["diverging"].sum() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"exchangeable": ("row",)}, r"dims of the free variables, \['term'\]; got \('row',\)"),
        ({"exchangeable": "term"}, "exchangeable must be a sequence of dims .* got 'term'"),
        ({"exchangeable": ("term",), "dense_mass": True}, "needs a diagonal mass matrix"),
    ],
)
def test_bad_exchangeable(line, arguments, message):
    with pytest.raises(ValueError, match=message):
        inference.sample_nuts(line[0], seed=0, **arguments)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("sample_hmc", HMC), ("sample_tempered", {"tune": 200, "n_temperatures": 3})],
)
def test_same_seed_same_draws(line, name, settings):
    def draws(seed):
        fit = getattr(inference, name)(
            line[0], draws=5, chains=2, seed=seed, progressbar=False, **settings
        )
        return fit["posterior"]["beta"].to_numpy()

    first = draws(4)
    np.testing.assert_array_equal(first, draws(4))
    assert not np.allclose(first[0], first[1])  # chains have seeds of their own
    if name == "sample_hmc":
        assert not np.allclose(first, draws(5))


def test_ctrl_c_keeps_the_blocks_that_every_chain_has(line):
    def chain(number):
        for block in range(1000):
            if number == 0 and block == 3:
                time.sleep(0.3)
                _thread.interrupt_main()
            if block > 3:
                time.sleep(0.01)
            yield {"theta": np.zeros((BLOCK, 1)), "lp": np.zeros(BLOCK)} if block else None

    run = run_chains(
        chain, inference.compile_log_density(line[0]), method="test", settings={"chains": 2},
        label="", iterations=100, cores=1, progressbar=False,
    )  # fmt: skip
    assert run.interrupted
    assert len(run.blocks[0]) >= 2
    with pytest.raises(KeyboardInterrupt, match="before every chain had its first draws"):
        _ = run.complete  # the second chain never started


@pytest.mark.parametrize("name", ["sample_hmc", "sample_nuts", "sample_tempered"])
def test_missing_blackjax_is_named(line, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "blackjax", None)
    with pytest.raises(ImportError, match=f"{name} needs BlackJAX: pip install blackjax"):
        getattr(inference, name)(line[0], seed=0, **(HMC if name == "sample_hmc" else {}))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sample_hmc", {**HMC, "draws": 10, "tune": 0}),
        ("sample_tempered", {"draws": 10, "tune": 10, "n_temperatures": 2}),
    ],
)
def test_single_chain_is_allowed_with_a_warning(line, name, arguments):
    with pytest.warns(UserWarning, match="R-hat between chains needs chains > 1, got 1"):
        fit = getattr(inference, name)(line[0], chains=1, seed=0, progressbar=False, **arguments)
    assert fit["posterior"].sizes["chain"] == 1


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


def test_minibatch_models_are_refused():
    X, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    X_batch, y_batch = pm.Minibatch(X, y, batch_size=5)
    model = models.mlp_classifier(X_batch, y_batch, (2,), total_size=20)
    with pytest.raises(ValueError, match=r"model has pm\.Minibatch data; HMC needs the full data"):
        inference.sample_hmc(model, **HMC, seed=0)
    with pytest.raises(ValueError, match="parallel tempering needs the full data"):
        inference.sample_tempered(model, seed=0)
