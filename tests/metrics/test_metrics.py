"""Scores on hand-computed values, their properties, and bad input."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

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


def test_variance_of_a_mixture_of_two_normals():
    """N(-1, 0.2^2) and N(2, 1) with weights 3 : 1, by hand."""
    mu, sigma = np.array([-1.0, -1, -1, 2])[:, None], np.array([0.2, 0.2, 0.2, 1])[:, None]
    parts = uncertainty.variance_decomposition(mu, sigma)
    mean = 0.75 * -1 + 0.25 * 2
    second = 0.75 * (1 + 0.04) + 0.25 * (4 + 1)
    assert parts.total[0] == pytest.approx(second - mean**2, rel=1e-14)
    assert parts.epistemic[0] == pytest.approx(0.75 * 0.25 * 3**2, rel=1e-14)  # p (1 - p) d^2
    assert parts.aleatoric[0] == pytest.approx(0.75 * 0.04 + 0.25, rel=1e-14)
    assert np.mean(sigma) + np.var(mu) != pytest.approx(second - mean**2, rel=0.05)  # sd added
    assert np.mean(sigma**2) + np.var(mu, ddof=1) != pytest.approx(second - mean**2, rel=0.05)


def test_variance_keeps_labels():
    rng = np.random.default_rng(0)
    mu = xr.DataArray(
        rng.normal(size=(2, 5, 3, 2)),
        dims=("chain", "draw", "obs", "output"),
        coords={"obs": ["a", "b", "c"], "output": [10, 20]},
    )
    sigma = abs(mu) + 0.1
    parts = uncertainty.variance_decomposition(
        mu, sigma.transpose("output", "draw", "obs", "chain")
    )
    flat = uncertainty.variance_decomposition(
        *(a.to_numpy().reshape(10, 3, 2) for a in (mu, sigma))
    )
    for labelled, plain in zip(parts, flat, strict=True):
        assert labelled.dims == ("obs", "output")
        assert list(labelled["obs"].to_numpy()) == ["a", "b", "c"]
        np.testing.assert_allclose(labelled, plain, rtol=1e-12)


NORMAL_Y = np.array([0.3, -1.0])
NORMAL_MU = np.array([[0.0, -1.0], [1.0, 2.0], [0.5, 0.0]])
NORMAL_SD = np.array([[1.0, 0.5], [0.2, 1.0], [2.0, 0.3]])


def mixture_cdf(t, i):
    return stats.norm.cdf(t, NORMAL_MU[:, i], NORMAL_SD[:, i]).mean()


def test_nll_of_a_mixture_averages_densities():
    density = stats.norm.pdf(NORMAL_Y, NORMAL_MU, NORMAL_SD)
    expected = -np.log(density.mean(axis=0)).mean()
    found = metrics.gaussian_mixture_nll(NORMAL_Y, NORMAL_MU, NORMAL_SD)
    assert found == pytest.approx(expected, rel=1e-12)
    assert found < -np.log(density).mean()  # Jensen: averaging logarithms is another number
    # two outputs: the density of a row is the joint one
    joint = metrics.gaussian_mixture_nll(NORMAL_Y[None], NORMAL_MU[:, None], NORMAL_SD[:, None])
    assert joint == pytest.approx(-np.log(density.prod(axis=1).mean()), rel=1e-12)


def test_nll_of_far_targets_does_not_underflow():
    far = metrics.gaussian_mixture_nll([100.0], np.zeros((2, 1)), np.ones((2, 1)))
    assert far == pytest.approx(5000 + 0.5 * np.log(2 * np.pi), rel=1e-12)


def test_crps_is_the_integral():
    """Integral of (F(t) - 1[t >= y])^2 dt on a fine grid."""
    t = np.linspace(-20, 20, 400_001)
    expected = []
    for i, y in enumerate(NORMAL_Y):
        F = stats.norm.cdf(t[:, None], NORMAL_MU[:, i], NORMAL_SD[:, i]).mean(axis=1)
        expected.append(np.trapezoid((F - (t >= y)) ** 2, t))
    found = metrics.crps(NORMAL_Y, NORMAL_MU, NORMAL_SD)
    assert found == pytest.approx(np.mean(expected), abs=1e-4)
    # one certain draw: the absolute error
    assert metrics.crps([1.0], [[3.5]]) == pytest.approx(2.5)


def test_pit_and_interval_are_the_mixtures():
    expected = [mixture_cdf(y, i) for i, y in enumerate(NORMAL_Y)]
    np.testing.assert_allclose(metrics.pit(NORMAL_Y, NORMAL_MU, NORMAL_SD), expected, rtol=1e-12)
    lower, upper = metrics.predictive_interval(NORMAL_MU, NORMAL_SD, level=0.8)
    for i in range(2):
        assert mixture_cdf(lower[i], i) == pytest.approx(0.1, abs=1e-9)
        assert mixture_cdf(upper[i], i) == pytest.approx(0.9, abs=1e-9)
    draws = np.arange(101.0)[:, None]
    np.testing.assert_allclose(metrics.predictive_interval(draws, level=0.5), [[25.0], [75.0]])


def test_calibrated_targets_are_covered_and_have_uniform_pit():
    rng = np.random.default_rng(0)
    n = 4000
    mu, sigma = rng.normal(size=(5, n)), rng.uniform(0.5, 1.5, (5, n))
    member, rows = rng.integers(5, size=n), np.arange(n)
    y = rng.normal(mu[member, rows], sigma[member, rows])
    interval = metrics.predictive_interval(mu, sigma, level=0.9)
    error = 4.5 * np.sqrt(0.9 * 0.1 / n)
    assert abs(metrics.coverage(y, *interval) - 0.9) < error
    assert stats.kstest(metrics.pit(y, mu, sigma), "uniform").pvalue > 1e-4
    narrow = metrics.predictive_interval(mu, 0.5 * sigma, level=0.9)  # twice too sure
    assert metrics.coverage(y, *narrow) < 0.9 - error
    assert stats.kstest(metrics.pit(y, mu, 0.5 * sigma), "uniform").pvalue < 1e-6
    assert metrics.interval_width(*narrow) < metrics.interval_width(*interval)


def test_coverage_and_width_by_hand():
    assert metrics.coverage([0.0, 1.0, 5.0], [0, 2, 4], [1, 3, 5]) == pytest.approx(2 / 3)
    assert metrics.interval_width([0.0, 1.0], [1.0, 4.0]) == 2.0


def test_labelled_draws_give_the_same_scores():
    mu, sigma = (
        xr.DataArray(a.reshape(1, 3, 2), dims=("chain", "draw", "obs"))
        for a in (NORMAL_MU, NORMAL_SD)
    )
    for score in (metrics.gaussian_mixture_nll, metrics.crps):
        assert score(NORMAL_Y, mu, sigma) == pytest.approx(score(NORMAL_Y, NORMAL_MU, NORMAL_SD))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros(3)}, r"y must have the shape of one draw of mu, \(2,\), got \(3,\)"),
        ({"y": np.array([0, np.nan])}, "y must be finite"),
        ({"mu": np.zeros(2)}, r"mu must have shape \(draws, n\) or \(draws, n, D\), got \(2,\)"),
        ({"mu": NORMAL_MU + np.inf}, "mu must be finite"),
        ({"mu": xr.DataArray(NORMAL_MU)}, "mu must have dims chain and draw, got"),
        ({"sigma": NORMAL_SD[:2]}, r"same shape, got \(3, 2\), \(2, 2\)"),
        ({"sigma": -NORMAL_SD}, r"sigma must be positive, got -2\.0"),
    ],
)
@pytest.mark.parametrize("score", [metrics.gaussian_mixture_nll, metrics.crps, metrics.pit])
def test_bad_regression_input(score, change, message):
    with pytest.raises(ValueError, match=message):
        score(**({"y": NORMAL_Y, "mu": NORMAL_MU, "sigma": NORMAL_SD} | change))


def test_bad_intervals():
    with pytest.raises(ValueError, match=r"level must lie in \(0, 1\), got 90"):
        metrics.predictive_interval(NORMAL_MU, NORMAL_SD, level=90)
    with pytest.raises(ValueError, match=r"y, lower and upper must have the same shape"):
        metrics.coverage([1.0], [0.0, 0.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="upper must not lie below lower"):
        metrics.coverage([1.0], [2.0], [1.0])


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
    mu = xr.DataArray(np.zeros((2, 3)), dims=("draw", "obs"), coords={"obs": [0, 1, 2]})
    with pytest.raises(TypeError, match="both be DataArrays or both arrays, got DataArray and nd"):
        uncertainty.variance_decomposition(mu, np.ones((2, 3)))
    with pytest.raises(ValueError, match="must have the same dims"):
        uncertainty.variance_decomposition(mu, (mu + 1).rename(obs="row"))
    with pytest.raises(ValueError, match="must have the same labels"):
        uncertainty.variance_decomposition(mu, (mu + 1).assign_coords(obs=[0, 1, 9]))
    with pytest.raises(ValueError, match="mu and sigma must be finite"):
        uncertainty.variance_decomposition(np.full((2, 1), np.nan), np.ones((2, 1)))
    with pytest.raises(ValueError, match=r"thresholds must be .* in \[0, 1\]"):
        metrics.accuracy_vs_certainty(Y, P, [2.0])
    with pytest.raises(ValueError, match="n_bins must be a positive integer, got 0"):
        metrics.reliability(Y, P, n_bins=0)
    with pytest.raises(ValueError, match="scores must be finite"):
        metrics.ood_scores([np.nan], [1.0])
