"""Log densities in JAX against PyMC's own and against formulas written out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from scipy import special, stats

from bnnbook import models
from bnnbook.density import precision
from bnnbook.inference import compile_log_density

N, BATCH = 12, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 2))
Y = RNG.integers(0, 2, N)
COUNTS = RNG.normal(size=N)


def half_normal_model():
    with pm.Model() as model:
        sd = pm.HalfNormal("sd", 2.0)
        pm.Normal("obs", 0.0, sd, observed=COUNTS)
    return model


def hierarchical_model():
    with pm.Model(coords={"group": range(3), "obs_id": range(N)}) as model:
        group = pm.Data("g", np.arange(N) % 3, dims="obs_id")
        x = pm.Data("x", X[:, 0], dims="obs_id")
        share = pm.Dirichlet("share", np.ones(3), dims="group")
        sd = pm.HalfNormal("sd", 1.0)
        mu = pm.Normal("mu", 0.0, sd, dims="group")
        pm.Potential("soft", -0.1 * (mu**2).sum())
        pm.Normal("obs", share[group] * x + mu[group], 1.0, observed=COUNTS, dims="obs_id")
    return model


def value_point(density, theta):
    return dict(density.split(theta))


@pytest.mark.parametrize("jacobian", [True, False])
@pytest.mark.parametrize(
    "build",
    [half_normal_model, hierarchical_model, lambda: models.mlp_classifier(X, Y, bias=True)],
    ids=["half normal", "hierarchical", "network"],
)
def test_equals_pymc_at_random_points(build, jacobian):
    model = build()
    density = compile_log_density(model, jacobian=jacobian)
    expected = model.compile_logp(jacobian=jacobian, mode="FAST_COMPILE")
    likelihood = model.compile_logp(vars=model.observed_RVs, mode="FAST_COMPILE")
    for theta in np.random.default_rng(1).normal(size=(3, density.size)):
        point = value_point(density, theta)
        got = density.log_likelihood(theta, density.data)
        assert got == pytest.approx(likelihood(point), rel=1e-9)
        got = got + density.log_prior(theta, density.data)
        assert got == pytest.approx(expected(point), rel=1e-9)


def test_jacobian_of_a_half_normal_by_hand():
    t = 0.3
    model = half_normal_model()
    prior = stats.halfnorm.logpdf(np.exp(t), scale=2.0)
    theta = jnp.array([t])
    with_jacobian = compile_log_density(model).log_prior(theta, ())
    without = compile_log_density(model, jacobian=False).log_prior(theta, ())
    assert with_jacobian == pytest.approx(prior + t)  # d exp(t) / dt = exp(t)
    assert without == pytest.approx(prior)


def test_constrain_gives_the_variables_in_the_models_space():
    density = compile_log_density(hierarchical_model())
    theta = np.random.default_rng(2).normal(size=density.size)
    values = density.constrain(theta, density.data)
    assert set(values) == {"share", "sd", "mu"}
    assert float(values["share"].sum()) == pytest.approx(1.0)
    by_name = density.split(theta)
    assert float(values["sd"]) == pytest.approx(np.exp(by_name["sd_log__"]))
    np.testing.assert_allclose(values["mu"], by_name["mu"])


def test_data_are_inputs():
    density = compile_log_density(models.mlp_classifier(X, Y))
    assert dict(zip(density.data_names, density.batched, strict=True)) == {"X": True, "y": True}
    assert density.N == N
    theta = np.random.default_rng(3).normal(size=density.size)
    flipped = tuple(
        1 - a if name == "y" else a
        for name, a in zip(density.data_names, density.data, strict=True)
    )
    expected = models.mlp_classifier(X, 1 - Y)
    got = density.log_likelihood(theta, flipped)
    logp = expected.compile_logp(vars=expected.observed_RVs, mode="FAST_COMPILE")
    assert got == pytest.approx(logp(value_point(density, theta)), rel=1e-9)


@pytest.mark.parametrize("own_minibatch", [True, False])
def test_minibatch_gradients_over_a_partition_average_to_the_full_one(own_minibatch):
    full = compile_log_density(models.mlp_classifier(X, Y))
    theta = np.random.default_rng(4).normal(size=full.size)
    expected = jax.grad(full.log_likelihood)(theta, full.data)
    density, weight = full, N / BATCH
    if own_minibatch:
        Xb, yb = pm.Minibatch(X, Y, batch_size=BATCH)
        density = compile_log_density(models.mlp_classifier(Xb, yb, total_size=N))
        weight = 1.0  # PyMC's own total_size carries it
        assert density.batch_size == BATCH
    parts = np.random.default_rng(5).permutation(N).reshape(-1, BATCH)
    gradients = [
        jax.grad(density.log_likelihood)(theta, tuple(a[rows] for a in density.data))
        for rows in parts
    ]
    mean = weight * np.mean(gradients, axis=0)
    np.testing.assert_allclose(mean, expected, rtol=1e-9)
    # without N/n, three times too small, the check above must fail
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(mean * BATCH / N, expected, rtol=0.5)


def test_a_matrix_times_its_own_transpose_has_one_product_in_its_gradient():
    with pm.Model() as model:
        w = pm.Normal("w", 0.0, 1.0, shape=(3, 7))
        pm.Normal("obs", 0.0, 1.0, observed=COUNTS)
        pm.Potential("volume", -pt.log(pt.linalg.det(pt.eye(3) + w @ w.T)))
    density = compile_log_density(model)
    theta = np.random.default_rng(6).normal(size=density.size)
    gradient = jax.grad(density.log_prior)
    expected = model.compile_dlogp(mode="FAST_COMPILE")(value_point(density, theta))
    np.testing.assert_allclose(gradient(theta, density.data), expected, rtol=1e-9)
    # forward mode too
    tangent = np.ones_like(theta)
    _, slope = jax.jvp(lambda t: density.log_prior(t, density.data), (theta,), (tangent,))
    assert slope == pytest.approx(expected.sum(), rel=1e-9)
    products = str(jax.make_jaxpr(gradient)(theta, density.data)).count("3,7] = dot_general")
    assert products == 1


def bernoulli_model(logits, y):
    with pm.Model() as model:
        f = pm.Normal("f", 0.0, 1e4, shape=len(logits))
        pm.Bernoulli("obs", logit_p=f, observed=y)
    return model


def test_bernoulli_without_branches_is_pymcs():
    logits = np.concatenate([np.linspace(-40, 40, 401), [-1e-9, 0.0, 1e-9]])
    y = (np.arange(len(logits)) % 3 == 0).astype(int)
    model = bernoulli_model(logits, y)
    density = compile_log_density(model)
    pymcs = model.compile_logp(vars=model.observed_RVs)({"f": logits})
    got = float(density.log_likelihood(jnp.asarray(logits), density.data))
    assert got == pytest.approx(float(pymcs), abs=1e-10 * abs(float(pymcs)))
    gradient = jax.grad(density.log_likelihood)(jnp.asarray(logits), density.data)
    np.testing.assert_allclose(gradient, y - special.expit(logits), atol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bernoulli_is_stable_at_extreme_logits(dtype):
    logits, y = np.array([1000.0, -1000.0, 1000.0, -1000.0]), np.array([1, 1, 0, 0])
    density = compile_log_density(bernoulli_model(logits, y))
    with precision(dtype):
        theta, data = jnp.asarray(logits, dtype), tuple(jnp.asarray(a) for a in density.data)
        value, gradient = jax.value_and_grad(density.log_likelihood)(theta, data)
    assert float(value) == pytest.approx(-2000.0, rel=1e-6)  # right, wrong, wrong, right
    np.testing.assert_allclose(gradient, [0, 1, -1, 0], atol=1e-6)


def test_rows_from_two_minibatch_calls_are_refused():
    first = pm.Minibatch(X[:, 0], batch_size=BATCH)
    second = pm.Minibatch(COUNTS, batch_size=BATCH)
    with pm.Model() as model:
        slope = pm.Normal("slope")
        pm.Normal("obs", slope * first, 1.0, observed=second, total_size=N)
    with pytest.raises(ValueError, match=r"all its minibatches from one pm\.Minibatch"):
        compile_log_density(model)


def test_bad_models():
    with pytest.raises(TypeError, match=r"model must be a pymc\.Model, got str"):
        compile_log_density("model")
    with pm.Model() as discrete:
        k = pm.Poisson("k", 3.0)
        pm.Normal("obs", k, 1.0, observed=COUNTS)
    with pytest.raises(TypeError, match="no discrete free variables, got k"):
        compile_log_density(discrete)
    with pm.Model() as unobserved:
        pm.Normal("a")
    with pytest.raises(ValueError, match="must have observed variables"):
        compile_log_density(unobserved)
    with pm.Model() as fixed:
        pm.Normal("obs", 0.0, 1.0, observed=COUNTS)
    with pytest.raises(ValueError, match="must have free variables"):
        compile_log_density(fixed)


def pymcs_and_ours(model, point):
    density = compile_log_density(model)
    theta = np.concatenate([np.ravel(point[name]) for name in density.names]).astype(float)
    with np.errstate(all="ignore"):
        expected = float(model.compile_logp(mode="FAST_COMPILE")(point))
    return expected, float(
        density.log_prior(theta, density.data) + density.log_likelihood(theta, density.data)
    )


@pytest.mark.parametrize(
    ("likelihood", "value", "invalid"),
    [
        (lambda p: pm.Bernoulli("obs", p=p, observed=[1, 0, 1]), 0.4, 1.5),
        (lambda p: pm.Normal("obs", 0.0, p, observed=COUNTS), 0.4, -1.0),
        (lambda p: pm.Poisson("obs", p, observed=[1, 0, 2]), 0.4, -0.5),
        (lambda p: pm.Beta("obs", p, 2.0, observed=[0.1, 0.7]), 0.4, -2.0),
        (lambda p: pm.Categorical("obs", pt.stack([p, 1 - p]), observed=[0, 1]), 0.4, 1.2),
        (lambda p: pm.StudentT("obs", nu=p, observed=COUNTS), 3.0, -3.0),
        (lambda p: pm.Potential("term", pm.logp(pm.Gamma.dist(p, 1.0), 2.0)), 0.4, -0.4),
    ],
    ids=["bernoulli", "normal", "poisson", "beta", "categorical", "student", "potential"],
)
def test_invalid_parameters_are_impossible(likelihood, value, invalid):
    with pm.Model() as model:
        p = pm.Normal("p")
        likelihood(p)
    expected, got = pymcs_and_ours(model, {"p": np.array(value)})
    assert np.isfinite(expected)
    assert got == pytest.approx(expected, rel=1e-9)
    expected, got = pymcs_and_ours(model, {"p": np.array(invalid)})
    assert expected == got == -np.inf


def test_a_model_may_leave_its_bounds_unchecked():
    with pm.Model(check_bounds=False) as model:
        p = pm.Normal("p")
        pm.Bernoulli("obs", p=p, observed=[1, 1])
    density = compile_log_density(model)
    assert float(density.log_likelihood(jnp.array([1.5]), ())) == pytest.approx(2 * np.log(1.5))


def test_gaps_are_imputed_as_in_pymc():
    gaps = np.where(COUNTS > 0.5, np.nan, COUNTS)
    with pm.Model() as model:
        mu = pm.Data("X", X) @ pm.Normal("w", shape=2)
        sd = pm.HalfNormal("sd")
        with pytest.warns(UserWarning, match="imputed"):
            pm.Normal("obs", mu, sd, observed=gaps)
    point = {
        name: np.random.default_rng(1).normal(size=np.shape(value))
        for name, value in model.initial_point().items()
    }
    expected, got = pymcs_and_ours(model, point)
    assert got == pytest.approx(expected, rel=1e-9)


def test_potentials_on_data_are_likelihood_and_others_prior():
    with pm.Model() as model:
        w = pm.Normal("w")
        scale = pm.Data("scale", 2.0)  # one number: no rows
        pm.Potential("soft", -scale * w**2)
        pm.Potential("fit", -((pm.Data("y", COUNTS) - w) ** 2))
    density = compile_log_density(model)
    theta = jnp.array([0.7])
    assert density.N == N
    got = float(density.log_likelihood(theta, density.data))
    assert got == pytest.approx(-((COUNTS - 0.7) ** 2).sum(), rel=1e-6)
    got = float(density.log_prior(theta, density.data))
    assert got == pytest.approx(stats.norm.logpdf(0.7) - 2 * 0.7**2, rel=1e-6)
    assert density.pointwise(theta, density.data) == {}
    np.testing.assert_allclose(
        density.potentials(theta, density.data)["fit"], -((COUNTS - 0.7) ** 2), rtol=1e-5
    )


@pytest.mark.parametrize("shape", [(8,), (3, 8)])
def test_a_random_walk_observed_in_data_compiles(shape):
    values = np.random.default_rng(4).normal(size=shape)
    with pm.Model() as model:
        sigma = pm.HalfNormal("sigma")
        first = pm.Normal.dist(0.0, 2.0)
        pm.GaussianRandomWalk("obs", sigma=sigma, init_dist=first, observed=pm.Data("y", values))
    density = compile_log_density(model)
    with precision(np.float64):
        found = jax.jit(density.log_likelihood)(jnp.array([np.log(0.7)]), density.arrays())
    steps = np.diff(values, axis=-1)
    by_hand = stats.norm.logpdf(values[..., 0], 0, 2).sum() + stats.norm.logpdf(steps, 0, 0.7).sum()
    np.testing.assert_allclose(found, by_hand, rtol=1e-9)
