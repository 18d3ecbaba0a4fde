"""What the figures say: labels, ranges and the data drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from bnnbook import plots


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


def test_grid_points_match_the_image():
    where = plots.grid((-1, 1), (0, 3), 5)
    image = where.reshape(where.points[:, 1])
    assert where.points.shape == (25, 2)
    np.testing.assert_array_equal(image[:, 0], where.y)
    with pytest.raises(ValueError, match="n must be at least 2, got 1"):
        plots.grid(n=1)


def test_probability_surface_always_spans_zero_to_one(ax):
    where = plots.grid(n=5)
    plots.probability_surface(where, np.full(25, 0.3), ax=ax)
    bar = ax.figure.axes[1]
    assert bar.get_ylabel() == "probability of class 1"
    assert bar.get_ylim() == (0, 1)


def test_uncertainty_surface_is_labelled(ax):
    where = plots.grid(n=5)
    assert plots.uncertainty_surface(where, np.zeros(25), "nats", ax=ax) is ax
    assert ax.figure.axes[1].get_ylabel() == "nats"


def test_elbo_trace_averages_blocks_and_says_the_scale(ax):
    plots.elbo_trace({"run": np.arange(1000.0)}, smooth=100, ax=ax)
    x, y = ax.lines[0].get_data()
    np.testing.assert_allclose(y, np.arange(10) * 100 + 49.5)
    assert x[-1] == 1000
    assert ax.get_ylabel() == "ELBO (nats per full data set)"


def test_classes_differ_by_marker_too(ax):
    X, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    plots.classification_data(X, y, ax=ax)
    paths = [c.get_paths()[0].vertices.shape for c in ax.collections]
    assert paths[0] != paths[1]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["class 0", "class 1"]
