"""Pictures, and what a network makes of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from bnnbook.plots.style import LINES, use_or_make

__all__ = ["class_bars", "images"]


def images(
    X: Any, *, axes: Sequence[Axes] | None = None, titles: Sequence[str] | None = None
) -> Sequence[Axes]:
    """Square grey images (n, edge * edge) in [0, 1], one per Axes, dark on light."""
    axes = use_or_make(axes, len(X), least=0.65, height=0.7 if titles is None else 0.95)
    for i, (ax, row) in enumerate(zip(axes, np.asarray(X), strict=True)):
        edge = int(np.sqrt(row.size))
        ax.imshow(row.reshape(edge, edge), cmap="Greys", vmin=0, vmax=1)
        ax.set_axis_off()
        if titles is not None:
            ax.set_title(titles[i], fontsize=9)
    return axes


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
