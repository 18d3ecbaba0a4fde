"""Student-t, counts, any likelihood: against scipy, scoringrules, quadrature and simulation."""

from itertools import pairwise

import numpy as np
import pytest
import scoringrules
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from bnnbook import metrics, uncertainty

seeds = st.integers(0, 100_000)


def student_draws(seed, draws, n=6):
    rng = np.random.default_rng(seed)
    mu, scale = 2 * rng.normal(size=(draws, n)), rng.gamma(2, 0.5, (draws, n)) + 0.05
    return 3 * rng.normal(size=n), mu, scale, 2.2 + rng.gamma(2, 3, draws)


@given(seeds, st.integers(1, 20))
def test_log_score_of_student_t_mixtures(seed, draws):
    y, mu, scale, nu = student_draws(seed, draws)
    density = stats.t.pdf(y, nu[:, None], mu, scale).mean(axis=0)
    expected = -np.log(density).mean()
    assert metrics.nll_student_t(y, mu, nu=nu, scale=scale) == pytest.approx(expected, rel=1e-10)
    sd = scale * np.sqrt(nu / (nu - 2))[:, None]
    assert metrics.nll_student_t(y, mu, nu=nu, sd=sd) == pytest.approx(expected, rel=1e-10)


def test_student_t_with_several_outputs_is_joint():
    y, mu, scale, _ = student_draws(0, 5)
    joint = stats.t.pdf(y, 4.0, mu, scale).reshape(5, 3, 2).prod(axis=2).mean(axis=0)
    found = metrics.nll_student_t(
        y.reshape(3, 2), mu.reshape(5, 3, 2), nu=4.0, scale=scale.reshape(5, 3, 2)
    )
    assert found == pytest.approx(-np.log(joint).mean(), rel=1e-12)


@pytest.mark.parametrize("nu", [1.1, 1.5, 3.0, 30.0, 1e4])
def test_crps_of_one_student_t_is_the_librarys(nu):
    y, mu, scale, _ = student_draws(1, 1)
    expected = scoringrules.crps_t(y, nu, mu[0], scale[0], backend="numpy").mean()
    found = metrics.crps_student_t(y, mu, nu=nu, scale=scale)
    assert found == pytest.approx(expected, rel=1e-4 if nu < 1.2 else 2e-5)


def crps_by_quadrature(y, mu, scale, nu):
    def distance(t):
        return (stats.t.cdf(t, nu, mu, scale).mean() - (t >= y)) ** 2

    steps = np.r_[-np.geomspace(1e5, 0.1, 25), 0, np.geomspace(0.1, 1e5, 25)]
    ends = np.unique(np.concatenate([(mu[:, None] + scale[:, None] * steps).ravel(), [y]]))
    return sum(integrate.quad(distance, a, b, epsabs=1e-11)[0] for a, b in pairwise(ends))


@pytest.mark.parametrize(("draws", "narrow"), [(2, 1.0), (2, 1e-3), (9, 1.0), (9, 0.02)])
def test_crps_of_student_t_mixtures_is_the_integral(draws, narrow):
    y, mu, scale, nu = student_draws(2, draws, n=1)
    scale = narrow * scale
    expected = crps_by_quadrature(y[0], mu[:, 0], scale[:, 0], nu)
    found = metrics.crps_student_t(y, mu, nu=nu, scale=scale)
    assert found == pytest.approx(expected, rel=5e-5)
    sd = scale * np.sqrt(nu / (nu - 2))[:, None]
    assert metrics.crps_student_t(y, mu, nu=nu, sd=sd) == pytest.approx(found, rel=1e-12)


def test_crps_of_many_degrees_of_freedom_is_the_normals_and_of_few_is_not():
    y, mu, scale, _ = student_draws(3, 50, n=40)
    normal = metrics.crps(y, mu, scale)
    assert metrics.crps_student_t(y, mu, nu=1e7, scale=scale) == pytest.approx(normal, rel=2e-5)
    sd_of_three = scale * np.sqrt(3.0)
    heavy = metrics.crps_student_t(y, mu, nu=3.0, scale=scale)
    assert abs(heavy - metrics.crps(y, mu, sd_of_three)) > 1e-3


def test_labelled_student_t_draws_and_shared_degrees_of_freedom():
    y, mu, scale, nu = student_draws(4, 6)
    dims = ("chain", "draw", "obs")
    labelled = [xr.DataArray(a.reshape(2, 3, 6), dims=dims) for a in (mu, scale)]
    dof = xr.DataArray(nu.reshape(2, 3), dims=dims[:2])
    for score in (metrics.nll_student_t, metrics.crps_student_t):
        expected = score(y, mu, nu=nu, scale=scale)
        assert score(y, labelled[0], nu=dof, scale=labelled[1]) == pytest.approx(
            expected, rel=1e-12
        )
        turned = labelled[0].transpose("obs", "draw", "chain")
        assert score(y, turned, nu=dof, scale=labelled[1]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"sd": np.ones((2, 3))}, TypeError, "one of the two"),
        ({"scale": None}, TypeError, "one of the two"),
        ({"scale": -np.ones((2, 3))}, ValueError, r"scale must be positive, got -1\.0"),
        ({"scale": np.ones((2, 2))}, ValueError, "mu and scale must have the same shape"),
        ({"nu": 0.0}, ValueError, r"nu must be positive, got 0\.0"),
        ({"nu": [1.0, 2.0, 3.0]}, ValueError, "nu must be a number, one a draw"),
        ({"nu": 2.0, "scale": None, "sd": np.ones((2, 3))}, ValueError, "nu must be above 2 for"),
        ({"y": np.zeros(2)}, ValueError, "y must have the shape of one draw of mu"),
    ],
)
def test_bad_student_t_input(change, error, message):
    arguments = {"y": np.zeros(3), "mu": np.zeros((2, 3)), "nu": 4.0, "scale": np.ones((2, 3))}
    arguments |= change
    with pytest.raises(error, match=message):
        metrics.nll_student_t(arguments.pop("y"), arguments.pop("mu"), **arguments)


def test_crps_of_a_student_t_without_mean_is_refused():
    with pytest.raises(ValueError, match="nu must be above 1 for a finite CRPS, got 1"):
        metrics.crps_student_t([0.0], [[0.0]], nu=1.0, scale=[[1.0]])


def count_draws(seed, draws=4, n=7):
    rng = np.random.default_rng(seed)
    mu = rng.gamma(2, 3, (draws, n)) + 0.01
    return rng.poisson(mu.mean(axis=0)), mu, rng.gamma(2, 2, draws) + 0.1, rng.random(draws)


@given(seeds)
@settings(max_examples=30)
def test_count_scores_are_their_definitions(seed):
    """Against probabilities summed one by one, for all four likelihoods."""
    y, mu, alpha, psi = count_draws(seed)
    k = np.arange(2000)
    for a, z in ((None, None), (alpha, None), (None, psi), (alpha, psi)):
        if a is None:
            pmf = stats.poisson.pmf(k[:, None, None], mu)
        else:
            pmf = stats.nbinom.pmf(k[:, None, None], a[:, None], (a[:, None] / (a[:, None] + mu)))
        if z is not None:
            pmf = z[:, None] * pmf
            pmf[0] += 1 - z[:, None]
        pmf = pmf.mean(axis=1)  # over draws: (k, n)
        rows = np.arange(len(y))
        expected = -np.log(pmf[y, rows]).mean()
        assert metrics.nll_counts(y, mu, a, z) == pytest.approx(expected, rel=1e-9)
        cdf = pmf.cumsum(axis=0)
        rps = ((cdf - (y <= k[:, None])) ** 2).sum(axis=0).mean()
        assert metrics.crps_counts(y, mu, a, z) == pytest.approx(rps, rel=1e-6)
        u = metrics.pit_counts(y, mu, a, z, seed=0)
        assert (u <= cdf[y, rows] + 1e-12).all()
        assert (u >= cdf[y, rows] - pmf[y, rows] - 1e-12).all()


def test_count_crps_of_one_draw_is_the_librarys():
    y, mu, alpha, _ = count_draws(5, draws=1)
    poisson = scoringrules.crps_poisson(y, mu[0], backend="numpy").mean()
    assert metrics.crps_counts(y, mu) == pytest.approx(poisson, rel=1e-8)
    p = alpha / (alpha + mu[0])
    negative = scoringrules.crps_negbinom(y, alpha[0], p, backend="numpy").mean()
    assert metrics.crps_counts(y, mu, alpha) == pytest.approx(negative, rel=1e-6)


def test_randomised_pit_of_counts_is_uniform_only_if_calibrated():
    rng = np.random.default_rng(0)
    n = 4000
    mu, alpha = rng.gamma(2, 1, (3, n)) + 0.05, np.array([0.7, 1.5, 4.0])
    member, rows = rng.integers(3, size=n), np.arange(n)
    mean, shape = mu[member, rows], alpha[member]
    y = rng.negative_binomial(shape, shape / (shape + mean))
    right = metrics.pit_counts(y, mu, alpha, seed=1)
    assert stats.kstest(right, "uniform").pvalue > 1e-3
    np.testing.assert_array_equal(right, metrics.pit_counts(y, mu, alpha, seed=1))
    assert (right != metrics.pit_counts(y, mu, alpha, seed=2)).mean() > 0.99
    for wrong in (metrics.pit_counts(y, mu, seed=1), metrics.pit_counts(y, 2 * mu, alpha, seed=1)):
        assert stats.kstest(wrong, "uniform").pvalue < 1e-6
    assert metrics.nll_counts(y, mu, alpha) < metrics.nll_counts(y, mu)
    assert metrics.crps_counts(y, mu, alpha) < metrics.crps_counts(y, 2 * mu, alpha)


def test_zero_that_no_draw_allows_is_infinite_and_inflation_allows_it():
    assert metrics.nll_counts([0], [[1000.0]], psi=0.5) == pytest.approx(np.log(2))
    assert metrics.nll_counts([3], [[2.0]], psi=0.0) == np.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [1.5, 0]}, r"y must hold whole numbers from 0, got 1\.5 in row 0"),
        ({"y": [0, -1]}, r"y must hold whole numbers from 0, got -1 in row 1"),
        ({"y": [0, 1, 2]}, "y must have the shape of one draw of mu"),
        ({"mu": -np.ones((3, 2))}, r"mu must be positive, got -1\.0"),
        ({"mu": np.ones((3, 2, 1))}, r"mu must have shape \(draws, n\), got \(3, 2, 1\)"),
        ({"alpha": 0.0}, r"alpha must be positive, got 0\.0"),
        ({"alpha": np.ones(2)}, r"alpha must be a number, one a draw, \(3,\)"),
        ({"psi": 1.2}, r"psi must lie in \[0, 1\]"),
    ],
)
@pytest.mark.parametrize("score", [metrics.nll_counts, metrics.crps_counts])
def test_bad_counts(score, change, message):
    with pytest.raises(ValueError, match=message):
        score(**({"y": [0, 3], "mu": np.ones((3, 2))} | change))
    with pytest.raises(TypeError, match="seed must be a non-negative integer"):
        metrics.pit_counts([0], [[1.0]], seed=None)


def test_log_score_averages_densities():
    density = np.array([[0.2, 0.5], [0.6, 1e-300], [0.1, 0.0]])
    with np.errstate(divide="ignore"):
        log_density = np.log(density)
    expected = -np.log(density.mean(axis=0)).mean()
    assert metrics.log_score(log_density) == pytest.approx(expected, rel=1e-12)
    assert metrics.log_score(np.full((2, 3), -1e5)) == pytest.approx(1e5)  # no underflow
    assert metrics.log_score(np.full((2, 1), -np.inf)) == np.inf
    labelled = xr.DataArray(log_density.T[None], dims=("chain", "obs", "draw"))
    assert metrics.log_score(labelled) == pytest.approx(expected, rel=1e-12)


def test_log_score_of_outputs_is_joint_and_that_of_normals_is_their_score():
    rng = np.random.default_rng(0)
    y, mu, sd = rng.normal(size=(3, 2)), rng.normal(size=(5, 3, 2)), rng.gamma(2, 1, (5, 3, 2))
    log_density = stats.norm.logpdf(y, mu, sd)
    assert metrics.log_score(log_density) == pytest.approx(
        metrics.gaussian_mixture_nll(y, mu, sd), rel=1e-12
    )
    labelled = xr.DataArray(log_density[None], dims=("chain", "draw", "obs", "output"))
    turned = labelled.transpose("output", "draw", "obs", "chain")
    assert metrics.log_score(turned) == pytest.approx(metrics.log_score(log_density), rel=1e-12)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(3), r"must have shape \(draws, n\) or \(draws, n, D\), got \(3,\)"),
        (np.full((2, 2), np.nan), r"got NaN or \+inf"),
        (np.full((2, 2), np.inf), r"got NaN or \+inf"),
        (xr.DataArray(np.zeros((2, 3))), "must have dims chain and draw, or sample"),
    ],
)
def test_bad_log_densities(value, message):
    with pytest.raises(ValueError, match=message):
        metrics.log_score(value)


def test_rmse_of_means_and_of_draws():
    rng = np.random.default_rng(0)
    y, mu = rng.normal(size=(4, 2)), rng.normal(size=(6, 4, 2))
    expected = np.sqrt(np.mean((y - mu.mean(axis=0)) ** 2))
    assert metrics.rmse(y, mu) == pytest.approx(expected)
    assert metrics.rmse(y, mu.mean(axis=0)) == pytest.approx(expected)
    labelled = xr.DataArray(mu.reshape(2, 3, 4, 2), dims=("chain", "draw", "obs", "output"))
    assert metrics.rmse(y, labelled) == pytest.approx(expected)
    assert metrics.rmse(y, labelled.mean(["chain", "draw"])) == pytest.approx(expected)
    assert metrics.rmse([3.0, 1.0], [0.0, 1.0]) == pytest.approx(np.sqrt(4.5))


def test_rmse_does_not_broadcast():
    with pytest.raises(ValueError, match="mu must have shape"):
        metrics.rmse(np.zeros((4, 1)), np.zeros(4))
    with pytest.raises(ValueError, match="y must have the shape of one draw of mu"):
        metrics.rmse(np.zeros(4), np.zeros((4, 1)))


@given(seeds, st.sampled_from([0.5, 0.8, 0.95]))
def test_interval_score_is_the_librarys_and_proper(seed, level):
    rng = np.random.default_rng(seed)
    y, lower, width = rng.normal(size=20), rng.normal(size=20) - 1, rng.gamma(2, 1, 20)
    expected = scoringrules.interval_score(y, lower, lower + width, 1 - level, backend="numpy")
    found = metrics.interval_score(y, lower, lower + width, level=level)
    assert found == pytest.approx(expected.mean(), rel=1e-12)
    many = rng.normal(size=4000)
    half = stats.norm.ppf((1 + level) / 2)
    best = metrics.interval_score(many, np.full(4000, -half), np.full(4000, half), level=level)
    for wrong in (0.5 * half, 2 * half):
        ends = np.full(4000, wrong)
        assert metrics.interval_score(many, -ends, ends, level=level) > best


def test_bad_interval_scores():
    with pytest.raises(ValueError, match=r"level must lie in \(0, 1\), got 95"):
        metrics.interval_score([0.0], [0.0], [1.0], level=95)
    with pytest.raises(ValueError, match="upper must not lie below lower"):
        metrics.interval_score([0.0], [1.0], [0.0], level=0.9)


def test_sigma_is_matched_to_mu_by_the_names_of_its_dims():
    rng = np.random.default_rng(0)
    dims = ("chain", "draw", "obs", "output")
    mu = xr.DataArray(rng.normal(size=(2, 3, 4, 4)), dims=dims)
    sigma = abs(mu) + 0.1
    y = rng.normal(size=(4, 4))
    expected = metrics.gaussian_mixture_nll(y, mu, sigma)
    turned = sigma.transpose("output", "draw", "obs", "chain")
    assert metrics.gaussian_mixture_nll(y, mu, turned) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match="mu and sigma must have the same dims"):
        metrics.crps(y, mu, sigma.rename(output="target"))


def mixture_draws(seed, draws=4, n=5, k=3):
    rng = np.random.default_rng(seed)
    shape = (draws, n, k)
    weight = rng.dirichlet(np.ones(k), (draws, n))
    return rng.normal(size=n), weight, rng.normal(size=shape), rng.gamma(2, 0.5, shape) + 0.05


def test_scores_of_mixture_densities_are_their_definitions():
    y, w, mu, sigma = mixture_draws(0)
    density = (w * stats.norm.pdf(y[:, None], mu, sigma)).sum(axis=2).mean(axis=0)
    assert metrics.nll_mixture(y, w, mu, sigma) == pytest.approx(-np.log(density).mean(), rel=1e-10)
    cdf = (w * stats.norm.cdf(y[:, None], mu, sigma)).sum(axis=2).mean(axis=0)
    np.testing.assert_allclose(metrics.pit_mixture(y, w, mu, sigma), cdf, rtol=1e-10)

    def squared(t, i):
        below = (w[:, i] * stats.norm.cdf(t, mu[:, i], sigma[:, i])).sum(axis=1).mean()
        return (below - (t >= y[i])) ** 2

    parts = [(-40, y[i], 40) for i in range(5)]
    expected = [
        sum(integrate.quad(squared, a, b, args=(i,), limit=200)[0] for a, b in pairwise(ends))
        for i, ends in enumerate(parts)
    ]
    assert metrics.crps_mixture(y, w, mu, sigma) == pytest.approx(np.mean(expected), rel=1e-6)


def test_equal_weights_of_one_mixture_are_draws_of_normals():
    y, _, mu, sigma = mixture_draws(1, draws=1)
    equal, draws = np.full(mu.shape, 1 / 3), [np.moveaxis(a[0], 1, 0) for a in (mu, sigma)]
    assert metrics.nll_mixture(y, equal, mu, sigma) == pytest.approx(
        metrics.gaussian_mixture_nll(y, *draws), rel=1e-12
    )
    assert metrics.crps_mixture(y, equal, mu, sigma) == pytest.approx(
        metrics.crps(y, *draws), rel=1e-10
    )


def test_labelled_mixtures_are_matched_by_the_names_of_their_dims():
    y, w, mu, sigma = mixture_draws(2)
    dims = ("chain", "draw", "obs", "component")
    labelled = [xr.DataArray(a[None], dims=dims) for a in (w, mu, sigma)]
    turned = labelled[0].transpose("component", "obs", "draw", "chain")
    for score in (metrics.nll_mixture, metrics.crps_mixture):
        assert score(y, turned, *labelled[1:]) == pytest.approx(score(y, w, mu, sigma), rel=1e-12)
    with pytest.raises(ValueError, match="weight must have the dims of mu"):
        metrics.nll_mixture(y, labelled[0].rename(component="part"), *labelled[1:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": np.full((2, 3, 2), 0.4)}, "weight must sum to 1"),
        ({"weight": np.tile([1.5, -0.5], (2, 3, 1))}, r"weight must not be negative, got -0\.5"),
        ({"sigma": np.zeros((2, 3, 2))}, r"sigma must be positive, got 0\.0"),
        ({"mu": np.zeros((2, 3))}, r"same shape \(draws, n, components\)"),
        ({"y": np.zeros(2)}, "y must have the shape of one draw"),
    ],
)
def test_bad_mixture_densities(change, message):
    given = {"weight": np.full((2, 3, 2), 0.5), "mu": np.zeros((2, 3, 2)),
             "sigma": np.ones((2, 3, 2))}  # fmt: skip
    with pytest.raises(ValueError, match=message):
        metrics.nll_mixture(**({"y": np.zeros(3)} | given | change))


def test_score_of_several_labels_is_their_joint_probability():
    rng = np.random.default_rng(0)
    p, y = rng.random((6, 4, 3)), rng.integers(0, 2, (4, 3))
    joint = np.where(y == 1, p, 1 - p).prod(axis=2).mean(axis=0)
    assert metrics.nll_multilabel(y, p) == pytest.approx(-np.log(joint).mean(), rel=1e-12)
    labelled = xr.DataArray(p.reshape(2, 3, 4, 3), dims=("chain", "draw", "obs", "label"))
    assert metrics.nll_multilabel(y, labelled) == pytest.approx(-np.log(joint).mean(), rel=1e-12)
    for change, message in (
        ({"y": y + 1}, "y must hold 0 or 1"),
        ({"p": 2 * p}, r"p must lie in \[0, 1\]"),
        ({"p": p[..., 0]}, r"p must have shape \(draws, n, labels\)"),
        ({"y": y[:2]}, "y must have the shape of one draw"),
    ):
        with pytest.raises(ValueError, match=message):
            metrics.nll_multilabel(**({"y": y, "p": p} | change))


@pytest.mark.parametrize("with_alpha", [False, True])
@pytest.mark.parametrize("with_psi", [False, True])
def test_variance_of_counts_is_that_of_simulated_ones(with_alpha, with_psi):
    rng = np.random.default_rng(0)
    _, mu, alpha, psi = count_draws(0, draws=3, n=2)
    alpha, psi = (np.broadcast_to(a[:, None], mu.shape) for a in (alpha + 1, psi))
    size = (200_000, *mu.shape)
    y = rng.negative_binomial(alpha, alpha / (alpha + mu), size) if with_alpha else (
        rng.poisson(mu, size)
    )  # fmt: skip
    y = np.where(rng.random(size) < psi, y, 0) if with_psi else y
    given = ({"alpha": alpha} if with_alpha else {}) | ({"psi": psi} if with_psi else {})
    split = uncertainty.count_decomposition(mu, **given)
    np.testing.assert_allclose(split.total, y.reshape(-1, 2).var(axis=0), rtol=0.03)
    np.testing.assert_allclose(split.epistemic, y.mean(axis=0).var(axis=0), rtol=0.05, atol=0.02)
    dims = ("draw", "obs")
    labelled = {k: xr.DataArray(v, dims=dims) for k, v in given.items()}
    same = uncertainty.count_decomposition(xr.DataArray(mu, dims=dims), **labelled)
    np.testing.assert_allclose(same.total, split.total)


def test_bad_count_decompositions():
    ones = np.ones((2, 3))
    for bad, message in (
        ((ones, -ones), r"alpha must be positive, got -1\.0"),
        ((0 * ones,), r"mu must be positive, got 0\.0"),
        ((ones, None, 2 * ones), r"psi must lie in \[0, 1\], got 2\.0"),
        ((ones, ones[:1]), r"alpha must have the shape of mu, \(2, 3\), got \(1, 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            uncertainty.count_decomposition(*bad)


def test_crps_of_large_counts():
    exact = metrics.crps_counts([1000], [[900.0], [1100.0]])  # sds of 30 and 33: count by count
    k = np.arange(3000)
    at = stats.poisson.cdf(k[:, None], [900.0, 1100.0]).mean(axis=1)
    assert exact == pytest.approx(((at - (k >= 1000)) ** 2).sum(), rel=1e-7)
    k = np.arange(200_000)
    alpha, mu = 3.0, 5000.0  # sd 2,900: in blocks of 14
    for y in (0, 3001, 5000, 20_000):
        by_hand = ((stats.nbinom.cdf(k, alpha, alpha / (alpha + mu)) - (k >= y)) ** 2).sum()
        assert metrics.crps_counts([y], [[mu]], alpha) == pytest.approx(by_hand, rel=2e-5)
    inflated = (1 - 0.3 + 0.3 * stats.poisson.cdf(k[:3000], 2000.0) - (k[:3000] >= 1900)) ** 2
    assert metrics.crps_counts([1900], [[2000.0]], psi=0.3) == pytest.approx(inflated.sum())
    normal = metrics.crps([1e6 + 500], [[1e6]], [[1e3]])
    assert metrics.crps_counts([1_000_500], [[1e6]]) == pytest.approx(normal, rel=1e-3)


def test_small_integers_do_not_wrap_in_count_decompositions():
    mu = xr.DataArray(np.array([[200], [100]], np.uint8), dims=("draw", "obs"))
    parts = uncertainty.count_decomposition(mu, mu)  # variance mu + mu^2 / mu = 2 mu
    assert [float(part[0]) for part in parts] == [300.0, 2500.0, 2800.0]
