"""What depends on the data alone is computed once, and the function is the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import pytest
from pytensor.graph.basic import equal_computations

from bnnbook import inference, models
from bnnbook.density import compiled
from bnnbook.density.compiled import MOST, compiled_once
from bnnbook.density.given_data import given_data

RNG = np.random.default_rng(0)


def two_models():
    X = RNG.normal(size=(30, 3))
    yield models.mlp_classifier(X, np.arange(30) % 2, (4,))
    with pm.Model() as model:  # indexing, a matrix product with itself, softplus, a potential
        x = pm.Data("x", X)
        group = pm.Data("group", np.arange(30) % 5)
        w = pm.Normal("w", shape=(3,))
        a = pm.Normal("a", shape=(5,))
        sd = pm.HalfNormal("sd")
        pm.Potential("tie", -0.1 * (x.T @ x @ w).sum() ** 2)
        pm.Normal("obs", x @ w + a[group], sd, observed=pm.Data("y", RNG.normal(size=30)))
    yield model


@pytest.mark.parametrize("model", list(two_models()), ids=["network", "groups"])
def test_value_and_gradient_are_those_of_the_function(model):
    density = inference.compile_log_density(model)
    data = tuple(map(jnp.asarray, density.data))
    theta = jnp.asarray(RNG.normal(size=density.size))

    def log_density(theta, data):
        return density.log_prior(theta, data) + density.log_likelihood(theta, data)

    @jax.jit
    def here(theta, data):
        return jax.value_and_grad(given_data(log_density, theta, data))(theta)

    value, gradient = jax.value_and_grad(log_density)(theta, data)
    np.testing.assert_allclose(here(theta, data)[0], value, rtol=1e-12)
    np.testing.assert_allclose(here(theta, data)[1], gradient, rtol=1e-10)
    other = tuple(a + 0.5 if a.dtype.kind == "f" else a for a in data)
    expected = log_density(theta, other)
    assert abs(expected - value) > 0.1
    np.testing.assert_allclose(here(theta, other)[0], expected, rtol=1e-12)  # not the first data


def test_work_on_the_data_stays_out_of_the_loop():
    def f(theta, data):
        return (jnp.tanh(data[0].T) @ theta).sum()

    def loop(theta, data, target):
        step = target(theta, data)
        return jax.lax.fori_loop(0, 3, lambda _, t: t + jax.grad(step)(t), theta)

    theta, data = jnp.ones(4), (jnp.ones((4, 4)),)

    def outside(target):
        operations = jax.make_jaxpr(lambda t, d: loop(t, d, target))(theta, data).jaxpr.eqns
        return "tanh" in [str(operation.primitive) for operation in operations]

    assert outside(lambda theta, data: given_data(f, theta, data))
    assert not outside(lambda _, data: lambda theta: f(theta, data))


def test_what_grows_is_left_where_it_is():
    def f(theta, data):
        return (jnp.broadcast_to(data[0], (1000, 1000)) * theta).sum()

    shown = []

    @jax.jit
    def here(theta, data):
        target = given_data(f, theta, data)
        cells = [cell.cell_contents for cell in target.__closure__]
        known = next(cell for cell in cells if isinstance(cell, dict))
        shown.extend(value.size for value in known.values())
        return target(theta)

    assert float(here(jnp.asarray(2.0), (jnp.asarray(3.0),))) == 6e6
    assert max(shown) == 1


def test_compiled_code_is_kept_by_its_key():
    made = []

    def make(n):
        made.append(n)
        return n

    assert compiled_once(("a", 1), lambda: make(1)) == 1
    assert compiled_once(("a", 1), lambda: make(2)) == 1
    assert compiled_once(("a", 2), lambda: make(3)) == 3
    for i in range(MOST - 1):
        compiled_once(("b", i), lambda: 0)
    assert compiled_once(("a", 2), lambda: make(4)) == 3  # used last, so still there
    assert compiled_once(("a", 1), lambda: make(5)) == 5  # went first
    assert made == [1, 3, 5]


def test_graphs_that_compute_the_same_are_compared_once(monkeypatch):
    compared = []

    def count(*arguments):
        compared.append(arguments)
        return equal_computations(*arguments)

    monkeypatch.setattr(compiled, "equal_computations", count)
    X = RNG.normal(size=(20, 2))
    first, second = (
        inference.compile_log_density(models.mlp_classifier(X, np.arange(20) % 2, (3,))).key
        for _ in range(2)
    )
    other = inference.compile_log_density(models.mlp_classifier(X, np.arange(20) % 2, (4,))).key
    kept = {first: "kept"}
    assert [kept[second] for _ in range(5)] == ["kept"] * 5
    assert first != other
    assert second != other
    before = len(compared)
    assert first == second
    assert second == first
    assert len(compared) == before
    assert before <= 3
