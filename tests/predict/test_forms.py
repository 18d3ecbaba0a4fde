"""Draws and inputs in the forms and orders in which people hold them."""

import arviz as az
import numpy as np
import pandas as pd
import polars as pl
import pymc as pm
import pytest
import xarray as xr

from bnnbook import models, predict

RNG = np.random.default_rng(6)
FRAME = pd.DataFrame({"dose": RNG.normal(size=20), "age": RNG.integers(20, 80, 20)})
Y = np.arange(20) % 2


@pytest.fixture(scope="module")
def network():
    """Square weights, so that an axis in the wrong place would go unnoticed."""
    model = models.mlp_classifier(FRAME, Y, (3, 3))
    sizes = {"w1": (2, 3), "w2": (3, 3), "w_out": (3,)}
    draws = xr.Dataset(
        {
            name: (("chain", "draw", *model.named_vars_to_dims[name]), RNG.normal(size=(2, 4, *s)))
            for name, s in sizes.items()
        },
        coords={"feature": ["dose", "age"], "hidden_1": range(3), "hidden_2": range(3)},
    ).assign_coords(chain=[0, 1], draw=range(4))
    predictor = predict.compile_predictor(model, "p")
    w1, w2, w_out = (draws[name].to_numpy() for name in sizes)
    h = np.tanh(np.tanh(FRAME.to_numpy() @ w1) @ w2)
    right = 1 / (1 + np.exp(-(h @ w_out[..., None])[..., 0]))
    np.testing.assert_allclose(predictor(draws, FRAME)["p"], right, atol=1e-12)
    return predictor, draws, xr.DataArray(right, dims=("chain", "draw", "obs"))


@pytest.mark.parametrize(
    ("change", "dims", "pick"),
    [
        (lambda d: d.transpose(..., "draw", "chain"), ("chain", "draw", "obs"), lambda r: r),
        (
            lambda d: d.assign(w2=d.w2.transpose("hidden_2", "draw", "hidden_1", "chain")),
            ("chain", "draw", "obs"),
            lambda r: r,
        ),
        (lambda d: d.isel(feature=[1, 0], hidden_1=[2, 0, 1]), ("chain", "draw", "obs"), None),
        (lambda d: d.isel(draw=3), ("chain", "obs"), lambda r: r.isel(draw=3)),
        (lambda d: d.sel(chain=1), ("draw", "obs"), lambda r: r.isel(chain=1)),
        (lambda d: d.isel(chain=0, draw=2), ("obs",), lambda r: r.isel(chain=0, draw=2)),
        (
            lambda d: d.isel(draw=slice(None, None, 2)),
            ("chain", "draw", "obs"),
            lambda r: r[:, ::2],
        ),
        (
            lambda d: d.rename(draw="step").expand_dims(fold=2),
            ("chain", "step", "fold", "obs"),
            lambda r: r.rename(draw="step").expand_dims(fold=2, axis=2),
        ),
        (lambda d: xr.DataTree.from_dict({"posterior": d}), ("chain", "draw", "obs"), lambda r: r),
        (lambda d: xr.DataTree(d), ("chain", "draw", "obs"), lambda r: r),
        (
            lambda d: {name: value.to_numpy() for name, value in d.data_vars.items()},
            ("chain", "draw", "obs"),
            lambda r: r,
        ),
        (lambda d: dict(d.data_vars), ("chain", "draw", "obs"), lambda r: r),
    ],
)
def test_any_sample_dims_and_any_order(network, change, dims, pick):
    predictor, draws, right = network
    found = predictor(change(draws), FRAME)["p"]
    assert set(found.dims) == set(dims)
    assert found.dims[-1] == "obs"
    wanted = right if pick is None else pick(right)
    np.testing.assert_allclose(found.transpose(*wanted.dims), wanted, atol=1e-12)


def test_the_mean_and_the_sample_axis_of_arviz(network):
    predictor, draws, right = network
    tree = xr.DataTree.from_dict({"posterior": draws})
    flat = predictor(az.extract(tree), FRAME)["p"]
    assert flat.dims == ("sample", "obs")
    np.testing.assert_allclose(flat.unstack("sample").transpose(*right.dims), right, atol=1e-12)
    some = az.extract(tree, num_samples=3, random_seed=0)
    assert predictor(some, FRAME)["p"].sizes == {"sample": 3, "obs": 20}
    mean = draws.mean(("chain", "draw"))
    point = predictor(mean, FRAME)["p"]
    h = np.tanh(np.tanh(FRAME.to_numpy() @ mean.w1.to_numpy()) @ mean.w2.to_numpy())
    np.testing.assert_allclose(point, 1 / (1 + np.exp(-h @ mean.w_out.to_numpy())), atol=1e-12)
    reduced = predictor(az.extract(tree), FRAME, reduce="mean")["p"]
    np.testing.assert_allclose(reduced, right.mean(("chain", "draw")), atol=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda d: d.assign_coords(feature=["dose", "weight"]),
            ValueError,
            r"labels of feature .* must be \['dose', 'age'\], .*missing \['age'\]; not known",
        ),
        (lambda d: d.isel(hidden_1=[0, 1]), ValueError, r"missing \[2\]"),
        (lambda d: d.rename(hidden_2="unit"), ValueError, "w2 must have the dims"),
        (lambda d: d.drop_vars("w2"), ValueError, "posterior lacks w2; it has w1, w_out"),
        (lambda d: xr.DataTree.from_dict({"prior": d}), ValueError, r"got \['prior'\]"),
        (lambda d: d.astype(str), TypeError, "must be real numbers"),
        (lambda d: [d], TypeError, "must be a DataTree, a Dataset or a mapping"),
        (lambda _: {"w1": 1.0, "w2": 1.0, "w_out": 1.0}, ValueError, "axes .chain, draw"),
    ],
)
def test_other_draws_are_refused(network, change, error, message):
    predictor, draws, _ = network
    with pytest.raises(error, match=message):
        predictor(change(draws), FRAME)


@pytest.mark.parametrize(
    "frame",
    [
        FRAME[["age", "dose"]],
        FRAME.convert_dtypes()[["age", "dose"]],
        FRAME.astype(object),
        pl.from_pandas(FRAME).select("age", "dose"),
        FRAME.to_numpy(),
        FRAME.to_numpy().tolist(),
        xr.DataArray(
            FRAME.to_numpy().T[::-1], dims=("feature", "row"), coords={"feature": ["age", "dose"]}
        ),
    ],
)
def test_columns_are_put_into_the_model_order(network, frame):
    predictor, draws, right = network
    np.testing.assert_allclose(predictor(draws, frame)["p"], right, atol=1e-12)


MISSING = FRAME.convert_dtypes()
MISSING.loc[4, "age"] = pd.NA


@pytest.mark.parametrize(
    ("frame", "error", "message"),
    [
        (FRAME[["dose"]], ValueError, r"columns of X must be \['dose', 'age'\].*missing \['age'\]"),
        (FRAME.assign(sex=1.0), ValueError, r"not known \['sex'\]"),
        (FRAME.rename(columns={"age": "Age"}), ValueError, r"missing \['age'\]; not known \['Age'"),
        (FRAME.rename(columns={"age": 1, "dose": 0}), ValueError, "columns of X must be"),
        (MISSING, ValueError, r"rows of column 'age' \(first in row 4\); fill missing numbers in"),
        (FRAME.assign(age="old"), TypeError, "column 'age'"),
        (FRAME.iloc[0], ValueError, r"shape \(n, 2\), got \(2,\); one row is"),
        (FRAME.assign(dose=np.inf), ValueError, "got inf in row 0, column 'dose'"),
        (FRAME.assign(age=2**53 + 1), ValueError, "float64 can hold, got 9007199254740993"),
        (FRAME.astype(object).assign(age=[2**53 + 1] * 20), ValueError, "float64 can hold"),
    ],
)
def test_other_columns_are_refused(network, frame, error, message):
    predictor, draws, _ = network
    with pytest.raises(error, match=message):
        predictor(draws, frame)


def test_columns_of_a_model_of_arrays():
    model = models.mlp_regression(FRAME.to_numpy(float), FRAME.dose, (), heteroskedastic=False)
    draws = {"w_out": [[[1.0, 0.0]]], "b_out": [[0.0]]}
    predictor = predict.compile_predictor(model, "mu")
    np.testing.assert_allclose(
        predictor(draws, FRAME)["mu"], predictor(draws, FRAME.to_numpy())["mu"], rtol=1e-12
    )
    turned = pd.DataFrame(FRAME.to_numpy(), columns=[1, 0])
    found = predictor(draws, turned)["mu"]
    np.testing.assert_allclose(found, predictor(draws, FRAME.to_numpy()[:, ::-1])["mu"], rtol=1e-12)


def scaled(example):
    with pm.Model() as model:
        x, w = pm.Data("x", example), pm.Normal("w")
        pm.Deterministic("mu", w * x)
        pm.Normal("obs", model["mu"], 1.0, observed=np.zeros(len(example)))
    return predict.compile_predictor(model, "mu")


@pytest.mark.parametrize(
    ("example", "good", "bad"),
    [
        (
            np.array([True, False, True]),
            [np.array([0, 1]), np.array([True]), pd.Series([True], dtype="boolean")],
            [([0.0, 1.0], "booleans"), ([2], "bool can hold, got 2"), ([-1, 0], "got -1 in row 0")],
        ),
        (
            np.arange(3, dtype=np.uint8),
            [np.array([255]), pd.Series([7, 8], dtype="Int64"), np.array([True])],
            [([0, 300], "uint8 can hold, got 300 in row 1"), ([-1], "got -1"), ([0.5], "integers")],
        ),
        # PyMC keeps integers in 32 bits where these hold them
        (np.arange(3, dtype=np.int8), [[-128, 127]], [([0, 2**31], "got 2147483648 in row 1")]),
        (
            np.arange(3),
            [[2**31 - 1], np.array([3], dtype=np.uint64)],
            [([1.0], "integers"), ([2**40], "int32 can hold")],
        ),
        (np.arange(3.0), [[2**53], [np.float16(0.5)]], [([2**53 + 1], "float64 can hold")]),
    ],
    ids=["bool", "uint8", "int8", "int64", "float64"],
)
def test_casts_keep_values_or_are_refused(example, good, bad):
    predictor = scaled(example)
    for new in good:
        found = predictor({"w": np.full((1, 1), 3.0)}, new)["mu"]
        np.testing.assert_allclose(found[0, 0], 3.0 * np.asarray(new, dtype=float), rtol=1e-7)
    for new, message in bad:
        with pytest.raises((TypeError, ValueError), match=message):
            predictor({"w": np.full((1, 1), 3.0)}, new)
