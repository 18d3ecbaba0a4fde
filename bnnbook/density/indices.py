"""Containers that index something: compiled JAX clamps an index, so its range is checked before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytensor
from pytensor.compile.mode import Mode
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.traversal import ancestors, explicit_graph_inputs
from pytensor.tensor.subtensor import BaseSubtensor

from bnnbook.density.jax_graph import jax_function

__all__ = ["IndexRanges", "index_ranges"]


@dataclass(frozen=True)
class IndexRanges:
    """Every index of a graph that is computed from data containers alone.

    Attributes
    ----------
    names : tuple of tuples of str
        For each index, the containers that it is computed from.
    indexed : tuple of str
        For each index, what it looks up, in words.
    evaluate : function (mapping of all containers' values) -> list of arrays
        For each index, its values and the length of the axis that they index.
    order : tuple of str
        All containers.
    in_jax : function () -> function (*values of the containers, in order) -> tuple of arrays
        The values of each index as a JAX function, for code that is kept in files.
    """

    names: tuple[tuple[str, ...], ...]
    indexed: tuple[str, ...]
    evaluate: Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]
    order: tuple[str, ...]
    in_jax: Callable[[], Callable[..., tuple]]

    def check(self, values: Mapping[str, np.ndarray]) -> None:
        """Raise unless every index lies in its range.

        An index below zero is out of range too: NumPy would count it from the end, where a table's
        code -1 says that a category is missing.

        Parameters
        ----------
        values : mapping of container name to array
            Of all the containers that ``names`` lists.

        Raises
        ------
        ValueError
            Names the container, the first value out of range, its row, and what it indexes; or the
            integer type that cannot hold them all.
        """
        if not self.names:
            return
        found = self.evaluate(values)
        for names, indexed, index, length in zip(
            self.names, self.indexed, found[::2], found[1::2], strict=True
        ):
            largest = np.iinfo(index.dtype).max
            if largest < length - 1:
                raise ValueError(
                    f"{', '.join(names)} must be able to hold every index of {indexed}, of length "
                    f"{int(length)}, got {index.dtype}: PyMC has wrapped what is larger than "
                    f'{largest}, as it does with integers under floatX="float32"; make the model '
                    'with floatX="float64"'
                )
            bad = np.argwhere((index < 0) | (index >= length))
            if not len(bad):
                continue
            row = tuple(int(i) for i in bad[0])
            given = np.asarray(values[names[0]])
            source = ""
            if len(names) == 1 and given.shape == index.shape and given[row] != index[row]:
                source = f", computed from {given[row]},"
            where = f" in row {', '.join(map(str, row))}" if row else ""
            raise ValueError(
                f"{', '.join(names)} must index {indexed} of length {int(length)} by integers from "
                f"0 to {int(length) - 1}, got {index[row]}{source}{where}"
            )


def index_ranges(
    outputs: Sequence[Variable],
    containers: Mapping[str, Variable],
    others: Mapping[Variable, np.ndarray] | None = None,
) -> IndexRanges:
    """Find what the data containers index in a graph.

    Parameters
    ----------
    outputs : sequence of Variable
        What is computed: a model's log density, or deterministics.
    containers : mapping of name to Variable
        The data containers among the inputs of the graph.
    others : mapping of Variable to array, optional
        Any values of the graph's other inputs, for the lengths of what is indexed.

    Returns
    -------
    IndexRanges
        Its ``check(values)`` raises ValueError where an index is out of range.
    """
    known, others = {v: name for name, v in containers.items()}, dict(others or {})
    names, indexed, wanted = [], [], []
    for node in {v.owner: None for v in ancestors(outputs) if v.owner is not None}:
        if not isinstance(node.op, BaseSubtensor):
            continue
        first = 2 if "Inc" in type(node.op).__name__ else 1  # what is set comes before the indices
        for axis, entry in enumerate(node.op.idx_list):
            if isinstance(entry, slice):
                continue
            index = node.inputs[first + entry]
            sources = [v for v in explicit_graph_inputs([index]) if not isinstance(v, Constant)]
            if index.type.dtype == "bool" or not sources or not set(sources) <= set(known):
                continue
            names.append(tuple(sorted(known[v] for v in sources)))
            indexed.append(_words(node.inputs[0], axis))
            wanted += [index, node.inputs[0].shape[axis]]
    function = pytensor.function(
        [*known, *others], wanted, mode=Mode("py", "fast_compile"), on_unused_input="ignore"
    )

    def evaluate(values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        return function(*(values[name] for name in containers), *others.values())

    return IndexRanges(
        names=tuple(names),
        indexed=tuple(indexed),
        evaluate=evaluate,
        order=tuple(containers),
        in_jax=lambda: jax_function(list(known), wanted[::2]),
    )


def _words(variable: Variable, axis: int) -> str:
    return f"axis {axis} of {variable.name}" if variable.name else "an axis"
