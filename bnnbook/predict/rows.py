"""Which data are rows, known by the names of dims, then by the graph, then by length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import jax
import numpy as np
import pymc as pm
import pytensor
from pytensor.compile import SharedVariable
from pytensor.graph.basic import Constant, Variable

from bnnbook.density import IN_PYTHON, precision
from bnnbook.density.record import ROW_DIMS
from bnnbook.predict.draws import Parameter

__all__ = ["Rows", "Source", "find_rows"]

MOST = 6  # containers without names whose combinations are tried


class Source(NamedTuple):
    """Data that the outputs depend on: its value, dims, and whether the model cuts it itself."""

    value: np.ndarray
    dims: tuple[str | None, ...]
    minibatch: bool
    static: bool
    """Whether its first axis has a length that cannot change."""


class Rows(NamedTuple):
    """The axis of the rows by container, the axis that follows them by output, and whether an
    output's row depends on the other rows too.
    """

    axes: dict[str, int]
    outputs: tuple[int, ...]
    whole: bool


def find_rows(
    model: pm.Model, names: Sequence[str], sources: Mapping[str, Source],
    parameters: Mapping[str, Parameter], graphs: Sequence[Variable],
    inputs: list[Variable], single: Callable[..., tuple],
) -> Rows:  # fmt: skip
    """Find the rows of the data.

    ``inputs`` of ``graphs`` are the parameters, then the sources; ``single`` is the same in JAX.

    Raises
    ------
    ValueError
        If no choice of rows lets the outputs follow their number.
    """
    named, length = _by_name(model, sources)
    evaluate = None
    first_error: ValueError | None = None
    mixed: Rows | None = None
    for axes in _choices(model, sources, named, length):
        try:
            outputs = _growing(names, single, sources, parameters, axes)
        except ValueError as error:
            first_error = first_error or error
            continue
        if evaluate is None:
            evaluate = pytensor.function(
                inputs, list(graphs), mode=IN_PYTHON, on_unused_input="ignore"
            )
        if not _mixes(evaluate, sources, parameters, axes, outputs):
            return Rows(axes, outputs, False)
        mixed = mixed or Rows(axes, outputs, True)
    if mixed is not None:
        return mixed
    raise first_error or ValueError(
        f"model must have pm.Data inputs that {', '.join(names)} depend on, got none"
    )


def _by_name(model: pm.Model, sources: Mapping[str, Source]) -> tuple[dict[str, int], int | None]:
    """Axes that are known to be rows, and their length."""
    cut = {name: 0 for name, source in sources.items() if source.minibatch}
    if cut:
        return cut, len(sources[next(iter(cut))].value)
    own = {d for rv in model.free_RVs for d in model.named_vars_to_dims.get(rv.name, ())}
    observed = [d for rv in model.observed_RVs for d in model.named_vars_to_dims.get(rv.name, ())]
    for dim in [*ROW_DIMS, *(d for d in observed if d not in own)]:
        axes = {name: s.dims.index(dim) for name, s in sources.items() if dim in s.dims}
        if dim is not None and axes:
            name, axis = next(iter(axes.items()))
            return axes, sources[name].value.shape[axis]
    return {}, None


def _choices(
    model: pm.Model, sources: Mapping[str, Source], named: dict[str, int], length: int | None
) -> list[dict[str, int]]:
    """Axes that may be the rows, the likeliest first: those with a name and the most others."""
    lengths = [length] if length is not None else _observed_lengths(model)
    if length is None:
        sizes = [s.value.shape[0] for s in sources.values() if s.value.ndim]
        lengths += sorted(set(sizes) - set(lengths), reverse=True)
    cut = any(source.minibatch for source in sources.values())
    choices = []
    for n in lengths:
        others = [
            name
            for name, s in sources.items()
            if name not in named
            and s.value.ndim
            and len(s.value) == n
            and not (cut or s.static or (named and s.dims and None not in s.dims))
        ]
        for size in range(len(others), -1, -1):
            if len(others) > MOST and 1 < size < len(others):
                continue
            choices += [
                named | dict.fromkeys(some, 0)
                for some in combinations(others, size)
                if named or some
            ]
    return choices


def _observed_lengths(model: pm.Model) -> list[int]:
    lengths = []
    for rv in model.observed_RVs:
        value = model.rvs_to_values[rv]
        if isinstance(value, Constant):
            shape = np.shape(value.data)
        elif isinstance(value, SharedVariable):
            shape = value.get_value(borrow=True).shape
        else:
            shape = tuple(int(s) for s in value.shape.eval(mode=IN_PYTHON))
        lengths += [shape[0]] if shape else []
    return list(dict.fromkeys(lengths))


def _growing(
    names: Sequence[str], single: Callable[..., tuple], sources: Mapping[str, Source],
    parameters: Mapping[str, Parameter], axes: Mapping[str, int],
) -> tuple[int, ...]:  # fmt: skip
    """The axis of each output that grows with the rows."""

    def shapes_at(rows: int) -> tuple:
        values = [jax.ShapeDtypeStruct(p.shape, p.dtype) for p in parameters.values()]
        for name, source in sources.items():
            shape = list(source.value.shape)
            if name in axes:
                shape[axes[name]] = rows
            values.append(jax.ShapeDtypeStruct(tuple(shape), source.value.dtype))
        try:
            with precision(np.float64):
                return jax.eval_shape(single, *values)
        except (TypeError, ValueError) as error:
            rows_of = ", ".join(f"axis {axis} of {name}" for name, axis in axes.items())
            raise ValueError(
                f"{', '.join(names)} must follow the number of rows, taken to be {rows_of}, but "
                f"cannot be computed for another number; where the rows are on another axis, name "
                f"it 'obs_id' in the dims of pm.Data: {error}"
            ) from error

    found = []
    for name, small, large in zip(names, shapes_at(5), shapes_at(7), strict=True):
        pairs = zip(small.shape, large.shape, strict=True)
        growing = [i for i, (a, b) in enumerate(pairs) if a != b]
        if len(growing) != 1:
            raise ValueError(f"output {name} must have one axis that follows the data's rows")
        found.append(growing[0])
    return tuple(found)


def _mixes(
    evaluate: Callable[..., list[np.ndarray]], sources: Mapping[str, Source],
    parameters: Mapping[str, Parameter], axes: Mapping[str, int], outputs: tuple[int, ...],
) -> bool:  # fmt: skip
    """Whether the outputs of two rows change when other rows are with them, or cannot be had."""
    rng = np.random.default_rng(0)
    rows = [_some_rows(source, axes.get(name)) for name, source in sources.items()]
    some = [
        np.take(a, range(2), axis=axes[name]) if name in axes else a
        for name, a in zip(sources, rows, strict=True)
    ]
    seen = False
    for draw in (lambda shape: rng.uniform(0.2, 0.8, shape), rng.standard_normal):
        values = [
            np.asarray(draw(p.shape) if np.dtype(p.dtype).kind == "f" else np.zeros(p.shape))
            .astype(p.dtype)
            for p in parameters.values()
        ]  # fmt: skip
        try:
            with np.errstate(all="ignore"):
                alone, together = evaluate(*values, *some), evaluate(*values, *rows)
        except Exception:  # of any operation, at values that mean nothing to it
            continue
        for a, b, axis in zip(alone, together, outputs, strict=True):
            first = np.take(b, range(2), axis=axis)
            if not np.isfinite(a).all():
                break
            if not np.allclose(a, first, rtol=1e-6, atol=1e-9):
                return True
        else:
            seen = True
    return not seen


def _some_rows(source: Source, axis: int | None) -> np.ndarray:
    """Five rows that differ, in the range of the data where they are integers."""
    if axis is None:
        return source.value
    n = source.value.shape[axis]
    rows = np.take(source.value, np.arange(5) % n, axis=axis)
    if rows.dtype.kind != "f":
        return rows
    step = np.arange(5).reshape([-1 if i == axis else 1 for i in range(rows.ndim)])
    return (rows * (1 + 0.1 * step) + 0.01 * step).astype(rows.dtype)
