"""A predictor with its draws: blocks of rows and of draws through one compiled function."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bnnbook.density import precision
from bnnbook.predict.draws import Draws, held_values
from bnnbook.predict.inputs import open_inputs
from bnnbook.predict.plan import Plan

__all__ = ["Bound", "CheckIndices", "Reduce"]

ROWS = 2048  # rows per compiled call: one draw's activations then stay in a core's cache
DRAWS = 64  # draws per compiled call of that many rows; of fewer rows more
MOST_EMPTY = 16  # results kept, without their values
WEIGHTS = 2**20  # of the draws per compiled call, where there are more than DRAWS

Reduce = Callable[[xr.Dataset], xr.Dataset]
CheckIndices = Callable[[Mapping[str, np.ndarray]], None]


@dataclass(frozen=True)
class Bound:
    """Function (X) -> :class:`xarray.Dataset`; made by :meth:`Predictor.bind`.

    The draws are checked, put into the model's order and, where they are few, handed to the
    device once; a call has the rows to look at.
    """

    plan: Plan = field(repr=False)
    function: Callable[..., Any] = field(repr=False)
    check_indices: CheckIndices = field(repr=False)
    draws: Draws = field(repr=False)
    once: bool = field(default=False, repr=False)
    """Whether it is for one call: its draws are then not worth a copy on the device."""
    empty: dict[tuple, xr.Dataset] = field(default_factory=dict, init=False, repr=False)
    """Results by the shapes of their values, as yet without these: making one takes longer than
    computing the outputs of a row."""

    def __call__(self, X: Any, *, reduce: str | Reduce | None = None) -> xr.Dataset:
        """Evaluate the outputs at ``X`` for every draw.

        Parameters
        ----------
        X : array, frame or DataArray, or dict of them by data container
            As :class:`Predictor` takes it.
        reduce : "mean", or function of a Dataset, optional
            As :class:`Predictor` takes it.

        Returns
        -------
        xarray.Dataset

        Raises
        ------
        ValueError, TypeError
            As :class:`Predictor` raises them.
        """
        plan, draws = self.plan, self.draws
        arrays, given = open_inputs(X, plan.inputs, plan.held, plan.labels)
        held = held_values(draws, plan.held, plan.labels, given)
        _check_precision(plan.dtype, arrays)
        self.check_indices(arrays | held)
        reducer = _mean_over(tuple(draws.sizes)) if reduce == "mean" else reduce
        if reducer is not None and not callable(reducer):
            raise ValueError(f"reduce must be None, 'mean' or a function, got {reduce!r}")
        name, first = next(iter(plan.inputs.items()))
        n = arrays[name].shape[first.axis]
        rows = n if plan.whole or n == 1 else min(ROWS, 1 << max(n - 1, 7).bit_length())
        if reducer is None:
            return self._dataset(self._computed(arrays, held, range(n), rows))
        parts = []
        for start in range(0, n, rows):
            wanted = range(start, min(start + rows, n))
            part = self._dataset(self._computed(arrays, held, wanted, rows))
            parts.append(_reduced(reducer, part, len(wanted)))
        return xr.concat(parts, dim="obs") if len(parts) > 1 else parts[0]

    def _computed(
        self, arrays: Mapping[str, np.ndarray], held: Mapping[str, np.ndarray], wanted: range,
        rows: int,
    ) -> dict[str, np.ndarray]:  # fmt: skip
        """Outputs at the rows wanted, (draws, ...); some rows and some draws at a time."""
        total = self.draws.total
        weights = sum(v[0].size for v in self.draws.values.values())
        most = min(DRAWS * ROWS // rows, WEIGHTS // max(weights, 1))
        size = min(max(DRAWS, most), total)
        todo = [(r, d) for r in wanted[::rows] for d in range(0, total, size)]
        keep = size == total and (len(todo) > 1 or not self.once)
        results: dict[str, np.ndarray] = {}

        def compute(start: int, first: int) -> None:
            """One block, written where it belongs."""
            # the last block starts early instead of being shorter: one shape, one compilation
            begin = min(first, total - size)
            stop = min(start + rows, wanted.stop)
            with jax.enable_x64(self.plan.dtype == "float64"):  # of this thread
                values = self._all if keep else self._values(slice(begin, begin + size))
                fixed = [self._plain(held[n]) for n, h in self.plan.held.items() if not h.constant]
                data = [  # the compiled function puts them on the device, in its own, faster way
                    self._plain(_rows(arrays[name], spec.axis, start, stop, rows))
                    for name, spec in self.plan.inputs.items()
                ]
                found = self.function(values, data, fixed)
            for (name, dims), block in zip(self.plan.outputs.items(), found, strict=True):
                axis = 1 + dims.index("obs")
                if name not in results:  # in the first block, which is alone
                    shape = (total, *block.shape[1:axis], len(wanted), *block.shape[axis + 1 :])
                    results[name] = np.empty(shape, block.dtype)
                where = slice(start - wanted.start, stop - wanted.start)
                part = np.moveaxis(np.asarray(block), axis, 0)[: stop - start, first - begin :]
                np.moveaxis(results[name], axis, 0)[where, first : begin + size] = part

        with precision(self.plan.dtype):  # compiles, where it was not
            compute(*todo[0])
        if len(todo) > 1:
            with ThreadPoolExecutor(os.cpu_count()) as pool:  # compiled code frees the interpreter
                list(pool.map(lambda block: compute(*block), todo[1:]))
        return results

    @cached_property
    def _all(self) -> list[jax.Array]:
        """All draws, on the device, where one block holds them."""
        return [jnp.asarray(value) for value in self._values(slice(None))]

    def _values(self, part: slice) -> list[np.ndarray]:
        return [self._plain(self.draws.values[name][part]) for name in self.plan.parameters]

    def _plain(self, array: np.ndarray) -> np.ndarray:
        return np.asarray(array, dtype=self.plan.dtype if array.dtype.kind == "f" else None)

    def _dataset(self, outputs: Mapping[str, np.ndarray]) -> xr.Dataset:
        shape = tuple(self.draws.sizes.values())
        values = {name: value.reshape(*shape, *value.shape[1:]) for name, value in outputs.items()}
        key = tuple(value.shape for value in values.values())
        empty = self.empty.get(key)
        if empty is None:
            if len(self.empty) >= MOST_EMPTY:
                self.empty.clear()
            empty = self.empty[key] = self._empty(dict(zip(values, key, strict=True)))
        return empty.copy(data=values)

    def _empty(self, shapes: Mapping[str, tuple[int, ...]]) -> xr.Dataset:
        """A result of values of these shapes, which take no memory."""
        sizes, labels = self.draws.sizes, self.plan.labels
        coords, variables = {}, {}
        for name, shape in shapes.items():
            dims = [d or f"{name}_dim_{i}" for i, d in enumerate(self.plan.outputs[name])]
            variables[name] = xr.Variable((*sizes, *dims), np.broadcast_to(np.nan, shape))
            for dim, size in zip(dims, shape[len(sizes) :], strict=True):
                if dim not in sizes and len(labels.get(dim, ())) == size:
                    coords[dim] = labels[dim]
        return xr.Dataset(variables, self.draws.index.coords).assign_coords(coords)


def _rows(array: np.ndarray, axis: int, start: int, stop: int, rows: int) -> np.ndarray:
    """As many rows as every block has: the last one again and again where there are fewer."""
    part = array[(slice(None),) * axis + (slice(start, stop),)]
    if stop - start == rows:
        return part
    width = [(0, rows - stop + start if i == axis else 0) for i in range(part.ndim)]
    return np.pad(part, width, mode="edge")


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
