"""What predictions depend on besides the draws: written with every fit, compared at prediction."""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple, is_dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pymc as pm
from pymc.data import MinibatchOp
from pytensor.compile import SharedVariable
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.op import Op
from pytensor.graph.traversal import ancestors
from pytensor.graph.type import Type
from pytensor.scalar.basic import ScalarOp

__all__ = [
    "ATTRIBUTE",
    "ROW_DIMS",
    "content",
    "fingerprint",
    "model_record",
    "output_fingerprints",
    "plain_labels",
    "record_of",
    "record_without",
]

ROW_DIMS = ("obs_id", "obs")  # names of the axis of the data's rows
LARGEST = 512  # numbers of a container that are written out; of a larger one, a checksum
ATTRIBUTE = "model"


def model_record(model: pm.Model, data: Mapping[str, np.ndarray] | None = None) -> str:
    """What a fit has to hold besides its draws, as JSON.

    The data that are no rows (centres and spreads, knots, codes of levels), the labels of dims that
    no free variable carries (classes), and a fingerprint of each deterministic's graph.

    Parameters
    ----------
    model : pymc.Model
    data : mapping of container name to array, optional
        Values that the fit was made with, where they are not the model's current ones.
    """
    own: set[Any] = {d for rv in model.free_RVs for d in model.named_vars_to_dims.get(rv.name, ())}
    held = {}
    kept_dims: set[Any] = set()
    for variable in model.data_vars:
        dims = model.named_vars_to_dims.get(variable.name, ())
        if set(dims) & set(ROW_DIMS):
            continue
        value = np.asarray((data or {}).get(variable.name, variable.get_value(borrow=True)))
        held[variable.name] = {"dims": list(dims), **content(value)}
        kept_dims |= set(dims)
    coords = {
        dim: plain_labels(labels)
        for dim, labels in model.coords.items()
        if labels is not None
        and len(labels) <= LARGEST
        and dim not in ROW_DIMS
        and (dim not in own or dim in kept_dims)
    }
    return json.dumps(
        {
            "versions": _versions(),
            "outputs": output_fingerprints(model),
            "data": held,
            "coords": coords,
        },
        default=str,
    )


def plain_labels(labels: Any) -> list[Any]:
    """Labels as JSON has them, to compare by: dates, of whatever kind and unit, as text."""
    array = np.asarray(labels)
    if array.dtype.kind == "M":
        return [_date_text(v) for v in np.datetime_as_string(array).tolist()]
    return [_plain_label(v) for v in array.tolist()] if array.dtype.kind in "OS" else array.tolist()


def _plain_label(label: Any) -> Any:
    if isinstance(label, datetime.date):
        return _date_text(label.isoformat())
    return label if isinstance(label, str | int | float) else str(label)


def _date_text(text: str) -> str:
    """A date in ISO's form without what says nothing: midnight, and zeros of a fraction."""
    day, separator, time = text.partition("T")
    if not (separator and time):  # the latter is NaT, no date at all
        return text
    time = time.rstrip("0").rstrip(".") if "." in time else time
    return day if time.strip("0:") == "" else f"{day}T{time}"


def record_of(*carriers: Mapping[str, Any]) -> dict[str, Any]:
    """The record in the first of some attributes that has one, {} if none has.

    Fingerprints of other versions of PyMC are left out: they may write the same model otherwise.
    """
    for attributes in carriers:
        if isinstance(text := attributes.get(ATTRIBUTE), str):
            record = json.loads(text)
            if record.get("versions") != _versions():
                record["outputs"] = {}
            return record
    return {}


def record_without(record: Mapping[str, Any], dim: str) -> str:
    """A record, written out, without what belongs to the labels of ``dim``."""
    coords = {d: labels for d, labels in record["coords"].items() if d != dim}
    data = {n: kept for n, kept in record["data"].items() if dim not in kept["dims"]}
    return json.dumps({**record, "coords": coords, "data": data})


def content(value: np.ndarray) -> dict[str, Any]:
    """Values of an array and their dtype, or a checksum of both where they are many."""
    if value.size > LARGEST:
        return {"sha256": _digest(value.dtype.str, value.shape, np.ascontiguousarray(value))}
    return {"dtype": value.dtype.str, "values": value.tolist()}


@functools.cache  # reading them takes as long as building a small model
def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("pymc", "pytensor", "jax")}


def output_fingerprints(model: pm.Model) -> dict[str, str | None]:
    """:func:`fingerprint` of each deterministic, as a function of draws and data."""
    free = {rv: ("free", rv.name) for rv in model.free_RVs}
    found = {}
    for output in model.deterministics:
        data = [
            v
            for v in ancestors([output], blockers=model.free_RVs)
            if v in model.data_vars or (v.owner and isinstance(v.owner.op, MinibatchOp))
        ]
        # by order and not by name, which a minibatch does not have
        inputs = free | {v: ("data", i) for i, v in enumerate(data)}
        found[output.name] = fingerprint([output], inputs)
    return found


def fingerprint(outputs: Iterable[Variable], inputs: Mapping[Variable, Any]) -> str | None:
    """Checksum of the operations and constants between ``inputs``, named by their values, and
    ``outputs``; None where an operation is a Python function, of which nothing tells two apart.
    """
    known: dict[Variable, str] = {v: _digest("input", name) for v, name in inputs.items()}
    try:
        return _digest(*(_of_variable(output, known) for output in outputs))
    except _UnknownError:
        return None


class _UnknownError(Exception):
    """Two operations of this kind cannot be told apart."""


def _of_variable(output: Variable, known: dict[Variable, str]) -> str:
    waiting = [output]
    while waiting:  # not recursive: graphs are deep
        variable = waiting[-1]
        if variable in known:
            waiting.pop()
            continue
        node = variable.owner
        if node is None:
            known[variable] = _of_leaf(variable)
            continue
        missing = [v for v in node.inputs if v not in known]
        if missing:
            waiting += missing
            continue
        operation = _of_value(node.op)
        parts = [known[v] for v in node.inputs]
        for index, made in enumerate(node.outputs):
            known.setdefault(made, _digest(operation, index, *parts))
    return known[output]


def _of_leaf(variable: Variable) -> str:
    if isinstance(variable, Constant):
        return _digest("constant", variable.type.__class__.__name__, _of_value(variable.data))
    if isinstance(variable, SharedVariable):
        return _digest("shared", _of_value(variable.get_value(borrow=True)))
    raise _UnknownError


def _of_value(value: Any) -> str:
    """Checksum of an operation or of what it is made of."""
    if isinstance(value, Op):
        return _of_operation(value)
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "O":
            raise _UnknownError
        return _digest(value.dtype.str, value.shape, np.ascontiguousarray(value))
    if isinstance(value, Mapping):
        return _digest("map", *(_of_value(item) for item in sorted(value.items())))
    if isinstance(value, tuple | list | frozenset):
        return _digest(type(value).__name__, *(_of_value(item) for item in value))
    plain = str | bytes | int | float | complex | slice | np.generic | np.dtype | Type | type
    if value is None or value is Ellipsis or isinstance(value, plain):
        return _digest(type(value).__name__, value)
    if is_dataclass(value) and not isinstance(value, type):
        return _digest(type(value).__name__, _of_value(astuple(value)))
    raise _UnknownError


def _of_operation(op: Op) -> str:
    kind = f"{type(op).__module__}.{type(op).__qualname__}"
    if hasattr(op, "fgraph"):
        if "scan" in kind:
            raise _UnknownError
        inner = fingerprint(op.fgraph.outputs, {v: i for i, v in enumerate(op.fgraph.inputs)})
        if inner is None:
            raise _UnknownError
        return _digest(kind, inner)
    if isinstance(op, ScalarOp):
        return _digest(kind, op)
    if (code := getattr(op, "code", None)) is not None:  # a network of JAX
        return _digest(kind, _of_value(code))
    if getattr(op, "__props__", None) is None:
        raise _UnknownError
    return _digest(kind, *(_of_value(getattr(op, name)) for name in op.__props__))


def _digest(*parts: Any) -> str:
    total = hashlib.sha256()
    for part in parts:
        content = memoryview(part).cast("B") if isinstance(part, np.ndarray) and part.ndim else (
            repr(part) if isinstance(part, str | bytes | tuple) else str(part)
        ).encode()  # fmt: skip
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()
