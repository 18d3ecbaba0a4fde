"""SWAG, dropout, Pathfinder and MCLMC: known answers, negative controls, bad input."""

import numpy as np
import pymc as pm
import pytest

from bnnbook import inference, models

QUIET = {"seed": 0, "progressbar": False}


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2))
    return models.mlp_classifier(X, (X[:, 0] > 0).astype(int), hidden=(4,))


def whitened(fit, mean, covariance):
    """Largest distance of the draws' moments from the truth, in posterior sds."""
    draws = fit["posterior"]["beta"].to_numpy().reshape(-1, 2)
    sd = np.sqrt(np.diag(covariance))
    return abs(draws.mean(0) - mean).max() / sd.min(), draws.std(0) / sd


@pytest.mark.parametrize("adjusted", [True, False])
def test_mclmc_finds_the_posterior(line, adjusted):
    model, mean, covariance, _ = line
    fit = inference.sample_mclmc(model, adjusted=adjusted, tune=600, draws=800, **QUIET)
    shift, ratio = whitened(fit, mean, covariance)
    assert shift < 0.15
    np.testing.assert_allclose(ratio, 1, atol=0.12)
    assert fit.attrs["converged"] == 1
    assert fit["sample_stats"].sizes == {"chain": 4, "draw": 800}


def test_mclmc_refuses(line):
    model, *_ = line
    with pytest.raises(TypeError, match="adjusted must be True or False, got 'no'"):
        inference.sample_mclmc(model, adjusted="no", **QUIET)
    with pm.Model() as single:
        m = pm.Normal("m", 0, 1)
        pm.Normal("obs", m, 1, observed=np.zeros(3))
    with pytest.raises(ValueError, match="at least two parameters"):
        inference.sample_mclmc(single, **QUIET)


def test_pathfinder_on_a_normal_posterior_is_exact(line):
    model, mean, covariance, _ = line
    fit = inference.fit_pathfinder(model, **QUIET)
    shift, ratio = whitened(fit, mean, covariance)
    assert shift < 0.2
    np.testing.assert_allclose(ratio, 1, atol=0.15)
    assert fit.attrs["pareto_k"] < 0.7
    assert fit.attrs["converged"] == 1


def test_pathfinder_says_so_where_it_fails():
    with pm.Model() as funnel:
        v = pm.Normal("v", 0, 3)
        x = pm.Normal("x", 0, pm.math.exp(v / 2), shape=20)
        pm.Normal("obs", x.sum(), 10.0, observed=0.0)
    with pytest.warns(inference.ConvergenceWarning, match="Pareto k"):
        fit = inference.fit_pathfinder(funnel, **QUIET)
    assert fit.attrs["converged"] == 0


def test_swag_has_the_variance_of_its_own_iterates(line):
    model, mean, covariance, _ = line
    few = {"tune": 1500, "steps": 3000, "collect_every": 20, "draws": 2000, **QUIET}
    fit = inference.fit_swag(model, learning_rate=0.02, batch_size=10, **few)
    shift, wide = whitened(fit, mean, covariance)
    assert shift < 1
    still = inference.fit_swag(model, learning_rate=0.02, batch_size=40, **few)
    _, none = whitened(still, mean, covariance)
    assert (none < 0.05 * wide).all()  # all rows in every batch: no noise, no spread
    again = inference.fit_swag(model, learning_rate=0.02, batch_size=10, **few)
    assert again["posterior"].equals(fit["posterior"])
    two = inference.fit_swag(model, learning_rate=0.02, batch_size=10, rank=2, **few)
    sd = two["variational"]["beta"].sel(stat="sd")  # half diagonal, half of two deviations
    np.testing.assert_allclose(two["posterior"]["beta"].std(["chain", "draw"]), sd, rtol=0.08)


def test_swag_refuses_fewer_iterates_than_rank(line):
    model, *_ = line
    with pytest.raises(ValueError, match=r"rank must be at least 2 and at most the 10 iterates"):
        inference.fit_swag(model, learning_rate=0.1, steps=500, rank=20, **QUIET)


def test_multiswag_has_a_chain_a_start(network):
    fit = inference.fit_swag(
        network, learning_rate=0.02, n_starts=2, tune=100, steps=200, collect_every=10, rank=5,
        draws=10, **QUIET,
    )  # fmt: skip
    assert fit["posterior"].sizes["chain"] == 2
    assert not np.allclose(fit["posterior"]["w1"][0], fit["posterior"]["w1"][1])


def test_multiswag_keeps_the_starts_that_ctrl_c_has_not_met(network):
    """It comes at the first iterate of the second start, of which nothing can be averaged."""
    options = {
        "learning_rate": 0.02, "n_starts": 3, "tune": 100, "steps": 200, "collect_every": 10,
        "rank": 5, "draws": 10, **QUIET,
    }  # fmt: skip
    firsts = []

    def second_start(_state, _losses, step):
        firsts.extend([step] * (step == 10))
        if len(firsts) == 2:
            raise KeyboardInterrupt

    fit = inference.fit_swag(network, callbacks=[second_start], **options)
    whole = inference.fit_swag(network, **options)
    assert (fit.attrs["interrupted"], fit.attrs["stopped"]) == (1, "interrupted")
    np.testing.assert_array_equal(fit["posterior"]["w1"], whole["posterior"]["w1"][:1])


def test_dropout_drops_whole_units(network):
    fit = inference.fit_dropout(network, "hidden_1", 0.3, steps=300, draws=500, **QUIET)
    out = (fit["posterior"]["w_out"] == 0).squeeze().to_numpy()
    into = (fit["posterior"]["w1"] == 0).all("feature").squeeze().to_numpy()
    np.testing.assert_array_equal(into, out.reshape(into.shape))
    assert abs(into.mean() - 0.3) < 0.06  # 2,000 coins: sd .01
    # the weights of units that stay are the same in every draw
    kept = fit["posterior"]["w1"].where(fit["posterior"]["w1"] != 0)
    assert float(kept.std(("chain", "draw")).max()) < 1e-12


def test_dropout_of_a_linear_model_has_its_closed_form():
    """E over z in {0, 1}^2 of squared errors and weight decay: ridge with the masks' moments."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 2))
    y = X @ [1.0, -2.0] + 0.5 * rng.normal(size=50)
    with pm.Model(coords={"unit": range(2)}) as model:
        inputs = pm.Data("X", X)
        w = pm.Normal("w", 0, 1, dims="unit")
        v = pm.Normal("v", 0, 1, dims="unit")
        pm.Normal("obs", inputs @ (w + v), 0.5, observed=pm.Data("y", y))
    rate = 0.4
    fit = inference.fit_dropout(model, "unit", rate, steps=8000, draws=10, **QUIET)
    q, A = 1 - rate, X.T @ X / 0.25
    second = q * q * A + q * rate * np.diag(np.diag(A))  # E of the masked Gram matrix
    # m = w + v; the decay E z (w^2 + v^2) / 2 is least at w = v = m / 2
    m = np.linalg.solve(second + q * np.eye(2) / 2, q * X.T @ y / 0.25)
    both = fit["posterior"]["w"] + fit["posterior"]["v"]
    found = both.where(both != 0).mean(("chain", "draw"))
    np.testing.assert_allclose(found, m, rtol=0.1)


@pytest.mark.parametrize(
    ("dims", "rate", "message"),
    [
        ("hidden_9", 0.1, r"dims must be dims of hidden units, \['hidden_1'\]"),
        ("feature", 0.1, "dims must be dims of hidden units"),
        ("hidden_1", 1.0, r"rate must lie in \(0, 1\)"),
        ("hidden_1", 0.0, "rate of hidden_1 must be positive"),
        ("hidden_1", {"hidden_2": 0.1}, "rate must have one number for each"),
    ],
)
def test_dropout_refuses(network, dims, rate, message):
    with pytest.raises(ValueError, match=message):
        inference.fit_dropout(network, dims, rate, **QUIET)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("fit_swag", {"learning_rate": 0.1}),
        ("fit_dropout", {"dims": "unit", "rate": 0.5}),
        ("fit_pathfinder", {}),
        ("sample_mclmc", {"chains": 2}),
    ],
)
def test_data_outside_the_support_are_refused_before_the_first_step(name, settings):
    with pm.Model(coords={"unit": range(2)}) as model:
        w, v = pm.Normal("w", dims="unit"), pm.Normal("v", dims="unit")
        p = pm.math.sigmoid(pm.Data("x", np.ones(4)) * (w * v).sum())
        pm.Bernoulli("obs", p, observed=pm.Data("y", [0, 1, 2, 1]))
    with pytest.raises(ValueError, match=r"1 of 4 rows of observed variable obs .* row 2"):
        getattr(inference, name)(model, **settings, **QUIET)


def test_a_loss_that_still_falls_is_told_of(line):
    with pytest.warns(inference.ConvergenceWarning, match=r"loss still fell by .* more tune steps"):
        inference.fit_swag(
            line[0], learning_rate=3e-5, tune=0, steps=500, collect_every=20, rank=5, draws=5,
            batch_size=40, start={"beta": np.full((1, 2), 5.0)}, **QUIET,
        )  # fmt: skip
