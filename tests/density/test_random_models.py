"""Small models put together at random: PyMC's log density and predictions, batches that add up."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bnnbook import predict
from bnnbook.density import compile_log_density, cut, precision

N, SHORT, BATCH = 12, 6, 3

SCALES = {
    "half normal": lambda: pm.HalfNormal("scale", 1.0),
    "gamma": lambda: pm.Gamma("scale", 2.0, 2.0),
    "bounded": lambda: pm.Uniform("scale", 0.2, 3.0),
    "simplex": lambda: 3 * pm.Dirichlet("share", np.ones(3))[1],
}
LIKELIHOODS = {
    "normal": lambda f, s, y: pm.Normal("obs", f, s, observed=pm.Data("y", y)),
    "student": lambda f, s, y: pm.StudentT("obs", 2 + s, mu=f, sigma=s, observed=pm.Data("y", y)),
    "bernoulli": lambda f, s, y: pm.Bernoulli(
        "obs", logit_p=s * f, observed=pm.Data("y", (y > 0).astype(int))
    ),
    "counts": lambda f, s, y: pm.NegativeBinomial(
        "obs", mu=pm.math.exp(f), alpha=s, observed=pm.Data("y", np.floor(np.exp(y)).astype(int))
    ),
    "potential": lambda f, s, y: pm.Potential(
        "loss", -pm.math.abs(pm.Data("y", y) - f).sum() / s
    ),
}  # fmt: skip


def build(scale, likelihood, groups, second, weighted, seed):
    rng = np.random.default_rng(seed)
    with pm.Model() as model:
        w = pm.Normal("w", 0, 1, shape=2)
        f = pm.Data("X", rng.normal(size=(N, 2))) @ w
        s = SCALES[scale]()
        if groups:
            centre = pm.Normal("centre")
            level = pm.Normal("level", centre, s, shape=groups)
            f = f + level[pm.Data("group", np.arange(N) % groups)]
        if weighted:
            f = f * pm.Data("weight", rng.uniform(0.5, 2, N))
        f = pm.Deterministic("f", f)
        LIKELIHOODS[likelihood](f, s, rng.normal(size=N))
        if second:
            pm.Normal("more", w[0], s, observed=pm.Data("z", rng.normal(size=SHORT)))
    return model


@settings(max_examples=6, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
@given(
    scale=st.sampled_from(sorted(SCALES)),
    likelihood=st.sampled_from(sorted(LIKELIHOODS)),
    groups=st.sampled_from([0, 3, N]),
    second=st.booleans(),
    weighted=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_log_density_batches_and_predictions(scale, likelihood, groups, second, weighted, seed):
    model = build(scale, likelihood, groups, second, weighted, seed)
    density = compile_log_density(model)
    batches = cut(density, BATCH)
    assert set(batches.lengths) == ({N, SHORT} if second else {N})
    pymcs = model.compile_logp(mode="FAST_COMPILE")
    with precision(np.float64):
        data = tuple(map(jnp.asarray, density.data))
        theta = jnp.asarray(density.initial_points(1, jitter=0.8, seed=seed)[0])
        value, full = jax.value_and_grad(density.log_likelihood)(theta, data)
        expected = pymcs({k: np.asarray(v) for k, v in density.split(theta).items()})
        assert float(value + density.log_prior(theta, data)) == pytest.approx(
            float(expected), rel=1e-8, abs=1e-8
        )
        one = jax.jit(jax.grad(lambda t, rows: batches.log_likelihood(t, batches.take(data, rows))))
        orders = [np.random.default_rng(k).permutation(n) for k, n in enumerate(batches.lengths)]
        parts = []
        for i in range(N // BATCH):  # as often through the shorter data as they fit
            places = [(i * BATCH) % n for n in batches.lengths]
            rows = [o[p : p + BATCH] for o, p in zip(orders, places, strict=True)]
            parts.append(one(theta, tuple(map(jnp.asarray, rows))))
        np.testing.assert_allclose(np.mean(parts, axis=0), full, rtol=1e-8, atol=1e-8)
    _check_predictions(model, density, seed)


def _check_predictions(model, density, seed):
    """At two draws and other rows of X, against PyMC's own deterministics."""
    points = density.initial_points(2, jitter=0.8, seed=seed + 1)
    with precision(np.float64):
        values = jax.vmap(density.constrain, in_axes=(0, None))(points, density.arrays())
    posterior = xr.Dataset({
        name: (("chain", "draw", *(f"{name}_{i}" for i in range(value.ndim - 1))), value[None])
        for name, value in ((name, np.asarray(value)) for name, value in values.items())
    })  # fmt: skip
    new = {
        name: model[name].get_value() for name in ("group", "weight") if name in model.named_vars
    }
    new["X"] = np.random.default_rng(seed).normal(size=(N, 2))
    got = predict.compile_predictor(model, "f")(posterior, new)["f"]
    with model, warnings.catch_warnings():
        # PyMC warns of any potential; only a deterministic is drawn here
        warnings.filterwarnings("ignore", "The effect of Potentials")
        pm.set_data({"X": new["X"]})
        expected = pm.sample_posterior_predictive(
            xr.DataTree.from_dict({"posterior": posterior}), var_names=["f"], progressbar=False,
            compile_kwargs={"mode": "FAST_COMPILE"}, random_seed=0,
        )["posterior_predictive"]["f"]  # fmt: skip
    np.testing.assert_allclose(got, expected, rtol=1e-10)
