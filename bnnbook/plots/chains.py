"""Figures of runs: objectives, variational parameters, chains, the ladder of tempering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from bnnbook.plots.style import (
    LINES,
    line_of,
    method_styles,
    numbered_style,
    points_of,
    use_or_make,
)

__all__ = [
    "chain_traces",
    "elbo_trace",
    "running_means",
    "scale_posteriors",
    "symmetry",
    "tempering_ladder",
    "variational_traces",
]


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
    for (label, elbo), style in zip(runs.items(), method_styles(runs), strict=True):
        values = np.asarray(elbo)
        x = np.asarray(against[label]) if against else np.arange(1, len(values) + 1)
        width = max(min(smooth, len(values) // 10), 1)
        blocks = len(values) // width
        cut = blocks * width
        mean = values[:cut].reshape(blocks, width).mean(axis=1)
        ax.plot(x[:cut].reshape(blocks, width)[:, -1], mean, label=label, **line_of(style))
    ax.set(xlabel=xlabel, ylabel="ELBO (nats per full data set)")
    ax.legend(loc="lower right")
    return ax


def variational_traces(
    steps: Sequence[int],
    means: np.ndarray,
    sds: np.ndarray,
    *,
    axes: Sequence[Axes] | None = None,
) -> Sequence[Axes]:
    """Variational means and standard deviations (calls, parameters) against the step."""
    axes = use_or_make(axes, 2)
    for ax, values, label in zip(axes, (means, sds), ("mean", "sd"), strict=True):
        ax.plot(steps, values.reshape(len(steps), -1), linestyle="-", linewidth=1)
        ax.set(xlabel="iteration", ylabel=f"variational {label}")
    axes[1].set_yscale("log")
    return axes


def symmetry(
    first: xr.DataArray, second: xr.DataArray, *, ax: Axes | None = None, legend: bool = True
) -> Axes:
    """Two weights against each other, one colour and marker per chain."""
    ax = ax or plt.gca()
    for i, chain in enumerate(first["chain"].to_numpy()):
        ax.plot(
            first.sel(chain=chain), second.sel(chain=chain), markersize=2, alpha=0.4,
            label=f"chain {chain + 1}", **points_of(numbered_style(i)),
        )  # fmt: skip
    ax.axhline(0, color="grey", linewidth=0.5, linestyle="-")
    ax.axvline(0, color="grey", linewidth=0.5, linestyle="-")
    ax.set(xlabel=str(first.name), ylabel=str(second.name))
    if legend:
        ax.legend(markerscale=3)
    return ax


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
            draws, values.sel(chain=chain)[::every], markersize=1.5, alpha=0.7,
            label=f"chain {chain + 1}", **points_of(numbered_style(i)),
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
        ax.plot(draws, mean, label=f"chain {chain + 1}", **line_of(numbered_style(i)))
    ax.set(xlabel="draw", ylabel=label)
    if legend:
        ax.legend(ncols=2)
    return ax


def tempering_ladder(
    tempering: xr.Dataset, *, axes: Sequence[Axes] | None = None
) -> Sequence[Axes]:
    """Inverse temperatures by level on ``axes[0]``, swap rates between levels on ``axes[1]``."""
    axes = use_or_make(axes, 2)
    for i, chain in enumerate(tempering["chain"].to_numpy()):
        levels = tempering.sel(chain=chain)
        style = {**numbered_style(i), "markersize": 4}
        axes[0].plot(levels["level"], levels["beta"], label=f"chain {chain + 1}", **style)
        axes[1].plot(levels["level"][:-1] + 0.5, levels["swap_rate"][:-1], **style)
    axes[0].set(xlabel="level", ylabel=r"inverse temperature $\beta$")
    axes[1].set(xlabel="between levels", ylabel="swap rate", ylim=(0, 1))
    axes[0].legend()
    return axes


def scale_posteriors(
    scales: Mapping[str, Any], prior_sd: float, *, axes: Sequence[Axes] | None = None
) -> Sequence[Axes]:
    """Histograms of posterior draws of scales, with the half-normal prior's density."""
    axes = use_or_make(axes, len(scales))
    for i, (ax, (label, draws)) in enumerate(zip(axes, scales.items(), strict=True)):
        values = np.asarray(draws).ravel()
        ax.hist(
            values, bins=40, density=True, color=LINES[i % len(LINES)], alpha=0.6, label="posterior"
        )
        x = np.linspace(0, ax.get_xlim()[1], 200)
        density = np.sqrt(2 / np.pi) / prior_sd * np.exp(-0.5 * (x / prior_sd) ** 2)
        ax.plot(x, density, color="black", linestyle="--", label="prior")
        ax.set(xlabel=label, ylabel="density" if i == 0 else "", xlim=(0, x[-1]))
    axes[0].legend(loc="upper right")
    return axes
