"""Figures of classes over the plane: points, probabilities, uncertainties, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bnnbook import metrics
from bnnbook.plots.style import (
    CLASS_COLOURS,
    CLASS_MARKERS,
    PROBABILITY,
    method_styles,
    points_of,
    use_or_make,
)

__all__ = [
    "Grid",
    "classification_data",
    "grid",
    "group_panels",
    "probability_surface",
    "reliability",
    "surface_panels",
    "uncertainty_surface",
]


@dataclass(frozen=True)
class Grid:
    """Regular grid over a rectangle: ``points`` (n * n, 2) with their axes ``x`` and ``y`` (n,)."""

    x: np.ndarray
    y: np.ndarray
    points: np.ndarray

    def reshape(self, values: Any) -> np.ndarray:
        """Values (n * n,) at the points, as an image (len(y), len(x))."""
        return np.asarray(values).reshape(len(self.y), len(self.x))


def grid(
    xlim: tuple[float, float] = (-3, 3), ylim: tuple[float, float] = (-3, 3), n: int = 100
) -> Grid:
    """Make an n x n grid over ``xlim`` x ``ylim``.

    Examples
    --------
    >>> grid((-1, 1), (0, 2), 3).points.shape
    (9, 2)
    """
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


def surface_panels(
    where: Grid,
    surfaces: Mapping[str, Any],
    *,
    axes: Sequence[Axes] | None = None,
    data: tuple[np.ndarray, np.ndarray] | None = None,
) -> Sequence[Axes]:
    """Class-1 probabilities by title, one panel each, with one colour bar and the same axes.

    ``data`` are points (n, 2) and labels (n,) to draw on each panel.
    """
    axes = use_or_make(axes, len(surfaces), sharex=True, sharey=True)
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


def group_panels(
    groups: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    axes: Sequence[Axes] | None = None,
    where: Grid | None = None,
    surfaces: Any = None,
) -> Sequence[Axes]:
    """One panel for each group of points (n, 2) and labels (n,), on the same axes.

    ``surfaces`` (group, n * n) are class-1 probabilities at the points of ``where``, drawn
    underneath.
    """
    axes = use_or_make(axes, len(groups), least=1.05, sharex=True, sharey=True)
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


def reliability(
    y: np.ndarray,
    predictions: Mapping[str, Any],
    *,
    n_bins: int = 10,
    kind: metrics.Kind | None = None,
    axes: Sequence[Axes] | None = None,
) -> Sequence[Axes]:
    """Reliability diagram on ``axes[0]`` and the number of points per bin on ``axes[1]``.

    Parameters
    ----------
    y : array (n,)
    predictions : mapping of method to probabilities, as for :func:`bnnbook.metrics.reliability`
    n_bins, kind
        As there. The bars are 95 % intervals of a bin's frequency (Wilson 1927).
    """
    axes = use_or_make(axes, 2, height=3.4)
    axes[0].plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="-", label="calibrated")
    styles = method_styles(predictions)
    for (label, p), style in zip(predictions.items(), styles, strict=True):
        curve = metrics.reliability(y, p, n_bins=n_bins, kind=kind)
        axes[0].plot(curve.confidence, curve.frequency, label=label, markersize=4, **style)
        low, high = _wilson(curve.frequency, curve.rows)
        axes[0].vlines(curve.confidence, low, high, color=style["color"], linewidth=1, alpha=0.5)
        axes[1].plot(curve.confidence, curve.rows, label=label, markersize=4, **points_of(style))
    top = kind == "top-label" or any(_class_count(p) > 2 for p in predictions.values())
    what = "probability of the top class" if top else "predicted probability of class 1"
    how_often = "share correct" if top else "observed frequency of class 1"
    axes[0].set(xlabel=what, ylabel=how_often)
    axes[0].legend(loc="lower right" if top else "upper left")
    axes[1].set(xlabel=what, ylabel="test points in bin", yscale="log")
    return axes


def _wilson(share: np.ndarray, n: np.ndarray, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return middle - half, middle + half


def _class_count(p: Any) -> int:
    if isinstance(p, xr.DataArray):
        rest = [d for d in p.dims if d not in ("chain", "draw", "sample")]
        return int(p.sizes["class" if "class" in rest else rest[-1]]) if len(rest) > 1 else 2
    return int(np.shape(p)[1]) if np.ndim(p) == 2 else 2
