"""What the scores refuse or put in order, instead of scoring the wrong numbers."""

import numpy as np
import pytest
import xarray as xr

from bnnbook import metrics, uncertainty

Y = np.array([0.0, 1.0, 3.0])
MU = np.array([[0.5, 1.0, 2.0], [0.0, 2.0, 4.0]])
DRAWS = xr.DataArray(MU, dims=("draw", "obs"), coords={"draw": [0, 1], "obs": [7, 8, 9]})
OTHER_ROWS = DRAWS.isel(obs=[2, 1, 0])
OTHER_DRAWS = DRAWS.isel(draw=[1, 0])


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (np.ma.masked_array(Y, mask=[True, False, False]), ValueError, "y must have no masked"),
        (Y + 1j, TypeError, "y must hold real numbers, got dtype complex"),
        (np.array([1, 2, 3], dtype="M8[D]"), TypeError, "y must hold real numbers, got dtype date"),
        (["1", "2", "3"], TypeError, "y must hold real numbers, got dtype <U1"),
        (np.array([1.0, None, "a"], dtype=object), TypeError, "y must hold real numbers"),
    ],
)
@pytest.mark.parametrize(
    "score",
    [
        lambda y: metrics.rmse(y, MU),
        lambda y: metrics.crps(y, MU),
        lambda y: metrics.nll_counts(y, MU + 1),
        lambda y: metrics.coverage(y, MU[0], MU[0] + 1),
    ],
)
def test_targets_that_are_no_real_numbers(score, y, error, message):
    with pytest.raises(error, match=message):
        score(y)


def test_masked_labels_probabilities_and_draws():
    p = np.ma.masked_array([[0.5, 0.5], [0.1, 0.9]], mask=[[False, False], [True, True]])
    with pytest.raises(ValueError, match=r"p must have no masked values, got 2 of 4"):
        metrics.nll([0, 1], p)
    with pytest.raises(ValueError, match="y must have no masked values"):
        metrics.accuracy(np.ma.masked_array([0, 1], mask=[False, True]), p.data)
    with pytest.raises(ValueError, match="probs must have no masked values"):
        uncertainty.entropy_decomposition(p, class_axis=1)
    with pytest.raises(ValueError, match="mu must have no masked values"):
        uncertainty.variance_decomposition(p, np.ones((2, 2)))


@pytest.mark.parametrize("other", [OTHER_ROWS, OTHER_DRAWS])
@pytest.mark.parametrize(
    "score",
    [
        lambda other: metrics.gaussian_mixture_nll(Y, DRAWS, other + 1),
        lambda other: metrics.crps(Y, DRAWS, other + 1),
        lambda other: metrics.nll_student_t(Y, DRAWS, nu=3.0, scale=other + 1),
        lambda other: metrics.nll_counts(Y, DRAWS + 1, alpha=other + 1),
        lambda other: metrics.predictive_interval(DRAWS, other + 1),
    ],
)
def test_parameters_with_labels_in_another_order(score, other):
    with pytest.raises(ValueError, match="must have the same labels along"):
        score(other)
    assert score(DRAWS) is not None


def test_classes_are_put_in_the_order_of_their_codes():
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    turned = xr.DataArray(p[:, ::-1], dims=("obs", "class"), coords={"class": [2, 1, 0]})
    assert metrics.nll([0, 2], turned) == metrics.nll([0, 2], p)
    named = xr.DataArray(p, dims=("obs", "class"), coords={"class": ["c", "b", "a"]})
    assert metrics.nll([0, 2], named) == metrics.nll([0, 2], p)


def test_draws_under_another_name_are_not_taken_for_rows():
    p = xr.DataArray([[0.2, 0.8], [0.4, 0.6]], dims=("member", "obs"))
    with pytest.raises(ValueError, match=r"dims of draws named chain, draw, sample"):
        metrics.nll([0, 1], p)


def test_small_integers_do_not_wrap():
    mu, sigma = np.array([[0], [2]], dtype=np.int8), np.array([[20], [30]], dtype=np.uint8)
    for wrap in (np.asarray, lambda v: xr.DataArray(v, dims=("draw", "obs"))):
        parts = uncertainty.variance_decomposition(wrap(mu), wrap(sigma))
        assert [float(part[0]) for part in parts] == [650.0, 1.0, 651.0]


@pytest.mark.parametrize("level", ["0.9", np.array([0.5, 0.9]), np.nan, 90])
def test_levels(level):
    with pytest.raises(ValueError, match=r"level must lie in \(0, 1\)"):
        metrics.predictive_interval(MU, MU + 1, level=level)
