"""The approximations that are scored, with settings that are the same for every posterior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pymc as pm
import xarray as xr

from bnnbook import inference, predict

__all__ = ["METHODS", "Predicted"]

DRAWS = 1000


class Predicted(NamedTuple):
    """A fit and its outputs (chain, draw, ...) at the inputs."""

    fit: xr.DataTree
    functions: xr.Dataset


Method = Callable[..., Predicted]


def fitted(fit_method: Callable[..., xr.DataTree], **arguments: Any) -> Method:
    """A fit with the model's own predictor."""

    def method(model: pm.Model, outputs: list[str], X: Any, seed: int, **changes: Any) -> Predicted:
        fit = fit_method(model, seed=seed, progressbar=False, **arguments | changes)
        return Predicted(fit, predict.compile_predictor(model, outputs)(fit, X))

    return method


def linearised(model: pm.Model, outputs: list[str], X: Any, seed: int, **changes: Any) -> Predicted:
    """Laplace's draws in the network that is linear in its weights."""
    fit = inference.fit_laplace(model, draws=DRAWS, seed=seed, progressbar=False, **changes)
    predictor = predict.compile_predictor(model, outputs, linearised=fit)
    return Predicted(fit, predictor(fit, X))


def dropout(model: pm.Model, outputs: list[str], X: Any, seed: int, **changes: Any) -> Predicted:
    """A tenth of the units of every hidden layer dropped."""
    dims = [dim for dim in model.coords if dim.startswith("hidden_")]
    return fitted(inference.fit_dropout, dims=dims, rate=0.1, draws=DRAWS)(
        model, outputs, X, seed, **changes
    )


METHODS: dict[str, Method] = {
    "mode (MAP)": fitted(inference.fit_map, n_starts=5),
    "mean-field ADVI": fitted(inference.fit_advi, draws=DRAWS),
    "full-rank ADVI": fitted(inference.fit_advi, method="fullrank_advi", draws=DRAWS),
    "Laplace, sampled": fitted(inference.fit_laplace, draws=DRAWS),
    "Laplace, linearised": linearised,
    "SWAG": fitted(inference.fit_swag, learning_rate=0.01, draws=DRAWS),
    "MultiSWAG, 5 starts": fitted(
        inference.fit_swag, learning_rate=0.01, n_starts=5, draws=DRAWS // 5
    ),
    "dropout": dropout,
    "ensemble of 5": fitted(inference.fit_ensemble, n_members=5),
    "Pathfinder": fitted(inference.fit_pathfinder, draws=DRAWS),
    "SGLD": fitted(
        inference.sample_sgmcmc, kernel=inference.sgld(1e-4), draws=DRAWS // 4, tune=20_000,
        thin=100, chains=4,
    ),
}  # fmt: skip
"""Arguments that no posterior changes: nothing is tuned to the reference."""
