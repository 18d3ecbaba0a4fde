"""The methods that an estimator may be fitted by: functions of :mod:`bnnbook.inference`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from bnnbook import inference
from bnnbook.checks import seed_int

__all__ = ["FITS", "fit_by", "seed_of"]

GIVEN = {
    "seed": "it follows from random_state",
    "progressbar": "estimators show none",
    "model": "the estimator builds it",
}
STEP = 0.005  # of stochastic-gradient MCMC, over the number of rows


def _sgmcmc(model: pm.Model, n_rows: int, **options: Any) -> xr.DataTree:
    """A small step of SGHMC if no kernel is given; its draws are correlated, so they are thinned.

    The log density is a sum over rows, so a step that fits one number of rows fits another when
    divided by it.
    """
    if "kernel" not in options:
        kernel = inference.sghmc(STEP / n_rows, friction=0.1)
        options = {"kernel": kernel, "draws": 500, "tune": 5000, "thin": 10} | options
    return inference.sample_sgmcmc(model, **options)


Fit = Callable[..., xr.DataTree]


def _without_rows(fit: Fit) -> Fit:
    """A fit that needs not know the number of rows."""
    return lambda model, n_rows, **options: fit(model, **options)  # noqa: ARG005


FITS: dict[str, Fit] = {
    "advi": _without_rows(inference.fit_advi),
    "ensemble": _without_rows(inference.fit_ensemble),
    "laplace": _without_rows(inference.fit_laplace),
    "nuts": _without_rows(inference.sample_nuts),
    "sgmcmc": _sgmcmc,
}
"""Fits by the name of their method, as ``BNNRegressor(method=...)`` takes it."""


def fit_by(
    method: str, model: pm.Model, n_rows: int, options: Mapping[str, Any] | None, seed: int
) -> xr.DataTree:
    """Fit ``model``, of so many rows, with ``options`` for the function of :data:`FITS`.

    Raises
    ------
    ValueError, TypeError
        If the method is unknown, an option belongs to the estimator or is not the function's.
    """
    if method not in FITS:
        raise ValueError(f"method must be one of {sorted(FITS)}, got {method!r}")
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(f"options must be a dict of arguments, got {options!r}")
    for name, why in GIVEN.items():
        if name in (options or {}):
            raise ValueError(f"options must not have {name!r}: {why}")
    return FITS[method](model, n_rows, **(options or {}), seed=seed, progressbar=False)


def seed_of(random_state: Any) -> int:
    """The seed of a fit: ``random_state`` itself, a draw from it, or a new one for None.

    Raises
    ------
    TypeError
        If ``random_state`` is something else.
    """
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    if isinstance(random_state, bool) or not isinstance(random_state, int | np.integer):
        raise TypeError(
            "random_state must be an integer, a NumPy generator or None, "
            f"got {type(random_state).__name__}"
        )
    return seed_int(random_state)
