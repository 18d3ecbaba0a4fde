"""Compiled code, kept: fits of models that differ only in their data compile once."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
from pytensor.compile.mode import Mode
from pytensor.graph.basic import Variable, equal_computations
from pytensor.graph.traversal import io_toposort

if TYPE_CHECKING:
    from bnnbook.density.log_density import LogDensity

__all__ = ["IN_PYTHON", "GraphKey", "compiled_once", "density_key"]

IN_PYTHON = Mode("py", None)  # for what is evaluated once; PyTensor's own mode compiles it first
MOST = 64  # functions kept; the one that was not used for longest goes first

_kept: OrderedDict[Hashable, Any] = OrderedDict()
_lock = threading.Lock()


def compiled_once(key: Hashable, compile_: Callable[[], Any]) -> Any:
    """What ``compile_`` returned when it was first called with an equal key.

    The key has to hold everything that decides the compiled code, which must not keep the data it
    was first made for: data are its arguments.
    """
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    made = compile_()
    with _lock:
        _kept[key] = made
        while len(_kept) > MOST:
            _kept.popitem(last=False)
    return made


class GraphKey:
    """A PyTensor graph as a key: equal to that of a graph that computes the same from its inputs.

    Parameters
    ----------
    inputs, outputs : sequence of Variable
    names : hashable
        Whatever else decides the compiled code, such as the names of what it returns.
    """

    def __init__(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], names: Hashable
    ) -> None:
        self._inputs, self._outputs, self._names = list(inputs), list(outputs), names
        ops = Counter(str(type(node.op)) for node in io_toposort(self._inputs, self._outputs))
        self._hash = hash((names, frozenset(ops.items())))
        self._computes = object()  # shared by all keys that were found equal

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GraphKey) or self._names != other._names:
            return False
        if self._computes is other._computes:
            return True
        try:
            equal = equal_computations(self._outputs, other._outputs, self._inputs, other._inputs)
        except (RecursionError, ValueError):  # too deep to compare; another number of outputs
            return False
        if equal:  # a dictionary compares its own key with another's: that one keeps the answer
            other._computes = self._computes
        return equal


def density_key(density: LogDensity, data: tuple) -> tuple:
    """What decides a log density's compiled code: its graph, its data's shapes, the precision."""
    shapes = tuple((array.shape, str(array.dtype)) for array in data)
    return density.key, shapes, str(jnp.result_type(float))
