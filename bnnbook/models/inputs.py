"""X and y of a builder: arrays, frames and ``pm.Minibatch`` tensors, checked and opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import pytensor
from pymc.data import MinibatchOp
from pytensor.compile.mode import Mode
from pytensor.tensor import TensorVariable

from bnnbook.checks import same_rows
from bnnbook.frames import (
    exact_array,
    frame_labels,
    is_frame,
    label_codes,
    real_array,
    real_matrix,
)
from bnnbook.models.embeddings import Category, embedding_coords, open_categories

__all__ = [
    "Data",
    "any_inputs",
    "class_labels",
    "moments",
    "named_data",
    "open_data",
    "targets",
]

LARGEST = 1e90  # spreads beyond this, or below its inverse, have cubes that float64 cannot hold


class Data(NamedTuple):
    """Inputs and targets of a model, opened.

    Attributes
    ----------
    X, y : arrays, or tensors of one ``pm.Minibatch``
    full_X, full_y : arrays
        All rows; the same as X and y for arrays.
    features : list
        Names of X's columns, 0, 1, ... for arrays; none if X has not two axes.
    labels : list or None
        Names of y's classes or, of a frame of targets, of its columns.
    total_size : int or None
    categories : tuple of Category
        Columns that are embedded; X has the others.
    """

    X: Any
    y: Any
    full_X: np.ndarray
    full_y: np.ndarray
    features: list[Any]
    labels: list[Any] | None
    total_size: int | None
    categories: tuple[Category, ...] = ()

    @property
    def minibatch(self) -> bool:
        return isinstance(self.X, TensorVariable)

    @property
    def X_dims(self) -> tuple[str, ...]:
        """Dims of X: rows and features, or rows and axes by their number."""
        if self.full_X.ndim == 2:
            return "obs_id", "feature"
        return "obs_id", *(f"X_dim_{i}" for i in range(1, self.full_X.ndim))

    def coords(self) -> dict[str, Any]:
        """Labels of the rows, which a minibatch has none of, and of the features."""
        rows = {} if self.minibatch else {"obs_id": np.arange(len(self.full_X))}
        if self.full_X.ndim == 2:
            more = embedding_coords(self.features, self.categories)
            return {**rows, "feature": self.features, **more}
        axes = zip(self.X_dims[1:], self.full_X.shape[1:], strict=True)
        return rows | {dim: np.arange(length) for dim, length in axes}

    def inputs(self) -> int:
        """Number of inputs of the first layer."""
        return len(self.features) + sum(category.width for category in self.categories)

    def containers(self, *outputs: str) -> tuple[TensorVariable, TensorVariable]:
        """X and y in the current model."""
        if self.minibatch:
            return self.X, self.y
        X = pm.Data("X", self.X, dims=self.X_dims, borrow=True)  # a copy already
        return X, pm.Data("y", self.y, dims=("obs_id", *outputs))

    def fitted_rows(self) -> tuple[TensorVariable, TensorVariable]:
        """The same rows again, for what predictions at other inputs depend on besides draws."""
        pm.modelcontext(None).add_coord("fitted_id", np.arange(len(self.full_X)))
        X = pm.Data("X_fitted", self.full_X, dims=("fitted_id", *self.X_dims[1:]), borrow=True)
        return X, pm.Data("y_fitted", self.full_y, dims="fitted_id")


CheckTargets = Callable[[Any], tuple[np.ndarray, list[Any] | None]]
CheckInputs = Callable[[str, Any], tuple[np.ndarray, list[Any] | None]]


def open_data(
    X: Any,
    y: Any,
    total_size: int | None,
    check_y: CheckTargets,
    category_dims: Mapping[str, int] | None = None,
    category_sd: float | str = 1.0,
    check_X: CheckInputs = real_matrix,
) -> Data:
    """Check the inputs and the targets of a model.

    Raises
    ------
    TypeError
        If values are not of the right kind, or only one of X and y is a tensor.
    ValueError
        If shapes disagree, a value is missing or not finite, or ``total_size`` is missing for
        tensors or given for arrays.
    """
    if category_dims is None and category_sd != 1.0:
        raise ValueError(f"category_sd needs category_dims, got {category_sd!r} without")
    if isinstance(X, TensorVariable) or isinstance(y, TensorVariable):
        if category_dims is not None:
            raise TypeError("X must be a frame for category_dims, got a tensor of pm.Minibatch")
        return _open_minibatch(X, y, total_size, check_y, check_X)
    if total_size is not None:
        raise ValueError(
            "total_size belongs to pm.Minibatch tensors; with arrays the likelihood already "
            f"counts every row once, got total_size={total_size!r}"
        )
    same_rows(X, y, "y")
    categories: tuple[Category, ...] = ()
    if category_dims is not None:
        X, categories = open_categories(X, category_dims, category_sd)
    X, names = check_X("X", X)
    y, labels = check_y(y)
    if len(X) != len(y):
        raise ValueError(f"X and y must have the same length, got {len(X)} and {len(y)}")
    features = _columns(X) if names is None else list(names)
    return Data(X, y, X, y, features, labels, None, categories)


def any_inputs(name: str, X: Any) -> tuple[np.ndarray, list[Any] | None]:
    """Numbers (rows, ...) of any number of axes; integers keep their dtype. A frame as usual."""
    if is_frame(X):
        return real_matrix(name, X)
    array = exact_array(name, X)
    if not array.ndim or not array.size:
        raise ValueError(f"{name} must have rows, got shape {array.shape}")
    return array, None


def _columns(X: np.ndarray) -> list[Any]:
    return list(range(X.shape[1])) if X.ndim == 2 else []


def class_labels(y: Any, n_classes: int) -> tuple[np.ndarray, list[Any] | None]:
    """Labels 0, ..., n_classes - 1 of any shape, and the classes' names if they have names."""
    kind = np.asarray(y).dtype
    if kind.kind == "f" and not hasattr(y, "isna"):
        raise TypeError(
            f"y must hold integer labels 0..{n_classes - 1}, got dtype {kind}; write y.astype(int)"
        )
    codes, labels = label_codes("y", y)
    if labels is not None and len(labels) != n_classes:
        raise ValueError(
            f"y must have n_classes={n_classes} classes, got {len(labels)}: {labels[:10]}"
        )
    if codes.size and (codes.min() < 0 or codes.max() >= n_classes):
        bad = codes[(codes < 0) | (codes >= n_classes)][0]
        raise ValueError(f"y must hold labels 0..{n_classes - 1}, got {bad}")
    return codes.astype(np.int64, copy=False), labels


def class_column(y: Any, n_classes: int) -> tuple[np.ndarray, list[Any] | None]:
    """:func:`class_labels` of one axis."""
    if np.ndim(y) != 1:
        raise ValueError(
            f"y must have one axis (rows), got shape {np.shape(y)}; a column (n, 1) is y.ravel(), "
            "one column a class is y.argmax(axis=1)"
        )
    return class_labels(y, n_classes)


def targets(y: Any) -> tuple[np.ndarray, list[Any] | None]:
    """Targets (rows,) or (rows, outputs) that vary, and their names if y is a frame."""
    labels = None
    if is_frame(y):
        labels = frame_labels("y", y)
        y = np.column_stack([real_array("y", y[c], where=f", column {c!r}") for c in labels])
    else:
        y = real_array("y", y)
    if y.ndim not in (1, 2) or y.size == 0:
        raise ValueError(f"y must have shape (rows,) or (rows, outputs), got {y.shape}")
    constant = np.ptp(y, axis=0) == 0
    if constant.any():
        value = y[0] if y.ndim == 1 else y[0, np.argmax(constant)]
        where = "" if y.ndim == 1 else f" in output {np.argmax(constant)}"
        raise ValueError(f"y must vary, got the constant {value}{where}")
    centre, spread = moments(y)
    rounding = np.spacing(np.abs(y).max(axis=0))
    if (spread < 16 * rounding).any():
        raise ValueError(
            f"y must vary by more than rounding: its sd is {np.min(spread):.3g}, and numbers near "
            f"{np.max(np.abs(centre)):.3g} are {np.max(rounding):.3g} apart; subtract an offset "
            "before it is lost"
        )
    if (spread > LARGEST).any() or (spread < 1 / LARGEST).any():
        raise ValueError(
            f"y must have an sd between {1 / LARGEST:g} and {LARGEST:g}, got "
            f"{np.ravel(spread)[np.argmax(np.abs(np.log(np.ravel(spread))))]:.3g}; "
            "give it in another unit"
        )
    return y, labels


def moments(a: np.ndarray) -> tuple[Any, Any]:
    """Mean and sd over the rows, also where squares would leave the range of float64."""
    size = np.abs(a).max(axis=0)
    unit = np.where(size > 0, size, 1.0)
    scaled = a / unit
    return unit * scaled.mean(axis=0), unit * scaled.std(axis=0)


def input_moments(X: np.ndarray, features: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Centre and spread of each column; a column that varies by rounding alone has spread 1."""
    centre, spread = moments(X)
    constant = spread < 16 * np.spacing(np.abs(X).max(axis=0))
    spread = np.where(constant, 1.0, spread)
    extreme = (spread > LARGEST) | (spread < 1 / LARGEST)
    if extreme.any():
        first = int(np.argmax(extreme))
        raise ValueError(
            f"X must have columns of an sd between {1 / LARGEST:g} and {LARGEST:g}, got "
            f"{spread[first]:.3g} in column {features[first]!r}; give it in another unit"
        )
    return centre, spread


def named_data(name: str, value: Any, dims: tuple[str, ...]) -> TensorVariable:
    """A number that depends on the data, as data of the current model: it goes into every fit.

    It is in float64 whatever ``pytensor.config.floatX``, and does not have to be the same to share
    compiled code.
    """
    array = np.asarray(value, dtype=np.float64)
    with pytensor.config.change_flags(floatX="float64"):
        return pm.Data(name, array, dims=dims or None, shape=array.shape)


def _open_minibatch(
    X: Any, y: Any, total_size: int | None, check_y: CheckTargets, check_X: CheckInputs
) -> Data:
    """Check the pair and redraw it.

    Labels are redrawn in int32: PyMC narrows observed int64 by a cast, and then refuses the cast
    minibatch.
    """
    if not (isinstance(X, TensorVariable) and isinstance(y, TensorVariable)):
        raise TypeError(
            "X and y must both be arrays or both come from one pm.Minibatch call, "
            f"got {type(X).__name__} and {type(y).__name__}"
        )
    if not (X.owner and isinstance(X.owner.op, MinibatchOp) and X.owner is y.owner):
        raise ValueError(
            "X and y must come from one pm.Minibatch(X, y, batch_size=...) call, "
            "else their rows are mispaired"
        )
    if total_size is None:
        raise ValueError(
            "total_size must be given with minibatch tensors, else the likelihood is "
            "under-weighted by N/n"
        )
    if isinstance(total_size, bool) or not isinstance(total_size, int | np.integer):
        raise TypeError(f"total_size must be a Python int or a NumPy integer, got {total_size!r}")
    inputs, outputs = X.owner.inputs, X.owner.outputs
    full_X, full_y = (
        inputs[outputs.index(tensor)].eval(mode=Mode("py", None)) for tensor in (X, y)
    )
    full_X, _ = check_X("X", full_X)
    full_y, labels = check_y(full_y)
    if total_size != len(full_X):
        raise ValueError(
            f"total_size must be the {len(full_X)} rows behind the minibatch, got {total_size}"
        )
    batch_size = X.type.shape[0]
    if batch_size > len(full_X):
        raise ValueError(f"batch_size must be at most the {len(full_X)} rows, got {batch_size}")
    observed = full_y if full_y.dtype.kind == "f" else full_y.astype(np.int32)
    batch_X, batch_y = pm.Minibatch(full_X, observed, batch_size=batch_size)
    batch_X.name, batch_y.name = "X", "y"  # a predictor asks for X by this name
    features = _columns(full_X)
    return Data(batch_X, batch_y, full_X, full_y, features, labels, int(total_size))
