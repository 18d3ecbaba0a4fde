"""Stochastic-gradient MCMC: bad input is refused by name, numbers of any kind are numbers."""

import json

import numpy as np
import pymc as pm
import pytest
from sgmcmc_help import short

from bnnbook import inference


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 41}, ValueError, "at most the 40 rows of the data, got 41"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"batch_size": 7.0}, TypeError, "batch_size must be an integer, got 7.0"),
        ({"batch_size": True}, TypeError, "batch_size must be an integer, got True"),
        ({"draws": 0}, ValueError, "draws must be at least 1, got 0"),
        ({"draws": 10.5}, TypeError, "draws must be an integer, got 10.5"),
        ({"thin": 0}, ValueError, "thin must be at least 1, got 0"),
        ({"thin": 1.5}, TypeError, "thin must be an integer, got 1.5"),
        ({"chains": 0}, ValueError, "chains must be at least 1, got 0"),
        ({"tune": -1}, ValueError, "tune must be at least 0, got -1"),
        (
            {"kernel": inference.sgld(1e-3, preconditioner="rms"), "tune": 0},
            ValueError,
            "tune must be at least 1 for a preconditioner",
        ),
        ({"seed": -1}, TypeError, "seed must be a non-negative integer, got -1"),
        ({"seed": None}, TypeError, "seed must be a non-negative integer, got None"),
        ({"dtype": "float16"}, ValueError, "dtype must be 'float64' or 'float32', got 'float16'"),
        ({"kernel": "sgld"}, TypeError, "kernel must come from inference.sgld or inference.sghmc"),
        ({"kernel": inference.sgld}, TypeError, "kernel must come from inference.sgld or"),
        ({"start": np.zeros((2, 3))}, ValueError, r"start must have shape \(2, 2\), got \(2, 3\)"),
        ({"start": np.full((2, 2), np.nan)}, ValueError, "start must be finite"),
        ({"start": {"w": np.zeros((2, 2))}}, ValueError, "start must name beta, got w"),
        ({"start": {"beta": np.zeros((3, 2))}}, ValueError, r"start\['beta'\] must have shape"),
        ({"chain_method": "serial"}, ValueError, "chain_method must be 'parallel' or 'vectorized'"),
        ({"cores": 0}, ValueError, "cores must be at least 1, got 0"),
        ({"executor": 3}, TypeError, "executor must be a concurrent.futures.Executor, got 3"),
        ({"checkpoint": 3}, TypeError, "checkpoint must be a path, got 3"),
        ({"checkpoint": __file__}, ValueError, "checkpoint must be a folder, got the file"),
        ({"checkpoint_every": 0}, ValueError, "checkpoint_every must be positive"),
        ({"store": 3}, TypeError, "store must be a path, got 3"),
        ({"max_bytes": 10}, ValueError, "more than max_bytes.*fewer draws"),
        ({"max_bytes": "8GB"}, TypeError, "max_bytes must be a number, got '8GB'"),
        ({"max_bytes": np.nan}, ValueError, "max_bytes must be positive and finite, got nan"),
    ],
)
def test_bad_options(line, options, error, message):
    with pytest.raises(error, match=message):
        short(line[0], **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: inference.sgld(-1e-3), ValueError, "positive and finite, got -0.001"),
        (lambda: inference.sgld(np.nan), ValueError, "positive and finite, got nan"),
        (lambda: inference.sgld(True), TypeError, "step_size must be a number, got True"),
        (lambda: inference.sgld("big"), TypeError, "step_size must be a number, got 'big'"),
        (lambda: inference.sgld(1.0, temperature=-1), ValueError, "temperature must be finite"),
        (lambda: inference.sgld(1.0, temperature="hot"), TypeError, "temperature must be a number"),
        (lambda: inference.sgld(1.0, preconditioner="adam"), ValueError, "None or 'rms'"),
        (lambda: inference.sgld(1.0, decay=1.0), ValueError, r"decay must lie in \(0, 1\)"),
        (lambda: inference.sgld(1.0, damping=0.0), ValueError, "damping must be positive"),
        (
            lambda: inference.sgld(1.0, control_variates=0),
            ValueError,
            "control_variates must be at least 1, got 0",
        ),
        (lambda: inference.sghmc(1.0, friction=2.0), ValueError, r"friction must lie in \(0, 1\]"),
        (lambda: inference.sghmc(1.0, friction="f"), TypeError, "friction must be a number"),
        (lambda: inference.cyclical(1.0, 0), ValueError, "n_cycles must be at least 1, got 0"),
        (lambda: inference.cyclical(1.0, 2, 1.0), ValueError, r"exploration must lie in \[0, 1\)"),
        (lambda: inference.cyclical(1.0, 2, "a"), TypeError, "exploration must be a number"),
        (lambda: inference.polynomial(1.0, power=0.4), ValueError, r"power must lie in \(0.5, 1\]"),
        (lambda: inference.polynomial(1.0, power="a"), TypeError, "power must be a number"),
        (lambda: inference.polynomial(1.0, offset=0), ValueError, "offset must be positive"),
        (
            lambda: inference.cyclical(1.0, 3).plan(10, 0, 1),
            ValueError,
            "draws must be a multiple of the 3 cycles, got 10",
        ),
    ],
)
def test_bad_kernels(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_numbers_of_numpy_are_numbers(line):
    """The same draws as from Python's own, and settings that JSON holds."""

    def run(i, f):
        schedule = inference.cyclical(f(0.001), i(2), f(0.5))
        kernel = inference.sghmc(schedule, friction=f(0.25), temperature=f(0.5))
        return short(
            line[0], kernel, batch_size=i(8), draws=i(10), tune=i(4), thin=i(2), chains=i(2),
            seed=i(1), max_bytes=f(1e9), cores=i(1),
        )  # fmt: skip

    plain = run(int, float)
    for i, f in ((np.int64, np.float64), (np.int16, np.float64), (np.uint8, np.float64)):
        tree = run(i, f)
        np.testing.assert_array_equal(tree["posterior"]["beta"], plain["posterior"]["beta"])
        assert json.loads(tree.attrs["settings"]) == json.loads(plain.attrs["settings"])
    single = run(np.int32, np.float32)
    assert json.loads(single.attrs["settings"])["step_size"] == pytest.approx(1e-3)
    for kernel in (
        inference.sgld(np.float32(1e-3), preconditioner="rms", decay=np.float32(0.5)),
        inference.sgld(inference.polynomial(np.float32(1e-3), power=np.float32(0.75))),
        inference.sgld(1e-3, control_variates=np.int8(3)),
    ):
        tree = short(line[0], kernel)
        assert isinstance(json.loads(tree.attrs["settings"])["step_size"], float)


def regression(y_length=40, observed=None):
    rng = np.random.default_rng(0)
    with pm.Model() as model:
        beta = pm.Normal("beta")
        X = pm.Data("X", rng.normal(size=40))
        y = pm.Data("y", rng.normal(size=y_length)) if observed is None else observed
        pm.Normal("obs", beta * X, 1.0, observed=y)
    return model


def in_minibatches():
    with pm.Model() as model:
        X, y = pm.Minibatch(np.arange(40.0), np.ones(40), batch_size=5)
        pm.Normal("obs", pm.Normal("beta") * X, 1.0, observed=y, total_size=40)
    return model


def discrete():
    with pm.Model() as model:
        pm.Normal("obs", pm.Poisson("k", 3.0), 1.0, observed=pm.Data("y", np.zeros(40)))
    return model


def of_the_mean():
    with pm.Model() as model:
        y = pm.Data("y", np.arange(40.0))
        pm.Normal("obs", pm.Normal("beta") * y.mean(), 1.0, observed=y)
    return model


def support():
    with pm.Model() as model:
        p = pm.Beta("p", 1.0, 1.0)
        pm.Bernoulli("label", p, observed=pm.Data("y", np.arange(40) % 3))
    return model


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (lambda: regression(39), (ValueError, TypeError), "40.*39|39.*40"),
        (lambda: regression(observed=np.zeros(40)), ValueError, "rows"),
        (in_minibatches, ValueError, "already has pm.Minibatch data.*batch_size=5"),
        (discrete, TypeError, "discrete free variables, got k"),
        (of_the_mean, ValueError, "must be a sum over the rows"),
        (support, ValueError, "13 of 40 rows of observed variable label .* the first is row 2"),
        (lambda: np.zeros(3), TypeError, "model must be a pymc.Model, got ndarray"),
    ],
    ids=["lengths", "constants", "minibatch", "discrete", "mean", "support", "none"],
)
def test_models_that_cannot_be_sampled(model, error, message):
    with pytest.raises(error, match=message):
        short(model(), batch_size=5)


def test_one_chain_warns(line):
    with pytest.warns(UserWarning, match="R-hat between chains needs chains > 1"):
        short(line[0], chains=1)
