"""Every alarm of the report: a run that must raise it, and a good one that must not."""

import json

import numpy as np
import pymc as pm
import pytest
import xarray as xr

from bnnbook import inference
from bnnbook.inference import ConvergenceWarning
from bnnbook.inference.functions import function_values
from bnnbook.inference.report import chain_report
from bnnbook.inference.tempered_ladder import ladder_problems

SEEDS = [1, 2, 3]
QUIET = {"progressbar": False}


def problems(fit):
    """The sentences of a fit, which must be in its attributes and in the warning, or in neither."""
    found = json.loads(fit.attrs["problems"])
    assert fit.attrs["converged"] == (0 if found else 1)
    return " ".join(found)


def warned(function, *args, **kwargs):
    """A fit's problems, which must have been told in one warning that points here."""
    with pytest.warns(ConvergenceWarning) as records:
        fit = function(*args, **kwargs)
    told = [r for r in records if r.category is ConvergenceWarning]
    assert len(told) == 1
    assert told[0].filename == __file__
    assert str(told[0].message) == problems(fit)
    return problems(fit)


@pytest.fixture(scope="module")
def schools():
    """Eight schools (Rubin 1981), centred and not."""
    y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    sd = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
    built = []
    for centred in (True, False):
        with pm.Model() as model:
            mu, tau = pm.Normal("mu", 0, 5), pm.HalfCauchy("tau", 5)
            z = pm.Normal("z", mu if centred else 0, tau if centred else 1, shape=8)
            theta = pm.Deterministic("theta", z if centred else mu + tau * z)
            pm.Normal("obs", theta, sd, observed=y)
        built.append(model)
    return built


@pytest.mark.parametrize("seed", SEEDS)
def test_divergences(schools, seed):
    told = warned(
        inference.sample_nuts, schools[0], draws=500, tune=300, target_accept=0.6, seed=seed,
        **QUIET,
    )  # fmt: skip
    assert "come after a divergence" in told
    assert "Raise target_accept" in told
    good = inference.sample_nuts(
        schools[1], draws=1000, tune=500, target_accept=0.95, seed=seed, **QUIET
    )
    assert problems(good) == ""


@pytest.fixture(scope="module")
def scales():
    """Two parameters, one a thousand times as wide as the other; no warm-up knows."""
    with pm.Model() as model:
        theta = pm.Normal("theta", 0, np.array([1.0, 1e-3]), shape=2)
        pm.Normal("obs", theta, 10.0, observed=np.zeros(2))
    return model


@pytest.mark.parametrize("seed", SEEDS)
def test_trees_at_the_depth_limit(scales, seed):
    arguments = {"draws": 1000, "seed": seed, **QUIET}
    told = warned(inference.sample_nuts, scales, tune=19, max_depth=5, **arguments)
    assert "cut off at max_depth=5, 31 gradients" in told
    good = inference.sample_nuts(scales, tune=500, **arguments)
    assert problems(good) == ""


@pytest.mark.parametrize("seed", SEEDS)
def test_low_acceptance(line, scales, seed):
    told = warned(
        inference.sample_hmc, line[0], step_size=0.2, n_steps=6, draws=300, seed=seed, **QUIET
    )
    assert "rejecting too much: the acceptance rate is" in told
    assert "Make step_size smaller" in told
    good = inference.sample_hmc(line[0], step_size=0.03, n_steps=5, draws=2000, seed=seed, **QUIET)
    assert problems(good) == ""
    told = warned(inference.sample_nuts, scales, tune=1, draws=300, seed=seed, **QUIET)
    assert "The step size did not settle at its target of 0.8: tune longer" in told


@pytest.mark.parametrize("seed", SEEDS)
def test_energies_that_change_slowly(seed):
    """Neal's funnel (2003): the log of a scale with a long way to go."""
    with pm.Model() as model:
        v = pm.Normal("v", 0, 3)
        pm.Normal("x", 0, pm.math.exp(v / 2), shape=9)
        pm.Normal("obs", v, 100.0, observed=[0.0])
    told = warned(inference.sample_nuts, model, draws=500, tune=500, seed=seed, **QUIET)
    assert "E-BFMI is 0." in told
    assert "less than 0.3" in told


@pytest.mark.parametrize("seed", SEEDS)
def test_chains_that_disagree(two_modes, seed):
    start = 10.0 * np.array([[1.0], [-1.0], [1.0], [1.0]])
    told = warned(
        inference.sample_nuts, two_modes[0], start=start, draws=200, tune=200, seed=seed, **QUIET
    )
    assert "R-hat is" in told
    assert "chain 1 disagrees with the others" in told
    assert "sample_tempered" in told
    told = warned(
        inference.sample_nuts, two_modes[0], start=start[:2], chains=2, draws=200, tune=200,
        seed=seed, **QUIET,
    )  # fmt: skip
    assert "the chains disagree" in told
    good = inference.sample_tempered(two_modes[0], n_temperatures=8, seed=seed, **QUIET)
    assert problems(good) == ""


@pytest.mark.parametrize("seed", SEEDS)
def test_a_chain_that_is_stuck(seed):
    """One mode is too narrow for the step: no proposal from there is accepted."""
    with pm.Model() as model:
        theta = pm.Normal("theta", 0, 100)
        pm.NormalMixture(
            "obs", w=np.array([0.5, 0.5]), mu=theta + np.array([-10.0, 10.0]),
            sigma=np.array([1e-4, 1.0]), observed=np.array(0.0),
        )  # fmt: skip
    start = np.array([[-10.0], [10.0], [-10.0], [-10.0]])
    arguments = {"step_size": 0.5, "n_steps": 4, "draws": 1000, "tune": 0, "seed": seed, **QUIET}
    told = warned(inference.sample_hmc, model, start=start, **arguments)
    assert "Chain 1 is stuck: only 0 % of the draws differ" in told
    good = inference.sample_hmc(model, start=-np.abs(start), **arguments)
    assert problems(good) == ""


@pytest.mark.parametrize("seed", SEEDS)
def test_too_few_effective_draws(line, seed):
    slow = {"step_size": 0.02, "n_steps": 1, "seed": seed, "tune": 200, **QUIET}
    told = warned(inference.sample_hmc, line[0], draws=1000, **slow)
    assert "independent ones for mu, fewer than 400 (100 a chain)" in told
    told = warned(inference.sample_hmc, line[0], draws=99, **slow)
    assert "99 draws a chain are too few to judge convergence by" in told


@pytest.mark.parametrize("seed", SEEDS)
def test_levels_that_do_not_swap_and_replicas_that_never_arrive(seed):
    with pm.Model() as model:
        theta = pm.Normal("theta", 0, 1, shape=20)
        pm.Normal("obs", theta, 1e-3, observed=np.linspace(-2, 2, 20))
    arguments = {"draws": 200, "tune": 500, "thin": 1, "seed": seed, "chains": 2, **QUIET}
    told = warned(inference.sample_tempered, model, n_temperatures=3, **arguments)
    assert "swap in 0 % of the tries" in told
    assert "Take more temperatures (about twice the barrier" in told
    assert "In chain 0 no replica came from the prior to the posterior" in told


def test_levels_that_accept_nothing():
    acceptance = np.full((2, 3), 0.8)
    levels = xr.Dataset(
        {
            "acceptance_rate": (("chain", "level"), acceptance),
            "swap_rate": (("chain", "level"), [[0.5, 0.5, np.nan]] * 2),
        }
    )
    attrs = {"barrier": 1.0, "arrivals": [5, 5]}
    some = np.zeros((2, 100), bool)
    some[0, 0] = True  # one divergence in two hundred
    assert ladder_problems(some, levels, attrs) == []
    acceptance[1, 0] = 0.0
    (told,) = ladder_problems(some, levels, attrs)
    assert told.startswith("Level 0 of the temperatures accepts 0 % of its moves")
    assert "100 %" in ladder_problems(~(some & False), levels, attrs)[0]


def mirrored(named):
    """One hidden unit, whose weights have a mirror image; with and without its output by name."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(150, 2))
    with pm.Model() as model:
        x = pm.Data("X", inputs)
        w = pm.Normal("w", shape=(2, 1))
        out = pm.Normal("out", 0, 3)
        f = out * pm.math.tanh(x @ w)[:, 0]
        f = pm.Deterministic("f", f) if named else f
        y = inputs[:, 0] + 0.3 * rng.normal(size=150) > 0
        pm.Bernoulli("obs", logit_p=f, observed=pm.Data("y", y.astype(int)))
    return model


@pytest.mark.parametrize("seed", SEEDS)
def test_networks_are_judged_by_their_functions(seed):
    sign = np.array([1.0, -1.0, 1.0, -1.0])
    start = {"w": np.ones((4, 2, 1)) * sign[:, None, None], "out": 3 * sign}
    arguments = {"start": start, "draws": 1000, "tune": 500, "seed": seed}
    arguments |= {"target_accept": 0.95, **QUIET}
    good = inference.sample_nuts(mirrored(True), **arguments)
    assert problems(good) == ""
    judged = json.loads(good.attrs["judged"])
    assert list(judged["variables"]) == ["f"]
    assert judged["variables"]["f"]["quantities"] == 100  # of 150 rows
    told = warned(inference.sample_nuts, mirrored(False), **arguments)
    assert "R-hat is" in told
    assert "pm.Deterministic of its output" in told


def test_what_is_judged_is_what_the_predictor_says(line):
    """The numbers are the deterministic's, at rows of the data, for the draws of the posterior."""
    model = line[0]
    density = inference.compile_log_density(model)
    beta = np.random.default_rng(0).normal(size=(2, 7, 2))
    posterior = xr.Dataset({"beta": (("chain", "draw", "term"), beta)})
    values, skipped = function_values(density, posterior, 1000)
    np.testing.assert_allclose(values["mu"], beta @ model["X"].get_value().T, rtol=1e-12)
    assert skipped == []
    fewer, _ = function_values(density, posterior, 10)
    assert fewer["mu"].shape == (2, 7, 10)
    assert np.isin(fewer["mu"], values["mu"]).all()


def test_rows_are_few_and_large_deterministics_are_skipped():
    X = np.random.default_rng(0).normal(size=(5000, 3))
    with pm.Model() as model:
        x = pm.Data("X", X)
        w = pm.Normal("w", shape=3)
        mu = pm.Deterministic("mu", x @ w)
        pm.Deterministic("scale", w**2)  # has no value for each row
        pm.Deterministic("every_pair", mu[:, None] * mu[None, :])
        pm.Deterministic("wide", mu[:, None] * np.ones(2000))
        pm.Normal("obs", mu, 1.0, observed=pm.Data("y", X[:, 0]))
    density = inference.compile_log_density(model)
    draws = np.random.default_rng(1).normal(size=(2, 150, 3))
    posterior = xr.Dataset({"w": (("chain", "draw", "w_dim_0"), draws)})
    values, skipped = function_values(density, posterior, 100)
    assert skipped == ["wide"]
    assert set(values) == {"mu", "every_pair"}
    assert values["mu"].shape == (2, 150, 50)
    exact = draws @ X.T
    assert all(np.isclose(exact[0, 0], v).any() for v in values["mu"][0, 0])


def test_draws_are_thinned_where_there_are_many_parameters():
    with pm.Model() as model:
        w = pm.Normal("w", shape=300_000)
        x, y = pm.Data("x", np.ones(30)), pm.Data("y", np.ones(30))
        pm.Normal("obs", pm.Deterministic("mu", x * w.sum()), 1.0, observed=y)
    density = inference.compile_log_density(model)
    draws = np.zeros((2, 1, 300_000)) + np.zeros((1, 500, 1))  # a view: nothing is copied
    posterior = xr.Dataset({"w": (("chain", "draw", "w_dim_0"), draws)})
    values, _ = function_values(density, posterior, 100)
    assert values["mu"].shape == (2, 250, 20)  # every second: 400 of all chains are the least


def test_values_that_are_not_finite_are_named(line):
    density = inference.compile_log_density(line[0])
    beta = np.random.default_rng(0).normal(size=(4, 200, 2))
    beta[0, 0] = np.nan
    posterior = xr.Dataset({"beta": (("chain", "draw", "term"), beta)})
    found, judged = chain_report(density, posterior, beta.sum(axis=-1))
    assert any("mu is not finite in" in sentence for sentence in found)
    assert judged["variables"] == {}


def test_all_draws_equal_and_one_chain(line):
    density = inference.compile_log_density(line[0])
    same = xr.Dataset({"beta": (("chain", "draw", "term"), np.ones((2, 200, 2)))})
    lp = np.random.default_rng(0).normal(size=(2, 200))
    assert chain_report(density, same, lp)[0][0].startswith("Every draw is the same.")
    walk = np.cumsum(np.random.default_rng(0).normal(size=(1, 200, 2)), axis=1)
    drift = xr.Dataset({"beta": (("chain", "draw", "term"), walk)})
    found, _ = chain_report(density, drift, walk.sum(axis=-1))
    assert "the chain is still on its way" in " ".join(found)
    noise = xr.Dataset(
        {"beta": (("chain", "draw", "term"), np.random.default_rng(1).normal(size=(1, 1000, 2)))}
    )
    assert chain_report(density, noise, np.random.default_rng(2).normal(size=(1, 1000)))[0] == []


def test_chains_that_stand_still_in_places_of_their_own(line):
    """R-hat is infinite there, and no number may hide it."""
    density = inference.compile_log_density(line[0])
    still = np.ones((4, 200, 2)) * np.arange(4)[:, None, None]
    posterior = xr.Dataset({"beta": (("chain", "draw", "term"), still)})
    found, judged = chain_report(density, posterior, still.sum(axis=-1))
    assert "Chains 0, 1, 2 and 3 are stuck" in found[0]
    assert "R-hat is above 100 for mu" in " ".join(found)
    json.dumps(judged, allow_nan=False)


def test_summary_says_what_was_run_and_what_is_wrong(line, two_modes):
    fit = inference.sample_nuts(line[0], draws=1000, tune=500, seed=1, **QUIET)
    text = inference.summary(fit)
    assert text.startswith("nuts: 4 x 1,000 draws of 2 parameters, 40 rows, ")
    assert "no sign that it has not converged" in text
    assert repr(text) == text
    row = next(line for line in text.splitlines() if line.startswith("mu"))
    judged = json.loads(fit.attrs["judged"])["variables"]["mu"]
    assert f"{judged['rhat']:.3f}" in row
    assert f"{judged['ess_tail']:,.0f}" in row
    start = 10.0 * np.array([[1.0], [-1.0]])
    with pytest.warns(ConvergenceWarning):
        fit = inference.sample_nuts(
            two_modes[0], start=start, draws=200, tune=200, seed=1, chains=2, **QUIET
        )
    lines = inference.summary(fit).splitlines()
    assert lines[1] == "not converged"
    assert lines[2] == f"- {json.loads(fit.attrs['problems'])[0]}"
    one = inference.summary(inference.fit_map(line[0], seed=0, **QUIET))
    assert one.startswith("map: 1 draw")
    with pytest.raises(TypeError, match="fit must be a DataTree, got dict"):
        inference.summary({})
    with pytest.raises(ValueError, match="must come from bnnbook"):
        inference.summary(xr.DataTree())
