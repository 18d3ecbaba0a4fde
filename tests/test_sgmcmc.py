"""Stochastic-gradient MCMC against exact stationary distributions, with controls that must fail."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import pytest
from distributed import Client, LocalCluster
from jax.extend.random import threefry_2x32
from scipy.linalg import solve_discrete_lyapunov
from scipy.stats import kstest

from bnnbook import datasets, diagnostics, inference, models, predict
from bnnbook.inference import sgmcmc
from bnnbook.inference.counter_rng import chain_key, normal, step_key, threefry2x32

LAMBDAS = np.array([5.0, 20.0, 80.0])
Z = 4.5  # false alarms: 7e-6 a comparison


@pytest.fixture(scope="module")
def gaussian():
    """Three independent normal means with posterior precisions LAMBDAS and posterior mean 0."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(10, 3))
    y -= y.mean(axis=0)
    sd = np.sqrt(10 / (LAMBDAS - 1))
    with pm.Model() as model:
        theta = pm.Normal("theta", 0, 1, shape=3)
        pm.Normal("obs", theta, sd, observed=pm.Data("y", y))
    return model


def sample(model, kernel, **options):
    options = {"chains": 4, "draws": 4000, "thin": 10, "tune": 500, "seed": 3} | options
    return inference.sample_sgmcmc(model, kernel, progressbar=False, **options)


def variance_z(theta, exact):
    """z-scores of the second moments about 0, with their own Monte Carlo standard error."""
    squares = theta**2
    mcse = np.array([az.mcse(squares[..., i], method="mean") for i in range(squares.shape[-1])])
    return (squares.mean(axis=(0, 1)) - exact) / mcse


def biased(lam, eps):
    """Stationary variance of theta <- (1 - eps lam) theta + sqrt(2 eps) xi."""
    return 1 / (lam * (1 - eps * lam / 2))


def sghmc_variance(lam, eps, friction):
    """Position variance of the linear recursion of Chen et al. (2014), eq. 15."""
    A = np.array([[1 - eps * lam, 1 - friction], [-eps * lam, 1 - friction]])
    noise = 2 * friction * eps * np.ones((2, 2))
    return solve_discrete_lyapunov(A, noise)[0, 0]


@pytest.mark.parametrize("eps", [2e-3, 1e-2])
def test_sgld_has_the_exact_biased_variance(gaussian, eps):
    theta = sample(gaussian, inference.sgld(eps))["posterior"]["theta"].to_numpy()
    assert np.abs(variance_z(theta, biased(LAMBDAS, eps))).max() < Z
    # the test has the power to see the bias where there is one, and a factor of 2 anywhere
    assert np.abs(variance_z(theta, 2 * biased(LAMBDAS, eps))).min() > Z
    if eps == 1e-2:
        assert np.abs(variance_z(theta, 1 / LAMBDAS)).max() > Z


@pytest.mark.parametrize("v", [0.25, 4.0])
def test_psgld_has_the_exact_biased_variance_of_its_preconditioner(gaussian, v):
    kernel = inference.sgld(4e-3, preconditioner="rms")
    metric = 1 / (1e-5 + np.sqrt(v))
    start = kernel.init

    def fixed(position):
        weight, *sums = start(position)
        return (weight + 1, *(a + v for a in sums))

    kernel = replace(kernel, init=fixed, needs_tune=False)
    theta = sample(gaussian, kernel, tune=0)["posterior"]["theta"].to_numpy()[:, 100:]
    assert np.abs(variance_z(theta, biased(LAMBDAS, 4e-3 * metric))).max() < Z


@pytest.mark.parametrize("friction", [0.1, 0.5, 1.0])
def test_sghmc_has_the_exact_biased_variance(gaussian, friction):
    kernel = inference.sghmc(2e-3, friction=friction)
    theta = sample(gaussian, kernel)["posterior"]["theta"].to_numpy()
    exact = np.array([sghmc_variance(lam, 2e-3, friction) for lam in LAMBDAS])
    assert np.abs(variance_z(theta, exact)).max() < Z
    if friction == 1.0:
        np.testing.assert_allclose(exact, biased(LAMBDAS, 2e-3))


def test_temperature_scales_the_variance(gaussian):
    theta = sample(gaussian, inference.sgld(2e-3, temperature=0.25))["posterior"]["theta"]
    assert np.abs(variance_z(theta.to_numpy(), 0.25 * biased(LAMBDAS, 2e-3))).max() < Z


def hot(kernel):
    return replace(kernel, temperature=4.0)


def square_root_noise(kernel):
    def update(position, memory, gradient, noise, step):
        return tuple(
            p + step.size * g + step.size**0.5 * noise(i)
            for i, (p, g) in enumerate(zip(position, gradient, strict=True))
        ), memory

    return replace(kernel, update=update)


@pytest.mark.parametrize("wrong", [hot, square_root_noise])
def test_wrong_noise_fails(gaussian, wrong):
    theta = sample(gaussian, wrong(inference.sgld(2e-3)))["posterior"]["theta"].to_numpy()
    assert np.abs(variance_z(theta, biased(LAMBDAS, 2e-3))).min() > 2 * Z


def test_preconditioner_that_goes_on_adapting_fails(gaussian):
    """Without Gamma, a preconditioner that follows the gradient changes the target."""
    kernel = inference.sgld(2e-3, preconditioner="rms", decay=0.1, damping=0.2)

    def adapting(position, memory, gradient, noise, step):
        return kernel.update(position, memory, gradient, noise, replace(step, adapt=1.0))

    right = sample(gaussian, kernel)["posterior"]["theta"].to_numpy()
    wrong = sample(gaussian, replace(kernel, update=adapting))["posterior"]["theta"].to_numpy()
    most = biased(LAMBDAS, 2e-3 / 0.2)  # G is at most 1 / damping
    assert (variance_z(right, 1 / LAMBDAS) > -Z).all()
    assert (variance_z(right, most) < Z).all()
    assert (variance_z(wrong, most) > 2 * Z).all()


def test_minibatches_on_a_conjugate_regression(line):
    """Mean exact; covariance biased as the discretisation says, at first order in the step size."""
    model, mean, covariance, _ = line
    lam = 1 / np.linalg.eigvalsh(covariance)
    excess, theory = {}, {}
    for eps in (1e-3, 2e-3):
        tree = sample(model, inference.sgld(eps), batch_size=20, draws=5000, thin=20, chains=8)
        beta = tree["posterior"]["beta"].to_numpy()
        mcse = np.array([az.mcse(beta[..., i], method="mean") for i in range(2)])
        assert np.abs((beta.mean(axis=(0, 1)) - mean) / mcse).max() < Z
        excess[eps] = np.trace(np.cov(beta.reshape(-1, 2).T) - covariance)
        theory[eps] = biased(lam, eps).sum() - (1 / lam).sum()
        # relative standard error of a variance from 40,000 nearly independent draws: 0.7 %
        assert abs(excess[eps] - theory[eps]) < 0.03 * np.trace(covariance)
    assert theory[2e-3] > 0.12 * np.trace(covariance)
    assert excess[2e-3] / excess[1e-3] == pytest.approx(theory[2e-3] / theory[1e-3], rel=0.35)


def test_omitting_the_weight_of_the_batch_fails(line):
    model, _, covariance, _ = line
    options = {"batch_size": 20, "draws": 4000, "thin": 20}
    right = sample(model, inference.sgld(4e-4), **options)["posterior"]["beta"]
    with pytest.MonkeyPatch.context() as patch:
        whole = sgmcmc.minibatch_log_density
        patch.setattr(
            sgmcmc,
            "minibatch_log_density",
            lambda *args: whole(*args[:-1], 1.0),
        )
        wrong = sample(model, inference.sgld(4e-4), **options)["posterior"]["beta"]
    ratio = {
        name: np.trace(np.cov(b.to_numpy().reshape(-1, 2).T)) / np.trace(covariance)
        for name, b in {"right": right, "wrong": wrong}.items()
    }
    assert 0.9 < ratio["right"] < 1.2
    assert ratio["wrong"] > 1.6


def test_control_variates_remove_the_noise_of_the_batches(line):
    model, _, covariance, _ = line
    options = {"batch_size": 5, "draws": 4000, "thin": 20}
    plain = sample(model, inference.sgld(8e-4), **options)["posterior"]["beta"]
    kernel = inference.sgld(8e-4, control_variates=20)
    reduced = sample(model, kernel, **options)["posterior"]["beta"]
    excess = [
        np.trace(np.cov(b.to_numpy().reshape(-1, 2).T)) / np.trace(covariance) - 1
        for b in (plain, reduced)
    ]
    assert excess[1] < 0.5 * excess[0]


def test_weighted_batches_of_a_partition_average_to_the_full_gradient(line):
    density = inference.compile_log_density(line[0])
    theta = jnp.array([0.3, -0.7])
    gradient = jax.grad(lambda t, batch, w: sgmcmc.minibatch_log_density(density, t, batch, w))
    order = np.random.default_rng(1).permutation(40).reshape(8, 5)
    parts = [
        gradient(theta, tuple(jnp.asarray(a[rows]) for a in density.data), 8.0) for rows in order
    ]
    full = gradient(theta, tuple(jnp.asarray(a) for a in density.data), 1.0)
    np.testing.assert_allclose(
        np.mean(parts, axis=0), full, rtol=0, atol=1e-10 * np.abs(full).max()
    )


def test_constrained_parameters_carry_their_jacobian():
    """Scale of a normal under a gamma prior on the precision: closed form."""
    rng = np.random.default_rng(2)
    y = rng.normal(scale=2.0, size=60)
    with pm.Model() as model:
        precision = pm.Gamma("precision", 3.0, 2.0)
        pm.Normal("obs", 0, tau=precision, observed=pm.Data("y", y))
    draws = sample(model, inference.sgld(2e-4), batch_size=30, draws=5000, thin=30)
    tau = draws["posterior"]["precision"].to_numpy()
    shape, rate = 3 + 30, 2 + (y**2).sum() / 2
    assert abs(tau.mean() - shape / rate) < Z * az.mcse(tau, method="mean") + 0.02 * shape / rate
    assert tau.std() == pytest.approx(np.sqrt(shape) / rate, rel=0.08)


def test_two_likelihoods_and_groups():
    rng = np.random.default_rng(4)
    group = rng.integers(0, 3, size=90)
    with pm.Model(coords={"group": ["a", "b", "c"]}) as model:
        index = pm.Data("index", group)
        mu = pm.Normal("mu", 0, 1)
        offset = pm.Normal("offset", 0, 1, dims="group")
        centre = mu + offset[index]
        pm.Normal("first", centre, 1.0, observed=pm.Data("y1", rng.normal(1.0, size=90)))
        pm.Normal("second", 2 * centre, 1.0, observed=pm.Data("y2", rng.normal(2.0, size=90)))
    right = inference.sample_nuts(model, draws=1000, tune=500, seed=0, progressbar=False)
    draws = sample(model, inference.sghmc(2e-4, friction=0.2), batch_size=45, thin=30)
    for name in ("mu", "offset"):
        exact, got = right["posterior"][name], draws["posterior"][name]
        np.testing.assert_allclose(
            got.mean(("chain", "draw")), exact.mean(("chain", "draw")), atol=0.1
        )
        np.testing.assert_allclose(
            got.std(("chain", "draw")), exact.std(("chain", "draw")), rtol=0.15
        )
    assert list(draws["posterior"]["offset"]["group"].to_numpy()) == ["a", "b", "c"]


def test_moons_agree_with_nuts_better_than_mean_field():
    data = datasets.two_moons(200, seed=0)
    model = models.mlp_classifier(data.X_train, data.y_train, (5,))
    predictor = predict.compile_predictor(model, "p")
    nuts = inference.sample_nuts(model, draws=1000, tune=1000, seed=0, progressbar=False)
    advi = inference.fit_advi(model, 15_000, draws=2000, seed=0, progressbar=False)
    kernel = inference.sghmc(1e-3, friction=0.1)
    sg = sample(model, kernel, batch_size=50, draws=2000, thin=30, tune=5000)
    p = {
        name: predictor(dt, data.X_test)["p"].mean(("chain", "draw"))
        for name, dt in {"nuts": nuts, "advi": advi, "sg": sg}.items()
    }
    variation = {k: float(diagnostics.total_variation(p["nuts"], p[k])) for k in ("advi", "sg")}
    assert variation["sg"] < 0.5 * variation["advi"]
    agreement = {k: float(diagnostics.agreement(p["nuts"], p[k])) for k in ("advi", "sg")}
    assert agreement["sg"] >= agreement["advi"]
    assert agreement["sg"] > 0.97


def test_random_bits_are_those_of_jax_and_the_numbers_are_normal():
    key, count = jnp.array([7, 11], jnp.uint32), jnp.arange(64, dtype=jnp.uint32)
    ours = threefry2x32((key[0], key[1]), count[:32], count[32:])
    np.testing.assert_array_equal(jnp.concatenate(ours), threefry_2x32(key, count))
    words = step_key(chain_key(0, 1), np.array([5], np.uint32))
    for dtype in (np.float32, np.float64):
        numbers = normal(words, 0, (200_000,), dtype)
        assert numbers.dtype == dtype
        assert kstest(numbers, "norm").pvalue > 1e-4
        assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < Z / np.sqrt(len(numbers))
    other = normal(words, 1, (200_000,), np.float64)
    assert abs(np.corrcoef(numbers, other)[0, 1]) < Z / np.sqrt(len(numbers))


def test_same_seed_same_draws_and_batches_are_epochs(line):
    model, *_ = line
    options = {"batch_size": 7, "draws": 50, "chains": 2}
    first = sample(model, inference.sgld(1e-3), **options)["posterior"]["beta"]
    again = sample(model, inference.sgld(1e-3), **options)["posterior"]["beta"]
    other = sample(model, inference.sgld(1e-3), **options, seed=4)["posterior"]["beta"]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])
    job = sgmcmc._check_job(
        model, inference.sgld(1e-3), batch_size=7, draws=5, tune=0, thin=2, chains=2, seed=0,
        start=None, dtype="float64", backend="jax", checkpoint=None, checkpoint_every=60.0,
        store=None, max_bytes=1e9,
    )  # fmt: skip
    rows = sgmcmc._GroupRun(job, sgmcmc._compile(job, 1), range(1))._rows(10)[0]
    for epoch in (rows[:5], rows[5:10]):
        assert len(np.unique(epoch)) == 35, "no row twice in an epoch"
    assert set(rows[:5].ravel()) != set(rows[5:10].ravel()), "another order each epoch"


def test_float32_follows_float64(gaussian):
    options = {"draws": 20, "thin": 5, "tune": 0, "chains": 2}
    double = sample(gaussian, inference.sgld(2e-3), **options)["posterior"]["theta"]
    single = sample(gaussian, inference.sgld(2e-3), dtype="float32", **options)["posterior"][
        "theta"
    ]
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, atol=2e-5)
    long = sample(gaussian, inference.sgld(2e-3), dtype="float32")["posterior"]["theta"].to_numpy()
    assert np.abs(variance_z(long.astype(float), biased(LAMBDAS, 2e-3))).max() < Z


def test_vectorized_chains_draw_the_same(line):
    options = {"batch_size": 7, "draws": 30, "chains": 3}
    apart = sample(line[0], inference.sgld(1e-3), **options)["posterior"]["beta"]
    together = sample(line[0], inference.sgld(1e-3), chain_method="vectorized", **options)
    np.testing.assert_allclose(together["posterior"]["beta"], apart, rtol=1e-9)


def test_executors_draw_the_same(line):
    model, *_ = line
    options = {"batch_size": 7, "draws": 30, "chains": 3}
    here = sample(model, inference.sgld(1e-3), **options)["posterior"]["beta"]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        pooled = sample(model, inference.sgld(1e-3), executor=pool, **options)
    np.testing.assert_array_equal(pooled["posterior"]["beta"], here)
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        dask = sample(model, inference.sgld(1e-3), executor=client.get_executor(), **options)
    np.testing.assert_array_equal(dask["posterior"]["beta"], here)


def test_numba_draws_the_same(line):
    options = {"batch_size": 7, "draws": 30, "tune": 10, "thin": 2, "chains": 2}
    for kernel in (  # in one test: only the first pays for compiling Numba's own parts
        inference.sgld(1e-3, control_variates=4),
        inference.sgld(1e-3, preconditioner="rms"),
        inference.sghmc(1e-4, friction=0.2),
    ):
        jaxed = sample(line[0], kernel, **options)
        numba = sample(line[0], kernel, backend="numba", **options)
        np.testing.assert_allclose(
            numba["posterior"]["beta"], jaxed["posterior"]["beta"], rtol=1e-9, err_msg=kernel.name
        )
        for name in ("lp", "grad_norm"):
            np.testing.assert_allclose(
                numba["sample_stats"][name], jaxed["sample_stats"][name], rtol=1e-8
            )


def test_start_by_name_is_start_by_vector():
    rng = np.random.default_rng(0)
    with pm.Model() as model:
        scale = pm.HalfNormal("scale")
        mu = pm.Normal("mu", shape=2)
        pm.Normal("obs", mu, scale, observed=pm.Data("y", rng.normal(size=(20, 2))))
    by_name = {"scale_log__": rng.normal(size=3), "mu": rng.normal(size=(3, 2))}
    by_vector = np.column_stack([by_name["scale_log__"], by_name["mu"]])
    runs = [
        sample(model, inference.sgld(1e-3), start=start, draws=5, tune=0, thin=1, chains=3)
        for start in (by_name, by_vector)
    ]
    np.testing.assert_array_equal(runs[0]["posterior"]["mu"], runs[1]["posterior"]["mu"])


def test_cyclical_plan_and_statistics(gaussian):
    kernel = inference.sgld(inference.cyclical(1e-3, 3, 0.75))
    tree = sample(gaussian, kernel, draws=12, thin=5, tune=7, chains=2)
    stats = tree["sample_stats"]
    assert list(stats["cycle"][0].to_numpy()) == [0] * 4 + [1] * 4 + [2] * 4
    assert (stats["temperature"] == 1).all()
    plan = kernel.schedule.plan(12, 7, 5)
    assert plan.steps == 7 + 3 * 80
    assert plan.step_size[7] == 1e-3
    assert plan.noisy[7:].reshape(3, 80)[:, :60].sum() == 0
    assert plan.noisy[7:].reshape(3, 80)[:, 60:].all()
    assert (np.diff(stats["step_size"][0, :4]) < 0).all()
    loud = inference.cyclical(1e-3, 3, 0.75, quiet=False).plan(12, 7, 5)
    assert loud.noisy.all()
    np.testing.assert_array_equal(loud.draw_at, plan.draw_at)
    assert tree.attrs["N"] == 10
    assert tree.attrs["convention"].startswith("theta += eps*(G*grad")
    poly = inference.polynomial(1e-2, offset=10.0, power=0.6).plan(5, 3, 2)
    np.testing.assert_allclose(poly.step_size, 1e-2 * (1 + np.arange(13) / 10) ** -0.6)


def test_temperature_zero_finds_the_mode(line):
    model, mean, *_ = line
    with pytest.warns(UserWarning, match="temperature 0 adds no noise: this is optimisation"):
        tree = sample(model, inference.sgld(2e-3, temperature=0.0), draws=1, thin=2000)
    np.testing.assert_allclose(tree["posterior"]["beta"][:, 0], np.tile(mean, (4, 1)), atol=1e-8)


def test_statistics_are_those_of_the_last_batch(line):
    model, *_ = line
    tree = sample(
        model, inference.sgld(1e-9), draws=1, thin=1, tune=0, chains=2, start=np.zeros((2, 2))
    )
    density = inference.compile_log_density(model)
    data = tuple(jnp.asarray(a) for a in density.data)

    def joint(theta):
        return density.log_prior(theta, data) + density.log_likelihood(theta, data)

    at = jnp.zeros(2)
    np.testing.assert_allclose(tree["sample_stats"]["lp"], joint(at), rtol=1e-12)
    np.testing.assert_allclose(
        tree["sample_stats"]["grad_norm"], np.linalg.norm(jax.grad(joint)(at)), rtol=1e-12
    )


def test_history_follows_the_whole_run(line, monkeypatch):
    monkeypatch.setattr(sgmcmc, "HISTORY", 50)
    options = {"batch_size": 7, "draws": 60, "thin": 3, "tune": 20, "chains": 2}
    tree = sample(line[0], inference.sgld(1e-3), **options)
    history = tree["history"]
    assert list(history["step"].to_numpy()) == list(range(4, 201, 4))
    assert tree["sample_stats"]["lp"][0, -1] == history["lp"][0, -1], "both of step 200"
    at_draws = history["lp"].sel(step=slice(32, None)).isel(step=slice(None, None, 3))
    stats = tree["sample_stats"]["lp"][:, 3::4]
    np.testing.assert_array_equal(at_draws, stats)


def test_callbacks_see_and_stop_the_run(line):
    seen = []

    def watch(state, losses, step):
        seen.append((step, state.objective, len(losses)))
        assert state.posterior(4)["beta"].shape == (1, 4, 2)
        if step > 1000:
            raise StopIteration("enough")

    tree = sample(line[0], inference.sgld(1e-3), draws=10**6, thin=1, callbacks=[watch])
    step, objective, n_losses = seen[-1]
    assert n_losses == step
    assert np.isfinite(objective)
    assert tree.attrs["stopped"] == f"stopped at step {step}: enough"
    assert 1000 - 500 <= tree["posterior"].sizes["draw"] < 10**6
    with pytest.raises(ValueError, match="callbacks need the chains in this process"):
        sample(line[0], inference.sgld(1e-3), executor=ProcessPoolExecutor(1), callbacks=[watch])
