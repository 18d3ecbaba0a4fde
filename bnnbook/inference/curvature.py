"""Curvature of a log density at a point: generalised Gauss-Newton matrices and Hessians."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytensor.tensor as pt
from pytensor.graph.basic import Variable
from pytensor.graph.traversal import ancestors

from bnnbook.density import LogDensity
from bnnbook.density.terms import compile_terms

__all__ = ["CURVATURES", "precision_parts"]

CURVATURES = ("ggn", "hessian")
COLUMNS = 64  # of a Jacobian at a time

Information = Callable[..., list[tuple[Variable, Variable]]]


def _normal(mu: Variable, sigma: Variable) -> list[tuple[Variable, Variable]]:
    return [(mu, sigma**-2), (sigma, 2 * sigma**-2)]


def _bernoulli(p: Variable) -> list[tuple[Variable, Variable]]:
    # where p is 0 or 1 to rounding, its slope is 0 too, and the row says nothing
    return [(p, 1 / pt.maximum(p * (1 - p), 1e-300))]


def _categorical(p: Variable) -> list[tuple[Variable, Variable]]:
    return [(p, 1 / pt.maximum(p, 1e-300))]


def _poisson(mu: Variable) -> list[tuple[Variable, Variable]]:
    return [(mu, 1 / mu)]


def _student_t(nu: Variable, mu: Variable, sigma: Variable) -> list[tuple[Variable, Variable]]:
    # Lange et al. 1989, appendix B; the information on nu is left out, see ``FIXED``
    return [(mu, (nu + 1) / ((nu + 3) * sigma**2)), (sigma, 2 * nu / ((nu + 3) * sigma**2))]


def _negative_binomial(n: Variable, p: Variable) -> list[tuple[Variable, Variable]]:
    return [(p, n / (p**2 * (1 - p)))]


def _exponential(scale: Variable) -> list[tuple[Variable, Variable]]:
    return [(scale, scale**-2)]


INFORMATION: dict[str, Information] = {
    "NormalRV": _normal,
    "BernoulliRV": _bernoulli,
    "CategoricalRV": _categorical,
    "PoissonRV": _poisson,
    "StudentTRV": _student_t,
    "NegBinomialRV": _negative_binomial,
    "ExponentialRV": _exponential,
}
"""Fisher information of each parameter of a row's distribution; they are orthogonal in all."""
FIXED = {"StudentTRV": (0, "nu"), "NegBinomialRV": (0, "n (alpha)")}
"""Parameters whose information is left out: they must not depend on free variables."""


def precision_parts(
    density: LogDensity,
    theta: np.ndarray,
    data: tuple,
    varying: np.ndarray,
    *,
    curvature: str,
    full: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Curvatures at theta (D,) of minus the log likelihood and minus the log prior.

    Returns
    -------
    likelihood, prior : array (d, d), or (d,) if not ``full``
        Of the d parameters that ``varying`` (D,) marks.
    gradient : array (D,)
        Of the log density.
    value : float
        The log density.

    Raises
    ------
    ValueError
        If an observed variable has no Fisher information here.
    """
    where = jnp.asarray(np.flatnonzero(varying))
    point = jnp.asarray(theta)

    def part(function: Callable[..., jax.Array]) -> Callable[[jax.Array], jax.Array]:
        return lambda free: function(point.at[where].set(free), data)

    free = point[where]
    prior = -_hessian(part(density.log_prior), free, full=full)
    if curvature == "hessian":
        likelihood = -_hessian(part(density.log_likelihood), free, full=full)
    else:
        likelihood = _gauss_newton(density, point, data, where, full=full)
    value, gradient = jax.jit(jax.value_and_grad(density.log_density))(point, data)
    return likelihood, prior, np.asarray(gradient), float(value)


def _blocks(size: int) -> Iterator[np.ndarray]:
    """Rows of the identity, COLUMNS at a time."""
    for first in range(0, size, COLUMNS):
        block = np.zeros((min(COLUMNS, size - first), size))
        block[np.arange(len(block)), first + np.arange(len(block))] = 1.0
        yield block


def _hessian(function: Callable[..., Any], point: jax.Array, *, full: bool) -> np.ndarray:
    """Hessian (d, d), or its diagonal (d,), by Hessian-vector products."""

    def products(vectors: jax.Array) -> jax.Array:
        return jax.vmap(lambda v: jax.jvp(jax.grad(function), (point,), (v,))[1])(vectors)

    compiled, parts = jax.jit(products), []
    for block in _blocks(point.size):
        rows = np.asarray(compiled(jnp.asarray(block)))
        parts.append(rows if full else (rows * block).sum(axis=1))
    matrix = np.concatenate(parts)
    return (matrix + matrix.T) / 2 if full else matrix


def _gauss_newton(
    density: LogDensity, point: jax.Array, data: tuple, where: jax.Array, *, full: bool
) -> np.ndarray:
    """Sum of J^T F J over all elements of all parameters of the observed distributions."""
    pairs = [pair for rv in density.model.observed_RVs for pair in _information(density, rv)]
    terms = compile_terms(density, [variable for pair in pairs for variable in pair])

    def parameters(free: jax.Array) -> tuple:
        values = terms(point.at[where].set(free), data)[::2]
        return tuple(jnp.ravel(v) for v in values)

    free = point[where]
    values = terms(point, data)
    weights = [np.ravel(np.asarray(w)) for w in values[1::2]]
    roots = [
        np.sqrt(np.broadcast_to(w, np.size(v))) for v, w in zip(values[::2], weights, strict=True)
    ]

    def columns(vectors: jax.Array) -> tuple:
        return jax.vmap(lambda v: jax.jvp(parameters, (free,), (v,))[1])(vectors)

    compiled, parts = jax.jit(columns), []
    for block in _blocks(free.size):
        scaled = [
            np.asarray(j) * r for j, r in zip(compiled(jnp.asarray(block)), roots, strict=True)
        ]
        rows = np.concatenate(scaled, axis=1)  # (columns of J, elements)
        parts.append(rows if full else (rows**2).sum(axis=1))
    J = np.concatenate(parts)
    return J @ J.T if full else J


def _information(density: LogDensity, rv: Any) -> list[tuple[Variable, Variable]]:
    """Parameters of an observed distribution, broadcast to the rows, with their information."""
    op = rv.owner.op
    name = type(op).__name__
    if name not in INFORMATION:
        raise ValueError(
            f"observed variable {rv.name} ({name.removesuffix('RV')}) has no Fisher information "
            f"here; those that have: {sorted(n.removesuffix('RV') for n in INFORMATION)}. Use "
            "curvature='hessian'"
        )
    parameters = op.dist_params(rv.owner)
    free = set(density.model.free_RVs)
    if name in FIXED:
        place, called = FIXED[name]
        if free & set(ancestors([parameters[place]])):
            raise ValueError(
                f"observed variable {rv.name} must have a constant {called} for the Fisher "
                "information here; use curvature='hessian'"
            )
    like = rv if name != "CategoricalRV" else parameters[0]
    pairs = INFORMATION[name](*parameters)
    return [
        tuple(pt.broadcast_to(v, like.shape) for v in pair)
        for pair in pairs
        if free & set(ancestors([pair[0]]))
    ]
