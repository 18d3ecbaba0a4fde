"""Normal regression with the weights of the mean head integrated out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.replace import graph_replace
from pytensor.tensor import TensorVariable

from bnnbook.models.heads import Scale, Units
from bnnbook.models.inputs import Data

__all__ = ["check_marginal", "marginal_head"]


def check_marginal(data: Data, likelihood: str) -> None:
    """Raise unless the mean head can be integrated out."""
    if data.minibatch:
        raise TypeError(
            "marginal_output needs arrays, since its likelihood is no sum over rows; got tensors"
        )
    if likelihood != "normal":
        raise ValueError(f"marginal_output needs likelihood='normal', got {likelihood!r}")
    if data.full_y.ndim > 1:
        raise ValueError(f"marginal_output needs y of shape (rows,), got {data.full_y.shape}")
    if data.categories:
        raise ValueError("marginal_output takes no category_dims: give indicator columns")


def marginal_head(
    X: TensorVariable, h: TensorVariable, outputs: Mapping[str, TensorVariable], data: Data,
    units: Units, scale: Scale, prior_sd: np.float64, bias: bool,
) -> None:  # fmt: skip
    """Add ``sigma``, the likelihood ``obs`` of the data, ``z_out`` and ``mu`` to the current model.

    ``h`` (units, rows) and ``outputs`` are the last layer at the inputs ``X``, which predictions
    replace; the likelihood has them at the data's own inputs, which a fit holds.
    """
    sigma = scale.of(outputs, units, X[:, 0])
    pm.Deterministic("sigma", sigma, dims="obs_id")
    rows, y = data.fitted_rows()
    features, sds = graph_replace([h, sigma], {X: rows}, strict=False)
    if bias:
        features = pt.concatenate([features, pt.ones_like(y)[None]])
    weights = _likelihood_and_weights(features, sds, y, prior_sd, units)
    value = weights[:-1] @ h + weights[-1] if bias else weights @ h
    pm.Deterministic("mu", units.centre + units.spread * value, dims="obs_id")


def _likelihood_and_weights(
    features: TensorVariable, sigma: TensorVariable, y: TensorVariable, sd: np.float64, units: Units
) -> TensorVariable:
    r"""Likelihood ``obs`` without the head's weights, and those weights.

    With features F (k, n), R = s sd F / sigma, r = (y - m) / sigma and the Cholesky factor L of
    I + R R^T, the weights are sd L^-T (L^-1 R r + z), z ~ N(0, I), given everything else, and
    (Rasmussen and Williams 2006, eqs. 2.8 and 2.30, by the matrix inversion and determinant lemmas)

    .. math:: -2 \log p(y) = r^T r - |L^{-1} R r|^2 + \log|2 \pi \Sigma| + 2 \log |L| .
    """

    def solve(
        features: TensorVariable, sigma: TensorVariable, value: Any, centre: Any, spread: Any
    ) -> tuple[TensorVariable, ...]:
        R, r = sd * features / (sigma / spread), (value - centre) / sigma
        L = pt.linalg.cholesky(pt.eye(features.shape[0]) + R @ R.T)
        return r, L, pt.linalg.solve_triangular(L, R @ r, lower=True)

    def logp(
        value: TensorVariable, features: TensorVariable, sigma: TensorVariable,
        centre: TensorVariable, spread: TensorVariable,
    ) -> Any:  # fmt: skip
        r, L, projected = solve(features, sigma, value, centre, spread)
        quadratic = r @ r - projected @ projected
        log_det = pt.log(sigma * np.sqrt(2 * np.pi)).sum() + pt.log(pt.diag(L)).sum()
        return -0.5 * quadratic - log_det

    pm.CustomDist(
        "obs", features, sigma, units.centre, units.spread,
        logp=logp, observed=y, signature="(k,n),(n),(),()->(n)",
    )  # fmt: skip
    _, L, projected = solve(features, sigma, y, units.centre, units.spread)
    z = pm.Normal("z_out", 0.0, np.float64(1.0), dims="head")
    return sd * pt.linalg.solve_triangular(L.T, projected + z, lower=False)
