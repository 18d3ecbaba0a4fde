"""Scores on hand-computed values, their properties, and bad input."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from bnnbook import metrics, uncertainty

Y = np.array([0, 1, 1, 0])
P = np.array([0.1, 0.8, 0.4, 0.5])
probabilities = st.lists(st.floats(0, 1), min_size=2, max_size=30).map(np.array)


def test_hand_computed_values():
    assert metrics.accuracy(Y, P) == 0.75  # 0.5 counts as class 0
    assert metrics.nll(Y, P) == pytest.approx(-np.log([0.9, 0.8, 0.4, 0.5]).mean())
    assert metrics.brier(Y, P) == pytest.approx(np.mean([0.01, 0.04, 0.36, 0.25]))
    # bins of width 0.5: {0.1, 0.4} and {0.8, 0.5}
    expected = 0.5 * abs(0.25 - 0.5) + 0.5 * abs(0.65 - 0.5)
    assert metrics.expected_calibration_error(Y, P, n_bins=2) == pytest.approx(expected)


def test_three_classes_by_hand():
    y, p = np.array([0, 2]), np.array([[0.7, 0.2, 0.1], [0.5, 0.2, 0.3]])
    assert metrics.accuracy(y, p) == 0.5
    assert metrics.nll(y, p) == pytest.approx(-np.log([0.7, 0.3]).mean())
    brier = np.mean([0.3**2 + 0.2**2 + 0.1**2, 0.5**2 + 0.2**2 + 0.7**2])
    assert metrics.brier(y, p) == pytest.approx(brier)


def test_impossible_label_has_infinite_nll():
    assert metrics.nll(np.array([1, 0]), np.array([0.0, 0.5])) == float("inf")


def test_draws_are_averaged_as_probabilities():
    draws = xr.DataArray([[[0.9, 0.2], [0.3, 0.4]]], dims=("chain", "draw", "obs"))
    y = np.array([1, 0])
    assert metrics.nll(y, draws) == pytest.approx(metrics.nll(y, np.array([0.6, 0.3])))


@given(probabilities)
def test_calibrated_and_perfect_predictions(p):
    y = np.ones(len(p), dtype=int)
    assert metrics.expected_calibration_error(y, np.ones(len(p))) == 0
    assert metrics.brier(y, np.ones(len(p))) == 0
    assert 0 <= metrics.expected_calibration_error(y, p) <= 1
    two_columns = np.stack([1 - p, p], axis=1)
    assert metrics.brier(y, p) == pytest.approx(metrics.brier(y, two_columns))


def test_accuracy_vs_certainty_by_hand():
    found = metrics.accuracy_vs_certainty(Y, P, [0.0, 0.6, 0.85, 0.95])
    np.testing.assert_allclose(found["kept"], [1, 0.75, 0.25, 0])
    np.testing.assert_allclose(found["accuracy"], [0.75, 2 / 3, 1, np.nan])


def test_risk_coverage_by_hand():
    found = metrics.risk_coverage(Y, P)  # certainties .9 .8 .6 .5; right right wrong right
    np.testing.assert_allclose(found.coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(found.risk, [0, 0, 1 / 3, 1 / 4])
    assert found.aurc == pytest.approx((1 / 3 + 1 / 4) / 4)


def test_ood_scores_by_hand():
    perfect = metrics.ood_scores([0.1, 0.2], [0.8, 0.9])
    assert perfect == (1.0, 1.0, 0.0)
    blind = metrics.ood_scores([0.5, 0.5], [0.5, 0.5])
    assert blind.auroc == 0.5
    assert blind.fpr95 == 1.0


@given(st.integers(2, 20), st.integers(1, 6), st.integers(0, 10_000))
def test_entropy_parts_add_up_and_are_bounded(draws, rows, seed):
    p = np.random.default_rng(seed).random((draws, rows))
    parts = uncertainty.entropy_decomposition(p)
    np.testing.assert_allclose(parts.total, parts.aleatoric + parts.epistemic, atol=1e-12)
    assert (parts.epistemic >= 0).all()
    assert (parts.total <= np.log(2) + 1e-12).all()
    labelled = xr.DataArray(p[None], dims=("chain", "draw", "obs"))
    np.testing.assert_allclose(
        uncertainty.entropy_decomposition(labelled).epistemic, parts.epistemic
    )
    classes = np.stack([1 - p, p], axis=-1)
    again = uncertainty.entropy_decomposition(classes, class_axis=-1)
    np.testing.assert_allclose(again.total, parts.total)


def test_entropy_of_certain_and_opposite_draws():
    parts = uncertainty.entropy_decomposition(np.array([[0.0], [1.0]]))
    assert parts.aleatoric[0] == 0
    assert parts.epistemic[0] == pytest.approx(np.log(2))
    same = uncertainty.entropy_decomposition(np.array([[0.5], [0.5]]))
    assert same.epistemic[0] == 0
    assert same.total[0] == pytest.approx(np.log(2))


def test_variance_is_that_of_draws_and_adding_sd_is_not():
    rng = np.random.default_rng(0)
    n = 400_000
    mu, sigma = rng.normal(1, 0.3, (n, 1)), rng.uniform(0.1, 0.3, (n, 1))
    drawn = rng.normal(mu, sigma)[:, 0]
    mcse = drawn.var() * np.sqrt(2 / n)
    parts = uncertainty.variance_decomposition(mu, sigma)
    assert abs(parts.total[0] - drawn.var()) < 5 * mcse
    assert abs(sigma.mean() + mu.var() - drawn.var()) > 50 * mcse
    two = uncertainty.variance_decomposition(np.array([[0.0], [2.0]]), np.array([[1.0], [3.0]]))
    assert (two.aleatoric[0], two.epistemic[0], two.total[0]) == (5.0, 1.0, 6.0)


@pytest.mark.parametrize(
    ("y", "p", "error", "message"),
    [
        (Y[:3], P, ValueError, "same length, got 3 and 4"),
        (Y, P * 2, ValueError, r"p must lie in \[0, 1\]"),
        (Y, np.full(4, np.nan), ValueError, r"p must lie in \[0, 1\], got a value outside or NaN"),
        (Y.astype(float), P, TypeError, "y must hold integer labels"),
        (Y + 1, P, ValueError, r"y must hold labels 0\.\.1"),
        (Y, np.full((4, 3), 0.5), ValueError, "p must sum to 1"),
        (Y[:0], P[:0], ValueError, "y must be a non-empty"),
    ],
)
def test_bad_input(y, p, error, message):
    with pytest.raises(error, match=message):
        metrics.nll(y, p)


def test_bad_uncertainty_input():
    with pytest.raises(ValueError, match=r"probs must lie in \[0, 1\]"):
        uncertainty.entropy_decomposition(np.array([[1.2]]))
    with pytest.raises(ValueError, match="probs must sum to 1"):
        uncertainty.entropy_decomposition(np.full((2, 1, 3), 0.5), class_axis=2)
    with pytest.raises(ValueError, match="sigma must not be negative, got -1"):
        uncertainty.variance_decomposition(np.zeros((2, 1)), np.array([[-1.0], [1.0]]))
    with pytest.raises(ValueError, match="same shape"):
        uncertainty.variance_decomposition(np.zeros((2, 1)), np.ones((3, 1)))
    with pytest.raises(ValueError, match=r"thresholds must be .* in \[0, 1\]"):
        metrics.accuracy_vs_certainty(Y, P, [2.0])
    with pytest.raises(ValueError, match="n_bins must be a positive integer, got 0"):
        metrics.reliability(Y, P, n_bins=0)
    with pytest.raises(ValueError, match="scores must be finite"):
        metrics.ood_scores([np.nan], [1.0])
