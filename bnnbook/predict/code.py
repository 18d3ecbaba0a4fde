"""Compiled code as bytes: StableHLO for any number of draws and rows, without pickle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax import export

from bnnbook.density import precision

__all__ = ["from_bytes", "to_bytes"]


def to_bytes(
    function: Callable[..., tuple], shapes: list[tuple], dtype: str
) -> tuple[bytes, dict[str, Any]]:
    """StableHLO of a function of arrays with these (shape, dtype), and what its reader needs.

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
    about = {
        "in": [[str(v) for v in a.shape] for a in made.in_avals],
        "in_dtypes": [str(a.dtype) for a in made.in_avals],
        "out": [[str(v) for v in a.shape] for a in made.out_avals],
        "out_dtypes": [str(a.dtype) for a in made.out_avals],
        "kept": list(made.module_kept_var_idx),
        "convention": made.calling_convention_version,
        "globals": bool(made.uses_global_constants),
        "precision": dtype,
    }
    return bytes(made.mlir_module_serialized), about


def from_bytes(
    code: bytes, about: Mapping[str, Any], versions: Mapping[str, str]
) -> Callable[..., tuple]:
    """The function that :func:`to_bytes` wrote; ValueError if this JAX cannot read it."""
    least = export.minimum_supported_calling_convention_version
    most = export.maximum_supported_calling_convention_version
    if not least <= about["convention"] <= most:
        raise ValueError(
            f"the file is of an incompatible version: it was written with JAX {versions['jax']} "
            f"(calling convention {about['convention']}), and JAX {jax.__version__} reads {least} "
            f"to {most}; save it again"
        )
    scope = export.SymbolicScope()

    def avals(which: str) -> tuple:
        return tuple(
            jax.core.ShapedArray(export.symbolic_shape(", ".join(s), scope=scope), np.dtype(d))
            for s, d in zip(about[which], about[f"{which}_dtypes"], strict=True)
        )

    with precision(about["precision"]):
        inputs, made = avals("in"), avals("out")
        try:
            exported = export.Exported(
                fun_name="predict",
                in_tree=jax.tree.structure((tuple(inputs), {})),
                in_avals=inputs,
                out_tree=jax.tree.structure(tuple(made)),
                out_avals=made,
                _in_named_shardings=(None,) * len(inputs),
                _out_named_shardings=(None,) * len(made),
                in_shardings_hlo=(None,) * len(inputs),
                out_shardings_hlo=(None,) * len(made),
                nr_devices=1,
                platforms=("cpu",),
                ordered_effects=(),
                unordered_effects=(),
                disabled_safety_checks=(),
                mlir_module_serialized=code,
                calling_convention_version=about["convention"],
                module_kept_var_idx=tuple(about["kept"]),
                uses_global_constants=about["globals"],
                _get_vjp=None,
            )
        except TypeError as error:
            raise ValueError(
                f"the file is of an incompatible version: it was written with JAX "
                f"{versions['jax']}, and this is {jax.__version__}; save it again"
            ) from error
    compiled = jax.jit(exported.call)
    dtypes = [np.dtype(d) for d in about["in_dtypes"]]

    def call(*args: Any) -> tuple:
        return compiled(*(jax.numpy.asarray(a, dtype=d) for a, d in zip(args, dtypes, strict=True)))

    return call
