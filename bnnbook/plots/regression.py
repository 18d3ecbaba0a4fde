"""Figures of functions of one input: bands, profiles, prior draws, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from bnnbook import uncertainty
from bnnbook.plots.style import line_of, method_styles, numbered_style

__all__ = ["pit_histogram", "prior_functions", "profiles", "regression_bands"]


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
    for (name, values), style in zip(lines.items(), method_styles(lines), strict=True):
        ax.plot(np.ravel(x), np.ravel(values), label=name, linewidth=1.5, **line_of(style))
    ax.set(xlabel="$x$", ylabel=label, yscale="log")
    if legend:
        ax.legend()
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
        ax.plot(np.ravel(x), values, linewidth=1, **line_of(numbered_style(i)))
    ax.set(xlabel="$x$", ylabel="$y$", title=title)
    return ax
