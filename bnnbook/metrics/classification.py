"""Scores of class probabilities: accuracy, log score, Brier score, calibration, ordered classes."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from bnnbook.metrics.inputs import (
    labels_and_classes,
    parameter_draws,
    positive_bins,
    real_targets,
)
from bnnbook.metrics.mixtures import log_score

__all__ = [
    "Kind",
    "Reliability",
    "accuracy",
    "brier",
    "expected_calibration_error",
    "nll",
    "nll_multilabel",
    "ranked_probability_score",
    "reliability",
]

Kind = Literal["class-1", "top-label"]
"""What a reliability diagram bins; see :func:`reliability`."""


class Reliability(NamedTuple):
    """Per non-empty bin: mean ``confidence``, ``frequency`` of being right, ``rows``."""

    confidence: np.ndarray
    frequency: np.ndarray
    rows: np.ndarray


def accuracy(y: Any, p: Any) -> float:
    """Share of rows whose most probable class is the label (ties go to the lower class).

    Examples
    --------
    >>> accuracy([0, 1, 1], [0.1, 0.8, 0.4])
    0.6666666666666666
    """
    labels, classes = labels_and_classes(y, p)
    return float((classes.probs.argmax(axis=1) == labels).mean())


def nll(y: Any, p: Any) -> float:
    """Mean negative log likelihood, nats per row: the log score (Gneiting and Raftery 2007).

    Nothing is clipped: a label of probability 1e-20 scores 46.05, and one of probability 0 makes
    the mean infinite.

    Examples
    --------
    >>> round(nll([1, 0], [1e-20, 0.5]), 3)
    23.372
    >>> nll([1], [0.0])
    inf
    """
    labels, classes = labels_and_classes(y, p)
    chosen = classes.probs[np.arange(len(labels)), labels]
    with np.errstate(divide="ignore"):  # log 0 = -inf is the answer
        return float(-np.log(chosen).mean()) + 0.0  # no -0


def nll_multilabel(y: Any, p: Any) -> float:
    """Mean negative log probability of all labels of a row together, nats per row.

    -log((1 / S) sum_s prod_l p_sl^y_l (1 - p_sl)^(1 - y_l)): given the weights labels are
    independent, and the draws make them depend on each other.

    Parameters
    ----------
    y : array (n, L)
        0 or 1 for each row and label.
    p : DataArray with dims (chain, draw, obs, label), or array (draws, n, L)
        Probability of each label in each draw, as of :func:`bnnbook.models.mlp_multilabel`.

    Examples
    --------
    >>> p = [[[1.0, 1.0]], [[0.0, 0.0]]]  # two draws: both labels, or none
    >>> round(nll_multilabel([[1, 1]], p), 3), nll_multilabel([[1, 0]], p)
    (0.693, inf)
    """
    probs = parameter_draws("p", p)
    if not ((probs >= 0) & (probs <= 1)).all():
        raise ValueError("p must lie in [0, 1], got a value outside")
    if probs.ndim != 3:
        raise ValueError(f"p must have shape (draws, n, labels), got {probs.shape}")
    labels = real_targets(y, probs, p)
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("y must hold 0 or 1, got another value")
    with np.errstate(divide="ignore"):  # log 0 = -inf is the answer
        return log_score(np.log(np.where(labels == 1, probs, 1 - probs)))


def brier(y: Any, p: Any) -> float:
    """Brier score (1950): mean squared distance to the one-hot label.

    For two classes, mean (p - y)^2 in [0, 1]; for K > 2 the sum over classes, in [0, 2].

    Examples
    --------
    >>> round(brier([0, 1], [0.1, 0.7]), 3)
    0.05
    """
    labels, (probs, _, _) = labels_and_classes(y, p)
    if probs.shape[1] == 2:
        return float(np.mean((probs[:, 1] - labels) ** 2))
    return float(np.mean(((probs - np.eye(probs.shape[1])[labels]) ** 2).sum(axis=1)))


def ranked_probability_score(y: Any, p: Any) -> float:
    """Mean ranked probability score of ordered classes (Epstein 1969; Murphy 1971).

    sum over k < K of (F_k - 1[y <= k])^2, with F_k the probability of class k or a lower one, in
    [0, K - 1]; for two classes the Brier score. A forecast two grades off is worse than one that
    is one off, unlike under :func:`nll` and :func:`brier`.

    Examples
    --------
    >>> ranked_probability_score([0], [[0.0, 1.0, 0.0]])
    1.0
    >>> ranked_probability_score([0], [[0.0, 0.0, 1.0]])
    2.0
    """
    labels, (probs, _, _) = labels_and_classes(y, p)
    below = np.cumsum(probs, axis=1)[:, :-1]
    reached = labels[:, None] <= np.arange(probs.shape[1] - 1)
    return float(np.mean(((below - reached) ** 2).sum(axis=1)))


def reliability(y: Any, p: Any, *, n_bins: int = 15, kind: Kind | None = None) -> Reliability:
    """Confidence against frequency in equal-width bins (Guo et al. 2017, section 2).

    Parameters
    ----------
    y : array (n,)
        Integer labels.
    p : array (n,) or (n, K), or DataArray with dims (chain, draw, obs[, class])
    n_bins : int
        Bins [k / n_bins, (k + 1) / n_bins), the last one closed. A probability within rounding of
        an edge belongs to the upper bin.
    kind : {"class-1", "top-label"}, optional
        What is binned. "class-1": the probability of class 1 of two, over [0, 1], against how often
        the label is 1; a forecast of .1 that comes true one time in ten is seen to be calibrated.
        "top-label": the top probability, over [1 / K, 1], against how often that class is the
        label: the form of Guo et al. By default "class-1" for two classes and "top-label" for more.

    Raises
    ------
    ValueError
        If ``kind`` is "class-1" and there are more than two classes, or is neither.

    Examples
    --------
    >>> found = reliability([0, 0, 1, 1], [0.1, 0.1, 0.7, 0.9], n_bins=2)
    >>> [values.round(2).tolist() for values in found]  # confidence, frequency, rows
    [[0.1, 0.8], [0.0, 1.0], [2, 2]]
    """
    labels, (probs, _, rounding) = labels_and_classes(y, p)
    n_bins, two = positive_bins(n_bins), probs.shape[1] == 2
    if kind not in (None, "class-1", "top-label"):
        raise ValueError(f'kind must be "class-1" or "top-label", got {kind!r}')
    if kind == "class-1" and not two:
        raise ValueError(f'kind "class-1" needs two classes, got {probs.shape[1]}')
    if two and kind != "top-label":
        confidence, right = probs[:, 1], labels == 1
    else:
        confidence, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    edges = np.arange(1, n_bins) / n_bins  # k / n rounded once: 29 / 100 is the 0.29 of the user
    bins = np.searchsorted(edges, confidence + rounding, side="right")
    count = np.bincount(bins, minlength=n_bins)
    used = count > 0
    mean_confidence = np.bincount(bins, confidence, n_bins)[used] / count[used]
    frequency = np.bincount(bins, right, n_bins)[used] / count[used]
    return Reliability(mean_confidence, frequency, count[used])


def expected_calibration_error(
    y: Any, p: Any, *, n_bins: int = 15, kind: Kind | None = None
) -> float:
    """Mean absolute gap between confidence and frequency over bins (Guo et al. 2017, eq. 3).

    ``kind`` says what is binned, as in :func:`reliability`: for two classes by default the
    probability of class 1, which is not Guo et al.'s form; that one is "top-label". The two differ.

    Examples
    --------
    >>> y, p = [0, 1, 1, 0], [0.1, 0.8, 0.4, 0.4]
    >>> round(expected_calibration_error(y, p, n_bins=2), 3)
    0.075
    >>> round(expected_calibration_error(y, p, n_bins=2, kind="top-label"), 3)
    0.025
    """
    confidence, frequency, count = reliability(y, p, n_bins=n_bins, kind=kind)
    return float(np.sum(count * np.abs(confidence - frequency)) / count.sum())
