"""Two moons, grouped moons, boxes, and that the light modules stay light."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, make_moons
from sklearn.preprocessing import scale

from bnnbook import datasets


def test_two_moons_are_standardised_on_the_training_half():
    data = datasets.two_moons(200, seed=3)
    assert data.X_train.shape == data.X_test.shape == (100, 2)
    np.testing.assert_allclose(data.X_train.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(data.X_train.std(axis=0), 1)
    assert np.abs(data.X_test.mean(axis=0)).max() > 1e-3  # the test half was not used
    assert data.y_train.dtype == np.int64


def test_points_are_scikit_learns_up_to_an_affine_map():
    data = datasets.two_moons(100, seed=1)
    X, _ = make_moons(100, noise=0.2, random_state=1)
    ours = np.concatenate([data.X_train, data.X_test])
    standard = [(a - a.mean(axis=0)) / a.std(axis=0) for a in (ours, X)]
    np.testing.assert_allclose(*(np.sort(a[:, 0]) for a in standard), atol=1e-12)


def test_seed_decides():
    first, again, other = (datasets.two_moons(50, seed=s).X_train for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 3}, "n must be an integer of at least 4, got 3"),
        ({"noise": -1}, "noise must be finite and at least 0, got -1"),
        ({"test_size": 1.0}, r"test_size must lie in \(0, 1\), got 1.0"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        datasets.two_moons(**arguments, seed=0)


def grouped_moons_with_the_global_seed(n_groups):
    """The tutorial's recipe: points, standardised and turned, from NumPy's global generator."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(31)  # noqa: NPY002
    inputs, labels = [], []
    for _ in range(n_groups):
        X, y = make_moons(noise=0.3, n_samples=100)
        angle = np.radians(np.random.randn() * 90.0)  # noqa: NPY002
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        inputs.append(scale(X).dot(turn))
        labels.append(y)
    np.random.set_state(state)  # noqa: NPY002
    return np.stack(inputs), np.stack(labels)


def test_grouped_moons_are_the_tutorials():
    data = datasets.grouped_moons(seed=31)
    X, y = grouped_moons_with_the_global_seed(18)
    np.testing.assert_array_equal(np.concatenate([data.X_train, data.X_test], axis=1), X)
    np.testing.assert_array_equal(np.concatenate([data.y_train, data.y_test], axis=1), y)
    # pinned, should make_moons ever draw in another order
    np.testing.assert_allclose(data.X_train[0, 0], [0.039344252309183, -1.138389199927614])
    np.testing.assert_allclose(data.X_test[17, -1], [0.564177344745161, 0.263789328887728])
    np.testing.assert_allclose(data.degrees[[0, -1]], [184.5580141135113, -1.319072339437847])
    ones = [22, 21, 26, 24, 26, 31, 22, 27, 30, 27, 24, 28, 24, 23, 24, 27, 28, 24]
    assert data.y_train.sum(axis=1).tolist() == ones


def test_another_group_leaves_the_first_ones_alone():
    few, more = datasets.grouped_moons(18, seed=31), datasets.grouped_moons(19, seed=31)
    assert few.X_train.shape == few.X_test.shape == (18, 50, 2)
    np.testing.assert_array_equal(few.X_train, more.X_train[:18])
    np.testing.assert_array_equal(few.degrees, more.degrees[:18])
    assert not np.allclose(few.X_train[0], datasets.grouped_moons(1, seed=30).X_train[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_groups": 0}, "n_groups must be an integer of at least 1, got 0"),
        ({"n_per_group": 3}, "n_per_group must be an integer of at least 4, got 3"),
        ({"n_groups": 2.0}, "n_groups must be an integer of at least 1, got 2.0"),
        ({"noise": float("nan")}, "noise must be finite and at least 0, got nan"),
    ],
)
def test_bad_grouped_moons(arguments, message):
    with pytest.raises(ValueError, match=message):
        datasets.grouped_moons(**arguments, seed=0)


def test_boxes_hold_a_quarter_each_and_leave_a_gap():
    data = datasets.boxes(seed=3)
    assert data.y_train.dtype == np.int64
    for X, y in ((data.X_train, data.y_train), (data.X_test, data.y_test)):
        assert X.shape == (80, 2)
        assert (np.abs(X) >= 0.5).all()
        assert (np.abs(X) <= 5).all()
        np.testing.assert_array_equal(y, (X[:, 0] * X[:, 1] > 0).astype(int))
        assert {int(n) for n in np.unique(np.sign(X), axis=0, return_counts=True)[1]} == {20}
    # uniform on a box of width 4.5: mean 2.75, sd 1.3
    mean = np.abs(datasets.boxes(4000, seed=0).X_train).mean()
    assert abs(mean - 2.75) < 4 * 4.5 / np.sqrt(12 * 8000)


def test_boxes_seed_decides():
    first, again, other = (datasets.boxes(seed=s).X_train for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    data = datasets.boxes(seed=1)
    assert not np.allclose(data.X_train, data.X_test)


@pytest.mark.parametrize("n", [0, 2, 81, 80.0])
def test_boxes_need_whole_quarters(n):
    with pytest.raises(ValueError, match=f"n must be a positive multiple of 4, got {n}"):
        datasets.boxes(n, seed=0)


def test_light_modules_do_not_import_pymc():
    code = (
        "import sys, bnnbook; from bnnbook import datasets, metrics, uncertainty;"
        "assert not {'pymc', 'pytensor', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_wave_clusters_lie_where_the_tutorial_has_them():
    data = datasets.wave_clusters(4000, seed=1)
    assert data.X_train.shape == data.X_test.shape == (4000, 1)
    assert data.y_train.dtype == np.float64
    x, noise = data.X_train[:, 0], data.y_train - np.cos(data.X_train[:, 0])
    starts, widths = (-4.1, -1.2, 0.5, 4.0), (2.1, 1.2, 1.4, 2.0)
    for start, width, sd in zip(starts, widths, (0.01, 0.25, 0.05, 0.01), strict=True):
        inside = (x >= start) & (x <= start + width)
        assert inside.sum() == 1000
        assert abs(noise[inside].std() / sd - 1) < 4.5 / np.sqrt(2000)
        assert abs(x[inside].mean() - start - width / 2) < 4.5 * width / np.sqrt(12 * 1000)
    assert not np.allclose(data.X_train, data.X_test)
    gaps = datasets.wave_gaps()
    np.testing.assert_allclose(gaps, [(-2.0, -1.2), (0.0, 0.5), (1.9, 4.0)])
    assert not any(((x > low) & (x < high)).any() for low, high in gaps)


def test_wave_clusters_options():
    exact = datasets.wave_clusters(40, "cubic", noise_scale=0.0, seed=2)
    np.testing.assert_allclose(exact.y_train, exact.X_train[:, 0] ** 3 / 350)
    own = datasets.wave_clusters(20, np.sin, clusters="two", noise_scale=0.0, n_test=7, seed=2)
    np.testing.assert_allclose(own.y_test, np.sin(own.X_test[:, 0]))
    assert len(own.y_test) == 7
    assert "sin" in own.description
    assert ((own.X_train[:, 0] >= -1) & (own.X_train[:, 0] <= 1.7)).all()
    unequal = [(0, 1, 0.1, 3), (5, 1, 0.1, 1)]
    x = datasets.wave_clusters(10, clusters=unequal, seed=0).X_train
    assert (x < 2).sum() == 7  # one for each cluster, and the other eight three to one
    touching = [(0, 1, 0.1, 1), (1, 1, 0.1, 1), (3, 1, 0.1, 1)]
    assert datasets.wave_gaps(touching) == [(2, 3)]
    first, again, other = (datasets.wave_clusters(50, seed=s).y_train for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 3}, "n must be an integer of at least 4, one per cluster, got 3"),
        ({"n_test": 10.0}, r"n_test must be an integer of at least 4, one per cluster, got 10\.0"),
        (
            {"function": "sine"},
            r"function must be one of \['cos', 'cubic'\] or callable, got 'sine'",
        ),
        ({"function": np.sum}, r"function must return \(400,\) finite values, got shape \(\)"),
        ({"function": lambda x: x * np.nan}, r"function must return \(400,\) finite values"),
        ({"clusters": "three"}, r"clusters must be one of \['four', 'two'\], got 'three'"),
        ({"clusters": []}, "clusters must name at least one cluster, got none"),
        ({"clusters": [(0, -1, 0.1, 1)]}, "clusters need width > 0, noise >= 0 and share > 0"),
        ({"noise_scale": -1.0}, r"noise_scale must be finite and at least 0, got -1\.0"),
    ],
)
def test_bad_waves(arguments, message):
    with pytest.raises(ValueError, match=message):
        datasets.wave_clusters(**arguments, seed=0)


def test_diabetes_is_standardised_on_its_training_part():
    data = datasets.diabetes(0.25, seed=4)
    assert data.X_train.shape == (331, 10)
    assert data.X_test.shape == (111, 10)
    np.testing.assert_allclose(data.X_train.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(data.X_train.std(axis=0), 1)
    assert np.abs(data.X_test.mean(axis=0)).max() > 1e-3
    every = np.sort(np.concatenate([data.y_train, data.y_test]))
    np.testing.assert_array_equal(every, np.sort(load_diabetes(return_X_y=True)[1]))
    assert not np.array_equal(data.y_test, datasets.diabetes(0.25, seed=5).y_test)
    with pytest.raises(ValueError, match=r"test_size must lie in \(0, 1\), got 1\.5"):
        datasets.diabetes(1.5, seed=0)
