"""Tables as they come: nullable, mixed and wrong columns, labels of any kind, missing values."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest

from bnnbook import models

N = 12
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {"a": RNG.normal(size=N), "b": RNG.integers(0, 5, N), "c": np.arange(N) % 3 == 0}
)
Y = np.arange(N) % 2
WORDS = np.where(Y == 1, "yes", "no")


def classifier(X, y=Y, **options):
    return models.mlp_classifier(X, y, (2,), **options)


@pytest.mark.parametrize(
    "frame",
    [
        FRAME,
        FRAME.convert_dtypes(),
        FRAME.astype({"a": "float64[pyarrow]", "b": "int8", "c": "boolean"}),
        FRAME.astype(object),
        FRAME.assign(b=[Decimal(int(v)) for v in FRAME.b], c=[Fraction(int(v)) for v in FRAME.c]),
        pl.from_pandas(FRAME),
        pl.from_pandas(FRAME).lazy().collect().with_columns(pl.col("b").cast(pl.UInt8)),
    ],
    ids=["plain", "nullable", "arrow", "object", "Decimal and Fraction", "polars", "polars UInt8"],
)
def test_frames_of_any_number_type(frame):
    model = classifier(frame)
    np.testing.assert_array_equal(model["X"].get_value(), FRAME.to_numpy(dtype=float))
    assert model.coords["feature"] == ("a", "b", "c")


@pytest.mark.parametrize(
    ("labels", "classes", "codes"),
    [
        (WORDS, ("no", "yes"), Y),
        (WORDS.astype(object), ("no", "yes"), Y),
        (WORDS.tolist(), ("no", "yes"), Y),
        (pd.Series(WORDS), ("no", "yes"), Y),
        (pd.Series(WORDS, dtype="string"), ("no", "yes"), Y),
        (pd.Series(WORDS, dtype="category"), ("no", "yes"), Y),
        (pd.Series(pd.Categorical(WORDS, ["yes", "no"])), ("yes", "no"), 1 - Y),
        (pl.Series(WORDS), ("no", "yes"), Y),
        (pl.Series(WORDS, dtype=pl.Categorical), ("no", "yes"), Y),
        (Y == 1, (False, True), Y),
        (pd.Series(Y == 1, dtype="boolean"), (False, True), Y),
        (pd.Series(Y, dtype="Int64"), None, Y),
        (pd.Series(Y, dtype="int64[pyarrow]"), None, Y),
        (pl.Series(Y), None, Y),
        (Y.astype(np.int8), None, Y),
        (Y.tolist(), None, Y),
    ],
)
def test_labels_of_any_kind(labels, classes, codes):
    model = classifier(FRAME, labels)
    np.testing.assert_array_equal(model["y"].get_value(), codes)
    assert model.coords.get("class") == classes


def test_classes_that_have_no_rows_are_kept():
    labels = pd.Series(pd.Categorical(WORDS, ["maybe", "no", "yes"]))
    model = classifier(FRAME, labels, n_classes=3)
    assert model.coords["class"] == ("maybe", "no", "yes")
    assert model.named_vars_to_dims["p"] == ("obs_id", "class")
    np.testing.assert_array_equal(model["y"].get_value(), 1 + Y)


MISSING = FRAME.convert_dtypes()
MISSING.loc[3, "b"] = pd.NA


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"X": MISSING},
            ValueError,
            r"1 of 12 rows of column 'b' \(first in row 3\); fill missing numbers in",
        ),
        (
            {"X": FRAME.assign(a=np.nan, b=np.where(Y, np.nan, 1.0))},
            ValueError,
            r"got missing values: all 12 rows of column 'a', 6 of 12 rows of column 'b'",
        ),
        ({"X": pl.from_pandas(MISSING)}, ValueError, "1 of 12 rows of column 'b'"),
        ({"X": FRAME.assign(a=np.inf)}, ValueError, "got inf in row 0, column 'a'"),
        ({"X": FRAME.assign(d=WORDS)}, TypeError, "real numbers, got .* column 'd'"),
        (
            {"X": FRAME.assign(d=pd.Series(WORDS, dtype="category"))},
            TypeError,
            "column 'd'",
        ),
        (
            {"X": FRAME.assign(d=pd.date_range("2020", periods=N))},
            TypeError,
            "got dtype datetime64.* column 'd'",
        ),
        ({"X": FRAME.astype(object).assign(a=[1.0] * 5 + ["x"] * 7)}, TypeError, "'x' in row 5"),
        ({"X": FRAME.rename(columns={"b": "a"})}, ValueError, r"\['a'\] more than once"),
        ({"X": FRAME.rename(columns={"b": 3})}, TypeError, "by strings or by integers, got"),
        ({"X": FRAME[[]]}, ValueError, "X must not be empty"),
        ({"X": FRAME.a}, ValueError, "two axes"),
        ({"X": [[1.0, 2.0], [1.0]]}, ValueError, "rows of different lengths"),
        ({"X": np.ma.masked_greater(FRAME[["a"]].to_numpy(), 0.5)}, ValueError, "a missing value"),
        ({"X": np.full((N, 1), 2**53 + 1)}, TypeError, "numbers that float64 can hold"),
        ({"X": FRAME[["a"]].to_numpy() * 1j}, TypeError, "got dtype complex128"),
        (
            {"y": pd.Series(WORDS).mask(Y == 0)},
            ValueError,
            "y must have a label in every row, got a missing value in row 0",
        ),
        ({"y": [*WORDS[:5], 3, *WORDS[6:]]}, (TypeError, ValueError), "y must h"),
        ({"y": np.array([*"abcabcabcabc"])}, ValueError, r"n_classes=2 classes, got 3: \['a', 'b'"),
        ({"y": Y + 1}, ValueError, r"labels 0\.\.1, got 2"),
        ({"y": 2 * Y - 1}, ValueError, r"labels 0\.\.1, got -1"),
        ({"y": Y.astype(float)}, TypeError, r"got dtype float64; write y\.astype\(int\)"),
        ({"y": np.eye(2, dtype=int)[Y]}, ValueError, r"one column a class is y\.argmax"),
        ({"y": Y[:, None]}, ValueError, r"a column \(n, 1\) is y\.ravel\(\)"),
        ({"hidden": 8}, TypeError, r"hidden must be a sequence of integers, as \(8,\), got 8"),
    ],
)
def test_what_cannot_be_used_is_named(change, error, message):
    options = {"X": FRAME, "y": Y, "hidden": (2,)} | change
    with pytest.raises(error, match=message):
        models.mlp_classifier(**options)


@pytest.mark.parametrize("number", [np.float32(0.5), np.float64(0.5), np.int64(2), np.float16(0.5)])
def test_numpy_scalars_are_numbers(number):
    plain = number.item()
    group = np.arange(N) % 3
    for build in (
        lambda v: classifier(FRAME, prior_sd=v),
        lambda v: classifier(FRAME, prior_sd=[v, v]),
        lambda v: classifier(FRAME, prior_sd=np.array([v, v])),
        lambda v: models.mlp_regression(
            FRAME, FRAME.a, (2,), heteroskedastic=False, noise_sd=v, scale_floor=v
        ),
        lambda v: models.mlp_regression(FRAME, FRAME.a, (2,), scale_prior_sd=v),
        lambda v: models.hierarchical_mlp_classifier(
            FRAME, Y, (2,), group=group, group_sd=v, allow_single_class=True
        ),
    ):
        points = [build(v) for v in (number, plain)]
        logps = [m.compile_logp(mode="FAST_COMPILE")(m.initial_point()) for m in points]
        assert logps[0] == logps[1]


@pytest.mark.parametrize(
    "group",
    [
        pd.Series(np.arange(N) % 3).astype(str),
        pd.Series(np.arange(N) % 3).astype(str).astype("string"),
        pd.Series(np.arange(N) % 3).astype("Int64"),
        pd.Series(np.arange(N) % 3).astype("category"),
        pl.Series(np.arange(N) % 3).cast(pl.String),
    ],
    ids=["str", "string", "Int64", "category", "polars"],
)
def test_group_labels_of_any_kind(group):
    model = models.hierarchical_mlp_classifier(
        FRAME, WORDS, (2,), group=group, allow_single_class=True
    )
    assert [str(v) for v in model.coords["group"]] == ["0", "1", "2"]
    np.testing.assert_array_equal(model["group_index"].get_value(), np.arange(N) % 3)
    assert model.coords["class"] == ("no", "yes")
    assert model.coords["feature"] == ("a", "b", "c")


@pytest.mark.parametrize(
    "group",
    [
        pd.Series(np.arange(N) % 3).astype(str).mask(np.arange(N) == 4),
        pd.Series(np.arange(N) % 3).astype(str).mask(np.arange(N) == 4).astype("category"),
        pd.Series(np.arange(N) % 3).astype("Int64").mask(np.arange(N) == 4),
        pl.Series([None if i == 4 else str(i % 3) for i in range(N)]),
    ],
)
def test_a_missing_group_is_named(group):
    with pytest.raises(
        ValueError, match="group must have a label in every row, got a missing value in row 4"
    ):
        models.hierarchical_mlp_classifier(FRAME, Y, (2,), group=group)


def test_labels_and_numbers_in_one_list_are_not_made_one_kind():
    for mixed in (["yes", 3] * 6, ["yes", True] * 6, [1, True] * 6, [0, "1"] * 6, ["a", None] * 6):
        with pytest.raises(
            TypeError, match=r"labels of one kind, strings or integers, got .* row 1"
        ):
            classifier(FRAME, mixed)
        group = np.array(mixed, dtype=object)
        with pytest.raises((TypeError, ValueError), match="group must h"):
            models.hierarchical_mlp_classifier(FRAME, Y, (2,), group=group)


@pytest.mark.parametrize("kind", [int, Decimal, Fraction, np.longdouble])
def test_whole_numbers_that_float64_cannot_hold_are_refused(kind):
    numbers = np.array([[kind(v)] for v in range(N)], dtype=object)
    np.testing.assert_array_equal(classifier(numbers)["X"].get_value()[:, 0], np.arange(N))
    numbers[4, 0] = kind(2**53) + kind(1)
    with pytest.raises(TypeError, match=r"float64 can hold, got 9007199254740993.*row 4, column 0"):
        classifier(numbers)


@pytest.mark.parametrize("argument", ["y", "exposure", "group"])
def test_rows_that_were_shuffled_on_their_own_are_refused(argument):
    X = pd.DataFrame({"a": [0.1, 0.2, 0.3, 0.4], "b": [1.0, 3.0, 2.0, 5.0]}, index=[7, 8, 9, 10])
    given = {
        "y": pd.Series([0, 1, 1, 0], X.index),
        "exposure": pd.Series([1.0, 2.0, 1.0, 2.0], X.index),
        "group": pd.Series(["u", "u", "v", "v"], X.index),
    }

    def build(y, exposure, group):
        models.mlp_counts(X, y, (2,), exposure=exposure)
        models.hierarchical_mlp_classifier(X, y, (2,), group=group)

    build(**given)
    build(**given | {argument: given[argument].set_axis(range(4))})  # labels of its own
    build(**given | {argument: given[argument].to_numpy()})
    with pytest.raises(ValueError, match=rf"X and {argument} must .* row 0 labelled 7 in X and 10"):
        build(**given | {argument: given[argument].iloc[::-1]})
