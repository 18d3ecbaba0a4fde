"""Compiled code as bytes: StableHLO for any number of draws and rows, without pickle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import export

from bnnbook.density import precision

__all__ = ["from_bytes", "to_bytes"]


def to_bytes(function: Callable[..., tuple], shapes: list[tuple], dtype: str) -> bytes:
    """StableHLO of a function of arrays with these (shape, dtype), as ``jax.export`` writes it.

    Raises ValueError if it cannot be exported for any value of the symbols in the shapes.
    """
    with precision(dtype):
        kinds = [
            dtype if np.dtype(d).kind == "f" else str(jax.dtypes.canonicalize_dtype(d))
            for _, d in shapes
        ]
        args = [jax.ShapeDtypeStruct(s, k) for (s, _), k in zip(shapes, kinds, strict=True)]
        try:
            made = export.export(jax.jit(function), platforms=("cpu",))(*args)
        except Exception as error:  # JAX's own, of many kinds
            raise ValueError(
                f"the predictor cannot be exported for any number of rows and draws: {error}"
            ) from error
    return bytes(made.serialize())


def from_bytes(code: bytes, written_with: str) -> Callable[..., tuple]:
    """The function that :func:`to_bytes` wrote; ValueError if this JAX cannot read it."""
    with precision("float64"):
        try:
            exported = export.deserialize(bytearray(code))
        except Exception as error:  # of many kinds too
            raise ValueError(
                f"the file is of an incompatible version: it was written with JAX {written_with}, "
                f"and this is {jax.__version__}; save it again ({error})"
            ) from error
    compiled = jax.jit(exported.call)
    dtypes = [aval.dtype for aval in exported.in_avals]

    def call(*args: Any) -> tuple:
        return compiled(*(jax.numpy.asarray(a, dtype=d) for a, d in zip(args, dtypes, strict=True)))

    return call
