"""The predictor against PyMC on many models, and bad input."""

import numpy as np
import pymc as pm
import pytest
import xarray as xr

from bnnbook import models, predict

RNG = np.random.default_rng(2)
N = 11
X = RNG.normal(size=(N, 2))
BINARY = RNG.integers(0, 2, N)


def binary():
    return models.mlp_classifier(X, BINARY, (4, 3)), "p", {"X": RNG.normal(size=(N, 2))}


def multiclass():
    y = RNG.integers(0, 3, N)
    model = models.mlp_classifier(X, y, (4,), n_classes=3, activation="gelu", bias=True)
    return model, "p", {"X": RNG.normal(size=(N, 2))}


def regression():
    with pm.Model() as model:
        x = pm.Data("x", X[:, 0], dims="obs_id")
        slope, log_noise = pm.Normal("slope"), pm.Normal("log_noise")
        mu = pm.Deterministic("mu", slope * x, dims="obs_id")
        sigma = pm.Deterministic("sigma", pm.math.exp(log_noise + 0.1 * x), dims="obs_id")
        pm.Normal("obs", mu, sigma, observed=X[:, 1], dims="obs_id")
    return model, ["mu", "sigma"], {"x": RNG.normal(size=N)}


def hierarchical():
    with pm.Model(coords={"group": ["a", "b", "c"]}) as model:
        x, group = pm.Data("x", X[:, 0]), pm.Data("group_index", np.arange(N) % 3)
        spread = pm.HalfNormal("spread", 1.0)
        offset = pm.Normal("offset", dims="group")
        slope = pm.Deterministic("slope", 1.0 + spread * offset, dims="group")
        pm.Deterministic("mu", slope[group] * x)  # a deterministic of a deterministic
        pm.Normal("obs", model["mu"], 1.0, observed=X[:, 1])
    return model, "mu", {"x": RNG.normal(size=N), "group_index": RNG.integers(0, 3, N)}


def simplex():
    with pm.Model(coords={"part": range(3)}) as model:
        x = pm.Data("x", X[:, 0])
        weights = pm.Dirichlet("weights", np.ones(3), dims="part")
        pm.Deterministic("mu", x[:, None] * weights, dims=(None, "part"))
        pm.Normal("obs", model["mu"].sum(axis=1), 1.0, observed=X[:, 1])
    return model, "mu", {"x": RNG.normal(size=N)}


def two_inputs():
    with pm.Model() as model:
        a, b = pm.Data("a", X), pm.Data("b", X[:, 0])
        rate = pm.LogNormal("rate", 0, 1, shape=2)
        bounded = pm.Uniform("bounded", -2, 3)
        pm.Deterministic("mean", a @ rate + bounded * b)
        pm.Deterministic("gap", bounded * b**2)
        pm.Normal("obs", model["mean"], 1.0, observed=X[:, 1])
    return model, ["mean", "gap"], {"a": RNG.normal(size=(N, 2)), "b": RNG.normal(size=N)}


QUICK = {"mode": "FAST_COMPILE"}  # PyMC's functions run once here, and need no machine code
MODELS = [binary, multiclass, regression, hierarchical, simplex, two_inputs]


def draws(model, n=9):
    names = [rv.name for rv in model.free_RVs]
    prior = pm.sample_prior_predictive(
        n, model=model, var_names=names, random_seed=3, compile_kwargs=QUICK
    )
    return prior["prior"].to_dataset()


@pytest.mark.parametrize("build", MODELS, ids=lambda f: f.__name__)
def test_equal_to_pymc_on_the_same_draws(build):
    model, outputs, new = build()
    posterior = draws(model)
    ours = predict.compile_predictor(model, outputs)(
        posterior, new if len(new) > 1 else next(iter(new.values()))
    )
    with model:
        pm.set_data(new)
        theirs = pm.compute_deterministics(
            posterior, var_names=list(ours.data_vars), progressbar=False, compile_kwargs=QUICK
        )
    for name, value in ours.items():
        assert value.dims[:3] == ("chain", "draw", "obs")
        np.testing.assert_allclose(value.to_numpy(), theirs[name].to_numpy(), rtol=1e-6, atol=1e-9)


def test_equal_to_sample_posterior_predictive():
    model, _, new = binary()
    posterior = draws(model)
    ours = predict.compile_predictor(model, "p")(posterior, new["X"])["p"]
    with model:
        pm.set_data(new)
        theirs = pm.sample_posterior_predictive(
            xr.DataTree.from_dict({"posterior": posterior}),
            var_names=["p"],
            progressbar=False,
            compile_kwargs=QUICK,
        )
    np.testing.assert_allclose(ours, theirs["posterior_predictive"]["p"], atol=1e-6)


@pytest.mark.parametrize("n", [1, 7, 2047, 2048, 2049, 5000])
def test_any_number_of_rows_and_draws(n):
    model, _, _ = binary()
    posterior = draws(model, 130)  # more than one block of draws, the last one short
    new = RNG.normal(size=(n, 2))
    found = predict.compile_predictor(model, "p")(posterior, new)["p"]
    w1, w2, w_out = (posterior[v].to_numpy()[0] for v in ("w1", "w2", "w_out"))
    logit = (np.tanh(np.tanh(new @ w1) @ w2) @ w_out[..., None])[..., 0]
    np.testing.assert_allclose(found[0], 1 / (1 + np.exp(-logit)), atol=1e-12)


@pytest.mark.parametrize("build", [hierarchical, simplex], ids=lambda f: f.__name__)
def test_bound_draws_predict_as_a_call_does(build):
    model, outputs, new = build()
    posterior = draws(model)
    predictor = predict.compile_predictor(model, outputs)
    bound = predictor.bind(posterior)
    for n in (N, 1):
        rows = {name: value[:n] for name, value in new.items()}
        xr.testing.assert_identical(bound(rows), predictor(posterior, rows))
        xr.testing.assert_identical(
            bound(rows, reduce="mean"), predictor(posterior, rows, reduce="mean")
        )
    with pytest.raises(ValueError, match="reduce must be None, 'mean' or a function, got 'sd'"):
        bound(new, reduce="sd")
    with pytest.raises(ValueError, match="posterior lacks"):
        predictor.bind(posterior.drop_vars(predictor.parameters[0]))


def test_repeated_calls_share_neither_values_nor_attributes():
    model, output, data = binary()
    with model:
        posterior = pm.sample_prior_predictive(5, random_seed=0)["prior"].to_dataset()
    posterior = posterior[[rv.name for rv in model.free_RVs]]
    posterior["draw"].attrs["note"] = "theirs"
    predictor = predict.compile_predictor(model, output)
    bound = predictor.bind(posterior)
    row, other = ({name: v[i : i + 1] for name, v in data.items()} for i in (0, 1))
    first = bound(row)
    kept = first.copy(deep=True)
    second = bound(other)
    second[output][:] = -1
    second.attrs["note"] = second["draw"].attrs["note"] = "ours"
    xr.testing.assert_identical(first, kept)
    xr.testing.assert_identical(bound(row), kept)
    assert posterior["draw"].attrs == {"note": "theirs"}
    first_weights = next(iter(posterior.data_vars.values()))
    first_weights[:] = first_weights + 1.0  # a call reads the draws, also those written in place
    assert abs(predictor(posterior, row)[output] - kept[output]).max() > 1e-3


def test_reduced_over_draws_block_by_block():
    model, _, _ = binary()
    posterior, new = draws(model), RNG.normal(size=(4100, 2))
    predictor = predict.compile_predictor(model, "p")
    full = predictor(posterior, new)["p"]
    np.testing.assert_allclose(
        predictor(posterior, new, reduce="mean")["p"], full.mean(["chain", "draw"]), atol=1e-12
    )
    top = predictor(posterior, new, reduce=lambda d: d.max("draw"))["p"]
    np.testing.assert_array_equal(top.transpose("chain", "obs"), full.max("draw"))


def test_labels_of_draws_and_other_dims_are_kept():
    model, outputs, new = simplex()
    posterior = draws(model).assign_coords(draw=np.arange(100, 109))
    found = predict.compile_predictor(model, outputs)(posterior, new["x"])
    assert found["draw"].to_numpy().tolist() == list(range(100, 109))
    assert found["mu"].dims == ("chain", "draw", "obs", "part")


def test_bad_input():
    model, _, new = binary()
    posterior = draws(model)
    predictor = predict.compile_predictor(model, "p")
    for bad, error, message in [
        (new["X"][:, :1], ValueError, r"X must have shape \(n, 2\), got \(11, 1\)"),
        (new["X"][:, 0], ValueError, r"X must have shape \(n, 2\), got \(11,\)"),
        (new["X"][:0], ValueError, "X must have at least one row"),
        (np.full((3, 2), np.nan), ValueError, "X must be finite"),
        (new["X"].astype(str), TypeError, "X must be real numbers"),
        ({"Z": new["X"]}, ValueError, r"X must have exactly the data \['X'\], got \['Z'\]"),
    ]:
        with pytest.raises(error, match=message):
            predictor(posterior, bad)
    with pytest.raises(ValueError, match="posterior lacks w2; it has w1, w_out"):
        predictor(posterior.drop_vars("w2"), new["X"])
    with pytest.raises(
        ValueError, match=r"hidden_1 in posterior variable w1 must be \[0, 1, 2, 3\], got \[0, 1\]"
    ):
        predictor(posterior.isel(hidden_1=slice(2)), new["X"])
    with pytest.raises(ValueError, match="reduce must be None, 'mean' or a function, got 'median'"):
        predictor(posterior, new["X"], reduce="median")


def test_bad_models_and_outputs():
    model, _, _ = binary()
    with pytest.raises(ValueError, match=r"outputs must be deterministics of the model, \['p'\]"):
        predict.compile_predictor(model, "q")
    with pytest.raises(TypeError, match=r"model must be a pymc\.Model, got str"):
        predict.compile_predictor("model", "p")
    with pm.Model() as constants:
        pm.Deterministic("mu", pm.Normal("z") * np.ones(3))
    with pytest.raises(ValueError, match=r"model must have pm\.Data inputs that mu depend on"):
        predict.compile_predictor(constants, "mu")
    several, outputs, new = two_inputs()
    predictor = predict.compile_predictor(several, outputs)
    with pytest.raises(TypeError, match="X must be a dict with "):
        predictor(draws(several), new["a"])
    with pytest.raises(ValueError, match="same number of rows in each input"):
        predictor(draws(several), {"a": new["a"], "b": new["b"][:3]})


def test_single_precision_follows_double_precision():
    model, outputs, new = multiclass()
    draws = pm.sample_prior_predictive(20, model=model, random_seed=0)["prior"].to_dataset()
    double = predict.compile_predictor(model, outputs)(draws, new["X"])["p"]
    single = predict.compile_predictor(model, outputs, dtype="float32")(draws, new["X"])["p"]
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, double, atol=2e-6)
    with pytest.raises(ValueError, match="dtype must be 'float64' or 'float32', got 'half'"):
        predict.compile_predictor(model, outputs, dtype="half")


@pytest.mark.parametrize(
    ("centred", "sd_per"),
    [(False, "layer"), (True, "unit"), ("location", "unit"), ((False, "location"), "layer")],
)
def test_new_groups_come_from_the_common_distribution(centred, sd_per):
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(3, 4, 2)), np.tile([0, 1], (3, 2))
    build = {"hidden": (3,), "centred": centred, "sd_per": sd_per, "bias": True}
    shapes = {"w1_mu": (2, 3), "b1_mu": (3,), "w_out_mu": (3,), "b_out_mu": ()}
    shapes |= {"w1_sd": (3,) if sd_per == "unit" else (), "w_out_sd": ()}
    dims_of = {(2, 3): ("feature", "hidden_1"), (3,): ("hidden_1",), (): ()}
    posterior = xr.Dataset(
        {
            name: (("chain", "draw", *dims_of[shape]), abs(rng.normal(size=(1, 40, *shape))))
            for name, shape in shapes.items()
        }
    )
    new = models.hierarchical_mlp_classifier(X[:, :2], y[:, :2], group=list("uvw"), **build)
    many = models.hierarchical_mlp_classifier(
        np.repeat(X[:1], 500, axis=0), np.repeat(y[:1], 500, axis=0), **build
    )
    found = predict.new_groups(many, posterior, seed=1)
    for layer in ("1", "_out"):
        for name in (f"w{layer}", f"b{layer}"):
            mu, sd = posterior[f"{name}_mu"], posterior[f"w{layer}_sd"]
            w = found[name] if name in found else found[f"{name}_offset"]
            how = (
                dict(zip(("1", "_out"), centred, strict=True))[layer]
                if isinstance(centred, tuple)
                else centred
            )
            if how == "location":
                w = sd * w
            elif how is False:
                w = mu + sd * w
            z = (w - mu) / sd
            assert z.sizes["group"] == 500
            # 40 x 500 standard normals for each weight
            assert float(abs(z.mean(["draw", "group"])).max()) < 4.5 / np.sqrt(40 * 500)
            assert float(abs((z**2).mean(["draw", "group"]) - 1).max()) < 4.5 * np.sqrt(2 / 20000)
            # and each draw keeps its own mean and sd: 20 times its standard error would show
            assert float(abs(z.mean("group")).max()) < 5 / np.sqrt(500)
    three = predict.new_groups(new, posterior, seed=1)
    assert three["group"].to_numpy().tolist() == list("uvw")
    again = predict.new_groups(new, posterior, seed=1)
    xr.testing.assert_identical(three, again)
    p = predict.compile_predictor(new, "p")(three, X[:, :3])["p"]
    assert p.dims == ("chain", "draw", "group", "obs")
    assert p.shape == (1, 40, 3, 3)


def test_new_groups_of_a_model_that_has_none_are_refused():
    y = np.tile([0, 1], (3, 2))
    X3 = RNG.normal(size=(3, 4, 2))
    pooled = models.hierarchical_mlp_classifier(X3, y, (2,), pooling="complete")
    with pytest.raises(ValueError, match="must have free variables with dim 'group', got none"):
        predict.new_groups(pooled, xr.Dataset(), seed=0)
    separate = models.hierarchical_mlp_classifier(X3, y, (2,), pooling="none")
    with pytest.raises(ValueError, match="without dim 'group', got none to learn"):
        predict.new_groups(separate, xr.Dataset(), seed=0)
    partial = models.hierarchical_mlp_classifier(X3, y, (2,))
    with pytest.raises(ValueError, match="posterior lacks w1_mu, w_out_mu; it has w1_sd, w_out_sd"):
        predict.new_groups(partial, xr.Dataset({"w1_sd": 1.0, "w_out_sd": 1.0}), seed=0)
    with pm.Model(coords={"group": range(3)}) as heavy:
        scale = pm.HalfNormal("scale")
        effect = pm.StudentT("effect", nu=4, sigma=scale, dims="group")
        pm.Normal("obs", effect, 1.0, observed=np.zeros(3))
    with pytest.raises(ValueError, match="with dim 'group' must be normal, effect is not"):
        predict.new_groups(heavy, xr.Dataset(), seed=0)
    with pm.Model(coords={"group": range(3)}) as nested:
        scale = pm.HalfNormal("scale")
        level = pm.Normal("level", 0.0, scale, dims="group")
        effect = pm.Normal("effect", level, scale, dims="group")
        pm.Normal("obs", effect, 1.0, observed=np.zeros(3))
    with pytest.raises(ValueError, match="effect must depend on shared variables only"):
        predict.new_groups(nested, xr.Dataset(), seed=0)


def test_rows_on_an_axis_without_a_name_are_explained():
    X, y = RNG.normal(size=(3, 4, 2)), np.tile([0, 1], (3, 2))
    with pm.Model() as model:  # three groups of four rows; nothing says which axis has the rows
        inputs = pm.Data("X", X)
        w = pm.Normal("w", shape=(3, 2))
        p = pm.Deterministic("p", pm.math.sigmoid((inputs * w[:, None]).sum(axis=-1)))
        pm.Bernoulli("obs", p=p, observed=y)
    with pytest.raises(ValueError, match="p must follow the number of rows, taken to be axis 0 of"):
        predict.compile_predictor(model, "p")
