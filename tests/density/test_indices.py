"""What indexes something is in its range before compiled code, which would clamp it, runs."""

import jax
import numpy as np
import pymc as pm
import pytensor
import pytest

from bnnbook import inference, predict
from bnnbook.density import check_indices

LEVELS = np.arange(12) % 3
QUIET = {"progressbar": False}


def build(index, *, lookup):
    with pm.Model(coords={"level": range(3)}) as model:
        i = pm.Data("i", index)
        pm.Normal("obs", lookup(i), 0.5, observed=pm.Data("y", np.zeros(len(index))))
    return model


def intercepts(i):
    return pm.Normal("a", 0, 5, dims="level")[i]


def from_one(i):
    return pm.Normal("a", 0, 5, shape=3)[i - 1]


def second_axis(i):
    return pm.Normal("a", 0, 5, shape=(2, 3))[1, i]


def table(i):
    return pm.Normal("a") * pm.math.constant(np.array([1.0, 2.0, 3.0]))[i]


@pytest.mark.parametrize(
    ("lookup", "index", "message"),
    [
        (intercepts, LEVELS + 1, r"i must index axis 0 of a of length 3 .* 0 to 2, got 3 in row 2"),
        (intercepts, LEVELS - 1, r"got -1 in row 0"),
        (from_one, LEVELS, r"got -1, computed from 0, in row 0"),
        (from_one, LEVELS + 2, r"got 3, computed from 4, in row 2"),
        (second_axis, LEVELS + 9, r"i must index axis 1 of a of length 3 .* got 9 in row 0"),
        (table, LEVELS * 2, r"i must index an axis of length 3 .* got 4 in row 2"),
    ],
)
def test_an_index_out_of_range_is_named(lookup, index, message):
    density = inference.compile_log_density(build(index, lookup=lookup))
    with pytest.raises(ValueError, match=message):
        check_indices(density)


def test_samplers_look_before_they_start():
    with pytest.raises(ValueError, match="i must index axis 0 of a of length 3"):
        inference.sample_nuts(
            build(LEVELS + 1, lookup=intercepts), draws=5, tune=5, chains=2, seed=1, **QUIET
        )


@pytest.mark.parametrize(
    ("lookup", "index"),
    [(intercepts, LEVELS), (from_one, LEVELS + 1), (second_axis, LEVELS), (table, LEVELS)],
)
def test_an_index_in_range_is_taken(lookup, index):
    density = inference.compile_log_density(build(index, lookup=lookup))
    check_indices(density)


def test_integers_that_pymc_has_wrapped_are_refused():
    """65537 is 1 in a container of floatX="float32", which holds int16."""
    with pytensor.config.change_flags(floatX="float32"):
        wrapped = build(np.array([0, 65537]), lookup=lambda i: pm.Normal("a", shape=70_000)[i])
        assert wrapped["i"].get_value().tolist() == [0, 1]
    message = r'i must be able to hold every index of axis 0 of a, of length 70000, got int16.*"fl'
    with pytest.raises(ValueError, match=message):
        check_indices(inference.compile_log_density(wrapped))
    large = build(np.array([0, 65537]), lookup=lambda i: pm.Normal("a", shape=70_000)[i])
    check_indices(inference.compile_log_density(large))


@pytest.mark.parametrize("floatX", ["float32", "float64"])
def test_large_integers_are_indices_or_refused(floatX):
    """Row numbers above 2**24, at which single precision drops units."""
    with pytensor.config.change_flags(floatX=floatX):
        ids = 2**24 + np.arange(3)
        model = build(ids, lookup=lambda i: pm.Normal("a", 0, 5, shape=3)[i - 2**24])
    density = inference.compile_log_density(model)
    if floatX == "float32":  # PyMC has made 0, 1, 2 of them
        with pytest.raises(ValueError, match="got -16777216, computed from 0, in row 0"):
            check_indices(density)
        return
    check_indices(density)
    for x64 in (True, False):
        with jax.enable_x64(x64):
            fit = inference.fit_map(model, max_steps=50, seed=0, **QUIET)
            np.testing.assert_allclose(fit["posterior"]["a"], 0, atol=1e-4)
            new = predict.compile_predictor(with_rows(model), "row", dtype="float32")
            rows = new(fit, ids[::-1])["row"]
            np.testing.assert_array_equal(rows[0, 0], fit["posterior"]["a"][0, 0][::-1].astype("f"))


def with_rows(model):
    with pm.Model(coords={"obs_id": range(3)}) as other:
        i = pm.Data("i", model["i"].get_value(), dims="obs_id")
        pm.Deterministic("row", pm.Normal("a", 0, 5, shape=3)[i - 2**24], dims="obs_id")
        pm.Normal("obs", other["row"], 0.5, observed=np.zeros(3), dims="obs_id")
    return other
