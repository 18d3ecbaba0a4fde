"""Which rows of a model's data may be cut into minibatches, and how each term is then scaled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from pymc.variational.minibatch_rv import MinibatchRandomVariable

from bnnbook.checks import positive_int
from bnnbook.density.jax_graph import precision
from bnnbook.density.log_density import LogDensity

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
        Every observed variable times its own N_k / n_k.
    """

    lengths: tuple[int, ...]
    sizes: tuple[int, ...]
    take: Callable[[tuple, tuple], tuple]
    log_likelihood: Callable[[Any, tuple], Array]


def cut(density: LogDensity, batch_size: int | None) -> Minibatches:
    """Find the rows of the data, and check that the likelihood is a sum over them.

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
    _check_total_size(density)
    lengths = _lengths(density)
    own = density.batch_size
    if own is not None:
        if batch_size not in (None, own):
            raise ValueError(f"batch_size is already {own} in the model's pm.Minibatch")
        batch_size = own
    if batch_size is None:
        return Minibatches(
            lengths, lengths, lambda data, _: data, lambda t, d: _sum(density, t, d, None)
        )
    size = positive_int("batch_size", batch_size)
    if size > max(lengths):
        raise ValueError(
            f"batch_size must be at most the {max(lengths)} rows of the data, got {size}"
        )
    sizes = tuple(min(size, length) for length in lengths)
    if sizes == lengths:
        return cut(density, None)
    axes = tuple(
        lengths.index(len(a)) if a.ndim and len(a) in lengths else None for a in density.data
    )

    def take(data: tuple, rows: tuple) -> tuple:
        return tuple(
            a if k is None else jnp.asarray(a)[rows[k]] for a, k in zip(data, axes, strict=True)
        )

    scales = {
        rv.name: lengths[k] / sizes[k]
        for rv in density.model.observed_RVs
        for k in [lengths.index(_rows_of(density, rv))]
    }
    _check_rows(density, take, lengths)
    return Minibatches(lengths, sizes, take, lambda t, d: _sum(density, t, d, scales))


def _sum(density: LogDensity, theta: Any, batch: tuple, scales: dict[str, float] | None) -> Array:
    terms = density.pointwise(theta, batch)
    parts = [term.sum() * (scales[name] if scales else 1.0) for name, term in terms.items()]
    return jnp.stack(parts).sum() if len(parts) > 1 else parts[0]


def _rows_of(density: LogDensity, rv: Any) -> int:
    value = density.model.rvs_to_values[rv]
    if density.batch_size is not None:
        return density.N
    shape = tuple(int(s) for s in value.shape.eval())
    return shape[0] if shape else 1


def _lengths(density: LogDensity) -> tuple[int, ...]:
    """Rows of each observed variable, without repetition."""
    return tuple(dict.fromkeys(_rows_of(density, rv) for rv in density.model.observed_RVs))


def _check_total_size(density: LogDensity) -> None:
    """``total_size`` may only be the number of rows that the data have."""
    for rv in density.model.observed_RVs:
        if isinstance(rv.owner.op, MinibatchRandomVariable):
            given = [getattr(size, "data", None) for size in rv.owner.inputs[1:]]
            rows = _rows_of(density, rv)
            if given[0] is None or int(given[0]) != rows or any(g is not None for g in given[1:]):
                raise ValueError(
                    f"total_size of {rv.name} must be the {rows} rows of its data, or be left out, "
                    f"got {[None if g is None else int(g) for g in given]}"
                )


def _check_rows(
    density: LogDensity, take: Callable[[tuple, tuple], tuple], lengths: tuple[int, ...]
) -> None:
    """The log likelihood of each row must not depend on which other rows are with it."""
    theta = jnp.asarray(density.initial_points(1, jitter=0.5, seed=0)[0])
    first = [np.arange(max(1, min(2, n // 2))) for n in lengths]
    both = [np.arange(min(len(f) + max(1, min(3, n - len(f) - 1)), n)) for f, n in zip(
        first, lengths, strict=True)]  # fmt: skip
    sizes = dict(zip(density.data_names, (np.shape(a) for a in density.data), strict=True))
    with precision(np.float64):

        def terms(rows: list) -> tuple[float, dict]:
            batch = take(tuple(jnp.asarray(a) for a in density.data), tuple(rows))
            pointwise = density.pointwise(theta, batch)
            return float(density.log_prior(theta, batch)), pointwise

        try:
            prior, alone = terms(first)
            prior_both, together = terms(both)
        except (TypeError, ValueError, IndexError) as error:
            raise ValueError(
                "the data containers and parameters do not share one axis of rows: a batch does "
                f"not fit; data of shapes {sizes}. {error}"
            ) from error
    for rv in density.model.observed_RVs:
        k = lengths.index(_rows_of(density, rv))
        a, b = np.asarray(alone[rv.name]), np.asarray(together[rv.name])
        if not a.ndim or len(a) != len(first[k]) or len(b) != len(both[k]):
            raise ValueError(
                f"observed variable {rv.name} must be a sum over the {lengths[k]} rows of its "
                "data, in pm.Data containers"
            )
        if not np.allclose(a, b[: len(a)], rtol=1e-6, atol=1e-6, equal_nan=True):
            raise ValueError(
                "the likelihood must be a sum over the rows of the data, but the log likelihood of "
                f"a row of {rv.name} depends on which other rows are with it"
            )
    if not np.isclose(prior, prior_both, rtol=1e-6, atol=1e-6, equal_nan=True):
        raise ValueError("the prior and potentials must not depend on the rows of the data")
