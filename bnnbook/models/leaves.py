"""A user's network taken apart: the leaves that are trained, and a function of them.

Equinox and Flax are looked up where they are already imported: a module of theirs exists only then.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path, tree_unflatten

__all__ = ["Leaf", "Network", "open_network"]

NO_DROPOUT = (
    "a posterior over weights is what dropout stands for: leave it out, or set its rate to 0"
)
NO_STATE = (
    "statistics of batches make a row depend on the others: use a normalisation that needs none, "
    "such as GroupNorm, LayerNorm or filter response normalisation"
)


RESERVED = {"X", "y", "f", "obs", "exposure", "y_centre", "y_spread", "log_rate",
            "p", "baseline", "cutpoints", "mu", "sigma", "noise", "nu_excess", "rate", "alpha",
            "overdispersion", "psi", "weight", "component_mu", "component_sigma",
            "chain", "draw", "obs_id", "feature", "unit", "class", "cut", "component",
            "output", "label", "log_rate_centre"}  # fmt: skip
"""Variables and dims of the models themselves, whose names no leaf can have."""


NUMBERS = (jax.Array, np.ndarray, np.floating, float)
"""Kinds of leaves that JAX differentiates; of Equinox modules only the first are parameters."""


class Leaf(NamedTuple):
    """A trained array: its path, its value in the module, and how many numbers feed one of it."""

    path: str
    value: np.ndarray
    fan_in: float

    @property
    def name(self) -> str:
        """Name of its variable: the path, unless models have something of that name.

        A slash, as in the names of Haiku's layers, is no part of PyMC's names.
        """
        name = self.path.replace("/", ".")
        return f"module.{name}" if name in RESERVED or name.startswith("X_dim_") else name


class Network(NamedTuple):
    """A network as a function.

    Attributes
    ----------
    leaves : sequence of Leaf
    call : function (values, X) -> outputs
        The network with other values of its leaves, in their order.
    per_row : bool
        Whether ``X`` is one row.
    levels : int or None
        Rows of the largest table that integer inputs may look up.
    """

    leaves: Sequence[Leaf]
    call: Callable[[Sequence[Any], Any], Any]
    per_row: bool
    levels: int | None


def open_network(module: Any) -> Network:
    """Take an Equinox module, a Flax NNX module or a pair (function, parameters) apart.

    Raises
    ------
    TypeError
        If it is none of them, has complex parameters, or asks for a random key or a state.
    ValueError
        If it has dropout, batch statistics, other state or random keys.
    """
    equinox, nnx = sys.modules.get("equinox"), sys.modules.get("flax.nnx")
    linen = sys.modules.get("flax.linen")
    if equinox is not None and isinstance(module, equinox.Module):
        return _open_equinox(module, equinox)
    if nnx is not None and isinstance(module, nnx.Module):
        return _open_nnx(module, nnx)
    if linen is not None and isinstance(module, linen.Module):
        raise TypeError(
            "module is of flax.linen, which keeps its parameters apart: give the pair "
            "(module.apply, module.init(key, X))"
        )
    if isinstance(module, tuple) and len(module) == 2 and callable(module[0]):
        if equinox is not None and isinstance(module[1], equinox.nn.State):
            raise ValueError(f"module must have no state, got eqx.nn.State: {NO_STATE}")
        return _open_pair(*module)
    raise TypeError(
        "module must be an Equinox module, a Flax NNX module or a pair (function, parameters), "
        f"got {type(module).__name__}"
    )


def _open_equinox(module: Any, equinox: Any) -> Network:
    nn = equinox.nn
    for path, layer in _layers(module, nn.Dropout):
        if layer.p != 0 and not layer.inference:
            raise ValueError(f"module must have no dropout, got eqx.nn.Dropout at {path}: "
                             f"{NO_DROPOUT}")  # fmt: skip
    for path, layer in _layers(module, (nn.StatefulLayer, nn.StateIndex), but=nn.Sequential):
        name = f"eqx.nn.{type(layer).__name__}"
        raise ValueError(f"module must have no state, got {name} at {path}: {NO_STATE}")
    called = inspect.signature(type(module).__call__).parameters
    for name in ("key", "state"):
        if name in called and called[name].default is inspect.Parameter.empty:
            raise TypeError(f"module must be called with a row alone, but {type(module).__name__} "
                            f"asks for a {name}")  # fmt: skip
    tables = _layers(module, nn.Embedding)
    looked_up = {f"{path}.weight" for path, _ in tables}
    flat, tree = tree_flatten_with_path(module)
    arrays = [(_path(p), leaf) for p, leaf in flat]
    trained = [_is_trained(path, leaf, jax.Array) for path, leaf in arrays]
    _check_not_tied([pair for pair, t in zip(arrays, trained, strict=True) if t])
    leaves = _with_fan_in(arrays, trained, lambda path, s: 1 if path in looked_up else prod(s[1:]))

    def call(values: Sequence[Any], x: Any) -> Any:
        return tree_unflatten(tree, _merged(arrays, trained, values))(x)

    levels = max((table.num_embeddings for _, table in tables), default=None)
    return Network(leaves, call, True, levels)


def _open_nnx(module: Any, nnx: Any) -> Network:
    layers = {".".join(map(str, path)): node for path, node in nnx.iter_graph(nnx.clone(module))}
    for path, layer in layers.items():
        if isinstance(layer, nnx.Dropout) and layer.rate != 0 and not layer.deterministic:
            where = path or "its root"
            raise ValueError(f"module must have no dropout, got nnx.Dropout at {where}: "
                             f"{NO_DROPOUT}")  # fmt: skip
        if getattr(layer, "dropout_rate", 0) and not getattr(layer, "deterministic", None):
            raise ValueError(f"module must have no dropout, got dropout_rate={layer.dropout_rate} "
                             f"of {type(layer).__name__} at {path}: {NO_DROPOUT}")  # fmt: skip
        if isinstance(layer, nnx.BatchStat | nnx.Cache):
            raise ValueError(f"module must have no state, got nnx.{type(layer).__name__} at "
                             f"{path}: {NO_STATE}")  # fmt: skip
        if getattr(layer, "param_dtype", None) == jnp.float32:
            layer.param_dtype = jnp.float64  # of the copy: states that it makes in its calls
    graph, parameters, others = nnx.split(layers[""], nnx.Param, ...)
    flat, tree = tree_flatten_with_path(parameters)
    arrays = [(_path(p).removesuffix(".value"), leaf) for p, leaf in flat]
    trained = [_is_trained(path, leaf, NUMBERS) for path, leaf in arrays]

    def fan_in(path: str, shape: tuple[int, ...]) -> int:
        layer = layers.get(path.rpartition(".")[0])
        if isinstance(layer, nnx.Embed):
            return 1
        if isinstance(layer, nnx.LinearGeneral):
            return prod(np.atleast_1d(layer.in_features).tolist())
        return prod(shape[:-1])

    def call(values: Sequence[Any], x: Any) -> Any:
        filled = tree_unflatten(tree, _merged(arrays, trained, values))
        # rebuilt, since counters of random keys belong to the trace in which they are made
        return nnx.merge(graph, filled, jax.tree.map(lambda a: a, others))(x)

    tables = [node.num_embeddings for node in layers.values() if isinstance(node, nnx.Embed)]
    return Network(_with_fan_in(arrays, trained, fan_in), call, False, max(tables, default=None))


def _open_pair(function: Callable[[Any, Any], Any], parameters: Any) -> Network:
    flat, tree = tree_flatten_with_path(parameters)
    arrays = [  # copies: NumPy's arrays may be changed in place later
        (_path(p) or "parameters", leaf.copy() if isinstance(leaf, np.ndarray) else leaf)
        for p, leaf in flat
    ]
    for path, _ in arrays:
        if path.startswith("batch_stats."):
            raise ValueError(f"module must have no state, got {path}: {NO_STATE}")
    trained = [_is_trained(path, leaf, NUMBERS) for path, leaf in arrays]

    def call(values: Sequence[Any], x: Any) -> Any:
        return function(tree_unflatten(tree, _merged(arrays, trained, values)), x)

    return Network(
        _with_fan_in(arrays, trained, lambda _, shape: prod(shape[:-1])), call, False, None
    )


def _path(keys: Any) -> str:
    return keystr(keys, simple=True, separator=".")


def _layers(module: Any, kinds: Any, but: Any = ()) -> list[tuple[str, Any]]:
    """Layers of some kinds inside an Equinox module, by path; those of ``but`` are looked into."""

    def wanted(node: Any) -> bool:
        return isinstance(node, kinds) and not isinstance(node, but)

    flat, _ = tree_flatten_with_path(module, is_leaf=wanted)
    return [(_path(p) or "its root", node) for p, node in flat if wanted(node)]


def _check_not_tied(arrays: list[tuple[str, Any]]) -> None:
    """Raise ValueError if one array is at two paths, since these would be two variables."""
    first: dict[int, str] = {}
    for path, leaf in arrays:
        other = first.setdefault(id(leaf), path)
        if other != path:
            raise ValueError(
                f"module must have each array at one path, got that of {other} at {path} too, "
                "which would be two independent variables: tie layers by eqx.nn.Shared, or give "
                "each its own copy, jnp.array(a)"
            )


def _is_trained(path: str, leaf: Any, kinds: Any) -> bool:
    if not isinstance(leaf, kinds):
        return False
    dtype = leaf.dtype if hasattr(leaf, "dtype") else np.dtype(float)
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise ValueError(
            f"module must have no random keys, got one at {path}: what is random belongs into the "
            "priors or the likelihood"
        )
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise TypeError(f"module must have real parameters, got {dtype} at {path}")
    return bool(jnp.issubdtype(dtype, jnp.floating))


def _with_fan_in(
    arrays: list[tuple[str, Any]], trained: list[bool],
    fan_in: Callable[[str, tuple[int, ...]], int],
) -> list[Leaf]:  # fmt: skip
    """The trained leaves; a bias, or what else has one axis, has the fan-in of its layer."""

    def feeding(path: str, shape: tuple[int, ...]) -> float:
        return float(fan_in(path, shape) or 1)  # 0 of arrays without numbers

    by_layer: dict[str, float] = {}
    kept = []
    for (path, leaf), is_trained in zip(arrays, trained, strict=True):
        if is_trained:
            value = np.asarray(leaf, float)
            layer, _, name = path.rpartition(".")
            own = value.ndim > 1 and not name.startswith("bias")
            kept.append((path, value, layer, own))
            if own:
                by_layer.setdefault(layer, feeding(path, value.shape))
    return [
        Leaf(path, value, feeding(path, value.shape) if own else by_layer.get(layer, 1.0))
        for path, value, layer, own in kept
    ]


def _merged(arrays: list[tuple[str, Any]], trained: list[bool], values: Sequence[Any]) -> list[Any]:
    """All leaves, the trained ones with other values."""
    new = iter(values)
    return [next(new) if t else leaf for (_, leaf), t in zip(arrays, trained, strict=True)]
