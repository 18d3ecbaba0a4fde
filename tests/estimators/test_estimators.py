"""Estimators: scikit-learn's own checks, known answers, files, and what is refused."""

import pickle
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray as xr
from joblib import parallel_config
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from bnnbook import plots, predict
from bnnbook.estimators import BNNClassifier, BNNRegressor, files

RNG = np.random.default_rng(0)
N = 120
X = pd.DataFrame({"a": RNG.normal(size=N), "b": 10 + 5 * RNG.normal(size=N)})
Y = 3 + 2 * X.a.to_numpy() - X.b.to_numpy() + RNG.normal(size=N)
LABELS = np.array(["low", "mid", "high"])[np.digitize(Y, [-12, -2])]
QUICK = {"n_members": 2, "max_steps": 40}


@pytest.fixture(scope="module")
def regressor():
    return BNNRegressor((3,), options=QUICK, random_state=1).fit(X, Y)


@pytest.fixture(scope="module")
def classifier():
    return BNNClassifier((3,), options=QUICK, random_state=1).fit(X, LABELS)


# its checks fit a few rows with few steps, and none of that converges
@pytest.mark.filterwarnings("ignore::bnnbook.inference.ConvergenceWarning")
def test_checks_of_scikit_learn():
    """Of the cheapest estimator; tools/check_estimators.py runs both, with their defaults."""
    check_estimator(BNNRegressor((), options={"n_members": 1, "max_steps": 30}))


def test_regression_is_the_mixture_of_its_draws(regressor):
    found = predict.compile_predictor(regressor.model_, ["mu", "sigma"])(regressor.fit_, X)
    mu, sigma = (found[n].to_numpy().reshape(-1, N) for n in ("mu", "sigma"))
    assert len(mu) == 2
    assert regressor.fit_.attrs["seed"] == regressor.seed_ == 1
    assert regressor.model_.coords["feature"] == ("a", "b")
    np.testing.assert_allclose(regressor.predict(X), mu.mean(axis=0), rtol=1e-10)
    density = logsumexp(norm.logpdf(Y, mu, sigma), axis=0) - np.log(2)
    np.testing.assert_allclose(regressor.score(X, Y), density.mean(), rtol=1e-10)
    assert 1 - ((regressor.predict(X) - Y) ** 2).mean() / Y.var() > 0.9
    for level in (0.5, 0.9):
        ends = regressor.predict_interval(X, level)
        for end, tail in zip(ends, ((1 - level) / 2, (1 + level) / 2), strict=True):
            np.testing.assert_allclose(norm.cdf(end, mu, sigma).mean(axis=0), tail, atol=1e-9)
    draws = regressor.predict_draws(X)
    z = (draws["y"] - draws["mu"]) / draws["sigma"]
    assert abs(float(z.mean())) < 4 / np.sqrt(z.size)
    assert abs(float((z**2).mean()) - 1) < 4 * np.sqrt(2 / z.size)
    assert draws.identical(regressor.predict_draws(X))


def test_classification_is_the_mean_of_its_draws(classifier):
    assert classifier.classes_.tolist() == ["high", "low", "mid"]
    p = predict.compile_predictor(classifier.model_, "p")(classifier.fit_, X)["p"]
    probabilities = classifier.predict_proba(X)
    np.testing.assert_allclose(probabilities, p.mean(["chain", "draw"]), rtol=1e-10)
    assert (classifier.predict(X) == classifier.classes_[probabilities.argmax(axis=1)]).all()
    assert (classifier.predict(X) == LABELS).mean() > 0.8
    own = probabilities[np.arange(N), np.searchsorted(classifier.classes_, LABELS)]
    np.testing.assert_allclose(classifier.score(X, LABELS), np.log(own).mean(), rtol=1e-10)
    draws = classifier.predict_draws(X)
    assert draws["class"].to_numpy().tolist() == ["high", "low", "mid"]
    for label in classifier.classes_:
        p = draws["p"].sel({"class": label})
        sd = float(np.sqrt((p * (1 - p)).mean() / p.size))
        assert abs(float((draws["y"] == label).mean() - p.mean())) < 4 * sd


def test_two_classes_of_any_labels():
    y = np.where(Y.mean() < Y, 7, -1)
    found = BNNClassifier((2,), options=QUICK, random_state=0).fit(X.to_numpy(), y)
    p = found.predict_proba(X.to_numpy())
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert (found.predict(X.to_numpy()) == y).mean() > 0.9
    assert p[y == 7, 1].mean() > 0.7 > 0.3 > p[y == -1, 1].mean()
    assert set(np.unique(found.predict_draws(X.to_numpy())["y"])) == {-1, 7}


METHODS = {
    "advi": {"method": "fullrank_advi", "n": 3000, "draws": 500},
    "laplace": {"draws": 500},
    "nuts": {"draws": 300, "tune": 300, "chains": 2},
    "sgmcmc": {},
    "ensemble": {"n_members": 2, "validation": 0},
}
NAMES = {"sgmcmc": "sghmc"}  # as the fit has it, where that is another


# chains are short on purpose: what they find is held against least squares
@pytest.mark.filterwarnings("ignore:.*(R-hat|effective|ESS)")
@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_regression_line(method):
    """Means and standard errors of least squares, which the prior hardly changes here."""
    model = BNNRegressor((), method=method, options=METHODS[method], random_state=0).fit(X, Y)
    assert model.fit_.attrs["method"] == METHODS[method].get("method", NAMES.get(method, method))
    design = np.column_stack([np.ones(N), X])
    beta, rest, _, _ = np.linalg.lstsq(design, Y)
    covariance = np.linalg.inv(design.T @ design) * rest[0] / (N - 3)
    new = pd.DataFrame({"a": [-3.0, 0.0, 2.0], "b": [10.0, 25.0, 0.0]})
    at = np.column_stack([np.ones(3), new])
    error = np.sqrt(np.einsum("ij,jk,ik->i", at, covariance, at))
    assert (abs(model.predict(new) - at @ beta) < 0.5 * error).all()
    found = model.predict_draws(new)
    if method != "ensemble":
        sd = found["mu"].std(["chain", "draw"]).to_numpy()
        assert (abs(np.log(sd / error)) < 0.35).all()
    sigma = float(found["sigma"].mean())
    assert abs(np.log(sigma / np.sqrt(rest[0] / N))) < 0.15


def test_in_pipelines_and_searches():
    frame = X.assign(kind=np.where(LABELS == "low", "u", "v"))
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), ["a", "b"]), ("kinds", OneHotEncoder(), ["kind"])]
    )
    net = BNNClassifier((2,), options=QUICK, random_state=0)
    pipeline = Pipeline([("columns", columns), ("net", net)])
    scores = cross_val_score(pipeline, frame, LABELS, cv=2, error_score="raise")
    assert ((np.log(1 / 3) < scores) & (scores < 0)).all()
    few = {"n_members": 2, "max_steps": 1}
    fold = [next(StratifiedKFold(2).split(frame, LABELS))]
    search = GridSearchCV(pipeline, {"net__options": [few, QUICK]}, cv=fold, error_score="raise")
    search.fit(frame, LABELS)
    assert search.best_params_ == {"net__options": QUICK}
    np.testing.assert_allclose(search.cv_results_["mean_test_score"][1], scores[0], rtol=1e-6)
    assert search.predict(frame.iloc[:3]).tolist() == LABELS[:3].tolist()


def test_splits_in_threads_have_the_same_scores():
    net = BNNRegressor((2,), options=QUICK, random_state=0)
    here = cross_val_score(net, X, Y, cv=4, error_score="raise")
    with parallel_config("threading", n_jobs=2):
        there = cross_val_score(net, X, Y, cv=4, error_score="raise")
    np.testing.assert_array_equal(there, here)


def test_importance_by_permutation(regressor):
    found = permutation_importance(regressor, X, Y, n_repeats=2, random_state=0)
    assert found.importances_mean[1] > found.importances_mean[0] > 0  # b moves y more than a does


@pytest.mark.parametrize("which", ["regressor", "classifier"])
def test_as_a_file(which, request, tmp_path):
    model = request.getfixturevalue(which)
    model.save(tmp_path / "net")
    found = type(model).load(tmp_path / "net")
    assert found.get_params() == model.get_params()
    draws, right = found.predict_draws(X), model.predict_draws(X)
    xr.testing.assert_allclose(draws.drop_vars("y"), right.drop_vars("y"), rtol=1e-10)
    if which == "classifier":
        assert (found.predict(X) == model.predict(X)).all()
        assert draws["y"].equals(right["y"])
    else:
        np.testing.assert_allclose(found.predict(X), model.predict(X), rtol=1e-10)
    assert found.feature_names_in_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="feature names should match"):
        found.predict(X.rename(columns={"b": "c"}))
    for again in (lambda: pickle.dumps(found), lambda: found.save(tmp_path / "other")):
        with pytest.raises(TypeError, match="was loaded from a file and has no model"):
            again()
    other = BNNRegressor if which == "classifier" else BNNClassifier
    with pytest.raises(ValueError, match=f"must hold a {other.__name__}, got a BNN"):
        other.load(tmp_path / "net")


def test_a_linearised_network_as_a_file(tmp_path):
    model = BNNClassifier((2,), method="laplace", options={"n_starts": 1, "draws": 50},
                          random_state=0).fit(X, LABELS == "low")  # fmt: skip
    p = model.predict_proba(X)
    sampled = predict.compile_predictor(model.model_, "p")(model.fit_, X, reduce="mean")["p"]
    assert abs(p[:, 1] - sampled).max() > 1e-3  # what is saved has to be the other one
    model.save(tmp_path / "net")
    np.testing.assert_allclose(BNNClassifier.load(tmp_path / "net").predict_proba(X), p, atol=1e-9)


def test_files_that_are_not_an_estimators(regressor, tmp_path, monkeypatch):
    predict.save(tmp_path / "plain", regressor.model_, regressor.fit_)
    with pytest.raises(ValueError, match=r"has a predictor but no estimator"):
        BNNRegressor.load(tmp_path / "plain")
    regressor.save(tmp_path / "net")
    content = (tmp_path / "net").read_bytes()
    (tmp_path / "old").write_bytes(content.replace(b"predictor 2 ", b"predictor 0 ", 1))
    with pytest.raises(ValueError, match=r"old is of an incompatible version: format 0"):
        BNNRegressor.load(tmp_path / "old")
    monkeypatch.setattr(files, "FORMAT", 2)
    with pytest.raises(ValueError, match=r"version: format 1 of estimators, .* reads 2; save it"):
        BNNRegressor.load(tmp_path / "net")


def test_a_pickle_builds_its_model_again(regressor):
    found = pickle.loads(pickle.dumps(regressor))
    np.testing.assert_allclose(found.predict(X), regressor.predict(X), rtol=1e-12)
    assert found.model_.point_logps() == regressor.model_.point_logps()


def test_polars_frames(regressor):
    np.testing.assert_array_equal(regressor.predict(pl.from_pandas(X)), regressor.predict(X))


@pytest.mark.parametrize(
    ("new", "error", "message"),
    [
        (X[["a"]], ValueError, "Feature names seen at fit time, yet now missing:\n- b"),
        (X.rename(columns={"b": "c"}), ValueError, "Feature names unseen at fit time:\n- c"),
        (X[["b", "a"]], ValueError, "must be in the same order as they were in fit"),
        (X.assign(c=1.0), ValueError, "Feature names unseen at fit time:\n- c"),
        (X.assign(b="x"), TypeError, "X must be real numbers, got .* column 'b'"),
        (X.assign(b=pd.NaT), (TypeError, ValueError), "missing value.* 'b'"),
        (X.assign(b=np.nan), ValueError, "missing values: all 120 rows of column 'b'"),
        (
            X.assign(a=X.a.where(X.a > 0), b=np.nan),
            ValueError,
            r"missing values: \d+ of 120 rows of column 'a' \(first in row \d+\), all 120 rows of "
            "column 'b'; fill missing numbers in",
        ),
        (X.to_numpy()[:, :1], ValueError, "X has 1 features, but BNNRegressor is expecting 2"),
        (X.to_numpy() * np.nan, ValueError, "Input X contains NaN"),
        (X.iloc[:0], ValueError, "X must have at least one row"),
    ],
)
# an array after a frame: scikit-learn warns of it before the error that is asked for
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_inputs_that_cannot_be_used(regressor, new, error, message):
    with pytest.raises(error, match=message):
        regressor.predict(new)


def test_levels_outside_the_unit_interval(regressor):
    for level in (0, 1, -0.5, 90, float("nan")):
        with pytest.raises(ValueError, match=rf"level must lie in \(0, 1\), got {level}"):
            regressor.predict_interval(X, level)


@pytest.mark.parametrize("kind", [BNNRegressor, BNNClassifier])
def test_before_a_fit(kind, tmp_path):
    calls = [
        lambda e: e.predict(X), lambda e: e.predict_draws(X), lambda e: e.score(X, Y),
        lambda e: e.save(tmp_path / "no"),
        lambda e: e.predict_interval(X) if kind is BNNRegressor else e.predict_proba(X),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(NotFittedError, match=f"This {kind.__name__} instance is not fitted"):
            call(kind())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"method": "vi"}, ValueError, r"method must be one of \['advi', .*\], got 'vi'"),
        ({"options": {"seed": 3}}, ValueError, "options must not have 'seed': it follows from"),
        ({"options": {"member": 3}}, TypeError, "member"),
        ({"options": 5}, TypeError, "options must be a dict of arguments, got 5"),
        ({"random_state": "a"}, TypeError, "random_state must be an integer, .* got str"),
        ({"random_state": -1}, TypeError, "must be a non-negative integer, got -1"),
        ({"hidden": 5}, TypeError, "hidden must be a sequence of integers"),
        ({"prior_sd": 0}, ValueError, "prior_sd must be positive"),
        ({"y": [1.0] * N}, ValueError, "y must vary"),
        ({"y": Y[:-1]}, ValueError, "inconsistent numbers of samples"),
        ({"y": [*Y[:-1], np.nan]}, ValueError, "Input y contains NaN"),
        ({"X": X.assign(a=np.nan)}, ValueError, "all 120 rows of column 'a'"),
        ({"X": X.assign(a="x")}, TypeError, "column 'a'"),
    ],
)
def test_fits_that_cannot_be(change, error, message):
    data = {"X": X, "y": Y} | {k: v for k, v in change.items() if k in ("X", "y")}
    with pytest.raises(error, match=message):
        BNNRegressor(**{k: v for k, v in change.items() if k not in data}).fit(**data)


def test_labels_that_were_not_there(classifier):
    with pytest.raises(ValueError, match=r"classes of the training data, .* got \['none'\]"):
        classifier.score(X.iloc[:2], ["low", "none"])
    with pytest.raises(ValueError, match="at least two classes, got one class"):
        BNNClassifier().fit(X, ["a"] * N)


def test_random_states():
    options = {"n_members": 1, "max_steps": 1}
    found = [
        BNNRegressor((), options=options, random_state=state).fit(X, Y).seed_
        for state in (None, None, np.random.RandomState(0))
    ]
    assert found[0] != found[1]
    assert found[2] == np.random.RandomState(0).randint(2**31 - 1)


def test_no_warning_of_its_own(regressor):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        regressor.predict(X)
        make_pipeline(regressor).predict(X)


def test_partial_dependence_of_estimators_and_pipelines(regressor, classifier):
    grid = [-1.0, 1.0]
    figure, axes = plt.subplots(1, 3)
    pipeline = Pipeline([("nothing", "passthrough"), ("net", regressor)])
    for model, ax in zip((regressor, pipeline), axes, strict=False):
        plots.partial_dependence(model, X, "a", grid=grid, ax=ax)
        right = [regressor.predict(X.assign(a=v)).mean() for v in grid]
        np.testing.assert_allclose(ax.lines[0].get_ydata(), right, rtol=1e-10)
    plots.partial_dependence(classifier, X, "a", grid=grid, target="mid", ax=axes[2])
    right = [classifier.predict_proba(X.assign(a=v))[:, 2].mean() for v in grid]
    np.testing.assert_allclose(axes[2].lines[0].get_ydata(), right, rtol=1e-10)
    plt.close(figure)


def test_category_columns():
    frame = X.assign(kind=np.array(["u", "v", "w"])[np.arange(N) % 3])
    y = Y + 5 * (frame.kind == "w")
    options = {"n_members": 1, "validation": 0}
    model = BNNRegressor((3,), category_dims={"kind": 1}, options=options, random_state=0)
    found = pickle.loads(pickle.dumps(model.fit(frame, y)))
    residual = y - found.predict(frame)
    assert residual.std() < 1.3  # of noise of sd 1; without the column it is 2.5
    new = frame.iloc[:4].assign(kind=["u", "z", "v", "z"])
    with pytest.warns(UserWarning, match="2 of 4 rows have a category in column 'kind'"):
        assert np.isfinite(found.predict(new)).all()
    with pytest.raises(ValueError, match="Feature names seen at fit time, yet now missing:\n- k"):
        found.predict(X)
    with pytest.raises(TypeError, match="X must be a frame for category_dims, got ndarray"):
        model.fit(X.to_numpy(), Y)


@pytest.mark.parametrize(("kind", "y"), [(BNNRegressor, Y), (BNNClassifier, LABELS)])
def test_a_learned_sd_of_categories(kind, y, tmp_path):
    frame = X.assign(kind=np.array(["u", "v", "w"])[np.arange(N) % 3])
    options = {"category_dims": {"kind": 1}, "category_sd": "learned", "options": QUICK}
    model = kind((2,), random_state=0, **options).fit(frame, y)
    assert {"e_kind_sd", "e_kind_offset"} <= set(model.fit_["posterior"].data_vars)
    model.save(tmp_path / "net")
    again = kind.load(tmp_path / "net")
    assert again.category_sd == "learned"
    right = model.predict_draws(frame)["y"]
    np.testing.assert_array_equal(again.predict_draws(frame)["y"], right)


@pytest.mark.parametrize(("kind", "y"), [(BNNRegressor, [0.1, 0.5, 0.2]), (BNNClassifier, "aba")])
def test_rows_that_were_shuffled_on_their_own_are_refused(kind, y):
    X = pd.DataFrame({"a": [0.1, 0.2, 0.3]})
    with pytest.raises(ValueError, match="rows in the same order, got row 0 labelled 0 in X and 2"):
        kind().fit(X, pd.Series(list(y)).iloc[::-1])


def test_labels_of_several_kinds_are_named():
    with pytest.raises(TypeError, match="y must hold labels of one kind, got NoneType, str"):
        BNNClassifier().fit(X[:3], np.array(["a", None, "b"], dtype=object))


def test_an_array_in_the_place_of_a_frame_with_categories():
    frame = pd.DataFrame({"a": np.linspace(0, 1, 12), "c": list("uvw") * 4})
    fitted = BNNRegressor((2,), category_dims={"c": 1}, method="laplace").fit(frame, Y[:12])
    with pytest.raises(TypeError, match="X must be a frame with the columns of the fit"):
        fitted.predict(frame.to_numpy())
