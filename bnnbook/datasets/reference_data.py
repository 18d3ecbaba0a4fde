"""The data of a reference posterior, rebuilt from the names that its record holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bnnbook.datasets.base import Dataset
from bnnbook.datasets.classification import boxes, grouped_moons, two_moons
from bnnbook.datasets.images import digits
from bnnbook.datasets.regression import wave_clusters
from bnnbook.datasets.tables import uci

__all__ = ["ReferenceData", "load_data"]

LOADERS: dict[str, Callable[..., Dataset]] = {
    f.__name__: f for f in (two_moons, grouped_moons, boxes, wave_clusters, digits, uci)
}


class ReferenceData(NamedTuple):
    """What a reference posterior is the posterior of, and where its functions are compared.

    Attributes
    ----------
    X_train, y_train : array
        As the functions of :mod:`bnnbook.datasets` return them.
    X : array (n, d), or (group, n, d)
        Inputs at which the draws of the reference are given.
    y : array (m,), or (group, m)
        Held-out targets of the first m inputs; the others are points of a grid or training rows.
    gap : bool array (n,), or (group, n)
        Whether an input lies where the data have a gap.
    """

    X_train: np.ndarray
    y_train: np.ndarray
    X: np.ndarray
    y: np.ndarray
    gap: np.ndarray


def load_data(
    data: Mapping[str, Any], inputs: Mapping[str, Any], data_dir: str | Path | None = None
) -> ReferenceData:
    """Training rows and inputs by what names them.

    Parameters
    ----------
    data : mapping
        ``function`` of :mod:`bnnbook.datasets`, and its ``arguments``.
    inputs : mapping
        ``held_out``: number of test rows, evenly spaced; optionally ``training``: number of
        training rows, ``grid``: a (start, stop, number) for each input, and ``gap``: "held_out", or
        the distance to the nearest training row from which an input counts as lying in a gap.
    data_dir : path, optional
        For the tables of :func:`bnnbook.datasets.uci`.
    """
    arguments = dict(data["arguments"])
    if data["function"] == "uci":
        arguments["data_dir"] = data_dir
    loaded = LOADERS[data["function"]](**arguments)
    held_out = _some(loaded.y_test.shape[-1], inputs["held_out"])
    X, y = loaded.X_test[..., held_out, :], loaded.y_test[..., held_out]
    if "training" in inputs:
        X = np.concatenate([X, loaded.X_train[_some(len(loaded.X_train), inputs["training"])]])
    if "grid" in inputs:
        axes = [np.linspace(*axis) for axis in inputs["grid"]]
        X = np.concatenate([X, np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, len(axes))])
    return ReferenceData(
        loaded.X_train, loaded.y_train, X, y, _gap(X, loaded.X_train, y, inputs.get("gap"))
    )


def _some(n: int, wanted: int) -> np.ndarray:
    return np.linspace(0, n - 1, wanted).astype(int)


def _gap(X: np.ndarray, X_train: np.ndarray, y: np.ndarray, rule: Any) -> np.ndarray:
    gap = np.zeros(X.shape[:-1], dtype=bool)
    if rule == "held_out":
        gap[..., : y.shape[-1]] = True
    elif rule is not None:
        distance = np.linalg.norm(X[:, None] - X_train, axis=-1).min(axis=1)
        lower, upper = X_train.min(axis=0), X_train.max(axis=0)
        gap = (distance > rule) & ((lower <= X) & (upper >= X)).all(axis=1)
    return gap
