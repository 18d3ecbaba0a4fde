"""A model that is built again predicts as the one that was fitted, or is refused."""

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr

from bnnbook import inference, models, predict
from bnnbook.density.record import output_fingerprints

RNG = np.random.default_rng(4)
X = 3.0 + 2.0 * RNG.normal(size=(30, 2))
Y = 100 + 10 * X @ [1.0, 2.0] + RNG.normal(size=30)
NEW = 3.0 + RNG.normal(size=(6, 2))
OPTIONS = {"hidden": (2,), "heteroskedastic": False}


def regression(X, y, **options):
    return models.mlp_regression(X, y, **OPTIONS | options)


@pytest.fixture(scope="module")
def fit():
    return inference.fit_map(regression(X, Y), seed=1, max_steps=30, n_starts=2, progressbar=False)


@pytest.fixture(scope="module")
def right(fit):
    return predict.compile_predictor(regression(X, Y), "mu")(fit, NEW)["mu"]


def without_attributes(fit):
    posterior = fit["posterior"].to_dataset()
    groups = {"posterior": posterior.drop_attrs(), "constant_data": fit["constant_data"]}
    return xr.DataTree.from_dict(groups)


@pytest.mark.parametrize(
    "form",
    [
        lambda fit: fit,
        lambda fit: fit["posterior"],
        lambda fit: fit["posterior"].to_dataset(),
        lambda fit: fit["posterior"].to_dataset().isel(draw=slice(None)),
        lambda fit: az.extract(fit, combined=False),
        without_attributes,
        lambda fit: without_attributes(fit)["posterior"],
    ],
    ids=["tree", "node", "dataset", "sliced", "extract", "as of pm.sample", "node of pm.sample"],
)
@pytest.mark.parametrize("y", [np.arange(8.0), 1e5 - 3e4 * Y[:8]], ids=["placeholder", "scaled"])
def test_centre_and_spread_are_those_of_the_fit(fit, right, form, y):
    rebuilt = regression(7.0 - 40 * X[:8], y)
    found = predict.compile_predictor(rebuilt, "mu")(form(fit), NEW)["mu"]
    np.testing.assert_allclose(found.to_numpy(), right.to_numpy(), rtol=1e-12)


def test_read_from_a_file(fit, right, tmp_path):
    fit.to_netcdf(tmp_path / "fit.nc", engine="netcdf4")
    with xr.open_datatree(tmp_path / "fit.nc", engine="netcdf4") as read:
        found = predict.compile_predictor(regression(-X, Y**2), "mu")(read, NEW)["mu"]
    np.testing.assert_allclose(found.to_numpy(), right.to_numpy(), rtol=1e-12)


def test_means_over_draws_hold_it_too(fit):
    mean = fit["posterior"].to_dataset().mean(("chain", "draw"))
    a, b = (
        predict.compile_predictor(m, "mu")(mean, NEW)["mu"]
        for m in (regression(X, Y), regression(X - 50, -Y))
    )
    assert a.dims == ("obs",)
    np.testing.assert_allclose(a, b, rtol=1e-12)


def test_draws_alone_take_the_model_as_it_is(fit, right):
    alone = {name: value.to_numpy() for name, value in fit["posterior"].data_vars.items()}
    found = predict.compile_predictor(regression(X, Y), "mu")(alone, NEW)["mu"]
    np.testing.assert_allclose(found, right, rtol=1e-12)
    other = predict.compile_predictor(regression(X, 2 * Y), "mu")(alone, NEW)["mu"]
    np.testing.assert_allclose(other, 2 * right, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "relu"}, "must compute mu as the one that was fitted"),
        ({"standardise_inputs": False}, "must compute mu as the one that was fitted"),
        ({"hidden": (3,)}, r"hidden_1 in posterior variable .* must be \[0, 1, 2\], got \[0, 1\]"),
        ({"bias": False}, "must compute mu as the one that was fitted"),
    ],
)
def test_another_model_is_refused(fit, options, message):
    predictor = predict.compile_predictor(regression(X, Y, **options), "mu")
    with pytest.raises(ValueError, match=message):
        predictor(fit, NEW)


@pytest.mark.parametrize("how", [lambda fit: fit, lambda fit: fit["posterior"].to_dataset()])
def test_rows_that_predictions_depend_on_are_those_of_the_fit(how):
    """With the output layer integrated out, its weights follow from the training rows."""
    model = regression(X, Y, marginal_output=True)
    fit = inference.fit_map(model, seed=1, max_steps=30, progressbar=False)
    right = predict.compile_predictor(model, "mu")(fit, NEW)["mu"]
    rebuilt = regression(X[::-1] - 3, Y**2, marginal_output=True)
    found = predict.compile_predictor(rebuilt, "mu")(how(fit), NEW)["mu"]
    np.testing.assert_allclose(found, right, rtol=1e-12)
    fewer = predict.compile_predictor(regression(X[:8], Y[:8], marginal_output=True), "mu")
    with pytest.raises(ValueError, match="the fit's labels of fitted_id must be"):
        fewer(how(fit), NEW)


def test_data_inside_the_graph_are_compared():
    def model(scale):
        with pm.Model() as model:
            x = pm.Data("x", X[:, 0])
            pm.Deterministic("mu", pm.Normal("a") * x @ pm.math.stack([scale] * len(X)))
        return output_fingerprints(model)["mu"]

    a, b, c = (model(scale) for scale in (1.0, 2.0, 1.0))
    assert a == c != b


def test_fingerprints_tell_graphs_apart_and_not_data():
    def of(build, rows=4):
        with pm.Model() as model:
            x = pm.Data("x", RNG.normal(size=rows))
            pm.Deterministic("mu", build(pm.Normal("a"), pm.Normal("b"), x))
        return output_fingerprints(model)["mu"]

    builds = [
        lambda a, b, x: a * x + b,
        lambda a, b, x: b * x + a,
        lambda a, b, x: a * x - b,
        lambda a, b, x: 2.0 * a * x + b,
        lambda a, b, x: 3.0 * a * x + b,
        lambda a, b, x: a * x.cumsum() + b,
        lambda a, b, x: a * x[::-1] + b,
        lambda a, b, x: a * x + pm.math.tanh(b),
        lambda a, b, x: a * x + pm.math.sin(b),
    ]
    prints = [of(build) for build in builds]
    assert None not in prints
    assert len(set(prints)) == len(builds)
    assert [of(build, rows=9) for build in builds] == prints


def test_classes_in_another_order_are_refused():
    words = np.where(Y.mean() < Y, "yes", "no")
    fitted = models.mlp_classifier(X, words, (2,))
    fit = inference.fit_map(fitted, seed=0, max_steps=5, progressbar=False)
    p = predict.compile_predictor(models.mlp_classifier(X + 9, words[::-1], (2,)), "p")(fit, NEW)
    assert p["p"].shape == (1, 1, 6)
    other = pd.Series(pd.Categorical(words, ["yes", "no"]))
    for labels, message in (
        (other, r"in the order of the fit, \['no', 'yes'\], got \['yes', 'no'\]"),
        (np.where(words == "no", "a", "b"), r"labels of class must be \['a', 'b'\], got"),
    ):
        predictor = predict.compile_predictor(models.mlp_classifier(X, labels, (2,)), "p")
        with pytest.raises(ValueError, match=message):
            predictor(fit, NEW)


def knots(values, level):
    with pm.Model() as model:
        x = pm.Data("x", X[:, 0], dims="obs_id")
        at = pm.Data("at", values)
        code = pm.Data("code", level)
        w, a = pm.Normal("w", shape=3), pm.Normal("a", shape=3)
        basis = pm.math.exp(-((x[:, None] - at) ** 2))
        pm.Deterministic("mu", basis @ w + a[code].sum(), dims="obs_id")
        pm.Normal("obs", model["mu"], 1.0, observed=Y, dims="obs_id")
    return model


def test_other_data_of_any_model():
    first = knots(np.array([1.0, 3.0, 5.0]), np.array([0, 2]))
    fit = inference.fit_map(first, seed=0, max_steps=5, progressbar=False)
    predictor = predict.compile_predictor(first, "mu")
    right = predictor(fit, NEW[:, 0])["mu"]
    moved = knots(np.array([0.0, 1.0, 2.0]), np.array([0, 2]))
    again = predict.compile_predictor(moved, "mu")(fit, NEW[:, 0])["mu"]
    np.testing.assert_allclose(again, right, rtol=1e-12)
    other = predict.compile_predictor(knots(np.arange(3.0), np.array([0, 1])), "mu")
    with pytest.raises(ValueError, match=r"model's code is not that of the fit, 1 instead of 2 at"):
        other(fit, NEW[:, 0])
    w, a = (fit["posterior"][name].to_numpy()[0, 0] for name in ("w", "a"))
    given = predictor(fit, {"x": NEW[:, 0], "at": np.arange(3.0)})["mu"]
    expected = np.exp(-((NEW[:, :1] - np.arange(3.0)) ** 2)) @ w + a[0] + a[2]
    np.testing.assert_allclose(given[0, 0], expected, rtol=1e-9)


def network(act, *, scale=1.0, widths=(2, 3), jit=False):
    """One hidden layer; ``scale`` is a constant inside."""
    table = np.full(widths[1], scale)

    def hidden(h):
        return act(h) * table

    inner = jax.jit(hidden) if jit else hidden
    start = {"w": jnp.zeros(widths), "v": jnp.zeros(widths[1])}
    return models.from_module(
        (lambda p, x: inner(x @ p["w"]) @ p["v"], start), X, Y, likelihood="normal"
    )


@pytest.mark.parametrize(
    "other",
    [
        {"act": jnp.tanh},
        {"act": jax.nn.softplus},
        {"act": jax.nn.relu, "scale": 1.0 + 1e-12},
        {"act": jax.nn.relu, "scale": 2.0, "jit": True},
    ],
    ids=["tanh", "softplus", "constant", "constant of an inner function"],
)
def test_another_module_of_the_same_shapes_is_refused(other):
    fitted = network(jax.nn.relu, jit=other.get("jit", False))
    fit = inference.fit_map(fitted, seed=0, max_steps=5, progressbar=False)
    again = network(jax.nn.relu, jit=other.get("jit", False))
    right = predict.compile_predictor(fitted, "mu")(fit, NEW)["mu"]
    found = predict.compile_predictor(again, "mu")(fit, NEW)["mu"]
    np.testing.assert_array_equal(found, right)
    with pytest.raises(ValueError, match="must compute mu as the one that was fitted"):
        predict.compile_predictor(network(**other), "mu")(fit, NEW)


def test_python_code_in_a_module_is_not_compared():
    def by_numpy(h):
        shape = jax.ShapeDtypeStruct(h.shape, h.dtype)
        return jax.pure_callback(np.tanh, shape, h, vmap_method="expand_dims")

    assert output_fingerprints(network(by_numpy))["mu"] is None
    assert output_fingerprints(network(jnp.tanh))["mu"] is not None
