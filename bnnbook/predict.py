"""Predictions at new inputs for every posterior draw, from one compiled function."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr
from pytensor.compile import SharedVariable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors, graph_inputs
from pytensor.tensor.random.basic import NormalRV
from pytensor.tensor.random.type import RandomType

from bnnbook.checks import float_dtype
from bnnbook.density import jax_function, precision

__all__ = ["Predictor", "compile_predictor", "new_groups"]

ROWS = 2048  # rows per compiled call: one draw's activations then stay in a core's cache
DRAWS = 64  # draws per compiled call
ROW_DIMS = ("obs_id", "obs")  # model dims that name the data axis; else it is the first

Reduce = Callable[[xr.Dataset], xr.Dataset]


@dataclass(frozen=True)
class Predictor:
    """Function (posterior, X) -> :class:`xarray.Dataset`; see :func:`compile_predictor`."""

    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    parameters: tuple[str, ...]
    _shapes: Mapping[str, tuple[int | None, ...]] = field(repr=False)
    _examples: Mapping[str, np.ndarray] = field(repr=False)
    _row_axis: Mapping[str, int] = field(repr=False)
    _dims: Mapping[str, tuple[str | None, ...]] = field(repr=False)
    _coords: Mapping[str, np.ndarray] = field(repr=False)
    _call: Callable[..., Any] = field(repr=False)
    dtype: str = "float64"

    def __call__(
        self,
        posterior: xr.DataTree | xr.Dataset,
        X: Any,
        *,
        reduce: str | Reduce | None = None,
    ) -> xr.Dataset:
        """Evaluate the outputs at ``X`` for every draw.

        Parameters
        ----------
        posterior : DataTree with a ``posterior`` group, or Dataset, with dims (chain, draw, ...)
            Draws of the model's free variables, in the model's own (constrained) space.
        X : array, or dict of arrays by data container
            New inputs, any number of rows. A dict if the outputs depend on several containers.
        reduce : "mean", or function of a Dataset, optional
            Applied to blocks of at most 2,048 rows that hold every draw, for results that would
            not fit in memory: "mean" averages over (chain, draw).

        Returns
        -------
        xarray.Dataset
            One variable per output, dims (chain, draw, obs, ...), without (chain, draw) if reduced.

        Raises
        ------
        ValueError, TypeError
            If a variable is missing from the posterior or has another shape, or X is empty, not
            finite, or of the wrong shape or name.
        """
        draws, index = self._draws(posterior)
        arrays = self._arrays(X)
        reducer = _mean if reduce == "mean" else reduce
        if reducer is not None and not callable(reducer):
            raise ValueError(f"reduce must be None, 'mean' or a function, got {reduce!r}")
        n = next(iter(arrays.values())).shape[self._row_axis[self.inputs[0]]]
        rows = min(ROWS, 1 << max(n - 1, 7).bit_length())
        blocks, parts = [], []
        for start in range(0, n, rows):
            with precision(self.dtype):
                block = self._block(draws, arrays, start, rows, min(rows, n - start))
            if reducer is None:
                blocks.append(block)
            else:
                parts.append(reducer(self._dataset(block, index)))
        if reducer is not None:
            return xr.concat(parts, dim="obs") if len(parts) > 1 else parts[0]
        joined = {
            name: np.concatenate([b[name] for b in blocks], axis=1 + self._output_axis(name))
            for name in self.outputs
        }
        return self._dataset(joined, index)

    def _draws(self, posterior: xr.DataTree | xr.Dataset) -> tuple[dict[str, Any], xr.Dataset]:
        """Free variables by name, (draws, ...), and the (chain, draw) labels."""
        dataset = _posterior_with(posterior, self.parameters)
        stacked = {}
        for name in self.parameters:
            value = dataset[name].transpose("chain", "draw", ...)
            expected, got = self._shapes[name], value.shape[2:]
            if len(expected) != len(got) or any(
                e is not None and e != g for e, g in zip(expected, got, strict=False)
            ):
                raise ValueError(
                    f"posterior variable {name} must have shape (chain, draw) + {expected}, "
                    f"got (chain, draw) + {got}"
                )
            stacked[name] = value.to_numpy().reshape(-1, *got)
        return stacked, dataset[["chain", "draw"]]

    def _arrays(self, X: Any) -> dict[str, np.ndarray]:
        """Inputs by container, checked."""
        if not isinstance(X, Mapping):
            if len(self.inputs) > 1:
                raise TypeError(
                    f"X must be a dict with {', '.join(self.inputs)}, since the outputs depend on "
                    f"all of them; got {type(X).__name__}"
                )
            X = {self.inputs[0]: X}
        if set(X) != set(self.inputs):
            raise ValueError(
                f"X must have exactly the data {sorted(self.inputs)}, got {sorted(map(str, X))}"
            )
        arrays = {}
        for name in self.inputs:
            example, axis = self._examples[name], self._row_axis[name]
            array = np.asarray(X[name])
            if array.dtype.kind not in "fiub":
                raise TypeError(f"{name} must be real numbers, got dtype {array.dtype}")
            expected = tuple("n" if i == axis else s for i, s in enumerate(example.shape))
            if array.ndim != example.ndim or any(
                i != axis and s != example.shape[i] for i, s in enumerate(array.shape)
            ):
                shape = ", ".join(map(str, expected)) + ("," if len(expected) == 1 else "")
                raise ValueError(f"{name} must have shape ({shape}), got {array.shape}")
            if array.size == 0:
                raise ValueError(f"{name} must have at least one row, got shape {array.shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} must be finite, got NaN or infinity")
            if example.dtype.kind in "iu" and array.dtype.kind == "f":
                raise TypeError(f"{name} must be integers, got dtype {array.dtype}")
            arrays[name] = array.astype(example.dtype, copy=False)
        lengths = {name: a.shape[self._row_axis[name]] for name, a in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"X must have the same number of rows in each input, got {lengths}")
        return arrays

    def _block(
        self, draws: dict[str, Any], arrays: dict[str, np.ndarray], start: int, rows: int, used: int
    ) -> dict[str, np.ndarray]:
        """Outputs for every draw at rows start..start+used, (draws, ...)."""
        padded = []
        for name in self.inputs:
            axis = self._row_axis[name]
            part = np.take(arrays[name], range(start, start + used), axis=axis)
            width = [(0, rows - used if i == axis else 0) for i in range(part.ndim)]
            padded.append(self._on_device(np.pad(part, width, mode="edge")))
        total = len(next(iter(draws.values()))) if draws else 1
        size = min(DRAWS, total)

        def evaluate(first: int) -> list[np.ndarray]:
            # the last block starts early instead of being shorter: one shape, one compilation
            begin = min(first, total - size)
            with jax.enable_x64(self.dtype == "float64"):  # of this thread
                values = [
                    self._on_device(draws[name][begin : begin + size]) for name in self.parameters
                ]
                return [np.asarray(r)[first - begin :] for r in self._call(values, padded)]

        with ThreadPoolExecutor(os.cpu_count()) as pool:  # compiled code releases the interpreter
            pieces = list(pool.map(evaluate, range(0, total, size)))
        block = {}
        for i, name in enumerate(self.outputs):
            whole = np.concatenate([piece[i] for piece in pieces])
            axis = 1 + self._output_axis(name)
            block[name] = whole if used == rows else np.take(whole, range(used), axis=axis)
        return block

    def _on_device(self, array: np.ndarray) -> jax.Array:
        return jnp.asarray(array, dtype=self.dtype if array.dtype.kind == "f" else None)

    def _output_axis(self, name: str) -> int:
        return self._dims[name].index("obs")

    def _dataset(self, block: dict[str, np.ndarray], index: xr.Dataset) -> xr.Dataset:
        shape = (index.sizes["chain"], index.sizes["draw"])
        variables = {}
        for name, value in block.items():
            dims = [d or f"{name}_dim_{i}" for i, d in enumerate(self._dims[name])]
            variables[name] = (("chain", "draw", *dims), value.reshape(*shape, *value.shape[1:]))
        dataset = xr.Dataset(variables).assign_coords(index.coords)
        labels = {d: c for d, c in self._coords.items() if dataset.sizes.get(d) == len(c)}
        return dataset.assign_coords(labels)


def _posterior_with(posterior: xr.DataTree | xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    """The posterior as a Dataset, which must have the variables ``names``."""
    if isinstance(posterior, xr.DataTree):
        dataset = posterior.children.get("posterior", posterior).to_dataset()
    else:
        dataset = posterior
    missing = [name for name in names if name not in dataset.data_vars]
    if missing:
        present = ", ".join(sorted(map(str, dataset)))
        raise ValueError(f"posterior lacks {', '.join(missing)}; it has {present}")
    return dataset


def _mean(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.mean(("chain", "draw"))


def compile_predictor(
    model: pm.Model, outputs: str | Sequence[str], *, dtype: str = "float64"
) -> Predictor:
    """Compile a model's deterministics into one function of (posterior draws, new inputs).

    The draws and the inputs are arguments of one compiled JAX function, so neither a new posterior
    nor new data compiles anything again, except for the first call at a new block shape (row counts
    are padded to powers of two up to 2,048). Works with any model whose inputs are in ``pm.Data``.

    Working memory is bounded by blocks of 2,048 rows times all draws (times the output's trailing
    size), 8 bytes each: 16 MB for 1,000 draws of one number. The result itself holds draws x rows;
    for 1,000 draws x 1,000,000 rows that is 8 GB, or 8 MB with ``reduce="mean"``.

    Parameters
    ----------
    model : pymc.Model
    outputs : str or sequence of str
        Names of deterministics (or free variables that depend on the data).
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
        If ``model`` is not a model.
    ValueError
        If an output does not exist (those that do are listed), does not depend on data or cannot be
        computed for another number of rows, or the model has no ``pm.Data`` inputs.
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
    graphs = [model[name] for name in names]
    free = {rv: rv.type() for rv in model.free_RVs}
    graphs = graph_replace(graphs, free, strict=False)
    found = list(graph_inputs(graphs))
    used = [rv for rv, value in free.items() if value in found]
    containers = [
        v
        for v in found
        if isinstance(v, SharedVariable)
        and not isinstance(v.type, RandomType)
        and v.name in model.named_vars
    ]
    row_axis, dims_of = {}, model.named_vars_to_dims
    for v in containers:
        dims = dims_of.get(v.name, ())
        row_axis[v.name] = next((dims.index(d) for d in ROW_DIMS if d in dims), 0)
    n_rows = _row_count(model, row_axis)
    containers = [
        v
        for v in containers
        if v.type.ndim and v.get_value(borrow=True).shape[row_axis[v.name]] == n_rows
    ]
    if not containers:
        raise ValueError(
            f"model must have pm.Data inputs that {', '.join(names)} depend on, got none"
        )
    inputs = {v: v.type() for v in containers}
    graphs = graph_replace(graphs, inputs, strict=False)
    rest = [v for v in graph_inputs(graphs) if isinstance(v, SharedVariable)]
    if rest:
        constants = {v: v.type.filter_variable(v.get_value()) for v in rest}
        graphs = graph_replace(graphs, constants, strict=False)
    single = jax_function([*(free[rv] for rv in used), *inputs.values()], graphs)

    def call(values: list[jax.Array], data: list[jax.Array]) -> tuple:
        if not values:
            return tuple(out[None] for out in single(*data))
        return jax.lax.map(lambda draw: single(*draw, *data), values)

    examples = {v.name: np.asarray(v.get_value(borrow=True)) for v in containers}
    shapes = model.eval_rv_shapes()
    parameter_shapes = {rv.name: tuple(int(s) for s in shapes[rv.name]) for rv in used}
    dims = _output_dims(names, single, parameter_shapes, used, examples, row_axis, dims_of)
    return Predictor(
        outputs=names,
        inputs=tuple(examples),
        parameters=tuple(rv.name for rv in used),
        _shapes=parameter_shapes,
        _examples=examples,
        _row_axis={name: row_axis[name] for name in examples},
        _dims=dims,
        _coords={k: np.asarray(v) for k, v in model.coords.items() if v is not None},
        _call=jax.jit(call),
        dtype=dtype,
    )


def new_groups(
    model: pm.Model, posterior: xr.DataTree | xr.Dataset, *, dim: str = "group", seed: int
) -> xr.Dataset:
    r"""Draw the variables of groups without data, given what all groups have in common.

    For each draw of the shared variables :math:`\phi` (means and sds of the weights), the new
    groups' own are drawn from their prior, so that together they are draws from

    .. math:: p(w_{new} \mid D) = \int p(w_{new} \mid \phi) \, p(\phi \mid D) \, d\phi .

    Parameters
    ----------
    model : pymc.Model
        A model of the new groups, as many as wanted: built like the one that was fitted, with the
        new groups' inputs. Its labels are not used.
    posterior : DataTree with a ``posterior`` group, or Dataset
        Draws of the shared variables from the fit to other groups; the rest is ignored.
    dim : str
        Dim of the groups. Variables with it must be normal, given the others.
    seed : int

    Returns
    -------
    xarray.Dataset
        Free variables of ``model`` (chain, draw, ...): input to its :func:`compile_predictor`.

    Raises
    ------
    ValueError
        If groups have no variables of their own or none in common, a variable of a group is not
        normal or depends on another one of the group's, or the posterior lacks a shared variable.
    """
    own = [rv for rv in model.free_RVs if dim in model.named_vars_to_dims.get(rv.name, ())]
    if not own:
        raise ValueError(f"model must have free variables with dim {dim!r}, got none")
    shared = [rv for rv in model.free_RVs if rv not in own]
    if not shared:
        raise ValueError(f"model must have free variables without dim {dim!r}, got none to learn")
    for rv in own:
        if rv.owner is None or not isinstance(rv.owner.op, NormalRV):
            raise ValueError(f"variables with dim {dim!r} must be normal, {rv.name} is not")
        if any(other in ancestors(rv.owner.inputs) for other in own):
            raise ValueError(f"{rv.name} must depend on shared variables only")
    dataset = _posterior_with(posterior, [rv.name for rv in shared])
    dataset = dataset[[rv.name for rv in shared]].transpose("chain", "draw", ...)

    inputs = {rv: rv.type() for rv in shared}
    graphs = [part for rv in own for part in rv.owner.op.dist_params(rv.owner)]
    graphs = graph_replace(graphs, inputs, strict=False)
    rest = [v for v in graph_inputs(graphs) if isinstance(v, SharedVariable)]
    if rest:
        constants = {v: v.type.filter_variable(v.get_value()) for v in rest}
        graphs = graph_replace(graphs, constants, strict=False)
    function = jax_function(list(inputs.values()), graphs)
    values = [jnp.asarray(dataset[rv.name].to_numpy()) for rv in shared]
    flat = [value.reshape(-1, *value.shape[2:]) for value in values]
    parts = [np.asarray(part) for part in jax.jit(jax.vmap(function))(*flat)]

    rng = np.random.default_rng(seed)
    variables = {}
    for rv, loc, scale in zip(own, parts[::2], parts[1::2], strict=True):
        lengths = (model.dim_lengths[d] for d in model.named_vars_to_dims[rv.name])
        shape = tuple(
            int(n.get_value() if isinstance(n, SharedVariable) else n.data) for n in lengths
        )
        mean, sd = (a.reshape(len(a), *[1] * (len(shape) + 1 - a.ndim), *a.shape[1:])
                    for a in (loc, scale))  # fmt: skip
        drawn = mean + sd * rng.standard_normal((len(loc), *shape))
        dims = ("chain", "draw", *model.named_vars_to_dims[rv.name])
        variables[rv.name] = (dims, drawn.reshape(*values[0].shape[:2], *shape))
    labels = {d: np.asarray(c) for d, c in model.coords.items() if c is not None}
    result = dataset.assign(xr.Dataset(variables).data_vars)
    return result.assign_coords({d: labels[str(d)] for d in result.dims if d in labels})


def _row_count(model: pm.Model, row_axis: Mapping[str, int]) -> int:
    """Rows of the data: of the container with a named data axis, else of the longest container."""
    lengths = {
        name: model[name].get_value(borrow=True).shape[axis]
        for name, axis in row_axis.items()
        if model[name].type.ndim
    }
    named = [
        n
        for name, n in lengths.items()
        if set(model.named_vars_to_dims.get(name, ())) & set(ROW_DIMS)
    ]
    return named[0] if named else max(lengths.values(), default=0)


def _output_dims(
    names: tuple[str, ...], single: Callable[..., tuple], shapes: Mapping[str, tuple[int, ...]],
    used: list[Any], examples: Mapping[str, np.ndarray], row_axis: Mapping[str, int],
    dims_of: Mapping[str, tuple[str | None, ...]],
) -> dict[str, tuple[str | None, ...]]:  # fmt: skip
    """Dims of each output, with the axis that grows with the data called ``obs``."""

    def shapes_at(rows: int) -> tuple:
        values = [jax.ShapeDtypeStruct(shapes[rv.name], rv.dtype) for rv in used]
        data = []
        for name, example in examples.items():
            shape = list(example.shape)
            shape[row_axis[name]] = rows
            data.append(jax.ShapeDtypeStruct(tuple(shape), example.dtype))
        try:
            return jax.eval_shape(single, *values, *data)
        except (TypeError, ValueError) as error:
            rows_of = ", ".join(f"axis {row_axis[name]} of {name}" for name in examples)
            raise ValueError(
                f"{', '.join(names)} must follow the number of rows, taken to be {rows_of}, but "
                f"cannot be computed for another number; where the rows are on another axis, name "
                f"it 'obs_id' in the dims of pm.Data: {error}"
            ) from error

    result = {}
    for name, small, large in zip(names, shapes_at(5), shapes_at(7), strict=True):
        growing = [
            i for i, (a, b) in enumerate(zip(small.shape, large.shape, strict=True)) if a != b
        ]
        if len(growing) != 1:
            raise ValueError(f"output {name} must have one axis that follows the data's rows")
        dims = list(dims_of.get(name) or (None,) * len(small.shape))
        dims[growing[0]] = "obs"
        result[name] = tuple(dims)
    return result
