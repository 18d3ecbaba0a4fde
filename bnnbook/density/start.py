"""Is the log density finite where a method starts? If not, which term is to blame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bnnbook.density.indices import index_ranges
from bnnbook.density.jax_graph import precision
from bnnbook.density.log_density import LogDensity
from bnnbook.density.minibatch import cut

__all__ = ["check_indices", "check_start", "first_points"]

LARGE = 1_000_000  # numbers in the data from which on compiling saves more than it costs
BLOCK = 1_000  # rows of large data at once: all images in one convolution would take gigabytes


def first_points(
    density: LogDensity, start: Any, n: int, *, seed: int, jitter: float = np.inf,
    dtype: Any = np.float64,
) -> np.ndarray:  # fmt: skip
    """Starting points (n, D), given or by :meth:`LogDensity.initial_points`, where it is finite."""
    if start is None:
        points = density.initial_points(n, jitter=jitter, seed=seed)
    else:
        points = density.given_points(start, n)
    check_start(density, points, dtype)
    return points


def check_start(density: LogDensity, thetas: np.ndarray, dtype: Any = np.float64) -> None:
    """Raise unless the log density is finite at every starting point.

    Parameters
    ----------
    density : LogDensity
    thetas : array (n, D)
        Starting points on the unconstrained space.
    dtype : data type
        Precision of the method, float32 or float64, in which the density has to be finite.

    Raises
    ------
    ValueError
        Names the observed variable, how many of its rows have no finite log likelihood, and an
        example row; or a data container with an index that is out of range.
    """
    check_indices(density)
    with precision(dtype):
        data = density.arrays(dtype)
        likelihood_of = _likelihood(density)
        for number, theta in enumerate(np.asarray(thetas, dtype)):
            point = jnp.asarray(theta)
            prior = float(density.log_prior(point, data))
            likelihood = float(likelihood_of(point, data))
            if np.isfinite(prior + likelihood):
                continue
            single = " in float32" if np.dtype(dtype) == np.float32 else ""
            where = f"the log density is not finite at starting point {number}{single}"
            for name, term in density.pointwise(point, data).items():
                rows = np.atleast_1d(np.asarray(term))
                bad = np.argwhere(~np.isfinite(rows))
                if len(bad):
                    example = ", ".join(map(str, bad[0]))
                    raise ValueError(
                        f"{where}: {len(bad)} of {rows.size} rows of observed variable {name} have "
                        f"no finite log likelihood, the first is row {example}. Are its data in "
                        "the support of its distribution, and the parameters valid?"
                    )
            likelihood = float(density.log_likelihood(point, data))
            raise ValueError(f"{where}: the log prior is {prior}, the log likelihood {likelihood}")


def _likelihood(density: LogDensity) -> Callable[[Any, tuple], Any]:
    """A log likelihood that is finite where that of all rows is: large data go by blocks."""
    if sum(array.size for array in density.data) <= LARGE:
        return density.log_likelihood
    try:
        blocks = cut(density, density.batch_size or min(BLOCK, density.N))
    except (TypeError, ValueError):  # no sum over rows
        return jax.jit(density.log_likelihood)
    if len(blocks.lengths) > 1:
        return jax.jit(density.log_likelihood)
    (rows,), (size,) = blocks.lengths, blocks.sizes

    def by_blocks(theta: Any, data: tuple) -> Any:
        def one(begin: Any) -> Any:
            return blocks.log_likelihood(theta, blocks.take(data, (begin + jnp.arange(size),)))

        begins = jnp.minimum(jnp.arange(0, rows, size), rows - size)  # the last block overlaps
        return jax.lax.map(one, begins).mean()

    return jax.jit(by_blocks)


def check_indices(density: LogDensity) -> None:
    """Raise if a data container that indexes something is out of its range.

    Raises
    ------
    ValueError
        Names container, value, row and the length of what is indexed.
    """
    graph = density.graph
    values, containers = graph.inputs[: len(density.names)], graph.inputs[len(density.names) :]
    zeros = {v: np.zeros(s, v.dtype) for v, s in zip(values, density.shapes, strict=True)}
    by_name = dict(zip(density.data_names, containers, strict=True))
    ranges = index_ranges([graph.prior, graph.likelihood], by_name, zeros)
    ranges.check(dict(zip(density.data_names, density.data, strict=True)))
