"""What a model's deterministics are at some rows of its data, for the draws of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from pytensor.compile import SharedVariable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors, graph_inputs
from pytensor.tensor.random.type import RandomType

from bnnbook.density import LogDensity, compiled_once, jax_function, precision
from bnnbook.density.compiled import GraphKey

__all__ = ["draw_blocks", "function_values", "some_of"]

MAX_ROWS = 200  # of the data at which functions are evaluated
LEAST_ROWS = 20
MAX_OUTPUT = 100_000  # numbers of one deterministic at those rows
WORK = 4e9  # multiplications, were every parameter used once for each row: about a second
BLOCK_BYTES = 16e6  # of draws at a time, which are copied
LEAST_DRAWS = 400  # of all chains: until then it is rows that are given up


class _Deterministics(NamedTuple):
    """Deterministics as one JAX function of free variables, by name, and data."""

    outputs: list[str]
    parameters: list[str]
    data_names: list[str]
    data: list[np.ndarray]
    function: Callable[..., tuple]
    key: GraphKey | None


def function_values(
    density: LogDensity, posterior: xr.Dataset, most: int
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Values of the deterministics that have one for each row, at some of the rows.

    The work is bounded: with many parameters there are fewer rows, and then fewer draws.

    Parameters
    ----------
    density : LogDensity
    posterior : Dataset (chain, draw, ...)
    most : int
        Numbers a draw to return, of all deterministics together.

    Returns
    -------
    values : dict of arrays (chain, draw, numbers)
        Empty if no deterministic follows the rows.
    skipped : list of str
        Deterministics that are too large to look at.
    """
    found = _deterministics(density)
    if not found.outputs:
        return {}, []
    with precision(np.float64):
        n = int(np.clip(WORK / (2 * density.size * LEAST_DRAWS), LEAST_ROWS, MAX_ROWS))
        shapes, rows = _shapes(found, density, posterior, min(n, density.N))
        sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
        looked = [name for name in shapes if sizes[name] <= MAX_OUTPUT]
        skipped = [name for name in shapes if sizes[name] > MAX_OUTPUT]
        work = 2 * density.size * (density.N if rows is None else len(rows))
        if work * LEAST_DRAWS > 10 * WORK:  # the rows are constants of the model, and many
            looked, skipped = [], list(shapes)
        if not looked:
            return {}, skipped
        chains, draws = posterior.sizes["chain"], posterior.sizes["draw"]
        kept = int(np.clip(WORK / work / chains, LEAST_DRAWS // chains, draws))
        thinned = posterior.isel(draw=slice(None, None, draws // kept))  # no copy
        picks = [some_of(sizes[name], max(1, most // len(looked))) for name in looked]
        values = _values(found, looked, picks, thinned, _cut(found, density, rows))
        return dict(zip(looked, values, strict=True)), skipped


def some_of(n: int, most: int) -> np.ndarray:
    """At most ``most`` of the numbers below n, always the same, in order.

    Not evenly spaced ones, which may all be of the same class.
    """
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).choice(n, most, replace=False))


def draw_blocks(draws: xr.Dataset | xr.DataArray) -> list[slice]:
    """Stretches of draws (chain, draw, ...) that are small, or one draw long."""
    n = draws.sizes["draw"]
    each = max(1, int(n * BLOCK_BYTES / max(1, draws.nbytes)))
    return [slice(first, first + each) for first in range(0, n, each)]


def _deterministics(density: LogDensity) -> _Deterministics:
    """Those that depend on free variables and on no other random ones."""
    model = density.model
    free = {rv: rv.type(name=rv.name) for rv in model.free_RVs}
    named = [v for v in model.deterministics if not set(free).isdisjoint(ancestors([v]))]
    if not named:
        return _Deterministics([], [], [], [], lambda: (), None)
    replaced = graph_replace(named, free, strict=False)
    graphs = {
        v.name: graph
        for v, graph in zip(named, replaced, strict=True)
        if not any(isinstance(i.type, RandomType) for i in graph_inputs([graph]))
    }
    lengths = set(model.dim_lengths.values())  # JAX needs them to be constants
    shared = [v for v in graph_inputs(list(graphs.values())) if isinstance(v, SharedVariable)]
    inputs = {
        v: v.type.filter_variable(v.get_value()) if v in lengths else v.type() for v in shared
    }
    outputs = graph_replace(list(graphs.values()), inputs, strict=False)
    data = [v for v in shared if v not in lengths]
    present = set(graph_inputs(outputs))
    used = [rv for rv, value in free.items() if value in present]
    arguments = [*(free[rv] for rv in used), *(inputs[v] for v in data)]
    return _Deterministics(
        list(graphs), [rv.name for rv in used], [str(v.name) for v in data],
        [np.asarray(v.get_value(borrow=True)) for v in data], jax_function(arguments, outputs),
        GraphKey(arguments, outputs, "functions"),
    )  # fmt: skip


def _shapes(
    found: _Deterministics, density: LogDensity, posterior: xr.Dataset, n: int
) -> tuple[dict[str, tuple[int, ...]], np.ndarray | None]:
    """Shapes of what follows the rows at n of them, and these; None if they cannot be cut."""
    draws = [posterior[name].transpose("chain", "draw", ...) for name in found.parameters]
    examples = [jax.ShapeDtypeStruct(draw.shape[2:], draw.dtype) for draw in draws]

    def at(rows: np.ndarray | None) -> list[tuple[int, ...]]:
        data = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in _cut(found, density, rows)]
        return [out.shape for out in jax.eval_shape(found.function, *examples, *data)]

    N = density.N
    whole = dict(zip(found.outputs, at(None), strict=True))
    chosen: np.ndarray | None = np.linspace(0, N - 1, n).astype(int)
    try:
        fewer, at_rows = at(np.arange(N - 1)), at(chosen)
    except (TypeError, ValueError):  # some of the rows are constants of the model
        fewer, at_rows, chosen = list(whole.values()), list(whole.values()), None
    return {
        name: some
        for (name, all_), less, some in zip(whole.items(), fewer, at_rows, strict=True)
        if N > 1 and (all_ != less or N in all_)
    }, chosen


def _cut(found: _Deterministics, density: LogDensity, rows: np.ndarray | None) -> list[np.ndarray]:
    """The data at some rows; all of it for None."""
    batched = dict(zip(density.data_names, density.batched, strict=True))
    return [
        array if rows is None or not batched.get(name) else array[rows]
        for name, array in zip(found.data_names, found.data, strict=True)
    ]


def _values(
    found: _Deterministics, names: list[str], picks: list[np.ndarray], posterior: xr.Dataset,
    data: list[np.ndarray],
) -> list[np.ndarray]:  # fmt: skip
    """The picked numbers of each deterministic, (chain, draw, numbers)."""
    which, function = tuple(found.outputs.index(name) for name in names), found.function

    def some(draws: list, data: list, picks: list) -> list[jax.Array]:
        def one(draw: list) -> list[jax.Array]:
            outputs = function(*draw, *data)
            return [outputs[i].ravel()[pick] for i, pick in zip(which, picks, strict=True)]

        return jax.lax.map(one, draws)

    evaluate = compiled_once(("functions", which, found.key), lambda: jax.jit(some))
    inputs = [jnp.asarray(a) for a in data], [jnp.asarray(pick) for pick in picks]
    parts = []
    for block in draw_blocks(posterior[found.parameters]):
        part = posterior.isel(draw=block)
        draws = [part[name].transpose("chain", "draw", ...).to_numpy() for name in found.parameters]
        flat = [jnp.asarray(draw.reshape(-1, *draw.shape[2:])) for draw in draws]
        shape = posterior.sizes["chain"], part.sizes["draw"]
        values: Any = evaluate(flat, *inputs)
        parts.append([np.asarray(value, dtype=float).reshape(*shape, -1) for value in values])
    return [np.concatenate(blocks, axis=1) for blocks in zip(*parts, strict=True)]
