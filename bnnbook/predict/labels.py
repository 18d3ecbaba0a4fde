"""Named axes: arrays put into a model's order of dims and labels, or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from bnnbook.density.record import plain_labels

__all__ = ["aligned", "label_order", "own_dims"]


def own_dims(name: str, dims: Sequence[str | None]) -> tuple[str, ...]:
    """Dims as xarray has them: axes without a name are numbered."""
    return tuple(dim or f"{name}_dim_{axis}" for axis, dim in enumerate(dims))


def label_order(what: str, found: Any, wanted: Any) -> np.ndarray | None:
    """Where each of the ``wanted`` labels stands in ``found``; None if it is the same order.

    Raises ValueError that lists the labels if they are not the same.
    """
    found, wanted = plain_labels(found), plain_labels(wanted)
    if found == wanted:
        return None
    missing = [label for label in wanted if label not in found]
    more = [label for label in found if label not in wanted]
    if missing or more or len(found) != len(wanted) or len(set(found)) < len(found):
        lists = "; ".join(
            f"{kind} {_short(labels)}"
            for kind, labels in (("missing", missing), ("not known", more))
            if labels
        )
        raise ValueError(
            f"{what} must be {_short(wanted)}, got {_short(found)}"
            + (f" ({lists})" if lists else "")
        )
    return np.array([found.index(label) for label in wanted])


def aligned(
    value: xr.DataArray, name: str, dims: Sequence[str], labels: Mapping[str, Any]
) -> xr.DataArray:
    """``value`` with ``dims`` last, in this order, and their labels in the order of ``labels``.

    Raises ValueError if only some of the dims are there, or other labels.
    """
    there = [dim for dim in dims if dim in value.dims]
    if len(there) < len(dims):
        last = value.dims[max(0, value.ndim - len(dims)) :]  # none is named: by position
        if there or len(last) < len(dims) or set(last) & {"chain", "draw", "sample"}:
            raise ValueError(f"{name} must have the dims {tuple(dims)}, got {value.dims}")
        value = value.rename(dict(zip(last, dims, strict=True)))
    value = value.transpose(..., *dims)
    for dim in dims:
        if dim in labels and dim in value.coords and value.coords[dim].dims == (dim,):
            order = label_order(f"labels of {dim} in {name}", value[dim].to_numpy(), labels[dim])
            if order is not None:
                value = value.isel({dim: order})
    return value


def _short(labels: list[Any]) -> str:
    return str(labels) if len(labels) <= 12 else f"{str(labels[:12])[:-1]}, ...] ({len(labels)})"
