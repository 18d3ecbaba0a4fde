"""A log density at given data: whatever depends on the data alone is computed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Literal

__all__ = ["given_data"]

Array = jax.Array


def given_data(
    function: Callable[[Any, Any], Array], theta: Any, data: Any
) -> Callable[[Any], Array]:
    """Turn ``function(theta, data)`` into a function of theta, for use in a compiled loop.

    XLA computes what a loop's body needs of an argument anew in every turn, such as the transpose
    of the inputs of a network, but folds constants when it compiles. Here the operations that
    depend on the data alone are done where this function is called, outside the loop: data as
    arguments, of code that is compiled once for all data of their shapes, are then as fast as data
    as constants. Operations whose result is larger than what they take are left in the loop.

    Parameters
    ----------
    function : function of (theta, data) that returns one array
    theta : array or tuple of arrays
        An example: shapes and dtypes count, not values.
    data : tuple of arrays
        Values, or JAX's stand-ins for them inside a compiled function.
    """
    closed = jax.make_jaxpr(function)(theta, data)
    jaxpr = closed.jaxpr
    n_theta = len(jax.tree.leaves(theta))
    known = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    known |= dict(zip(jaxpr.invars[n_theta:], jax.tree.leaves(data), strict=True))
    later = []
    for operation in jaxpr.eqns:
        if _on_known_alone(operation, known):
            _evaluate(operation, known)
        else:
            later.append(operation)

    def call(theta: Any) -> Array:
        values = known | dict(zip(jaxpr.invars[:n_theta], jax.tree.leaves(theta), strict=True))
        for operation in later:
            _evaluate(operation, values)
        (result,) = (_read(values, atom) for atom in jaxpr.outvars)
        return result

    return call


def _on_known_alone(operation: Any, known: dict) -> bool:
    taken = [atom for atom in operation.invars if not isinstance(atom, Literal)]
    if not taken or operation.effects or not all(atom in known for atom in taken):
        return False
    largest = max(atom.aval.size for atom in taken)
    return all(made.aval.size <= largest for made in operation.outvars)


def _evaluate(operation: Any, values: dict) -> None:
    primitive = operation.primitive
    bound = primitive.get_bind_params(operation.params)
    functions, settings = bound if isinstance(bound, tuple) else ((), bound)  # by version of JAX
    made = primitive.bind(*functions, *(_read(values, a) for a in operation.invars), **settings)
    made = made if primitive.multiple_results else [made]
    values.update(zip(operation.outvars, made, strict=True))


def _read(values: dict, atom: Any) -> Any:
    return atom.val if isinstance(atom, Literal) else values[atom]
