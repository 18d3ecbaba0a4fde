"""Columns of categories: their levels, and the codes of values that may be new."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["INDEX", "LEVEL", "codes_of", "levels_of"]

INDEX = "_index"  # after a column's name: the data container of its codes
LEVEL = "_level"  # the dim of its levels
KINDS = {str: "strings", int: "integers"}


def levels_of(name: str, column: Any) -> tuple[np.ndarray, list[Any]]:
    """Codes of a column without gaps, and its levels: those that occur.

    They are sorted, or in the order of categories. Booleans are 0 and 1, since as labels they would
    choose by position.

    Raises
    ------
    TypeError
        If values are not all strings, all integers or all booleans.
    """
    values = _numbered(column.to_list())
    _kind(name, values)
    found = set(values)
    known = np.asarray(getattr(column.dtype, "categories", None))
    if known.ndim == 1:  # not those of polars, which many columns share
        levels = [level for level in _numbered(known.tolist()) if level in found]
    else:
        levels = sorted(found)
    code_of = {level: code for code, level in enumerate(levels)}
    return np.array([code_of[v] for v in values], dtype=np.int64), levels


def codes_of(name: str, column: Any, levels: Sequence[Any]) -> np.ndarray:
    """Codes of a column without gaps among ``levels``; any other value has the code after theirs.

    A warning says in how many rows that is so, and what several new categories share.

    Raises
    ------
    TypeError
        If values are of another kind than the levels, as numbers where those are strings.
    """
    values = _numbered(column.to_list())
    levels = [_plain(level) for level in levels]
    kind, wanted = _kind(name, values), _kind(name, levels)
    if kind is not wanted:
        raise TypeError(
            f"column {name!r} must hold {KINDS[wanted]} as in the fit, got {KINDS[kind]}"
        )
    code_of = {level: code for code, level in enumerate(levels)}
    codes = np.array([code_of.get(v, len(levels)) for v in values], dtype=np.int64)
    new = [v for v, code in zip(values, codes, strict=True) if code == len(levels)]
    if new:
        some = list(dict.fromkeys(new))
        shared = (
            "; in a draw all of them have the same weights, so that sums over several categories "
            "come out too uncertain and differences between them too sure"
        )
        warnings.warn(
            f"{len(new)} of {len(values)} rows have a category in column {name!r} that the "
            f"training data had not, such as {some[:5]}: their predictions take its weights from "
            f"the prior{shared if len(some) > 1 else ''}",
            stacklevel=2,
        )
    return codes


def _numbered(values: Sequence[Any]) -> list[Any]:
    """Plain values, as integers where all are booleans."""
    plain = [_plain(v) for v in values]
    return [int(v) for v in plain] if {type(v) for v in plain} == {bool} else plain


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _kind(name: str, values: Sequence[Any]) -> type:
    kinds = {type(v) for v in values}
    if len(kinds) != 1 or not kinds <= set(KINDS):
        got = sorted(kind.__name__ for kind in kinds)
        raise TypeError(
            f"column {name!r} must hold categories of one kind, strings, integers or booleans, "
            f"got {', '.join(got)}"
        )
    return kinds.pop()
