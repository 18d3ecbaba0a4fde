"""The options of ADVI against closed forms and against optax; interrupted runs of every method."""

from contextlib import contextmanager

import numpy as np
import optax
import pymc as pm
import pytest

from bnnbook import inference

QUIET = {"seed": 1, "progressbar": False}
DECAY = {"learning_rate": lambda fraction: 0.05 * (1 - fraction) + 1e-4}


def mean_field(covariance, prior_precision=1.0, kl_weight=1.0):
    """Sds of the best independent normal when the KL has a weight: one over root precision.

    The optimum is proportional to prior times likelihood to the power of 1 / kl_weight.
    """
    precision = np.diag(np.linalg.inv(covariance))
    data = precision - prior_precision
    return 1 / np.sqrt(prior_precision + data / kl_weight)


def sds(fit):
    return fit["variational"]["beta"].sel(stat="sd").to_numpy()


@pytest.mark.parametrize("kl_weight", [1.0, 0.25])
def test_kl_weight_tempers_the_likelihood(line, kl_weight):
    model, _, covariance, _ = line
    fit = inference.fit_advi(model, 20_000, kl_annealing=lambda _: kl_weight, **QUIET, **DECAY)
    np.testing.assert_allclose(sds(fit), mean_field(covariance, kl_weight=kl_weight), rtol=0.1)
    # the ELBO reported is the true one, at weight 1, whatever was climbed
    best = inference.fit_advi(model, 20_000, **QUIET, **DECAY).attrs["final_elbo"]
    assert (fit.attrs["final_elbo"] > best - 0.02) == (kl_weight == 1.0)


@pytest.mark.parametrize("method", ["advi", "fullrank_advi"])
def test_single_precision_finds_the_same_optimum(line, method):
    model, mean, covariance, _ = line
    fit = inference.fit_advi(model, 20_000, method=method, dtype="float32", **QUIET, **DECAY)
    expected = mean_field(covariance) if method == "advi" else np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(sds(fit), expected, rtol=0.1)
    assert abs(fit["posterior"]["beta"].mean(["chain", "draw"]) - mean).max() < 0.05
    assert fit["posterior"]["beta"].dtype == np.float64
    double = inference.fit_advi(model, 100, method=method, **QUIET, **DECAY)
    single = inference.fit_advi(model, 100, method=method, dtype="float32", **QUIET, **DECAY)
    assert (double["history"]["elbo"] != single["history"]["elbo"]).any()


def test_noise_of_a_wide_model_is_drawn_step_by_step(line, monkeypatch):
    monkeypatch.setattr("bnnbook.inference.advi_step.WIDE", 0)
    model, _, covariance, _ = line
    fit = inference.fit_advi(model, 20_000, **QUIET, **DECAY)
    np.testing.assert_allclose(sds(fit), mean_field(covariance), rtol=0.1)


def test_batches_are_scaled_by_their_own_rows_with_and_without_total_size(line):
    model, _, covariance, _ = line
    arrays = model["X"].get_value(), model["y"].get_value()

    def fit_in_batches(total_size):
        Xb, yb = pm.Minibatch(*arrays, batch_size=10)
        with pm.Model() as small:
            beta = pm.Normal("beta", 0, 1, shape=2)
            pm.Normal("obs", Xb @ beta, 0.5, observed=yb, total_size=total_size)
        return sds(inference.fit_advi(small, 20_000, **QUIET, **DECAY))

    # N/n = 4 left out would make sds twice as large, counted twice half as large
    for total_size in (40, None):
        np.testing.assert_allclose(fit_in_batches(total_size), mean_field(covariance), rtol=0.3)


def test_optax_adam_takes_the_same_path_as_the_built_in_one(line):
    ours = inference.fit_advi(line[0], 500, learning_rate=0.02, **QUIET)
    theirs = inference.fit_advi(line[0], 500, optimizer=optax.adam(0.02), **QUIET)
    other = inference.fit_advi(line[0], 500, optimizer=optax.sgd(1e-3), **QUIET)
    np.testing.assert_allclose(theirs["history"]["elbo"], ours["history"]["elbo"], rtol=1e-8)
    assert not np.allclose(other["history"]["elbo"], ours["history"]["elbo"], rtol=1e-3)


def test_interrupt_in_a_later_start_is_told(line):
    calls = []

    def interrupt(state, losses, step):
        calls.append(step)
        if len(calls) == 12:  # in the second of three starts, far from its optimum
            raise KeyboardInterrupt

    fit = inference.fit_advi(
        line[0], 1000, n_starts=3, learning_rate=0.001, callbacks=[interrupt], **QUIET
    )
    assert fit.attrs["interrupted"]
    assert len(fit.attrs["final_elbo_by_start"]) == 2
    assert fit["history"].sizes["step"] == 1000  # the first start's, which is the better


@pytest.mark.parametrize(
    ("slope", "stops"), [(0.0, True), (0.01, False)], ids=["flat", "rising 0.01 nats a step"]
)
def test_early_stopping_on_made_up_losses(slope, stops):
    noise = np.random.default_rng(0).normal(size=1000)
    losses = noise - slope * np.arange(1000)
    callback = inference.EarlyStopping(window=500, tolerance=1.0)
    assert callback(None, losses[:999], 999) is None  # fewer than two windows
    if stops:
        with pytest.raises(StopIteration, match=r"over 500 steps, less than 1\.0"):
            callback(None, losses, 1000)
    else:
        assert callback(None, losses, 1000) is None


def test_cyclical_annealing_rises_once_a_cycle():
    weight = inference.cyclical_annealing(4, rise=0.5)
    weights = np.array([weight(f) for f in np.arange(1000) / 1000])
    assert ((weights > 0) & (weights <= 1)).all()
    assert (np.diff(weights) < -0.5).sum() == 3  # falls back between four cycles
    assert weight(0.0625) == pytest.approx(0.5)
    assert weight(0.2) == weight(1.0) == 1.0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"kl_annealing": lambda _: 2.0}, ValueError, r"must return weights in \[0, 1\]"),
        ({"kl_annealing": lambda _: np.nan}, ValueError, r"must return weights in \[0, 1\]"),
        ({"optimizer": "adam"}, TypeError, "optimizer must have init and update"),
        (
            {"optimizer": optax.sgd(0.1), "learning_rate": 0.1},
            ValueError,
            "learning_rate is Adam's; optimizer brings its own step size",
        ),
        ({"n_starts": 0}, ValueError, "n_starts must be at least 1, got 0"),
        ({"callback_every": 0}, ValueError, "callback_every must be at least 1, got 0"),
    ],
)
def test_bad_options(line, arguments, error, message):
    with pytest.raises(error, match=message):
        inference.fit_advi(line[0], 100, **QUIET, **arguments)


def test_initial_sd_is_where_the_fit_starts(line):
    seen = {}
    for initial_sd in (1e-4, 0.1):
        tracker = inference.Tracker(sd=lambda state: state.sd["beta"])
        inference.fit_advi(
            line[0], 1, initial_sd=initial_sd, callbacks=[tracker], callback_every=1,
            learning_rate=1e-12, seed=0, progressbar=False,
        )  # fmt: skip
        seen[initial_sd] = tracker["sd"][0]
    for initial_sd, sd in seen.items():
        np.testing.assert_allclose(sd, initial_sd, rtol=1e-6)
    with pytest.raises(ValueError, match="initial_sd must be positive and finite, got 0"):
        inference.fit_advi(line[0], 1, initial_sd=0.0, seed=0)


def test_full_rank_can_start_from_mean_field(line):
    first = inference.fit_advi(line[0], 3000, seed=0, progressbar=False)
    second = inference.fit_advi(
        line[0], 1, method="fullrank_advi", start=first, learning_rate=1e-12, seed=0,
        progressbar=False,
    )  # fmt: skip
    np.testing.assert_allclose(
        second["variational"]["beta"], first["variational"]["beta"], rtol=1e-6
    )
    with pytest.raises(TypeError, match=r"start must be a result of fit_advi or a map.*, got str"):
        inference.fit_advi(line[0], 1, start="prior", seed=0)
    with pm.Model() as other:
        pm.Normal("obs", pm.Normal("alpha"), 1, observed=np.zeros(3))
    with pytest.raises(ValueError, match=r"start must be a fit of the same model, with alpha of"):
        inference.fit_advi(other, 1, start=first, seed=0)


def test_means_to_start_from_can_be_given_by_name(line):
    given = {"beta": np.array([3.0, -2.0])}
    fit = inference.fit_advi(line[0], 1, start=given, learning_rate=1e-12, initial_sd=0.3, **QUIET)
    np.testing.assert_allclose(fit["variational"]["beta"].sel(stat="mean"), [3.0, -2.0])
    np.testing.assert_allclose(sds(fit), 0.3)
    with pytest.raises(
        ValueError, match=r"start must have arrays of shapes .*'beta': \(2,\).*, got"
    ):
        inference.fit_advi(line[0], 1, start={"beta": np.zeros(3)}, seed=0)
    with pytest.raises(ValueError, match=r"start must have arrays .*, got \{'gamma': \(2,\)\}"):
        inference.fit_advi(line[0], 1, start={"gamma": np.zeros(2)}, seed=0)
    with pytest.raises(ValueError, match="start must be finite, got NaN or infinity"):
        inference.fit_advi(line[0], 1, start={"beta": np.array([0.0, np.nan])}, seed=0)


def test_bad_callbacks_and_schedules():
    with pytest.raises(ValueError, match="Tracker needs at least one function"):
        inference.Tracker()
    with pytest.raises(ValueError, match="window must be at least 1, got 0"):
        inference.EarlyStopping(window=0)
    with pytest.raises(ValueError, match="tolerance must be positive and finite, got -1"):
        inference.EarlyStopping(tolerance=-1)
    with pytest.raises(ValueError, match="n_cycles must be at least 1, got 0"):
        inference.cyclical_annealing(0)
    with pytest.raises(ValueError, match=r"rise must be a fraction in \(0, 1\], got 0"):
        inference.cyclical_annealing(2, rise=0)


def test_batches_that_would_mispair_rows_are_refused(line):
    X, y = line[0]["X"].get_value(), line[0]["y"].get_value()
    with pm.Model() as half:  # y in a container, X a constant
        pm.Normal("obs", X @ pm.Normal("beta", shape=2), 0.5, observed=pm.Data("y", y))
    with pytest.raises(ValueError, match="do not share one axis of rows: a batch does not fit"):
        inference.fit_advi(half, 100, batch_size=1, **QUIET)
    Xb, yb = pm.Minibatch(X, y, batch_size=10)
    with pm.Model() as own:
        pm.Normal("obs", Xb @ pm.Normal("beta", shape=2), 0.5, observed=yb, total_size=40)
    with pytest.raises(ValueError, match=r"batch_size is already 10 in the model's pm\.Minibatch"):
        inference.fit_advi(own, 100, batch_size=20, **QUIET)
    for needs_all in (inference.fit_map, inference.sample_nuts):
        with pytest.raises(ValueError, match="needs the full data"):
            needs_all(own, **QUIET)


def pressing_ctrl_c(after):
    """A progress bar during whose update number ``after`` somebody presses Ctrl-C."""

    @contextmanager
    def progress_bar(*_, **__):
        seen = []

        def update(done, value):
            if np.isfinite(value):
                seen.append(done)
            if len(seen) >= after:
                raise KeyboardInterrupt

        yield update

    return progress_bar


def test_interrupted_map_returns_its_last_step(line, monkeypatch):
    whole = inference.fit_map(line[0], **QUIET)
    monkeypatch.setattr("bnnbook.inference.optimize.progress_bar", pressing_ctrl_c(2))
    fit = inference.fit_map(line[0], n_starts=3, **QUIET)
    assert fit.attrs["interrupted"]
    assert fit["history"].sizes["step"] == 2
    assert float(fit["sample_stats"]["lp"][0, 0]) == pytest.approx(
        float(fit["history"]["log_density"][-1])
    )
    assert float(fit["sample_stats"]["lp"][0, 0]) <= float(whole["sample_stats"]["lp"][0, 0])


def test_interrupted_nuts_returns_the_draws_that_all_chains_have(line):
    def press_ctrl_c(state, losses, step):
        raise KeyboardInterrupt

    settings = {"draws": 1_000_000, "tune": 100, "chains": 2, "cores": 2}
    fit = inference.sample_nuts(line[0], callbacks=[press_ctrl_c], **settings, **QUIET)
    assert fit.attrs["interrupted"]
    draws = fit["posterior"].sizes["draw"]
    assert 100 <= draws < 1_000_000
    assert draws % 100 == 0
    assert np.isfinite(fit["posterior"]["beta"]).all()


def test_ctrl_c_in_the_warm_up_of_nuts_says_that_there_are_no_draws(line, monkeypatch):
    heard = []

    @contextmanager
    def progress_bar(*_, **__):
        def update(done, value):
            heard.append((done, value))
            if done:
                raise KeyboardInterrupt

        yield update

    monkeypatch.setattr("bnnbook.inference.runner.progress_bar", progress_bar)
    with pytest.raises(KeyboardInterrupt, match="before every chain had its first draws"):
        inference.sample_nuts(line[0], draws=10, tune=100_000, chains=2, **QUIET)
    assert heard[-1][0] < 100_000


def test_members_of_an_ensemble_are_modes(line):
    model, mean, _, _ = line
    for options in ({}, {"validation": 0}):  # rows held out do not keep a member from its mode
        fit = inference.fit_ensemble(model, n_members=3, **options, **QUIET)
        np.testing.assert_allclose(fit["posterior"]["beta"], np.tile(mean, (3, 1, 1)), atol=1e-5)
    assert fit["history"].sizes["chain"] == 3
    climbed = fit["history"]["log_density"].to_numpy()
    assert (np.nan_to_num(np.diff(climbed), nan=0.0) >= -1e-9).all()


def test_members_of_an_ensemble_start_at_draws_from_the_prior():
    with pm.Model() as model:
        far = pm.Normal("far", 50, 3, shape=2000)
        pm.Normal("obs", far[0], 1, observed=pm.Data("y", np.zeros(3)))
    fit = inference.fit_ensemble(model, n_members=2, max_steps=1, **QUIET)
    for member in fit["posterior"]["far"].to_numpy()[:, 0]:  # a step later, hardly moved
        assert abs(member.mean() - 50) < 0.5
        assert abs(member.std() - 3) < 0.3
    assert abs(np.corrcoef(fit["posterior"]["far"].to_numpy()[:, 0])[0, 1]) < 0.1


@pytest.mark.parametrize(
    "start",
    [
        lambda model: inference.fit_ensemble(model, **QUIET),
        lambda model: inference.sample_sgmcmc(
            model, inference.sgld(1e-3), draws=1, tune=0, chains=2, **QUIET
        ),
    ],
)
def test_prior_that_cannot_be_sampled_is_named(start):
    with pm.Model() as model:
        level = pm.Flat("level")
        pm.Normal("obs", level, 1, observed=pm.Data("y", np.zeros(3)))
    with pytest.raises(ValueError, match=r"priors that can be sampled.*got \['level'\]"):
        start(model)
