"""The approximations that are scored, with settings that are the same for every posterior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pymc as pm
import xarray as xr

from bnnbook import inference, predict

__all__ = ["ABOUT", "METHODS", "Predicted"]

DRAWS = 1000
STEPS_TO_A_MODE = 50_000  # where two outputs share a network, 5,000 do not arrive
RATES = [0.01, 1e-3, 1e-4, 1e-5]


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
    settings = {"draws": DRAWS, "max_steps": STEPS_TO_A_MODE} | changes
    fit = inference.fit_laplace(model, seed=seed, progressbar=False, **settings)
    predictor = predict.compile_predictor(model, outputs, linearised=fit)
    return Predicted(fit, predictor(fit, X))


def dropout(model: pm.Model, outputs: list[str], X: Any, seed: int, **changes: Any) -> Predicted:
    """A tenth of the units of every hidden layer dropped."""
    dims = [dim for dim in model.coords if dim.startswith("hidden_")]
    return fitted(inference.fit_dropout, dims=dims, rate=0.1, draws=DRAWS)(
        model, outputs, X, seed, **changes
    )


def largest_stable(fit_method: Callable[..., xr.DataTree], name: str, ladder: list[Any]) -> Any:
    """The fit at the first of several step sizes, from large to small, that does not diverge."""

    def fit(model: pm.Model, **arguments: Any) -> xr.DataTree:
        own = arguments.pop(name, None)
        for value in ladder if own is None else [own]:
            try:
                return fit_method(model, **{name: value}, **arguments)
            except inference.DivergedError as error:
                diverged = error
        raise diverged

    return fit


def from_modes(model: pm.Model, **arguments: Any) -> xr.DataTree:
    """Chains that start at the members of an ensemble."""
    modes = inference.fit_ensemble(
        model, n_members=arguments["chains"], seed=arguments["seed"], progressbar=False
    )
    return inference.sample_sgmcmc(model, start=modes, **arguments)


METHODS: dict[str, Method] = {
    "mode (MAP)": fitted(inference.fit_map, n_starts=5),
    "mean-field ADVI": fitted(inference.fit_advi, draws=DRAWS),
    "full-rank ADVI": fitted(inference.fit_advi, method="fullrank_advi", draws=DRAWS),
    "Laplace, sampled": fitted(
        inference.fit_laplace, draws=DRAWS, max_steps=STEPS_TO_A_MODE
    ),
    "Laplace, linearised": linearised,
    "SWAG": fitted(largest_stable(inference.fit_swag, "learning_rate", RATES), draws=DRAWS),
    "MultiSWAG, 5 starts": fitted(
        largest_stable(inference.fit_swag, "learning_rate", RATES), n_starts=5, draws=DRAWS // 5
    ),
    "dropout": dropout,
    "ensemble of 5": fitted(inference.fit_ensemble, n_members=5),
    "Pathfinder": fitted(inference.fit_pathfinder, draws=DRAWS),
    "SGLD": fitted(
        largest_stable(from_modes, "kernel", [inference.sgld(rate / 100) for rate in RATES]),
        draws=DRAWS // 4, tune=20_000, thin=100, chains=4,
    ),
}  # fmt: skip
"""Arguments that no posterior changes, but for step sizes: of a ladder the largest that is stable.
Nothing is tuned to the reference."""

ABOUT: dict[str, tuple[str, str]] = {
    "mode (MAP)": ("one set of weights is enough", "no spread of functions"),
    "mean-field ADVI": ("independent weights", "a spread that ignores their correlations"),
    "full-rank ADVI": ("normal posterior", "one mode, with its ridges"),
    "Laplace, sampled": ("normal posterior, of a network that is nearly linear", "far too much"),
    "Laplace, linearised": (
        "normal posterior, network linear in its weights nearby", "a band, and the evidence"
    ),
    "SWAG": ("the path of gradient descent has the posterior's shape", "spread around one mode"),
    "MultiSWAG, 5 starts": ("the same, from several starts", "spread around several modes"),
    "dropout": (
        "the posterior is a product of on-off masks on units", "spread set by the dropout rate"
    ),
    "ensemble of 5": ("modes from several starts stand for all", "the spread of modes"),
    "Pathfinder": ("normals along the path to a mode, reweighted", "draws, and Pareto k"),
    "SGLD": ("small steps, long runs", "draws, biased by the step; scales to many rows"),
}  # fmt: skip
"""What each method assumes, and what it gives."""
