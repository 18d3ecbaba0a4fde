"""Category columns as embeddings: the density by hand, new categories, files, what is refused."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray as xr
from scipy.stats import halfnorm, norm

from bnnbook import inference, models, predict

RNG = np.random.default_rng(3)
N = 40
CITIES = np.array(["Rome", "Oslo", "Bern"])
FRAME = pd.DataFrame(
    {
        "age": RNG.normal(40, 10, N),
        "city": CITIES[np.arange(N) % 3],
        "size": RNG.normal(size=N),
        "old": np.arange(N) % 2 == 0,
    }
)
Y = 0.1 * FRAME.age + (FRAME.city == "Oslo") + 0.3 * RNG.normal(size=N)
DIMS = {"city": 2, "old": 1}


def build(frame=FRAME, y=Y, **options):
    options = {"hidden": (3,), "heteroskedastic": False, "noise_sd": 0.3} | options
    return models.mlp_regression(frame, y, category_dims=DIMS, **options)


@pytest.fixture(scope="module")
def fitted():
    model = build()
    return model, inference.fit_laplace(model, n_starts=1, draws=400, seed=0, progressbar=False)


def forward(value, frame, levels=("Bern", "Oslo", "Rome")):
    """The mean by hand, of one draw and the columns of a frame."""
    numbers = FRAME[["age", "size"]]
    h = ((frame[["age", "size"]] - numbers.mean()) / numbers.std(ddof=0)).to_numpy()
    city = np.array([
        value["e_city"][levels.index(c)] if c in levels else value["e_city_unseen"]
        for c in frame.city
    ])  # fmt: skip
    old = value["e_old"][frame.old.astype(int)]
    h = np.tanh(np.column_stack([h, city, old]) @ value["w1"] + value["b1"])
    return Y.mean() + Y.std(ddof=0) * (h @ value["w_out"] + value["b_out"])


def test_the_density_by_hand():
    model = build()
    assert model.coords["feature"] == ("age", "size")
    assert model.coords["city_level"] == ("Bern", "Oslo", "Rome")
    assert model.coords["old_level"] == (0, 1)
    assert model.coords["input"] == ("age", "size", "city[0]", "city[1]", "old[0]")
    shapes = model.eval_rv_shapes()
    value = {rv.name: RNG.normal(size=shapes[rv.name]) for rv in model.free_RVs}
    sds = {"w1": 5**-0.5, "w_out": 3**-0.5}
    prior = sum(norm.logpdf(v, 0, sds.get(name, 1.0)).sum() for name, v in value.items())
    right = prior + norm.logpdf(Y, forward(value, FRAME), 0.3).sum()
    found = model.compile_logp(mode="FAST_COMPILE")(value)
    assert found == pytest.approx(right, rel=1e-10)


def test_a_new_category_has_the_prior_of_its_weights(fitted):
    model, fit = fitted
    sd = fit["variational"].to_dataset().sel(stat="sd")
    np.testing.assert_allclose(sd["e_city_unseen"], [1.0, 1.0], rtol=1e-6)
    assert float(sd["b_out"]) < 0.9  # where the data say something, it is less than the prior's
    new = FRAME.iloc[:6].assign(city=["Paris", "Oslo", "Bonn", "Paris", "Rome", "Bern"])
    predictor = predict.compile_predictor(model, "mu")
    with pytest.warns(
        UserWarning,
        match=r"^3 of 6 rows have a category in column 'city' .* such as \['Paris', 'Bonn'\]: ",
    ) as told:
        mu = predictor(fit, new)["mu"].squeeze("chain")
    assert "all of them have the same weights" in str(told[0].message)
    draws = fit["posterior"].to_dataset().squeeze("chain")
    for i in (0, 7):
        value = {name: draws[name].isel(draw=i).to_numpy() for name in draws.data_vars}
        np.testing.assert_allclose(mu.isel(draw=i), forward(value, new), rtol=1e-8)


def test_one_new_category_shares_its_weights_with_no_other(fitted):
    model, fit = fitted
    new = FRAME.iloc[:3].assign(city=["Paris", "Oslo", "Paris"])
    with pytest.warns(UserWarning, match="weights from the prior$"):
        predict.compile_predictor(model, "mu")(fit, new)


def test_a_learned_sd_by_hand():
    """Vectors are the column's sd times offsets; the density is that of offsets and sds."""
    model = build(category_sd="learned")
    shapes = model.eval_rv_shapes()
    free = [rv.name for rv in model.free_RVs]
    assert [name for name in free if name.startswith("e_")] == [
        "e_city_sd", "e_city_offset", "e_city_unseen_offset",
        "e_old_sd", "e_old_offset", "e_old_unseen_offset",
    ]  # fmt: skip
    value = {name: RNG.normal(size=shapes[name]) for name in free}
    point = dict(value)
    for name in ("e_city_sd", "e_old_sd"):
        value[name] = np.abs(value[name])
        point[f"{name}_log__"] = np.log(value[name])
        del point[name]
    for name in ("e_city", "e_city_unseen", "e_old", "e_old_unseen"):
        column = name.removesuffix("_unseen")
        value[name] = value[f"{column}_sd"] * value[f"{name}_offset"]
    sds = {"w1": 5**-0.5, "w_out": 3**-0.5}
    prior = sum(
        (halfnorm if name.endswith("_sd") else norm)
        .logpdf(value[name], 0, sds.get(name, 1.0))
        .sum()
        for name in free
    )
    right = prior + norm.logpdf(Y, forward(value, FRAME), 0.3).sum()
    found = model.compile_logp(jacobian=False, mode="FAST_COMPILE")(point)
    assert found == pytest.approx(right, rel=1e-10)

    new = FRAME.iloc[:6].assign(city=["Paris", "Oslo", "Bonn", "Paris", "Rome", "Bern"])
    dims = {name: ("chain", "draw", *model.named_vars_to_dims.get(name, ())) for name in free}
    draw = xr.Dataset({name: (dims[name], np.asarray(value[name])[None, None]) for name in free})
    with pytest.warns(UserWarning, match="3 of 6 rows have a category in column 'city'"):
        mu = predict.compile_predictor(model, "mu")(draw, new)["mu"]
    np.testing.assert_allclose(mu.squeeze(), forward(value, new), rtol=1e-10)


def test_a_fixed_sd_is_that_of_all_vectors():
    values = [build(category_sd=sd) for sd in (2.0, np.float32(0.5))]
    logps = []
    for model in values:
        embeddings = [rv for rv in model.free_RVs if rv.name.startswith("e_")]
        logps.append(model.compile_logp(embeddings, mode="FAST_COMPILE")(model.initial_point()))
    count = 3 * 2 + 2 + 2 + 1
    assert logps == pytest.approx([count * norm.logpdf(0, 0, sd) for sd in (2.0, 0.5)])


def test_levels_are_pooled_as_far_as_they_agree():
    """Many levels with few rows, in a linear model: the closed form of a random intercept.

    A level's effect is tau^2 / (tau^2 + noise^2 / n) of its rows' mean, for the sd tau of effects,
    which here is the learned sd times the size of its weight. The means' variance is that sum.
    """
    rng = np.random.default_rng(8)
    levels, each = 60, 3
    tau, noise = 1.0, 0.5
    city = np.repeat(np.arange(levels), each)
    y = (tau * rng.normal(size=levels))[city] + noise * rng.normal(size=levels * each)
    frame = pd.DataFrame({"x": rng.normal(size=levels * each), "city": city})
    model = models.mlp_regression(
        frame, y, (), category_dims={"city": 1}, category_sd="learned",
        heteroskedastic=False, noise_sd=noise,
    )  # fmt: skip
    fit = inference.sample_nuts(
        model, draws=1000, tune=500, chains=2, target_accept=0.97, seed=0, progressbar=False
    )
    post = fit["posterior"].to_dataset().stack(d=("chain", "draw"))
    slope = y.std() * post["w_out"].sel(input="city[0]") * post["e_city_sd"]
    learned = np.sqrt((slope**2).mean())
    mean = y.reshape(levels, each).mean(axis=1)
    assert abs(learned / mean.std() - 1) < 0.2
    predictor = predict.compile_predictor(model, "mu")
    at = pd.DataFrame({"x": 0.0, "city": np.arange(levels)})
    mu = predictor(fit, at)["mu"].mean(["chain", "draw"]).to_numpy()
    shrinkage = np.polyfit(mean, mu, 1)[0]
    assert shrinkage == pytest.approx(1 - noise**2 / each / mean.var(), abs=0.02)
    with pytest.warns(UserWarning, match="1 of 1 rows have a category"):
        new = predictor(fit, pd.DataFrame({"x": [0.0], "city": [99]}))["mu"]
    assert float(new.std()) == pytest.approx(float(learned), rel=0.25)


def test_columns_are_known_by_name_and_categories_by_value(fitted, tmp_path):
    model, fit = fitted
    predict.save(tmp_path / "net", model, fit, outputs="mu", thin=10)
    saved, kept = predict.load(tmp_path / "net")
    right = saved(kept, FRAME)["mu"]
    again = predict.compile_predictor(model, "mu")(kept, FRAME)["mu"]
    np.testing.assert_allclose(right, again, rtol=1e-10)
    shuffled = pd.Categorical(FRAME.city, ["Rome", "Paris", "Bern", "Oslo"])
    for other in (
        FRAME[["old", "size", "city", "age"]],
        FRAME.assign(city=shuffled, old=FRAME.old.astype("boolean")),
        FRAME.assign(city=FRAME.city.astype("string")),
        pl.from_pandas(FRAME),
        pl.from_pandas(FRAME).with_columns(pl.col("city").cast(pl.Categorical)),
    ):
        np.testing.assert_array_equal(saved(kept, other)["mu"], right)
    new = FRAME.iloc[:2].assign(city="Paris")
    with pytest.warns(UserWarning, match="2 of 2 rows have a category in column 'city'"):
        saved(kept, new)
    rows = {"X": FRAME[["age", "size"]], "city_index": [0] * N, "old_index": [1] * N}
    same = FRAME.assign(city="Bern", old=True)
    np.testing.assert_array_equal(saved(kept, rows)["mu"], saved(kept, same)["mu"])


def test_categories_keep_their_order_and_only_those_that_occur():
    frame = FRAME.assign(city=pd.Categorical(FRAME.city, ["Rome", "Paris", "Bern", "Oslo"]))
    model = build(frame)
    assert model.coords["city_level"] == ("Rome", "Bern", "Oslo")
    assert model["city_index"].get_value()[:3].tolist() == [0, 2, 1]
    numbers = models.mlp_classifier(
        FRAME.assign(city=np.arange(N) % 3 + 7), Y.mean() < Y, category_dims=DIMS
    )
    assert numbers.coords["city_level"] == (7, 8, 9)
    shapes = numbers.eval_rv_shapes()
    assert [shapes[name] for name in ("w1", "e_city", "e_old")] == [(5, 5), (3, 2), (2, 1)]


GAP = FRAME.city.where(np.arange(N) != 4)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"X": FRAME.to_numpy()}, TypeError, "X must be a frame for category_dims, got ndarray"),
        ({"category_dims": {"town": 2}}, ValueError, r"name columns of X, .*, got \['town'\]"),
        ({"category_dims": ["city"]}, TypeError, r"must map names of columns .* got \['city'\]"),
        ({"category_dims": {"city": 0}}, ValueError, "category_dims must be at least 1, got 0"),
        ({"category_dims": {"city": 1.5}}, TypeError, "category_dims must be an integer, got 1.5"),
        ({"category_dims": {"city": 2}, "X": FRAME[["city"]]}, ValueError, "a column of numbers"),
        ({"category_dims": {"age": 2}}, TypeError, "column 'age' must hold categories .* float"),
        (
            {"X": FRAME.assign(city=GAP)},
            ValueError,
            r"1 of 40 rows of column 'city' \(first in row 4",
        ),
        ({"X": FRAME.assign(age=np.nan)}, ValueError, "all 40 rows of column 'age'"),
        ({"X": FRAME.assign(age="x")}, TypeError, "X must be real numbers, .* column 'age'"),
        ({"X": FRAME.assign(city=["a", 1] * 20)}, TypeError, "'city' .* got int, str"),
        ({"X": FRAME, "category_dims": {"old": 1}}, TypeError, "column 'city'"),
        ({"category_sd": 0.0}, ValueError, "category_sd must be positive and finite, got 0.0"),
        ({"category_sd": "fixed"}, ValueError, "a number or 'learned', got 'fixed'"),
        ({"category_sd": None}, TypeError, "category_sd must be a number, got None"),
        (
            {"category_dims": None, "category_sd": "learned", "X": FRAME[["age"]]},
            ValueError,
            "category_sd needs category_dims, got 'learned' without",
        ),
        ({"marginal_output": True}, ValueError, "marginal_output takes no category_dims"),
    ],
)
def test_what_cannot_be_embedded(change, error, message):
    options = {"X": FRAME, "y": Y, "category_dims": DIMS} | change
    with pytest.raises(error, match=message):
        models.mlp_regression(**options)


@pytest.mark.parametrize(
    ("new", "error", "message"),
    [
        (FRAME.drop(columns="city"), ValueError, r"categories \['city', 'old'\].* \['city'\]\)"),
        (FRAME.rename(columns={"age": "years"}), ValueError, r"columns of X .*missing \['age'\]"),
        (FRAME.iloc[:0], ValueError, r"X must have at least one row, got shape \(0, 4\)"),
        (FRAME.assign(city=1), TypeError, "'city' must hold strings as in the fit, got integers"),
        (FRAME.assign(city=GAP), ValueError, r"1 of 40 rows of column 'city' \(first in row 4\)"),
        (FRAME.assign(age=np.nan), ValueError, "X must be complete"),
        (FRAME[["age", "size"]].to_numpy(), TypeError, "X must be a dict with .*city_index"),
        (
            {"X": FRAME[["age", "size"]], "city_index": [4] * N, "old_index": [0] * N},
            ValueError,
            "city_index must index .* got 4 in row 0",
        ),
    ],
)
def test_rows_that_cannot_be_predicted(fitted, new, error, message):
    model, fit = fitted
    with pytest.raises(error, match=message):
        predict.compile_predictor(model, "mu")(fit, new)
