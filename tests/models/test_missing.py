"""Missing inputs of every kind are refused, by builders and predictors, with what to do."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray as xr

from bnnbook import models, predict

RNG = np.random.default_rng(3)
N = 20
GAP = np.isin(np.arange(N), [4, 9])
FRAME = pd.DataFrame(
    {
        "age": RNG.normal(40, 10, N),
        "city": np.array(["Rome", "Oslo", "Bern"])[np.arange(N) % 3],
        "zone": np.arange(N) % 4,
        "size": RNG.normal(size=N),
        "old": np.arange(N) % 2 == 0,
    }
)
Y = RNG.normal(size=N)
DIMS = {"city": 2, "zone": 1, "old": 1}
NUMBERS = "fill missing numbers in first, as sklearn.impute.SimpleImputer does"
LEVEL = "give missing categories a level of their own, 'missing' or -1"


def build(X):
    return models.mlp_regression(X, Y, (2,), category_dims=DIMS)


@pytest.fixture(scope="module")
def predicts():
    model = build(FRAME)
    shapes = model.eval_rv_shapes()
    draw = {
        rv.name: (("chain", "draw", *model.named_vars_to_dims.get(rv.name, ())),
                  np.ones((1, 1, *shapes[rv.name])))
        for rv in model.free_RVs
    }  # fmt: skip
    posterior = xr.Dataset(draw)
    predictor = predict.compile_predictor(model, "mu")
    return lambda X: predictor(posterior, X)["mu"]


def pandas_gap(column, dtype=None):
    values = FRAME[column] if dtype is None else FRAME[column].astype(dtype)
    return FRAME.assign(**{column: values.mask(GAP)})


def polars_gap(column, value=None, dtype=None):
    made = pl.when(pl.Series(GAP)).then(pl.lit(value)).otherwise(pl.col(column))
    made = made if dtype is None else made.cast(dtype)
    return pl.from_pandas(FRAME).with_columns(made.alias(column))


def python_gap(column, value):
    values = [value if gap else v for gap, v in zip(GAP, FRAME[column].tolist(), strict=True)]
    return FRAME.assign(**{column: np.array(values, dtype=object)})


@pytest.mark.parametrize(
    ("frame", "columns", "remedies"),
    [
        (pandas_gap("age"), ["age"], [NUMBERS]),
        (pandas_gap("age", "Float64"), ["age"], [NUMBERS]),
        (pandas_gap("age", "float64[pyarrow]"), ["age"], [NUMBERS]),
        (python_gap("age", None), ["age"], [NUMBERS]),
        (python_gap("age", pd.NA), ["age"], [NUMBERS]),
        (polars_gap("age"), ["age"], [NUMBERS]),
        (polars_gap("age", np.nan), ["age"], [NUMBERS]),
        (pandas_gap("city"), ["city"], [LEVEL]),
        (pandas_gap("city", "string"), ["city"], [LEVEL]),
        (pandas_gap("city", "category"), ["city"], [LEVEL]),
        (python_gap("city", None), ["city"], [LEVEL]),
        (python_gap("city", np.nan), ["city"], [LEVEL]),
        (pandas_gap("zone", float), ["zone"], [LEVEL]),
        (pandas_gap("zone", "Int64"), ["zone"], [LEVEL]),
        (pandas_gap("old", "boolean"), ["old"], [LEVEL]),
        (polars_gap("city"), ["city"], [LEVEL]),
        (polars_gap("city", dtype=pl.Categorical), ["city"], [LEVEL]),
        (polars_gap("zone"), ["zone"], [LEVEL]),
        (
            pandas_gap("age").assign(city=pandas_gap("city").city, size=pandas_gap("size")["size"]),
            ["age", "city", "size"],
            [NUMBERS, LEVEL],
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) and value[0] in FRAME else "",
)
def test_missing_inputs_are_refused(frame, columns, remedies, predicts):
    for use in (build, predicts):
        with pytest.raises(ValueError, match=r"^X must be complete, got missing values: ") as told:
            use(frame)
        said = str(told.value)
        listed = ", ".join(f"2 of {N} rows of column {c!r} (first in row 4)" for c in columns)
        assert f"values: {listed}; " in said
        assert [text in said for text in (NUMBERS, LEVEL)] == [
            text in remedies for text in (NUMBERS, LEVEL)
        ]
        assert said.endswith("; or leave those rows or columns out")


def test_the_remedies_help(predicts):
    """A level of their own, and indicator columns, are taken; unknown in the fit, they say so."""
    frame = pandas_gap("city").assign(age=pandas_gap("age").age, zone=FRAME.zone.mask(GAP, -1))
    filled = frame.assign(
        city=frame.city.fillna("missing"),
        age=frame.age.fillna(frame.age.mean()),
        age_missing=frame.age.isna(),
    )
    model = build(filled)
    assert model.coords["city_level"] == ("Bern", "Oslo", "Rome", "missing")
    assert model.coords["zone_level"] == (-1, 0, 1, 2, 3)
    np.testing.assert_array_equal(model["X"].get_value()[:, 2], GAP)
    with pytest.warns(UserWarning, match="have a category in column") as told:
        predicts(filled.drop(columns="age_missing"))
    said = sorted(str(w.message).partition(" that")[0] for w in told)
    new = f"{GAP.sum()} of {N} rows have a category in column"
    assert said == [f"{new} 'city'", f"{new} 'zone'"]
