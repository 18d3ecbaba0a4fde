"""Convolutions as patches and one matrix product.

Inside a compiled loop, XLA's own convolution is many times slower on a CPU than called alone: it
then runs on one thread and without its fast kernels. Samplers run whole blocks of steps in one
loop, so the convolutions of a network are rewritten before they get there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

__all__ = ["convolutions_as_products"]


def convolutions_as_products(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function`` with every convolution in it computed as patches times weights.

    The values are the same up to rounding, and so are gradients. Convolutions whose input is
    dilated (transposed convolutions) stay as they are.
    """

    def rewritten(*args: Any) -> Any:
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        if not _has_convolution(closed.jaxpr):
            return function(*args)
        out = _evaluate(closed, *jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), out)

    return rewritten


def _inner(eqn: Any) -> list[Any]:
    """Closed jaxprs that an equation carries, such as the body of a loop."""
    values = [v for p in eqn.params.values() for v in (p if isinstance(p, tuple | list) else (p,))]
    return [v for v in values if isinstance(v, core.ClosedJaxpr)]


def _has_convolution(jaxpr: Any) -> bool:
    return any(
        eqn.primitive is lax.conv_general_dilated_p
        or any(_has_convolution(inner.jaxpr) for inner in _inner(eqn))
        for eqn in jaxpr.eqns
    )


def _evaluate(closed: Any, *args: Any) -> list[Any]:
    jaxpr = closed.jaxpr
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*closed.consts, *args], strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for eqn in jaxpr.eqns:
        inputs = [read(v) for v in eqn.invars]
        if eqn.primitive is lax.conv_general_dilated_p and _is_plain(eqn.params):
            outputs: Any = _patches_product(*inputs, **eqn.params)
        else:
            params = {key: _rewritten(value) for key, value in eqn.params.items()}
            bound = eqn.primitive.get_bind_params(params)
            # before JAX 0.12 the functions that an equation carries came apart
            carried, bound = bound if isinstance(bound, tuple) else ((), bound)
            outputs = eqn.primitive.bind(*carried, *inputs, **bound)
        if not eqn.primitive.multiple_results:
            outputs = [outputs]
        values |= dict(zip(eqn.outvars, outputs, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _rewritten(value: Any) -> Any:
    """A parameter of an equation, its own code rewritten too."""
    if type(value) in (tuple, list):
        return type(value)(map(_rewritten, value))
    if not isinstance(value, core.ClosedJaxpr) or not _has_convolution(value.jaxpr):
        return value
    return jax.make_jaxpr(lambda *args: _evaluate(value, *args))(*value.in_avals)


def _is_plain(params: dict[str, Any]) -> bool:
    return params["batch_group_count"] == 1 and set(params["lhs_dilation"]) == {1}


def _patches_product(
    images: jax.Array, weights: jax.Array, *, window_strides: Any, padding: Any,
    rhs_dilation: Any, dimension_numbers: Any, feature_group_count: int, **_: Any,
) -> jax.Array:  # fmt: skip
    """The convolution as shifted, strided slices side by side, times the weights."""
    batch, channel, *space = dimension_numbers.lhs_spec
    x = jnp.transpose(images, (batch, *space, channel))
    w = jnp.transpose(weights, dimension_numbers.rhs_spec)  # (out, in, *kernel)
    kernel, axes = w.shape[2:], range(1, x.ndim - 1)
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((a, b, 0) for a, b in padding), (0, 0, 0)])
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, rhs_dilation, strict=True)]
    size = [
        (x.shape[axis] - r) // s + 1 for axis, r, s in zip(axes, reach, window_strides, strict=True)
    ]
    slices = []
    for place in itertools.product(*map(range, kernel)):
        start = [p * d for p, d in zip(place, rhs_dilation, strict=True)]
        stop = [b + (n - 1) * s + 1 for b, n, s in zip(start, size, window_strides, strict=True)]
        slices.append(
            lax.slice(x, (0, *start, 0), (x.shape[0], *stop, x.shape[-1]), (1, *window_strides, 1))
        )
    patches = jnp.stack(slices, axis=-2)  # (n, *size, place, channel)
    groups, (out, inner) = feature_group_count, w.shape[:2]
    w = jnp.moveaxis(w.reshape(groups, out // groups, inner, -1), 3, 2)
    if groups == 1:
        rows = patches.reshape(-1, len(slices) * inner)
        product = rows @ w.reshape(out, -1).T
    else:
        split = patches.reshape(*patches.shape[:-1], groups, inner)
        product = jnp.einsum("...pgi,gopi->...go", split, w)
    product = product.reshape(*patches.shape[:-2], out)
    batch, channel, *space = dimension_numbers.out_spec
    return jnp.transpose(product, tuple(np.argsort((batch, *space, channel))))
