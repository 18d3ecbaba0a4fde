"""Partial dependence and single rows: curves and bands of functions that are known."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray as xr

from bnnbook import plots

RNG = np.random.default_rng(0)
N = 30
FRAME = pd.DataFrame(
    {
        "a": RNG.normal(size=N),
        "b": RNG.normal(size=N),
        "kind": np.array(["u", "v"])[np.arange(N) % 2],
    }
)
SLOPES = RNG.normal(1.0, 0.5, size=200)


def draws(X):
    """A draw s of the slope gives s a b + 2 (kind is v)."""
    a, b, kind = (np.asarray(X[c]) for c in ("a", "b", "kind"))
    return SLOPES[:, None] * a * b + 2.0 * (kind == "v")


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def band_of(ax, i=0):
    """Lower and upper edge of a band by x."""
    points = ax.collections[i].get_paths()[0].vertices
    x = np.unique(points[:, 0])
    edges = [[edge(points[points[:, 0] == v, 1]) for v in x] for edge in (np.min, np.max)]
    return x, *np.array(edges)


@pytest.mark.parametrize("frame", [FRAME, pl.from_pandas(FRAME)], ids=["pandas", "polars"])
def test_the_mean_over_rows_of_every_draw(frame, ax):
    grid = np.linspace(-2, 2, 5)
    assert plots.partial_dependence(draws, frame, "a", grid=grid, level=0.8, ax=ax) is ax
    curves = SLOPES[:, None] * grid * FRAME.b.mean() + 2 * (FRAME.kind == "v").mean()
    line = ax.lines[0]
    np.testing.assert_allclose(line.get_xdata(), grid)
    np.testing.assert_allclose(line.get_ydata(), curves.mean(axis=0))
    x, low, high = band_of(ax)
    np.testing.assert_allclose(x, grid)
    np.testing.assert_allclose([low, high], np.quantile(curves, [0.1, 0.9], axis=0))
    assert ax.get_xlabel() == "a"


def test_single_rows(ax):
    grid = np.linspace(-2, 2, 3)
    plots.ice(draws, FRAME, "a", rows=[3, 8], grid=grid, level=0.5, ax=ax)
    for i, row in enumerate((3, 8)):
        curves = SLOPES[:, None] * grid * FRAME.b[row] + 2.0 * (FRAME.kind[row] == "v")
        np.testing.assert_allclose(ax.lines[i].get_ydata(), curves.mean(axis=0))
        _, low, high = band_of(ax, i)
        np.testing.assert_allclose([low, high], np.quantile(curves, [0.25, 0.75], axis=0))
    assert [line.get_label() for line in ax.lines] == ["row 3", "row 8"]
    plots.ice(draws, FRAME, "a", ax=ax)
    assert len(ax.lines) == 2 + 6


def test_grids_of_their_own(ax):
    plots.partial_dependence(draws, FRAME, "a", ax=ax)
    x = ax.lines[0].get_xdata()
    np.testing.assert_allclose(x, np.linspace(*np.quantile(FRAME.a, [0.05, 0.95]), 20))
    plots.partial_dependence(draws, FRAME, "kind", ax=ax)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["u", "v"]
    mean = SLOPES.mean() * (FRAME.a * FRAME.b).mean()
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [mean, mean + 2])


def test_the_probability_of_a_class(ax):
    X = FRAME[["a", "b"]].to_numpy()

    def three(X):
        p = np.stack([X[:, 0] ** 2, X[:, 1] ** 2, np.ones(len(X))], axis=-1)
        p = np.stack([p, 2 * p])[None]
        dims, labels = ("chain", "draw", "obs", "class"), {"class": ["x", "y", "z"]}
        return xr.DataArray(p, dims=dims, coords=labels)

    plots.partial_dependence(three, X, 0, grid=[0.0, 2.0], target="x", ax=ax)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.0, 1.5 * 4])
    for target in (None, "w"):
        with pytest.raises(ValueError, match=r"target must be one of \['x', 'y', 'z'\], got"):
            plots.partial_dependence(three, X, 0, target=target, ax=ax)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"feature": "c"}, ValueError, r"feature must be a column of X, \['a', .*got 'c'"),
        ({"level": 1}, ValueError, r"level must lie in \(0, 1\), got 1"),
        ({"grid": []}, ValueError, "grid must be a sequence of values"),
        ({"target": 1}, ValueError, "target is for several classes or outputs, got 1"),
        ({"X": FRAME[["a"]].to_numpy()}, TypeError, "number of a column of an array, got 'a'"),
        ({"X": FRAME[["a"]].to_numpy(), "feature": 1}, ValueError, r"lie in 0\.\.0, got 1"),
        ({"model": 3}, TypeError, "model must be an estimator with predict_draws, .* got int"),
        ({"model": lambda X: X["a"]}, ValueError, r"model must give draws \(draws, n\)"),
    ],
)
def test_what_cannot_be_drawn(change, error, message, ax):
    options = {"model": draws, "X": FRAME, "feature": "a"} | change
    for function in (plots.partial_dependence, plots.ice):
        with pytest.raises(error, match=message):
            function(**options, ax=ax)
    with pytest.raises(ValueError, match=r"rows must lie in 0\.\.29"):
        plots.ice(draws, FRAME, "a", rows=[30], ax=ax)
    with pytest.raises(TypeError, match="rows must be positions of rows"):
        plots.ice(draws, FRAME, "a", rows=[0.5], ax=ax)
