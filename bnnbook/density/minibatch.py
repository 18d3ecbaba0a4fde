"""Which rows of a model's data may be cut into minibatches, and how each term is then scaled."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from pymc.variational.minibatch_rv import MinibatchRandomVariable

from bnnbook.checks import positive_int
from bnnbook.density.compiled import IN_PYTHON
from bnnbook.density.jax_graph import precision
from bnnbook.density.log_density import LogDensity
from bnnbook.density.row_sums import sums_over_rows
from bnnbook.density.rows import taken

__all__ = ["Minibatches", "cut"]

Array = jax.Array


@dataclass(frozen=True)
class Minibatches:
    """How to cut a model's data into batches, and the likelihood of a batch.

    Attributes
    ----------
    lengths : tuple of int
        Rows N_k of each distinct row axis, that of the first observed variable first.
    sizes : tuple of int
        Rows n_k of a batch on that axis.
    take : function (data, rows) -> batch
        ``rows`` is a tuple of integer arrays (n_k,), one for each row axis. May be compiled.
    log_likelihood : function (theta, batch) -> scalar
        Every observed variable, and every potential that depends on rows, times its own N_k / n_k;
        times what the model's ``total_size`` adds to that, if it is not N_k. What is not cut, such
        as an observed variable whose data are constants, counts once.
    key : hashable
        All that decides the code of these two functions besides the model's graph.
    """

    lengths: tuple[int, ...]
    sizes: tuple[int, ...]
    take: Callable[[tuple, tuple], tuple]
    log_likelihood: Callable[[Any, tuple], Array]
    key: Hashable


def cut(density: LogDensity, batch_size: int | None) -> Minibatches:
    """Find the rows of the data, and check that the likelihood is a sum over them.

    Rows are known by the names of dims, else by what depends on what, else by their length.

    Parameters
    ----------
    density : LogDensity
    batch_size : int or None
        Rows n of a batch, or all rows. An axis of fewer rows gives them all.

    Raises
    ------
    TypeError, ValueError
        If ``batch_size`` is no integer from 1 to the rows of the data, or the model cannot be cut:
        the message names the term and what to write instead.
    """
    own = density.batch_size
    if own is not None:
        if batch_size not in (None, own):
            raise ValueError(f"batch_size is already {own} in the model's pm.Minibatch")
        batch_size = own
    rows = _rows(density)
    lengths = tuple(dict.fromkeys([density.N, *rows.values()]))
    if batch_size is not None:
        size = positive_int("batch_size", batch_size)
        if size > max(lengths):
            raise ValueError(
                f"batch_size must be at most the {max(lengths)} rows of the data, got {size}"
            )
    else:
        size = max(lengths)
    sizes = tuple(min(size, length) for length in lengths)
    if sizes == lengths:
        return Minibatches(lengths, lengths, lambda data, _: data, density.log_likelihood, lengths)
    ways, along = sums_over_rows(density, lengths, sizes, rows)
    scales = {
        name: _total_size_over_rows(density, name, rows.get(name))
        * (1.0 if k is None else lengths[k] / sizes[k])
        for name, k in along.items()
    }

    def log_likelihood(theta: Any, batch: tuple) -> Array:
        terms = density.pointwise(theta, batch) | density.potentials(theta, batch)
        parts = [term.sum() * scales[name] for name, term in terms.items()]
        return jnp.stack(parts).sum() if len(parts) > 1 else parts[0]

    key = lengths, sizes, tuple(ways), tuple(scales.items())
    return Minibatches(
        lengths, sizes, lambda data, rows: taken(data, rows, ways), log_likelihood, key
    )


def _rows(density: LogDensity) -> dict[str, int]:
    """Rows of the terms of the likelihood that are not just a sum of them."""
    with precision(np.float64):
        shapes = jax.eval_shape(
            lambda t, d: density.pointwise(t, d) | density.potentials(t, d),
            jnp.zeros(density.size),
            tuple(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in density.data),
        )  # fmt: skip
    return {name: shape.shape[0] for name, shape in shapes.items() if shape.ndim}


def _total_size_over_rows(density: LogDensity, name: str, rows: int | None) -> float:
    """What the model's ``total_size`` scales the full data by: 1 if it is their number."""
    for rv in density.model.observed_RVs:
        if rv.name == name and isinstance(rv.owner.op, MinibatchRandomVariable):
            shape = [int(n) for n in density.model.rvs_to_values[rv].shape.eval(mode=IN_PYTHON)]
            shape[:1] = [rows or n for n in shape[:1]]  # of a pm.Minibatch all rows
            totals = [getattr(total, "data", None) for total in rv.owner.inputs[1:]]
            pairs = [(t, n) for t, n in zip(totals, shape, strict=True) if t is not None]
            return float(np.prod([float(t) / n for t, n in pairs]))
    return 1.0
