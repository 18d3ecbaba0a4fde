"""The hierarchical builder against networks written out in NumPy and SciPy, and bad input."""

import numpy as np
import pytensor
import pytest
from scipy import special, stats

from bnnbook import models
from bnnbook.inference import compile_log_density

GROUPS, ROWS, D, HIDDEN = 4, 6, 3, (5, 2)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(GROUPS, ROWS, D))
Y = np.tile([0, 1, 1, 0, 1, 0], (GROUPS, 1))
UNEQUAL = np.array(["b", "a", "a", "c", "b", "a", "c", "c", "a", "b", "c"])
LONG_X = RNG.normal(size=(len(UNEQUAL), D))
LONG_Y = np.array([0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 1])
SHAPES = {"w1": (D, 5), "b1": (5,), "w2": (5, 2), "b2": (2,), "w_out": (2,), "b_out": ()}


@pytest.fixture(autouse=True)
def without_compiling():
    """Evaluate PyMC's own log densities in Python: each is called once."""
    with pytensor.config.change_flags(linker="py"):
        yield


def names(bias):
    return [name for name in SHAPES if bias or name.startswith("w")]


def log_joint(point, X, y, of_row, n_groups, *, bias, pooling, centred, sd_per, tau, s):
    """Log joint density by hand, rows one by one: X (n, d), y (n,), group of each row (n,)."""
    total, weights = 0.0, {}
    for name in names(bias):
        layer, shape = name[1:], SHAPES[name]
        if pooling == "complete":
            w = point[name]
            total += stats.norm.logpdf(w, 0, tau[layer]).sum()
            weights[name] = np.broadcast_to(w, (n_groups, *shape))
            continue
        if pooling == "none":
            weights[name] = point[name]
            total += stats.norm.logpdf(point[name], 0, tau[layer]).sum()
            continue
        sd = np.exp(point[f"w{layer}_sd_log__"])
        if sd_per == "unit" and layer != "_out":
            assert sd.shape == SHAPES[f"w{layer}"][1:]
        else:
            assert sd.shape == ()
        mu = point[f"{name}_mu"]
        total += stats.norm.logpdf(mu, 0, tau[layer]).sum()
        how = centred[["1", "2", "_out"].index(layer)] if isinstance(centred, tuple) else centred
        if how is True:
            weights[name] = point[name]
            total += stats.norm.logpdf(point[name], mu, sd).sum()
        elif how == "location":
            offset = point[f"{name}_offset"]
            total += stats.norm.logpdf(offset, mu / sd, 1).sum()
            weights[name] = sd * offset
        else:
            offset = point[f"{name}_offset"]
            total += stats.norm.logpdf(offset).sum()
            weights[name] = mu + sd * offset
        if name.startswith("w"):  # one sd for a layer's weights and biases, on the log scale
            total += (stats.halfnorm.logpdf(sd, scale=s) + np.log(sd)).sum()
    for x, label, g in zip(X, y, of_row, strict=True):
        h = x
        for layer in ("1", "2", "_out"):
            f = h @ weights[f"w{layer}"][g] + (weights[f"b{layer}"][g] if bias else 0.0)
            h = np.tanh(f)
        total += stats.bernoulli.logpmf(label, special.expit(f))
    return total


def random_point(model):
    rng = np.random.default_rng(1)
    return {name: rng.normal(size=v.shape) for name, v in model.initial_point().items()}


@pytest.mark.parametrize("long", [False, True], ids=["wide", "long"])
@pytest.mark.parametrize(
    ("options", "bias"),
    [
        ({}, False),
        ({"sd_per": "unit", "group_sd": 0.3}, True),
        ({"centred": True, "prior_sd": (0.5, 1.0, 2.0)}, False),
        ({"centred": (False, "location", True), "sd_per": "unit"}, True),
        ({"pooling": "none", "prior_sd": 2.0}, True),
        ({"pooling": "complete", "prior_sd": (0.5, 1.0, 2.0)}, True),
    ],
    ids=["default", "unit", "centred", "one for each layer", "none", "complete"],
)
def test_log_density_is_that_of_the_networks_by_hand(options, bias, long):
    settings = {"pooling": "partial", "centred": False, "sd_per": "layer"}
    settings |= {k: v for k, v in options.items() if k in settings}
    tau = np.broadcast_to(options.get("prior_sd", 1.0), 3)
    tau = dict(zip(("1", "2", "_out"), tau, strict=True))
    s = options.get("group_sd", 1.0)
    if long:
        model = models.hierarchical_mlp_classifier(
            LONG_X, LONG_Y, HIDDEN, group=UNEQUAL, bias=bias, **options
        )
        rows = LONG_X, LONG_Y, np.searchsorted(["a", "b", "c"], UNEQUAL), 3
        assert model.coords["group"] == ("a", "b", "c")
    else:
        model = models.hierarchical_mlp_classifier(X, Y, HIDDEN, bias=bias, **options)
        rows = X.reshape(-1, D), Y.ravel(), np.repeat(np.arange(GROUPS), ROWS), GROUPS
    point = random_point(model)
    expected = log_joint(point, *rows, bias=bias, tau=tau, s=s, **settings)
    assert model.compile_logp(mode="FAST_COMPILE")(point) == pytest.approx(expected, rel=1e-10)
    if options:
        return
    density = compile_log_density(model)
    theta = np.concatenate([np.ravel(point[name]) for name in density.names])
    got = density.log_prior(theta, density.data) + density.log_likelihood(theta, density.data)
    assert float(got) == pytest.approx(expected, rel=1e-10)


def test_all_parameterisations_have_the_same_posterior():
    apart = models.hierarchical_mlp_classifier(X, Y, HIDDEN)
    located = models.hierarchical_mlp_classifier(X, Y, HIDDEN, centred="location")
    centred = models.hierarchical_mlp_classifier(X, Y, HIDDEN, centred=True)
    point = random_point(apart)
    shifted, moved, log_jacobian = dict(point), dict(point), 0.0
    for w in ("w1", "w2", "w_out"):
        offset, log_sd = moved.pop(f"{w}_offset"), point[f"{w}_sd_log__"]
        moved[w] = point[f"{w}_mu"] + np.exp(log_sd) * offset
        shifted[f"{w}_offset"] = moved[w] / np.exp(log_sd)
        log_jacobian += offset.size * log_sd
    expected = apart.compile_logp(mode="FAST_COMPILE")(point)
    assert located.compile_logp(mode="FAST_COMPILE")(shifted) == pytest.approx(expected, rel=1e-10)
    # p(w) dw = p(offset) d offset
    assert centred.compile_logp(mode="FAST_COMPILE")(moved) + log_jacobian == pytest.approx(
        expected, rel=1e-10
    )


def test_dims_and_labels():
    group = ["north", "east", "south", "west"]
    model = models.hierarchical_mlp_classifier(X, Y, HIDDEN, group=group, sd_per="unit", bias=True)
    dims = model.named_vars_to_dims
    assert model.coords["group"] == tuple(group)
    assert dims["X"] == ("group", "obs_id", "feature")
    assert dims["p"] == dims["y"] == dims["obs"] == ("group", "obs_id")
    assert dims["w2_mu"] == ("hidden_1", "hidden_2")
    assert dims["w2"] == dims["w2_offset"] == ("group", "hidden_1", "hidden_2")
    assert dims["w_out"] == ("group", "hidden_2")
    assert dims["w2_sd"] == dims["b2_mu"] == ("hidden_2",)
    assert dims["w_out_sd"] == ()  # the output layer has one unit
    assert "b1_sd" not in model.named_vars  # a layer's biases share its sd


def test_categories_keep_their_order():
    pandas = pytest.importorskip("pandas")
    group = pandas.Series(UNEQUAL, dtype=pandas.CategoricalDtype(["c", "a", "b"]))
    model = models.hierarchical_mlp_classifier(LONG_X, LONG_Y, HIDDEN, group=group)
    assert model.coords["group"] == ("c", "a", "b")
    index = model["group_index"].get_value()
    assert np.array(["c", "a", "b"])[index].tolist() == UNEQUAL.tolist()


def test_rows_in_any_order_and_wide_format_agree():
    wide = models.hierarchical_mlp_classifier(X, Y, HIDDEN)
    order = RNG.permutation(GROUPS * ROWS)
    long = models.hierarchical_mlp_classifier(
        X.reshape(-1, D)[order], Y.ravel()[order], HIDDEN,
        group=np.repeat(np.arange(GROUPS), ROWS)[order],
    )  # fmt: skip
    point = random_point(wide)
    assert long.compile_logp(mode="FAST_COMPILE")(point) == pytest.approx(
        wide.compile_logp(mode="FAST_COMPILE")(point), rel=1e-10
    )


def test_a_group_of_one_class_is_allowed_when_asked_for():
    y = Y.copy()
    y[2] = 1
    model = models.hierarchical_mlp_classifier(X, y, HIDDEN, allow_single_class=True)
    assert np.isfinite(model.compile_logp(mode="FAST_COMPILE")(model.initial_point()))


def test_networks_without_pooling_are_separate_models():
    model = models.hierarchical_mlp_classifier(X, Y, HIDDEN, pooling="none")
    point = random_point(model)
    weights = point.items()
    one_by_one = sum(
        models.mlp_classifier(X[g], Y[g], HIDDEN).compile_logp(mode="FAST_COMPILE")(
            {k: v[g] for k, v in weights}
        )
        for g in range(GROUPS)
    )
    assert model.compile_logp(mode="FAST_COMPILE")(point) == pytest.approx(one_by_one, rel=1e-10)


BAD_X = X.copy()
BAD_X[1, 2, 0] = np.nan
ONE_CLASS = np.where(np.arange(GROUPS)[:, None] == 2, 1, Y)
LONG = {"X": LONG_X, "y": LONG_Y, "group": UNEQUAL}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"X": X[:, :0], "y": Y[:, :0]}, ValueError, r"every group must have data, got X of shape"),
        ({"y": ONE_CLASS}, ValueError, "both classes, got only class 1 in group 2; allow_single"),
        (
            {"y": ONE_CLASS, "group": list("wxyz")},
            ValueError,
            "both classes, got only class 1 in group 'y'",
        ),
        (LONG | {"y": np.zeros(11, int)}, ValueError, "got only class 0 in group 'a'"),
        ({"X": X[0], "y": Y[0]}, ValueError, r"X must have three axes \(group, obs, feature\), or"),
        ({"X": X[0, 0], "y": Y[0]}, ValueError, r"X must have three axes .* got shape \(3,\)"),
        (
            {"X": [X[0], X[1, :4]], "y": [Y[0], Y[1, :4]]},
            ValueError,
            r"a list of groups of 6, 4 rows; for groups of unequal size give X \(n, d\)",
        ),
        ({"y": Y + 1}, ValueError, r"y must hold labels 0..1, got 2"),
        ({"y": Y - 1}, ValueError, r"y must hold labels 0..1, got -1"),
        ({"y": Y.astype(float)}, TypeError, "y must hold integer labels 0..1, got dtype float64"),
        ({"y": Y[:, :5]}, ValueError, r"the shape of X without its last axis, \(4, 6\), got"),
        ({"X": BAD_X}, ValueError, "X must be finite, got nan in row 8, column 0"),
        ({"group": [1, 2, 3]}, ValueError, r"one label per group, shape \(4,\), got \(3,\)"),
        ({"group": [1, 2, 3, 3]}, ValueError, "group must name each group once, got a label twice"),
        (
            LONG | {"group": UNEQUAL[:5]},
            ValueError,
            r"one label per row, shape \(11,\), got \(5,\)",
        ),
        (LONG | {"group": np.ones(11)}, TypeError, "group must hold labels, .* got float64"),
        ({"pooling": "some"}, ValueError, "pooling must be one of partial, .* got 'some'"),
        ({"sd_per": "weight"}, ValueError, "sd_per must be one of layer, unit, got 'weight'"),
        ({"group_sd": 0.0}, ValueError, "group_sd must be positive and finite, got 0.0"),
        (
            {"centred": "scale"},
            ValueError,
            "centred must be True, False or 'location', got 'scale'",
        ),
        ({"centred": (True, True)}, ValueError, "for each of the 3 layers .* got 2"),
        ({"prior_sd": (1.0, 1.0)}, ValueError, "one number for each of the 3 layers"),
        ({"hidden": ()}, ValueError, "hidden must name at least one layer"),
        ({"activation": "swish"}, ValueError, "activation must be one of"),
    ],
)
def test_bad_input(change, error, message):
    with pytest.raises(error, match=message):
        models.hierarchical_mlp_classifier(**({"X": X, "y": Y, "hidden": HIDDEN} | change))


def test_a_category_without_rows_is_named():
    pandas = pytest.importorskip("pandas")
    group = pandas.Series(UNEQUAL, dtype=pandas.CategoricalDtype(["a", "b", "c", "d"]))
    with pytest.raises(ValueError, match="every group must have data, got none for 'd'"):
        models.hierarchical_mlp_classifier(LONG_X, LONG_Y, HIDDEN, group=group)
