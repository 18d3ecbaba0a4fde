"""From a model's deterministics to one compiled function of draws and data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from pymc.data import MinibatchOp
from pytensor.compile import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.graph.replace import clone_replace, graph_replace
from pytensor.graph.traversal import ancestors, graph_inputs
from pytensor.tensor.random.type import RandomType

from bnnbook.checks import float_dtype
from bnnbook.density import IN_PYTHON, compiled_once, jax_function
from bnnbook.density.indices import IndexRanges, index_ranges
from bnnbook.density.record import ROW_DIMS, fingerprint, output_fingerprints
from bnnbook.predict.draws import Held, Parameter
from bnnbook.predict.inputs import Input
from bnnbook.predict.linearised import expansion_point, linearised_function
from bnnbook.predict.plan import Plan
from bnnbook.predict.predictor import Predictor
from bnnbook.predict.rows import Rows, Source, find_rows

__all__ = ["compile_predictor", "data_outputs"]

FEW = 1024  # numbers in the rows for which draws are taken together, several at a time


def compile_predictor(
    model: pm.Model,
    outputs: str | Sequence[str],
    *,
    linearised: xr.DataTree | None = None,
    dtype: str = "float64",
) -> Predictor:
    """Compile a model's deterministics into one function of (posterior draws, new inputs).

    The draws and the inputs are arguments of one compiled JAX function, so neither a new posterior
    nor new data compiles anything again, except for the first call at a new block shape (row counts
    are padded to powers of two from 8 to 2,048, but one row is computed alone). Works with any
    model whose inputs are in ``pm.Data`` or ``pm.Minibatch``.

    Rows are the axis named ``obs_id`` or ``obs``, else that of the observed variable by name; of
    data without names, the first axis, where it is as long as the observed data and the outputs
    can be computed for another length of it.

    Working memory is bounded by blocks of 2,048 rows times all draws (times the output's trailing
    size), 8 bytes each: 16 MB for 1,000 draws of one number. The result itself holds draws x rows;
    for 1,000 draws x 1,000,000 rows that is 8 GB, or 8 MB with ``reduce="mean"``. Where a row's
    output depends on other rows, all are one block.

    Parameters
    ----------
    model : pymc.Model
    outputs : str or sequence of str
        Names of deterministics that depend on the data.
    linearised : fit with a mode, optional
        A result of ``fit_laplace`` or ``fit_map``: the network's output, before its link, is
        replaced by its first-order expansion in the parameters at that mode (Immer et al. 2021,
        eq. 8). The draws may be those of any fit.
    dtype : {"float64", "float32"}
        Precision of the computation and of the results. Single precision takes half the memory and
        two to four times less time on wide networks, with errors of about 1e-6 in a probability.

    Returns
    -------
    Predictor
        ``f(posterior, X, reduce=None)`` -> Dataset with dims (chain, draw, obs, ...): the data axis
        is always called ``obs``; the other dims and labels are the model's.

    Raises
    ------
    TypeError
        If ``model`` is not a model, or ``linearised`` no fit.
    ValueError
        If an output does not exist (those that do are listed), does not depend on data or cannot be
        computed for another number of rows, the model has no ``pm.Data`` inputs, or ``linearised``
        has no mode.
    """
    if not isinstance(model, pm.Model):
        raise TypeError(f"model must be a pymc.Model, got {type(model).__name__}")
    dtype = float_dtype(dtype)
    names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    known = [v.name for v in model.deterministics]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ValueError(
            f"outputs must be deterministics of the model, {sorted(known)}; got {list(names)}"
        )
    graphs, free = _free_placeholders(model, [model[name] for name in names])
    graphs, data, sources = _data_placeholders(model, graphs)
    if not sources:
        raise ValueError(
            f"model must have pm.Data inputs that {', '.join(names)} depend on, got none"
        )
    parameters = _parameters(model, free)
    inputs = [*free.values(), *data.values()]
    rows, final, function = _rows_and_function(model, names, graphs, inputs, sources, parameters)
    held = [name for name in sources if name not in rows.axes]
    constant = {name for name in held if sources[name].value.dtype.kind != "f"}
    plan = Plan(
        outputs={
            name: _output_dims(model, name, axis, graph.type.ndim)
            for name, axis, graph in zip(names, rows.outputs, graphs, strict=True)
        },
        parameters=parameters,
        inputs={
            name: Input(s.dims, s.value.shape, s.value.dtype.str, rows.axes[name])
            for name, s in sources.items()
            if name in rows.axes
        },
        held={n: Held(sources[n].dims, sources[n].value, n in constant) for n in held},
        labels=_labels(model, rows.axes, sources),
        whole=rows.whole,
        fingerprints={n: f for n, f in output_fingerprints(model).items() if n in names},
        dtype=dtype,
    )
    order = tuple((n in rows.axes, n) for n in sources if n not in constant)
    graph_key = fingerprint(final, {v: i for i, v in enumerate(inputs)}) or object()
    key: tuple = ("predict", graph_key, len(inputs), tuple(is_row for is_row, _ in order), dtype)
    if linearised is not None:
        mode = expansion_point(linearised, parameters, plan.labels)
        left = [*free.values(), *(v for n, v in data.items() if n not in constant)]
        function = linearised_function(final, left, mode)
        key = (*key, tuple(part.tobytes() for part in mode))
    call = compiled_once(key, lambda: jax.jit(_over_draws(function, [r for r, _ in order])))
    examples = {v: np.ones(p.shape, p.dtype) for v, p in zip(
        free.values(), parameters.values(), strict=True)}  # fmt: skip
    ranges = index_ranges(graphs, data, examples)
    return Predictor(plan, call, _index_check(model, ranges), ranges)


def _parameters(model: pm.Model, free: dict[Variable, Variable]) -> dict[str, Parameter]:
    shapes = model.eval_rv_shapes()
    parameters = {}
    for rv in free:
        shape = tuple(int(s) for s in shapes[rv.name])
        dims = tuple(model.named_vars_to_dims.get(rv.name) or (None,) * len(shape))
        parameters[rv.name] = Parameter(dims, shape, rv.dtype)
    return parameters


def _rows_and_function(
    model: pm.Model, names: Sequence[str], graphs: list[Variable], inputs: list[Variable],
    sources: dict[str, Source], parameters: dict[str, Parameter],
) -> tuple[Rows, list[Variable], Callable[..., tuple]]:  # fmt: skip
    """The rows, and the outputs with integers that are no rows as constants of the code.

    They may decide shapes, which compiled code has to know.
    """
    placeholders = dict(zip(sources, inputs[len(parameters) :], strict=True))

    def without(fixed: list[str]) -> tuple[list[Variable], list[Variable]]:
        constants = {
            placeholders[n]: pt.constant(sources[n].value, dtype=placeholders[n].type.dtype)
            for n in fixed
        }
        left = [v for v in inputs if v not in constants]
        return graph_replace(graphs, constants, strict=False) if constants else graphs, left

    integers = [n for n, s in sources.items() if s.value.dtype.kind != "f"]
    early = [n for n in integers if not sources[n].value.ndim or sources[n].static]
    some, left = without(early)
    function = jax_function(left, some)
    moving = {n: s for n, s in sources.items() if n not in early}
    rows = find_rows(model, names, moving, parameters, some, left, function)
    late = [n for n in integers if n not in rows.axes]
    if late == early:
        return rows, some, function
    final, left = without(late)
    return rows, final, jax_function(left, final)


def data_outputs(model: pm.Model) -> list[str]:
    """The model's deterministics that depend on its data."""
    data = set(model.data_vars)
    return [
        output.name
        for output in model.deterministics
        if any(
            v in data or (v.owner is not None and isinstance(v.owner.op, MinibatchOp))
            for v in ancestors([output], blockers=model.free_RVs)
        )
    ]


def _free_placeholders(
    model: pm.Model, graphs: list[Variable]
) -> tuple[list[Variable], dict[Variable, Variable]]:
    """The outputs as functions of the free variables that they depend on."""
    free = {rv: rv.type(name=rv.name) for rv in model.free_RVs}
    graphs = graph_replace(graphs, free, strict=False)
    found = set(graph_inputs(graphs))
    return graphs, {rv: v for rv, v in free.items() if v in found}


def _data_placeholders(
    model: pm.Model, graphs: list[Variable]
) -> tuple[list[Variable], dict[str, Variable], dict[str, Source]]:
    """The outputs as functions of the data too: its placeholders and values by name."""
    cut = [
        v for v in ancestors(graphs) if v.owner is not None and isinstance(v.owner.op, MinibatchOp)
    ]
    data: dict[str, Variable] = {}
    sources: dict[str, Source] = {}
    opened: dict[Variable, Variable] = {}
    for v in cut:
        name = v.name or f"data_{v.owner.outputs.index(v)}"
        full = v.owner.inputs[v.owner.outputs.index(v)]
        if name not in data:
            value = np.asarray(full.eval(mode=IN_PYTHON))
            data[name] = pt.tensor(name, dtype=v.dtype, shape=(None, *v.type.shape[1:]))
            sources[name] = Source(value.astype(v.dtype), (None,) * v.ndim, True, False)
        opened[v] = data[name]
    if opened:  # rebuilt, since the batch's own length is part of the types
        graphs = clone_replace(graphs, opened, rebuild_strict=False)
    found = graph_inputs(graphs)
    containers = [
        v
        for v in found
        if isinstance(v, SharedVariable)
        and not isinstance(v.type, RandomType)
        and v.name in model.named_vars
    ]
    inputs = {v: v.type(name=v.name) for v in containers}
    for v in containers:
        value = np.asarray(v.get_value(borrow=True))
        dims = tuple(model.named_vars_to_dims.get(v.name) or (None,) * value.ndim)
        static = bool(value.ndim) and v.type.shape[0] is not None
        sources[v.name] = Source(value, dims, False, static)
        data[v.name] = inputs[v]
    if inputs:
        graphs = graph_replace(graphs, inputs, strict=False)
    rest = [v for v in graph_inputs(graphs) if isinstance(v, SharedVariable)]
    if rest:
        constants = {v: v.type.filter_variable(v.get_value()) for v in rest}
        graphs = graph_replace(graphs, constants, strict=False)
    return graphs, data, sources


def _over_draws(single: Callable[..., tuple], is_row: list[bool]) -> Callable[..., tuple]:
    """``single`` for each draw; ``is_row`` says of its data which are rows."""

    def call(values: list[jax.Array], rows: list[jax.Array], fixed: list[jax.Array]) -> tuple:
        moving, held = iter(rows), iter(fixed)
        data = [next(moving if row else held) for row in is_row]
        if not values:
            return tuple(out[None] for out in single(*data))
        size = sum(part.size for part in rows)  # not a number where code is exported
        several = min(FEW // size, len(values[0])) if isinstance(size, int) and size else 1
        batch = several if several > 1 else None
        return jax.lax.map(lambda draw: single(*draw, *data), values, batch_size=batch)

    return call


def _output_dims(model: pm.Model, name: str, axis: int, ndim: int) -> tuple[str | None, ...]:
    dims = list(model.named_vars_to_dims.get(name) or (None,) * ndim)
    dims[axis] = "obs"
    return tuple(dims)


def _labels(
    model: pm.Model, axes: dict[str, int], sources: dict[str, Source]
) -> dict[str, np.ndarray]:
    """Labels of the model's dims, but of its rows."""
    rows = {*ROW_DIMS, *(sources[name].dims[axis] for name, axis in axes.items())}
    return {
        dim: np.asarray(labels)
        for dim, labels in model.coords.items()
        if labels is not None and dim not in rows
    }


def _index_check(model: pm.Model, ranges: IndexRanges) -> Callable[[Any], None]:
    groups = sorted(
        {d for rv in model.free_RVs for d in model.named_vars_to_dims.get(rv.name, ()) if d}
        & {d for d in model.coords if "group" in d}
    )

    def check(values: Any) -> None:
        try:
            ranges.check(values)
        except ValueError as error:
            hint = "; for a group without data, see predict.new_groups" if groups else ""
            raise ValueError(f"{error}{hint}") from None

    return check
