"""Counts, grades, labels and mixtures: against PyMC's own log densities and SciPy's."""

import numpy as np
import pandas as pd
import polars as pl
import pymc as pm
import pytensor
import pytest
import xarray as xr
from scipy import special, stats

from bnnbook import inference, metrics, models, predict, uncertainty
from bnnbook.checks import ConvergenceWarning

N, D, WIDTH = 15, 2, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)) * [1.0, 4.0] + [0.0, 10.0]
COUNTS = RNG.negative_binomial(2, 0.3, N)
EXPOSURE = RNG.uniform(0.5, 3.0, N)
GRADES = np.r_[RNG.permutation(4), RNG.integers(0, 4, N - 4)]
LABELS = RNG.integers(0, 2, (N, 3))
REAL = 5 + 3 * RNG.normal(size=N)
QUIET = {"seed": 1, "progressbar": False}


def build(kind, X=X, **options):
    if kind == "ordinal":
        return models.mlp_ordinal(X, GRADES, (WIDTH,), **options)
    if kind == "multilabel":
        return models.mlp_multilabel(X, LABELS, (WIDTH,), **options)
    if kind == "mixture":
        return models.mlp_regression(X, REAL, (WIDTH,), likelihood="mixture", **options)
    return models.mlp_counts(X, COUNTS, (WIDTH,), likelihood=kind, **options)


def evaluated(model, names):
    """A point, deterministics there by name, log likelihood by row, and log prior."""
    rng = np.random.default_rng(1)
    point = {name: rng.normal(size=v.shape) for name, v in model.initial_point().items()}
    outputs = model.replace_rvs_by_values([model[name] for name in names])
    outputs += model.logp(vars=model.observed_RVs, sum=False)
    outputs.append(model.logp(vars=model.free_RVs, jacobian=False))
    outputs += model.replace_rvs_by_values(model.free_RVs)
    function = model.compile_fn(
        outputs, inputs=model.value_vars, on_unused_input="ignore", mode="FAST_COMPILE"
    )
    values = function(point)
    k = len(names)
    free = dict(zip((rv.name for rv in model.free_RVs), values[k + 2 :], strict=True))
    return free, dict(zip(names, values[:k], strict=True)), values[k], float(values[k + 1])


def outputs_by_hand(free, *suffixes):
    """Values of the last layer, and the log prior of all weights with PyMC's default scales."""
    h = np.tanh((X - X.mean(axis=0)) / X.std(axis=0) @ free["w1"] + free["b1"])
    prior = stats.norm.logpdf(free["w1"], 0, D**-0.5).sum() + stats.norm.logpdf(free["b1"]).sum()
    found = []
    for suffix in suffixes:
        w, b = free[f"w{suffix}"], free.get(f"b{suffix}", 0.0)
        prior += stats.norm.logpdf(w, 0, WIDTH**-0.5).sum()
        if f"b{suffix}" in free:
            prior += stats.norm.logpdf(b, 0, 2.0 if suffix == "_scale" else 1.0).sum()
        found.append(h @ w + b)
    return *found, prior


@pytest.mark.parametrize("inflated", [False, True])
@pytest.mark.parametrize("kind", ["poisson", "negative_binomial"])
def test_counts(kind, inflated):
    name = f"zero_inflated_{kind}" if inflated else kind
    model = build(name, exposure=EXPOSURE)
    extra = ["alpha"] if kind == "negative_binomial" else []
    free, found, loglik, log_prior = evaluated(
        model, ["rate", "mu", *extra, *(["psi"] if inflated else [])]
    )
    *f, prior = outputs_by_hand(free, "_out", *(["_psi"] if inflated else []))
    mu = EXPOSURE * COUNTS.sum() / EXPOSURE.sum() * np.exp(f[0])
    psi = special.expit(f[1]) if inflated else np.ones(N)
    np.testing.assert_allclose(found["mu"], mu, rtol=1e-10)
    np.testing.assert_allclose(found["rate"], mu / EXPOSURE, rtol=1e-10)
    if kind == "poisson":
        pmf = stats.poisson.pmf(COUNTS, mu)
        own = pm.ZeroInflatedPoisson.dist(psi, mu) if inflated else pm.Poisson.dist(mu)
        alpha = None
    else:
        alpha = 1 / free["overdispersion"]
        prior += stats.halfnorm.logpdf(free["overdispersion"])
        pmf = stats.nbinom.pmf(COUNTS, alpha, alpha / (alpha + mu))
        np.testing.assert_allclose(found["alpha"], np.full(N, alpha))
        own = (
            pm.ZeroInflatedNegativeBinomial.dist(psi, mu=mu, alpha=alpha)
            if inflated else pm.NegativeBinomial.dist(mu=mu, alpha=alpha)
        )  # fmt: skip
    by_hand = np.log(psi * pmf + (1 - psi) * (COUNTS == 0))
    np.testing.assert_allclose(loglik, by_hand, rtol=1e-8)
    np.testing.assert_allclose(loglik, pm.logp(own, COUNTS).eval(), rtol=1e-8)
    assert log_prior == pytest.approx(prior, rel=1e-10)
    # the score and the split take the model's own deterministics
    given = {k: v[None] for k, v in found.items() if k != "rate"}
    assert metrics.nll_counts(COUNTS, **given) == pytest.approx(-loglik.mean(), rel=1e-8)
    noise = mu + (0 if alpha is None else mu**2 / alpha)
    noise = psi * noise + psi * (1 - psi) * mu**2
    split = uncertainty.count_decomposition(**given)
    np.testing.assert_allclose(split.aleatoric, noise, rtol=1e-10)
    np.testing.assert_allclose(split.epistemic, 0, atol=1e-12)


def test_grades():
    model = build("ordinal")
    free, found, loglik, log_prior = evaluated(model, ["p", "cutpoints"])
    f, prior = outputs_by_hand(free, "_out")
    below = np.cumsum(free["baseline"])[:-1]
    np.testing.assert_allclose(found["cutpoints"], special.logit(below), rtol=1e-8)
    assert (np.diff(found["cutpoints"]) > 0).all()
    own = pm.OrderedLogistic.dist(eta=f, cutpoints=found["cutpoints"])
    np.testing.assert_allclose(loglik, pm.logp(own, GRADES).eval(), rtol=1e-8)
    cdf = special.expit(found["cutpoints"] - f[:, None])
    np.testing.assert_allclose(np.cumsum(found["p"], axis=1)[:, :-1], cdf, rtol=1e-8)
    assert log_prior == pytest.approx(prior + np.log(6.0), rel=1e-10)  # Dirichlet(1, 1, 1, 1)
    assert "b_out" not in free
    assert metrics.nll(GRADES, found["p"]) == pytest.approx(-loglik.mean(), rel=1e-8)


def test_grades_far_from_the_cut_points_keep_their_probability():
    """Where differences of two sigmoids near 1 are zero."""
    model = build("ordinal", bias=False, standardise_inputs=False)
    graph = model.replace_rvs_by_values([model["p"]])
    function = model.compile_fn(graph, inputs=model.value_vars, mode="FAST_COMPILE")
    point = {k: np.zeros_like(v) for k, v in model.initial_point().items()}
    point["w1"] = point["w1"] + 100.0  # tanh is 1 where the inputs' sum is positive
    point["w_out"] = np.full(WIDTH, -20.0)
    (p,) = function(point)
    row = int(np.argmax(X.sum(axis=1)))
    f, cuts = -60.0, special.logit([0.25, 0.5, 0.75])
    tail = np.log(np.exp(-(cuts[1] - f)) - np.exp(-(cuts[2] - f)))  # 1 - s(x) = e^-x there
    assert np.log(p[row, 2]) == pytest.approx(tail, rel=1e-6)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)


def test_labels():
    frame = pd.DataFrame(LABELS, columns=["red", "blue", "green"])
    model = models.mlp_multilabel(X, frame, (WIDTH,))
    assert model.coords["label"] == ("red", "blue", "green")
    free, found, loglik, log_prior = evaluated(model, ["p"])
    f, prior = outputs_by_hand(free, "_out")
    np.testing.assert_allclose(found["p"], special.expit(f), rtol=1e-10)
    np.testing.assert_allclose(loglik, stats.bernoulli.logpmf(LABELS, special.expit(f)), rtol=1e-8)
    assert log_prior == pytest.approx(prior, rel=1e-10)
    score = metrics.nll_multilabel(LABELS, found["p"][None])
    assert score == pytest.approx(-loglik.sum(axis=1).mean(), rel=1e-8)
    split = uncertainty.entropy_decomposition(found["p"][None])
    np.testing.assert_allclose(split.total, stats.bernoulli.entropy(found["p"]), rtol=1e-8)


@pytest.mark.parametrize("heteroskedastic", [True, False])
def test_mixtures(heteroskedastic):
    model = build("mixture", heteroskedastic=heteroskedastic, n_components=2)
    names = ["weight", "component_mu", "component_sigma", "mu", "sigma"]
    free, found, loglik, log_prior = evaluated(model, names)
    suffixes = ["_out", "_weight", *(["_scale"] if heteroskedastic else [])]
    *f, prior = outputs_by_hand(free, *suffixes)
    centre, spread = REAL.mean(), REAL.std()
    mu, w = centre + spread * f[0], special.softmax(f[1], axis=1)
    if heteroskedastic:
        sigma = spread * (1e-3 + np.log1p(np.exp(f[2])))
    else:
        assert free["noise"].shape == (2,)
        prior += stats.halfnorm.logpdf(free["noise"]).sum()
        sigma = spread * (1e-3 + free["noise"]) * np.ones_like(mu)
    by_hand = special.logsumexp(np.log(w) + stats.norm.logpdf(REAL[:, None], mu, sigma), axis=1)
    np.testing.assert_allclose(loglik, by_hand, rtol=1e-8)
    own = pm.NormalMixture.dist(w=w, mu=mu, sigma=sigma)
    np.testing.assert_allclose(loglik, pm.logp(own, REAL).eval(), rtol=1e-8)
    assert log_prior == pytest.approx(prior, rel=1e-10)
    mean = (w * mu).sum(axis=1)
    second = (w * (sigma**2 + mu**2)).sum(axis=1)
    np.testing.assert_allclose(found["mu"], mean, rtol=1e-10)
    np.testing.assert_allclose(found["sigma"], np.sqrt(second - mean**2), rtol=1e-6)
    parts = [found[name][None] for name in names[:3]]
    assert metrics.nll_mixture(REAL, *parts) == pytest.approx(-loglik.mean(), rel=1e-8)


def test_fits_in_batches_and_predictions_at_new_rows():
    shapes = {"mixture": ("weight", (3,)), "ordinal": ("p", (4,)),
              "zero_inflated_negative_binomial": ("psi", ())}  # fmt: skip
    options = {"batch_size": 5, "draws": 2, "n_starts": 1, **QUIET}
    for kind, (name, rest) in shapes.items():
        model = build(kind)
        with pytest.warns(ConvergenceWarning):
            fit = inference.fit_advi(model, n=5, **options)
        found = predict.compile_predictor(model, name)(fit, X[:6])[name]
        assert found.shape == (1, 2, 6, *rest)
        assert np.isfinite(found).all()


def some_draws(model):
    """A posterior of any two draws."""
    rng, found = np.random.default_rng(2), {}
    for rv in model.free_RVs:
        dims = model.named_vars_to_dims.get(rv.name, ())
        shape = [len(model.coords[dim]) for dim in dims]
        found[rv.name] = (("chain", "draw", *dims), rng.normal(size=(1, 2, *shape)))
    return xr.Dataset(found)


def test_mean_counts_follow_the_exposure_and_rates_do_not_need_it():
    model = build("poisson", exposure=EXPOSURE)
    draws = some_draws(model)
    rate = predict.compile_predictor(model, "rate")(draws, X[:4])["rate"]
    new = {"X": X[:4], "exposure": np.array([1.0, 2.0, 5.0, 0.1])}
    mu = predict.compile_predictor(model, "mu")(draws, new)["mu"]
    np.testing.assert_allclose(mu, rate * new["exposure"], rtol=1e-10)
    with pytest.raises(ValueError, match=r"exposure must not be negative, got -2.0 in row 1"):
        predict.compile_predictor(model, "mu")(draws, new | {"exposure": [1.0, -2.0, 5.0, 0.1]})


def test_minibatch_tensors():
    for y, make in (
        (COUNTS, models.mlp_counts), (GRADES, models.mlp_ordinal), (LABELS, models.mlp_multilabel),
    ):  # fmt: skip
        Xb, yb = pm.Minibatch(X, y, batch_size=5)
        model = make(Xb, yb, (2,), total_size=N)
        assert np.isfinite(model.compile_logp(mode="FAST_COMPILE")(model.initial_point()))
    with pytest.raises(TypeError, match="exposure needs X and y as arrays, got minibatch tensors"):
        models.mlp_counts(*pm.Minibatch(X, COUNTS, batch_size=5), total_size=N, exposure=EXPOSURE)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (np.r_[-1, COUNTS[1:]], ValueError, r"whole numbers from 0 .*got -1\.0 in row 0"),
        (np.r_[COUNTS[:-1], 2.5], ValueError, r"got 2\.5 in row 14"),
        (np.r_[COUNTS[:-1], 2.0**40], ValueError, "whole numbers from 0 to 2147483647"),
        (np.r_[COUNTS[:-1], np.nan], ValueError, "y must be finite"),
        (pd.Series([None, *COUNTS[1:]], dtype="Int64"), ValueError, "missing value in row 0"),
        (np.zeros(N, int), ValueError, "a count above 0, got zeros only"),
        (COUNTS > 2, TypeError, "y must hold counts, got booleans"),
        ((COUNTS > 2).astype(object), TypeError, "y must hold counts, got booleans"),
        (COUNTS.astype(str), TypeError, "y must be real numbers"),
        (COUNTS[:, None], ValueError, r"one axis \(rows\), got shape \(15, 1\)"),
        (COUNTS[:-1], ValueError, "same length, got 15 and 14"),
    ],
)
def test_bad_counts(y, error, message):
    with pytest.raises(error, match=message):
        models.mlp_counts(X, y)


def test_counts_that_a_narrow_integer_would_wrap():
    large = np.r_[COUNTS[:-1], 70_000]
    models.mlp_counts(X, large)
    message = r"from 0 to 32767 \(floatX is float32\), got 70000\.0 in row 14"
    with pytensor.config.change_flags(floatX="float32"), pytest.raises(ValueError, match=message):
        models.mlp_counts(X, large)


@pytest.mark.parametrize(
    ("exposure", "message"),
    [
        (EXPOSURE[:-1], r"exposure must have shape \(15,\), as y, got \(14,\)"),
        (np.r_[0.0, EXPOSURE[1:]], r"exposure must be positive, got 0\.0 in row 0"),
        (np.r_[EXPOSURE[:-1], np.nan], "exposure must be finite"),
    ],
)
def test_bad_exposure(exposure, message):
    with pytest.raises(ValueError, match=message):
        models.mlp_counts(X, COUNTS, exposure=exposure)
    with pytest.raises(ValueError, match="likelihood must be one of"):
        models.mlp_counts(X, COUNTS, likelihood="gamma")


NAMES = ["poor", "fair", "good", "best"]
NAMED = np.array(NAMES)[GRADES]


@pytest.mark.parametrize(
    ("y", "grades", "labels"),
    [
        (GRADES, None, (0, 1, 2, 3)),
        (GRADES + 1, (1, 2, 3, 4), (1, 2, 3, 4)),
        (NAMED, NAMES, tuple(NAMES)),
        (pd.Series(pd.Categorical(NAMED, NAMES, ordered=True)), None, tuple(NAMES)),
        (pl.Series(NAMED, dtype=pl.Enum(NAMES)), None, tuple(NAMES)),
    ],
    ids=["integers", "from 1", "strings", "pandas", "polars"],
)
def test_grades_of_any_kind(y, grades, labels):
    model = models.mlp_ordinal(X, y, (2,), grades=grades)
    assert model.coords["class"] == labels
    np.testing.assert_array_equal(model["y"].get_value(), GRADES)


@pytest.mark.parametrize(
    ("y", "grades", "error", "message"),
    [
        (NAMED, None, TypeError, "y must say how its grades are ordered, got labels"),
        (pd.Categorical(NAMED), None, TypeError, "must say how its grades are ordered"),
        (np.where(GRADES == 2, 1, GRADES), None, ValueError, "every grade, none has 2 of"),
        (GRADES + 1, None, ValueError, r"none has 0 of .*grades=\(1, ...\) if they start at 1"),
        (GRADES - 1, None, ValueError, r"grades 0, 1, ..., got -1"),
        (NAMED, [*NAMES, "ideal"], ValueError, "every grade, none has 'ideal' of"),
        (pd.Categorical(NAMED, [*NAMES, "ideal"], ordered=True), None, ValueError,
         "every grade, none has 'ideal'"),
        (NAMED, NAMES[:-1], ValueError, r"grades of \['poor', 'fair', 'good'\], got 'best' in row"),
        (pd.Categorical(NAMED, NAMES, ordered=True), NAMES[::-1], ValueError,
         "grades must have the order of y's categories"),
        (GRADES, (0, 2, 1, 3), ValueError, "grades must go from the lowest to the highest"),
        (NAMED, [*NAMES, "poor"], ValueError, "name each grade once, got 'poor' more than once"),
        (np.zeros(N, int), None, ValueError, r"at least two grades, got \[0\]"),
        (GRADES / 2, None, TypeError, "y must hold labels"),
        (GRADES[:, None], None, ValueError, r"one axis \(rows\), got shape \(15, 1\)"),
    ],
)  # fmt: skip
def test_bad_grades(y, grades, error, message):
    with pytest.raises(error, match=message):
        models.mlp_ordinal(X, y, grades=grades)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (LABELS[:, 0], r"y must have shape \(rows, labels\), .*got \(15,\)"),
        (LABELS * 2, r"y must hold 0 or 1, got 2\.0 in row"),
        (pd.DataFrame(LABELS - 1.0, columns=list("abc")), r"got -1\.0 in row \d+, column 'a'"),
    ],
)
def test_bad_labels(y, message):
    with pytest.raises(ValueError, match=message):
        models.mlp_multilabel(X, y)


def test_bad_mixtures():
    with pytest.raises(ValueError, match=r"needs y of shape \(rows,\), got \(15, 2\)"):
        models.mlp_regression(X, np.c_[REAL, REAL**2], likelihood="mixture")
    with pytest.raises(ValueError, match="n_components needs likelihood='mixture', got 'normal'"):
        models.mlp_regression(X, REAL, n_components=2)
    with pytest.raises(ValueError, match="n_components must be at least 1, got 0"):
        models.mlp_regression(X, REAL, likelihood="mixture", n_components=0)
