"""Scores of predictive distributions.

For classification ``y`` holds integer labels (n,) and ``p`` is the probability of class 1, (n,), or
of each class, (n, K). A DataArray with dims (chain, draw, obs[, class]) is averaged over its draws
first: probabilities are averaged, not logits and not votes.

For regression ``y`` holds real targets (n,) or (n, D), and ``mu`` and ``sigma`` the mean and the
standard deviation of a normal likelihood for each posterior draw: DataArrays with dims (chain,
draw, obs[, output]), or arrays (draws, n[, D]). The predictive distribution is the equal mixture of
these normals.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from scipy.special import logsumexp, ndtr
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score, roc_curve

__all__ = [
    "Interval",
    "OODScores",
    "Reliability",
    "RiskCoverage",
    "accuracy",
    "accuracy_vs_certainty",
    "brier",
    "coverage",
    "crps",
    "expected_calibration_error",
    "gaussian_mixture_nll",
    "interval_width",
    "nll",
    "ood_scores",
    "pit",
    "predictive_interval",
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


class Interval(NamedTuple):
    """Ends of a predictive interval, each (n,) or (n, D)."""

    lower: np.ndarray
    upper: np.ndarray


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


def gaussian_mixture_nll(y: Any, mu: Any, sigma: Any) -> float:
    """Mean negative log predictive density, nats per row, in the units of ``y``.

    -log((1 / S) sum_s prod_d N(y_d | mu_sd, sigma_sd^2)): densities are averaged over the draws,
    not their logarithms. With several outputs a row's density is their joint one.
    """
    target, mean, sd = _check_normal(y, mu, sigma)
    density = -0.5 * ((target - mean) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi)
    joint = density.reshape(*density.shape[:2], -1).sum(axis=-1)
    return float(np.log(len(joint)) - logsumexp(joint, axis=0).mean())


def crps(y: Any, mu: Any, sigma: Any = None) -> float:
    """Mean continuous ranked probability score, in the units of ``y`` (Gneiting and Raftery 2007).

    With ``sigma`` exact for the mixture of normals (Grimit et al. 2006, eq. 4), at a cost that
    grows with the square of the number of draws. Without, ``mu`` holds draws of the target or of a
    noise-free function themselves.
    """
    target, mean, sd = _check_normal(y, mu, sigma)
    target, mean = target.ravel(), mean.reshape(len(mean), -1).T
    if sd is None:
        import scoringrules

        return float(np.mean(scoringrules.crps_ensemble(target, mean, backend="numpy")))
    import jax

    sd = sd.reshape(len(sd), -1).T
    rows = max(1, 1_000_000 // mean.shape[1] ** 2)  # keeps the square of the draws in memory
    blocks = [slice(i, i + rows) for i in range(0, len(target), rows)]
    with jax.enable_x64(True):
        scores = [np.asarray(_crps_of_mixtures()(target[b], mean[b], sd[b])) for b in blocks]
    return float(np.mean(np.concatenate(scores)))


@functools.cache
def _crps_of_mixtures() -> Callable[..., Any]:
    """The library's function, compiled: seven times as fast as it is in NumPy."""
    import jax
    import scoringrules

    return jax.jit(functools.partial(scoringrules.crps_mixnorm, backend="jax"))


def pit(y: Any, mu: Any, sigma: Any) -> np.ndarray:
    """Predictive distribution function at ``y``: uniform if calibrated (Dawid 1984)."""
    target, mean, sd = _check_normal(y, mu, sigma)
    return ndtr((target - mean) / sd).mean(axis=0)


def predictive_interval(mu: Any, sigma: Any = None, *, level: float = 0.9) -> Interval:
    """Central interval of the mixture of normals; of the draws ``mu`` themselves without ``sigma``.

    The ends are the quantiles (1 - level) / 2 and (1 + level) / 2 of the mixture, by bisection.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    mean, sd = _normal_draws(mu, sigma)
    tails = (1 - level) / 2, (1 + level) / 2
    if sd is None:
        return Interval(*np.quantile(mean, tails, axis=0))
    reach = 40 * sd.max(axis=0)
    return Interval(*(_quantile(q, mean, sd, reach) for q in tails))


def coverage(y: Any, lower: Any, upper: Any) -> float:
    """Share of targets in [lower, upper], ends included."""
    target, low, high = _check_interval(y, lower, upper)
    return float(((target >= low) & (target <= high)).mean())


def interval_width(lower: Any, upper: Any) -> float:
    """Mean width of the intervals, in the units of the target; the narrower at equal coverage wins.

    Raises
    ------
    ValueError
        If an upper end lies below its lower end.
    """
    _, low, high = _check_interval(lower, lower, upper)
    return float((high - low).mean())


def _quantile(level: float, mean: np.ndarray, sd: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Quantile of the equal mixture over axis 0, to one part in 2^50 of the starting bracket."""
    low, high = mean.min(axis=0) - reach, mean.max(axis=0) + reach
    for _ in range(50):
        middle = 0.5 * (low + high)
        below = ndtr((middle - mean) / sd).mean(axis=0) < level
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 0.5 * (low + high)


def _normal_draws(mu: Any, sigma: Any) -> tuple[np.ndarray, Any]:
    """Means and sds as (draws, n[, D]), or an error that names the argument."""
    arrays: list[Any] = []
    for name, value in {"mu": mu, "sigma": sigma}.items():
        if value is None and name == "sigma":
            arrays.append(None)
            continue
        if isinstance(value, xr.DataArray):
            dims = [d for d in ("chain", "draw", "sample") if d in value.dims]
            if not dims:
                raise ValueError(f"{name} must have dims chain and draw, got {value.dims}")
            value = value.transpose(*dims, ...).to_numpy()
            value = value.reshape(-1, *value.shape[len(dims) :])
        array = np.asarray(value, dtype=float)
        if array.ndim not in (2, 3) or array.size == 0:
            raise ValueError(
                f"{name} must have shape (draws, n) or (draws, n, D), got {array.shape}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite, got NaN or infinity")
        arrays.append(array)
    mean, sd = arrays
    if sd is not None:
        if mean.shape != sd.shape:
            raise ValueError(f"mu and sigma must have the same shape, got {mean.shape}, {sd.shape}")
        if (sd <= 0).any():
            raise ValueError(f"sigma must be positive, got {sd.min()}")
    return mean, sd


def _check_normal(y: Any, mu: Any, sigma: Any) -> tuple[np.ndarray, np.ndarray, Any]:
    mean, sd = _normal_draws(mu, sigma)
    target = np.asarray(y, dtype=float)
    if target.shape != mean.shape[1:]:
        raise ValueError(
            f"y must have the shape of one draw of mu, {mean.shape[1:]}, got {target.shape}"
        )
    if not np.isfinite(target).all():
        raise ValueError("y must be finite, got NaN or infinity")
    return target, mean, sd


def _check_interval(y: Any, lower: Any, upper: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    target, low, high = (np.asarray(a, dtype=float) for a in (y, lower, upper))
    if not target.shape == low.shape == high.shape or target.size == 0:
        raise ValueError(
            "y, lower and upper must have the same shape and not be empty, "
            f"got {target.shape}, {low.shape} and {high.shape}"
        )
    if not (np.isfinite(target) & (high >= low)).all():  # also catches NaN
        raise ValueError("y must be finite and upper must not lie below lower")
    return target, low, high


def _check(y: Any, p: Any) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) and class probabilities (n, K), or an error that names the argument."""
    if isinstance(p, xr.DataArray):
        p = p.astype(float).mean([d for d in ("chain", "draw", "sample") if d in p.dims])
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
    else:
        probs = probs / probs.sum(axis=1, keepdims=True)  # single precision sums to 1 + 1e-7
    if labels.min() < 0 or labels.max() >= probs.shape[1]:
        raise ValueError(
            f"y must hold labels 0..{probs.shape[1] - 1}, got {labels.min()}..{labels.max()}"
        )
    return labels, probs
