"""Scores of predictive distributions.

Throughout, ``y`` holds integer labels (n,) and ``p`` is the probability of class 1, (n,), or of
each class, (n, K). A DataArray with dims (chain, draw, obs[, class]) is averaged over its draws
first: probabilities are averaged, not logits and not votes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score, roc_curve

__all__ = [
    "OODScores",
    "Reliability",
    "RiskCoverage",
    "accuracy",
    "accuracy_vs_certainty",
    "brier",
    "expected_calibration_error",
    "nll",
    "ood_scores",
    "reliability",
    "risk_coverage",
]


class Reliability(NamedTuple):
    """Per non-empty bin: mean ``confidence``, ``frequency`` of being right, ``rows``."""

    confidence: np.ndarray
    frequency: np.ndarray
    rows: np.ndarray


class RiskCoverage(NamedTuple):
    """Error rate (``risk``) among the most certain share (``coverage``), and the area below."""

    coverage: np.ndarray
    risk: np.ndarray
    aurc: float


class OODScores(NamedTuple):
    """Area under the ROC and precision-recall curves; false positives at 95 % true positives."""

    auroc: float
    aupr: float
    fpr95: float


def accuracy(y: Any, p: Any) -> float:
    """Share of rows whose most probable class is the label (ties go to the lower class)."""
    labels, probs = _check(y, p)
    return float((probs.argmax(axis=1) == labels).mean())


def nll(y: Any, p: Any) -> float:
    """Mean negative log likelihood, nats per row. Infinite if a label has probability 0."""
    labels, probs = _check(y, p)
    chosen = probs[np.arange(len(labels)), labels]
    if (chosen == 0).any():
        return float("inf")
    return float(log_loss(labels, probs, labels=np.arange(probs.shape[1])))


def brier(y: Any, p: Any) -> float:
    """Brier score (1950): mean squared distance to the one-hot label.

    For two classes, mean (p - y)^2 in [0, 1]; for K > 2 the sum over classes, in [0, 2].
    """
    labels, probs = _check(y, p)
    if probs.shape[1] == 2:
        return float(np.mean((probs[:, 1] - labels) ** 2))
    return float(np.mean(((probs - np.eye(probs.shape[1])[labels]) ** 2).sum(axis=1)))


def reliability(y: Any, p: Any, *, n_bins: int = 15) -> Reliability:
    """Confidence against frequency in equal-width bins (Guo et al. 2017, section 2).

    For two classes the p of class 1 is binned, over [0, 1]; for more, the top probability.
    """
    labels, probs = _check(y, p)
    if isinstance(n_bins, bool) or not isinstance(n_bins, int | np.integer) or n_bins < 1:
        raise ValueError(f"n_bins must be a positive integer, got {n_bins!r}")
    if probs.shape[1] == 2:
        confidence, right = probs[:, 1], labels == 1
    else:
        confidence, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    count = np.bincount(bins, minlength=n_bins)
    used = count > 0
    mean_confidence = np.bincount(bins, confidence, n_bins)[used] / count[used]
    frequency = np.bincount(bins, right, n_bins)[used] / count[used]
    return Reliability(mean_confidence, frequency, count[used])


def expected_calibration_error(y: Any, p: Any, *, n_bins: int = 15) -> float:
    """Mean absolute gap between confidence and frequency over bins (Guo et al. 2017, eq. 3)."""
    confidence, frequency, count = reliability(y, p, n_bins=n_bins)
    return float(np.sum(count * np.abs(confidence - frequency)) / count.sum())


def accuracy_vs_certainty(y: Any, p: Any, thresholds: Any) -> xr.Dataset:
    """Accuracy among, and share of, the rows whose top probability reaches each threshold.

    Returns a Dataset over ``threshold`` with ``accuracy`` (NaN where no row is left) and ``kept``.
    """
    labels, probs = _check(y, p)
    levels = np.asarray(thresholds, dtype=float)
    if levels.ndim != 1 or not ((levels >= 0) & (levels <= 1)).all():
        raise ValueError("thresholds must be a 1-D array of numbers in [0, 1]")
    top, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    keep = top[None, :] >= levels[:, None]
    count = keep.sum(axis=1)
    share = np.divide(
        (keep & right).sum(axis=1), count, out=np.full(len(levels), np.nan), where=count > 0
    )
    return xr.Dataset(
        {"accuracy": ("threshold", share), "kept": ("threshold", count / len(labels))},
        coords={"threshold": levels},
    )


def risk_coverage(y: Any, p: Any) -> RiskCoverage:
    """Error rate when only the most certain rows are answered (Geifman and El-Yaniv 2017)."""
    labels, probs = _check(y, p)
    order = np.argsort(-probs.max(axis=1), kind="stable")
    wrong = (probs.argmax(axis=1) != labels)[order]
    rank = np.arange(1, len(labels) + 1)
    risk = np.cumsum(wrong) / rank
    return RiskCoverage(rank / len(labels), risk, float(risk.mean()))


def ood_scores(inside: Any, outside: Any) -> OODScores:
    """How well an uncertainty score tells outside rows (higher) from inside rows (lower)."""
    low, high = np.ravel(np.asarray(inside, float)), np.ravel(np.asarray(outside, float))
    if not low.size or not high.size:
        raise ValueError("inside and outside must each have at least one score")
    score = np.concatenate([low, high])
    if not np.isfinite(score).all():
        raise ValueError("scores must be finite, got NaN or infinity")
    truth = np.repeat([0, 1], [low.size, high.size])
    false_positive, true_positive, _ = roc_curve(truth, score)
    fpr95 = false_positive[np.argmax(true_positive >= 0.95)]
    return OODScores(
        float(roc_auc_score(truth, score)),
        float(average_precision_score(truth, score)),
        float(fpr95),
    )


def _check(y: Any, p: Any) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) and class probabilities (n, K), or an error that names the argument."""
    if isinstance(p, xr.DataArray):
        p = p.mean([d for d in ("chain", "draw", "sample") if d in p.dims])
    labels, probs = np.asarray(y), np.asarray(p, dtype=float)
    if labels.ndim != 1 or labels.size == 0:
        raise ValueError(f"y must be a non-empty 1-D array, got shape {labels.shape}")
    if labels.dtype.kind not in "iub":
        raise TypeError(f"y must hold integer labels, got dtype {labels.dtype}")
    if probs.ndim not in (1, 2):
        raise ValueError(f"p must have shape (n,) or (n, K), got {probs.shape}")
    if len(probs) != len(labels):
        raise ValueError(f"y and p must have the same length, got {len(labels)} and {len(probs)}")
    if not ((probs >= 0) & (probs <= 1)).all():  # also catches NaN
        raise ValueError("p must lie in [0, 1], got a value outside or NaN")
    if probs.ndim == 1:
        probs = np.stack([1 - probs, probs], axis=1)
    elif not np.allclose(probs.sum(axis=1), 1.0, atol=1e-5):
        raise ValueError("p must sum to 1 over the classes in every row")
    if labels.min() < 0 or labels.max() >= probs.shape[1]:
        raise ValueError(
            f"y must hold labels 0..{probs.shape[1] - 1}, got {labels.min()}..{labels.max()}"
        )
    return labels, probs
