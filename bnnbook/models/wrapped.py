"""A user's network as one function: what it returns, whether it is random, its PyTensor graph."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytensor.tensor as pt
from jax.extend import core
from pytensor import wrap_jax
from pytensor.link.jax.ops import JAXOp
from pytensor.tensor import TensorVariable

from bnnbook.models.leaves import Leaf, Network

__all__ = ["check_levels", "network_function", "network_outputs", "traced_width"]

DERIVATIVE = re.compile(r"\b(jvp|fwd|bwd)\w*=(<[^>]* at 0x\w+>|\S+)")  # in the text of a jaxpr
PYTHON = re.compile(r" at 0x|callback")


class DoubleJAXOp(JAXOp):
    """Keeps double precision where JAX's x64 is off, as in functions that PyMC compiles itself."""

    code: Any = None

    @classmethod
    def of(cls, op: JAXOp) -> DoubleJAXOp:
        """The same function."""
        return cls(op.input_types, op.output_types, op.jax_func, name=op.name)

    def perform(self, node: Any, inputs: Any, outputs: Any) -> None:
        with jax.enable_x64(True):
            super().perform(node, inputs, outputs)

    def pullback(self, inputs: Any, outputs: Any, output_gradients: Any) -> list[Any]:
        gradients = super().pullback(inputs, outputs, output_gradients)
        made = next(g.owner for g in gradients if g.owner is not None)
        again = DoubleJAXOp.of(made.op)(*made.inputs, return_list=True)
        by_output = dict(zip(made.outputs, again, strict=True))
        return [by_output.get(g, g) for g in gradients]


def network_function(network: Network, free: Sequence[Leaf]) -> Callable[..., Any]:
    """The network as a function of rows and of the values of its free leaves."""
    names = [leaf.path for leaf in free]

    def outputs(X: Any, *values: Any) -> Any:
        given = dict(zip(names, values, strict=True))
        every = [given.get(leaf.path, leaf.value) for leaf in network.leaves]
        if network.per_row:
            return jax.vmap(lambda row: network.call(every, row))(X)
        return network.call(every, X)

    return outputs


def traced_width(call: Callable[..., Any], free: Sequence[Leaf], X: np.ndarray) -> int | None:
    """Outputs a row, None if they have no axis of their own."""
    for n in (7, 5):  # one of them alone may be the length of something else
        traced, shape = _traced(call, free, X, n)
        _check_shape(shape, n)
    if _is_random(traced.jaxpr):
        raise ValueError(
            "module must not draw random numbers, got outputs that depend on a random key: what "
            "is random belongs into the priors or the likelihood"
        )
    return shape.shape[1] if len(shape.shape) == 2 else None


def _traced(call: Callable[..., Any], free: Sequence[Leaf], X: np.ndarray, n: int) -> Any:
    """The network's code for ``n`` rows, and the shape of what it returns."""
    rows = jax.ShapeDtypeStruct((n, *X.shape[1:]), X.dtype)
    with jax.enable_x64(True):
        values = [jax.ShapeDtypeStruct(leaf.value.shape, np.float64) for leaf in free]
        try:
            return jax.make_jaxpr(call, return_shape=True)(rows, *values)
        except Exception as error:  # whatever a user's code raises
            raise ValueError(
                f"module must be callable with rows of shape {X.shape[1:]}, {X.dtype}, as X has "
                f"them: {type(error).__name__}: {error}"
            ) from error


def _check_shape(shape: Any, n: int) -> None:
    if not isinstance(shape, jax.ShapeDtypeStruct):
        raise ValueError(f"module must return one array, got {type(shape).__name__}")
    if len(shape.shape) not in (1, 2) or shape.shape[0] != n:
        raise ValueError(
            "module must return one row of outputs for each row of X, so (rows,) or (rows, "
            f"outputs), got {shape.shape} for {n} rows; per_row says whether it takes one row"
        )
    if not jnp.issubdtype(shape.dtype, jnp.floating):
        raise ValueError(f"module must return real numbers, got {shape.dtype}")


def check_rows_alone(call: Callable[..., Any], free: Sequence[Leaf], X: np.ndarray) -> None:
    """Raise ValueError if the outputs of two rows change when other rows are with them."""
    rng = np.random.default_rng(0)
    values = [rng.normal(size=leaf.value.shape) / max(leaf.fan_in, 1) ** 0.5 for leaf in free]
    few = X[np.unique(np.linspace(0, len(X) - 1, 5).astype(int))]
    with jax.enable_x64(True):
        together, alone = (np.asarray(call(rows, *values)) for rows in (few, few[:2]))
    first = together[: len(alone)]
    size = np.abs(together[np.isfinite(together)]).max(initial=0)
    if not np.allclose(first, alone, rtol=1e-3, atol=1e-3 * size, equal_nan=True):
        raise ValueError(
            "module must compute each row on its own, got outputs that change with the rows beside "
            "it or from call to call: do what takes all rows, as centring, with X beforehand"
        )


def _is_random(jaxpr: Any) -> bool:
    """Whether outputs are computed from random bits; keys that nothing depends on do not count."""
    live = {v for v in jaxpr.outvars if not isinstance(v, core.Literal)}
    for eqn in reversed(jaxpr.eqns):
        if not live & set(eqn.outvars):
            continue
        if eqn.primitive.name in ("random_bits", "threefry2x32", "rng_bit_generator"):
            return True
        if any(_is_random(inner) for inner in core.jaxprs_in_params(eqn.params)):
            return True
        live |= {v for v in eqn.invars if not isinstance(v, core.Literal)}
    return False


def _code(
    call: Callable[..., Any], row: tuple[int, ...], dtype: str, free: Sequence[Leaf]
) -> tuple[str, list[tuple]] | None:
    """What a network computes, for five rows, and the constants in it; None for Python code."""
    rows = jax.ShapeDtypeStruct((5, *row), dtype)
    given = [jax.ShapeDtypeStruct(leaf.value.shape, np.float64) for leaf in free]
    traced = jax.make_jaxpr(call)(rows, *given)
    text = DERIVATIVE.sub("", str(traced))
    try:
        return None if PYTHON.search(text) else (text, list(_constants(traced)))
    except TypeError:  # a random key, which nothing depends on
        return None


def _constants(traced: Any) -> Iterator[tuple]:
    """The constants of a traced function and of those that it calls, which its text may abridge."""
    own = [v.val for eqn in traced.eqns for v in eqn.invars if isinstance(v, core.Literal)]
    for array in map(np.asarray, [*getattr(traced, "consts", ()), *own]):
        yield str(array.dtype), array.shape, array.tobytes()
    for inner in jax.tree.leaves([list(eqn.params.values()) for eqn in traced.eqns]):
        if isinstance(inner, core.ClosedJaxpr | core.Jaxpr):
            yield from _constants(inner)


def check_levels(network: Network, X: np.ndarray) -> None:
    """Raise ValueError if an integer of X is no row of the network's embeddings."""
    levels = network.levels
    if levels is not None and X.dtype.kind in "iu":
        outside = (X < 0) | (levels <= X)
        if outside.any():
            row = int(np.argwhere(outside)[0][0])
            raise ValueError(
                f"X must hold integers from 0 to {levels - 1}, which the module's "
                f"embeddings have, got {X[outside].flat[0]} in row {row}"
            )


def network_outputs(
    call: Callable[..., Any], inputs: TensorVariable, values: Sequence[TensorVariable],
    network: Network, free: Sequence[Leaf], row: tuple[int, ...], width: int | None,
) -> TensorVariable:  # fmt: skip
    """The network's outputs in the current model, (rows,) or (rows, ``width``)."""
    if network.levels is not None and inputs.dtype.startswith(("int", "uint")):
        # a look-up that PyTensor sees, so that integers out of range are refused and not clamped
        inputs = pt.arange(network.levels)[inputs]
    call.__name__ = "network"
    with jax.enable_x64(True):
        made = wrap_jax(call)(inputs, *values).owner
        op = DoubleJAXOp.of(made.op)
        op.code = _code(call, row, inputs.dtype, free)  # a fit's fingerprint holds it
        f = op(*made.inputs)
    return f if width is None else pt.specify_shape(f, (None, width))
