"""Diagnostics on cases with known answers."""

import arviz_stats as azs
import numpy as np
import pytest
import xarray as xr

from bnnbook import diagnostics

RNG = np.random.default_rng(0)


def chains(values):
    return xr.DataArray(values, dims=("chain", "draw", "obs"))


def network(posterior, x):
    w1, w2, w_out = (posterior[v].to_numpy() for v in ("w1", "w2", "w_out"))
    b1 = posterior["b1"].to_numpy()[..., None, :]
    return (np.tanh(np.tanh(x @ w1 + b1) @ w2) @ w_out[..., None])[..., 0]


def posterior(shape=(2, 5)):
    dims = ("chain", "draw")
    return xr.Dataset(
        {
            "w1": ((*dims, "feature", "hidden_1"), RNG.normal(size=(*shape, 2, 4))),
            "b1": ((*dims, "hidden_1"), RNG.normal(size=(*shape, 4))),
            "w2": ((*dims, "hidden_1", "hidden_2"), RNG.normal(size=(*shape, 4, 3))),
            "w_out": ((*dims, "hidden_2"), RNG.normal(size=(*shape, 3))),
        }
    )


def test_independent_chains_have_converged():
    found = diagnostics.function_space(chains(RNG.normal(size=(4, 1000, 3))))
    assert found.attrs["max_rhat"] < 1.01
    assert 3000 < found.attrs["min_ess_bulk"] < 5000
    assert found["rhat"].dims == ("obs",)


def two_chains(first, second, spread=0.1):
    """Independent draws around one network by chain, as (chain, draw, ...) weights."""
    dims, variables = posterior(), {}
    for name in first:
        centres = np.stack([first[name], second[name]])[:, None]
        noise = RNG.normal(size=(2, 500, *centres.shape[2:]))
        variables[name] = (dims[name].dims, centres + spread * noise)
    return xr.Dataset(variables)


def worst_rhat(weights):
    return max(float(azs.rhat(weights)[name].max()) for name in weights)


@pytest.fixture
def centre():
    """Weights of one network, its hidden units well apart in their first incoming weight."""
    weights = {name: values[0, 0].to_numpy() for name, values in posterior().items()}
    weights["w1"][0], weights["w2"][0] = [1.0, 2.0, 3.0, 4.0], [1.0, -2.0, 3.0]
    return weights


X = RNG.normal(size=(30, 2))


def predicted(draws):
    return chains(1 / (1 + np.exp(-network(draws, X))))


def test_mirrored_modes_disagree_in_weights_and_agree_in_functions(centre):
    order, sign = np.array([2, 0, 3, 1]), np.array([1.0, -1.0, -1.0, 1.0])
    mirrored = centre | {
        "w1": (centre["w1"] * sign)[:, order],
        "b1": (centre["b1"] * sign)[order],
        "w2": (centre["w2"] * sign[:, None])[order],
    }
    draws = two_chains(centre, mirrored)
    p = predicted(draws)
    assert worst_rhat(draws) > 1.5
    assert diagnostics.function_space(p).attrs["max_rhat"] < 1.02
    assert worst_rhat(diagnostics.canonicalise(draws)) < 1.02  # the copies were all that differed
    means = p.mean("draw")
    assert diagnostics.total_variation(means[0], means[1]) < 0.02
    assert diagnostics.agreement(means[0], means[1]) > 0.9


def test_different_functions_disagree_in_weights_and_in_functions(centre):
    draws = two_chains(centre, centre | {"w_out": -centre["w_out"]})
    p = predicted(draws)
    assert worst_rhat(draws) > 1.5
    assert diagnostics.function_space(p).attrs["max_rhat"] > 1.5
    means = p.mean("draw")
    assert diagnostics.agreement(means[0], means[1]) < 0.1  # each class is the other's
    first = means[0].to_numpy()
    assert diagnostics.total_variation(means[0], means[1]) == pytest.approx(
        np.abs(2 * first - 1).mean(), abs=0.02
    )


def test_functions_that_differ_in_one_place_are_found():
    values = RNG.normal(size=(2, 500, 2))
    values[1, :, 1] += 2.0
    found = diagnostics.function_space(chains(values))
    assert found["rhat"][0] < 1.02
    assert found["rhat"][1] > 1.2
    assert found.attrs["max_rhat"] == float(found["rhat"][1])


def test_correlated_draws_count_for_less():
    noise, rho = np.random.default_rng(5).normal(size=(4, 4000, 1)), 0.9
    values = noise.copy()
    for t in range(1, 4000):
        values[:, t] = rho * values[:, t - 1] + np.sqrt(1 - rho**2) * noise[:, t]
    found = diagnostics.function_space(chains(values))
    exact = 16_000 * (1 - rho) / (1 + rho)  # of a mean over an AR(1) series
    assert found.attrs["min_ess_bulk"] == pytest.approx(exact, rel=0.36)  # three of its sds


def test_constant_predictions_are_counted_and_left_out():
    values = RNG.normal(size=(2, 100, 2))
    values[..., 1] = 3.0
    found = diagnostics.function_space(chains(values))
    assert found.attrs["n_constant"] == 1
    assert np.isnan(found["rhat"][1])
    assert np.isfinite(found.attrs["max_rhat"])


def test_one_chain_has_no_rhat():
    found = diagnostics.function_space(chains(RNG.normal(size=(1, 100, 2))))
    assert np.isnan(found.attrs["max_rhat"])


def test_canonical_weights_compute_the_same_function():
    draws, x = posterior(), RNG.normal(size=(7, 2))
    canonical = diagnostics.canonicalise(draws)
    np.testing.assert_allclose(network(canonical, x), network(draws, x), atol=1e-12)
    first = canonical["w1"].to_numpy()[..., 0, :]
    assert (first >= 0).all()
    assert (np.diff(first, axis=-1) >= 0).all()


def test_mirrored_and_permuted_networks_map_to_the_same_weights():
    draws = posterior()
    order, sign = np.array([2, 0, 3, 1]), np.array([1.0, -1.0, -1.0, 1.0])
    twin = draws.copy(
        data={
            "w1": (draws["w1"].to_numpy() * sign)[..., order],
            "b1": (draws["b1"].to_numpy() * sign)[..., order],
            "w2": (draws["w2"].to_numpy() * sign[:, None])[..., order, :],
            "w_out": draws["w_out"].to_numpy(),
        }
    )
    first, second = diagnostics.canonicalise(draws), diagnostics.canonicalise(twin)
    for name in first:
        np.testing.assert_allclose(first[name], second[name], atol=1e-12)
    assert np.abs(twin["w1"] - draws["w1"]).max() > 0.1


def test_agreement_and_total_variation_by_hand():
    p, q = np.array([0.9, 0.4, 0.6]), np.array([0.8, 0.6, 0.6])
    assert diagnostics.agreement(p, q) == pytest.approx(2 / 3)
    assert diagnostics.total_variation(p, q) == pytest.approx(np.mean([0.1, 0.2, 0.0]))
    assert diagnostics.total_variation([0.0], [1.0]) == 1.0


def test_bad_input():
    good = chains(RNG.normal(size=(2, 10, 1)))
    with pytest.raises(TypeError, match="predictions must be a DataArray, got ndarray"):
        diagnostics.function_space(good.to_numpy())
    with pytest.raises(ValueError, match="must have dims chain and draw"):
        diagnostics.function_space(good.isel(chain=0))
    with pytest.raises(ValueError, match="at least 4 draws, got 3"):
        diagnostics.function_space(good.isel(draw=slice(3)))
    with pytest.raises(ValueError, match="predictions must be finite"):
        diagnostics.function_space(good * np.nan)
    with pytest.raises(ValueError, match="posterior must have w1"):
        diagnostics.canonicalise(xr.Dataset())
    with pytest.raises(ValueError, match="same shape"):
        diagnostics.agreement([0.1, 0.2], [0.3])
    with pytest.raises(ValueError, match=r"q must lie in \[0, 1\]"):
        diagnostics.total_variation([0.1], [1.3])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("value", [0.1, 0.7310585786300049, 1 / 3, 0.0, 1e-300, -1234.5678])
def test_an_input_at_which_every_draw_is_the_same_is_constant(value, dtype):
    """Whose sum over draws is not a multiple of it, so that its sd is not zero."""
    values = RNG.normal(size=(4, 250, 2)).astype(dtype)
    values[..., 1] = value
    found = diagnostics.function_space(chains(values))
    assert found.attrs["n_constant"] == 1
    assert np.isnan(found["rhat"][1])
    assert np.isnan(found["ess_bulk"][1])
    assert found.attrs["max_rhat"] == float(found["rhat"][0])


def test_chains_that_stand_still_apart_have_not_converged():
    values = RNG.normal(size=(4, 100, 2))
    values[..., 1] = np.arange(4.0)[:, None]
    found = diagnostics.function_space(chains(values))
    assert found.attrs["max_rhat"] == np.inf
    assert found.attrs["n_constant"] == 0
    assert found.attrs["min_ess_bulk"] < 8


@pytest.mark.parametrize("measure", [diagnostics.agreement, diagnostics.total_variation])
def test_rows_that_do_not_sum_to_one_are_refused(measure):
    good, draws_of_two_classes = np.full((4, 3), 1 / 3), np.full((4, 3), 0.9)
    with pytest.raises(ValueError, match=r"p must sum to 1 .* got a sum of 2\.7 in row 0"):
        measure(draws_of_two_classes, good)
    with pytest.raises(ValueError, match="q must sum to 1"):
        measure(good, np.array([*good[:3], [0.1, 0.1, 0.1]]))
    single = RNG.dirichlet(np.ones(10), 50).astype(np.float32)
    measure(single, RNG.dirichlet(np.ones(10), 50).astype(np.float16))


def test_pairs_of_labelled_draws_are_averaged_and_matched_by_name():
    dims = ("chain", "draw", "obs", "class")
    p, q = (xr.DataArray(RNG.dirichlet(np.ones(3), (2, 4, 3)), dims=dims) for _ in range(2))
    means = [a.to_numpy().mean(axis=(0, 1)) for a in (p, q)]
    expected = diagnostics.total_variation(*means)
    assert expected == pytest.approx(0.5 * np.abs(means[0] - means[1]).sum(axis=1).mean())
    turned = q.transpose("class", "obs", "draw", "chain")
    assert diagnostics.total_variation(p, turned) == pytest.approx(expected, rel=1e-12)
    assert diagnostics.agreement(p, turned) == diagnostics.agreement(*means)
    first = p.assign_coords({"class": ["a", "b", "c"]})
    with pytest.raises(ValueError, match="p and q must have the same labels along 'class'"):
        diagnostics.total_variation(first, q.assign_coords({"class": ["a", "c", "b"]}))


def test_canonicalise_takes_a_fit_its_posterior_and_any_order_of_dims():
    draws = posterior()
    expected = diagnostics.canonicalise(draws)
    fit = xr.DataTree.from_dict({"posterior": draws, "sample_stats": xr.Dataset()})
    for given in (fit, fit["posterior"]):
        xr.testing.assert_allclose(diagnostics.canonicalise(given), expected)
    backwards = [*reversed(list(draws.dims))]
    for order in (("draw", "chain", ...), (..., "chain", "draw"), backwards):
        turned = draws.transpose(*order)
        found = diagnostics.canonicalise(turned)
        for name in draws:
            assert found[name].dims == turned[name].dims
            np.testing.assert_allclose(
                found[name].transpose(*draws[name].dims), expected[name], rtol=1e-12
            )
    flat = draws.stack(sample=("chain", "draw"))
    np.testing.assert_allclose(
        diagnostics.canonicalise(flat)["w2"].unstack("sample").transpose(*draws["w2"].dims),
        expected["w2"],
    )
    one = diagnostics.canonicalise(draws.isel(chain=0, draw=1))
    xr.testing.assert_allclose(one, expected.isel(chain=0, draw=1))


def test_canonicalise_says_what_it_cannot_take():
    with pytest.raises(
        TypeError, match="posterior must be a Dataset or a fit's DataTree, got dict"
    ):
        diagnostics.canonicalise({"w1": 1})
    groups = posterior().expand_dims(group=3)
    with pytest.raises(
        ValueError, match=r"w1 must have dims \(in, out\) besides those of the draw"
    ):
        diagnostics.canonicalise(groups)
