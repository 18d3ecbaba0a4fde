"""Certainty, rejection and detection under ties, in both precisions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from bnnbook import metrics

seeds = st.integers(0, 100_000)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("level", [0.6, 0.7, 0.8, 0.9, 0.95, 0.99])
def test_a_probability_reaches_its_own_threshold(dtype, level):
    for p in (np.array([level, 1 - level, 0.5], dtype), None):
        p = np.array([[level, 1 - level], [0.5, 0.5]], dtype) if p is None else p
        y = np.zeros(len(p), int)
        found = metrics.accuracy_vs_certainty(y, p, [level, level + 0.005])
        assert list(found["kept"].to_numpy() * len(p)) == [len(p) - 1, 0]


def test_a_probability_below_the_threshold_does_not():
    p = np.array([0.9 - 1e-5], np.float32)
    assert metrics.accuracy_vs_certainty([1], p, [0.9])["kept"] == 0
    assert metrics.accuracy_vs_certainty([1], [0.9 - 1e-12], [0.9])["kept"] == 0


def test_area_of_one_block_of_ties_is_its_error_rate():
    y, p = np.r_[np.ones(900, int), np.zeros(100, int)], np.full(1000, 0.9)
    for order in (
        np.arange(1000),
        np.arange(1000)[::-1],
        np.random.default_rng(0).permutation(1000),
    ):
        found = metrics.risk_coverage(y[order], p[order])
        assert found.aurc == pytest.approx(0.1, rel=1e-12)
        np.testing.assert_allclose(found.risk, 0.1, rtol=1e-12)


def test_ties_after_certain_rows_by_hand():
    # certainties 1 (right), then a block of three with one error, then .5 (wrong)
    y, p = [1, 1, 1, 0, 1], [1.0, 0.9, 0.9, 0.9, 0.5]
    found = metrics.risk_coverage(y, p)
    np.testing.assert_allclose(found.risk, [0, 1 / 3 / 2, 2 / 3 / 3, 1 / 4, 2 / 5])
    assert found.aurc == pytest.approx(np.mean([0, 1 / 6, 2 / 9, 1 / 4, 2 / 5]))


@given(seeds, st.integers(1, 5), st.sampled_from([np.float32, np.float64]))
def test_risk_does_not_depend_on_the_order_of_rows(seed, levels, dtype):
    rng = np.random.default_rng(seed)
    p = (rng.integers(0, levels + 1, 40) / levels).astype(dtype)
    y, order = rng.integers(0, 2, 40), rng.permutation(40)
    first, second = metrics.risk_coverage(y, p), metrics.risk_coverage(y[order], p[order])
    np.testing.assert_array_equal(first.risk, second.risk)
    assert first.aurc == second.aurc
    # the mean over random orders of the ties, in the limit
    areas = []
    wrong = np.stack([1 - p, p], axis=1).argmax(axis=1) != y
    certainty = np.maximum(p, 1 - p)
    for _ in range(300):
        shuffled = rng.permutation(40)
        ranked = shuffled[np.argsort(-certainty[shuffled], kind="stable")]
        areas.append((np.cumsum(wrong[ranked]) / np.arange(1, 41)).mean())
    assert abs(np.mean(areas) - first.aurc) < 6 * np.std(areas) / np.sqrt(300) + 1e-9


def test_both_sides_of_two_classes_tie_in_single_precision():
    p = np.array([0.1, 0.9, 0.3, 0.7], np.float32)
    found = metrics.risk_coverage([1, 1, 0, 1], p)  # .1 is wrong, the other three right
    np.testing.assert_allclose(found.risk, [0.5, 0.5, 1 / 3, 1 / 4])


def fpr95_by_thresholds(inside, outside):
    thresholds = np.unique(np.concatenate([inside, outside]))
    rates = [(np.mean(inside >= t), np.mean(outside >= t)) for t in thresholds]
    return min(false for false, true in rates if true >= 0.95)


@given(seeds, st.integers(1, 40), st.integers(1, 60), st.integers(1, 60))
def test_detection_scores_under_ties_are_their_definitions(seed, values, n_in, n_out):
    rng = np.random.default_rng(seed)
    inside = rng.integers(0, values + 1, n_in).astype(float)
    outside = rng.integers(0, values + 3, n_out).astype(float)
    found = metrics.ood_scores(inside, outside)
    assert found.fpr95 == pytest.approx(fpr95_by_thresholds(inside, outside), abs=1e-12)
    u = mannwhitneyu(outside, inside).statistic / (n_in * n_out)
    assert found.auroc == pytest.approx(u, abs=1e-12)
    other = metrics.ood_scores(inside, outside, positive="inside")
    assert other.fpr95 == pytest.approx(fpr95_by_thresholds(-outside, -inside), abs=1e-12)
    assert other.auroc == pytest.approx(u, abs=1e-12)
    mirrored = metrics.ood_scores(-outside, -inside)
    np.testing.assert_allclose(other, mirrored, rtol=1e-12)


def test_fpr95_at_a_point_on_a_straight_piece_of_the_curve():
    """One block of ties ends at exactly 95 % of the outside rows and .95 of the inside ones."""
    inside = np.r_[np.full(95, 1.0), np.zeros(5)]
    outside = np.r_[np.full(95, 1.0), np.zeros(5)]
    assert metrics.ood_scores(inside, outside).fpr95 == 0.95


def test_which_class_is_positive_matters():
    inside, outside = np.arange(100.0), np.r_[np.full(90, 200.0), np.full(10, -1.0)]
    default = metrics.ood_scores(inside, outside)
    assert default == metrics.ood_scores(inside, outside, positive="outside")
    assert default.fpr95 == 1.0  # to refuse 95 of the 100 outside rows, all inside ones must go
    assert metrics.ood_scores(inside, outside, positive="inside").fpr95 == pytest.approx(0.1)


def test_bad_detection_input():
    with pytest.raises(ValueError, match='positive must be "outside" or "inside", got 1'):
        metrics.ood_scores([0.0], [1.0], positive=1)
    with pytest.raises(ValueError, match="at least one score"):
        metrics.ood_scores([], [1.0])
    with pytest.raises(ValueError, match="scores must be finite"):
        metrics.ood_scores([0.0], [np.inf])
