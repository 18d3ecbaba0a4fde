"""One look: the table of methods, many of anything, and figures that fit the page."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgb

from bnnbook import metrics, plots
from bnnbook.plots.style import numbered_style

RNG = np.random.default_rng(0)
TWELVE = [
    "mean field", "full rank", "NUTS", "HMC", "tempering", "MAP", "MLE", "ensemble", "SG-MCMC",
    "Laplace", "one of no table", "another",
]  # fmt: skip
# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
BLIND = {
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
               [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
               [0.004733, 0.691367, 0.303900]],
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    plt.close("all")


def linear(colour):
    c = np.array(to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ) @ np.clip(rgb, 0, 1)
    t = xyz / [0.9505, 1, 1.089]
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_every_method_is_seen_on_white():
    for name, style in plots.METHODS.items():
        luminance = linear(style.color) @ [0.2126, 0.7152, 0.0722]
        assert 1.05 / (luminance + 0.05) >= 3, name  # WCAG 1.4.11


def test_no_two_methods_differ_by_colour_alone_unless_all_eyes_tell_them_apart():
    for a, b in itertools.combinations(plots.METHODS, 2):
        first, second = plots.METHODS[a], plots.METHODS[b]
        assert first.color != second.color
        assert (first.linestyle, first.marker) != (second.linestyle, second.marker), (a, b)
        if first.linestyle == second.linestyle:
            least = min(
                np.linalg.norm(lab(m @ linear(first.color)) - lab(m @ linear(second.color)))
                for m in map(np.array, BLIND.values())
            )
            assert least > 11, (a, b)


@pytest.mark.parametrize(
    ("label", "method"),
    [
        ("mean-field ADVI", "mean field"), ("SVI", "mean field"), ("ADVI", "mean field"),
        ("full-rank ADVI", "full rank"), ("NUTS, 4 chains", "NUTS"), ("static HMC", "HMC"),
        ("parallel tempering", "tempering"), ("tempered", "tempering"), ("MAP network", "MAP"),
        ("deep ensemble", "ensemble"), ("deep ensembles", "ensemble"), ("pSGLD", "pSGLD"),
        ("SGLD", "SGLD"), ("SGHMC, cyclical", "SGHMC"), ("SG-MCMC", "SG-MCMC"),
        ("last-layer Laplace", "Laplace"), ("SWAG", "SWAG"), ("MC dropout", "dropout"),
        ("Pathfinder", "Pathfinder"), ("MCLMC", "MCLMC"), ("oracle", "oracle"), ("prior", "prior"),
        ("maximum likelihood", "MLE"), ("mle", "MLE"),
    ],
)  # fmt: skip
def test_methods_are_known_by_their_names(label, method):
    expected = plots.METHODS[method]
    assert plots.method_style(label) == {
        "color": expected.color, "linestyle": expected.linestyle, "marker": expected.marker
    }  # fmt: skip


@pytest.mark.parametrize("label", ["mapping", "nutshell", "advice", "elaborate", "", "swagger"])
def test_words_that_hold_a_method_are_not_one(label):
    table = {(m.color, m.linestyle, m.marker) for m in plots.METHODS.values()}
    assert tuple(plots.method_style(label).values()) not in table


def test_styles_are_by_name_and_not_by_position():
    first = dict(zip(TWELVE, plots.method_styles(TWELVE), strict=True))
    backwards = dict(zip(TWELVE[::-1], plots.method_styles(TWELVE[::-1]), strict=True))
    for name in TWELVE[:10]:
        assert first[name] == backwards[name] == plots.method_style(name)
    assert plots.method_style("unheard of") == plots.method_style("unheard of")


def test_styles_of_one_figure_all_differ():
    names = [*TWELVE, "NUTS, homoskedastic", "NUTS, short", *(f"no {i}" for i in range(8))]
    styles = plots.method_styles(names)
    lines = [(s["linestyle"], s["marker"]) for s in styles]
    assert len(set(lines)) == len(names)
    assert styles[names.index("NUTS, short")]["color"] == plots.METHODS["NUTS"].color


def test_thirty_chains_differ_in_two_things():
    styles = [tuple(numbered_style(i).values()) for i in range(30)]
    for a, b in itertools.combinations(styles, 2):
        assert sum(x != y for x, y in zip(a, b, strict=True)) >= 2


def test_twelve_methods_fit_into_every_figure_that_compares_them():
    y, p = RNG.integers(0, 3, 60), RNG.dirichlet(np.ones(3), (12, 60))
    by_name = dict(zip(TWELVE, p, strict=True))
    values = {name: RNG.random(3) + 0.1 for name in TWELVE}
    axes = plots.reliability(y, by_name)
    drawn = [line for line in axes[0].lines if line.get_label() in TWELVE]
    curves = {k: metrics.accuracy_vs_certainty(y, q, [0.0, 0.5, 1.0]) for k, q in by_name.items()}
    risks = {k: metrics.risk_coverage(y, q) for k, q in by_name.items()}
    figures = [
        drawn,
        plots.certainty_curves(curves, "kept", ax=plt.subplots()[1]).lines,
        plots.risk_coverage(risks, ax=plt.subplots()[1]).lines,
        plots.profiles([1, 2, 3], values, "sd", ax=plt.subplots()[1]).lines,
        plots.curves([1, 2, 3], values, xlabel="n", ylabel="sd", ax=plt.subplots()[1]).lines,
        plots.paired([1, 2, 3], values, "a", "b", ax=plt.subplots()[1]).lines[:12],
        plots.spread(values, "score", ax=plt.subplots()[1]).lines[::2],
        plots.elbo_trace({k: np.arange(50.0) for k in TWELVE}, ax=plt.subplots()[1]).lines,
    ]
    for lines in figures:
        assert len(lines) == 12
        for name, line in zip(TWELVE[:10], lines[:10], strict=True):
            assert line.get_color() == plots.METHODS[name].color
    assert len(plots.densities(values, "x", ax=plt.subplots()[1]).patches) == 12
    assert len(plots.scale_posteriors({k: RNG.random(20) for k in TWELVE}, 1.0)) == 12


def test_forty_chains_fit_into_every_figure_of_chains():
    dims = ("chain", "draw")
    values = xr.DataArray(RNG.random((40, 6)), dims=dims, coords={"chain": range(40)}, name="w")
    for draw in (plots.chain_traces, plots.running_means):
        assert len(draw(values, "w", ax=plt.subplots()[1]).lines) == 40
    assert len(plots.symmetry(values, values, ax=plt.subplots()[1]).lines) == 42
    levels = xr.Dataset(
        {"beta": (("chain", "level"), RNG.random((40, 3))),
         "swap_rate": (("chain", "level"), RNG.random((40, 3)))},
        coords={"chain": range(40), "level": range(3)},
    )  # fmt: skip
    assert len(plots.tempering_ladder(levels)[1].lines) == 40
    assert len(plots.prior_functions([0, 1], RNG.random((40, 2)), ax=plt.subplots()[1]).lines) == 40


@pytest.mark.parametrize(
    ("n", "shape"),
    [(1, (1, 1)), (2, (1, 2)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3)), (6, (2, 3)), (7, (3, 3))],
)
def test_panels_wrap_where_the_page_ends(n, shape):
    figure, axes = plots.panels(n)
    assert len(axes) == n == len(figure.axes)
    assert axes[0].get_gridspec().get_geometry() == shape
    assert figure.get_size_inches()[0] == plots.PAGE_WIDTH <= 7.2
    assert plots.PAGE_WIDTH / shape[1] >= 2.1


def test_panels_as_asked():
    figure, axes = plots.panels(4, columns=1, width=3.0, height=1.0, sharex=True)
    np.testing.assert_allclose(figure.get_size_inches(), [3, 4])
    assert axes[0].get_shared_x_axes().joined(axes[0], axes[3])
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        plots.panels(0)
    with pytest.raises(ValueError, match="width must be positive"):
        plots.panels(2, width=-1.0)


def test_figures_of_several_panels_make_their_own_page():
    where = plots.grid((-1, 1), (-1, 1), 4)
    surfaces = {f"draw {i}": RNG.random(16) for i in range(4)}
    axes = plots.surface_panels(where, surfaces)
    assert axes[0].get_gridspec().get_geometry() == (2, 2)
    assert [ax.get_title() for ax in axes] == list(surfaces)
    groups = {f"group {g}": (RNG.normal(size=(6, 2)), np.tile([0, 1], 3)) for g in range(18)}
    assert plots.group_panels(groups)[0].get_gridspec().get_geometry() == (3, 6)
    pictures = plots.images(RNG.random((10, 16)), titles=[str(k) for k in range(10)])
    assert pictures[0].get_gridspec().get_geometry() == (1, 10)
    assert len(plots.variational_traces([1, 2], np.ones((2, 3)), np.ones((2, 3)))) == 2
    for number in plt.get_fignums():
        assert plt.figure(number).get_size_inches()[0] == plots.PAGE_WIDTH


def test_type_has_one_size_and_the_default_figure_is_a_page_wide():
    with plt.rc_context():
        plots.use_style()
        figure, ax = plt.subplots()
        ax.plot([0, 1], label="line")
        ax.set(xlabel="x", title="title")
        text = [ax.title, ax.xaxis.label, *ax.get_xticklabels(), *ax.legend().get_texts()]
        assert {t.get_fontsize() for t in text} == {10.5}
        assert figure.get_size_inches()[0] == plots.PAGE_WIDTH
        assert figure.get_size_inches()[0] * figure.dpi <= 680  # pixels: the column of the page


def test_reliability_of_two_classes_says_which_probability_it_shows():
    p = RNG.random(200)
    y = (RNG.random(200) < p).astype(int)
    both = np.stack([1 - p, p], axis=1)
    labels = [
        plots.reliability(y, {"NUTS": given}, kind=kind)[0].get_xlabel()
        for given, kind in ((p, None), (both, None), (both, "top-label"), (p, "top-label"))
    ]
    assert labels == 2 * ["predicted probability of class 1"] + 2 * ["probability of the top class"]
    draws = xr.DataArray(both[None, None], dims=("chain", "draw", "obs", "class"))
    assert "class 1" in plots.reliability(y, {"NUTS": draws})[0].get_xlabel()


def test_reliability_bars_hold_what_chance_allows():
    """Of calibrated forecasts, about 95 % of the bars meet the diagonal."""
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(30):
        p = rng.random(2000)
        y = (rng.random(2000) < p).astype(int)
        axes = plots.reliability(y, {"NUTS": p}, axes=plt.subplots(1, 2)[1])
        (bars,) = axes[0].collections
        confidence = axes[0].lines[1].get_xdata()
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        inside.append((ends[:, 0] <= confidence) & (confidence <= ends[:, 1]))
        plt.close("all")
    assert 0.9 < np.mean(inside) < 0.985
