"""A fit and its predictor in one file: plain arrays, JSON and compiled code, checked when read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pymc as pm
import xarray as xr
from jax import export

from bnnbook.checks import positive_int
from bnnbook.density import precision
from bnnbook.density.record import ATTRIBUTE, model_record
from bnnbook.predict.archive import (
    from_npy,
    label_array,
    plain_attributes,
    read,
    to_npy,
    write,
)
from bnnbook.predict.code import from_bytes, to_bytes
from bnnbook.predict.compiling import compile_predictor, data_outputs
from bnnbook.predict.draws import Held, Parameter, as_dataset, check_record, held_values, open_draws
from bnnbook.predict.inputs import Input
from bnnbook.predict.plan import Plan
from bnnbook.predict.predictor import Predictor

__all__ = ["Saved", "load", "save"]


class Saved(NamedTuple):
    """What :func:`load` gives back: the predictor, and the fit with its group ``posterior``."""

    predictor: Predictor
    fit: xr.DataTree


def save(
    path: str | Path, model: pm.Model, fit: xr.DataTree | xr.Dataset, *,
    outputs: str | Sequence[str] | None = None, thin: int = 1, dtype: str = "float64",
    linearised: xr.DataTree | None = None,
) -> None:  # fmt: skip
    """Write a fit and the compiled predictor of its model into one file.

    The file holds the posterior draws, the fit's attributes, what predictions take from the fit
    (centres and spreads, columns, categories, groups) and the predictor as StableHLO by
    ``jax.export``; it holds no pickled code, and no data but what the model's own graph has as
    constants (with ``marginal_output`` that is all of it). :func:`load` needs neither the model nor
    the data. Files are portable between machines and systems, on processors (CPU), and
    between releases of JAX that write and read the same version of its calling convention.

    The file is written beside ``path``, read back, and only then put in its place: a failure leaves
    what was there.

    Parameters
    ----------
    path : path
    model : pymc.Model
        The model of the fit, or one built again with the same settings.
    fit : DataTree or Dataset
    outputs : str or sequence of str, optional
        Deterministics to predict; by default all that depend on data.
    thin : int
        Keep every ``thin``-th draw of each chain.
    dtype : {"float64", "float32"}
    linearised : fit with a mode, optional
        Save the linearised predictor of :func:`compile_predictor`, as for ``fit_laplace``.

    Raises
    ------
    TypeError, ValueError
        If the fit is not of this model, or the predictor cannot be exported for any number of rows.
    """
    step = positive_int("thin", thin)
    names = data_outputs(model) if outputs is None else outputs
    predictor = compile_predictor(model, names, dtype=dtype, linearised=linearised)
    dataset, _ = as_dataset(fit, list(predictor.parameters))
    draws = open_draws(fit, predictor.plan.parameters, predictor.plan.labels)
    check_record(draws.record, predictor.plan.fingerprints, predictor.plan.labels)
    held = held_values(draws, predictor.plan.held, predictor.plan.labels, {})
    along = [d for d in ("draw", "sample") if d in dataset.dims]
    if step > 1 and not along:
        raise ValueError(
            f"thin needs draws with the dim 'draw' or 'sample', got {list(draws.sizes)}; thin them "
            "before they are saved"
        )
    kept = dataset.isel(dict.fromkeys(along, slice(None, None, step)))
    stacked = [d for d in kept.dims if d in kept.indexes and kept.indexes[d].nlevels > 1]
    kept = kept.reset_index(stacked) if stacked else kept
    if not draws.record:
        kept = kept.assign_attrs({ATTRIBUTE: model_record(model, held)})
    members: dict[str, bytes] = {}
    variables = {}
    for i, (name, variable) in enumerate(kept.variables.items()):
        members[f"draws/{i}.npy"] = to_npy(label_array(f"labels of {name}", variable.to_numpy()))
        variables[str(name)] = [
            i,
            list(variable.dims),
            plain_attributes(variable.attrs),
            name in kept.coords,
        ]
    for name, value in held.items():
        members[f"held/{name}.npy"] = to_npy(value)
    members |= {
        f"labels/{dim}.npy": to_npy(label_array(f"labels of {dim}", labels))
        for dim, labels in predictor.plan.labels.items()
        if not _is_json(labels)
    }
    members["predictor"] = _exported(predictor)
    members["index"], meta_index = _exported_indices(predictor, held)
    meta = {
        "versions": {"jax": jax.__version__},
        "plan": _plan_json(predictor.plan),
        "variables": variables,
        "attrs": plain_attributes(kept.attrs),
        "fit": plain_attributes(fit.attrs) if isinstance(fit, xr.DataTree) else {},
        "index": meta_index,
    }
    members["meta.json"] = json.dumps(meta).encode()
    write(Path(path), members, load)


def load(path: str | Path) -> Saved:
    """Read what :func:`save` wrote.

    Returns
    -------
    Saved
        ``predictor, fit``: a :class:`Predictor` and a DataTree with the group ``posterior``.

    Raises
    ------
    ValueError
        If the file is no such file, was cut or altered, or is of an incompatible version.
    """
    members = read(Path(path))
    meta = json.loads(members["meta.json"])
    variables: dict[str, Any] = {}
    coords: dict[str, Any] = {}
    for name, (i, dims, attrs, is_coord) in meta["variables"].items():
        variable = xr.Variable(dims, from_npy(members[f"draws/{i}.npy"]), attrs)
        (coords if is_coord else variables)[name] = variable
    posterior = xr.Dataset(variables, coords, meta["attrs"])
    fit = xr.DataTree.from_dict({"posterior": posterior})
    fit.attrs = meta["fit"]
    plan = _plan(meta["plan"], members)
    code = from_bytes(members["predictor"], meta["versions"]["jax"])

    def call(values: list, rows: list, fixed: list) -> tuple:
        return code(*values, *rows, *fixed)

    return Saved(Predictor(plan, call, _index_check(members["index"], meta)), fit)


def _exported(predictor: Predictor) -> bytes:
    """The predictor's code for any number of draws and rows."""
    plan = predictor.plan
    n_draws, rows = export.symbolic_shape("d, n")
    shapes: list[tuple] = [((n_draws, *p.shape), p.dtype) for p in plan.parameters.values()]
    for spec in plan.inputs.values():
        shape = tuple(rows if i == spec.axis else s for i, s in enumerate(spec.shape))
        shapes.append((shape, spec.dtype))
    fixed = [held.value for held in plan.held.values() if not held.constant]
    shapes += [(value.shape, value.dtype) for value in fixed]
    a, b = len(plan.parameters), len(plan.parameters) + len(plan.inputs)

    def flat(*args: Any) -> tuple:
        return tuple(predictor.call(list(args[:a]), list(args[a:b]), list(args[b:])))

    return to_bytes(flat, shapes, plan.dtype)


def _exported_indices(
    predictor: Predictor, held: Mapping[str, np.ndarray]
) -> tuple[bytes, dict[str, Any]]:
    """The code of what indexes something, and the lengths of what is indexed."""
    ranges, plan = predictor.ranges, predictor.plan
    if ranges is None or not ranges.names:
        return b"", {}
    examples = {n: np.zeros([1 if i == s.axis else k for i, k in enumerate(s.shape)], s.dtype)
                for n, s in plan.inputs.items()}  # fmt: skip
    lengths = [int(n) for n in ranges.evaluate(examples | dict(held))[1::2]]
    (rows,) = export.symbolic_shape("n")
    shapes: list[tuple] = []
    for name in ranges.order:
        spec = plan.inputs.get(name)
        value = held.get(name)
        if spec is not None:
            shape = tuple(rows if i == spec.axis else s for i, s in enumerate(spec.shape))
            shapes.append((shape, spec.dtype))
        elif value is not None:
            shapes.append((value.shape, value.dtype))
    return to_bytes(ranges.in_jax(), shapes, "float64"), {
        "order": list(ranges.order), "lengths": lengths,
        "names": [list(n) for n in ranges.names], "indexed": list(ranges.indexed),
    }  # fmt: skip


def _index_check(code: bytes, meta: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], None]:
    about = meta["index"]
    if not about:
        return lambda _: None
    function = from_bytes(code, meta["versions"]["jax"])

    def check(values: Mapping[str, np.ndarray]) -> None:
        with precision("float64"):
            found = function(*(values[name] for name in about["order"]))
        parts = zip(about["names"], about["indexed"], found, about["lengths"], strict=True)
        for names, indexed, index, length in parts:
            index = np.asarray(index)
            bad = np.argwhere((index < 0) | (index >= length))
            if len(bad):
                row = tuple(int(i) for i in bad[0])
                raise ValueError(
                    f"{', '.join(names)} must index {indexed} of length {length} by integers from "
                    f"0 to {length - 1}, got {index[row]} in row {', '.join(map(str, row))}"
                )

    return check


def _plan_json(plan: Plan) -> dict[str, Any]:
    return {
        "outputs": {n: list(d) for n, d in plan.outputs.items()},
        "parameters": {n: list(p) for n, p in plan.parameters.items()},
        "inputs": {n: list(i) for n, i in plan.inputs.items()},
        "held": {n: [list(h.dims), h.constant] for n, h in plan.held.items()},
        "labels": {d: v.tolist() if _is_json(v) else None for d, v in plan.labels.items()},
        "whole": plan.whole,
        "fingerprints": dict(plan.fingerprints),
        "dtype": plan.dtype,
    }


def _is_json(labels: np.ndarray) -> bool:
    """Whether JSON has labels as they are; others, as dates, are members of their own."""
    return labels.dtype.kind in "iufbU"


def _plan(text: Mapping[str, Any], members: Mapping[str, bytes]) -> Plan:
    return Plan(
        outputs={n: tuple(d) for n, d in text["outputs"].items()},
        parameters={
            n: Parameter(tuple(d), tuple(s), t) for n, (d, s, t) in text["parameters"].items()
        },
        inputs={n: Input(tuple(d), tuple(s), t, a) for n, (d, s, t, a) in text["inputs"].items()},
        held={
            n: Held(tuple(d), from_npy(members[f"held/{n}.npy"]), c)
            for n, (d, c) in text["held"].items()
        },
        labels={
            d: from_npy(members[f"labels/{d}.npy"]) if v is None else np.asarray(v)
            for d, v in text["labels"].items()
        },
        whole=text["whole"],
        fingerprints=text["fingerprints"],
        dtype=text["dtype"],
    )
