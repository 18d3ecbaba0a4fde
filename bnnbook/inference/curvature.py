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

from bnnbook.density import LogDensity, compiled_once, density_key
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
    given = jnp.asarray(theta), jnp.asarray(np.flatnonzero(varying)), data
    prior = -_hessian(density, "log_prior", given, full=full)
    if curvature == "hessian":
        likelihood = -_hessian(density, "log_likelihood", given, full=full)
    else:
        likelihood = _gauss_newton(density, given, full=full)
    value, gradient = _compiled(
        density, "gradient", lambda: jax.value_and_grad(density.log_density), given[0], data
    )
    return likelihood, prior, np.asarray(gradient), float(value)


Given = tuple[jax.Array, jax.Array, tuple]
"""Where: a point (D,), which of its elements vary (d,), and the data."""


def _compiled(
    density: LogDensity, kind: str, build: Callable[[], Callable[..., Any]], *arguments: Any
) -> Any:
    """Value of the function that ``build`` makes, compiled once for densities of equal code."""
    shapes = tuple(a.shape for a in arguments[:-1])
    key = ("curvature", kind, shapes, density_key(density, arguments[-1]))
    return compiled_once(key, lambda: jax.jit(build()).lower(*arguments).compile())(*arguments)


def _blocks(size: int) -> Iterator[tuple[jax.Array, int]]:
    """Rows of the identity, a fixed number at a time, the last filled up with zeros; how many."""
    rows = min(COLUMNS, size)
    for first in range(0, size, rows):
        block = np.eye(rows, size, first)
        yield jnp.asarray(block), min(rows, size - first)


def _hessian(density: LogDensity, which: str, given: Given, *, full: bool) -> np.ndarray:
    """Hessian (d, d), or its diagonal (d,), by Hessian-vector products."""

    def build() -> Callable[..., jax.Array]:
        function = getattr(density, which)

        def products(
            vectors: jax.Array, point: jax.Array, where: jax.Array, data: tuple
        ) -> jax.Array:
            gradient = jax.grad(lambda free: function(point.at[where].set(free), data))
            return jax.vmap(lambda v: jax.jvp(gradient, (point[where],), (v,))[1])(vectors)

        return products

    parts = []
    for block, n in _blocks(given[1].size):
        rows = np.asarray(_compiled(density, which, build, block, *given))[:n]
        parts.append(rows if full else (rows * np.asarray(block)[:n]).sum(axis=1))
    matrix = np.concatenate(parts)
    return (matrix + matrix.T) / 2 if full else matrix


def _gauss_newton(density: LogDensity, given: Given, *, full: bool) -> np.ndarray:
    """Sum of J^T F J over all elements of all parameters of the observed distributions."""
    pairs = [pair for rv in density.model.observed_RVs for pair in _information(density, rv)]

    def build() -> Callable[..., tuple]:
        terms = compile_terms(density, [variable for pair in pairs for variable in pair])

        def columns(
            vectors: jax.Array, point: jax.Array, where: jax.Array, data: tuple
        ) -> tuple[list[jax.Array], list[jax.Array]]:
            def parameters(free: jax.Array) -> list[jax.Array]:
                return [jnp.ravel(v) for v in terms(point.at[where].set(free), data)[::2]]

            values = terms(point, data)
            roots = [
                jnp.sqrt(jnp.broadcast_to(jnp.ravel(w), jnp.size(v)))
                for v, w in zip(values[::2], values[1::2], strict=True)
            ]
            moved = jax.vmap(lambda v: jax.jvp(parameters, (point[where],), (v,))[1])(vectors)
            return moved, roots

        return columns

    parts = []
    for block, n in _blocks(given[1].size):
        moved, roots = _compiled(density, "Gauss-Newton", build, block, *given)
        scaled = [np.asarray(j)[:n] * np.asarray(r) for j, r in zip(moved, roots, strict=True)]
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
