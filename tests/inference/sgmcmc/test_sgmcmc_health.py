"""Runs of stochastic-gradient MCMC that are not to be believed: an error or a warning says so."""

import json

import numpy as np
import pymc as pm
import pytest
from sgmcmc_help import sample, short

from bnnbook import inference
from bnnbook.checks import ConvergenceWarning

SCALES = 4.0 ** np.arange(-2, 3)  # of the inputs: sds of the coefficients 256 times apart


def problems(tree):
    return " ".join(json.loads(tree.attrs["problems"]))


@pytest.fixture(scope="module")
def apart():
    """A regression of 701 rows whose scales lie apart, and its posterior mean as a start."""
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(701), SCALES * rng.normal(size=(701, 5))])
    y = X @ np.append(1.0, 0.5 / SCALES) + 2 * rng.normal(size=701)
    with pm.Model() as model:
        beta = pm.Flat("beta", shape=6)
        sigma = pm.HalfFlat("sigma")
        pm.Normal("obs", pm.Data("X", X) @ beta, sigma, observed=pm.Data("y", y))
    mean = np.linalg.lstsq(X, y)[0]
    sd = np.sqrt(np.diag(np.linalg.inv(X.T @ X))) * 2
    return model, {"beta": np.tile(mean, (2, 1)), "sigma_log__": np.full(2, np.log(2.0))}, mean, sd


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("kernel", "tune"),
    [
        (inference.sgld(2e-3, preconditioner="rms"), 3000),
        (inference.sgld(2e-2, preconditioner="rms"), 3000),
        (inference.sgld(1.0, preconditioner="rms"), 3000),
        (inference.sgld(1e-3), 0),
        (inference.sghmc(1e-3, friction=0.1), 0),
    ],
    ids=["rms", "rms, too large", "rms, far too large", "plain", "sghmc"],
)
def test_numbers_that_have_run_away_do_not_come_back(apart, kernel, tune, seed):
    """Finite throughout: the scale of the noise grows with the coefficients."""
    model, start, *_ = apart
    settings = {"tune": tune, "draws": 300, "thin": 10, "chains": 2, "batch_size": 140}
    with pytest.raises(inference.DivergedError, match=r"chain [01] (has run away|diverged)"):
        sample(model, kernel, start=start, seed=seed, **settings)


def test_the_same_regression_at_a_step_that_holds(apart):
    """No alarm of ours, and the right numbers: the alarms are not for everything."""
    model, start, mean, sd = apart
    kernel = inference.sgld(0.2 * sd.min() ** 2, control_variates=50)
    tree = sample(
        model, kernel, start=start, tune=0, draws=500, thin=20, chains=2, batch_size=140
    )  # fmt: skip
    for word in ("hot", "fallen", "died", "far below"):
        assert word not in problems(tree)
    narrow = int(sd.argmin())
    draws = tree["posterior"]["beta"].to_numpy()[..., narrow]
    assert abs(draws.mean() - mean[narrow]) < 0.5 * sd[narrow]
    assert draws.std() == pytest.approx(sd[narrow], rel=0.25)


def relu_network(dead):
    """A network of one layer; the second chain starts with every unit off for every input."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    with pm.Model() as model:
        w = pm.Normal("w", 0, 1, shape=(2, 8))
        b = pm.Normal("b", 0, 10, shape=8)
        v = pm.Normal("v", 0, 1, shape=8)
        hidden = pm.math.maximum(pm.Data("X", X) @ w + b, 0)
        p = pm.Deterministic("p", pm.math.sigmoid(hidden @ v))
        pm.Bernoulli("obs", p, observed=pm.Data("y", (X[:, 0] > 0).astype(int)))
    start = {"w": rng.normal(size=(2, 2, 8)), "b": np.zeros((2, 8)), "v": rng.normal(size=(2, 8))}
    start["b"][1] -= 30.0 * dead
    return model, start


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_chain_that_has_died_is_named(dtype):
    model, start = relu_network(dead=True)
    kernel = inference.sghmc(inference.cyclical(1e-4, 2, 0.5), friction=0.1)
    with pytest.warns(ConvergenceWarning, match="Chain 1 has died: since step 0 the likelihood"):
        tree = sample(
            model, kernel, start=start, draws=100, thin=2, tune=0, chains=2, batch_size=20,
            dtype=dtype,
        )  # fmt: skip
    assert tree.attrs["converged"] == 0
    assert "no gradient for w, b, v" in problems(tree)
    assert "Chain 0 has died" not in problems(tree)
    v = tree["posterior"]["v"].to_numpy()
    assert np.ptp(v, axis=1).min() > 0, "which moves all the same"


def test_a_chain_that_lives_is_not_called_dead():
    model, start = relu_network(dead=False)
    tree = short(model, start=start, draws=100, batch_size=20)
    assert "died" not in problems(tree)


def test_chains_that_disagree_are_named():
    """Two modes, 20 sds apart."""
    with pm.Model() as model:
        w = pm.Normal("w", 0, 3)
        pm.Normal("obs", w**2, 1.0, observed=pm.Data("y", np.full(20, 5.0)))
    start = np.sqrt(5) * np.array([[1.0], [1.0], [-1.0]])
    options = {"draws": 400, "thin": 20, "tune": 100, "chains": 3}
    with pytest.warns(ConvergenceWarning, match="chain 2 disagrees with the others"):
        tree = sample(model, inference.sgld(5e-4), start=start, **options)
    assert tree.attrs["converged"] == 0
    assert "R-hat" in problems(tree)
    tree = sample(model, inference.sgld(5e-4), start=np.abs(start), **options)
    assert "disagree" not in problems(tree)


def test_hot_draws_are_called_hot(line):
    kernel = inference.sgld(2e-3)
    with pytest.warns(ConvergenceWarning, match=r"The draws of chain 0, 1 are .* times as hot as"):
        hot = sample(line[0], kernel, batch_size=2, draws=1000, chains=2)
    assert "control variates" in problems(hot)
    cool = sample(line[0], inference.sgld(2e-4), batch_size=20, draws=1000, chains=2)
    assert "hot" not in problems(cool)


def test_divergence_names_step_parameter_and_last_log_density(line):
    with pytest.raises(
        inference.DivergedError,
        match=r"chain \d diverged at step \d+ of \d+: gradient not finite in beta; last finite log "
        r"density -\d",
    ):
        short(line[0], inference.sgld(1.0), draws=5000)


def test_start_where_the_density_is_not_a_number():
    with pm.Model() as model:
        beta = pm.Normal("beta")
        pm.Normal("obs", pm.math.sqrt(beta - 100.0), 1.0, observed=pm.Data("y", np.zeros(40)))
    with pytest.raises(ValueError, match="40 of 40 rows of observed variable obs have no finite"):
        short(model)


def test_a_start_in_a_narrow_peak_is_no_divergence():
    """A mode at a scale of almost 0, from which the chain falls to where the posterior is."""
    rng = np.random.default_rng(0)
    with pm.Model() as model:
        scale = pm.HalfNormal("scale")
        w = pm.Normal("w", 0, scale, shape=50)
        pm.Normal("obs", w, 1.0, observed=pm.Data("y", rng.normal(0, 1.5, size=(2, 50))))
    start = {"scale_log__": np.full(2, -8.0), "w": np.zeros((2, 50))}
    tree = sample(
        model, inference.sgld(1e-9), start=start, draws=100, thin=1, tune=0, chains=2
    )  # fmt: skip
    assert np.isfinite(tree["posterior"]["w"]).all()


def test_few_draws_that_have_fallen_come_back_with_a_warning(apart):
    """As of a setting that is tried for what it does."""
    model, start, *_ = apart
    kernel = inference.sgld(2e-3, preconditioner="rms")
    with pytest.warns(ConvergenceWarning, match="has fallen: its log density was"):
        tree = sample(
            model, kernel, start=start, tune=3000, draws=2, thin=1, chains=2, batch_size=140
        )
    assert tree.attrs["converged"] == 0
