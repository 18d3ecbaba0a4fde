"""Is the likelihood a sum over rows that can be cut? If not, which term is to blame."""

from __future__ import annotations

import numpy as np
from pytensor.graph.basic import Constant
from pytensor.graph.traversal import ancestors, graph_inputs

from bnnbook.density.log_density import LogDensity
from bnnbook.density.rows import Evaluate, Ways, evaluated, taken, ways_to_cut

__all__ = ["sums_over_rows"]

WHOLE = "or leave batch_size out, for all rows at each step"


def sums_over_rows(
    density: LogDensity, lengths: tuple[int, ...], sizes: tuple[int, ...], rows: dict[str, int]
) -> tuple[Ways, dict[str, int | None]]:
    """Find what follows the rows, and check that the likelihood is a sum over them.

    Parameters
    ----------
    density : LogDensity
    lengths, sizes : tuple of int
        Of each row axis, and of a batch of it.
    rows : dict of int
        Length of the rows of each term that has them.

    Returns
    -------
    ways : sequence of Along or None
        For each container.
    along : dict of int or None
        For each term the number of its row axis; None if it is not cut.

    Raises
    ------
    ValueError
        If the model cannot be cut: names the term and what to write instead.
    """
    _check_not_imputed(density)
    evaluate = evaluated(density)
    problem = None
    for ways in ways_to_cut(density, lengths, rows, evaluate):
        try:
            return ways, _check(density, lengths, sizes, rows, ways, evaluate)
        except ValueError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _check(
    density: LogDensity, lengths: tuple[int, ...], sizes: tuple[int, ...], rows: dict[str, int],
    ways: Ways, evaluate: Evaluate,
) -> dict[str, int | None]:  # fmt: skip
    """Two parts of the data, and both: each row must be worth the same in them."""
    if not any(way is not None and sizes[way.rows] < lengths[way.rows] for way in ways):
        raise ValueError(
            f"a batch needs inputs and observed values in pm.Data, got none of {density.N} rows"
            f"{_constants(density, lengths)}{_other_axes(density, lengths, ways)}: put them in "
            f"pm.Data, {WHOLE}"
        )
    counts = [
        min(2, n // 2) if size < n else n for n, size in zip(lengths, sizes, strict=True)
    ]  # fmt: skip
    orders = [
        np.random.default_rng(k).choice(n, min(2 * c, n), replace=False)
        for k, (n, c) in enumerate(zip(lengths, counts, strict=True))
    ]
    parts = [[order[:c] for order, c in zip(orders, counts, strict=True)]]
    parts.append([o[c : 2 * c] if len(o) > c else o for o, c in zip(orders, counts, strict=True)])
    parts.append([order[: 2 * c] for order, c in zip(orders, counts, strict=True)])
    try:
        first, second, both = (evaluate(taken(density.data, part, ways)) for part in parts)
    except (TypeError, ValueError, IndexError) as error:
        shapes = {n: np.shape(a) for n, a in zip(density.data_names, density.data, strict=True)}
        raise ValueError(
            "the data containers and parameters do not share one axis of rows: a batch does not "
            f"fit; data of shapes {shapes}{_constants(density, lengths)}"
            f"{_per_row(density, lengths)}{_other_axes(density, lengths, ways)}. "
            f"Have every row in pm.Data, {WHOLE} ({error})"
        ) from error
    if not _same(first[""], both[""]) or not _same(second[""], both[""]):
        raise ValueError(
            "the prior and potentials must not depend on the rows of the data: leave the rows out "
            f"of the prior of the free variables, {WHOLE}"
        )
    return {
        name: _row_axis(density, name, rows, lengths, counts, ways, (first, second, both))
        for name in both
        if name
    }


def _row_axis(
    density: LogDensity, name: str, rows: dict[str, int], lengths: tuple[int, ...],
    counts: list[int], ways: Ways, values: tuple[dict[str, np.ndarray], ...],
) -> int | None:  # fmt: skip
    """Row axis of a term, from its values on two parts of the rows and on both; None if whole."""
    first, second, both = (np.asarray(value[name]) for value in values)
    if name in rows and len(first) == rows[name]:
        if _same(first, both) and _same(second, both):
            return None
    elif name in rows:
        k = lengths.index(rows[name])
        if len(first) != counts[k] or len(both) != 2 * counts[k]:
            raise ValueError(
                f"{name} must have one log likelihood for each of its {rows[name]} rows"
            )
        if _same(np.concatenate([first, second]), both):
            return k
    elif _same(first, both) and _same(second, both):
        return None
    elif _same(first + second, both):
        containers = density.graph.inputs[len(density.names) :]
        above = set(ancestors([density.graph.terms[name]]))
        axes = {w.rows for w, v in zip(ways, containers, strict=True) if w and v in above}
        if len(axes) > 1:
            raise ValueError(
                f"{name} is a sum over rows of lengths {[lengths[k] for k in sorted(axes)]}: write "
                f"one pm.Potential for each, {WHOLE}"
            )
        return axes.pop()
    if name in rows:
        raise ValueError(
            "the likelihood must be a sum over the rows of the data, but the log likelihood of "
            f"a row of {name} depends on which other rows are with it: compute what is taken over "
            f"all rows beforehand, {WHOLE}"
        )
    raise ValueError(
        f"the likelihood must be a sum over the rows of the data, but {name} is one number that is "
        "no such sum: write it as one log likelihood a row, with what does not depend on rows in a "
        f"pm.Potential of its own, {WHOLE}"
    )


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-6, atol=1e-6, equal_nan=True)


def _check_not_imputed(density: LogDensity) -> None:
    named = density.model.named_vars
    for rv in density.model.observed_RVs:
        name = rv.name.removesuffix("_observed")
        if name != rv.name and f"{name}_unobserved" in named:
            raise ValueError(
                f"{name} has missing values, which {name}_unobserved imputes: their rows cannot be "
                f"cut into batches. Leave the rows without {name} out of the data, {WHOLE}"
            )


def _constants(density: LogDensity, lengths: tuple[int, ...]) -> str:
    inputs = graph_inputs(list(density.graph.terms.values()))
    found = {len(v.data) for v in inputs if isinstance(v, Constant) and np.ndim(v.data)}
    known = [str(n) for n in lengths if n in found and n > 1]
    return f", got rows of length {' and '.join(known)} as constants" if known else ""


def _per_row(density: LogDensity, lengths: tuple[int, ...]) -> str:
    """Free variables with a value for each row."""
    for name, shape in zip(density.names, density.shapes, strict=True):
        if any(n in lengths and n > 1 for n in shape):
            n = next(n for n in shape if n in lengths)
            return (
                f", and {name} seems to have values for each of {n} rows: look them up by a "
                f"pm.Data container of row numbers, such as {name}[i], or integrate them out"
            )
    return ""


def _other_axes(density: LogDensity, lengths: tuple[int, ...], ways: Ways) -> str:
    """Containers that are as long as the rows, but on an axis that is not their first."""
    for name, array, way in zip(density.data_names, density.data, ways, strict=True):
        axes = [i for i, n in enumerate(np.shape(array)) if i and n in lengths and n > 1]
        if way is None and axes:
            return (
                f", and {name} of shape {np.shape(array)} seems to have its rows on axis {axes[0]}:"
                " name that axis in its dims as the rows of y are named, such as 'obs_id', or "
                "transpose it"
            )
    return ""
