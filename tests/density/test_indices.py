"""What indexes something is in its range before compiled code, which would clamp it, runs."""

import numpy as np
import pymc as pm
import pytest

from bnnbook import inference
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
