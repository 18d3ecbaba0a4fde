"""The linearised predictor: closed forms, and what sampled weights get wrong."""

import numpy as np
import pytest

from bnnbook import inference, metrics, models, predict

QUIET = {"seed": 0, "progressbar": False}


@pytest.fixture(scope="module")
def moons():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    y = (X[:, 0] + 0.5 * X[:, 1] ** 2 > 0.3).astype(int)
    model = models.mlp_classifier(X, y, hidden=(3,), bias=True)
    return model, X, inference.fit_laplace(model, n_starts=3, draws=200, **QUIET)


def by_hand(point, X, names=("w1", "b1", "w_out", "b_out")):
    w1, b1, w_out, b_out = (np.asarray(point[n]) for n in names)
    return np.tanh(X @ w1 + b1) @ w_out + b_out


def test_the_logit_is_linear_in_the_weights(moons):
    model, X, fit = moons
    network = predict.compile_predictor(model, "p", linearised=fit)
    p = network(fit, X[:5])["p"][0, :20].to_numpy()
    mode = {name: value.to_numpy() for name, value in fit["mode"].data_vars.items()}
    for k in range(20):
        draw = {name: fit["posterior"][name][0, k].to_numpy() for name in mode}

        def along(t, draw=draw):
            return by_hand({n: mode[n] + t * (draw[n] - mode[n]) for n in mode}, X[:5]).ravel()

        slope = (along(1e-5) - along(-1e-5)) / 2e-5
        np.testing.assert_allclose(np.log(p[k] / (1 - p[k])), along(0) + slope, atol=1e-6)


def test_at_the_mode_it_is_the_network(moons):
    model, X, fit = moons
    mode = fit["mode"].to_dataset()
    plain = predict.compile_predictor(model, "p")(mode, X)["p"]
    there = predict.compile_predictor(model, "p", linearised=fit)(mode, X)["p"]
    np.testing.assert_allclose(there, plain, atol=1e-12)


def test_linear_models_change_nothing(line):
    model, mean, covariance, _ = line
    fit = inference.fit_laplace(model, draws=3000, **QUIET)
    X = np.array([[1.0, 2.0], [1.0, -1.0]])
    mu = predict.compile_predictor(model, "mu", linearised=fit)(fit, X)["mu"][0]
    np.testing.assert_allclose(mu.mean("draw"), X @ mean, atol=0.02)
    np.testing.assert_allclose(mu.var("draw"), np.diag(X @ covariance @ X.T), rtol=0.12)


def test_sampled_weights_predict_worse(moons):
    """What the linearised form is for (Immer et al. 2021)."""
    model, X, fit = moons
    y = (X[:, 0] + 0.5 * X[:, 1] ** 2 > 0.3).astype(int)
    sampled = predict.compile_predictor(model, "p")(fit, X)["p"]
    straight = predict.compile_predictor(model, "p", linearised=fit)(fit, X)["p"]
    assert metrics.nll(y, straight) < metrics.nll(y, sampled)


def test_it_needs_a_mode(moons):
    model, *_ = moons
    with pytest.raises(TypeError, match="linearised must be a fit, got int"):
        predict.compile_predictor(model, "p", linearised=3)
    few = inference.fit_ensemble(model, n_members=3, max_steps=20, **QUIET)
    with pytest.raises(ValueError, match="with a mode, of fit_laplace or fit_map"):
        predict.compile_predictor(model, "p", linearised=few)
