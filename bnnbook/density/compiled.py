"""Compiled code, kept: fits of models that differ only in their data compile once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import jax.numpy as jnp

from bnnbook.density.log_density import LogDensity

__all__ = ["compiled_once", "density_key"]

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


def density_key(density: LogDensity, data: tuple) -> tuple:
    """What decides a log density's compiled code: its graph, its data's shapes, the precision."""
    shapes = tuple((array.shape, str(array.dtype)) for array in data)
    graph = getattr(density, "key", None) or object()
    return graph, shapes, str(jnp.result_type(float))
