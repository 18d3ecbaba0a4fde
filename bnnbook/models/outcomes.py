"""Targets that are counts, grades or several labels a row: checked and opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytensor

from bnnbook.frames import frame_labels, is_frame, label_codes, real_array

__all__ = ["count_classes", "count_column", "exposure_column", "grade_column", "label_matrix"]

MOST = {"float64": 2**31 - 1, "float32": 2**15 - 1}  # what PyMC's integers hold, by floatX


def count_column(y: Any) -> tuple[np.ndarray, None]:
    """Counts (rows,) as integers.

    Raises
    ------
    TypeError
        If y is not numbers.
    ValueError
        If there is not one axis, or a count is missing, negative, no whole number or larger than
        2^31 - 1 (with ``floatX="float32"`` 2^15 - 1: PyMC would wrap it), or all are 0.
    """
    plain = np.asarray(y)
    if plain.dtype.kind == "b" or (
        plain.dtype.kind == "O" and any(isinstance(v, bool | np.bool_) for v in plain.ravel())
    ):
        raise TypeError("y must hold counts, got booleans; a yes or no is likelihood='bernoulli'")
    counts = real_array("y", y)
    if counts.ndim != 1 or not counts.size:
        raise ValueError(f"y must have one axis (rows), got shape {counts.shape}")
    most = MOST[pytensor.config.floatX]
    wrong = (counts < 0) | (counts != np.floor(counts)) | (counts > most)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"y must hold counts, whole numbers from 0 to {most} (floatX is "
            f"{pytensor.config.floatX}), got {counts[row]} in row {row}"
        )
    if not counts.any():
        raise ValueError("y must have a count above 0, got zeros only")
    return counts.astype(np.int64), None


def count_classes(y: Any) -> int:
    """Number of the classes in y: its names, or one more than its largest integer."""
    codes, labels = label_codes("y", y)
    return int(codes.max(initial=0)) + 1 if labels is None else len(labels)


def exposure_column(exposure: Any, n_rows: int) -> np.ndarray:
    """Positive exposures (rows,), or a ValueError."""
    array = real_array("exposure", exposure)
    if array.shape != (n_rows,):
        raise ValueError(f"exposure must have shape ({n_rows},), as y, got {array.shape}")
    if (array <= 0).any():
        row = int(np.argmax(array <= 0))
        raise ValueError(f"exposure must be positive, got {array[row]} in row {row}")
    return array


def grade_column(y: Any, grades: Sequence[Any] | None) -> tuple[np.ndarray, list[Any]]:
    """Grades (rows,) as 0, 1, ... from the lowest on, and their names in that order.

    Raises
    ------
    TypeError
        If labels without an order are given without ``grades``.
    ValueError
        If there is not one axis, a grade is missing or not one of ``grades``, or does not occur,
        or ``grades`` are fewer than two, repeat one, or are numbers that do not increase.
    """
    if np.ndim(y) != 1 or not len(y):
        raise ValueError(f"y must have one axis (rows), got shape {np.shape(y)}")
    codes, labels = label_codes("y", y)
    if labels is not None and grades is None and not _has_order(y):
        raise TypeError(
            f"y must say how its grades are ordered, got labels {labels[:10]}: give them from the "
            "lowest on as grades=(...), or y as pd.Categorical(..., ordered=True) or as integers"
        )
    if labels is None and grades is None:
        if codes.min() < 0:
            raise ValueError(f"y must hold grades 0, 1, ..., got {codes.min()}")
        names = list(range(int(codes.max()) + 1))
    else:
        names = list(labels or []) if grades is None else _ordered_names(grades)
        codes = _in_order(y, codes, labels, names)
    if len(names) < 2:
        raise ValueError(f"y must have at least two grades, got {names}")
    absent = [names[k] for k in range(len(names)) if not (codes == k).any()]
    if absent:
        first = " (grades=(1, ...) if they start at 1)" if grades is None and labels is None else ""
        raise ValueError(
            f"y must have every grade, none has {', '.join(map(repr, absent[:10]))} of "
            f"{names[:10]}: merge such a grade with its neighbour{first}"
        )
    return codes.astype(np.int64, copy=False), names


def label_matrix(y: Any) -> tuple[np.ndarray, list[Any] | None]:
    """0 or 1 for each row and label, (rows, labels), and the labels' names if y is a frame.

    Raises
    ------
    TypeError
        If values are neither integers nor booleans.
    ValueError
        If there are not two axes, or a value is missing or neither 0 nor 1.
    """
    names = None
    if is_frame(y):
        names = frame_labels("y", y)
        y = np.column_stack([_indicator(y[c], f", column {c!r}") for c in names])
    array = _indicator(y, "")
    if array.ndim != 2 or not array.size:
        raise ValueError(
            f"y must have shape (rows, labels), one column of 0 and 1 a label, got {array.shape}"
        )
    return array.astype(np.int64), names


def _indicator(y: Any, where: str) -> np.ndarray:
    array = real_array("y", y, where=where)
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        row = int(np.argwhere(wrong)[0][0])
        raise ValueError(f"y must hold 0 or 1, got {array[wrong].flat[0]} in row {row}{where}")
    return array


def _has_order(y: Any) -> bool:
    """Whether y's categories have an order: those of pandas that say so, or an Enum of polars."""
    dtype = getattr(y, "dtype", None)
    return bool(getattr(dtype, "ordered", False)) or type(dtype).__name__ == "Enum"


def _ordered_names(grades: Sequence[Any]) -> list[Any]:
    names = list(grades)
    twice = [g for g in names if names.count(g) > 1]
    if twice:
        raise ValueError(f"grades must name each grade once, got {twice[0]!r} more than once")
    if all(isinstance(g, int | float | np.number) for g in names) and names != sorted(names):
        raise ValueError(f"grades must go from the lowest to the highest, got {names}")
    return names


def _in_order(y: Any, codes: np.ndarray, labels: list[Any] | None, names: list[Any]) -> np.ndarray:
    """Codes by the place of a label in ``names``."""
    given = codes.tolist() if labels is None else [labels[code] for code in codes.tolist()]
    place = {name: k for k, name in enumerate(names)}
    unknown = [label for label in dict.fromkeys(given) if label not in place]
    if unknown:
        raise ValueError(
            f"y must hold grades of {names[:10]}, got {unknown[0]!r} in row "
            f"{given.index(unknown[0])}"
        )
    if _has_order(y) and labels is not None:
        kept = [label for label in labels if label in place]
        if kept != [name for name in names if name in kept]:
            raise ValueError(f"grades must have the order of y's categories, {labels}; got {names}")
    return np.array([place[label] for label in given], dtype=np.int64)
