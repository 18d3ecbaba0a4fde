"""Every method against closed forms, its result format, and bad input."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import pytest

from bnnbook import inference, models
from bnnbook.inference import DivergedError, compile_log_density

RNG = np.random.default_rng(1)
X = RNG.normal(size=(60, 2))
Y = (X[:, 0] + 0.5 * RNG.normal(size=60) > 0).astype(int)
DECAY = {"learning_rate": lambda fraction: 0.05 * (1 - fraction) + 1e-4}


@pytest.fixture(scope="module")
def net():
    return models.mlp_classifier(X, Y, (3,))


def test_log_density_is_pymcs(net):
    density = compile_log_density(net)
    theta = RNG.normal(size=density.size)
    data = tuple(jnp.asarray(a) for a in density.data)
    ours = density.log_prior(jnp.asarray(theta), data) + density.log_likelihood(
        jnp.asarray(theta), data
    )
    point = density.split(theta)
    assert float(ours) == pytest.approx(
        float(net.compile_logp(mode="FAST_COMPILE")(point)), rel=1e-10
    )
    assert set(density.data_names) == {"X", "y"}
    assert density.N == 60


def test_jacobian_of_a_transformed_variable():
    with pm.Model() as model:
        scale = pm.HalfNormal("scale", 2.0)
        pm.Normal("obs", 0, scale, observed=[1.0, -2.0])
    theta = jnp.asarray([0.3])
    with_jacobian, without = (
        float(compile_log_density(model, jacobian=j).log_prior(theta, ())) for j in (True, False)
    )
    assert with_jacobian - without == pytest.approx(0.3)  # log |d exp(t)/dt| = t


def test_minibatch_gradients_average_to_the_full_gradient(net):
    density = compile_log_density(net)
    data = tuple(jnp.asarray(a) for a in density.data)
    theta = jnp.asarray(RNG.normal(size=density.size))
    gradient = jax.grad(density.log_likelihood)
    full = gradient(theta, data)
    batches = [gradient(theta, tuple(a[i : i + 12] for a in data)) for i in range(0, 60, 12)]
    np.testing.assert_allclose(np.mean(batches, axis=0) * 60 / 12, full, atol=1e-10)
    assert np.abs(np.mean(batches, axis=0) - full).max() > 1e-3  # N/n left out must be caught


def test_full_rank_advi_is_the_closed_form_posterior(line):
    model, mean, covariance, evidence = line
    fit = inference.fit_advi(
        model, 20_000, method="fullrank_advi", seed=1, progressbar=False, **DECAY
    )
    sd = np.sqrt(np.diag(covariance))
    found = fit["variational"]["beta"].sel(stat="mean").to_numpy()
    np.testing.assert_allclose(found, mean, atol=0.1 * sd.min())
    np.testing.assert_allclose(
        fit["variational"]["covariance"], covariance, atol=0.1 * covariance.max()
    )
    # at the exact posterior log p - log q is the log evidence for every draw; Adam's jitter costs
    # nats in proportion to its step size (0.025 over the last tenth), so ask at the decay's end
    last = float(fit["history"]["elbo"][-500:].mean())
    assert last == pytest.approx(evidence, abs=0.02)


def test_mean_field_variance_is_the_inverse_diagonal_precision(line):
    model, mean, covariance, evidence = line
    fit = inference.fit_advi(model, 20_000, seed=1, progressbar=False, **DECAY)
    expected = 1 / np.sqrt(np.diag(np.linalg.inv(covariance)))
    sd = fit["variational"]["beta"].sel(stat="sd").to_numpy()
    np.testing.assert_allclose(sd, expected, rtol=0.1)
    draws = fit["posterior"]["beta"].to_numpy()[0]
    z = (draws.mean(axis=0) - mean) / (expected / np.sqrt(len(draws)))
    assert np.abs(z).max() < 4.5
    assert fit.attrs["final_elbo"] < evidence + 0.02


@pytest.mark.parametrize("own", [True, False], ids=["pm.Minibatch", "batch_size"])
def test_minibatch_advi_finds_the_same_mean_and_scale(line, own):
    model, mean, covariance, _ = line
    kwargs = {"batch_size": 10}
    if own:
        Xb, yb = pm.Minibatch(model["X"].get_value(), model["y"].get_value(), batch_size=10)
        kwargs = {}
        with pm.Model() as model:
            beta = pm.Normal("beta", 0, 1, shape=2)
            pm.Normal("obs", Xb @ beta, 0.5, observed=yb, total_size=40)
    fit = inference.fit_advi(model, 30_000, seed=1, progressbar=False, **kwargs, **DECAY)
    sd = np.sqrt(np.diag(covariance))
    found = fit["variational"]["beta"].sel(stat="mean").to_numpy()
    assert (np.abs(found - mean) < 0.5 * sd).all()
    # an unweighted likelihood would give sds twice as large (N/n = 4)
    expected = 1 / np.sqrt(np.diag(np.linalg.inv(covariance)))
    np.testing.assert_allclose(fit["variational"]["beta"].sel(stat="sd"), expected, rtol=0.3)
    assert fit.attrs["n"] == 10
    assert fit.attrs["N"] == 40
    assert int(fit["history"]["data_seen"][-1]) == 300_000


def test_advi_agrees_with_pymc(line):
    model, _mean, covariance, _ = line
    # through JAX, which compiles in seconds where Numba takes a minute
    options = {"backend": "jax", "obj_optimizer": pm.adam(learning_rate=0.01)}
    with model, pytest.warns(UserWarning, match="RandomType SharedVariables"):
        theirs = pm.fit(15_000, random_seed=1, progressbar=False, **options)
    ours = inference.fit_advi(model, 15_000, seed=1, progressbar=False)
    gap = ours["variational"]["beta"].sel(stat="mean").to_numpy() - theirs.mean.eval()
    assert np.abs(gap).max() < 0.5 * np.sqrt(np.diag(covariance)).min()
    assert ours.attrs["final_elbo"] == pytest.approx(-theirs.hist[-1500:].mean(), abs=0.1)


def test_map_and_mle_are_the_closed_forms(line):
    model, mean, _, _ = line
    found = inference.fit_map(model, seed=0, progressbar=False)
    np.testing.assert_allclose(found["posterior"]["beta"][0, 0], mean, atol=1e-5)
    X_, y_ = model["X"].get_value(), model["y"].get_value()
    mle = inference.fit_mle(model, seed=0, progressbar=False)
    np.testing.assert_allclose(
        mle["posterior"]["beta"][0, 0], np.linalg.lstsq(X_, y_)[0], atol=1e-5
    )


def test_map_leaves_the_jacobian_out_unless_asked():
    with pm.Model() as model:
        pm.Gamma("rate", 3.0, 2.0)
        pm.Normal("obs", 0, 1, observed=[0.0])
    plain = inference.fit_map(model, seed=0, progressbar=False)
    warped = inference.fit_map(model, seed=0, jacobian=True, progressbar=False)
    assert float(plain["posterior"]["rate"][0, 0]) == pytest.approx(1.0, abs=1e-4)
    assert float(warped["posterior"]["rate"][0, 0]) == pytest.approx(1.5, abs=1e-4)


def test_ensemble_has_one_member_per_chain(net):
    fit = inference.fit_ensemble(net, n_members=3, seed=0, progressbar=False)
    assert dict(fit["posterior"].sizes)["chain"] == 3
    assert dict(fit["posterior"].sizes)["draw"] == 1
    assert np.ptp(fit["posterior"]["w1"].to_numpy(), axis=0).max() > 0.1


def test_every_method_returns_the_same_shape_of_result(net):
    fits = [
        inference.fit_advi(net, 200, draws=7, seed=0, progressbar=False),
        inference.fit_map(net, max_steps=20, seed=0, progressbar=False),
        inference.sample_nuts(net, draws=7, tune=20, chains=2, seed=0, progressbar=False),
    ]
    for fit in fits:
        assert fit["posterior"]["w1"].dims == ("chain", "draw", "feature", "hidden_1")
        assert "p" not in fit["posterior"]
        assert {"method", "settings", "seed", "N", "n", "seconds", "versions"} <= set(fit.attrs)
        assert "pymc" in json.loads(fit.attrs["versions"])
    assert fits[0]["history"].sizes["step"] == 200
    assert {"elbo", "seconds", "data_seen"} <= set(fits[0]["history"].data_vars)


def test_same_seed_same_result(net):
    def all_draws(seed):
        fits = [
            inference.fit_advi(net, 300, batch_size=20, draws=5, seed=seed, progressbar=False),
            inference.fit_map(net, seed=seed, max_steps=20, progressbar=False),
            inference.sample_nuts(net, draws=5, tune=20, chains=2, seed=seed, progressbar=False),
        ]
        return np.concatenate([f["posterior"]["w1"].to_numpy().ravel() for f in fits])

    first = all_draws(4)
    np.testing.assert_array_equal(first, all_draws(4))
    assert not np.allclose(first, all_draws(5))


def test_best_of_several_starts_is_kept(net):
    fit = inference.fit_advi(net, 500, n_starts=3, seed=0, progressbar=False)
    finals = fit.attrs["final_elbo_by_start"]
    assert len(finals) == 3
    assert fit.attrs["final_elbo"] == max(finals)


def test_early_stopping_and_pymcs_convergence_check_stop_the_fit(line):
    for callback in (
        inference.EarlyStopping(window=500, tolerance=1.0),
        pm.variational.callbacks.CheckParametersConvergence(every=100, tolerance=0.1),
    ):
        fit = inference.fit_advi(line[0], 50_000, callbacks=[callback], seed=0, progressbar=False)
        assert fit["history"].sizes["step"] < 50_000
        assert fit.attrs["stopped"].startswith("stopped at step")


def test_tracker_records_what_it_is_asked_for(line):
    tracker = inference.Tracker(mean=lambda s: s.mean["beta"], sd=lambda s: s.sd["beta"])
    fit = inference.fit_advi(line[0], 1000, callbacks=[tracker], seed=0, progressbar=False)
    assert tracker.steps == list(range(100, 1001, 100))
    np.testing.assert_allclose(
        tracker["mean"][-1], fit["variational"]["beta"].sel(stat="mean"), rtol=1e-6
    )
    assert tracker["sd"].shape == (10, 2)


def test_annealing_ends_at_the_same_optimum(line):
    plain = inference.fit_advi(line[0], 20_000, seed=1, progressbar=False, **DECAY)
    annealed = inference.fit_advi(
        line[0], 20_000, seed=1, kl_annealing=inference.linear_annealing(0.05, 0.5),
        progressbar=False, **DECAY,
    )  # fmt: skip
    weights = annealed["history"]["kl_weight"].to_numpy()
    assert weights[0] < 0.01
    assert weights[-1] == 1
    assert (np.diff(weights) >= 0).all()
    assert annealed.attrs["final_elbo"] == pytest.approx(plain.attrs["final_elbo"], abs=0.05)


def test_diverging_fit_names_the_step_and_the_last_elbo(line):
    with pytest.raises(DivergedError, match=r"at step \d+; last finite ELBO: "):
        inference.fit_advi(line[0], 2000, learning_rate=1e200, seed=0, progressbar=False)


def test_interrupted_fit_returns_what_it_has(line):
    def interrupt(state, losses, step):
        if step >= 300:
            raise KeyboardInterrupt

    fit = inference.fit_advi(line[0], 5000, callbacks=[interrupt], seed=0, progressbar=False)
    assert fit.attrs["interrupted"]
    assert fit["history"].sizes["step"] == 300
    assert fit["posterior"].sizes["draw"] == 1000


def test_failing_callback_is_named(line):
    def broken(state, losses, step):
        raise ValueError("no such thing")

    with pytest.raises(
        RuntimeError, match="callback broken raised ValueError at step 100: no such"
    ):
        inference.fit_advi(line[0], 500, callbacks=[broken], seed=0, progressbar=False)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "svgd"}, ValueError, r"method must be one of \['advi', .*got 'svgd'"),
        (
            {"batch_size": 61},
            ValueError,
            "batch_size must be at most the 60 rows of the data, got 61",
        ),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"batch_size": -5}, ValueError, "batch_size must be at least 1, got -5"),
        ({"draws": 0}, ValueError, "draws must be at least 1, got 0"),
        ({"n": -1}, ValueError, "n must be at least 1, got -1"),
        ({"n": 10.5}, TypeError, "n must be an integer, got 10.5"),
        (
            {"learning_rate": -0.1},
            ValueError,
            "learning_rate must be positive and finite, got -0.1",
        ),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate must be positive and finite"),
        ({"seed": -1}, TypeError, "seed must be a non-negative integer, got -1"),
        ({"dtype": "half"}, ValueError, "dtype must be 'float64' or 'float32', got 'half'"),
    ],
)
def test_bad_arguments(net, arguments, error, message):
    with pytest.raises(error, match=message):
        inference.fit_advi(net, **({"seed": 0, "progressbar": False} | arguments))


def test_annealing_fractions_are_checked():
    with pytest.raises(ValueError, match=r"warmup must be a fraction in \[0, 1\], got 1.5"):
        inference.linear_annealing(1.5, 0.0)
    with pytest.raises(ValueError, match="must not overlap"):
        inference.linear_annealing(0.6, 0.6)


def test_models_that_do_not_fit_are_refused():
    with pytest.raises(TypeError, match=r"model must be a pymc\.Model, got dict"):
        inference.fit_advi({}, seed=0)
    with pm.Model() as discrete:
        k = pm.Poisson("k", 2)
        pm.Normal("obs", k, 1, observed=[1.0])
    with pytest.raises(TypeError, match="no discrete free variables, got k"):
        inference.fit_advi(discrete, seed=0)
    with pm.Model() as unobserved:
        pm.Normal("z")
    with pytest.raises(ValueError, match="must have observed variables"):
        inference.fit_advi(unobserved, seed=0)
    with pm.Model() as constants:
        pm.Normal("obs", pm.Normal("z"), 1, observed=np.zeros(5))
    with pytest.raises(ValueError, match=r"a batch needs inputs and observed values in pm\.Data"):
        inference.fit_advi(constants, batch_size=2, seed=0)
