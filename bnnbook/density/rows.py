"""Which axis of which data container follows the rows of which term of the likelihood."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bnnbook.density.compiled import compiled_once, density_key
from bnnbook.density.jax_graph import precision
from bnnbook.density.log_density import LogDensity

__all__ = ["Along", "Evaluate", "Ways", "evaluated", "taken", "ways_to_cut"]

Array = jax.Array
Evaluate = Callable[[Sequence[np.ndarray]], dict[str, np.ndarray]]

TRIED = 3  # rows that are changed to see what follows them
MOST_DATA = 5_000_000  # numbers, for which all terms are evaluated at once


class Along(NamedTuple):
    """A container's axis that follows the rows of number ``rows`` in the list of their lengths."""

    rows: int
    axis: int


Ways = Sequence[Along | None]


def taken(data: Sequence[Any], rows: Sequence[Any], ways: Ways) -> tuple:
    """The data at some rows of each row axis, index arrays; in NumPy, if both are there.

    For JAX to take a few rows, all would have to be copied to the device first.
    """

    def some(a: Any, way: Along | None) -> Any:
        if way is None:
            return a
        index = (*[slice(None)] * way.axis, rows[way.rows])
        if isinstance(a, np.ndarray) and isinstance(rows[way.rows], np.ndarray):
            return a[index]
        return jnp.asarray(a).at[index].get(mode="promise_in_bounds")

    return tuple(some(a, way) for a, way in zip(data, ways, strict=True))


def evaluated(density: LogDensity) -> Evaluate:
    """A function of the data: all terms of the likelihood and the "prior", at one point."""
    theta = density.initial_points(1, jitter=0.5, seed=0)[0]
    pointwise, potentials, log_prior = density.pointwise, density.potentials, density.log_prior

    def all_terms(theta: Array, data: tuple) -> dict[str, Array]:  # is kept, the density is not
        return pointwise(theta, data) | potentials(theta, data) | {"": log_prior(theta, data)}

    key = "all terms", density_key(density, density.data)
    at = compiled_once(key, lambda: jax.jit(all_terms))

    def evaluate(data: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        with precision(np.float64):
            values = at(jnp.asarray(theta), tuple(jnp.asarray(a) for a in data))
            return {name: np.asarray(value) for name, value in values.items()}

    return evaluate


def _row_dim(density: LogDensity, name: str) -> str | None:
    """Name of the rows of an observed variable, its own or that of the container it is observed in.

    None if there is none.
    """
    dims = density.model.named_vars_to_dims
    own = dims.get(name)
    if not own:
        for rv, value in density.model.rvs_to_values.items():
            if rv.name == name:
                own = dims.get(value.name)
    return own[0] if own else None


def ways_to_cut(
    density: LogDensity, lengths: tuple[int, ...], rows: dict[str, int], evaluate: Evaluate
) -> Iterator[list[Along | None]]:
    """What follows the rows, the likeliest first: known by dims, else by length, then by trial.

    Parameters
    ----------
    density : LogDensity
    lengths : tuple of int
        Of the row axes.
    rows : dict of int
        Length of the rows of each term that has them.
    evaluate : function of the data, from :func:`evaluated`

    Yields
    ------
    list of Along or None
        For each container. By length, every container of the right length is taken whose dims do
        not tell; by trial, one where a change of a row changes no other row of any term.
    """
    known, open_, likely = _by_dims(density, lengths, rows)
    yield [known.get(i, open_[i] if i in likely else None) for i in range(len(density.data))]
    if not open_ or sum(a.size for a in density.data) > MOST_DATA:
        return
    found = _by_trial(density, open_, lengths, evaluate)
    for undecided in (True, False):
        ways = known | {
            i: along
            for i, along in open_.items()
            if found[i] or (found[i] is None and undecided and i in likely)
        }
        yield [ways.get(i) for i in range(len(density.data))]


def _by_dims(
    density: LogDensity, lengths: tuple[int, ...], rows: dict[str, int]
) -> tuple[dict[int, Along], dict[int, Along], set[int]]:
    """What has the name of the rows; what has only their length; and which of it no other name."""
    names: list[list[str | None]] = [[] for _ in lengths]
    for term, length in rows.items():
        names[lengths.index(length)].append(_row_dim(density, term))
    known, open_, likely = {}, {}, set()
    for i, (name, array) in enumerate(zip(density.data_names, density.data, strict=True)):
        dims = density.model.named_vars_to_dims.get(name) or ()
        named = [
            Along(k, dims.index(dim))
            for k, found in enumerate(names)
            for dim in found
            if dim is not None and dim in dims
        ]
        if named:
            known[i] = named[0]
        elif array.ndim and len(array) in lengths:
            k = lengths.index(len(array))
            open_[i] = Along(k, 0)
            if not dims or dims[0] is None or None in names[k] or not names[k]:
                likely.add(i)
    return known, open_, likely


def _by_trial(
    density: LogDensity, open_: dict[int, Along], lengths: tuple[int, ...], evaluate: Evaluate
) -> dict[int, bool | None]:
    """Whether a container's rows are those of a term; None where a change of one changes none."""
    base = evaluate(density.data)
    found: dict[int, bool | None] = {}
    for i, along in open_.items():
        found[i] = None
        length = lengths[along.rows]
        for row in np.random.default_rng(0).permutation(length)[:TRIED]:
            data = list(density.data)
            data[i] = _with_other_row(data[i], int(row))
            for name, value in evaluate(data).items():
                same = np.isclose(value, base[name], rtol=1e-9, atol=1e-12, equal_nan=True)
                if same.all() or (name and not value.ndim):  # a sum does not tell its rows apart
                    continue
                rows = np.unique(np.argwhere(~same)[:, 0]) if value.ndim else np.array([-1])
                alone = rows.tolist() == [row] and len(value) == length
                found[i] = alone and found[i] is not False
    return found


def _with_other_row(array: np.ndarray, row: int) -> np.ndarray:
    """A copy with one row changed, to another row where they differ."""
    array = array.copy()
    other = np.flatnonzero((array != array[row]).reshape(len(array), -1).any(axis=1))
    if len(other):
        array[row] = array[other[row % len(other)]]
    elif array.dtype == bool:
        array[row] = ~array[row]
    else:
        array[row] = array[row] + (1 if array.dtype.kind in "iu" else 0.37)
    return array
