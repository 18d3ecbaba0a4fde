"""New data of a model's containers: in its order of columns, and in its dtypes without a loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from bnnbook.categories import INDEX, LEVEL, codes_of
from bnnbook.frames import check_complete, exact_array, frame_labels, is_frame
from bnnbook.predict.draws import Held
from bnnbook.predict.labels import aligned, label_order, own_dims

__all__ = ["Input", "open_inputs"]


class Input(NamedTuple):
    """A container of rows: its dims (None without a name), shape, dtype and the axis of rows."""

    dims: tuple[str | None, ...]
    shape: tuple[int, ...]
    dtype: str
    axis: int


def open_inputs(
    X: Any, inputs: Mapping[str, Input], held: Mapping[str, Held], labels: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """New rows by container, and new values of other data, checked.

    Raises
    ------
    TypeError, ValueError
        If names, shapes or columns are not the model's, a value is missing, not finite, or would
        be another one in the container's dtype.
    """
    X = _by_container(X, inputs, labels)
    if not isinstance(X, Mapping):
        if len(inputs) > 1:
            raise TypeError(
                f"X must be a dict with {', '.join(inputs)}, since the outputs depend on "
                f"all of them; got {type(X).__name__}"
            )
        X = {next(iter(inputs)): X}
    if not set(inputs) <= set(X) <= {*inputs, *held}:
        also = f" (and may have {sorted(held)})" if held else ""
        raise ValueError(
            f"X must have exactly the data {sorted(inputs)}{also}, got {sorted(map(str, X))}"
        )
    rows = {name: _rows(name, X[name], spec, labels) for name, spec in inputs.items()}
    lengths = {name: a.shape[inputs[name].axis] for name, a in rows.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"X must have the same number of rows in each input, got {lengths}")
    others = {}
    for name in X:
        if name in held:
            array = _plain(str(name), X[name], held[name].dims, labels)
            others[str(name)] = _cast(str(name), array, held[name].value.dtype)
    return rows, others


def _by_container(X: Any, inputs: Mapping[str, Input], labels: Mapping[str, Any]) -> Any:
    """A frame whose category columns a model embeds, as that model's containers."""
    columns = {
        name.removesuffix(INDEX): name
        for name, spec in inputs.items()
        if name.endswith(INDEX)
        and len(spec.shape) == 1
        and np.dtype(spec.dtype).kind in "iu"
        and name.removesuffix(INDEX) + LEVEL in labels
    }
    numbers = [
        n for n, spec in inputs.items() if n not in columns.values() and len(spec.shape) == 2
    ]
    if not columns or len(numbers) != 1:
        return X
    (own,) = numbers
    more: dict[str, Any] = {}
    if isinstance(X, Mapping) and own in X and not set(columns.values()) & set(X):
        frame, more = X[own], {n: v for n, v in X.items() if n != own}
    else:
        frame = X
    if not is_frame(frame):
        return X
    given = frame_labels(own, frame)
    missing = [column for column in columns if column not in given]
    if missing:
        raise ValueError(
            f"columns of {own} must have the categories {sorted(columns)}, got {given} "
            f"(missing {missing})"
        )
    if not len(frame):
        raise ValueError(f"{own} must have at least one row, got shape {tuple(frame.shape)}")
    check_complete(own, frame, given, categories=columns)
    codes = {
        name: codes_of(column, frame[column], np.asarray(labels[column + LEVEL]).tolist())
        for column, name in columns.items()
    }
    return {own: frame[[c for c in given if c not in columns]], **codes, **more}


def _rows(name: str, value: Any, spec: Input, labels: Mapping[str, Any]) -> np.ndarray:
    named = {d: v for d, v in labels.items() if spec.dims and d != spec.dims[spec.axis]}
    array = _plain(name, value, spec.dims, named)
    if array.ndim != len(spec.shape) or any(
        i != spec.axis and s != spec.shape[i] for i, s in enumerate(array.shape)
    ):
        expected = ["n" if i == spec.axis else str(s) for i, s in enumerate(spec.shape)]
        shape = ", ".join(expected) + ("," if len(expected) == 1 else "")
        one = array.ndim == 1 and len(array) in spec.shape[1:] and len(spec.shape) == 2
        hint = "; one row is x[None], of a frame df.iloc[[i]]" if one else ""
        raise ValueError(f"{name} must have shape ({shape}), got {array.shape}{hint}")
    if array.size == 0:
        raise ValueError(f"{name} must have at least one row, got shape {array.shape}")
    if name == "exposure" and (array < 0).any():
        row = int(np.argwhere(array < 0)[0][0])
        raise ValueError(f"exposure must not be negative, got {array[row]} in row {row}")
    return _cast(name, array, np.dtype(spec.dtype))


def _plain(
    name: str, value: Any, dims: tuple[str | None, ...], labels: Mapping[str, Any]
) -> np.ndarray:
    """Numbers in the order of the model's axes and columns, in the dtype that they have."""
    if isinstance(value, xr.DataArray):
        wanted = own_dims(name, dims)
        if set(value.dims) & set(wanted):
            rows = next((d for d in value.dims if d not in wanted), None)
            left = [d for d in wanted if d not in value.dims]
            if rows is not None and len(left) == 1:  # rows may have any name
                value = value.rename({rows: left[0]})
            value = aligned(value, name, wanted, labels)
        return exact_array(name, value.to_numpy())
    if not (is_frame(value) and len(dims) == 2):
        return exact_array(name, value)
    columns = frame_labels(name, value)
    order = _columns(name, columns, labels.get(str(dims[1])))
    check_complete(name, value, columns)
    parts = [exact_array(name, value[c], where=f", column {c!r}") for c in columns]
    if not parts:
        raise ValueError(f"{name} must have columns, got shape {tuple(value.shape)}")
    if len({part.dtype.kind for part in parts}) > 1:
        parts = [_cast(name, part, np.dtype(np.float64)) for part in parts]
    return np.column_stack([parts[i] for i in order])


def _columns(name: str, columns: list[Any], labels: Any) -> list[int]:
    """Where the model's columns are in a frame; in its own order if the model has no names."""
    in_order = list(range(len(columns)))
    if labels is None:
        return in_order
    wanted = np.asarray(labels).tolist()
    numbered = wanted == list(range(len(wanted)))
    if numbered and all(isinstance(c, str) for c in columns):
        return in_order  # the model was built of an array
    order = label_order(f"columns of {name}", columns, wanted)
    return in_order if order is None else order.tolist()


def _cast(name: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The same numbers in another dtype: none may change, but that decimals are rounded."""
    if dtype.kind in "iub" and array.dtype.kind == "f":
        kind = "booleans" if dtype.kind == "b" else "integers"
        raise TypeError(f"{name} must be {kind}, got dtype {array.dtype}")
    with np.errstate(over="ignore"):
        result = array.astype(dtype)
    if dtype.kind == "f" and array.dtype.kind == "f":
        changed = ~np.isfinite(result)
    elif dtype.kind == "f" and array.dtype.kind in "iu":
        with np.errstate(invalid="ignore"):
            changed = (result.astype(np.longdouble) - array.astype(np.longdouble)) != 0
    else:
        changed = result != array
    if changed.any():
        index = tuple(int(i) for i in np.argwhere(changed)[0])
        where = f" in row {index[0]}" if index else ""
        column = f", column {index[1]}" if len(index) > 1 else ""
        raise ValueError(
            f"{name} must hold values that {dtype} can hold, got {array[index]}{where}{column}"
        )
    return result
