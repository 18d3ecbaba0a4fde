"""Runs of stochastic-gradient MCMC: the same draws however they are run, statistics, callbacks."""

import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import pytest
from sgmcmc_help import LAMBDAS, Z, biased, positive_regression, sample, short, variance_z

from bnnbook import inference


def test_same_seed_same_draws(line):
    options = {"batch_size": 7, "draws": 50, "chains": 2}
    first = sample(line[0], inference.sgld(1e-3), **options)["posterior"]["beta"]
    again = sample(line[0], inference.sgld(1e-3), cores=1, **options)["posterior"]["beta"]
    other = sample(line[0], inference.sgld(1e-3), **options, seed=4)["posterior"]["beta"]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])


def test_float32_follows_float64(gaussian):
    options = {"draws": 20, "thin": 5, "tune": 0, "chains": 2, "seed": 1}
    with pytest.warns(UserWarning, match="temperature 0"):  # a path without noise
        double, single = (
            sample(gaussian, inference.sgld(2e-3, temperature=0), dtype=dtype, **options)
            for dtype in ("float64", "float32")
        )
    assert single["posterior"]["theta"].dtype == np.float32
    np.testing.assert_allclose(
        single["posterior"]["theta"], double["posterior"]["theta"], atol=2e-6
    )
    long = sample(gaussian, inference.sgld(2e-3), dtype="float32")["posterior"]["theta"].to_numpy()
    assert np.abs(variance_z(long.astype(float), biased(LAMBDAS, 2e-3))).max() < Z


def test_vectorized_chains_draw_the_same(line):
    options = {"batch_size": 7, "draws": 30, "chains": 3}
    apart = sample(line[0], inference.sgld(1e-3), **options)["posterior"]["beta"]
    together = sample(line[0], inference.sgld(1e-3), chain_method="vectorized", **options)
    np.testing.assert_allclose(together["posterior"]["beta"], apart, rtol=1e-9)


def test_start_by_name_is_start_by_vector():
    rng = np.random.default_rng(0)
    with pm.Model() as model:
        scale = pm.HalfNormal("scale")
        mu = pm.Normal("mu", shape=2)
        pm.Normal("obs", mu, scale, observed=pm.Data("y", rng.normal(size=(20, 2))))
    by_name = {"scale_log__": rng.normal(size=3), "mu": rng.normal(size=(3, 2))}
    by_vector = np.column_stack([by_name["scale_log__"], by_name["mu"]])
    runs = [
        sample(model, inference.sgld(1e-3), start=start, draws=5, tune=0, thin=1, chains=3)
        for start in (by_name, by_vector)
    ]
    np.testing.assert_array_equal(runs[0]["posterior"]["mu"], runs[1]["posterior"]["mu"])


def test_start_from_a_fit(line):
    fit = inference.fit_advi(line[0], 500, seed=0, draws=40, progressbar=False)
    last = fit["posterior"]["beta"][0].to_numpy()[[39, 19]]
    for start in (fit, fit["posterior"].to_dataset(), {"beta": last}):
        tree = short(line[0], inference.sgld(1e-12, temperature=1e-9), start=start, draws=1, tune=0)
        np.testing.assert_allclose(tree["posterior"]["beta"][:, 0], last, atol=1e-8)


def test_noise_is_the_same_inside_and_ahead_of_the_loop():
    """Few parameters have theirs drawn before a block of steps, many in each step."""
    draws = []
    for size in (3, 3000):
        with pm.Model() as model:
            pm.Normal("obs", pm.Normal("w", shape=size), 1.0, observed=np.zeros((2, size)))
        tree = sample(model, inference.sgld(1e-2), start=np.zeros((2, size)), chains=2, thin=5)
        w = tree["posterior"]["w"].to_numpy()
        assert np.abs(variance_z(w[..., :3], biased(3.0, 1e-2))).max() < Z
        draws.append(w)
        assert len(np.unique(w)) == w.size
    steps = np.diff(draws[1][0, :, 0])
    assert abs(np.corrcoef(steps, np.diff(draws[1][1, :, 0]))[0, 1]) < Z / np.sqrt(len(steps))
    assert abs(np.corrcoef(steps, np.diff(draws[1][0, :, 1]))[0, 1]) < Z / np.sqrt(len(steps))


def test_cyclical_plan_and_statistics(gaussian):
    kernel = inference.sgld(inference.cyclical(1e-3, 3, 0.75))
    tree = sample(gaussian, kernel, draws=12, thin=5, tune=7, chains=2)
    stats = tree["sample_stats"]
    assert list(stats["cycle"][0].to_numpy()) == [0] * 4 + [1] * 4 + [2] * 4
    assert (stats["temperature"] == 1).all()
    plan = kernel.schedule.plan(12, 7, 5)
    assert plan.steps == 7 + 3 * 80
    assert plan.step_size[7] == 1e-3
    assert plan.noisy[7:].reshape(3, 80)[:, :60].sum() == 0
    assert plan.noisy[7:].reshape(3, 80)[:, 60:].all()
    assert (np.diff(stats["step_size"][0, :4]) < 0).all()
    loud = inference.cyclical(1e-3, 3, 0.75, quiet=False).plan(12, 7, 5)
    assert loud.noisy.all()
    np.testing.assert_array_equal(loud.draw_at, plan.draw_at)
    assert tree.attrs["N"] == 10
    assert tree.attrs["convention"].startswith("theta += eps*(G*grad")
    poly = inference.polynomial(1e-2, offset=10.0, power=0.6).plan(5, 3, 2)
    np.testing.assert_allclose(poly.step_size, 1e-2 * (1 + np.arange(13) / 10) ** -0.6)


@pytest.mark.parametrize(
    ("exploration", "sampling", "length"),
    [(0.8, 20, 100), (0.9, 30, 300), (0.7, 3, 10), (2 / 3, 10, 30), (0.0, 7, 7), (0.35, 13, 20)],
)
def test_a_cycle_has_no_step_too_many(exploration, sampling, length):
    plan = inference.cyclical(1e-3, 2, exploration).plan(2 * sampling, 0, 1)
    assert plan.steps == 2 * length
    assert plan.noisy[:length].sum() == sampling
    assert plan.draw_at[-1] == plan.steps


def test_temperature_zero_finds_the_mode(line):
    model, mean, *_ = line
    with pytest.warns(UserWarning, match="temperature 0 adds no noise: this is optimisation"):
        tree = sample(model, inference.sgld(2e-3, temperature=0.0), draws=1, thin=2000)
    np.testing.assert_allclose(tree["posterior"]["beta"][:, 0], np.tile(mean, (4, 1)), atol=1e-8)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("thin", [1, 3])
def test_statistics_are_those_of_the_draw(dtype, thin):
    """With all rows in each batch: the log density and its gradient at the draw itself."""
    model = positive_regression()
    tree = short(model, draws=40, thin=thin, tune=7, dtype=dtype)
    density = inference.compile_log_density(model)
    posterior = tree["posterior"]
    thetas = np.concatenate([np.log(posterior["sigma"]), posterior["mu"]], axis=-1)

    def joint(theta):
        return density.log_prior(theta, density.data) + density.log_likelihood(theta, density.data)

    with jax.enable_x64(True):
        lp, gradient = jax.vmap(jax.vmap(jax.value_and_grad(joint)))(jnp.asarray(thetas))
    tolerance = {"rtol": 1e-10} if dtype == "float64" else {"rtol": 2e-4}
    stats = tree["sample_stats"]
    np.testing.assert_allclose(stats["lp"], lp, **tolerance)
    norms = np.linalg.norm(gradient, axis=-1)
    np.testing.assert_allclose(stats["grad_norm"], norms, **tolerance)
    assert np.ptp(np.asarray(lp)) > 1


def test_history_follows_the_whole_run(line):
    options = {"batch_size": 7, "draws": 4000, "thin": 3, "tune": 21, "chains": 2}
    tree = sample(line[0], inference.sgld(1e-3), **options)
    history = tree["history"]  # every 3 steps of 12,021
    assert list(history["step"].to_numpy()) == list(range(3, 12_022, 3))
    np.testing.assert_array_equal(
        history["lp"].sel(step=slice(24, None)), tree["sample_stats"]["lp"]
    )
    odd = sample(line[0], inference.sgld(1e-3), **(options | {"tune": 20}))
    assert odd["history"]["step"][-1] == 12_020
    assert (odd["history"]["lp"][:, -1] == odd["sample_stats"]["lp"][:, -1]).all()


def test_callbacks_see_and_stop_the_run(line):
    seen = []

    def watch(state, losses, step):
        seen.append((step, state.objective, len(losses)))
        assert np.isfinite(losses).all()
        assert state.posterior(4)["beta"].shape == (1, 4, 2)
        if step > 1000:
            raise StopIteration("enough")

    tree = sample(line[0], inference.sgld(1e-3), draws=10**6, thin=1, callbacks=[watch])
    step, objective, n_losses = seen[-1]
    assert n_losses == step
    assert np.isfinite(objective)
    assert tree.attrs["stopped"] == f"stopped at step {step}: enough"
    assert 1000 - 500 <= tree["posterior"].sizes["draw"] < 10**6


def test_callbacks_never_see_what_is_not_there_yet(line):
    """Looked at as often as can be, on small blocks of steps, while two chains write."""
    whole = {}

    def watch(state, losses, step):
        whole[step] = losses

    watch.every = 1
    tree = sample(
        line[0], inference.sgld(1e-3, control_variates=3), draws=3000, thin=1, chains=2,
        callbacks=[watch],
    )  # fmt: skip
    final = -tree["history"]["lp"].to_numpy().mean(axis=0)
    assert len(whole) > 5
    for step, losses in whole.items():
        np.testing.assert_array_equal(losses, final[:step])


MEANS = textwrap.dedent("""
    import numpy as np
    import pymc as pm
    from bnnbook import inference

    def means():
        rng = np.random.default_rng(0)
        X = np.stack([np.ones(40), rng.normal(size=40)], axis=1)
        y = X @ [0.5, -1.0] + 0.5 * rng.normal(size=40)
        with pm.Model() as model:
            beta = pm.Normal("beta", 0, 1, shape=2)
            sigma = pm.HalfNormal("sigma", 1)
            pm.Normal("obs", pm.Data("X", X) @ beta, sigma, observed=pm.Data("y", y))
        values = []
        for dtype in ("float64", "float32"):
            for method in ("parallel", "vectorized"):
                tree = inference.sample_sgmcmc(
                    model, inference.sgld(1e-3), batch_size=20, draws=200, tune=50, chains=2,
                    seed=0, dtype=dtype, chain_method=method, progressbar=False,
                    start=np.zeros((2, 3)),
                )
                assert tree["posterior"]["beta"].dtype == dtype
                values += [tree["posterior"]["beta"].mean(), tree["posterior"]["sigma"].mean()]
        return np.array(values, float).reshape(4, 2)
""")


def test_precision_of_the_process_makes_no_difference():
    """JAX's and PyMC's single precision, in a process of its own."""
    script = (
        f"import pytensor\npytensor.config.floatX = 'float32'\n{MEANS}\nprint(*means().ravel())"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True,
        env={**os.environ, "JAX_ENABLE_X64": "0"},
    )  # fmt: skip
    there = np.array(run.stdout.split(), float).reshape(4, 2)
    namespace = {}
    exec(MEANS, namespace)
    here = namespace["means"]()
    np.testing.assert_allclose(here[1], here[0], rtol=1e-9)
    np.testing.assert_allclose(there[:2], here[:2], rtol=1e-4)
    np.testing.assert_allclose(there[2:], here[2:], rtol=1e-4)
