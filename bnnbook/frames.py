"""Data as people hold it (arrays, lists, pandas or polars frames) as NumPy arrays with labels."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any, cast

import numpy as np

__all__ = [
    "check_complete",
    "exact_array",
    "frame_labels",
    "is_frame",
    "label_codes",
    "real_array",
    "real_matrix",
]


def is_frame(value: Any) -> bool:
    """Whether ``value`` is a table with named columns, as of pandas or polars."""
    return hasattr(value, "columns") and hasattr(value, "shape") and hasattr(value, "__getitem__")


def frame_labels(name: str, frame: Any) -> list[str | int]:
    """Column names of a frame: all strings or all integers, each once.

    Raises
    ------
    ValueError
        If a name occurs twice.
    TypeError
        If names are neither strings nor integers, as those of several levels.
    """
    labels = [c.item() if isinstance(c, np.generic) else c for c in frame.columns]
    for kind in (str, int):
        if all(isinstance(c, kind) and not isinstance(c, bool) for c in labels):
            break
    else:
        raise TypeError(f"columns of {name} must be named by strings or by integers, got {labels}")
    twice = sorted({c for c in labels if labels.count(c) > 1})
    if twice:
        raise ValueError(f"columns of {name} must have one name each, got {twice} more than once")
    return labels


def real_matrix(name: str, value: Any) -> tuple[np.ndarray, list[str | int] | None]:
    """Numbers (rows, columns) in float64, finite, and the column names if it is a frame.

    Raises
    ------
    TypeError
        If something is not a real number; for a frame, column and row are named.
    ValueError
        If there are not two axes, nothing in them, or a value is missing or not finite.
    """
    if not is_frame(value):
        array = real_array(name, value)
        if array.ndim != 2:
            row = "; one row is x[None], one column x[:, None]" if array.ndim == 1 else ""
            raise ValueError(
                f"{name} must have two axes (rows, features), got shape {array.shape}{row}"
            )
        if array.size == 0:
            raise ValueError(f"{name} must not be empty, got shape {array.shape}")
        return array, None
    labels = frame_labels(name, value)
    if not labels or not len(value):
        raise ValueError(f"{name} must not be empty, got shape {tuple(value.shape)}")
    check_complete(name, value, labels)
    columns = [real_array(name, value[c], where=f", column {c!r}") for c in labels]
    return np.column_stack(columns), labels


def real_array(name: str, value: Any, *, where: str = "") -> np.ndarray:
    """A copy of ``value`` in float64, of any shape; ``where`` is added to what errors say.

    Raises
    ------
    TypeError
        If something is not a real number, or an integer too large for float64 to hold.
    ValueError
        If a value is missing or not finite, or lists are ragged.
    """
    row = _missing_row(value)
    if row is not None:
        raise ValueError(f"{name} must be finite, got a missing value in row {row}{where}")
    array = _as_array(name, value)
    if array.dtype.kind == "O":
        array = _numbers(name, array, where)
    if array.dtype.kind not in "fiub":
        kind = getattr(value, "dtype", array.dtype)
        hint = "; give its codes or one indicator column a category" if where else ""
        raise TypeError(f"{name} must be real numbers, got dtype {kind}{where}{hint}")
    if not np.isfinite(array).all():
        index = np.argwhere(~np.isfinite(array))[0]
        column = f", column {index[1]}" if array.ndim == 2 else where
        at = f" in row {index[0]}{column}" if array.ndim else ""
        raise ValueError(f"{name} must be finite, got {array[tuple(index)]}{at}")
    result = array.astype(np.float64)
    if array.dtype.kind in "iu" and (changed := result.astype(array.dtype) != array).any():
        raise TypeError(
            f"{name} must hold numbers that float64 can hold, got {array[changed][0]}{where}"
        )
    return result


def exact_array(name: str, value: Any, *, where: str = "") -> np.ndarray:
    """:func:`real_array`, but integers and booleans keep their dtype."""
    row = _missing_row(value)
    if row is not None:
        raise ValueError(f"{name} must be finite, got a missing value in row {row}{where}")
    array = _as_array(name, value)
    if array.dtype.kind == "O":
        flat = array.ravel().tolist()
        booleans = [isinstance(v, bool | np.bool_) for v in flat]
        whole = [isinstance(v, numbers.Integral) for v in flat]
        if flat and (all(booleans) or (all(whole) and not any(booleans))):
            found = np.array(flat).reshape(array.shape)
            array = found if found.dtype.kind in "iub" else array
    return array if array.dtype.kind in "iub" else real_array(name, array, where=where)


def _missing_row(value: Any) -> int | None:
    """First row of a missing value in a masked array or a nullable column, None without one."""
    mask = _missing(value)
    return int(np.argwhere(mask)[0][0]) if mask.ndim and mask.any() else None


def _missing(value: Any) -> np.ndarray:
    """Where values are missing, of the shape of ``value``; one False if it has no such notion."""
    if isinstance(value, np.ma.MaskedArray):
        return np.ma.getmaskarray(value)
    if hasattr(value, "is_null"):  # polars
        return np.asarray(value.is_null())
    if hasattr(value, "isna"):  # pandas
        return np.asarray(value.isna())
    return np.asarray(False)


def check_complete(
    name: str, frame: Any, labels: Sequence[Any], categories: Collection[Any] = ()
) -> None:
    """Raise ValueError that lists all columns of a frame with missing values, if any has some.

    It counts their rows and says what to do, for numbers and for ``categories``.
    """
    n, found, hints = len(frame), [], {}
    for label in labels:
        mask = _missing(frame[label])
        values = np.asarray(frame[label])
        if values.dtype.kind == "f":
            mask = mask | np.isnan(values)  # polars tells NaN from null
        if not mask.any():
            continue
        if mask.all():
            found.append(f"all {n} rows of column {label!r}")
        else:
            first = int(np.argmax(mask))
            found.append(f"{mask.sum()} of {n} rows of column {label!r} (first in row {first})")
        if label in categories:
            hints["categories"] = "give missing categories a level of their own, 'missing' or -1"
        else:
            hints["numbers"] = (
                "fill missing numbers in first, as sklearn.impute.SimpleImputer does, whose "
                "add_indicator=True keeps where they were"
            )
    if found:
        raise ValueError(
            f"{name} must be complete, got missing values: {', '.join(found)}; "
            f"{'; '.join(hints.values())}; or leave those rows or columns out"
        )


def label_codes(name: str, value: Any) -> tuple[np.ndarray, list[Any] | None]:
    """Labels as integers; strings, categories and booleans as 0, 1, ..., with their names.

    Categories keep their order, whether or not they occur; strings are sorted.

    Returns
    -------
    codes : integer array
    labels : list, or None where the labels are integers already

    Raises
    ------
    TypeError
        If labels are neither integers, booleans, strings nor categories.
    ValueError
        If a label is missing.
    """
    row = _missing_row(value)
    if row is not None:
        raise ValueError(f"{name} must have a label in every row, got a missing value in row {row}")
    listed = isinstance(value, list | tuple)  # of which NumPy would make one kind of labels of two
    array = _listed(name, value) if listed else _as_array(name, value)
    if array.dtype.kind == "O":
        array = _plain_labels(name, array)
    categories = np.asarray(getattr(getattr(value, "dtype", None), "categories", None))
    if categories.ndim == 1:  # not those of polars, which many columns share
        labels = categories.tolist()
        code_of = {label: code for code, label in enumerate(labels)}
        return np.array([code_of[v] for v in array.tolist()], dtype=np.int64), labels
    if array.dtype.kind in "iu":
        return array, None
    if array.dtype.kind == "b":
        return array.astype(np.int64), [False, True]
    if array.dtype.kind in "UT":
        found, codes = np.unique(array, return_inverse=True)
        return codes.reshape(array.shape), found.tolist()
    raise TypeError(f"{name} must hold labels, integers, strings or categories, got {array.dtype}")


def _as_array(name: str, value: Any) -> np.ndarray:
    try:
        return np.asarray(value.to_numpy() if hasattr(value, "to_numpy") else value)
    except ValueError as error:
        raise ValueError(f"{name} must be an array, got rows of different lengths") from error


def _numbers(name: str, array: np.ndarray, where: str) -> np.ndarray:
    """An array of Python objects in float64, if all are real numbers."""
    result = np.empty(array.shape, dtype=np.float64)
    v: Any
    for index, v in np.ndenumerate(array):
        if not isinstance(v, numbers.Real | Decimal | np.bool_):
            at = f" in row {index[0]}" if index else ""
            column = f", column {index[1]}" if len(index) > 1 else where
            raise TypeError(
                f"{name} must be real numbers, got {type(v).__name__} {str(v)[:40]!r}{at}{column}"
            )
        try:
            result[index] = float(v)
            whole = cast("Any", v)
            lost = not isinstance(v, float) and np.isfinite(result[index]) and v == int(whole)
            lost = lost and int(whole) != int(result[index])
        except OverflowError:
            lost = not math.isinf(v) if isinstance(v, numbers.Real) else True
        if lost:
            at = f" in row {index[0]}" if index else ""
            column = f", column {index[1]}" if len(index) > 1 else where
            raise TypeError(
                f"{name} must hold numbers that float64 can hold, got {str(v)[:40]}{at}{column}"
            )
    return result


def _listed(name: str, value: list[Any] | tuple[Any, ...]) -> np.ndarray:
    """A list of labels, or of lists of them, as Python objects."""
    shape = _as_array(name, value).shape
    array = np.empty(shape, dtype=object)
    for index in np.ndindex(shape):
        label: Any = value
        for i in index:
            label = label[i]
        array[index] = label
    return array


def _plain_labels(name: str, array: np.ndarray) -> np.ndarray:
    """An array of Python objects as one of integers, booleans or strings."""
    flat = array.ravel().tolist()
    kinds = [_label_kind(v) for v in flat]
    if kinds and kinds[0] is not None and kinds == [kinds[0]] * len(flat):
        return np.array(flat).reshape(array.shape)
    odd = next((i for i, k in enumerate(kinds) if k is None or k != kinds[0]), 0)
    raise TypeError(
        f"{name} must hold labels of one kind, strings or integers, got {flat[odd]!r} in row {odd}"
    )


def _label_kind(label: Any) -> str | None:
    for kind, types in (
        ("boolean", bool | np.bool_),  # before integers, which Python's booleans are too
        ("integer", int | np.integer),
        ("string", str),
    ):
        if isinstance(label, types):
            return kind
    return None
