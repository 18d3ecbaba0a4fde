"""Starting points from a fit, or from values in the model's own space."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import xarray as xr
from pytensor.compile.mode import Mode
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace

__all__ = ["named_points", "unconstrained_points"]

SAMPLE_DIMS = ("chain", "draw", "sample")


def named_points(model: pm.Model, start: Any, n: int) -> dict[str, np.ndarray]:
    """``n`` values of each variable that ``start`` names, (n, ...).

    Of a fit, an ``xarray.DataTree`` with a posterior or that posterior, the chains are taken in
    turn: the c-th point comes from chain c modulo their number. The first from a chain is its last
    draw; several are spread evenly over its draws.

    Raises
    ------
    ValueError
        If the fit has no posterior, or misses a free variable of the model, or a variable has
        dims or labels that the model does not have.
    """
    if isinstance(start, xr.DataTree):
        if "posterior" not in start.children:
            raise ValueError(
                f"start must be a fit with a posterior, got groups {sorted(start.children)}"
            )
        start = start["posterior"].to_dataset()
    if not isinstance(start, xr.Dataset):
        return dict(start)
    missing = [rv.name for rv in model.free_RVs if rv.name not in start]
    if missing:
        raise ValueError(
            f"start must be a fit of the same model, but it has no {', '.join(missing)}; "
            f"it has {', '.join(map(str, start.data_vars))}"
        )
    return {rv.name: _picked(model, rv.name, start[rv.name], n) for rv in model.free_RVs}


def _picked(model: pm.Model, name: str, values: xr.DataArray, n: int) -> np.ndarray:
    """Values (n, ...) of one variable, in the order of the model's labels."""
    sample = [d for d in SAMPLE_DIMS if d in values.dims]
    own = [d for d in values.dims if d not in sample]
    dims = model.named_vars_to_dims.get(name)
    if dims is not None and None not in dims:
        if set(own) != set(dims):
            raise ValueError(f"start[{name!r}] must have dims {tuple(dims)}, got {tuple(own)}")
        own = list(dims)
        for dim in dims:
            labels = model.coords.get(dim)
            if labels is None or dim not in values.coords:
                continue
            if set(values[dim].to_numpy().tolist()) != set(np.asarray(labels).tolist()):
                raise ValueError(
                    f"start[{name!r}] has other labels of {dim} than the model: "
                    f"{values[dim].to_numpy().tolist()}, not {list(labels)}"
                )
            values = values.sel({dim: list(labels)})
    array = values.transpose(*sample, *own).to_numpy()
    chains = values.sizes.get("chain", 1)
    array = array.reshape(chains, -1, *array.shape[len(sample) :])
    points = []
    for c in range(n):
        chain, turn = c % chains, c // chains
        sharing = -(-(n - chain) // chains)  # points taken from this chain
        points.append(array[chain, -1 - turn * (array.shape[1] // sharing)])
    return np.array(points)


def unconstrained_points(
    model: pm.Model, points: Mapping[str, np.ndarray], n: int
) -> dict[str, np.ndarray]:
    """Values (n, ...) of the free variables as values of their transforms, by value variable.

    Raises
    ------
    ValueError
        If a shape is wrong or a value lies outside the support of its variable.
    """
    names = [rv.name for rv in model.free_RVs]
    shapes = [np.shape(value) for value in _example(model)]
    columns = []
    for name, shape, rv in zip(names, shapes, model.free_RVs, strict=True):
        array = np.asarray(points[name], dtype=rv.dtype)
        if array.shape != (n, *shape):
            raise ValueError(f"start[{name!r}] must have shape {(n, *shape)}, got {array.shape}")
        columns.append(array)
    there, back = _transforms(model)
    joined = []
    for row in zip(*columns, strict=True):
        with np.errstate(all="ignore"):  # what is outside the support is told here
            moved = there(*row)
            again = back(*row, *moved)
        for name, given, value, free in zip(names, row, again, moved, strict=True):
            near = 1e-6 * np.abs(given).max(initial=0)
            if not np.isfinite(free).all() or not np.allclose(given, value, rtol=1e-3, atol=near):
                raise ValueError(
                    f"start[{name!r}] must lie inside the support of {name}, got {given}"
                )
        joined.append(moved)
    return {
        model.rvs_to_values[rv].name: np.array(values, dtype=np.float64)
        for rv, values in zip(model.free_RVs, zip(*joined, strict=True), strict=True)
    }


def _transforms(model: pm.Model) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """From values of the free variables to unconstrained ones; from both back to the former."""
    values = {rv: rv.type(name=rv.name) for rv in model.free_RVs}
    forward, backward, moved = [], [], []
    for rv, value in values.items():
        transform, inputs = model.rvs_to_transforms[rv], rv.owner.inputs
        there = value if transform is None else transform.forward(value, *inputs)
        moved.append(there.type())
        forward.append(there)
        backward.append(moved[-1] if transform is None else transform.backward(moved[-1], *inputs))
    outputs = graph_replace([*forward, *backward], values, strict=False)
    return (
        _in_python(list(values.values()), outputs[: len(values)]),
        _in_python([*values.values(), *moved], outputs[len(values) :]),
    )


def _example(model: pm.Model) -> list[np.ndarray]:
    """One value of each free variable, for its shape."""
    point = model.initial_point(random_seed=0)
    values = [model.rvs_to_values[rv] for rv in model.free_RVs]
    evaluate = _in_python(values, model.replace_rvs_by_values(model.free_RVs))
    return evaluate(*(point[value.name] for value in values))


def _in_python(inputs: list[Variable], outputs: list[Variable]) -> Callable[..., Any]:
    """For a few evaluations: nothing is compiled."""
    mode = Mode(linker="py", optimizer=None)
    return pytensor.function(inputs, outputs, mode=mode, on_unused_input="ignore")
