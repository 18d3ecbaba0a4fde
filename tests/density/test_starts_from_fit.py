"""Starting points from fits and from values in the model's own space."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr

from bnnbook import inference

ORDERED = pm.distributions.transforms.ordered


def many_transforms():
    """Bounds that depend on another variable, a simplex, an order, a matrix, a data container."""
    with pm.Model(coords={"site": ["a", "b", "c"]}) as model:
        up = pm.HalfNormal("up")
        pm.Uniform("within", 0, up, shape=2)
        pm.Dirichlet("share", np.ones(3), dims="site")
        pm.HalfCauchy("scale", pm.Data("width", 2.0))
        pm.Normal("cut", 0, 1, shape=3, transform=ORDERED, initval=[-1.0, 0.0, 1.0])
        pm.LKJCholeskyCov("chol", n=3, eta=2.0, sd_dist=pm.HalfNormal.dist(), compute_corr=False)
        mu = pm.Normal("mu", dims="site")
        pm.Normal("obs", mu.sum(), 1.0, observed=np.zeros(3))
    return model


def fit_of(density, chains, draws, seed=0):
    """A made-up fit: its unconstrained draws (chains, draws, D) and its tree."""
    theta = density.initial_points(chains * draws, jitter=0.5, seed=seed)
    values = [density.constrain(t, density.data) for t in theta]
    posterior = xr.Dataset(
        {
            name: (
                ("chain", "draw", *(density.dims[name] or [f"{name}_{i}" for i in range(v.ndim)])),
                np.array([x[name] for x in values]).reshape(chains, draws, *v.shape),
            )
            for name, v in values[0].items()
        },
        coords={"site": ["a", "b", "c"]},
    )
    tree = xr.DataTree.from_dict({"posterior": posterior})
    return theta.reshape(chains, draws, -1), tree


def test_fit_comes_back_as_the_unconstrained_points_it_was_made_of():
    density = inference.compile_log_density(many_transforms())
    theta, tree = fit_of(density, 2, 6)
    for start in (tree, tree["posterior"].to_dataset()):
        np.testing.assert_allclose(density.given_points(start, 2), theta[:, -1], rtol=1e-9)
    # one chain more than the fit has: its chains in turn, at other draws
    got = density.given_points(tree, 3)
    np.testing.assert_allclose(got, [theta[0, -1], theta[1, -1], theta[0, 2]], rtol=1e-9)
    np.testing.assert_allclose(density.given_points(tree, 1), theta[:1, -1], rtol=1e-9)


def test_labels_and_dims_in_another_order_are_put_in_order():
    density = inference.compile_log_density(many_transforms())
    theta, tree = fit_of(density, 2, 3)
    turned = tree["posterior"].to_dataset().isel(site=[2, 0, 1]).transpose(..., "chain")
    np.testing.assert_allclose(density.given_points(turned, 2), theta[:, -1], rtol=1e-9)
    other = tree["posterior"].to_dataset().assign_coords(site=["a", "b", "z"])
    with pytest.raises(ValueError, match=r"other labels of site than the model: \['a', 'b', 'z'\]"):
        density.given_points(other, 2)


def test_draws_without_chains_and_stacked_draws_will_do():
    density = inference.compile_log_density(many_transforms())
    theta, tree = fit_of(density, 1, 4)
    draws = tree["posterior"].to_dataset().isel(chain=0, drop=True)
    np.testing.assert_allclose(density.given_points(draws, 2), theta[0, [3, 1]], rtol=1e-9)
    stacked = tree["posterior"].to_dataset().stack(sample=("chain", "draw"))
    np.testing.assert_allclose(density.given_points(stacked, 1), theta[0, -1:], rtol=1e-9)
    one = draws.isel(draw=0, drop=True)
    np.testing.assert_allclose(density.given_points(one, 2), theta[0, [0, 0]], rtol=1e-9)


def test_names_in_the_models_own_space():
    rng = np.random.default_rng(0)
    with pm.Model() as model:
        sigma = pm.HalfNormal("sigma")
        mu = pm.Normal("mu", shape=2)
        pm.Normal("obs", mu, sigma, observed=np.zeros((4, 2)))
    density = inference.compile_log_density(model)
    own = {"mu": rng.normal(size=(3, 2)), "sigma": rng.uniform(1, 2, size=3)}
    expected = np.column_stack([np.log(own["sigma"]), own["mu"]])
    np.testing.assert_allclose(density.given_points(own, 3), expected, rtol=1e-12)
    raw = {"mu": own["mu"], "sigma_log__": np.log(own["sigma"])}
    np.testing.assert_allclose(density.given_points(raw, 3), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"mu": np.zeros((2, 2))}, "start must name sigma_log__, mu, or sigma, mu, got mu"),
        ({"mu": np.zeros((2, 2)), "sigma": np.ones(3)}, r"start\['sigma'\] must have shape \(2,\)"),
        ({"mu": np.zeros((2, 2)), "sigma": [1, -1]}, "inside the support of sigma, got -1"),
        ({"mu": np.zeros((2, 2)), "sigma": [1, 0]}, "inside the support of sigma, got 0"),
        (xr.DataTree.from_dict({"prior": xr.Dataset()}), r"fit with a posterior, got groups \['pr"),
        (xr.Dataset({"mu": (("chain", "draw", "k"), np.zeros((1, 1, 2)))}), "it has no sigma"),
        ({"mu": np.full((2, 2), np.nan), "sigma_log__": [0, 0]}, "start must be finite"),
        ({"mu": [[0, np.inf]] * 2, "sigma": [1, 1]}, "inside the support of mu"),
    ],
)
def test_bad_starts(start, message):
    with pm.Model() as model:
        sigma = pm.HalfNormal("sigma")
        pm.Normal("obs", pm.Normal("mu", shape=2), sigma, observed=np.zeros((4, 2)))
    with pytest.raises(ValueError, match=message):
        inference.compile_log_density(model).given_points(start, 2)


def test_shares_that_do_not_add_up_are_refused():
    with pm.Model() as model:
        share = pm.Dirichlet("share", np.ones(3))
        pm.Normal("obs", share, 1.0, observed=np.zeros((4, 3)))
    density = inference.compile_log_density(model)
    with pytest.raises(ValueError, match="inside the support of share"):
        density.given_points({"share": [[0.5, 0.5, 0.5]]}, 1)
