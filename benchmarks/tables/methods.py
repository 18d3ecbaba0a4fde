"""The methods of the tables: each with one setting for all tables and splits.

Settings were compared on rows held out of the *training* part of split 0
(``python -m benchmarks.tables.settings``, ``settings.csv``); test rows chose none.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import pymc as pm

from benchmarks.references.methods import Method, Predicted, dropout, fitted
from bnnbook import inference, predict
from bnnbook.datasets import Dataset
from bnnbook.models import mlp_regression

__all__ = ["METHODS", "Entry", "network"]

DRAWS = 500
HIDDEN = 50  # as in the published tables
DROPOUT_RATE = 0.005  # with the next, the best of settings.csv
SWAG_STEP = 1e-4
SGLD_STEP = 1e-5


class Entry(NamedTuple):
    """A method, how the model is written for it, and whether it samples by chains."""

    run: Method
    model: dict[str, Any] = {}  # noqa: RUF012
    chains: bool = False


def network(data: Dataset, **arguments: Any) -> pm.Model:
    """One hidden layer of 50 units on the training rows."""
    settings = {"hidden": (HIDDEN,), "heteroskedastic": False}
    return mlp_regression(data.X_train, data.y_train, **settings | arguments)


def laplace(last_layer: bool) -> Method:
    """The expansion of the network at its mode, in all weights or in the last layer's."""

    def method(model: pm.Model, outputs: list[str], X: Any, seed: int, **changes: Any) -> Predicted:
        names = ["w_out", "b_out", "noise"] if last_layer else None
        fit = inference.fit_laplace(
            model,
            last_layer=names,
            draws=DRAWS,
            max_steps=20_000,
            seed=seed,
            progressbar=False,
            **changes,
        )
        return Predicted(fit, predict.compile_predictor(model, outputs, linearised=fit)(fit, X))

    return method


def mile(model: pm.Model, outputs: list[str], X: Any, seed: int, **changes: Any) -> Predicted:
    """Microcanonical chains that start at the members of an ensemble (Sommer et al. 2025)."""
    start = inference.fit_ensemble(model, n_members=4, seed=seed, progressbar=False)
    sampler = fitted(inference.sample_mclmc, chains=4, draws=250, tune=2000, thin=20)
    return sampler(model, outputs, X, seed, start=start, **changes)


METHODS: dict[str, Entry] = {
    "one network (MAP)": Entry(fitted(inference.fit_map)),
    "ensemble of 5": Entry(fitted(inference.fit_ensemble, n_members=5)),
    "dropout": Entry(partial(dropout, rate=DROPOUT_RATE, steps=10_000)),
    "SWAG": Entry(fitted(inference.fit_swag, learning_rate=SWAG_STEP, draws=DRAWS)),
    "Laplace, last layer": Entry(laplace(last_layer=True)),
    "Laplace, linearised": Entry(laplace(last_layer=False)),
    "mean-field ADVI": Entry(fitted(inference.fit_advi, draws=DRAWS)),
    "full-rank ADVI": Entry(fitted(inference.fit_advi, method="fullrank_advi", draws=DRAWS)),
    "SGLD, preconditioned": Entry(
        fitted(
            inference.sample_sgmcmc, kernel=inference.sgld(SGLD_STEP, preconditioner="rms"),
            draws=DRAWS // 4, tune=10_000, thin=100, chains=4,
        ),
        chains=True,
    ),
    "MILE-like": Entry(mile, chains=True),
    "NUTS": Entry(
        fitted(inference.sample_nuts, draws=300, tune=300, chains=4, exchangeable=["hidden_1"]),
        {"marginal_output": True}, chains=True,
    ),
}  # fmt: skip
