"""Figures of the book. Each function takes data and an optional ``ax`` and returns the Axes.

One colour has one meaning everywhere: class 0 is blue and a circle, class 1 is orange and a
triangle (Okabe and Ito's colour-blind-safe palette); uncertainty is drawn in a sequential map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from bnnbook import metrics

__all__ = [
    "Grid",
    "classification_data",
    "elbo_trace",
    "grid",
    "probability_surface",
    "reliability",
    "spread",
    "symmetry",
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
    X: np.ndarray, y: np.ndarray, *, ax: Axes | None = None, size: float = 16, legend: bool = True
) -> Axes:
    """Scatter two classes of points (n, 2)."""
    ax = ax or plt.gca()
    for label, (colour, marker) in enumerate(zip(CLASS_COLOURS, CLASS_MARKERS, strict=True)):
        ax.scatter(
            X[y == label, 0], X[y == label, 1], s=size, c=colour, marker=marker, alpha=0.8,
            edgecolors="white", linewidths=0.2, label=f"class {label}",
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
    where: Grid, value: Any, label: str, *, ax: Axes | None = None, vmax: float | None = None
) -> Axes:
    """An uncertainty over the plane, from 0 up to ``vmax`` (its own maximum by default)."""
    ax = ax or plt.gca()
    image = where.reshape(value)
    top = float(vmax if vmax is not None else max(image.max(), 1e-12))
    filled = ax.contourf(
        where.x, where.y, np.clip(image, 0, top), levels=np.linspace(0, top, 21), cmap="viridis"
    )
    bar = ax.figure.colorbar(filled, ax=ax, format="%.2g")
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
    """Reliability diagram on ``axes[0]`` and the number of points per bin on ``axes[1]``."""
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
    axes[0].set(xlabel="predicted probability of class 1", ylabel="observed frequency of class 1")
    axes[0].legend(loc="upper left")
    axes[1].set(xlabel="predicted probability of class 1", ylabel="test points in bin")
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
