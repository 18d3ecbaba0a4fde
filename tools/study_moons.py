"""Runs behind chapter 1 from many starts: ``python tools/study_moons.py``.

The study writes ``book/chapters/data/moons_starts.csv``: a table, under a comment that says how
long it took and with which versions. The chapter reads it; a test repeats a part.

starts
    One row for each run of ADVI on the chapter's data and network: the ELBO, averaged over blocks
    of 500 steps (columns "500", "1000", ...), and the test accuracy at the end.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from study_tables import run

from bnnbook import datasets, inference, metrics, models, predict

BLOCK = 500  # steps
STEPS = 30_000  # the source's


def windowed_adagrad(rate: float = 0.001, window: int = 10, epsilon: float = 0.1) -> Any:
    """PyMC's default optimiser (``pm.adagrad_window``), as an optax transformation."""

    def init(params: Any) -> Any:
        return jax.tree.map(lambda p: jnp.zeros((window, *p.shape)), params), 0

    def update(gradients: Any, state: Any, _params: Any = None) -> Any:
        squares, step = state
        squares = jax.tree.map(lambda s, g: s.at[step % window].set(g**2), squares, gradients)
        updates = jax.tree.map(
            lambda g, s: -rate * g / jnp.sqrt(s.sum(axis=0) + epsilon), gradients, squares
        )
        return updates, (squares, step + 1)

    return optax.GradientTransformation(init, update)


def falling(fraction: float) -> float:
    """The chapter's step size after this fraction of the run."""
    return 0.05 * (1 - fraction) ** 2 + 1e-4


HOW: Mapping[str, dict[str, Any]] = {
    "windowed Adagrad": {
        "optimizer": windowed_adagrad(),
        "initial_sd": float(np.log(2)),  # as pm.fit starts
    },
    "Adam, 0.01": {"learning_rate": 0.01},
    "Adam, falling": {"learning_rate": falling},
}
STARTS: Mapping[str, Sequence[int]] = {
    "windowed Adagrad": range(4), "Adam, 0.01": range(20), "Adam, falling": range(5),
}  # fmt: skip


def starts(
    *, which: Mapping[str, Sequence[int]] = STARTS, steps: int = STEPS
) -> Iterator[dict[str, Any]]:
    """One row for each run."""
    data = datasets.two_moons(n=1000, noise=0.2, test_size=0.5, seed=0)
    model = models.mlp_classifier(data.X_train, data.y_train, hidden=(5, 5))
    predictor = predict.compile_predictor(model, "p")
    for optimiser, seeds in which.items():
        for seed in seeds:
            given = {}
            if optimiser == "windowed Adagrad":  # means at standard normal draws, as the source
                rng, zero = np.random.default_rng(seed), model.initial_point()
                given["start"] = {name: rng.normal(size=v.shape) for name, v in zero.items()}
            fit = inference.fit_advi(
                model, steps, seed=seed, progressbar=False, **HOW[optimiser], **given
            )
            p = predictor(fit["posterior"], data.X_test)["p"]
            means = fit["history"]["elbo"].to_numpy().reshape(-1, BLOCK).mean(axis=1)
            blocks = {str(BLOCK * (i + 1)): mean for i, mean in enumerate(means)}
            accuracy = metrics.accuracy(data.y_test, p)
            yield {"optimiser": optimiser, "start": seed, "accuracy": accuracy} | blocks


STUDIES: Mapping[str, Callable[..., Iterator[dict]]] = {"starts": starts}


if __name__ == "__main__":
    warnings.simplefilter(
        "ignore", inference.ConvergenceWarning
    )  # what they would say is in the table
    run("moons", __doc__, STUDIES)
