"""NUTS against closed forms and BlackJAX's own loop, and bad input."""

import functools
import importlib

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import pytest

from bnnbook import inference
from bnnbook.inference import compile_log_density
from bnnbook.inference.nuts_loop import tied_variances


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_nuts_is_the_closed_form_posterior(line, dtype):
    model, mean, covariance, _ = line
    fit = inference.sample_nuts(
        model, draws=1000, tune=500, chains=4, seed=3, dtype=dtype, progressbar=False
    )
    assert fit["posterior"]["beta"].dtype == np.float64
    if dtype == "float32":  # sampled, and not only stored, in single precision
        beta = fit["posterior"]["beta"].to_numpy()
        np.testing.assert_array_equal(beta, beta.astype(np.float32))
    draws = fit["posterior"]["beta"].to_numpy().reshape(-1, 2)
    n_effective = 1500  # well below what NUTS reaches on a two-dimensional normal
    z = (draws.mean(axis=0) - mean) / np.sqrt(np.diag(covariance) / n_effective)
    assert np.abs(z).max() < 4
    ratio = np.cov(draws.T) / covariance
    np.testing.assert_allclose(np.diag(ratio), 1.0, atol=4 * np.sqrt(2 / n_effective))
    assert int(fit["sample_stats"]["diverging"].sum()) == 0


def reference(model, *, tune, draws, windows, dense):
    """BlackJAX's warm-up, in windows of the given lengths, and its sampler in turn; two chains."""
    density = compile_log_density(model)
    data = tuple(map(jnp.asarray, density.data))

    def log_density(theta):
        return density.log_prior(theta, data) + density.log_likelihood(theta, data)

    module = importlib.import_module("blackjax.adaptation.staged_adaptation")
    plain = module.build_schedule
    names = ("initial_buffer_size", "first_window_size", "final_buffer_size")
    found, steps = [], []
    with pytest.MonkeyPatch.context() as patch:
        schedule = functools.partial(plain, **dict(zip(names, windows, strict=True)))
        patch.setattr(module, "build_schedule", schedule)
        starts = density.initial_points(2, jitter=1.0, seed=5)
        for start, key in zip(starts, jax.random.split(jax.random.key(5), 2), strict=True):
            warm_key, draw_key = jax.random.split(key)
            warm_up = blackjax.window_adaptation(
                blackjax.nuts, log_density, is_mass_matrix_diagonal=not dense
            )
            (state, parameters), _ = warm_up.run(warm_key, start, num_steps=tune)
            step = jax.jit(blackjax.nuts(log_density, **parameters).step)
            chain = []
            for step_key in jax.random.split(draw_key, draws)[:20]:
                state, _ = step(step_key, state)
                chain.append(state.position)
            found.append(chain)
            steps.append(parameters["step_size"])
    return np.array(found), np.array(steps)


@pytest.mark.parametrize(
    ("tune", "windows", "dense"),
    [
        (130, (19, 85, 26), False),  # too short for Stan's windows: its shares, but a fifth at last
        (130, (19, 85, 26), True),
        (160, (75, 25, 50), False),  # Stan's
        (400, (75, 25, 80), False),  # a longer last one
    ],
)
def test_nuts_draws_as_blackjax_does(line, tune, windows, dense):
    """One compiled function, block by block: warm-ups of one block, or of parts of blocks."""
    fit = inference.sample_nuts(
        line[0], draws=100, tune=tune, chains=2, seed=5, dense_mass=dense, progressbar=False
    )
    draws, steps = reference(line[0], tune=tune, draws=100, windows=windows, dense=dense)
    found = fit["posterior"]["beta"][:, :20]
    np.testing.assert_allclose(found, draws, rtol=1e-6)  # then rounding grows
    np.testing.assert_allclose(fit["sample_stats"]["step_size"][:, 0], steps, rtol=1e-6)


def test_another_last_window_would_be_seen(line):
    _, steps = reference(line[0], tune=400, draws=1, windows=(75, 25, 80), dense=False)
    _, stans = reference(line[0], tune=400, draws=1, windows=(75, 25, 50), dense=False)
    assert (np.abs(steps / stans - 1) > 1e-3).all()


@pytest.mark.parametrize("tune", [1, 3, 19, 20, 99, 149, 150])
def test_warm_ups_of_any_length_end_with_a_step_size(line, tune):
    fit = inference.sample_nuts(line[0], draws=20, tune=tune, chains=2, seed=0, progressbar=False)
    steps = fit["sample_stats"]["step_size"].to_numpy()
    assert np.isfinite(steps).all()
    assert (steps > 0).all()


def test_cut_trajectories_are_counted(line):
    fit = inference.sample_nuts(
        line[0], draws=200, tune=300, max_depth=1, seed=0, progressbar=False
    )
    stats = fit["sample_stats"]
    assert (stats["n_steps"] <= 1).all()
    assert (stats["tree_depth"] <= 1).all()
    assert float(stats["reached_max_treedepth"].mean()) > 0.5
    deep = inference.sample_nuts(line[0], draws=200, tune=300, seed=0, progressbar=False)
    assert not deep["sample_stats"]["reached_max_treedepth"].any()
    assert int(deep["sample_stats"]["n_steps"].max()) > 1


def test_exchangeable_parameters_share_their_variance_and_are_sampled_right(z_scores):
    y = np.array([[1.0, -1.0], [0.0, 2.0], [0.5, 0.0]])
    with pm.Model(coords={"unit": range(2), "row": range(3)}) as model:
        pm.HalfNormal("rate", 1)
        theta = pm.Normal("theta", 0, [10.0, 1.0, 0.1], dims=("unit", "row"), shape=(2, 3))
        pm.Normal("other", 0, 1, shape=2)
        pm.Normal("obs", theta.T, 1.0, observed=y)
    density = inference.compile_log_density(model)
    tied = tied_variances(density, ("unit",), dense_mass=False)
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
    ("arguments", "error", "message"),
    [
        ({"draws": 0}, ValueError, "draws must be at least 1, got 0"),
        ({"tune": 0}, ValueError, "tune must be at least 1, got 0"),
        ({"chains": 0}, ValueError, "chains must be at least 1, got 0"),
        ({"cores": 0}, ValueError, "cores must be at least 1, got 0"),
        ({"max_depth": 0}, ValueError, "max_depth must be at least 1, got 0"),
        ({"target_accept": 1.0}, ValueError, r"target_accept must lie in \(0, 1\), got 1.0"),
        ({"target_accept": 0}, ValueError, r"target_accept must lie in \(0, 1\), got 0"),
        ({"target_accept": "0.9"}, TypeError, "target_accept must be a number, got '0.9'"),
        ({"dtype": "float16"}, ValueError, "dtype must be 'float64' or 'float32', got 'float16'"),
    ],
)
def test_bad_nuts_arguments(line, arguments, error, message):
    with pytest.raises(error, match=message):
        inference.sample_nuts(line[0], seed=0, progressbar=False, **arguments)
