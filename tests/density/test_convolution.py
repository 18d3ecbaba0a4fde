"""Convolutions as products: the values and gradients of XLA's own, in every layout."""

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import pytest
from jax import lax
from pytensor import wrap_jax

from bnnbook.density.convolution import convolutions_as_products
from bnnbook.inference import compile_log_density

LAYOUTS = {
    "strides and uneven padding": (
        (2, 3, 9, 8), (4, 3, 3, 2), {"window_strides": (1, 2), "padding": ((1, 0), (2, 1))}
    ),
    "two groups, dilated": (
        (2, 4, 9, 8), (6, 2, 3, 3),
        {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 2,
         "rhs_dilation": (2, 1)},
    ),
    "depthwise": (
        (2, 5, 9, 8), (5, 1, 3, 3),
        {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 5},
    ),
    "sequences": ((2, 4, 9), (6, 4, 3), {"window_strides": (2,), "padding": "VALID"}),
    "channels last": (
        (2, 7, 6, 3), (3, 3, 3, 5),
        {"window_strides": (1, 1), "padding": "SAME",
         "dimension_numbers": ("NHWC", "HWIO", "NHWC")},
    ),
    "input dilated: left as it is": (
        (2, 3, 5, 5), (4, 3, 2, 2),
        {"window_strides": (1, 1), "padding": ((0, 0), (0, 0)), "lhs_dilation": (2, 2)},
    ),
}  # fmt: skip


def primitives(function, *args):
    """Names of all primitives in a traced function, loops included."""

    def names(jaxpr):
        for eqn in jaxpr.eqns:
            yield eqn.primitive.name
            for inner in jax.extend.core.jaxprs_in_params(eqn.params):
                yield from names(inner)

    return set(names(jax.make_jaxpr(function)(*args).jaxpr))


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("layout", LAYOUTS)
def test_same_values_and_gradients(layout):
    images, weights, options = LAYOUTS[layout]
    rng = np.random.default_rng(0)
    x, w = jnp.asarray(rng.normal(size=images)), jnp.asarray(rng.normal(size=weights))

    def conv(x, w):
        return lax.conv_general_dilated(x, w, **options)

    product = convolutions_as_products(conv)
    assert np.allclose(product(x, w), conv(x, w), rtol=1e-12, atol=1e-12)
    gradients = [jax.grad(lambda x, w, f=f: (f(x, w) ** 2).sum(), (0, 1))(x, w)
                 for f in (conv, product)]  # fmt: skip
    for expected, got in zip(*gradients, strict=True):
        assert np.allclose(got, expected, rtol=1e-11, atol=1e-11)
    left = "conv_general_dilated" in primitives(product, x, w)
    assert left == ("left as it is" in layout)


def test_convolutions_inside_loops_branches_and_activations():
    rng = np.random.default_rng(0)
    x, w = jnp.asarray(rng.normal(size=(2, 3, 6, 6))), jnp.asarray(rng.normal(size=(3, 3, 3, 3)))

    def layer(x, w):
        return lax.conv_general_dilated(x, w, (1, 1), "SAME")

    def network(x, w):
        x = jax.nn.relu(jax.jit(layer)(x, w))
        x = lax.cond(x.sum() > 0, layer, lambda x, _: x, x, w)
        return lax.scan(lambda c, _: (jnp.tanh(layer(c, w)), None), x, None, length=3)[0]

    product = convolutions_as_products(network)
    assert np.allclose(product(x, w), network(x, w), atol=1e-12)
    assert np.allclose(*(jax.grad(lambda w, f=f: f(x, w).sum())(w) for f in (network, product)))
    assert "conv_general_dilated" in primitives(network, x, w)
    assert "conv_general_dilated" not in primitives(product, x, w)


def test_functions_without_convolution_are_not_traced_anew():
    def function(x):
        return {"y": jnp.sin(x), "n": 3}

    assert convolutions_as_products(function)(jnp.ones(2))["n"] == 3


def test_a_models_wrapped_convolution_is_rewritten():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(5, 1, 6, 6))

    @wrap_jax
    def network(x, w):
        return lax.conv_general_dilated(x, w, (1, 1), "VALID").sum(axis=(1, 2, 3))

    with pm.Model() as model:
        w = pm.Normal("w", 0, 1, shape=(2, 1, 3, 3))
        pm.Normal("obs", network(images, w), 1, observed=rng.normal(size=5))
    density = compile_log_density(model)
    theta, data = jnp.asarray(rng.normal(size=density.size)), tuple(map(jnp.asarray, density.data))

    def joint(theta):
        return density.log_prior(theta, data) + density.log_likelihood(theta, data)

    names = primitives(jax.value_and_grad(joint), theta)
    assert "conv_general_dilated" not in names
    point = {"w": np.asarray(theta).reshape(2, 1, 3, 3)}
    assert float(joint(theta)) == pytest.approx(float(model.compile_logp()(point)), rel=1e-10)
