"""What a model should answer: accuracy against certainty, and telling outside from inside."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from bnnbook.metrics.inputs import labels_and_classes, real_numbers

__all__ = ["OODScores", "RiskCoverage", "accuracy_vs_certainty", "ood_scores", "risk_coverage"]


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


def accuracy_vs_certainty(y: Any, p: Any, thresholds: Any) -> xr.Dataset:
    """Accuracy among, and share of, the rows whose top probability reaches each threshold.

    A probability within rounding of a threshold reaches it, so that .9 in single precision is kept
    at .9. Returns a Dataset over ``threshold`` with ``accuracy`` (NaN where no row is left) and
    ``kept``.

    Examples
    --------
    >>> found = accuracy_vs_certainty([0, 1, 1], [0.1, 0.9, 0.4], [0.5, 0.9])
    >>> found["accuracy"].values.round(2).tolist(), found["kept"].values.round(2).tolist()
    ([0.67, 1.0], [1.0, 0.67])
    """
    labels, classes = labels_and_classes(y, p)
    levels = np.asarray(thresholds, dtype=float)
    if levels.ndim != 1 or not ((levels >= 0) & (levels <= 1)).all():
        raise ValueError("thresholds must be a 1-D array of numbers in [0, 1]")
    right = classes.probs.argmax(axis=1) == labels
    keep = classes.certainty[None, :].astype(float) >= levels[:, None] - classes.rounding
    count = keep.sum(axis=1)
    share = np.divide(
        (keep & right).sum(axis=1), count, out=np.full(len(levels), np.nan), where=count > 0
    )
    return xr.Dataset(
        {"accuracy": ("threshold", share), "kept": ("threshold", count / len(labels))},
        coords={"threshold": levels},
    )


def risk_coverage(y: Any, p: Any) -> RiskCoverage:
    """Error rate when only the most certain rows are answered (Geifman and El-Yaniv 2017).

    Rows of equal certainty come in no order: among the first k of them as many errors are counted
    as a random order would give on average. So the curve and its area (the mean risk over the n
    coverages 1 / n, ..., 1) do not depend on the order of the rows.

    Examples
    --------
    >>> y, p = [1] * 9 + [0], [0.9] * 10
    >>> round(risk_coverage(y, p).aurc, 12) == round(risk_coverage(y[::-1], p).aurc, 12) == 0.1
    True
    """
    labels, classes = labels_and_classes(y, p)
    wrong = classes.probs.argmax(axis=1) != labels
    _, block, size = np.unique(-classes.certainty, return_inverse=True, return_counts=True)
    errors = np.bincount(block, wrong)
    rank = np.arange(1, len(labels) + 1)
    ends = np.cumsum(size)  # the errors grow evenly from the end of one block to that of the next
    risk = np.interp(rank, np.append(0, ends), np.append(0, np.cumsum(errors))) / rank
    return RiskCoverage(rank / len(labels), risk, float(risk.mean()))


def ood_scores(
    inside: Any, outside: Any, *, positive: Literal["outside", "inside"] = "outside"
) -> OODScores:
    """How well an uncertainty score tells outside rows (higher) from inside rows (lower).

    Parameters
    ----------
    inside, outside : array
        Uncertainty of each row, such as the entropy; higher means more like outside. Any order.
    positive : {"outside", "inside"}
        The class that is to be found. "outside" (the default): ``fpr95`` is the share of inside
        rows refused at the threshold that refuses at least 95 % of the outside rows, and ``aupr``
        the average precision for outside rows. "inside", as in ODIN (Liang et al. 2018): the share
        of outside rows accepted at the threshold that accepts at least 95 % of the inside rows.
        ``auroc`` is the same for both.

    Notes
    -----
    Rows of equal score are on the same side of every threshold. ``fpr95`` is the smallest rate of
    false positives among the thresholds that reach 95 %, without interpolation; ``auroc`` is
    P(outside > inside) + P(equal) / 2.

    Raises
    ------
    ValueError
        If either is empty, a score is not finite, or ``positive`` is neither.

    Examples
    --------
    >>> ood_scores(inside=[0.1, 0.2, 0.3], outside=[0.2, 0.8, 0.9]).fpr95  # 2 of 3 are refused
    0.6666666666666666
    """
    if positive not in ("outside", "inside"):
        raise ValueError(f'positive must be "outside" or "inside", got {positive!r}')
    low, high = (
        np.ravel(real_numbers(n, v)) for n, v in (("inside", inside), ("outside", outside))
    )
    if not low.size or not high.size:
        raise ValueError("inside and outside must each have at least one score")
    score = np.concatenate([low, high])
    if not np.isfinite(score).all():
        raise ValueError("scores must be finite, got NaN or infinity")
    truth = np.repeat([0, 1], [low.size, high.size])
    if positive == "inside":
        score, truth = -score, 1 - truth
    # with its default this drops points that lie on a line between others, and 95 % with them
    false_positive, true_positive, _ = roc_curve(truth, score, drop_intermediate=False)
    return OODScores(
        float(roc_auc_score(truth, score)),
        float(average_precision_score(truth, score)),
        float(false_positive[np.argmax(true_positive >= 0.95)]),
    )
