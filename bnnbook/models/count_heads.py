"""Likelihoods of counts: Poisson, negative binomial, and both with more zeros."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor import TensorVariable

from bnnbook.models.head import Head, Observed

__all__ = ["negative_binomial", "poisson"]


def poisson(log_rate: Any = 0.0, exposure: Any = None, *, zero_inflated: bool = False) -> Head:
    """Counts of mean ``mu``, the ``exposure`` times ``rate``, which is exp(``log_rate`` + output).

    With ``zero_inflated`` a second output is the logit of ``psi``: with probability 1 - psi a count
    is 0, else it is Poisson with mean ``mu`` (Lambert 1992, eq. 1).
    """

    def observe(outputs: Mapping[str, TensorVariable], observed: Observed) -> None:
        mu = _mean(outputs, observed, log_rate, exposure)
        if zero_inflated:
            psi = _inflation(outputs, observed)
            pm.ZeroInflatedPoisson("obs", psi=psi, mu=mu, **observed.likelihood())
        else:
            pm.Poisson("obs", mu=mu, **observed.likelihood())

    return Head(_parts(zero_inflated), observe)


def negative_binomial(
    log_rate: Any = 0.0, exposure: Any = None, *, zero_inflated: bool = False
) -> Head:
    """Counts of mean ``mu`` and variance mu + mu^2 / alpha (Hilbe 2011, ch. 8), as :func:`poisson`.

    1 / alpha is ``overdispersion``, with the prior HalfNormal(1); 0 would be Poisson's. ``alpha``
    is a deterministic with the rows of ``mu``.
    """

    def observe(outputs: Mapping[str, TensorVariable], observed: Observed) -> None:
        mu = _mean(outputs, observed, log_rate, exposure)
        alpha = 1.0 / pm.HalfNormal("overdispersion", np.float64(1.0))
        pm.Deterministic("alpha", alpha + pt.zeros_like(mu), dims=observed.dims())
        given = {"mu": mu, "alpha": alpha, **observed.likelihood()}
        if zero_inflated:
            psi = _inflation(outputs, observed)
            pm.ZeroInflatedNegativeBinomial("obs", psi=psi, **given)
        else:
            pm.NegativeBinomial("obs", **given)

    return Head(_parts(zero_inflated), observe)


def _parts(zero_inflated: bool) -> dict[str, tuple[str, ...]]:
    suffixes = ("_out", "_psi") if zero_inflated else ("_out",)
    return dict.fromkeys(suffixes, ())


def _mean(
    outputs: Mapping[str, TensorVariable], observed: Observed, log_rate: Any, exposure: Any
) -> TensorVariable:
    rate = pt.exp(log_rate + outputs["_out"])
    rate = pm.Deterministic("rate", rate, dims=observed.dims())
    mu = rate if exposure is None else exposure * rate
    return pm.Deterministic("mu", mu, dims=observed.dims())


def _inflation(outputs: Mapping[str, TensorVariable], observed: Observed) -> TensorVariable:
    return pm.Deterministic("psi", pm.math.sigmoid(outputs["_psi"]), dims=observed.dims())
