"""Minibatches: what follows the rows, how each term is scaled, and what cannot be cut."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest

from bnnbook.density import compile_log_density, cut, precision

RNG = np.random.default_rng(0)
N, SHORT, BATCH = 12, 6, 3
X, Y, SHORTER = RNG.normal(size=(N, 2)), RNG.normal(size=N), RNG.normal(size=SHORT)
CENTRES = np.linspace(-2, 2, N)


def test_equal_arrays_in_one_minibatch_are_both_data():
    values = np.linspace(0, 1, N)
    x, y = pm.Minibatch(values, values.copy(), batch_size=BATCH)
    with pm.Model() as model:
        slope = pm.Normal("slope")
        pm.Normal("obs", slope * x, 1.0, observed=y, total_size=N)
    density = compile_log_density(model)
    assert (density.N, density.batch_size) == (N, BATCH)
    rows = jnp.arange(BATCH)
    batches = cut(density, None)
    got = batches.log_likelihood(jnp.array([3.0]), batches.take(density.data, (rows,)))
    expected = -0.5 * np.log(2 * np.pi) - 0.5 * (2 * values[:BATCH]) ** 2
    assert float(got) == pytest.approx(expected.sum() * N / BATCH)


def terms(density, theta, data):
    return [*density.pointwise(theta, data).values(), *density.potentials(theta, data).values()]


def gradients(density, batches):
    """Of the full data, and the mean over all pairs of blocks of a partition of each row axis."""
    with precision(np.float64):
        theta = jnp.asarray(density.initial_points(1, jitter=0.5, seed=3)[0])
        data = tuple(map(jnp.asarray, density.data))
        full = jax.grad(lambda t: sum(v.sum() for v in terms(density, t, data)))(theta)
        orders = [np.random.default_rng(k).permutation(n) for k, n in enumerate(batches.lengths)]
        blocks = [o.reshape(-1, n) for o, n in zip(orders, batches.sizes, strict=True)]
        one = jax.jit(jax.grad(lambda t, rows: batches.log_likelihood(t, batches.take(data, rows))))
        parts = [one(theta, tuple(map(jnp.asarray, rows))) for rows in itertools.product(*blocks)]
        return np.asarray(full), np.mean(parts, axis=0)


def two_likelihoods():
    a, b = pm.Normal("a", 0, 10), pm.Normal("b", 0, 10)
    pm.Normal("long", a, 1, observed=pm.Data("y", Y))
    pm.Normal("short", a * b, 1, observed=pm.Data("z", SHORTER))


def potential_by_row():
    w = pm.Normal("w")
    pm.Potential("penalty", -((w * pm.Data("y", Y)) ** 2))
    pm.Normal("obs", w, 1, observed=pm.Data("z", Y + 1))


def potential_alone():
    w, x = pm.Normal("w", shape=2), pm.Data("X", X)
    pm.Potential("prior", -(w[0] ** 2))
    pm.Potential("loss", pm.logp(pm.Normal.dist(x @ w, 1.0), pm.Data("y", Y)).sum())


def rows_by_number():
    z = pm.Normal("z", shape=N)
    pm.Normal("obs", z[pm.Data("i", np.arange(N))], 1, observed=pm.Data("y", Y))


def centres(dims):
    x = pm.Data("X", X[:, 0], dims="obs_id" if dims else None)
    c = pm.Data("centres", CENTRES, dims="centre" if dims else None)
    w = pm.Normal("w", shape=N)
    mu = pt.exp(-((x[:, None] - c[None, :]) ** 2)) @ w
    pm.Normal("obs", mu, 1, observed=pm.Data("y", Y, dims="obs_id" if dims else None))


def rows_last():
    x = pm.Data("X", X.T, dims=("feature", "obs_id"))
    w = pm.Normal("w", shape=2)
    pm.Normal("obs", w @ x, 1, observed=pm.Data("y", Y, dims="obs_id"), dims="obs_id")


def priors_as_long_as_the_rows():
    w = pm.Normal("w", pm.Data("centres", CENTRES), 1.0)
    pm.Normal("obs", w.sum(), 1, observed=pm.Data("y", Y))


def two_lengths_in_one():
    """The potential cannot be cut, and need not be: it counts once."""
    w = pm.Normal("w")
    pm.Normal("obs", w, 1, observed=pm.Data("x", X))
    pm.Normal("more", w, 1, observed=pm.Data("t", SHORTER))
    pm.Potential("loss", -(w * pm.Data("y", Y)).sum() - (w * pm.Data("z", SHORTER)).sum())


def of_a_minibatch(total_size):
    x, y = pm.Minibatch(X, Y, batch_size=BATCH)
    w = pm.Normal("w", shape=2)
    pm.Normal("obs", x @ w, 1, observed=y, total_size=total_size)
    pm.Normal("constants", w.sum(), 1, observed=SHORTER)


@pytest.mark.parametrize(
    ("build", "lengths"),
    [
        (two_likelihoods, (N, SHORT)),
        (potential_by_row, (N,)),
        (potential_alone, (N,)),
        (rows_by_number, (N,)),
        (lambda: centres(dims=True), (N,)),
        (lambda: centres(dims=False), (N,)),
        (rows_last, (N,)),
        (priors_as_long_as_the_rows, (N,)),
        (two_lengths_in_one, (N, SHORT)),
        (lambda: of_a_minibatch(N), (N, SHORT)),
    ],
    ids=[
        "two likelihoods", "potential by row", "potential alone", "rows by number",
        "centres with dims", "centres by trial", "rows last", "prior", "two lengths in one",
        "pm.Minibatch",
    ],
)  # fmt: skip
def test_gradients_over_a_partition_are_the_full_one(build, lengths):
    with pm.Model(coords={"obs_id": range(N), "centre": range(N)}) as model:
        build()
    density = compile_log_density(model)
    batches = cut(density, density.batch_size or BATCH)
    assert batches.lengths == lengths
    assert batches.sizes == tuple(min(BATCH, n) for n in lengths)
    full, mean = gradients(density, batches)
    assert np.abs(full).max() > 0.1
    np.testing.assert_allclose(mean, full, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("total_size", "scale"), [(None, 1), (N, 1), (10 * N, 10)])
@pytest.mark.parametrize("minibatch", [True, False])
def test_total_size_counts_once(total_size, scale, minibatch):
    """And means what it does in PyMC: the likelihood of a batch times total_size / n."""
    with pm.Model() as model:
        mu = pm.Normal("mu")
        y = pm.Minibatch(Y, batch_size=BATCH) if minibatch else pm.Data("y", Y)
        if minibatch and total_size is None:
            with pytest.warns(UserWarning, match="total_size not provided"):
                pm.Normal("obs", mu, 1.0, observed=y)
        else:
            pm.Normal("obs", mu, 1.0, observed=y, total_size=total_size)
    density = compile_log_density(model)
    batches = cut(density, BATCH)
    theta, rows = jnp.array([0.3]), np.array([4, 0, 7])
    got = batches.log_likelihood(theta, batches.take(density.data, (rows,)))
    expected = -0.5 * (np.log(2 * np.pi) + (Y[rows] - 0.3) ** 2).sum() * N / BATCH * scale
    assert float(got) == pytest.approx(expected, rel=1e-6)


def taken_over_all_rows():
    x = pm.Data("X", X[:, 0])
    pm.Normal("obs", pm.Normal("w") * x / pt.max(x), 1, observed=pm.Data("y", Y))


def mean_of_rows():
    pm.Potential("loss", -((pm.Normal("w") * pm.Data("y", Y)) ** 2).mean())


def sum_and_prior():
    w = pm.Normal("w")
    pm.Potential("loss", -((w - pm.Data("y", Y)) ** 2).sum() - w**2)


def one_value_a_row():
    pm.Normal("obs", pm.Normal("z", shape=N), 1, observed=pm.Data("y", Y))


def prior_of_rows():
    w, y = pm.Normal("w"), pm.Data("y", Y)
    pm.Normal("z", y.mean(), 1.0)
    pm.Normal("obs", w, 1, observed=y)


def process():
    x = pm.Data("X", X[:, :1])
    gp = pm.gp.Marginal(cov_func=pm.gp.cov.ExpQuad(1, ls=pm.HalfNormal("ls")))
    gp.marginal_likelihood("obs", X=x, y=pm.Data("y", Y), sigma=1.0)


def constants():
    pm.Normal("obs", pm.Normal("w"), 1, observed=Y)


def constant_targets():
    pm.Normal("obs", pm.Normal("w") * pm.Data("X", X[:, 0]), 1, observed=Y)


def last_axis(*shape, dims=None):
    x = pm.Data("X", np.ones((*shape, N)), dims=dims)
    mu = (pm.Normal("w", shape=(*shape, 1)) * x).sum(axis=tuple(range(len(shape))))
    pm.Normal("obs", mu, 1, observed=pm.Data("y", Y, dims=None if dims is None else dims[-1]))


def gaps():
    with pytest.warns(UserWarning, match="imputed"):
        pm.Normal("obs", pm.Normal("w") * pm.Data("X", Y), 1, observed=np.where(Y > 0, np.nan, Y))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (taken_over_all_rows, "a row of obs depends on which other rows are with it: compute what"),
        (mean_of_rows, "loss is one number that is no such sum"),
        (sum_and_prior, "loss is one number that is no such sum.*pm.Potential of its own"),
        (one_value_a_row, r"z seems to have values for each of 12 rows: .*z\[i\]"),
        (prior_of_rows, "the prior and potentials must not depend on the rows of the data"),
        (process, "obs is one number that is no such sum"),
        (constants, "in pm.Data, got none of 12 rows, got rows of length 12 as constants"),
        (constant_targets, "got rows of length 12 as constants"),
        (lambda: last_axis(2), r"X of shape \(2, 12\) seems to have its rows on axis 1: name that"),
        (lambda: last_axis(2, 3), r"X of shape \(2, 3, 12\) seems to have its rows on axis 2"),
        (gaps, "obs has missing values, which obs_unobserved imputes"),
    ],
)
def test_what_cannot_be_cut_is_named(build, message):
    with pm.Model() as model:
        build()
    density = compile_log_density(model)
    assert cut(density, None).log_likelihood is density.log_likelihood
    with pytest.raises(ValueError, match=f"(?s){message}.*leave batch_size out"):
        cut(density, BATCH)


def test_rows_on_a_last_axis_that_is_named_are_cut():
    with pm.Model() as model:
        last_axis(2, dims=("feature", "case"))
    batches = cut(compile_log_density(model), BATCH)
    assert (batches.lengths, batches.sizes) == ((N,), (BATCH,))


def test_bad_batch_sizes():
    with pm.Model() as model:
        pm.Normal("obs", pm.Normal("w"), 1, observed=pm.Data("y", Y))
    density = compile_log_density(model)
    with pytest.raises(ValueError, match=r"batch_size must be at most the 12 rows .* got 13"):
        cut(density, N + 1)
    for size in (0, -3, 2.5, True):
        with pytest.raises((TypeError, ValueError), match="batch_size"):
            cut(density, size)
