"""Figures of the book. Each function takes data and an optional ``ax`` and returns the Axes.

One colour has one meaning everywhere: class 0 is blue and a circle, class 1 is orange and a
triangle (Okabe and Ito's colour-blind-safe palette); uncertainty is drawn in a sequential map.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from PIL import Image

from bnnbook import metrics, uncertainty

__all__ = [
    "Animation",
    "Grid",
    "animate_surface",
    "certainty_curves",
    "chain_traces",
    "class_bars",
    "classification_data",
    "curves",
    "densities",
    "elbo_trace",
    "grid",
    "group_panels",
    "images",
    "paired",
    "pit_histogram",
    "prior_functions",
    "probability_surface",
    "profiles",
    "regression_bands",
    "reliability",
    "risk_coverage",
    "running_means",
    "scale_posteriors",
    "spread",
    "surface_panels",
    "symmetry",
    "tempering_ladder",
    "uncertainty_surface",
    "use_style",
    "variational_traces",
]

CLASS_COLOURS = ("#0072B2", "#D55E00")
CLASS_MARKERS = ("o", "^")
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))
PROBABILITY = LinearSegmentedColormap.from_list(
    "probability", [CLASS_COLOURS[0], "#9ecae1", "#f7f7f7", "#fdc99b", CLASS_COLOURS[1]]
)


@dataclass(frozen=True)
class Grid:
    """Regular grid over a rectangle: ``points`` (n * n, 2) with their axes ``x`` and ``y`` (n,)."""

    x: np.ndarray
    y: np.ndarray
    points: np.ndarray

    def reshape(self, values: Any) -> np.ndarray:
        """Values (n * n,) at the points, as an image (len(y), len(x))."""
        return np.asarray(values).reshape(len(self.y), len(self.x))


def use_style() -> None:
    """Set the book's Matplotlib style for the session."""
    plt.rcParams.update(
        {
            "axes.grid": False,
            "axes.prop_cycle": cycler(color=LINES) + cycler(linestyle=LINE_STYLES),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": "medium",
            "figure.constrained_layout.use": True,
            "figure.dpi": 110,
            "figure.facecolor": "white",
            "font.size": 10,
            "legend.frameon": False,
        }
    )


def grid(
    xlim: tuple[float, float] = (-3, 3), ylim: tuple[float, float] = (-3, 3), n: int = 100
) -> Grid:
    """Make an n x n grid over ``xlim`` x ``ylim``."""
    if n < 2:
        raise ValueError(f"n must be at least 2, got {n}")
    x, y = np.linspace(*xlim, n), np.linspace(*ylim, n)
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    return Grid(x, y, points)


def classification_data(
    X: np.ndarray,
    y: np.ndarray,
    *,
    ax: Axes | None = None,
    size: float = 16,
    legend: bool = True,
    outlined: bool = False,
) -> Axes:
    """Scatter two classes of points (n, 2); ``outlined`` sets them off from a filled surface."""
    ax = ax or plt.gca()
    style: dict[str, Any] = {"alpha": 0.8, "edgecolors": "white", "linewidths": 0.2}
    if outlined:
        style = {"edgecolors": "white", "linewidths": 0.8}
    for label, (colour, marker) in enumerate(zip(CLASS_COLOURS, CLASS_MARKERS, strict=True)):
        ax.scatter(
            X[y == label, 0], X[y == label, 1], s=size, c=colour, marker=marker,
            label=f"class {label}", **style,
        )  # fmt: skip
    if legend:
        ax.legend(loc="upper right")
    ax.set(xlabel="$x_1$ (standardised)", ylabel="$x_2$ (standardised)")
    return ax


def probability_surface(
    where: Grid, p: Any, *, ax: Axes | None = None, colorbar: bool = True
) -> Axes:
    """Probability of class 1 over the plane, with the boundary at one half."""
    ax = ax or plt.gca()
    image = where.reshape(p)
    filled = ax.contourf(where.x, where.y, image, levels=np.linspace(0, 1, 21), cmap=PROBABILITY)
    if image.min() < 0.5 < image.max():
        ax.contour(where.x, where.y, image, levels=[0.5], colors="black", linewidths=1)
    if colorbar:
        bar = ax.figure.colorbar(filled, ax=ax, ticks=np.linspace(0, 1, 6))
        bar.set_label("probability of class 1")
    ax.set(xlabel="$x_1$ (standardised)", ylabel="$x_2$ (standardised)")
    return ax


def uncertainty_surface(
    where: Grid,
    value: Any,
    label: str,
    *,
    ax: Axes | None = None,
    vmin: float = 0.0,
    vmax: float | None = None,
) -> Axes:
    """An uncertainty over the plane, from ``vmin`` up to ``vmax`` (its own maximum by default)."""
    ax = ax or plt.gca()
    image = where.reshape(value)
    top = float(vmax if vmax is not None else max(image.max(), vmin + 1e-12))
    filled = ax.contourf(
        where.x, where.y, np.clip(image, vmin, top), levels=np.linspace(vmin, top, 21),
        cmap="viridis",
    )  # fmt: skip
    bar = ax.figure.colorbar(filled, ax=ax, ticks=MaxNLocator(6, steps=[1, 2, 5, 10]))
    bar.set_label(label)
    ax.set(xlabel="$x_1$ (standardised)", ylabel="$x_2$ (standardised)")
    return ax


def elbo_trace(
    runs: Mapping[str, Any],
    *,
    against: Mapping[str, Any] | None = None,
    xlabel: str = "iteration",
    smooth: int = 200,
    ax: Axes | None = None,
) -> Axes:
    """ELBO per full data set, averaged over blocks of ``smooth`` steps.

    ``runs`` maps a label to an ELBO array (step,); ``against`` to the x values, steps by default.
    """
    ax = ax or plt.gca()
    for label, elbo in runs.items():
        values = np.asarray(elbo)
        x = np.asarray(against[label]) if against else np.arange(1, len(values) + 1)
        width = max(min(smooth, len(values) // 10), 1)
        blocks = len(values) // width
        cut = blocks * width
        mean = values[:cut].reshape(blocks, width).mean(axis=1)
        ax.plot(x[:cut].reshape(blocks, width)[:, -1], mean, label=label)
    ax.set(xlabel=xlabel, ylabel="ELBO (nats per full data set)")
    ax.legend(loc="lower right")
    return ax


def variational_traces(
    steps: Sequence[int], means: np.ndarray, sds: np.ndarray, *, axes: Sequence[Axes]
) -> Sequence[Axes]:
    """Variational means and standard deviations (calls, parameters) against the step."""
    for ax, values, label in zip(axes, (means, sds), ("mean", "sd"), strict=True):
        ax.plot(steps, values.reshape(len(steps), -1), linestyle="-", linewidth=1)
        ax.set(xlabel="iteration", ylabel=f"variational {label}")
    axes[1].set_yscale("log")
    return axes


def spread(scores: Mapping[str, Any], label: str, *, ax: Axes | None = None) -> Axes:
    """One row of points per method, one point per seed, with the mean as a bar."""
    ax = ax or plt.gca()
    for row, values in enumerate(scores.values()):
        points = np.asarray(values, dtype=float)
        ax.plot(points, np.full(len(points), row), "o", color=LINES[0], alpha=0.6, linestyle="none")
        ax.plot([points.mean()], [row], "|", color="black", markersize=18, linestyle="none")
    ax.set(xlabel=label, yticks=range(len(scores)), yticklabels=list(scores))
    ax.set_ylim(-0.6, len(scores) - 0.4)
    return ax


def reliability(
    y: np.ndarray, predictions: Mapping[str, Any], *, n_bins: int = 10, axes: Sequence[Axes]
) -> Sequence[Axes]:
    """Reliability diagram on ``axes[0]`` and the number of points per bin on ``axes[1]``.

    Probabilities of class 1 (n,), or of every class (n, K), of which the largest is shown.
    """
    axes[0].plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="-", label="calibrated")
    for i, (label, p) in enumerate(predictions.items()):
        curve = metrics.reliability(y, p, n_bins=n_bins)
        style: dict[str, Any] = {
            "color": LINES[i],
            "linestyle": LINE_STYLES[i],
            "marker": "os^Dv"[i % 5],
        }
        axes[0].plot(curve.confidence, curve.frequency, label=label, markersize=4, **style)
        axes[1].plot(curve.confidence, curve.rows, label=label, markersize=4, **style)
    several = any(np.ndim(p) == 2 for p in predictions.values())
    what = "probability of the top class" if several else "predicted probability of class 1"
    how_often = "share correct" if several else "observed frequency of class 1"
    axes[0].set(xlabel=what, ylabel=how_often)
    axes[0].legend(loc="lower right" if several else "upper left")
    axes[1].set(xlabel=what, ylabel="test points in bin")
    axes[1].set_yscale("log")
    return axes


def symmetry(
    first: xr.DataArray, second: xr.DataArray, *, ax: Axes | None = None, legend: bool = True
) -> Axes:
    """Two weights against each other, one colour and marker per chain."""
    ax = ax or plt.gca()
    for i, chain in enumerate(first["chain"].to_numpy()):
        ax.plot(
            first.sel(chain=chain), second.sel(chain=chain), "os^Dv"[i % 5], linestyle="none",
            color=LINES[i % len(LINES)], markersize=2, alpha=0.4, label=f"chain {chain + 1}",
        )  # fmt: skip
    ax.axhline(0, color="grey", linewidth=0.5, linestyle="-")
    ax.axvline(0, color="grey", linewidth=0.5, linestyle="-")
    ax.set(xlabel=str(first.name), ylabel=str(second.name))
    if legend:
        ax.legend(markerscale=3)
    return ax


def surface_panels(
    where: Grid,
    surfaces: Mapping[str, Any],
    *,
    axes: Sequence[Axes],
    data: tuple[np.ndarray, np.ndarray] | None = None,
) -> Sequence[Axes]:
    """Class-1 probabilities by title, one panel each, with one colour bar and the same axes.

    ``data`` are points (n, 2) and labels (n,) to draw on each panel.
    """
    for ax, (title, p) in zip(axes, surfaces.items(), strict=True):
        probability_surface(where, p, ax=ax, colorbar=False)
        if data is not None:
            classification_data(*data, ax=ax, size=20, legend=False, outlined=True)
        ax.set(title=title, xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
        ax.set(xlim=where.x[[0, -1]], ylim=where.y[[0, -1]])
        ax.label_outer()
    bar = axes[0].figure.colorbar(
        axes[0].collections[0], ax=list(axes), ticks=np.linspace(0, 1, 6), fraction=0.05
    )
    bar.set_label("probability of class 1")
    return axes


@dataclass(frozen=True)
class Animation:
    """An animated GIF with its text alternative and a still for print.

    Shown as the GIF on screen (as the still where the reader asks for less motion), and as the
    still where HTML cannot be shown.
    """

    gif: bytes = field(repr=False)
    still: bytes = field(repr=False)
    alt: str
    frames: int

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        still, gif = (base64.b64encode(data).decode() for data in (self.still, self.gif))
        markup = (
            "<details open><summary>Animation (select to hide)</summary><picture>"
            '<source media="(prefers-reduced-motion: reduce)" '
            f'srcset="data:image/png;base64,{still}">'
            f'<img src="data:image/gif;base64,{gif}" alt="{html.escape(self.alt)}">'
            "</picture></details>"
        )
        return {"text/html": markup, "image/png": still, "text/plain": self.alt}


def animate_surface(
    where: Grid,
    surfaces: Any,
    titles: Sequence[str],
    *,
    alt: str,
    data: tuple[np.ndarray, np.ndarray] | None = None,
    seconds: float = 0.3,
    max_bytes: int = 3_000_000,
) -> Animation:
    """Animate class-1 probabilities over the plane, one frame after another.

    Parameters
    ----------
    where : Grid
    surfaces : array (frame, n * n)
        Probabilities at the grid's points.
    titles : sequence of str
        One per frame.
    alt : str
        Text alternative: what the animation shows, to somebody who cannot see it.
    data : (points (n, 2), labels (n,)), optional
        Drawn on every frame.
    seconds : float
        Time for each frame.
    max_bytes : int
        Limit on the size of the GIF.

    Raises
    ------
    ValueError
        If there are no frames, their number and that of titles differ, ``alt`` is empty, or the GIF
        is larger than ``max_bytes``.
    """
    images = np.asarray(surfaces)
    if images.ndim != 2 or len(images) == 0:
        raise ValueError(f"surfaces must have shape (frame, n * n), got {images.shape}")
    if len(titles) != len(images):
        raise ValueError(f"titles must name all {len(images)} frames, got {len(titles)}")
    if not alt.strip():
        raise ValueError("alt must describe the animation, got an empty text")
    pictures = []
    for image, title in zip(images, titles, strict=True):
        fig = Figure(figsize=(5, 4.2), dpi=90, layout="constrained", facecolor="white")
        canvas = FigureCanvasAgg(fig)
        surface_panels(where, {title: image}, axes=[fig.subplots()], data=data)
        canvas.draw()
        pictures.append(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    gif, still = io.BytesIO(), io.BytesIO()
    # one palette for all frames, or colours would flicker from one to the next
    first = pictures[0].quantize(128)
    paletted = [picture.quantize(palette=first, dither=Image.Dither.NONE) for picture in pictures]
    paletted[0].save(
        gif, "GIF", save_all=True, append_images=paletted[1:], duration=round(1000 * seconds),
        loop=0, optimize=True,
    )  # fmt: skip
    if gif.tell() > max_bytes:
        raise ValueError(f"the GIF must be at most {max_bytes} bytes, got {gif.tell()}")
    pictures[-1].save(still, "PNG")
    return Animation(gif.getvalue(), still.getvalue(), alt, len(pictures))


def chain_traces(
    values: xr.DataArray,
    label: str,
    *,
    most: int = 400,
    ax: Axes | None = None,
    legend: bool = False,
) -> Axes:
    """One quantity (chain, draw) against the draw: at most ``most`` evenly spaced points a chain.

    Points, because the lines of a chain that jumps between modes would paint over all others.
    """
    ax = ax or plt.gca()
    every = -(-values.sizes["draw"] // most)
    draws = values["draw"].to_numpy()[::every] + 1
    for i, chain in enumerate(values["chain"].to_numpy()):
        ax.plot(
            draws, values.sel(chain=chain)[::every], "os^Dv"[i % 5], linestyle="none",
            color=LINES[i % len(LINES)], markersize=1.5, alpha=0.7, label=f"chain {chain + 1}",
        )  # fmt: skip
    ax.set(xlabel="draw", ylabel=label)
    if legend:
        ax.legend(markerscale=4)
    return ax


def running_means(
    values: xr.DataArray, label: str, *, ax: Axes | None = None, legend: bool = False
) -> Axes:
    """Mean of one quantity (chain, draw) over the draws so far, one line per chain."""
    ax = ax or plt.gca()
    draws, count = values["draw"].to_numpy() + 1, np.arange(1, values.sizes["draw"] + 1)
    for i, chain in enumerate(values["chain"].to_numpy()):
        mean = np.cumsum(values.sel(chain=chain).to_numpy()) / count
        ax.plot(
            draws, mean, color=LINES[i % len(LINES)], linestyle=LINE_STYLES[i % len(LINES)],
            label=f"chain {chain + 1}",
        )  # fmt: skip
    ax.set(xlabel="draw", ylabel=label)
    if legend:
        ax.legend(ncols=2)
    return ax


def tempering_ladder(tempering: xr.Dataset, *, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Inverse temperatures by level on ``axes[0]``, swap rates between levels on ``axes[1]``."""
    for i, chain in enumerate(tempering["chain"].to_numpy()):
        levels = tempering.sel(chain=chain)
        style: dict[str, Any] = {"marker": "os^Dv"[i % 5], "markersize": 4, "color": LINES[i]}
        axes[0].plot(levels["level"], levels["beta"], label=f"chain {chain + 1}", **style)
        axes[1].plot(levels["level"][:-1] + 0.5, levels["swap_rate"][:-1], **style)
    axes[0].set(xlabel="level", ylabel=r"inverse temperature $\beta$")
    axes[1].set(xlabel="between levels", ylabel="swap rate", ylim=(0, 1))
    axes[0].legend()
    return axes


def images(X: Any, *, axes: Sequence[Axes], titles: Sequence[str] | None = None) -> Sequence[Axes]:
    """Square grey images (n, edge * edge) in [0, 1], one per Axes, dark on light."""
    for i, (ax, row) in enumerate(zip(axes, np.asarray(X), strict=True)):
        edge = int(np.sqrt(row.size))
        ax.imshow(row.reshape(edge, edge), cmap="Greys", vmin=0, vmax=1)
        ax.set_axis_off()
        if titles is not None:
            ax.set_title(titles[i], fontsize=9)
    return axes


def certainty_curves(
    curves: Mapping[str, xr.Dataset], quantity: str, *, ax: Axes | None = None, title: str = ""
) -> Axes:
    """``accuracy`` or ``kept`` of :func:`bnnbook.metrics.accuracy_vs_certainty`, by method."""
    ax = ax or plt.gca()
    for i, (name, curve) in enumerate(curves.items()):
        ax.plot(
            curve["threshold"], curve[quantity], label=name, color=LINES[i],
            linestyle=LINE_STYLES[i], linewidth=1.8,
        )  # fmt: skip
    label = {"accuracy": "accuracy of the answers", "kept": "share answered"}[quantity]
    ax.set(xlabel="certainty threshold", ylabel=label, title=title, xlim=(0, 1))
    return ax


def risk_coverage(curves: Mapping[str, metrics.RiskCoverage], *, ax: Axes | None = None) -> Axes:
    """Error rate among the most certain share of the rows, by method."""
    ax = ax or plt.gca()
    for i, (name, curve) in enumerate(curves.items()):
        ax.plot(
            curve.coverage, 100 * curve.risk, label=f"{name} (area {100 * curve.aurc:.2f} %)",
            color=LINES[i], linestyle=LINE_STYLES[i], linewidth=1.5,
        )  # fmt: skip
    ax.set(xlabel="share answered, most certain first", ylabel="error rate (%)", xlim=(0, 1))
    ax.legend(fontsize=9)
    return ax


def densities(groups: Mapping[str, Any], label: str, *, ax: Axes | None = None) -> Axes:
    """Histograms of one quantity for several groups, on one set of bins, as outlines."""
    ax = ax or plt.gca()
    flat = {name: np.ravel(values) for name, values in groups.items()}
    bins = list(np.linspace(0, max(float(v.max()) for v in flat.values()), 41))
    for i, (name, v) in enumerate(flat.items()):
        ax.hist(
            v, bins=bins, weights=np.full(len(v), 1 / len(v)), histtype="stepfilled", alpha=0.5,
            facecolor=LINES[i], edgecolor=LINES[i], hatch=("", "///")[i % 2], label=name,
        )  # fmt: skip
    ax.set(xlabel=label, ylabel="share of inputs", yscale="log")
    ax.legend(fontsize=9)
    return ax


def class_bars(draws: np.ndarray, *, label: int, ax: Axes | None = None) -> Axes:
    """Mean class probabilities of draws (draws, classes), with the middle 80 % of the draws."""
    ax = ax or plt.gca()
    mean = draws.mean(axis=0)
    low, high = np.quantile(draws, [0.1, 0.9], axis=0)
    hatches = ["///" if k == label else "" for k in range(len(mean))]
    colours = [LINES[1] if k == label else "#9ecae1" for k in range(len(mean))]
    ax.bar(range(len(mean)), mean, color=colours, hatch=hatches, edgecolor="black", linewidth=0.5)
    middle = (low + high) / 2
    ax.errorbar(
        range(len(mean)), middle, yerr=(high - low) / 2, fmt="none", ecolor="black", linewidth=1
    )
    ax.set(xticks=range(len(mean)), ylim=(0, 1.02), xlabel="class")
    ax.tick_params(labelsize=8)
    return ax


def group_panels(
    groups: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    axes: Sequence[Axes],
    where: Grid | None = None,
    surfaces: Any = None,
) -> Sequence[Axes]:
    """One panel for each group of points (n, 2) and labels (n,), on the same axes.

    ``surfaces`` (group, n * n) are class-1 probabilities at the points of ``where``, drawn
    underneath.
    """
    for number, (ax, (title, (X, y))) in enumerate(zip(axes, groups.items(), strict=True)):
        if where is not None:
            probability_surface(where, np.asarray(surfaces)[number], ax=ax, colorbar=False)
            ax.set(xlim=where.x[[0, -1]], ylim=where.y[[0, -1]])
        classification_data(X, y, ax=ax, size=8 if where is None else 14, legend=False)
        if where is not None:  # points in the colours of the surface need an edge to be seen
            for points in ax.collections[-2:]:
                points.set(edgecolor="white", linewidth=0.6, alpha=1.0)
        ax.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
        ax.set_title(title, pad=3)
        ax.label_outer()
    figure = axes[0].figure
    if where is None:
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2, markerscale=2)
    else:
        bar = figure.colorbar(
            axes[0].collections[0], ax=list(axes), ticks=np.linspace(0, 1, 6), fraction=0.03
        )
        bar.set_label("probability of class 1")
    return axes


def paired(
    baseline: Any, others: Mapping[str, Any], xlabel: str, ylabel: str, *, ax: Axes | None = None
) -> Axes:
    """Scores of other methods against a baseline's, one point per group; below the line is less."""
    ax = ax or plt.gca()
    x = np.asarray(baseline, dtype=float)
    for i, (label, values) in enumerate(others.items()):
        ax.plot(
            x, np.asarray(values), "os^Dv"[i % 5], linestyle="none", color=LINES[i], markersize=5,
            alpha=0.8, label=label,
        )  # fmt: skip
    ends = [0.0, 1.05 * max(x.max(), *(np.max(values) for values in others.values()))]
    ax.plot(ends, ends, color="grey", linewidth=1, linestyle="-", label="no difference")
    ax.set(xlabel=xlabel, ylabel=ylabel, xlim=ends, ylim=ends, aspect="equal")
    return ax


def scale_posteriors(
    scales: Mapping[str, Any], prior_sd: float, *, axes: Sequence[Axes]
) -> Sequence[Axes]:
    """Histograms of posterior draws of scales, with the half-normal prior's density."""
    for i, (ax, (label, draws)) in enumerate(zip(axes, scales.items(), strict=True)):
        values = np.asarray(draws).ravel()
        ax.hist(values, bins=40, density=True, color=LINES[i], alpha=0.6, label="posterior")
        x = np.linspace(0, ax.get_xlim()[1], 200)
        density = np.sqrt(2 / np.pi) / prior_sd * np.exp(-0.5 * (x / prior_sd) ** 2)
        ax.plot(x, density, color="black", linestyle="--", label="prior")
        ax.set(xlabel=label, ylabel="density" if i == 0 else "", xlim=(0, x[-1]))
    axes[0].legend(loc="upper right")
    return axes


def regression_bands(
    x: Any,
    mu: Any,
    sigma: Any,
    *,
    ax: Axes | None = None,
    data: tuple[Any, Any] | None = None,
    truth: Any = None,
    level: float = 1.645,
    legend: bool = True,
) -> Axes:
    """Predictive mean with its epistemic and total uncertainty over one input.

    The inner band, hatched with a dashed edge, is epistemic; the outer one, plain with a solid
    edge, adds the aleatoric part, so what lies between the two edges is noise. Both are the mean
    plus and minus ``level`` standard deviations, and differ without colour too.

    Parameters
    ----------
    x : array (n,)
        Sorted inputs.
    mu, sigma : DataArray with dims (chain, draw, obs), or arrays (draws, n)
    data : (inputs (m,), targets (m,)), optional
    truth : array (n,), optional
        The noise-free function at ``x``.
    """
    ax = ax or plt.gca()
    parts = uncertainty.variance_decomposition(mu, sigma)
    x = np.ravel(x)
    mean = mu.mean(["chain", "draw"]) if isinstance(mu, xr.DataArray) else np.mean(mu, axis=0)
    mean = np.asarray(mean)
    bands: dict[str, tuple[Any, dict[str, Any]]] = {
        "total = epistemic + aleatoric": (
            parts.total,
            {"facecolor": "#cfe3f2", "edgecolor": "#0072B2", "linestyle": "-", "linewidth": 0.6},
        ),
        "epistemic": (
            parts.epistemic,
            {
                "facecolor": "#f6c9ab", "edgecolor": "#D55E00", "linestyle": "--",
                "linewidth": 0.9, "hatch": "////",
            },
        ),
    }  # fmt: skip
    for label, (variance, style) in bands.items():
        half = level * np.sqrt(np.asarray(variance))
        ax.fill_between(x, mean - half, mean + half, label=label, **style)
    ax.plot(x, mean, color="black", linestyle="-", linewidth=1.2, label="mean")
    if truth is not None:
        ax.plot(x, truth, color="#009E73", linestyle=":", linewidth=1.4, label="true function")
    if data is not None:
        ax.plot(
            np.ravel(data[0]), np.ravel(data[1]), ".", color="black", markersize=2.5, alpha=0.5,
            linestyle="none", label="training data", zorder=3,
        )  # fmt: skip
    ax.set(xlabel="$x$", ylabel="$y$")
    if legend:
        ax.legend(loc="best")
    return ax


def profiles(
    x: Any,
    lines: Mapping[str, Any],
    label: str,
    *,
    gaps: Sequence[tuple[float, float]] = (),
    ax: Axes | None = None,
    legend: bool = True,
) -> Axes:
    """One positive quantity against the input for each method, on a log scale; gaps are shaded."""
    ax = ax or plt.gca()
    for i, (low, high) in enumerate(gaps):
        ax.axvspan(low, high, color="0.9", zorder=0, label="no data" if i == 0 else None)
    for i, (name, values) in enumerate(lines.items()):
        ax.plot(
            np.ravel(x), np.ravel(values), label=name, linewidth=1.5, color=LINES[i % len(LINES)],
            linestyle=LINE_STYLES[i % len(LINE_STYLES)],
        )  # fmt: skip
    ax.set(xlabel="$x$", ylabel=label, yscale="log")
    if legend:
        ax.legend(fontsize=9)
    return ax


def curves(
    x: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
    log: bool = True,
    legend: bool = True,
) -> Axes:
    """Several quantities against the setting of an experiment, with markers."""
    ax = ax or plt.gca()
    for i, (name, values) in enumerate(lines.items()):
        ax.plot(
            x, values, label=name, marker="os^Dv"[i % 5], markersize=5, color=LINES[i % len(LINES)],
            linestyle=LINE_STYLES[i % len(LINE_STYLES)],
        )  # fmt: skip
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if log:
        ax.set(xscale="log", yscale="log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter("{x:g}")
    ax.set_xticks(list(x), [f"{value:g}" for value in x])
    ax.minorticks_off()
    if legend:
        ax.legend(fontsize=9)
    return ax


def pit_histogram(
    values: Any, title: str = "", *, n_bins: int = 10, ax: Axes | None = None
) -> Axes:
    """Histogram of probability integral transforms, with the 95 % range of a calibrated one."""
    ax = ax or plt.gca()
    counts, edges = np.histogram(np.ravel(values), bins=n_bins, range=(0, 1))
    n, share = counts.sum(), 1 / n_bins
    half = 1.96 * np.sqrt(share * (1 - share) / n)
    ax.bar(edges[:-1], counts / n, width=share, align="edge", color="#9ecae1", edgecolor="#0072B2")
    ax.axhspan(share - half, share + half, color="0.6", alpha=0.5, label="if calibrated (95 %)")
    ax.axhline(share, color="black", linestyle="--", linewidth=1)
    ax.set(xlabel="PIT", ylabel="share of points", title=title, xlim=(0, 1))
    return ax


def prior_functions(x: Any, functions: Any, *, ax: Axes | None = None, title: str = "") -> Axes:
    """Functions (draws, n) over one input, as thin lines."""
    ax = ax or plt.gca()
    for i, values in enumerate(np.asarray(functions)):
        ax.plot(
            np.ravel(x), values, color=LINES[i % len(LINES)], linewidth=1,
            linestyle=LINE_STYLES[i % len(LINE_STYLES)],
        )  # fmt: skip
    ax.set(xlabel="$x$", ylabel="$y$", title=title)
    return ax
