"""Methods beside each other: scores by seed, by group, by setting; certainty and rejection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from bnnbook import metrics
from bnnbook.plots.style import LINES, line_of, method_styles, points_of

__all__ = ["certainty_curves", "curves", "densities", "paired", "risk_coverage", "spread"]

HATCHES = ("", "///", "...", "|||", "xxx")


def spread(scores: Mapping[str, Any], label: str, *, ax: Axes | None = None) -> Axes:
    """One row of points per method, one point per seed, with the mean as a bar."""
    ax = ax or plt.gca()
    styles = method_styles(scores)
    for row, (values, style) in enumerate(zip(scores.values(), styles, strict=True)):
        points = np.asarray(values, dtype=float)
        ax.plot(points, np.full(len(points), row), alpha=0.6, **points_of(style))
        ax.plot([points.mean()], [row], "|", color="black", markersize=18, linestyle="none")
    ax.set(xlabel=label, yticks=range(len(scores)), yticklabels=list(scores))
    ax.set_ylim(-0.6, len(scores) - 0.4)
    return ax


def paired(
    baseline: Any, others: Mapping[str, Any], xlabel: str, ylabel: str, *, ax: Axes | None = None
) -> Axes:
    """Scores of other methods against a baseline's, one point per group; below the line is less."""
    ax = ax or plt.gca()
    x = np.asarray(baseline, dtype=float)
    for (label, values), style in zip(others.items(), method_styles(others), strict=True):
        ax.plot(x, np.asarray(values), markersize=5, alpha=0.8, label=label, **points_of(style))
    ends = [0.0, 1.05 * max(x.max(), *(np.max(values) for values in others.values()))]
    ax.plot(ends, ends, color="grey", linewidth=1, linestyle="-", label="no difference")
    ax.set(xlabel=xlabel, ylabel=ylabel, xlim=ends, ylim=ends, aspect="equal")
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
    for (name, values), style in zip(lines.items(), method_styles(lines), strict=True):
        ax.plot(x, values, label=name, markersize=5, **style)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if log:
        ax.set(xscale="log", yscale="log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter("{x:g}")
    ax.set_xticks(list(x), [f"{value:g}" for value in x])
    ax.minorticks_off()
    if legend:
        ax.legend()
    return ax


def certainty_curves(
    curves: Mapping[str, xr.Dataset], quantity: str, *, ax: Axes | None = None, title: str = ""
) -> Axes:
    """``accuracy`` or ``kept`` of :func:`bnnbook.metrics.accuracy_vs_certainty`, by method."""
    ax = ax or plt.gca()
    for (name, curve), style in zip(curves.items(), method_styles(curves), strict=True):
        ax.plot(curve["threshold"], curve[quantity], label=name, linewidth=1.8, **line_of(style))
    label = {"accuracy": "accuracy of the answers", "kept": "share answered"}[quantity]
    ax.set(xlabel="certainty threshold", ylabel=label, title=title, xlim=(0, 1))
    return ax


def risk_coverage(curves: Mapping[str, metrics.RiskCoverage], *, ax: Axes | None = None) -> Axes:
    """Error rate among the most certain share of the rows, by method."""
    ax = ax or plt.gca()
    for (name, curve), style in zip(curves.items(), method_styles(curves), strict=True):
        ax.plot(
            curve.coverage, 100 * curve.risk, label=f"{name} (area {100 * curve.aurc:.2f} %)",
            linewidth=1.5, **line_of(style),
        )  # fmt: skip
    ax.set(xlabel="share answered, most certain first", ylabel="error rate (%)", xlim=(0, 1))
    ax.legend()
    return ax


def densities(groups: Mapping[str, Any], label: str, *, ax: Axes | None = None) -> Axes:
    """Histograms of one quantity for several groups, on one set of bins, as outlines."""
    ax = ax or plt.gca()
    flat = {name: np.ravel(values) for name, values in groups.items()}
    bins = list(np.linspace(0, max(float(v.max()) for v in flat.values()), 41))
    for i, (name, v) in enumerate(flat.items()):
        ax.hist(
            v, bins=bins, weights=np.full(len(v), 1 / len(v)), histtype="stepfilled", alpha=0.5,
            facecolor=LINES[i % len(LINES)], edgecolor=LINES[i % len(LINES)],
            hatch=HATCHES[i % len(HATCHES)], label=name,
        )  # fmt: skip
    ax.set(xlabel=label, ylabel="share of inputs", yscale="log")
    ax.legend()
    return ax
