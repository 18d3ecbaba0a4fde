"""Scores of counts: mixtures of Poisson or negative binomial likelihoods over posterior draws.

All take the targets ``y`` (n,), whole numbers from 0, and for each draw the mean ``mu`` (draws, n),
or a DataArray with dims (chain, draw, obs). ``alpha`` makes the likelihood negative binomial with
variance mu + mu^2 / alpha; ``psi`` inflates zeros: with probability 1 - psi the count is 0, else it
comes from the likelihood, whose mean is then ``mu``. Both are as in PyMC: one number, one a draw,
or of the shape of ``mu``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from scipy.special import betainc, pdtrc

from bnnbook.checks import seed_int
from bnnbook.metrics.inputs import by_draw, parameter_draws, real_targets, same_labels
from bnnbook.metrics.mixtures import log_score

__all__ = ["crps_counts", "nll_counts", "pit_counts"]


_PARTS = 200  # of an sd: what is left out is some 1e-6 of the score


class _Counts(NamedTuple):
    """Checked targets (n,) and parameters, each of the shape of ``mu`` (draws, n)."""

    y: np.ndarray
    mu: np.ndarray
    alpha: np.ndarray | None
    psi: np.ndarray

    def log_probability(self) -> np.ndarray:
        """Of the targets under each draw, (draws, n)."""
        if self.alpha is None:
            log_pmf = stats.poisson.logpmf(self.y, self.mu)
        else:
            log_pmf = stats.nbinom.logpmf(self.y, self.alpha, self.alpha / (self.alpha + self.mu))
        with np.errstate(divide="ignore"):  # log 0 = -inf
            log_pmf = log_pmf + np.log(self.psi)
            return np.where(self.y == 0, np.logaddexp(log_pmf, np.log1p(-self.psi)), log_pmf)

    def distribution(self, k: Any, rows: Any = slice(None)) -> np.ndarray:
        """P(Y <= k) of the mixture over draws at some rows; 0 below 0."""
        mu, psi, at = self.mu[:, rows], self.psi[:, rows], np.maximum(k, 0)
        if self.alpha is None:
            above = pdtrc(at, mu)
        else:
            alpha = self.alpha[:, rows]
            above = betainc(at + 1, alpha, mu / (alpha + mu))
        return np.where(np.less(k, 0), 0.0, 1 - (psi * above).mean(axis=0))


def nll_counts(y: Any, mu: Any, alpha: Any = None, psi: Any = None) -> float:
    """Mean negative log predictive probability, nats per row; see the module for the arguments.

    Examples
    --------
    >>> round(nll_counts([2], [[1.0], [3.0]]), 4)  # -log of the mean of two Poisson probabilities
    1.5897
    """
    return log_score(_check(y, mu, alpha, psi).log_probability())


def pit_counts(y: Any, mu: Any, alpha: Any = None, psi: Any = None, *, seed: int) -> np.ndarray:
    """Randomised probability integral transform (n,), uniform if calibrated.

    F(y - 1) + v (F(y) - F(y - 1)) with v uniform (Smith 1985; Czado, Gneiting and Held 2009,
    eq. 1): a count's own distribution function is not uniform, however good the forecast.

    ``seed`` is that of v; the other arguments are described in the module.

    Examples
    --------
    >>> pit_counts([0, 3, 9], [[2.0, 2.0, 2.0]], seed=0).round(2).tolist()
    [0.09, 0.73, 1.0]
    """
    counts = _check(y, mu, alpha, psi)
    below, at = counts.distribution(counts.y - 1), counts.distribution(counts.y)
    v = np.random.default_rng(seed_int(seed)).random(len(counts.y))
    return below + v * (at - below)


def crps_counts(y: Any, mu: Any, alpha: Any = None, psi: Any = None) -> float:
    """Mean ranked probability score, sum over k of (F(k) - 1[y <= k])^2, in counts.

    The continuous ranked probability score of a count (Czado, Gneiting and Held 2009, eq. 6), of
    the mixture over draws. The sum runs until less than 1e-8 of the mixture lies above; where its
    sd is over 400, blocks of counts up to a 200th of it wide have the F of their middle.

    Examples
    --------
    >>> round(crps_counts([2], [[2.0]]), 4), round(crps_counts([6], [[2.0]]), 4)
    (0.3112, 3.2403)
    """
    counts = _check(y, mu, alpha, psi)
    variance = counts.mu if counts.alpha is None else counts.mu + counts.mu**2 / counts.alpha
    sd = np.sqrt(variance.mean(axis=0) + counts.mu.var(axis=0))
    # left tails of both likelihoods are lighter than a normal's: 3e-12 below eight sds
    least = (counts.mu - 8 * np.sqrt(variance)).min(axis=0)
    first, step = np.floor(np.maximum(least, 0)), 2 * np.floor(sd / (2 * _PARTS)) + 1
    total = float(_squares(counts.distribution(0), counts.y, 0 * first, first).sum())
    rows = np.arange(len(counts.y))
    while rows.size:
        start, width, target = first[rows], step[rows], counts.y[rows]
        at = counts.distribution(start + (width - 1) / 2, rows)
        total += float(_squares(at, target, start, width).sum())
        first[rows] += width
        rows = rows[(target >= first[rows]) | (at < 1 - 1e-8)]
    return total / len(counts.y)


def _squares(at: np.ndarray, y: np.ndarray, start: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Sum of (F(k) - 1[y <= k])^2 over ``width`` counts from ``start``, with one F for them all."""
    below = np.clip(y - start, 0, width)
    return below * at**2 + (width - below) * (at - 1) ** 2


def _check(y: Any, mu: Any, alpha: Any, psi: Any) -> _Counts:
    mean = parameter_draws("mu", mu, positive=True)
    if mean.ndim != 2:
        raise ValueError(f"mu must have shape (draws, n), got {mean.shape}")
    target = real_targets(y, mean, mu)
    wrong = (target < 0) | (target != np.floor(target))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"y must hold whole numbers from 0, got {target[row]:g} in row {row}")
    for name, value in (("psi", psi), ("alpha", alpha)):
        same_labels(mu, value, f"mu and {name}")
    inflation = by_draw("psi", 1.0 if psi is None else psi, mean.shape)
    if not ((inflation >= 0) & (inflation <= 1)).all():
        raise ValueError("psi must lie in [0, 1], got a value outside")
    shape = None if alpha is None else by_draw("alpha", alpha, mean.shape)
    if shape is not None and not (shape > 0).all():
        raise ValueError(f"alpha must be positive, got {shape.min()}")
    return _Counts(
        target, mean, None if shape is None else np.broadcast_to(shape, mean.shape),
        np.broadcast_to(inflation, mean.shape),
    )  # fmt: skip
