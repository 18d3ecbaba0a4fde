"""How far predictions are from a reference posterior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.optimize import linear_sum_assignment

from bnnbook.datasets import Reference, reference
from bnnbook.diagnostics.functions import agreement, total_variation
from bnnbook.metrics.inputs import SAMPLE_DIMS, check_rows_sum_to_one

__all__ = ["against_reference"]

GAINED = 0.1  # agreement that another order of the classes gains, if the given one is wrong
REACHED = 0.8  # and reaches


def against_reference(
    predictions: Any,
    name: str | Reference,
    *,
    classes: Sequence[Any] | None = None,
    log_evidence: float | None = None,
) -> dict[str, float]:
    r"""Distance of a method's predictions from a reference posterior, at the reference's inputs.

    With F the distribution of one quantity (a probability, or a mean) over the method's draws and
    G that over the reference's, the 1-Wasserstein distance in one dimension is
    :math:`\int |F(x) - G(x)| \, dx` (Vallender 1974), computed exactly from both sets of draws. It
    is not zero for independent draws of the reference itself: what a second exact sampler scores is
    in ``record["second_scores"]`` of :func:`bnnbook.datasets.reference`.

    Parameters
    ----------
    predictions : array (draws, n), (draws, n, K) or (draws, group, n), or mapping or Dataset
        Draws at the inputs ``datasets.reference_data(name).X``, from any package: of ``p``, the
        probability of class 1 or of each class; or of ``mu``, the mean, in the units of the target.
        A mapping may have ``sigma``, the sd of the noise, besides ``mu``. DataArrays have draws
        along chain, draw or sample. A single network is one draw.
    name : str or Reference
        One of ``datasets.reference_names()``, or what ``datasets.reference`` returned.
    classes : sequence, optional
        Labels of the K classes in the order of the last axis of ``p``, to be compared.
    log_evidence : float, optional
        The method's estimate, in nats.

    Returns
    -------
    dict
        ``agreement`` and ``total_variation`` of the mean class probabilities; ``wasserstein``, the
        mean over inputs (and classes) of the distance between marginals, in the units of the
        output, and ``wasserstein_sds``, that divided by the mean epistemic sd of the reference;
        ``sd_error``, mean absolute error of the epistemic sd, and ``sd_bias``, its mean error, both
        as shares of the reference's mean epistemic sd (-1: no spread at all); the last two again
        with ``_gap`` over the inputs in gaps, where the reference marks them;
        ``wasserstein_sigma``, if ``sigma`` is given; ``log_evidence_error`` in nats, if
        ``log_evidence`` is given and the reference's is known.

    Raises
    ------
    TypeError
        If predictions are not numbers.
    ValueError
        If there is no such reference (those that exist are listed), predictions have another shape,
        other labels or values out of range, or are in another order of the classes.

    Examples
    --------
    >>> from bnnbook import datasets
    >>> boxes = datasets.reference("boxes")
    >>> found = against_reference(boxes.draws["p"][::2], boxes)
    >>> found["agreement"] > 0.95, found["wasserstein_sds"] < 0.2
    (True, True)
    """
    known = name if isinstance(name, Reference) else reference(name)
    given = _outputs(predictions, known)
    main = known.record["outputs"][0]
    draws, exact = given[main], known.draws[main].astype(float)
    scores: dict[str, float] = {}
    if main == "p":
        pair = _mean_by_class(draws, known), _mean_by_class(exact, known)
        _check_classes(*pair, classes, known)
        scores |= {"agreement": agreement(*pair), "total_variation": total_variation(*pair)}
    elif classes is not None:
        raise ValueError(f"classes are for class probabilities; {known.name!r} is a regression")
    distance = _wasserstein(draws, exact)
    spread, wanted = draws.std(axis=0), exact.std(axis=0)
    scores["wasserstein"] = float(distance.mean())
    scores["wasserstein_sds"] = float(distance.mean() / wanted.mean())
    scores |= _sd_scores(spread, wanted, "")
    if known.gap.any():
        scores |= _sd_scores(spread[known.gap], wanted[known.gap], "_gap")
    if "sigma" in given:
        exact_sigma = known.draws["sigma"].astype(float)
        scores["wasserstein_sigma"] = float(_wasserstein(given["sigma"], exact_sigma).mean())
    if log_evidence is not None:
        if not np.isfinite(log_evidence):
            raise ValueError(f"log_evidence must be finite, got {log_evidence}")
        if "log_evidence" in known.record:
            scores["log_evidence_error"] = float(log_evidence - known.record["log_evidence"])
    return scores


def _outputs(predictions: Any, known: Reference) -> dict[str, np.ndarray]:
    """Draws by output, checked; the first output of the reference is there."""
    outputs = known.record["outputs"]
    if not isinstance(predictions, xr.Dataset | Mapping):
        predictions = {outputs[0]: predictions}
    names = [str(key) for key in predictions]
    if outputs[0] not in names or not set(names) <= set(outputs):
        optional = f", and may hold {outputs[1:]}" if outputs[1:] else ""
        raise ValueError(f"predictions must hold {outputs[0]!r}{optional}; got {names}")
    return {key: _draws(key, predictions[key], known) for key in names}


def _draws(output: str, value: Any, known: Reference) -> np.ndarray:
    """(draws, ...) of one output in the reference's shape, finite and in range."""
    wanted = known.draws[output].shape[1:]
    if isinstance(value, xr.DataArray):
        value = _in_order(value, output, known)
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{output} must hold numbers, got dtype {array.dtype}")
    if array.ndim != len(wanted) + 1 or array.shape[1:] != wanted or not len(array):
        shape = ", ".join(map(str, wanted))
        hint = ""
        if array.shape == wanted:
            hint = ": a single prediction is one draw, p[None]"
        elif array.ndim == 2 and array.shape[:1] == wanted:
            hint = ": draws come first, so transpose it"
        raise ValueError(
            f"{output} must have shape (draws, {shape}), one value for each of the inputs "
            f"datasets.reference_data({known.name!r}).X, got {array.shape}{hint}"
        )
    array = array.astype(float)
    if not np.isfinite(array).all():
        raise ValueError(f"{output} must be finite, got NaN or infinity")
    if output == "p":
        if array.min() < 0 or array.max() > 1:
            raise ValueError(
                f"p must be probabilities, in [0, 1], got {array.min():.4g} to {array.max():.4g}"
            )
        if "class" in known.record["dims"]["p"]:
            check_rows_sum_to_one("p", array, np.asarray(value).dtype)
    if output == "sigma" and array.min() <= 0:
        raise ValueError(f"sigma must be positive, got {array.min():.4g}")
    return array


def _in_order(value: xr.DataArray, output: str, known: Reference) -> np.ndarray:
    """A DataArray's values with its draws first, once its labels have been compared."""
    dims = known.record["dims"][output]
    samples = [d for d in SAMPLE_DIMS if d in value.dims]
    rest = [d for d in value.dims if d not in samples]
    if sorted(map(str, rest)) == sorted(dims):
        value = value.transpose(*samples, *dims)
    for dim, labels in known.record["labels"].items():
        if dim in value.indexes and list(value.indexes[dim]) != labels:
            raise ValueError(
                f"{output} must have the labels {labels} along {dim!r}, in this order, got "
                f"{list(value.indexes[dim])}"
            )
    if not samples:  # draws on an axis of another name, the first
        return value.to_numpy()
    array = value.transpose(*samples, ...).to_numpy()
    return array.reshape(-1, *array.shape[len(samples) :])


def _mean_by_class(p: np.ndarray, known: Reference) -> np.ndarray:
    """Mean probabilities (n, K) of draws of class 1, or of each class."""
    mean = p.mean(axis=0)
    if "class" in known.record["dims"]["p"]:
        return mean.reshape(-1, mean.shape[-1])
    return np.stack([1 - mean.ravel(), mean.ravel()], axis=1)


def _check_classes(
    ours: np.ndarray, exact: np.ndarray, classes: Sequence[Any] | None, known: Reference
) -> None:
    """Raise if the classes come in another order: by their labels, or by what is predicted."""
    labels = known.record["labels"].get("class", list(range(exact.shape[1])))
    if classes is not None and list(classes) != labels:
        raise ValueError(
            f"classes must be {labels}, in this order, as in the reference; got {list(classes)}"
        )
    named = np.zeros(
        (len(labels), len(labels)), dtype=int
    )  # ours by row, the reference's by column
    np.add.at(named, (ours.argmax(axis=1), exact.argmax(axis=1)), 1)
    rows, columns = linear_sum_assignment(named, maximize=True)
    as_given, best = np.trace(named) / len(ours), named[rows, columns].sum() / len(ours)
    if best >= REACHED and best - as_given > GAINED:
        order = [labels[column] for column in columns]
        raise ValueError(
            f"p names the reference's class at {as_given:.0%} of the inputs, and would at "
            f"{best:.0%} if its classes were {order}: give them in the order {labels}"
            + (
                ""
                if len(labels) > 2
                else f", or the probability of {labels[1]} and not of the other"
            )
        )


def _wasserstein(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Distance (...) between the marginals of two sets of draws, (S, ...) and (T, ...)."""
    pooled = np.concatenate([first, second])
    order = np.argsort(pooled, axis=0, kind="stable")
    values = np.take_along_axis(pooled, order, axis=0)
    steps = np.where(order < len(first), 1 / len(first), -1 / len(second))
    apart = np.abs(np.cumsum(steps, axis=0)[:-1])  # of the distribution functions
    return (apart * np.diff(values, axis=0)).sum(axis=0)


def _sd_scores(spread: np.ndarray, wanted: np.ndarray, suffix: str) -> dict[str, float]:
    unit = wanted.mean()
    return {
        f"sd_error{suffix}": float(np.abs(spread - wanted).mean() / unit),
        f"sd_bias{suffix}": float((spread - wanted).mean() / unit),
    }
