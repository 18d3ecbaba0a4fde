"""Scores of class probabilities at the places where they are easy to get wrong."""

import numpy as np
import pytest
import scoringrules
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from bnnbook import metrics

seeds = st.integers(0, 100_000)


def forecasts(seed, n=60, classes=4, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return rng.integers(0, classes, n), rng.dirichlet(np.ones(classes), n).astype(dtype)


@pytest.mark.parametrize("p", [1e-8, 2.2e-16, 1e-17, 1e-20, 1e-100, 1e-300])
def test_nll_is_not_clipped(p):
    exact = -np.log(p)
    assert metrics.nll([1], [p]) == pytest.approx(exact, rel=1e-12)
    assert metrics.nll([2], [[0.5, 0.5 - p, p]]) == pytest.approx(exact, rel=1e-12)
    assert metrics.nll([1, 1], [p, 1.0]) == pytest.approx(exact / 2, rel=1e-12)


def test_nll_in_single_precision():
    tiny = np.array([1e-20, 1e-30], np.float32)
    assert metrics.nll([1, 1], tiny) == pytest.approx(-np.log([1e-20, 1e-30]).mean(), rel=1e-7)
    rows = np.array([[1 - 1e-30, 1e-30, 0.0]], np.float32)
    assert metrics.nll([1], rows) == pytest.approx(-np.log(1e-30), rel=1e-6)


def test_nll_of_an_impossible_label_is_infinite_and_of_a_certain_one_zero():
    assert metrics.nll([1, 0], [0.0, 0.5]) == np.inf
    assert metrics.nll([0, 0], [1.0, 0.5]) == np.inf
    assert metrics.nll([2, 0], [[0.5, 0.5, 0], [1, 0, 0]]) == np.inf
    certain = metrics.nll([1, 0], [1.0, 0.0])
    assert certain == 0
    assert not np.signbit(certain)


@given(seeds)
def test_nll_and_brier_agree_with_scikit_learn(seed):
    y, p = forecasts(seed)
    assert metrics.nll(y, p) == pytest.approx(log_loss(y, p, labels=range(4)), rel=1e-10)
    two = p[:, 0]
    assert metrics.brier(y % 2, two) == pytest.approx(
        brier_score_loss(y % 2, two, labels=[0, 1]), rel=1e-10
    )


@given(seeds)
def test_proper_scores_prefer_the_truth(seed):
    """In expectation over labels from p itself, no other forecast q scores lower."""
    _, (p, q) = forecasts(seed, n=2)
    labels = np.arange(4)
    for score in (metrics.nll, metrics.brier, metrics.ranked_probability_score):
        of_p, of_q = (
            sum(p[k] * score(labels[[k]], forecast[None]) for k in labels) for forecast in (p, q)
        )
        assert of_p <= of_q + 1e-12


@given(seeds)
def test_ranked_probability_score_is_the_librarys(seed):
    y, p = forecasts(seed)
    expected = scoringrules.rps_score(y + 1, p, backend="numpy").mean()
    assert metrics.ranked_probability_score(y, p) == pytest.approx(expected, rel=1e-12)
    two = np.stack([1 - p[:, 0], p[:, 0]], axis=1)
    assert metrics.ranked_probability_score(y % 2, two) == pytest.approx(
        metrics.brier(y % 2, two), rel=1e-12
    )


def test_ranked_probability_score_by_hand():
    y, p = [2, 0], [[0.2, 0.3, 0.5], [0.1, 0.6, 0.3]]
    by_hand = np.mean([0.2**2 + 0.5**2, (0.1 - 1) ** 2 + (0.7 - 1) ** 2])
    assert metrics.ranked_probability_score(y, p) == pytest.approx(by_hand)
    near, far = ([[0.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]])
    assert metrics.ranked_probability_score([0], near) == 1
    assert metrics.ranked_probability_score([0], far) == 2
    assert metrics.brier([0], near) == metrics.brier([0], far)  # blind to the order


@pytest.mark.parametrize("n_bins", [5, 10, 20, 50, 100, 1000])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_probabilities_on_an_edge_are_in_the_upper_bin(n_bins, dtype):
    """k / n_bins typed with its decimals: 0.29, 0.57 and 0.58 are in bins 29, 57, 58 of 100."""
    for k in range(1, n_bins):
        p = np.array([k / n_bins, (k + 0.5) / n_bins], dtype)
        one = metrics.reliability([1, 1], p, n_bins=n_bins)
        assert list(one.rows) == [2], k
        below = np.array([(k - 0.5) / n_bins, k / n_bins], dtype)
        assert list(metrics.reliability([1, 1], below, n_bins=n_bins).rows) == [1, 1], k


def test_edges_reached_by_arithmetic_count_as_edges():
    p = np.array([1 - 0.9, 0.1 + 0.2, 0.7 + 0.1, 1 - 0.7])  # 0.1, 0.3, 0.8, 0.3, each off by a bit
    found = metrics.reliability([0, 0, 1, 0], p, n_bins=10)
    np.testing.assert_allclose(found.confidence, [0.1, 0.3, 0.8])
    assert list(found.rows) == [1, 2, 1]
    assert metrics.reliability([1, 0], [1.0, 0.0], n_bins=10).rows.sum() == 2


def ece_by_loop(confidence, right, n_bins):
    total = 0.0
    for k in range(n_bins):
        inside = (confidence >= k / n_bins) & ((confidence < (k + 1) / n_bins) | (k == n_bins - 1))
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return total


@given(seeds, st.integers(1, 30))
def test_both_forms_of_ece_are_their_definitions(seed, n_bins):
    y, p = forecasts(seed, classes=2)
    for kind, confidence, right in (
        ("class-1", p[:, 1], y == 1),
        ("top-label", p.max(axis=1), p.argmax(axis=1) == y),
    ):
        expected = ece_by_loop(confidence, right, n_bins)
        for given_p in (p, p[:, 1]):
            found = metrics.expected_calibration_error(y, given_p, n_bins=n_bins, kind=kind)
            assert found == pytest.approx(expected, abs=1e-12)
    several, p4 = forecasts(seed)
    expected = ece_by_loop(p4.max(axis=1), p4.argmax(axis=1) == several, n_bins)
    for kind in (None, "top-label"):
        assert metrics.expected_calibration_error(
            several, p4, n_bins=n_bins, kind=kind
        ) == pytest.approx(expected, abs=1e-12)


def test_the_default_for_two_classes_bins_class_1_and_the_forms_differ():
    y, p = np.array([0, 1, 1, 0]), np.array([0.1, 0.8, 0.4, 0.4])
    default = metrics.expected_calibration_error(y, p, n_bins=2)
    assert default == metrics.expected_calibration_error(y, p, n_bins=2, kind="class-1")
    # class 1: bins {.1, .4, .4} and {.8}; top label: {.9, .8, .6, .6}
    assert default == pytest.approx(0.75 * abs(0.3 - 1 / 3) + 0.25 * abs(0.8 - 1))
    assert metrics.expected_calibration_error(y, p, n_bins=2, kind="top-label") == pytest.approx(
        abs(0.725 - 0.75)
    )


def test_bad_kinds():
    y, p = forecasts(0)
    with pytest.raises(ValueError, match='kind "class-1" needs two classes, got 4'):
        metrics.expected_calibration_error(y, p, kind="class-1")
    with pytest.raises(ValueError, match='kind must be "class-1" or "top-label", got \'top\''):
        metrics.reliability(y, p, kind="top")


def test_rows_that_do_not_sum_to_one_are_refused_as_nearly_as_their_precision_says():
    p = np.array([[0.5, 0.5], [0.5, 0.4]])
    with pytest.raises(ValueError, match=r"p must sum to 1 .* got a sum of 0\.9 in row 1"):
        metrics.nll([0, 1], p)
    with pytest.raises(ValueError, match="must sum to 1"):
        metrics.brier([0], np.array([[0.3333, 0.3333, 0.3333]]))
    y, half = forecasts(1, classes=10, dtype=np.float16)
    assert metrics.nll(y, half) == pytest.approx(metrics.nll(y, half.astype(float) / half.astype(
        float).sum(axis=1, keepdims=True)), rel=1e-12)  # fmt: skip
    rng = np.random.default_rng(0)
    z = rng.normal(0, 5, (50, 1000)).astype(np.float32)
    softmax = np.exp(z - z.max(axis=1, keepdims=True))
    softmax /= softmax.sum(axis=1, keepdims=True)
    metrics.nll(np.zeros(50, int), softmax)
    metrics.nll(np.zeros(50, int), softmax.astype(np.float64))  # cast by the user


def test_classes_are_found_by_the_name_of_their_dim():
    rng = np.random.default_rng(0)
    draws = xr.DataArray(
        rng.dirichlet(np.ones(5), (2, 8, 5)), dims=("chain", "draw", "obs", "class")
    )
    y = rng.integers(0, 5, 5)
    expected = metrics.nll(y, draws.to_numpy().mean(axis=(0, 1)))
    for order in (("class", "chain", "obs", "draw"), ("chain", "draw", "class", "obs")):
        assert metrics.nll(y, draws.transpose(*order)) == pytest.approx(expected, rel=1e-12)


def test_labels_of_other_rows_are_refused():
    p = xr.DataArray([0.2, 0.8, 0.3], dims="obs", coords={"obs": ["a", "b", "c"]})
    y = xr.DataArray([0, 1, 0], dims="obs", coords={"obs": ["a", "c", "b"]})
    with pytest.raises(ValueError, match="y and the predictions must have the same labels along"):
        metrics.nll(y, p)
    assert metrics.nll(y.assign_coords(obs=p["obs"]), p) == metrics.nll(y.to_numpy(), p)


def test_small_integer_labels_do_not_wrap():
    y = np.array([1, 0], np.uint8)
    assert metrics.brier(y, [0.2, 0.8]) == pytest.approx(0.64)
