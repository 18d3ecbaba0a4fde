"""Which data are rows; groups and levels by label and by index; reductions by block."""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
import xarray as xr

from bnnbook import models, predict

RNG = np.random.default_rng(8)
N = 12
X = np.sort(RNG.uniform(-3, 3, (N, 1)), axis=0)
NEW = np.linspace(-3, 3, 7)[:, None]


def of(model, values, new, name="mu", **options):
    draws = {key: np.asarray(value)[None, None] for key, value in values.items()}
    return predict.compile_predictor(model, name)(draws, new, **options)[name]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("k", [5, N, 20])
def test_centres_as_many_as_rows(k, named):
    centres = np.linspace(-3, 3, k)[:, None]
    with pm.Model(coords={"obs_id": range(N), "centre": range(k)} if named else None) as model:
        x = pm.Data("X", X, dims=("obs_id", "feature") if named else None)
        c = pm.Data("centres", centres, dims=("centre", "feature") if named else None)
        w = pm.Normal("w", shape=k)
        phi = pt.exp(-0.5 * ((x[:, None, :] - c[None, :, :]) ** 2).sum(-1))
        pm.Deterministic("mu", phi @ w)
        pm.Normal("obs", model["mu"], 0.1, observed=np.zeros(N))
    w = RNG.normal(size=k)
    right = np.exp(-0.5 * (NEW - centres.T) ** 2) @ w
    np.testing.assert_allclose(of(model, {"w": w}, NEW)[0, 0], right, rtol=1e-10)


def test_rows_by_the_name_of_the_observed_variable():
    with pm.Model(coords={"year": range(N), "place": range(N)}) as model:
        x, size = pm.Data("x", X[:, 0], dims="year"), pm.Data("size", np.arange(N), dims="place")
        w = pm.Normal("w", dims="place")
        pm.Deterministic("mu", x * (w * size).sum(), dims="year")
        pm.Normal("obs", model["mu"], 1.0, observed=X[:, 0], dims="year")
    w = RNG.normal(size=N)
    found = of(model, {"w": w}, NEW[:, 0])
    np.testing.assert_allclose(found[0, 0], NEW[:, 0] * (w @ np.arange(N)), rtol=1e-10)


def test_as_many_rows_as_features():
    Z, scale, w = RNG.normal(size=(N, N)), np.linspace(0.1, 2, N), RNG.normal(size=N)
    with pm.Model() as model:
        z, s, b = pm.Data("X", Z), pm.Data("scale", scale), pm.Normal("w", shape=N)
        pm.Deterministic("mu", z @ (b * s))
        pm.Normal("obs", model["mu"], 1.0, observed=np.zeros(N))
    np.testing.assert_allclose(of(model, {"w": w}, Z[:3])[0, 0], Z[:3] @ (w * scale), rtol=1e-10)


@pytest.mark.parametrize("n", [1, 7, 9, 2050])
def test_rows_that_depend_on_each_other_are_computed_together(n):
    with pm.Model() as model:
        x, w = pm.Data("x", X[:, 0]), pm.Normal("w")
        pm.Deterministic("mu", w * (x - x.mean()))
        pm.Normal("obs", model["mu"], 1.0, observed=X[:, 0])
    new = RNG.normal(size=n)
    np.testing.assert_allclose(
        of(model, {"w": 2.0}, new)[0, 0], 2 * (new - new.mean()), rtol=1e-9, atol=1e-12
    )


def test_models_of_minibatches():
    Z, y = RNG.normal(size=(N, 2)), RNG.normal(size=N)
    cut = models.mlp_regression(
        *pm.Minibatch(Z, y, batch_size=4), (2,), heteroskedastic=False, total_size=N
    )
    whole = models.mlp_regression(Z, y, (2,), heteroskedastic=False)
    draws = {"w1": RNG.normal(size=(2, 2)), "b1": RNG.normal(size=2)}
    draws |= {"w_out": RNG.normal(size=2), "b_out": 0.3}
    np.testing.assert_allclose(of(cut, draws, Z[:9]), of(whole, draws, Z[:9]), rtol=1e-12)
    with pm.Model() as own:
        x, t = pm.Minibatch(X, X[:, 0], batch_size=5)
        pm.Deterministic("mu", x[:, 0] * pm.Normal("w") + pt.zeros_like(t).sum())
        pm.Normal("obs", own["mu"], 1.0, observed=t, total_size=N)
    found = predict.compile_predictor(own, "mu")
    assert len(found.inputs) == 2
    with pm.Model() as own:
        x, t = pm.Minibatch(X, X[:, 0], batch_size=5)
        pm.Deterministic("mu", x[:, 0] * pm.Normal("w"))
        pm.Normal("obs", own["mu"], 1.0, observed=t, total_size=N)
    np.testing.assert_allclose(of(own, {"w": 2.0}, NEW)[0, 0], 2 * NEW[:, 0], rtol=1e-12)


def groups(names, **options):
    y = np.tile([0, 1], (len(names), 2))
    X = np.zeros((len(names), 4, 1))
    return models.hierarchical_mlp_classifier(X, y, (), group=names, **options)


def test_groups_are_known_by_their_labels():
    names = ["a", "b", "c"]
    with pm.Model(coords={"group": names}) as model:
        x, i = pm.Data("x", X[:, 0]), pm.Data("i", np.arange(N) % 3)
        pm.Deterministic("mu", pm.Normal("level", dims="group")[i] + x)
        pm.Normal("obs", model["mu"], 1.0, observed=X[:, 0])
    predictor = predict.compile_predictor(model, "mu")
    draws = xr.Dataset(
        {"level": (("chain", "draw", "group"), [[[30.0, 10.0, 20.0]]])},
        coords={"group": ["c", "a", "b"]},
    )
    found = predictor(draws, {"x": np.zeros(3), "i": [0, 1, 2]})["mu"]
    assert found[0, 0].to_numpy().tolist() == [10.0, 20.0, 30.0]
    for other in (["c", "a", "d"], ["a", "b", "b"]):
        with pytest.raises(ValueError, match=r"labels of group .* must be \['a', 'b', 'c'\], got"):
            predictor(draws.assign_coords(group=other), {"x": np.zeros(3), "i": [0, 1, 2]})
    for bad in (3, -1, 99):
        with pytest.raises(ValueError, match=rf"i must index .* got {bad} in row 1.*new_groups"):
            predictor(draws, {"x": np.zeros(2), "i": [0, bad]})


def test_codes_out_of_range_are_refused():
    with pm.Model() as model:
        i, a = pm.Data("i", np.arange(N) % 3), pm.Normal("a", shape=3)
        pm.Deterministic("mu", a[i])
        pm.Normal("obs", model["mu"], 1.0, observed=np.zeros(N))
    predictor = predict.compile_predictor(model, "mu")
    draws = {"a": np.array([[[-3.0, 0.0, 3.0]]])}
    assert predictor(draws, [0, 1, 2])["mu"][0, 0].to_numpy().tolist() == [-3.0, 0.0, 3.0]
    for bad in ([7], [-1], [0, 3]):
        with pytest.raises(ValueError, match=f"from 0 to 2, got {bad[-1]} in row {len(bad) - 1}"):
            predictor(draws, bad)


@pytest.mark.parametrize("n", [5, 5000])
def test_reductions_that_lose_the_rows_are_refused(n):
    with pm.Model() as model:
        x = pm.Data("x", X[:, 0])
        pm.Deterministic("mu", pm.Normal("w") * x)
        pm.Normal("obs", model["mu"], 1.0, observed=X[:, 0])
    new = RNG.normal(size=n)
    for lose in (lambda d: d.mean(), lambda d: d.mean("obs"), lambda d: d.isel(obs=[0])):
        with pytest.raises(ValueError, match="reduce must keep the dim obs"):
            of(model, {"w": 1.0}, new, reduce=lose)
    with pytest.raises(TypeError, match="reduce must return a Dataset, got int"):
        of(model, {"w": 1.0}, new, reduce=lambda _: 1)
    kept = of(model, {"w": 2.0}, new, reduce=lambda d: d.max(("chain", "draw")))
    np.testing.assert_allclose(kept, 2.0 * new, rtol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_random_models_are_equal_to_pymc(seed):
    """Random links, transforms, levels and containers against PyMC's own deterministics."""
    rng = np.random.default_rng(seed)
    links = [pt.tanh, pt.exp, pm.math.sigmoid, lambda v: v - v.mean(), pt.cumsum]
    first, second = (links[i] for i in rng.integers(0, len(links), 2))
    coords = {"level": ["u", "v", "w"]}
    with pm.Model(coords=coords) as model:
        x = pm.Data("x", rng.normal(size=(N, 2)))
        code = pm.Data("code", rng.integers(0, 3, N).astype(rng.choice(["int8", "int64"])))
        knots = pm.Data("knots", rng.normal(size=2))
        w, scale = pm.Normal("w", shape=2), pm.HalfNormal("scale")
        a = pm.Normal("a", 0.0, scale, dims="level")
        share = pm.Dirichlet("share", np.ones(2))
        f = first((x - knots) @ (w * share)) + a[code]
        pm.Deterministic("f", f)
        pm.Deterministic("g", second(scale * f)[:, None] * share)
        pm.Normal("obs", f, scale, observed=np.zeros(N))
    prior = pm.sample_prior_predictive(
        3, model=model, var_names=["w", "scale", "a", "share"], random_seed=seed,
        compile_kwargs={"mode": "FAST_COMPILE"},
    )["prior"].to_dataset()  # fmt: skip
    new = {"x": rng.normal(size=(5, 2)), "code": rng.integers(0, 3, 5)}
    ours = predict.compile_predictor(model, ["f", "g"])(prior, new)
    with model:
        pm.set_data(new | {"code": new["code"].astype(model["code"].dtype)})
        pm.set_data({})
        theirs = pm.sample_posterior_predictive(
            xr.DataTree.from_dict({"posterior": prior}), var_names=["f", "g"], progressbar=False,
            compile_kwargs={"mode": "FAST_COMPILE"},
        )["posterior_predictive"]  # fmt: skip
    for name in ("f", "g"):
        np.testing.assert_allclose(
            ours[name].to_numpy(), theirs[name].to_numpy(), rtol=1e-6, atol=1e-9
        )
