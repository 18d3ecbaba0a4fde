"""The compiled predictor: blocks of rows and of draws through one function."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bnnbook.density import precision
from bnnbook.density.indices import IndexRanges
from bnnbook.predict.draws import Draws, Held, Parameter, check_record, held_values, open_draws
from bnnbook.predict.inputs import Input, open_inputs

__all__ = ["Plan", "Predictor"]

ROWS = 2048  # rows per compiled call: one draw's activations then stay in a core's cache
DRAWS = 64  # draws per compiled call of that many rows; of fewer rows more
WEIGHTS = 2**20  # of the draws per compiled call, where there are more than DRAWS

Reduce = Callable[[xr.Dataset], xr.Dataset]
CheckIndices = Callable[[Mapping[str, np.ndarray]], None]


@dataclass(frozen=True)
class Plan:
    """What a predictor takes and gives, in plain data: everything but the compiled code.

    Attributes
    ----------
    outputs : dict
        Dims of each output, its rows called ``obs``.
    parameters, inputs, held : dict
        The free variables, the containers of rows, and the other data that the outputs depend on.
    labels : dict
        Labels of the model's dims, but of its rows.
    whole : bool
        Whether an output's row depends on other rows, as one that is centred by their mean: all
        rows are then computed at once.
    fingerprints : dict
        Of each output, as a fit has it.
    dtype : {"float64", "float32"}
    """

    outputs: Mapping[str, tuple[str | None, ...]]
    parameters: Mapping[str, Parameter]
    inputs: Mapping[str, Input]
    held: Mapping[str, Held]
    labels: Mapping[str, np.ndarray]
    whole: bool
    fingerprints: Mapping[str, str | None]
    dtype: str = "float64"


@dataclass(frozen=True)
class Predictor:
    """Function (posterior, X) -> :class:`xarray.Dataset`; see :func:`compile_predictor`."""

    plan: Plan = field(repr=False)
    call: Callable[..., Any] = field(repr=False)
    check_indices: CheckIndices = field(repr=False)
    ranges: IndexRanges | None = field(default=None, repr=False)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what is computed."""
        return tuple(self.plan.outputs)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Containers that new rows are needed of."""
        return tuple(self.plan.inputs)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Free variables that the posterior has to have."""
        return tuple(self.plan.parameters)

    @property
    def dtype(self) -> str:
        """Precision of the computation and of the results."""
        return self.plan.dtype

    def __call__(
        self,
        posterior: xr.DataTree | xr.Dataset | Mapping[str, Any],
        X: Any,
        *,
        reduce: str | Reduce | None = None,
    ) -> xr.Dataset:
        """Evaluate the outputs at ``X`` for every draw.

        What the fit holds besides its draws (the centre and spread of its data, say) is taken from
        the fit and not from the model: a model that is built again on other data predicts as the
        one that was fitted, or is refused. Draws without a fit are taken with the model's own.

        Parameters
        ----------
        posterior : DataTree with a ``posterior`` group, Dataset, or mapping of arrays
            Draws of the model's free variables, in the model's own (constrained) space. All dims
            that are not the model's are the draws': (chain, draw), one of them, none, or the
            ``sample`` of ``az.extract``; an array has (chain, draw) first. Dims and labels may be
            in any order.
        X : array, frame or DataArray, or dict of them by data container
            New inputs, any number of rows. A dict if the outputs depend on several containers;
            it may have new values of the other data that the outputs depend on, too. Columns of a
            frame are put into the order of the model's, where those have names.
        reduce : "mean", or function of a Dataset, optional
            Applied to blocks of at most 2,048 rows that hold every draw, for results that would
            not fit in memory: "mean" averages over the draws. A function has to keep the dim
            ``obs`` and treat each row alone.

        Returns
        -------
        xarray.Dataset
            One variable per output, dims (chain, draw, obs, ...) with the dims of the draws first,
            without them if reduced.

        Raises
        ------
        ValueError, TypeError
            If a variable is missing from the posterior or has another shape or other labels, the
            fit is of another model, a reduction drops ``obs``, or X is empty, not finite, of the
            wrong shape, name, column or dtype, or an index that is out of range.
        """
        plan = self.plan
        draws = open_draws(posterior, plan.parameters, plan.labels)
        check_record(draws.record, plan.fingerprints, plan.labels)
        arrays, given = open_inputs(X, plan.inputs, plan.held, plan.labels)
        held = held_values(draws, plan.held, plan.labels, given)
        _check_precision(plan.dtype, arrays)
        self.check_indices(arrays | held)
        reducer = _mean_over(tuple(draws.sizes)) if reduce == "mean" else reduce
        if reducer is not None and not callable(reducer):
            raise ValueError(f"reduce must be None, 'mean' or a function, got {reduce!r}")
        name, first = next(iter(plan.inputs.items()))
        n = arrays[name].shape[first.axis]
        rows = n if plan.whole else min(ROWS, 1 << max(n - 1, 7).bit_length())
        blocks, parts = [], []
        for start in range(0, n, rows):
            used = min(rows, n - start)
            with precision(plan.dtype):
                block = self._block(draws, arrays, held, start, rows, used)
            if reducer is None:
                blocks.append(block)
            else:
                parts.append(_reduced(reducer, self._dataset(block, draws), used))
        if reducer is not None:
            return xr.concat(parts, dim="obs") if len(parts) > 1 else parts[0]
        joined = {
            name: np.concatenate([b[name] for b in blocks], axis=1 + dims.index("obs"))
            for name, dims in plan.outputs.items()
        }
        return self._dataset(joined, draws)

    def _block(
        self, draws: Draws, arrays: Mapping[str, np.ndarray], held: Mapping[str, np.ndarray],
        start: int, rows: int, used: int,
    ) -> dict[str, np.ndarray]:  # fmt: skip
        """Outputs for every draw at rows start..start+used, (draws, ...)."""
        padded = []
        for name, spec in self.plan.inputs.items():
            part = np.take(arrays[name], range(start, start + used), axis=spec.axis)
            width = [(0, rows - used if i == spec.axis else 0) for i in range(part.ndim)]
            padded.append(self._on_device(np.pad(part, width, mode="edge")))
        fixed = [self._on_device(held[n]) for n, own in self.plan.held.items() if not own.constant]
        total = draws.total
        weights = sum(v[0].size for v in draws.values.values())
        most = min(DRAWS * ROWS // rows, WEIGHTS // max(weights, 1))
        size = min(max(DRAWS, most), total)

        def evaluate(first: int) -> list[np.ndarray]:
            # the last block starts early instead of being shorter: one shape, one compilation
            begin = min(first, total - size)
            with jax.enable_x64(self.dtype == "float64"):  # of this thread
                values = [
                    self._on_device(draws.values[name][begin : begin + size])
                    for name in self.plan.parameters
                ]
                return [np.asarray(r)[first - begin :] for r in self.call(values, padded, fixed)]

        with ThreadPoolExecutor(os.cpu_count()) as pool:  # compiled code releases the interpreter
            pieces = list(pool.map(evaluate, range(0, total, size)))
        block = {}
        for i, (name, dims) in enumerate(self.plan.outputs.items()):
            whole = np.concatenate([piece[i] for piece in pieces])
            axis = 1 + dims.index("obs")
            block[name] = whole if used == rows else np.take(whole, range(used), axis=axis)
        return block

    def _on_device(self, array: np.ndarray) -> jax.Array:
        return jnp.asarray(array, dtype=self.dtype if array.dtype.kind == "f" else None)

    def _dataset(self, block: Mapping[str, np.ndarray], draws: Draws) -> xr.Dataset:
        shape = tuple(draws.sizes.values())
        variables = {}
        for name, value in block.items():
            dims = [d or f"{name}_dim_{i}" for i, d in enumerate(self.plan.outputs[name])]
            variables[name] = ((*draws.sizes, *dims), value.reshape(*shape, *value.shape[1:]))
        dataset = draws.index.assign(variables)
        labels = {
            d: c
            for d, c in self.plan.labels.items()
            if dataset.sizes.get(d) == len(c) and d not in draws.sizes
        }
        return dataset.assign_coords(labels)


def _mean_over(dims: tuple[str, ...]) -> Reduce:
    return lambda dataset: dataset.mean(dims)


def _reduced(reducer: Reduce, block: xr.Dataset, rows: int) -> xr.Dataset:
    """A block, reduced, with its rows still there."""
    result = reducer(block)
    if isinstance(result, xr.DataArray):
        result = result.to_dataset(name=result.name or "reduced")
    if not isinstance(result, xr.Dataset):
        raise TypeError(f"reduce must return a Dataset, got {type(result).__name__}")
    for name, value in result.data_vars.items():
        if value.sizes.get("obs") != rows:
            raise ValueError(
                f"reduce must keep the dim obs, of which it gets a block at a time, but {name} has "
                f"{dict(value.sizes)} for a block of {rows} rows; reduce over obs afterwards"
            )
    return result


def _check_precision(dtype: str, arrays: Mapping[str, np.ndarray]) -> None:
    """With float32, JAX has 32-bit integers."""
    if dtype == "float64":
        return
    for name, array in arrays.items():
        if array.dtype.kind in "iu":
            least, most = int(array.min()), int(array.max())
            kind = np.iinfo(np.uint32 if array.dtype.kind == "u" else np.int32)
            if least < kind.min or most > kind.max:
                raise ValueError(
                    f"{name} must hold integers of 32 bits for dtype='float32', "
                    f"got {most if most > kind.max else least}"
                )
