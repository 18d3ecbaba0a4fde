"""Scores of mixtures of Student-t likelihoods over posterior draws.

A normal of the same standard deviation has other tails and another peak, so its scores are not
these. The spread is given as ``scale``, PyMC's ``sigma`` of a ``pm.StudentT``, or as ``sd``, its
standard deviation scale * sqrt(nu / (nu - 2)), which is what
:func:`bnnbook.models.mlp_regression` calls "sigma".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import CubicHermiteSpline
from scipy.special import expit, gammaln, stdtr, stdtrit

from bnnbook.metrics.inputs import by_draw, parameter_draws, real_targets, same_labels
from bnnbook.metrics.mixtures import log_score

__all__ = ["crps_student_t", "nll_student_t"]

PANELS = 96  # of the integral between the outermost quantiles of the draws
GROWTH = 2.5 ** np.arange(1, 17)  # of the panels in the tails
NODES, WEIGHTS = np.polynomial.legendre.leggauss(4)
BLOCK = 2_000_000  # nodes times rows at once


class _Draws(NamedTuple):
    """Targets (m,), and by draw (S, m) location and scale; degrees of freedom (S,)."""

    y: np.ndarray
    mu: np.ndarray
    scale: np.ndarray
    nu: np.ndarray


def nll_student_t(y: Any, mu: Any, *, nu: Any, scale: Any = None, sd: Any = None) -> float:
    """Mean negative log predictive density, nats per row, in the units of ``y``.

    The log score of the equal mixture over draws; with several outputs a row's density is their
    joint one.

    Parameters
    ----------
    y : array (n,) or (n, D)
    mu : DataArray with dims (chain, draw, obs[, output]), or array (draws, n[, D])
    nu : float or one a draw
        Degrees of freedom, positive.
    scale, sd : as ``mu``
        One of the two; ``sd`` needs nu > 2.

    Raises
    ------
    TypeError
        If both or neither of ``scale`` and ``sd`` are given.
    ValueError
        If a shape or a value is out of range; the message names the argument.

    Examples
    --------
    >>> round(nll_student_t([0.0], [[0.0]], nu=4.0, scale=[[1.0]]), 4)
    0.9808
    """
    target, mean, spread, dof = _check(y, mu, nu, scale, sd)
    dof = dof.reshape(-1, *(1,) * (mean.ndim - 1))
    z = (target - mean) / spread
    log_density = (
        gammaln((dof + 1) / 2) - gammaln(dof / 2) - 0.5 * np.log(dof * np.pi) - np.log(spread)
        - (dof + 1) / 2 * np.log1p(z**2 / dof)
    )  # fmt: skip
    return log_score(log_density)


def crps_student_t(y: Any, mu: Any, *, nu: Any, scale: Any = None, sd: Any = None) -> float:
    """Mean continuous ranked probability score of the mixture over draws, in the units of ``y``.

    E|Y - y| - E|Y - Y'| / 2 (Gneiting and Raftery 2007, eq. 21). The first term is exact; the
    second, the integral of F (1 - F), is taken with Gauss's rule between quantiles of the draws
    and exactly beyond them: to about 1e-5 of the score, and 1e-4 where nu is below 1.1 or hundreds
    of draws lie apart by many times their scale. The cost grows with rows times draws.

    Parameters
    ----------
    y, mu, nu, scale, sd
        As for :func:`nll_student_t`.

    Raises
    ------
    TypeError, ValueError
        As :func:`nll_student_t`, and if some nu <= 1, for which no mean and so no score exists.

    Examples
    --------
    >>> round(crps_student_t([0.0], [[0.0]], nu=4.0, scale=[[1.0]]), 3)
    0.264
    """
    target, mean, spread, dof = _check(y, mu, nu, scale, sd)
    if (dof <= 1).any():
        raise ValueError(f"nu must be above 1 for a finite CRPS, got {dof.min()}")
    mean, spread = mean.reshape(len(mean), -1), spread.reshape(len(spread), -1)
    flat = _Draws(target.ravel(), mean, spread, dof)
    rows = max(1, BLOCK // ((PANELS + 2 * len(GROWTH)) * len(NODES)))
    scores = []
    for first in range(0, len(flat.y), rows):
        part = slice(first, first + rows)
        draws = _Draws(flat.y[part], flat.mu[:, part], flat.scale[:, part], dof)
        scores.append(_distance_to_target(draws) - _half_distance_between(draws))
    return float(np.concatenate(scores).mean())


def _distance_to_target(draws: _Draws) -> np.ndarray:
    """E|Y - y| by row: two excesses for each draw."""
    z = (draws.y - draws.mu) / draws.scale
    return (draws.scale * (_excess(z, draws.nu) + _excess(-z, draws.nu))).mean(axis=0)


def _half_distance_between(draws: _Draws) -> np.ndarray:
    """E|Y - Y'| / 2 = integral of F (1 - F) by row."""
    points = _breakpoints(draws)  # (panel ends, m)
    half = 0.5 * np.diff(points, axis=0)
    t = (points[:-1] + half)[:, None] + half[:, None] * NODES[:, None]
    F = _distribution(t.reshape(-1, t.shape[-1]), draws).reshape(t.shape)
    inner = (half[:, None] * WEIGHTS[:, None] * F * (1 - F)).sum(axis=(0, 1))
    # far out F (1 - F) is 1 - F, or F, whose integrals are known
    upper = _excess((points[-1] - draws.mu) / draws.scale, draws.nu)
    lower = _excess(-(points[0] - draws.mu) / draws.scale, draws.nu)
    return inner + (draws.scale * (upper + lower)).mean(axis=0)


def _breakpoints(draws: _Draws) -> np.ndarray:
    """Ends of the panels: pooled quantiles of the draws, then steps that grow into the tails."""
    each = max(7, PANELS // len(draws.nu))
    z = stdtrit(draws.nu[:, None], expit(np.linspace(-7, 7, each)))  # (S, levels)
    pooled = (draws.mu[:, None] + draws.scale[:, None] * z[:, :, None]).reshape(
        -1, draws.mu.shape[1]
    )
    n = min(len(pooled), PANELS + 1)
    inner = np.quantile(pooled, np.linspace(0, 1, n), axis=0)
    reach = inner[-1] - inner[0]
    steps = reach * (GROWTH[:, None] - 1) / 3
    return np.concatenate([(inner[0] - steps)[::-1], inner, inner[-1] + steps])


def _distribution(t: np.ndarray, draws: _Draws) -> np.ndarray:
    """F of the mixture at t (k, m), from a table for each number of degrees of freedom."""
    tables: dict[float, CubicHermiteSpline] = {}
    total = np.zeros_like(t)
    for nu, mu, scale in zip(draws.nu, draws.mu, draws.scale, strict=True):
        if nu not in tables:
            tables = {nu: _table(float(nu))}  # equal ones come in a row or not at all
        total += tables[nu](np.arcsinh((t - mu) / scale))
    return total / len(draws.nu)


def _table(nu: float) -> CubicHermiteSpline:
    """Standard distribution function against asinh(z), to about 1e-9."""
    u = np.linspace(-40, 40, 4001)
    z = np.sinh(u)
    return CubicHermiteSpline(u, stdtr(nu, z), _density(z, nu) * np.cosh(u))


def _excess(z: np.ndarray, nu: np.ndarray) -> np.ndarray:
    """E (T - z)+ of standard t draws: (S, m) from z (S, m) and nu (S,)."""
    nu = np.reshape(nu, (-1, 1))
    return _density(z, nu) * (nu + z**2) / (nu - 1) - z * stdtr(nu, -z)


def _density(z: np.ndarray, nu: Any) -> np.ndarray:
    log_scale = gammaln((nu + 1) / 2) - gammaln(nu / 2) - 0.5 * np.log(nu * np.pi)
    return np.exp(log_scale - (nu + 1) / 2 * np.log1p(z**2 / nu))


def _check(
    y: Any, mu: Any, nu: Any, scale: Any, sd: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Targets, means and scales as (draws, n[, D]), degrees of freedom (draws,)."""
    if (scale is None) == (sd is None):
        raise TypeError("give the spread as scale= or as sd=, one of the two")
    name, value = ("scale", scale) if sd is None else ("sd", sd)
    same_labels(mu, value, f"mu and {name}")
    mean = parameter_draws("mu", mu)
    spread = parameter_draws(name, value, positive=True)
    if mean.shape != spread.shape:
        raise ValueError(
            f"mu and {name} must have the same shape, got {mean.shape}, {spread.shape}"
        )
    dof = by_draw("nu", nu, mean.shape[:1])
    dof = np.broadcast_to(dof, (len(mean),))
    least = 0.0 if sd is None else 2.0
    if not (dof > least).all():
        why = "must be positive" if sd is None else "must be above 2 for an sd to exist"
        raise ValueError(f"nu {why}, got {dof.min()}")
    if sd is not None:
        spread = spread * np.sqrt((dof - 2) / dof).reshape(-1, *(1,) * (mean.ndim - 1))
    return real_targets(y, mean, mu), mean, spread, dof
