"""Minibatches of stochastic-gradient MCMC: rows, weights, and posteriors with known answers."""

from dataclasses import replace

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import pytest
from sgmcmc_help import Z, biased, sample, short

from bnnbook import datasets, diagnostics, inference, models, predict

TOGETHER = {"chain_method": "vectorized"}  # the same draws, of small models in half the time


def test_minibatches_on_a_conjugate_regression(line):
    """Mean exact; covariance biased as the discretisation says, at first order in the step size."""
    model, mean, covariance, _ = line
    lam = 1 / np.linalg.eigvalsh(covariance)
    excess, theory = {}, {}
    for eps in (1e-3, 2e-3):
        tree = sample(
            model, inference.sgld(eps), batch_size=20, draws=5000, thin=20, chains=8, **TOGETHER
        )
        beta = tree["posterior"]["beta"].to_numpy()
        mcse = np.array([az.mcse(beta[..., i], method="mean") for i in range(2)])
        assert np.abs((beta.mean(axis=(0, 1)) - mean) / mcse).max() < Z
        excess[eps] = np.trace(np.cov(beta.reshape(-1, 2).T) - covariance)
        theory[eps] = biased(lam, eps).sum() - (1 / lam).sum()
        # relative standard error of a variance from 40,000 nearly independent draws: 0.7 %
        assert abs(excess[eps] - theory[eps]) < 0.03 * np.trace(covariance)
    assert theory[2e-3] > 0.12 * np.trace(covariance)
    assert excess[2e-3] / excess[1e-3] == pytest.approx(theory[2e-3] / theory[1e-3], rel=0.35)


def regression(sd):
    rng = np.random.default_rng(0)
    X = np.stack([np.ones(40), rng.normal(size=40)], axis=1)
    y = X @ [0.5, -1.0] + 0.5 * rng.normal(size=40)
    with pm.Model() as model:
        beta = pm.Normal("beta", 0, 1, shape=2)
        pm.Normal("obs", pm.Data("X", X) @ beta, sd, observed=pm.Data("y", y))
    return model, np.linalg.inv(np.eye(2) + X.T @ X / 0.25)


def test_omitting_the_weight_of_the_batch_fails():
    """Twice the variance of the noise stands for half the weight, N/n = 2 left out."""
    ratio = {}
    for name, sd in {"right": 0.5, "wrong": 0.5 * np.sqrt(2)}.items():
        model, covariance = regression(sd)
        tree = sample(model, inference.sgld(4e-4), batch_size=20, draws=4000, thin=20)
        beta = tree["posterior"]["beta"].to_numpy().reshape(-1, 2)
        ratio[name] = np.trace(np.cov(beta.T)) / np.trace(covariance)
    assert 0.9 < ratio["right"] < 1.2
    assert ratio["wrong"] > 1.6


@pytest.mark.parametrize(
    ("plain", "reduced"),
    [
        (inference.sgld(8e-4), inference.sgld(8e-4, control_variates=20)),
        (
            inference.sghmc(4e-4, friction=0.5),
            inference.sghmc(4e-4, friction=0.5, control_variates=20),
        ),
    ],
    ids=["sgld", "sghmc"],
)
def test_control_variates_remove_the_noise_of_the_batches(line, plain, reduced):
    model, _, covariance, _ = line
    options = {"batch_size": 5, "draws": 4000, "thin": 20} | TOGETHER
    fits = [sample(model, kernel, **options) for kernel in (plain, reduced)]
    excess = [
        np.trace(np.cov(fit["posterior"]["beta"].to_numpy().reshape(-1, 2).T))
        / np.trace(covariance)
        - 1
        for fit in fits
    ]
    assert excess[1] < 0.5 * excess[0]
    heat = [float(fit["sample_stats"]["configurational_temperature"].mean()) - 1 for fit in fits]
    assert heat[1] < 0.5 * heat[0]


def test_preconditioned_control_variates_have_the_variance_of_their_preconditioner(line):
    """G stands still after tune, so any G has the right target; here one of control variates."""
    model, mean, covariance, _ = line
    kernel = inference.sgld(2e-4, preconditioner="rms", control_variates=20)
    tree = sample(model, kernel, batch_size=10, thin=20, draws=4000, tune=2000, **TOGETHER)
    beta = tree["posterior"]["beta"].to_numpy()
    mcse = np.array([az.mcse(beta[..., i], method="mean") for i in range(2)])
    assert np.abs((beta.mean(axis=(0, 1)) - mean) / mcse).max() < Z
    ratio = np.trace(np.cov(beta.reshape(-1, 2).T)) / np.trace(covariance)
    assert 0.9 < ratio < 1.15


def averaging(kernel, steps):
    """The kernel that stays where it is and, after so many steps, moves to its mean gradient."""

    def update(position, memory, gradient, noise, step):
        done, *sums = memory
        sums = [s + g for s, g in zip(sums, gradient, strict=True)]
        moved = tuple(
            jnp.where(done + 1 == steps, s / steps, p) for p, s in zip(position, sums, strict=True)
        )
        return moved, (done + 1, *sums)

    def init(position):
        first = position[0]
        return (first.reshape(len(first), -1)[:, 0] * 0, *(p * 0 for p in position))

    return replace(kernel, init=init, update=update)


@pytest.mark.parametrize("every", [None, 3])
@pytest.mark.parametrize("chain_method", ["parallel", "vectorized"])
def test_batches_of_an_epoch_average_to_the_full_gradient(line, every, chain_method):
    """Rows, weights, prior and control variates, all at once and to rounding."""
    kernel = averaging(inference.sgld(1e-3, control_variates=every), 8)
    start = np.array([[0.3, -0.7], [2.0, 1.0]])
    tree = short(
        line[0], kernel, batch_size=5, draws=1, thin=8, tune=0, start=start,
        chain_method=chain_method,
    )  # fmt: skip
    density = inference.compile_log_density(line[0])

    def joint(theta):
        return density.log_prior(theta, density.data) + density.log_likelihood(theta, density.data)

    with jax.enable_x64(True):
        full = [jax.grad(joint)(jnp.asarray(theta)) for theta in start]
    np.testing.assert_allclose(tree["posterior"]["beta"][:, 0], full, rtol=1e-11)


def counting(kernel):
    """The kernel that adds 1/1024 to each parameter whose gradient is not 0."""

    def update(position, memory, gradient, noise, step):
        return tuple(p + (g != 0) / 1024 for p, g in zip(position, gradient, strict=True)), memory

    return replace(kernel, update=update)


def row_counts(lengths, batch_size, **options):
    """How often each row was used, by step: one parameter a row, moved by its own row alone."""
    with pm.Model() as model:
        for k, n in enumerate(lengths):
            beta = pm.Flat(f"beta{k}", shape=n)
            rows = pm.Data(f"rows{k}", np.arange(n))
            pm.Normal(f"obs{k}", beta[rows], 1.0, observed=pm.Data(f"y{k}", np.full(n, 0.3)))
    start = {f"beta{k}": np.zeros((2, n)) for k, n in enumerate(lengths)}
    kernel = counting(inference.sgld(1e-3))
    options = {"batch_size": batch_size, "start": start, "tune": 0} | options
    posterior = short(model, kernel, **options)["posterior"]
    return [(1024 * posterior[f"beta{k}"].to_numpy()).astype(int) for k in range(len(lengths))]


def test_batches_are_epochs_without_replacement():
    (counts,) = row_counts([40], 7, draws=10)
    assert (counts.sum(axis=2) == 7 * np.arange(1, 11)).all()
    first, both = counts[:, 4], counts[:, 9]
    assert first.max() == 1, "no row twice in an epoch"
    assert (both - first).max() == 1
    assert not np.array_equal(first[0], first[1]), "another order for each chain"
    assert not np.array_equal(first[0], (both - first)[0]), "and for each epoch"
    (long,) = row_counts([40], 7, draws=1, thin=5000)
    mean, sd = 875.0, np.sqrt(1000 * 0.875 * 0.125)  # rows left out are others each time
    assert np.abs(long - mean).max() < 5 * sd


def test_axes_of_different_lengths_have_epochs_of_their_own():
    long, little, tiny = row_counts([40, 24, 5], 8, draws=6)
    assert (long[:, 4] == 1).all()
    assert (little[:, 2] == 1).all()
    assert (little[:, 5] == 2).all()
    assert (tiny[:, 5] == 6).all(), "an axis shorter than the batch is used whole"
    assert not np.array_equal(long[0, 0, :24], little[0, 0])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_two_data_sets_have_their_own_weights(dtype):
    """Means of 400 and of 40 rows with a shared scale of batches: closed form."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.0, 1.0, 400), rng.normal(2.0, 1.0, 40)
    with pm.Model() as model:
        pm.Normal("obs_a", pm.Normal("mu", 0, 10), 1.0, observed=pm.Data("a", a))
        pm.Normal("obs_b", pm.Normal("d", 0, 10), 1.0, observed=pm.Data("b", b))
    tree = sample(model, inference.sgld(1e-4), batch_size=20, thin=50, dtype=dtype, tune=2000)
    for name, data in {"mu": a, "d": b}.items():
        draws = tree["posterior"][name].to_numpy().astype(float)
        sd = 1 / np.sqrt(len(data) + 0.01)
        mcse = float(az.mcse(draws, method="mean"))
        assert abs(draws.mean() - data.sum() * sd**2) < Z * mcse
        # minibatches add to the variance: eps N^2 / 2n (1 - n/N) relative, less than .04 here
        assert draws.std() == pytest.approx(sd, rel=0.12), name


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
