"""Regression networks against networks by hand and against closed-form linear regression."""

import arviz as az
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from scipy import stats

from bnnbook import diagnostics, inference, models, predict, uncertainty

N, D = 14, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D))
Y = {1: 5 + 3 * RNG.normal(size=N), 2: [1, -4] + [2.0, 0.1] * RNG.normal(size=(N, 2))}
LINKS = {
    "softplus": lambda a, floor: floor + np.log1p(np.exp(a)),
    "exp": lambda a, floor: floor + np.exp(a),
    "clipped": np.maximum,
}
QUIET = {"seed": 1, "progressbar": False}


def random_point(model):
    rng = np.random.default_rng(1)
    return {name: rng.normal(size=v.shape) for name, v in model.initial_point().items()}


def by_hand(
    point, y, hidden, *, hetero=True, link="softplus", floor=1e-3, student=False, raw=False
):
    """Log joint density without Jacobians, mean and sd in the units of y."""
    free = dict(point)
    log_prior = 0.0
    if not hetero:
        free["noise"] = np.exp(free.pop("noise_log__"))
        log_prior += stats.halfnorm.logpdf(free["noise"]).sum()
    if student:
        free["nu_excess"] = np.exp(free.pop("nu_excess_log__"))
        log_prior += stats.gamma.logpdf(free["nu_excess"], 2, scale=10)
    log_prior += sum(
        stats.norm.logpdf(v, 0, 0.5 if "scale" in k else 2.0).sum()
        for k, v in free.items()
        if k not in ("noise", "nu_excess")
    )
    h = X if raw else (X - X.mean(axis=0)) / X.std(axis=0)
    for layer in range(1, len(hidden) + 1):
        h = np.tanh(h @ free[f"w{layer}"] + free[f"b{layer}"])
    centre, spread = y.mean(axis=0), y.std(axis=0)
    mu = centre + spread * (h @ free["w_out"] + free["b_out"])
    if hetero:
        scale = spread * LINKS[link](h @ free["w_scale"] + free["b_scale"], floor)
    else:
        scale = spread * (floor + free["noise"]) * np.ones_like(mu)
    if student:
        nu = 2 + free["nu_excess"]
        return (
            log_prior + stats.t.logpdf(y, nu, mu, scale).sum(), mu, scale * np.sqrt(nu / (nu - 2)),
        )  # fmt: skip
    return log_prior + stats.norm.logpdf(y, mu, scale).sum(), mu, scale


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"link": "exp", "floor": 0.02},
        {"link": "clipped", "floor": 0.3},
        {"hetero": False},
        {"student": True},
        {"hetero": False, "student": True},
        {"raw": True},
    ],
    ids=str,
)
def test_log_density_is_that_of_the_network_by_hand(outputs, options):
    y, hidden = Y[outputs], (4, 3)
    model = models.mlp_regression(
        X, y, hidden,
        prior_sd=2.0, scale_prior_sd=0.5,
        heteroskedastic=options.get("hetero", True),
        scale_link=options.get("link", "softplus"), scale_floor=options.get("floor", 1e-3),
        likelihood="student_t" if options.get("student") else "normal",
        standardise_inputs=not options.get("raw"),
    )  # fmt: skip
    point = random_point(model)
    expected, mu, sigma = by_hand(point, y, hidden, **options)
    assert model.compile_logp(jacobian=False, mode="FAST_COMPILE")(point) == pytest.approx(
        expected, rel=1e-10
    )
    graphs = model.replace_rvs_by_values([model["mu"], model["sigma"]])
    found = model.compile_fn(graphs, inputs=model.value_vars, on_unused_input="ignore")(point)
    np.testing.assert_allclose(found[0], mu, rtol=1e-10)
    np.testing.assert_allclose(found[1], sigma, rtol=1e-10)


def test_dims_and_predictions_at_new_inputs():
    model = models.mlp_regression(X, Y[2], (4,))
    assert model.named_vars_to_dims["w_out"] == ("hidden_1", "output")
    assert model.named_vars_to_dims["obs"] == ("obs_id", "output")
    fit = inference.fit_map(model, max_steps=20, **QUIET)
    found = predict.compile_predictor(model, ["mu", "sigma"])(fit, X[:5])
    assert found["mu"].dims == found["sigma"].dims == ("chain", "draw", "obs", "output")
    assert found.sizes["obs"] == 5
    one = models.mlp_regression(X, Y[1], heteroskedastic=False)
    fit = inference.fit_map(one, max_steps=20, **QUIET)
    found = predict.compile_predictor(one, ["mu", "sigma"])(fit, X[:5])
    assert found["sigma"].shape == (1, 1, 5)
    assert float(found["sigma"].max() - found["sigma"].min()) == 0.0


def test_units_of_the_target_do_not_matter():
    """The same fit in metres and in millimetres with another origin."""
    small, large = Y[1], 7 + 1000 * Y[1]
    found = []
    for y in (small, large):
        model = models.mlp_regression(X, y, (3,), prior_sd=0.5)
        fit = inference.fit_map(model, max_steps=30, **QUIET)
        found.append(predict.compile_predictor(model, ["mu", "sigma"])(fit, X))
    np.testing.assert_allclose(found[1]["mu"], 7 + 1000 * found[0]["mu"], rtol=1e-3)
    np.testing.assert_allclose(found[1]["sigma"], 1000 * found[0]["sigma"], rtol=1e-3)


def test_minibatch_likelihood_is_unbiased_for_the_full_one():
    full = models.mlp_regression(X, Y[1], (4,))
    point = random_point(full)
    Xb, yb = pm.Minibatch(X, Y[1], batch_size=4)
    model = models.mlp_regression(Xb, yb, (4,), total_size=N)
    logp = model.compile_fn(model.logp(vars=model.observed_RVs, sum=True), random_seed=2)
    draws = np.array([logp(point) for _ in range(3000)])
    mcse = draws.std() / np.sqrt(len(draws))
    expected = full.compile_logp(vars=full.observed_RVs, mode="FAST_COMPILE")(point)
    assert abs(draws.mean() - expected) < 4 * mcse
    assert abs(draws.mean() * 4 / N - expected) > 20 * mcse  # without N/n


def test_canonical_weights_keep_mean_and_scale():
    model = models.mlp_regression(X, Y[1], (4, 3))
    rng = np.random.default_rng(3)
    draws = xr.Dataset(
        {
            name: (("chain", "draw", *v), rng.normal(size=(2, 5, *shape)))
            for name, v, shape in [
                ("w1", ("feature", "hidden_1"), (D, 4)), ("b1", ("hidden_1",), (4,)),
                ("w2", ("hidden_1", "hidden_2"), (4, 3)), ("b2", ("hidden_2",), (3,)),
                ("w_out", ("hidden_2",), (3,)), ("b_out", (), ()),
                ("w_scale", ("hidden_2",), (3,)), ("b_scale", (), ()),
            ]
        }
    )  # fmt: skip
    draws = draws.assign_coords(chain=range(2), draw=range(5))
    predictor = predict.compile_predictor(model, ["mu", "sigma"])
    before, after = predictor(draws, X), predictor(diagnostics.canonicalise(draws), X)
    for name in ("mu", "sigma"):
        np.testing.assert_allclose(after[name], before[name], rtol=1e-9)


@pytest.mark.parametrize("hetero", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_marginal_output_is_the_same_posterior_in_other_coordinates(hetero, bias):
    """log p(theta, w_out(z), y) + log |d w_out / d z| = log p(theta, z, y), at any point."""
    options = {"prior_sd": [2.0, 0.5], "scale_prior_sd": 0.4, "heteroskedastic": hetero}
    options["standardise_inputs"] = False
    plain = models.mlp_regression(X, Y[1], (4,), bias=bias, **options)
    marginal = models.mlp_regression(X, Y[1], (4,), bias=bias, marginal_output=True, **options)
    point = random_point(marginal)
    z = point["z_out"]
    shifted = z + np.vstack([np.zeros(len(z)), np.eye(len(z))])
    draws = {k: v for k, v in point.items() if k != "noise_log__"}
    if not hetero:
        draws["noise"] = np.exp(point["noise_log__"])
    out = predictions_at(marginal, draws | {"z_out": shifted}, batched="z_out")
    h = np.tanh(X @ point["w1"] + point.get("b1", 0.0))
    features = np.column_stack([h, np.ones(N)]) if bias else h
    # from the predictions: mu is linear in w_out, w_out in z
    standard = (out["mu"][0].to_numpy().T - Y[1].mean()) / Y[1].std()
    weights = np.linalg.lstsq(features, standard, rcond=None)[0]
    w_out, jacobian = weights[:, 0], weights[:, 1:] - weights[:, :1]
    other = {k: v for k, v in point.items() if k != "z_out"}
    other |= {"w_out": w_out[:4]} | ({"b_out": w_out[4]} if bias else {})
    expected = log_joint(plain, other) + np.linalg.slogdet(jacobian)[1]
    assert log_joint(marginal, point) == pytest.approx(expected, rel=1e-9)
    plain_draws = {k: v for k, v in draws.items() if k != "z_out"} | other
    plain_draws.pop("noise_log__", None)
    same = predictions_at(plain, plain_draws)
    for name in ("mu", "sigma"):
        np.testing.assert_allclose(out[name][0, 0], same[name][0, 0], rtol=1e-9)


def log_joint(model, point):
    density = inference.compile_log_density(model)
    theta = np.concatenate([np.ravel(point[name]) for name in density.names])
    return float(
        density.log_prior(theta, density.data) + density.log_likelihood(theta, density.data)
    )


def predictions_at(model, point, batched=None):
    """Predictions at X for one point, or for each row of one of its variables."""
    rows = len(point[batched]) if batched else 1
    draws = {}
    for name, value in point.items():
        value = value if name == batched else np.repeat(np.asarray(value)[None], rows, axis=0)
        dims = [f"{name}_{i}" for i in range(value.ndim - 1)]
        draws[name] = (("chain", "draw", *dims), value[None])
    dataset = xr.Dataset(draws).assign_coords(chain=[0], draw=range(rows))
    return predict.compile_predictor(model, ["mu", "sigma"])(dataset, X)


def test_marginal_output_is_exact_without_hidden_layers(linear):
    """The posterior of z is then N(0, I) and that of mu the closed form."""
    *_, new, expected, epistemic, noise = linear
    x, y = linear_data()
    model = models.mlp_regression(
        x, y, (), heteroskedastic=False, noise_sd=noise, prior_sd=1.5, marginal_output=True,
        standardise_inputs=False,
    )  # fmt: skip
    z = np.random.default_rng(8).normal(size=(1, 4000, 3))
    draws = xr.Dataset({"z_out": (("chain", "draw", "head"), z)})
    draws = draws.assign_coords(chain=[0], draw=range(4000))
    mu = predict.compile_predictor(model, "mu")(draws, new)["mu"]
    assert (abs(mu.mean(["chain", "draw"]) - expected) < 4.5 * np.sqrt(epistemic / 4000)).all()
    np.testing.assert_allclose(mu.var(["chain", "draw"]), epistemic, rtol=4.5 * np.sqrt(2 / 4000))
    density = inference.compile_log_density(model)
    likelihood = float(density.log_likelihood(np.zeros(3), density.data))
    features = np.column_stack([x, np.ones(50)])
    cov = noise**2 * np.eye(50) + (1.5 * y.std()) ** 2 * features @ features.T
    evidence = stats.multivariate_normal.logpdf(y, np.full(50, y.mean()), cov)
    assert likelihood == pytest.approx(evidence, rel=1e-6)


def linear_data():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(50, 2))
    return x, 10 + x @ [2.0, -1.0] + 0.8 * rng.normal(size=50)


@pytest.fixture(scope="module")
def linear():
    """Linear regression with known noise: model, posterior of (w1, w2, b), mean and sd of mu."""
    rng, noise, prior = np.random.default_rng(6), 0.8, 1.5
    x, y = linear_data()
    model = models.mlp_regression(
        x, y, (), heteroskedastic=False, noise_sd=noise, prior_sd=prior, standardise_inputs=False
    )
    features = np.column_stack([x, np.ones(50)])
    sd = noise / y.std()
    covariance = np.linalg.inv(np.eye(3) / prior**2 + features.T @ features / sd**2)
    mean = covariance @ features.T @ ((y - y.mean()) / y.std()) / sd**2
    new = rng.normal(size=(6, 2)) * 3
    at = np.column_stack([new, np.ones(6)])
    epistemic = y.std() ** 2 * np.einsum("ij,jk,ik->i", at, covariance, at)
    return model, mean, covariance, new, y.mean() + y.std() * at @ mean, epistemic, noise


def decay(fraction):
    return 0.05 * (1 - fraction) + 1e-4


def posterior_of(fit):
    post = fit["posterior"]
    return np.concatenate([post["w_out"], post["b_out"].to_numpy()[..., None]], axis=-1)


@pytest.mark.parametrize("method", ["fullrank_advi", "nuts"])
def test_linear_regression_is_the_closed_form(linear, method):
    model, mean, covariance, new, expected, epistemic, noise = linear
    if method == "nuts":
        fit = inference.sample_nuts(model, draws=1000, tune=500, chains=4, **QUIET)
        n_effective = 1500  # well below what NUTS reaches on three dimensions
    else:
        fit = inference.fit_advi(
            model, 20_000, method=method, learning_rate=decay, draws=4000, **QUIET
        )
        n_effective = 800  # of 4,000 independent draws: leaves room for the optimiser's jitter
    draws = posterior_of(fit).reshape(-1, 3)
    sd = np.sqrt(np.diag(covariance))
    assert (np.abs(draws.mean(axis=0) - mean) < 4.5 * sd / np.sqrt(n_effective)).all()
    # each entry of the covariance in units of its own standard error
    error = np.sqrt((np.outer(sd, sd) ** 2 + covariance**2) / n_effective)
    assert (np.abs(np.cov(draws.T) - covariance) < 4.5 * error).all()
    out = predict.compile_predictor(model, ["mu", "sigma"])(fit, new)
    parts = uncertainty.variance_decomposition(out["mu"], out["sigma"])
    np.testing.assert_allclose(parts.aleatoric, noise**2, rtol=1e-10)
    relative = 4.5 * np.sqrt(2 / n_effective)
    np.testing.assert_allclose(parts.epistemic, epistemic, rtol=relative)
    spread = np.sqrt(epistemic / n_effective)
    assert (np.abs(out["mu"].mean(["chain", "draw"]) - expected) < 4.5 * spread).all()
    # mean field has no covariances, and the same checks must fail for it
    if method == "fullrank_advi":
        diagonal = np.diag(1 / np.diag(np.linalg.inv(covariance)))
        assert not (np.abs(diagonal - covariance) < 4.5 * error).all()


def test_langevin_on_linear_regression_is_the_closed_form_of_its_step(linear):
    """Full batches, step eps: covariance P^-1 (I - eps P / 2)^-1, with P the precision."""
    model, mean, covariance, new, expected, epistemic, noise = linear
    eps = 2e-4
    fit = inference.sample_sgmcmc(
        model, inference.sgld(eps), draws=2000, tune=500, thin=20, chains=4, **QUIET
    )
    draws = posterior_of(fit)
    exact = covariance @ np.linalg.inv(np.eye(3) - 0.5 * eps * np.linalg.inv(covariance))
    centred = draws - mean
    products = np.einsum("cdi,cdj->cdij", centred, centred)
    for i in range(3):
        assert abs(centred[..., i].mean()) < 4.5 * az.mcse(centred[..., i], method="mean")
        for j in range(i, 3):
            mcse = az.mcse(products[..., i, j], method="mean")
            assert abs(products[..., i, j].mean() - exact[i, j]) < 4.5 * mcse
            if i == j:  # the test would see a factor of 2
                assert abs(products[..., i, j].mean() - 2 * exact[i, j]) > 9 * mcse
    out = predict.compile_predictor(model, ["mu", "sigma"])(fit, new)
    parts = uncertainty.variance_decomposition(out["mu"], out["sigma"])
    np.testing.assert_allclose(parts.aleatoric, noise**2, rtol=1e-10)
    np.testing.assert_allclose(parts.epistemic, epistemic, rtol=0.2)  # its bias is up to 8 %
    np.testing.assert_allclose(out["mu"].mean(["chain", "draw"]), expected, atol=0.05)


def test_annealing_ends_at_the_same_optimum_on_linear_regression(linear):
    model, mean, covariance, *_ = linear
    fits = [
        inference.fit_advi(model, 8000, learning_rate=decay, kl_annealing=schedule, **QUIET)
        for schedule in (None, inference.linear_annealing(0.05, 0.3))
    ]
    # mean field's optimum on a normal posterior is known: Turner and Sahani (2011), eq. 2
    sd = np.sqrt(1 / np.diag(np.linalg.inv(covariance)))
    for fit in fits:
        found = fit["variational"]["w_out"].sel(stat="mean").to_numpy()
        assert (np.abs(found - mean[:2]) < 0.1 * sd[:2]).all()
        found = fit["variational"]["w_out"].sel(stat="sd").to_numpy()
        np.testing.assert_allclose(found, sd[:2], rtol=0.05)
    assert fits[1].attrs["final_elbo"] == pytest.approx(fits[0].attrs["final_elbo"], abs=0.05)
    # a schedule that stops short of weight 1 ends elsewhere: sds near infinity's side
    short = inference.fit_advi(
        model, 8000, learning_rate=decay, kl_annealing=lambda _: 0.25, **QUIET
    )
    assert (short["variational"]["w_out"].sel(stat="sd") < 0.7 * sd[:2]).all()


def test_heteroskedastic_mle_recovers_a_known_sigma():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (5000, 1))
    sigma = 0.2 + 0.15 * (x[:, 0] + np.cos(2 * x[:, 0])) ** 2
    y = np.sin(2 * x[:, 0]) + sigma * rng.normal(size=5000)
    model = models.mlp_regression(x, y, (20,))
    fit = inference.fit_mle(model, max_steps=400, **QUIET)
    found = predict.compile_predictor(model, ["mu", "sigma"])(fit, x).squeeze()
    error = np.abs(found["sigma"].to_numpy() / sigma - 1)
    # a scale estimated from 5,000 points with 20 units in reserve: about 4 % where points are
    assert np.quantile(error, 0.9) < 0.12
    assert error.mean() < 0.06
    assert np.abs(np.full_like(sigma, y.std()) / sigma - 1).mean() > 0.5  # a constant would fail
    assert np.abs(found["mu"].to_numpy() - np.sin(2 * x[:, 0])).mean() < 0.06


def bad(value):
    y = Y[1].copy()
    y[3] = value
    return y


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"y": Y[1][:5]}, ValueError, "X and y must have the same length, got 14 and 5"),
        (
            {"y": np.zeros((N, 1, 1))},
            ValueError,
            r"y must have shape \(rows,\) or \(rows, outputs\), got \(14, 1, 1\)",
        ),
        ({"y": 3.0}, ValueError, r"y must have shape .* got \(\)"),
        ({"y": np.full(N, 3.0)}, ValueError, r"y must vary, got the constant 3\.0"),
        (
            {"y": np.column_stack([Y[1], np.ones(N)])},
            ValueError,
            r"y must vary, got the constant 1\.0 in output 1",
        ),
        ({"y": bad(np.nan)}, ValueError, "y must be finite, got nan in row 3"),
        ({"y": bad(-np.inf)}, ValueError, "y must be finite, got -inf in row 3"),
        ({"y": np.array(["a"] * N)}, TypeError, "y must be real numbers"),
        ({"y": Y[1] * 1e-200}, ValueError, "y must have an sd between .* give it in another unit"),
        ({"y": Y[1] * 1e200}, ValueError, "y must have an sd between .* give it in another unit"),
        ({"y": Y[1] * 3e-10 + 1e6}, ValueError, "y must vary by more than rounding"),
        ({"X": X * 1e200}, ValueError, "X must have columns of an sd between .* in column 0"),
        ({"scale_floor": 0.0}, ValueError, r"scale_floor must be positive and finite, got 0\.0"),
        ({"scale_floor": -1e-3}, ValueError, r"scale_floor must be positive and finite, got -0\.0"),
        (
            {"scale_link": "square"},
            ValueError,
            r"scale_link must be one of \['clipped', 'exp', 'softplus'\], got 'square'",
        ),
        (
            {"likelihood": "laplace"},
            ValueError,
            r"likelihood must be one of \['mixture', 'normal', 'student_t'\], got 'laplace'",
        ),
        ({"noise_sd": 0.5}, ValueError, "noise_sd is a constant's; it needs heteroskedastic=False"),
        (
            {"noise_sd": 0.0, "heteroskedastic": False},
            ValueError,
            r"noise_sd must be positive and finite, got 0\.0",
        ),
        ({"scale_prior_sd": -1.0}, ValueError, "scale_prior_sd must be positive and finite"),
        (
            {"marginal_output": True, "likelihood": "student_t"},
            ValueError,
            "marginal_output needs likelihood='normal', got 'student_t'",
        ),
        (
            {"marginal_output": True, "y": Y[2]},
            ValueError,
            r"marginal_output needs y of shape \(rows,\), got \(14, 2\)",
        ),
        ({"total_size": 14}, ValueError, r"total_size belongs to pm\.Minibatch"),
        ({"activation": "swish"}, ValueError, "activation must be one of"),
    ],
)
def test_bad_input(change, error, message):
    with pytest.raises(error, match=message):
        models.mlp_regression(**({"X": X, "y": Y[1]} | change))


def test_bad_minibatch():
    Xb, yb = pm.Minibatch(X, Y[1], batch_size=4)
    with pytest.raises(ValueError, match="total_size must be given"):
        models.mlp_regression(Xb, yb)
    with pytest.raises(TypeError, match="marginal_output needs arrays"):
        models.mlp_regression(Xb, yb, total_size=N, marginal_output=True)
    Xb, yb = pm.Minibatch(X, np.full(N, 2.0), batch_size=4)
    with pytest.raises(ValueError, match=r"y must vary, got the constant 2\.0"):
        models.mlp_regression(Xb, yb, total_size=N)


@pytest.mark.parametrize("d", [1, 30])
@pytest.mark.parametrize("width", [10, 300])
def test_the_default_prior_is_of_the_size_of_the_targets_at_any_width(d, width):
    """Prior functions have an sd near that of y, and the noise covers all shares of it."""
    rng = np.random.default_rng(0)
    x, y = 1e3 + 50 * rng.normal(size=(40, d)), 7 + 0.02 * rng.normal(size=40)
    model = models.mlp_regression(x, y, (width,))
    point = {name: [] for name in ("mu", "sigma")}
    for name, value in zip(
        point, pm.draw([model["mu"], model["sigma"]], draws=400, random_seed=1), strict=True
    ):
        point[name] = value
    sd = point["mu"].std(axis=0).mean() / y.std()
    assert 0.7 < sd < 2.0
    assert abs(point["mu"].mean() - y.mean()) < 4.5 * sd * y.std() / np.sqrt(400)
    low, high = np.quantile(point["sigma"] / y.std(), [0.025, 0.975])
    assert low < 0.1
    assert 2.0 < high < 8.0
    # with sd 1 for all weights the functions of 300 units are an order too wide
    wide = pm.draw(models.mlp_regression(x, y, (300,), prior_sd=1.0)["mu"], 100, random_seed=1)
    assert wide.std(axis=0).mean() / y.std() > 7


@pytest.mark.parametrize("column", [3.0, 1e9 + 1e-7, 0.0])
def test_units_of_the_inputs_do_not_matter(column):
    """Any unit and origin, and a constant column changes nothing."""
    rng = np.random.default_rng(0)
    found = []
    for inputs in (X, 1e12 * X - 1e13, 1e-30 * X):
        inputs = np.column_stack([inputs, np.full(N, column)])
        model = models.mlp_regression(inputs, Y[1], (3,), heteroskedastic=False)
        assert model.named_vars_to_dims["X_centre"] == ("feature",)
        draws = {
            name: (("chain", "draw", *model.named_vars_to_dims[name]), rng.normal(size=shape))
            for name, shape in {"w1": (1, 4, 4, 3), "b1": (1, 4, 3), "w_out": (1, 4, 3)}.items()
        } | {"b_out": (("chain", "draw"), rng.normal(size=(1, 4)))}
        rng = np.random.default_rng(0)
        found.append(predict.compile_predictor(model, "mu")(xr.Dataset(draws), inputs)["mu"])
        rng = np.random.default_rng(0)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-6)


def test_frames_name_features_and_outputs():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["age", "dose", "height"])
    both = pandas.DataFrame(Y[2], columns=["a", "b"])
    model = models.mlp_regression(frame, both, (2,))
    assert model.coords["feature"] == ("age", "dose", "height")
    assert model.coords["output"] == ("a", "b")
    one = models.mlp_regression(frame, both[["a"]], (2,))
    assert one.named_vars_to_dims["obs"] == ("obs_id", "output")
    series = models.mlp_regression(frame, both["a"], (2,))
    assert series.named_vars_to_dims["obs"] == ("obs_id",)
    np.testing.assert_array_equal(series["y"].get_value(), Y[2][:, 0])
