"""Category columns of a frame as embeddings: a vector of weights for each level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor import TensorVariable

from bnnbook.categories import INDEX, LEVEL, levels_of
from bnnbook.checks import positive_int, positive_number
from bnnbook.frames import check_complete, frame_labels, is_frame

__all__ = ["Category", "embedded", "embedding_coords", "open_categories"]


class Category(NamedTuple):
    """A column of categories.

    Attributes
    ----------
    name : str
    codes : array (n,)
        Levels of the rows, by number.
    levels : list
        Those that occur.
    width : int
        Length of their vectors.
    sd : float or None
        Prior sd of the vectors' entries; None where it is learned.
    """

    name: str
    codes: np.ndarray
    levels: list[Any]
    width: int
    sd: np.float64 | None


def open_categories(
    X: Any, category_dims: Mapping[str, int], category_sd: float | str = 1.0
) -> tuple[Any, tuple[Category, ...]]:
    """The other columns of a frame, and the category columns, in the frame's order.

    Raises
    ------
    TypeError, ValueError
        If X is no frame, has missing values, a column, a length or an sd is not what it has to be,
        or nothing else is left.
    """
    if not isinstance(category_dims, Mapping):
        raise TypeError(
            "category_dims must map names of columns to lengths of their vectors, as "
            f"{{'city': 2}}, got {category_dims!r}"
        )
    if not is_frame(X):
        raise TypeError(f"X must be a frame for category_dims, got {type(X).__name__}")
    labels = frame_labels("X", X)
    unknown = [name for name in category_dims if name not in labels]
    if unknown:
        raise ValueError(f"category_dims must name columns of X, {labels}, got {unknown}")
    numbers = [c for c in labels if c not in category_dims]
    if not numbers:
        raise ValueError("X must have a column of numbers beside those of category_dims, got none")
    if any(not isinstance(name, str) for name in category_dims):
        raise TypeError(f"category_dims must name columns by strings, got {list(category_dims)}")
    check_complete("X", X, labels, categories=category_dims)
    sd = _sd(category_sd)
    found = [
        Category(
            str(c), *levels_of(str(c), X[c]), positive_int("category_dims", category_dims[c]), sd
        )
        for c in labels
        if isinstance(c, str) and c in category_dims
    ]
    return X[numbers], tuple(found)


def _sd(category_sd: float | str) -> np.float64 | None:
    if not isinstance(category_sd, str):
        return np.float64(positive_number("category_sd", category_sd))
    if category_sd != "learned":
        raise ValueError(f"category_sd must be a number or 'learned', got {category_sd!r}")
    return None


def embedding_coords(features: list[Any], categories: tuple[Category, ...]) -> dict[str, Any]:
    """Labels of the dims of embeddings, {} without categories."""
    coords: dict[str, Any] = {}
    inputs = [str(f) for f in features]
    for name, _, levels, width, _ in categories:
        coords |= {f"{name}{LEVEL}": levels, f"{name}_part": np.arange(width)}
        inputs += [f"{name}[{i}]" for i in range(width)]
    return coords | ({"input": inputs} if categories else {})


def embedded(h: TensorVariable, categories: tuple[Category, ...]) -> tuple[TensorVariable, str]:
    """Inputs of the first layer (inputs, rows), numbers then vectors, and their dim.

    Vectors have independent normal priors; that of a level that no row of the data has is
    ``e_{column}_unseen``. With a fixed sd the data say nothing of it. A learned one,
    ``e_{column}_sd``, is the sd of both (Gelman and Hill 2007, ch. 12, for levels as groups);
    vectors are then that sd times ``e_{column}_offset``, which keeps samplers out of a funnel.
    """
    parts = [h]
    for name, codes, _, _, sd in categories:
        index = pm.Data(f"{name}{INDEX}", codes, dims="obs_id")
        scale = pm.HalfNormal(f"e_{name}_sd", np.float64(1.0)) if sd is None else sd
        known = _vectors(f"e_{name}", scale, (f"{name}{LEVEL}", f"{name}_part"))
        unseen = _vectors(f"e_{name}_unseen", scale, (f"{name}_part",))
        parts.append(pt.concatenate([known, unseen[None]])[index].T)
    return (pt.concatenate(parts), "input") if categories else (h, "feature")


def _vectors(name: str, sd: Any, dims: tuple[str, ...]) -> TensorVariable:
    """Normal vectors; with an sd that is a variable, it times standard normal offsets."""
    if isinstance(sd, np.float64):
        return pm.Normal(name, 0.0, sd, dims=dims)
    offset = pm.Normal(f"{name}_offset", 0.0, np.float64(1.0), dims=dims)
    return pm.Deterministic(name, sd * offset, dims=dims)
