"""Draw the book's own pictures: python tools/pictures.py (a minute).

The landing page's figure, the picture of a link to the book and the icon of its pages all show one
posterior: a small network on two half moons, sampled by NUTS, drawn by ``bnnbook.plots``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bnnbook import datasets, inference, models, plots, predict, uncertainty

STATIC = Path(__file__).resolve().parent.parent / "book" / "_static"
TITLE = "Bayesian neural networks in Python"
SEED = 0


def surfaces(data: datasets.Dataset, where: plots.Grid) -> tuple[np.ndarray, np.ndarray]:
    """Probability of class 1 and mutual information at the points of a grid."""
    model = models.mlp_classifier(data.X_train, data.y_train, hidden=(5, 5))
    fit = inference.sample_nuts(
        model, draws=500, tune=500, target_accept=0.95, seed=SEED, progressbar=False
    )
    p = predict.compile_predictor(model, ["p"])(fit, where.points)["p"]
    parts = uncertainty.entropy_decomposition(p)
    return p.mean(["chain", "draw"]).to_numpy(), np.asarray(parts.epistemic)


def hero(data: datasets.Dataset, where: plots.Grid, p: np.ndarray, unknown: np.ndarray) -> None:
    """Two maps side by side, at twice the page's dots."""
    fig, axes = plt.subplots(1, 2, figsize=(plots.PAGE_WIDTH, 2.7), layout="constrained")
    plots.probability_surface(where, p, ax=axes[0])
    plots.uncertainty_surface(where, unknown, "mutual information (nats)", ax=axes[1])
    for ax, title in zip(axes, ("what it predicts", "what it does not know"), strict=True):
        points = {"size": 9, "legend": False, "outlined": True}
        plots.classification_data(data.X_train, data.y_train, ax=ax, **points)
        ax.set(title=title, xlabel="", ylabel="", xticks=[], yticks=[], aspect="equal")
    fig.savefig(STATIC / "hero.png", dpi=200)
    plt.close(fig)


def preview(data: datasets.Dataset, where: plots.Grid, unknown: np.ndarray) -> None:
    """What other sites show with a link: 1200 x 630 dots."""
    fig = plt.figure(figsize=(12, 6.3), layout="none")
    ax = fig.add_axes((0, 0, 1, 1))
    ax.contourf(where.x, where.y, where.reshape(unknown), levels=24, cmap="viridis")
    plots.classification_data(
        data.X_train, data.y_train, ax=ax, size=40, legend=False, outlined=True
    )
    ax.set_axis_off()
    ax.set(xlim=(-3, 3), ylim=(-2.6, 2.6))
    box = {"facecolor": "white", "edgecolor": "none", "pad": 18}
    ax.text(0.5, 0.08, TITLE, transform=ax.transAxes, ha="center", fontsize=34, bbox=box)
    fig.savefig(STATIC / "preview.png", dpi=100)
    plt.close(fig)


def icon(where: plots.Grid, p: np.ndarray) -> None:
    """The same predictions on 64 x 64 dots: two colours and the boundary between them."""
    fig = plt.figure(figsize=(0.64, 0.64), layout="none")
    ax = fig.add_axes((0, 0, 1, 1))
    image = where.reshape(p)
    ax.contourf(where.x, where.y, image, levels=np.linspace(0, 1, 6), cmap=plots.PROBABILITY)
    ax.contour(where.x, where.y, image, levels=[0.5], colors="black", linewidths=2)
    ax.set_axis_off()
    ax.set(xlim=(-2, 2), ylim=(-2, 2))
    fig.savefig(STATIC / "favicon.png", dpi=100)
    plt.close(fig)


def main() -> None:
    """Write the three pictures."""
    plots.use_style()
    data = datasets.two_moons(n=600, noise=0.2, seed=SEED)
    where = plots.grid(n=120)
    p, unknown = surfaces(data, where)
    hero(data, where, p, unknown)
    preview(data, where, unknown)
    icon(where, p)


if __name__ == "__main__":
    main()
