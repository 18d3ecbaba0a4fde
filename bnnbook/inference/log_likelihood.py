"""Pointwise log likelihoods of a fit, for model comparison and leave-one-out checks."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr
from pytensor.compile import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import graph_inputs

from bnnbook.checks import positive_int
from bnnbook.density import (
    LogDensity,
    check_indices,
    compile_log_density,
    compiled_once,
    density_key,
    jax_function,
    precision,
)
from bnnbook.inference.results import labelled, variable_dims

__all__ = ["log_likelihood"]

LOO_DRAWS = 25  # of ArviZ: fewer leave no tail to smooth the importance weights by


def log_likelihood(fit: xr.DataTree, model: pm.Model, *, block: int = 100) -> xr.DataTree:
    """Add the log likelihood of every observed value under every draw.

    With the group that is added, ``az.loo``, ``az.compare`` and ``az.loo_pit`` work on the fits of
    all methods that have 25 draws or more. A warning says so of a fit with fewer, such as one
    point, which has no importance weights. The log likelihoods are those of the model's own data,
    minibatches in full and without ``total_size``: give a model with other data for held-out ones.

    Parameters
    ----------
    fit : DataTree
        Of this model, by any method.
    model : pymc.Model
    block : int
        Draws in one compiled call. The result holds 8 bytes for each draw and observed value:
        2 GB for 4,000 draws and 60,000 rows.

    Returns
    -------
    xarray.DataTree
        The groups of ``fit``, which is left as it is, and ``log_likelihood``: one variable for each
        observed one, (chain, draw, ...), with its dims.

    Raises
    ------
    TypeError, ValueError
        If ``fit`` has no posterior, its variables are not those of the model, or all of the
        model's likelihood is in potentials.
    """
    block = positive_int("block", block)
    if not isinstance(fit, xr.DataTree) or "posterior" not in fit.children:
        raise TypeError(f"fit must be a DataTree with a posterior, got {type(fit).__name__}")
    density = compile_log_density(model)
    check_indices(density)
    if not model.observed_RVs:
        raise ValueError(
            "model must have observed variables, which have a log likelihood value by value; its "
            f"likelihood is in {', '.join(p.name for p in model.potentials)}: write that as an "
            "observed variable, such as pm.CustomDist"
        )
    posterior = fit["posterior"].to_dataset()
    draws = [_draws(posterior, model, rv.name) for rv in model.free_RVs]
    with precision(np.float64):
        data = density.arrays()
        terms = _blocks(density, draws, data, block)
    shape = posterior.sizes["chain"], posterior.sizes["draw"]
    if np.prod(shape) < LOO_DRAWS:
        warnings.warn(
            f"az.loo needs at least {LOO_DRAWS} draws, got {np.prod(shape)}: what is added serves "
            "for in-sample scores alone",
            UserWarning,
            stacklevel=2,
        )
    variables = {}
    for name, value in terms.items():
        dims = variable_dims(model, name, value.ndim - 1)
        variables[name] = (("chain", "draw", *dims), value.reshape(*shape, *value.shape[1:]))
    dataset = labelled(xr.Dataset(variables), model)
    tree = fit.copy()
    tree["log_likelihood"] = xr.DataTree(
        dataset.assign_coords(chain=posterior["chain"], draw=posterior["draw"])
    )
    return tree


def _draws(posterior: xr.Dataset, model: pm.Model, name: str) -> np.ndarray:
    """Draws (chain * draw, ...) of a free variable in the model's order of dims and labels."""
    if name not in posterior:
        raise ValueError(f"fit must have the model's {name}, got {', '.join(map(str, posterior))}")
    values = posterior[name]
    dims = variable_dims(model, name, values.ndim - 2)
    if set(values.dims) != {"chain", "draw", *dims}:
        raise ValueError(f"{name} must have dims chain, draw, {dims}, got {values.dims}")
    for dim in dims:
        labels = model.coords.get(dim)
        if labels is None or dim not in values.coords:
            continue
        if set(values[dim].to_numpy().tolist()) != set(np.asarray(labels).tolist()):
            raise ValueError(
                f"{name} has other labels of {dim} than the model: "
                f"{values[dim].to_numpy().tolist()}, not {list(labels)}"
            )
        values = values.sel({dim: list(labels)})
    array = values.transpose("chain", "draw", *dims).to_numpy()
    return array.reshape(-1, *array.shape[2:])


def _blocks(
    density: LogDensity, draws: list[np.ndarray], data: tuple, block: int
) -> dict[str, np.ndarray]:
    """Terms of the observed variables, (draws, ...)."""
    total = len(draws[0])
    size = min(block, total)
    first = [jnp.asarray(draw[:size]) for draw in draws]

    def compile_() -> Any:
        unconstrained = _unconstrained(density.model)

        def one(draw: list, data: tuple) -> dict[str, jax.Array]:
            return density.pointwise(unconstrained(*draw), data)

        def blocks(draws: list, data: tuple) -> dict[str, jax.Array]:
            return jax.lax.map(lambda draw: one(draw, data), draws)

        return jax.jit(blocks).lower(first, data).compile()

    # data on which the transforms depend are constants of the compiled code
    own = object() if _shared(_transformed(density.model)[1]) else None
    evaluate = compiled_once(("log likelihood", size, own, density_key(density, data)), compile_)
    pieces: dict[str, list[np.ndarray]] = {}
    for start in range(0, total, size):
        # the last block starts early instead of being shorter: one shape, one compilation
        begin = min(start, total - size)
        values = evaluate([jnp.asarray(draw[begin : begin + size]) for draw in draws], data)
        for name, value in values.items():
            pieces.setdefault(name, []).append(np.asarray(value)[start - begin :])
    return {name: np.concatenate(parts) for name, parts in pieces.items()}


def _transformed(model: pm.Model) -> tuple[list[Variable], list[Variable]]:
    """The free variables, and their values under their transforms."""
    values = {rv: rv.type(name=rv.name) for rv in model.free_RVs}
    moved = []
    for rv, value in values.items():
        transform = model.rvs_to_transforms[rv]
        moved.append(value if transform is None else transform.forward(value, *rv.owner.inputs))
    return list(values.values()), graph_replace(moved, values, strict=False)


def _shared(graphs: list[Variable]) -> list[SharedVariable]:
    return [v for v in graph_inputs(graphs) if isinstance(v, SharedVariable)]


def _unconstrained(model: pm.Model) -> Any:
    """The free variables' values under their transforms, as a JAX function."""
    values, moved = _transformed(model)
    shared = _shared(moved)
    if shared:
        constants = {v: v.type.filter_variable(v.get_value()) for v in shared}
        moved = graph_replace(moved, constants, strict=False)
    return jax_function(values, moved)
