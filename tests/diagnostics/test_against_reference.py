"""Distances from a reference: closed forms, exact draws, and what is refused."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from bnnbook import datasets, diagnostics

KINDS = {"classes": ["class"], "binary": [], "groups": ["group"], "regression": []}
N, DRAWS = 40, 4000


def made(kind="binary", gap=True):
    """A reference with a known distribution: logit-normal or normal draws."""
    rng = np.random.default_rng(0)
    centre = np.linspace(-2, 2, N)
    draws = {}
    if kind == "regression":
        draws["mu"] = centre + 0.5 * rng.normal(size=(DRAWS, N))
        draws["sigma"] = np.exp(0.1 * rng.normal(size=(DRAWS, N)))
        dims, labels = {"mu": ["obs"], "sigma": ["obs"]}, {}
    elif kind == "classes":
        logits = np.stack([centre, -centre, 0.4 * np.cos(6 * centre)], -1)
        e = np.exp(logits + 0.5 * rng.normal(size=(DRAWS, N, 3)))
        draws["p"] = e / e.sum(axis=-1, keepdims=True)
        dims, labels = {"p": ["obs", "class"]}, {"class": ["a", "b", "c"]}
    else:
        p = 1 / (1 + np.exp(-centre - 0.5 * rng.normal(size=(DRAWS, N))))
        grouped = kind == "groups"
        draws["p"] = p.reshape(DRAWS, 4, 10) if grouped else p
        dims = {"p": ["group", "obs"] if grouped else ["obs"]}
        labels = {"group": ["g0", "g1", "g2", "g3"]} if grouped else {}
    shape = (4, 10) if kind == "groups" else (N,)
    marked = np.zeros(shape, bool)
    marked.flat[:5] = gap
    record = {"outputs": list(draws), "dims": dims, "labels": labels, "log_evidence": -10.0}
    draws = {key: a.astype(np.float32) for key, a in draws.items()}
    return datasets.Reference(kind, "made up", draws, marked, {}, record)


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_itself_is_at_no_distance(kind):
    known = made(kind)
    scores = diagnostics.against_reference(dict(known.draws), known)
    for name, value in scores.items():
        assert value == pytest.approx(1.0 if name == "agreement" else 0.0, abs=1e-12), name


def test_wasserstein_of_a_shift_and_of_a_normal_are_the_closed_forms():
    known = made("regression")
    mu = known.draws["mu"].astype(float)
    shifted = diagnostics.against_reference(mu + 0.3, known)
    assert shifted["wasserstein"] == pytest.approx(0.3, rel=1e-6)
    assert shifted["wasserstein_sds"] == pytest.approx(0.3 / mu.std(axis=0).mean(), rel=1e-6)
    assert shifted["sd_error"] == pytest.approx(0, abs=1e-12)
    # N(m, 1) from N(m, .5): the integral of |z| .5 phi(z) is .5 sqrt(2 / pi)
    rng = np.random.default_rng(1)
    wide = np.linspace(-2, 2, N) + rng.normal(size=(3000, N))
    scores = diagnostics.against_reference(wide, known)
    assert scores["wasserstein"] == pytest.approx(0.5 * np.sqrt(2 / np.pi), rel=0.03)
    assert scores["sd_bias"] == pytest.approx(1.0, abs=0.02)


def test_wasserstein_is_that_of_scipy_for_unequal_numbers_of_draws():
    known = made("regression")
    rng = np.random.default_rng(2)
    other = rng.gumbel(size=(37, N))
    exact = [stats.wasserstein_distance(other[:, i], known.draws["mu"][:, i]) for i in range(N)]
    found = diagnostics.against_reference(other, known)["wasserstein"]
    assert found == pytest.approx(np.mean(exact), rel=1e-6)


def test_errors_of_the_sd_by_hand_overall_and_in_gaps():
    known = made("regression")
    mu = known.draws["mu"].astype(float)
    mean, sd = mu.mean(axis=0), mu.std(axis=0)
    factor = np.where(known.gap, 0.5, 1.2)
    scores = diagnostics.against_reference(mean + factor * (mu - mean), known)
    assert scores["sd_bias_gap"] == pytest.approx(-0.5)
    assert scores["sd_error_gap"] == pytest.approx(0.5)
    assert scores["sd_bias"] == pytest.approx(((factor - 1) * sd).sum() / sd.sum())
    assert scores["sd_error"] == pytest.approx((abs(factor - 1) * sd).sum() / sd.sum())
    point = diagnostics.against_reference(mean[None], known)
    assert point["sd_bias"] == point["sd_bias_gap"] == -1
    assert "sd_bias_gap" not in diagnostics.against_reference(mu, made("regression", gap=False))


def test_agreement_and_total_variation_are_of_the_mean_probabilities():
    known = made("binary")
    p = known.draws["p"].astype(float)
    changed = p.copy()
    changed[:, 3] = 1 - changed[:, 3]
    scores = diagnostics.against_reference(changed, known)
    mean = p.mean(axis=0)
    assert scores["agreement"] == 1 - 1 / N
    assert scores["total_variation"] == pytest.approx(abs(1 - 2 * mean[3]) / N)


def test_sigma_and_evidence_are_scored_where_given():
    known = made("regression")
    both = {"mu": known.draws["mu"], "sigma": known.draws["sigma"] + 0.1}
    scores = diagnostics.against_reference(both, known, log_evidence=-12.5)
    assert scores["wasserstein_sigma"] == pytest.approx(0.1, rel=1e-5)
    assert scores["log_evidence_error"] == -2.5
    with pytest.raises(ValueError, match="log_evidence must be finite"):
        diagnostics.against_reference(both, known, log_evidence=np.nan)


def test_labelled_draws_are_put_in_order_and_others_refused():
    known = made("classes")
    p = known.draws["p"].reshape(4, -1, N, 3)
    labelled = xr.DataArray(
        p, dims=("chain", "draw", "obs", "class"), coords={"class": list("abc")}
    )
    plain = diagnostics.against_reference(known.draws["p"], known, classes=["a", "b", "c"])
    turned = labelled.transpose("class", "draw", "obs", "chain")
    assert diagnostics.against_reference(turned, known) == pytest.approx(plain)
    assert diagnostics.against_reference(xr.Dataset({"p": labelled}), known) == pytest.approx(plain)
    with pytest.raises(
        ValueError, match=r"labels \['a', 'b', 'c'\] along 'class'.*\['b', 'a', 'c'\]"
    ):
        diagnostics.against_reference(labelled.sel({"class": ["b", "a", "c"]}), known)
    groups = made("groups")
    dims = ("sample", "group", "obs")
    wrong = xr.DataArray(groups.draws["p"], dims=dims, coords={"group": ["g1", "g0", "g2", "g3"]})
    with pytest.raises(ValueError, match="along 'group'"):
        diagnostics.against_reference(wrong, groups)


def test_another_order_of_the_classes_is_refused_with_the_right_one():
    known = made("classes")
    with pytest.raises(ValueError, match=r"classes must be \['a', 'b', 'c'\]"):
        diagnostics.against_reference(known.draws["p"], known, classes=["c", "b", "a"])
    with pytest.raises(ValueError, match=r"at 100% if its classes were \['c', 'a', 'b'\]"):
        diagnostics.against_reference(known.draws["p"][..., [2, 0, 1]], known)
    binary = made("binary")
    with pytest.raises(ValueError, match="probability of 1 and not of the other"):
        diagnostics.against_reference(1 - binary.draws["p"], binary)
    with pytest.raises(ValueError, match="regression"):
        diagnostics.against_reference(
            made("regression").draws["mu"], made("regression"), classes=[0]
        )


def test_a_poor_method_is_scored_and_not_refused():
    known = made("classes")
    rng = np.random.default_rng(3)
    noise = rng.dirichlet(np.ones(3), size=(50, N))
    assert diagnostics.against_reference(noise, known)["agreement"] < 0.8
    constant = np.full((1, N), 0.49)
    assert diagnostics.against_reference(constant, made("binary"))["agreement"] == 0.5


@pytest.mark.parametrize(
    ("kind", "predictions", "error", "message"),
    [
        ("binary", np.full((10, 7), 0.5), ValueError, r"shape \(draws, 40\).*got \(10, 7\)"),
        ("binary", np.full(40, 0.5), ValueError, r"one draw, p\[None\]"),
        ("binary", np.full((40, 9), 0.5), ValueError, "transpose"),
        ("binary", np.full((0, 40), 0.5), ValueError, r"got \(0, 40\)"),
        ("classes", np.full((5, 40), 0.5), ValueError, r"\(draws, 40, 3\)"),
        ("classes", np.full((5, 40, 4), 0.25), ValueError, r"\(draws, 40, 3\)"),
        ("classes", np.full((5, 40, 3), 0.3), ValueError, "sum to 1"),
        ("binary", np.full((5, 40), 1.2), ValueError, r"in \[0, 1\], got 1.2"),
        ("binary", np.full((5, 40), np.nan), ValueError, "finite"),
        ("binary", np.full((5, 40), "a"), TypeError, "numbers"),
        ("groups", np.full((5, 40), 0.5), ValueError, r"\(draws, 4, 10\)"),
        ("regression", dict.fromkeys(["mu", "sigma"], np.zeros((5, 40))), ValueError, "positive"),
        ("regression", {"sigma": np.ones((5, 40))}, ValueError, "must hold 'mu'"),
        ("regression", {"mu": np.ones((5, 40)), "noise": 1}, ValueError, "'noise'"),
        ("binary", {"mu": np.ones((5, 40))}, ValueError, "must hold 'p'"),
    ],
)  # fmt: skip
def test_bad_predictions_are_refused(kind, predictions, error, message):
    with pytest.raises(error, match=message):
        diagnostics.against_reference(predictions, made(kind))


def test_an_unknown_reference_lists_those_that_exist():
    with pytest.raises(ValueError, match=r"must be one of .*'moons'"):
        diagnostics.against_reference(np.zeros((1, 3)), "nothing")
