"""What the figures say: labels, ranges and the data drawn."""

import base64
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from PIL import Image

from bnnbook import metrics, plots

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    plt.close("all")


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    plt.close(fig)


def test_grid_points_match_the_image():
    where = plots.grid((-1, 1), (0, 3), 5)
    image = where.reshape(where.points[:, 1])
    assert where.points.shape == (25, 2)
    np.testing.assert_array_equal(image[:, 0], where.y)
    with pytest.raises(ValueError, match="n must be at least 2, got 1"):
        plots.grid(n=1)


def test_probability_surface_always_spans_zero_to_one(ax):
    where = plots.grid(n=5)
    plots.probability_surface(where, np.full(25, 0.3), ax=ax)
    bar = ax.figure.axes[1]
    assert bar.get_ylabel() == "probability of class 1"
    assert bar.get_ylim() == (0, 1)


def test_uncertainty_surface_is_labelled(ax):
    where = plots.grid(n=5)
    assert plots.uncertainty_surface(where, np.zeros(25), "nats", ax=ax) is ax
    assert ax.figure.axes[1].get_ylabel() == "nats"


def test_elbo_trace_averages_blocks_and_says_the_scale(ax):
    plots.elbo_trace({"run": np.arange(1000.0)}, smooth=100, ax=ax)
    x, y = ax.lines[0].get_data()
    np.testing.assert_allclose(y, np.arange(10) * 100 + 49.5)
    assert x[-1] == 1000
    assert ax.get_ylabel() == "ELBO (nats per full data set)"


def test_classes_differ_by_marker_too(ax):
    X, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    plots.classification_data(X, y, ax=ax)
    paths = [c.get_paths()[0].vertices.shape for c in ax.collections]
    assert paths[0] != paths[1]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["class 0", "class 1"]


def test_surface_panels_share_one_colour_bar():
    where = plots.grid((-6, 6), (-6, 6), 5)
    fig, axes = plt.subplots(1, 3)
    surfaces = {name: np.linspace(0, 1, 25) for name in "abc"}
    plots.surface_panels(where, surfaces, axes=axes, data=(np.zeros((2, 2)), np.array([0, 1])))
    assert [ax.get_title() for ax in axes] == ["a", "b", "c"]
    assert len(fig.axes) == 4
    assert axes[0].get_xlabel() == "$x_1$"
    plt.close(fig)


def test_animation_is_a_gif_with_a_still_and_a_text():
    where = plots.grid((-6, 6), (-6, 6), 5)
    surfaces = np.stack([np.linspace(0, 1, 25), np.linspace(1, 0, 25), np.full(25, 0.5)])
    shown = plots.animate_surface(
        where, surfaces, ["draw 1", "draw 2", "draw 3"], alt='a "turning" surface', seconds=0.2
    )
    with Image.open(io.BytesIO(shown.gif)) as gif:
        assert gif.format == "GIF"
        assert gif.n_frames == shown.frames == 3
        assert gif.info["duration"] == 200
    bundle = shown._repr_mimebundle_()
    assert 'alt="a &quot;turning&quot; surface"' in bundle["text/html"]
    assert "prefers-reduced-motion" in bundle["text/html"]
    with Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))) as still:
        assert still.format == "PNG"
    assert bundle["text/plain"] == 'a "turning" surface'


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"surfaces": np.zeros((0, 25))},
            r"surfaces must have shape \(frame, n \* n\), got \(0, 25\)",
        ),
        ({"titles": ["one"]}, "titles must name all 2 frames, got 1"),
        ({"alt": " "}, "alt must describe the animation, got an empty text"),
        ({"max_bytes": 100}, r"the GIF must be at most 100 bytes, got \d+"),
    ],
)
def test_bad_animations(changes, message):
    arguments = {"surfaces": np.zeros((2, 25)), "titles": ["one", "two"], "alt": "two maps"}
    with pytest.raises(ValueError, match=message):
        plots.animate_surface(plots.grid(n=5), **(arguments | changes))


def test_chain_traces_draw_the_points_of_each_chain(ax):
    values = xr.DataArray(np.zeros((3, 7)), dims=("chain", "draw"), coords={"chain": range(3)})
    plots.chain_traces(values, "p at the origin", most=4, ax=ax, legend=True)
    assert [line.get_label() for line in ax.lines] == ["chain 1", "chain 2", "chain 3"]
    assert list(ax.lines[0].get_xdata()) == [1, 3, 5, 7]
    assert len({line.get_marker() for line in ax.lines}) == 3
    assert ax.get_ylabel() == "p at the origin"


def test_running_means_end_at_the_means(ax):
    values = xr.DataArray(
        np.random.default_rng(0).normal(size=(2, 9)), dims=("chain", "draw"),
        coords={"chain": range(2), "draw": np.arange(0, 45, 5)},  # thinned
    )  # fmt: skip
    plots.running_means(values, "mean", ax=ax, legend=True)
    for line, chain in zip(ax.lines, values.to_numpy(), strict=True):
        assert line.get_ydata()[0] == chain[0]
        assert line.get_ydata()[-1] == pytest.approx(chain.mean())
        assert list(line.get_xdata()) == list(range(1, 42, 5))


def test_outlined_points_stand_out(ax):
    X, y = np.zeros((2, 2)), np.array([0, 1])
    plots.classification_data(X, y, ax=ax, outlined=True)
    assert all(c.get_linewidth()[0] == 0.8 for c in ax.collections)


def test_uncertainty_ticks_do_not_repeat(ax):
    where = plots.grid(n=5)
    plots.uncertainty_surface(where, np.linspace(1, 1.04, 25), "R-hat", vmin=1.0, ax=ax)
    ax.figure.canvas.draw()
    ticks = [t.get_text() for t in ax.figure.axes[1].get_yticklabels()]
    assert len(ticks) == len(set(ticks)) >= 4


def test_tempering_ladder_shows_rates_between_levels():
    beta, swaps = np.array([[0.0, 0.2, 1.0]]), np.array([[0.4, 0.6, np.nan]])
    tempering = xr.Dataset(
        {"beta": (("chain", "level"), beta), "swap_rate": (("chain", "level"), swaps)},
        coords={"chain": [0], "level": range(3)},
    )
    fig, axes = plt.subplots(1, 2)
    plots.tempering_ladder(tempering, axes=axes)
    x, y = axes[1].lines[0].get_data()
    np.testing.assert_allclose(x, [0.5, 1.5])
    np.testing.assert_allclose(y, [0.4, 0.6])
    plt.close(fig)


def test_group_panels_draw_each_groups_own_points():
    rng = np.random.default_rng(0)
    groups = {f"group {g}": (rng.normal(size=(6, 2)) + g, np.tile([0, 1], 3)) for g in range(3)}
    fig, axes = plt.subplots(1, 3)
    plots.group_panels(groups, axes=axes)
    for ax, (title, (X, _)) in zip(axes, groups.items(), strict=True):
        assert ax.get_title() == title
        drawn = np.concatenate([c.get_offsets() for c in ax.collections])
        np.testing.assert_allclose(np.sort(drawn[:, 0]), np.sort(X[:, 0]))
    assert len(fig.legends[0].get_texts()) == 2
    where = plots.grid((-1, 1), (-1, 1), 4)
    fig, axes = plt.subplots(1, 3)
    plots.group_panels(groups, axes=axes, where=where, surfaces=rng.random((3, 16)))
    assert axes[0].get_xlim() == (-1, 1)
    assert fig.axes[-1].get_ylabel() == "probability of class 1"
    plt.close("all")


def test_paired_scores_share_one_scale(ax):
    plots.paired([0.2, 0.4], {"ours": [0.1, 0.3], "other": [0.8, 0.5]}, "a", "b", ax=ax)
    assert ax.get_xlim() == ax.get_ylim() == (0.0, pytest.approx(0.84))
    ours = ax.get_lines()[0]
    np.testing.assert_array_equal(ours.get_xdata(), [0.2, 0.4])
    np.testing.assert_array_equal(ours.get_ydata(), [0.1, 0.3])


def test_scale_posteriors_show_the_prior(ax):
    draws = np.abs(np.random.default_rng(0).normal(size=(2, 500)))
    plots.scale_posteriors({"$\\sigma$": draws}, 2.0, axes=[ax])
    x, density = ax.get_lines()[0].get_data()
    assert x[0] == 0
    assert density[0] == pytest.approx(np.sqrt(2 / np.pi) / 2)
    assert sum(p.get_width() * p.get_height() for p in ax.patches) == pytest.approx(1)


def bands():
    rng = np.random.default_rng(0)
    x = np.linspace(0, 1, 7)
    mu = xr.DataArray(rng.normal(size=(2, 50, 7)), dims=("chain", "draw", "obs"))
    return x, mu, 0.5 + abs(mu)


def test_regression_bands_show_both_parts_without_colour(ax):
    x, mu, sigma = bands()
    plots.regression_bands(x, mu, sigma, ax=ax, data=(x, x), truth=x, level=2.0)
    total, epistemic = ax.collections
    assert epistemic.get_hatch()
    assert not total.get_hatch()
    assert total.get_linestyle() != epistemic.get_linestyle()
    mean, variance = mu.mean(["chain", "draw"]), mu.var(["chain", "draw"])
    noise = (sigma**2).mean(["chain", "draw"])
    for band, expected in ((total, variance + noise), (epistemic, variance)):
        y = band.get_paths()[0].vertices[:, 1]
        assert y.max() == pytest.approx(float((mean + 2 * np.sqrt(expected)).max()))
        assert y.min() == pytest.approx(float((mean - 2 * np.sqrt(expected)).min()))
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == [
        "total = epistemic + aleatoric", "epistemic", "mean", "true function", "training data",
    ]  # fmt: skip


def test_regression_bands_of_plain_arrays_are_the_same(ax):
    x, mu, sigma = bands()
    plots.regression_bands(x, mu, sigma, ax=ax, legend=False)
    arrays = (a.to_numpy().reshape(100, 7) for a in (mu, sigma))
    plots.regression_bands(x, *arrays, ax=ax, legend=False)
    first, second = ax.collections[0], ax.collections[2]
    np.testing.assert_allclose(first.get_paths()[0].vertices, second.get_paths()[0].vertices)
    assert ax.get_legend() is None


@pytest.mark.parametrize("draw", [plots.profiles, plots.curves])
def test_methods_differ_by_line_style(ax, draw):
    lines = {"a": [1.0, 2.0, 3.0], "b": [2.0, 2.0, 1.0], "c": [5.0, 4.0, 3.0]}
    if draw is plots.profiles:
        draw([1, 2, 4], lines, "sd of f", gaps=[(1.5, 2.0)], ax=ax)
        assert ax.get_legend().get_texts()[0].get_text() == "no data"
        assert ax.get_ylabel() == "sd of f"
    else:
        draw([1, 2, 4], lines, xlabel="points", ylabel="sd", ax=ax)
        assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "4"]
        assert len({line.get_marker() for line in ax.lines}) == 3
    assert len({line.get_linestyle() for line in ax.lines}) == 3
    assert ax.get_yscale() == "log"


def test_pit_histogram_shows_shares_and_what_chance_allows(ax):
    plots.pit_histogram([0.05, 0.15, 0.16, 0.95], "method", n_bins=10, ax=ax)
    heights = [bar.get_height() for bar in ax.patches[:10]]
    np.testing.assert_allclose(heights, [0.25, 0.5, 0, 0, 0, 0, 0, 0, 0, 0.25])
    low, high = ax.patches[10].get_extents().transformed(ax.transData.inverted()).intervaly
    half = 1.96 * np.sqrt(0.1 * 0.9 / 4)  # a binomial share of four
    np.testing.assert_allclose([low, high], [0.1 - half, 0.1 + half])
    assert ax.get_title() == "method"


def test_prior_functions_draw_one_line_each(ax):
    plots.prior_functions([0, 1, 2], np.eye(3), ax=ax, title="prior")
    assert len(ax.lines) == 3
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), [0, 1, 0])


def test_images_are_drawn_as_they_are():
    X = RNG.random((2, 16))
    _, axes = plt.subplots(1, 2)
    plots.images(X, axes=axes, titles=["a", "b"])
    np.testing.assert_array_equal(axes[1].images[0].get_array(), X[1].reshape(4, 4))
    assert [ax.get_title() for ax in axes] == ["a", "b"]
    assert axes[0].images[0].get_clim() == (0, 1)


def test_certainty_and_risk_curves_hold_the_metrics():
    p = RNG.dirichlet(np.ones(3), 50)
    y = RNG.integers(0, 3, 50)
    curve = metrics.accuracy_vs_certainty(y, p, [0.0, 0.5, 1.0])
    ax = plots.certainty_curves({"one": curve, "two": curve}, "kept", ax=plt.subplots()[1])
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), curve["kept"])
    assert ax.get_ylabel() == "share answered"
    assert ax.lines[0].get_linestyle() != ax.lines[1].get_linestyle()
    risk = metrics.risk_coverage(y, p)
    ax = plots.risk_coverage({"one": risk}, ax=plt.subplots()[1])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 100 * risk.risk)
    assert f"{100 * risk.aurc:.2f} %" in ax.get_legend().get_texts()[0].get_text()


def test_class_bars_mark_the_label_without_colour(ax):
    draws = RNG.dirichlet(np.ones(4), 30)
    plots.class_bars(draws, label=2, ax=ax)
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], draws.mean(axis=0))
    assert [bool(bar.get_hatch()) for bar in ax.patches] == [False, False, True, False]


def test_densities_add_up_to_one_for_each_group(ax):
    groups = {"inside": RNG.exponential(size=200), "outside": 3 + RNG.random(100)}
    plots.densities(groups, "entropy", ax=ax)
    bins = np.linspace(0, max(v.max() for v in groups.values()), 41)
    for patch, v in zip(ax.patches, groups.values(), strict=True):
        shares = np.histogram(v, bins)[0] / len(v)
        assert patch.get_xy()[:, 1].max() == pytest.approx(shares.max())
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["inside", "outside"]
    assert {bool(patch.get_hatch()) for patch in ax.patches} == {True, False}


def test_curves_on_linear_axes():
    ax = plots.curves(
        [0, 15], {"a": [3, 4], "b": [5, 6]}, xlabel="angle", ylabel="y", log=False,
        ax=plt.subplots()[1],
    )  # fmt: skip
    assert ax.get_xscale() == ax.get_yscale() == "linear"
    assert len({line.get_linestyle() for line in ax.lines}) == 2
    assert len({line.get_marker() for line in ax.lines}) == 2
