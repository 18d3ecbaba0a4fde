"""The builders against networks written out in NumPy and SciPy."""

import numpy as np
import pymc as pm
import pytest
from scipy import special, stats

from bnnbook import models

N, D = 12, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D))
LABELS = {2: RNG.integers(0, 2, N), 4: RNG.integers(0, 4, N)}
NUMPY_ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * stats.norm.cdf(x),
    "sigmoid": special.expit,
}


def random_point(model):
    rng = np.random.default_rng(1)
    return {name: rng.normal(size=v.shape) for name, v in model.initial_point().items()}


def log_joint(point, X, y, hidden, n_classes, activation, bias, sds):
    """Log joint density of the network by hand."""
    g = NUMPY_ACTIVATIONS[activation]
    h, total = X, 0.0
    for suffix, sd in zip([*range(1, len(hidden) + 1), "_out"], sds, strict=True):
        w, b = point[f"w{suffix}"], point[f"b{suffix}"] if bias else 0.0
        total += stats.norm.logpdf(w, 0, sd).sum()
        if bias:
            total += stats.norm.logpdf(b, 0, sd).sum()
        f = h @ w + b
        h = g(f)
    if n_classes == 2:
        return total + stats.bernoulli.logpmf(y, special.expit(f)).sum()
    return total + special.log_softmax(f, axis=1)[np.arange(len(y)), y].sum()


@pytest.mark.parametrize(
    ("activation", "hidden", "n_classes", "bias", "prior_sd", "sds"),
    [
        ("tanh", (5, 5), 2, False, 1.0, [1, 1, 1]),
        ("relu", (4,), 4, True, (0.5, 2.0), [0.5, 2.0]),
        ("gelu", (6, 2, 3), 2, True, "1/sqrt(fan_in)", [3**-0.5, 6**-0.5, 2**-0.5, 3**-0.5]),
        ("sigmoid", (3, 3), 4, False, 3.0, [3, 3, 3]),
    ],
)
def test_log_density_is_that_of_the_network_by_hand(
    activation, hidden, n_classes, bias, prior_sd, sds
):
    y = LABELS[n_classes]
    model = models.mlp_classifier(
        X, y, hidden, n_classes=n_classes, activation=activation, bias=bias, prior_sd=prior_sd
    )
    point = random_point(model)
    expected = log_joint(point, X, y, hidden, n_classes, activation, bias, sds)
    assert model.compile_logp(mode="FAST_COMPILE")(point) == pytest.approx(expected, rel=1e-10)


def test_binary_labels_and_dims():
    model = models.mlp_classifier(X, LABELS[2], (5, 4))
    assert model.named_vars_to_dims == {
        "X": ("obs_id", "feature"),
        "y": ("obs_id",),
        "w1": ("feature", "hidden_1"),
        "w2": ("hidden_1", "hidden_2"),
        "w_out": ("hidden_2",),
        "p": ("obs_id",),
        "obs": ("obs_id",),
    }
    p = pm.draw(model["p"], random_seed=1, mode="FAST_COMPILE")
    assert p.shape == (N,)
    assert ((p > 0) & (p < 1)).all()


def test_class_probabilities_sum_to_one():
    model = models.mlp_classifier(X, LABELS[4], n_classes=4, bias=True)
    assert model.named_vars_to_dims["p"] == ("obs_id", "class")
    np.testing.assert_allclose(
        pm.draw(model["p"], random_seed=1, mode="FAST_COMPILE").sum(axis=1), 1.0
    )


def test_new_data_of_another_length():
    model = models.mlp_classifier(X, LABELS[2])
    with model:
        pm.set_data({"X": X[:5], "y": LABELS[2][:5]}, coords={"obs_id": np.arange(5)})
    assert pm.draw(model["p"], mode="FAST_COMPILE").shape == (5,)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_minibatch_likelihood_is_unbiased_for_the_full_one(dtype):
    y = LABELS[2].astype(dtype)
    full = models.mlp_classifier(X, y)
    point = random_point(full)
    Xb, yb = pm.Minibatch(X, y, batch_size=4)
    model = models.mlp_classifier(Xb, yb, total_size=N)
    logp = model.compile_fn(
        model.logp(vars=model.observed_RVs, sum=True), random_seed=2, mode="FAST_COMPILE"
    )
    draws = np.array([logp(point) for _ in range(4000)])
    mcse = draws.std() / np.sqrt(len(draws))
    expected = full.compile_logp(vars=full.observed_RVs, mode="FAST_COMPILE")(point)
    assert abs(draws.mean() - expected) < 4 * mcse
    # the same rows without the N/n weight must not pass the check above
    assert abs(draws.mean() * 4 / N - expected) > 20 * mcse


def nan_in_x():
    bad = X.copy()
    bad[2, 1] = np.nan
    return bad


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"X": X[:5]}, ValueError, "X and y must have the same length, got 5 and 12"),
        ({"X": nan_in_x()}, ValueError, "X must be finite, got nan in row 2, column 1"),
        ({"X": np.full_like(X, np.inf)}, ValueError, "X must be finite, got -?inf"),
        ({"X": X[:, 0]}, ValueError, r"X must have two axes .* got shape \(12,\)"),
        ({"X": X[:0], "y": LABELS[2][:0]}, ValueError, "X must not be empty"),
        ({"X": X.astype(str)}, TypeError, "X must be real numbers"),
        ({"y": LABELS[2] + 1}, ValueError, r"y must hold labels 0..1, got 2"),
        ({"y": LABELS[2] - 1}, ValueError, r"y must hold labels 0..1, got -1"),
        ({"y": LABELS[2].astype(float)}, TypeError, "y must hold integer labels 0..1"),
        ({"y": LABELS[2][:, None]}, ValueError, r"y must have one axis"),
        ({"hidden": ()}, ValueError, "hidden must name at least one layer"),
        ({"hidden": (5, 0)}, ValueError, "at least 1 unit, got 0"),
        ({"hidden": (5, 2.5)}, TypeError, "hidden must hold integers, got 2.5"),
        ({"activation": "swish"}, ValueError, "activation must be one of .*'tanh'.* got 'swish'"),
        ({"n_classes": 1}, ValueError, "n_classes must be an integer of at least 2, got 1"),
        ({"prior_sd": 0.0}, ValueError, "prior_sd must be positive and finite"),
        ({"prior_sd": (1.0, 1.0)}, ValueError, "one number for each of the 3 layers"),
        ({"prior_sd": "he"}, ValueError, "prior_sd must be a number"),
        ({"total_size": 12}, ValueError, "total_size belongs to pm.Minibatch"),
    ],
)
def test_bad_input(change, error, message):
    with pytest.raises(error, match=message):
        models.mlp_classifier(**({"X": X, "y": LABELS[2]} | change))


def test_bad_minibatch():
    y = LABELS[2]
    Xb, yb = pm.Minibatch(X, y, batch_size=4)
    other, _ = pm.Minibatch(X, y, batch_size=4)
    with pytest.raises(ValueError, match=r"one pm\.Minibatch"):
        models.mlp_classifier(other, yb, total_size=N)
    with pytest.raises(ValueError, match="total_size must be given"):
        models.mlp_classifier(Xb, yb)
    with pytest.raises(ValueError, match="must be the 12 rows behind the minibatch, got 500"):
        models.mlp_classifier(Xb, yb, total_size=500)
    with pytest.raises(TypeError, match="total_size must be a Python int"):
        models.mlp_classifier(Xb, yb, total_size=12.0)
    with pytest.raises(TypeError, match="both be arrays or both"):
        models.mlp_classifier(Xb, y)
    Xb, yb = pm.Minibatch(X, y, batch_size=40)
    with pytest.raises(ValueError, match="batch_size must be at most the 12 rows, got 40"):
        models.mlp_classifier(Xb, yb, total_size=N)
