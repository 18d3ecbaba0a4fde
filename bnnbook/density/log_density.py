"""The log density of any PyMC model as JAX functions of one flat vector and of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr
from pymc.initial_point import make_initial_point_fn
from pytensor.graph.basic import Constant
from pytensor.graph.traversal import graph_inputs

from bnnbook.density.compiled import IN_PYTHON, GraphKey, compiled_once, density_key
from bnnbook.density.functions import Theta, functions_of, graph_key
from bnnbook.density.model_graph import ModelGraph, model_graph
from bnnbook.density.starts_from_fit import named_points, unconstrained_points

__all__ = ["LogDensity", "compile_log_density"]

Array = jax.Array


@dataclass(frozen=True)
class LogDensity:
    """A model's log density on the unconstrained space, as JAX functions.

    With theta of shape (D,), or a tuple of arrays by value variable in the order of ``names``, and
    ``data`` a tuple of arrays in the order of ``data_names``, the log joint density is
    ``log_prior(theta, data) + log_likelihood(theta, data)``.

    Attributes
    ----------
    log_prior : function (theta, data) -> scalar
        Sum over the free variables, with the log Jacobian of their transforms if asked for.
    log_likelihood : function (theta, data) -> scalar
        Sum over the rows given, rescaled only where the model itself carries ``total_size``; with
        the potentials that depend on data. The other potentials count as prior.
    constrain : function (theta, data) -> dict of arrays
        Free variables in the model's own space.
    pointwise : function (theta, data) -> dict of arrays
        Log likelihood of each observed variable, row by row, without the model's ``total_size``.
    potentials : function (theta, data) -> dict of arrays
        The potentials that depend on data, as the model has them: one number a row, or a sum.
    data_names, data : tuple
        The model's data containers and their current values; minibatches come back as full data.
    batched : tuple of bool
        Which containers have the data axis first: of that length, and of its name if both have one.
    fixed_rows : bool
        Whether the likelihood also holds N rows as a constant, which no minibatch can cut.
    N : int
        Rows in the full data.
    batch_size : int or None
        Rows in the model's own ``pm.Minibatch``, if it has one.
    names, shapes : tuple
        Unconstrained value variables, in the order in which theta holds them.
    graph : ModelGraph
        The same as PyTensor variables.
    key : GraphKey
        Equal to that of a log density whose compiled code is the same, for other data.
    dims : dict
        Dimension names of the free variables; coords their labels.
    """

    log_prior: Callable[[Theta, tuple], Array]
    log_likelihood: Callable[[Theta, tuple], Array]
    constrain: Callable[[Theta, tuple], dict[str, Array]]
    pointwise: Callable[[Theta, tuple], dict[str, Array]]
    potentials: Callable[[Theta, tuple], dict[str, Array]]
    data_names: tuple[str, ...]
    data: tuple[np.ndarray, ...]
    batched: tuple[bool, ...]
    fixed_rows: bool
    N: int
    batch_size: int | None
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    graph: ModelGraph = field(repr=False)
    key: GraphKey = field(repr=False)
    dims: dict[str, tuple[str, ...]]
    coords: dict[str, Any]
    model: pm.Model

    @property
    def size(self) -> int:
        """Number of unconstrained parameters D."""
        return sum(int(np.prod(shape)) for shape in self.shapes)

    def log_density(self, theta: Theta, data: tuple) -> Array:
        """Log joint density, nats."""
        return self.log_prior(theta, data) + self.log_likelihood(theta, data)

    def arrays(self, dtype: Any = None) -> tuple[Array, ...]:
        """``data`` for compiled code, real numbers in ``dtype`` or the precision in force."""
        return tuple(jnp.asarray(a, dtype if a.dtype.kind == "f" else None) for a in self.data)

    @cached_property
    def constrain_draws(self) -> Callable[[Array, tuple], dict[str, Array]]:
        """``constrain`` for (draws, D) at once, compiled when it is first called."""
        key = "constrain", density_key(self, self.data)
        return compiled_once(key, lambda: jax.jit(jax.vmap(self.constrain, in_axes=(0, None))))

    def split(self, theta: Any) -> dict[str, Any]:
        """Cut ``(..., D)`` into the value variables by name, ``(..., *shape)``."""
        parts, start = {}, 0
        for name, shape in zip(self.names, self.shapes, strict=True):
            stop = start + int(np.prod(shape))
            parts[name] = theta[..., start:stop].reshape((*theta.shape[:-1], *shape))
            start = stop
        return parts

    def initial_points(self, n: int, *, jitter: float, seed: int) -> np.ndarray:
        """Starting points (n, D): prior draws if ``jitter`` is inf, else default plus uniform.

        Raises ValueError if a prior that is to be drawn from cannot be sampled.
        """
        strategy = "prior" if np.isinf(jitter) else "support_point"
        initial = make_initial_point_fn(model=self.model, default_strategy=strategy)
        seeds = np.random.SeedSequence(seed).generate_state(n)
        points = []
        for s in seeds:
            try:
                point = initial(int(s))
            except NotImplementedError as error:
                improper = [rv.name for rv in self.model.free_RVs if "flat" in str(rv.owner.op)]
                raise ValueError(
                    f"model must have priors that can be sampled to start from, got {improper}: "
                    f"{error}"
                ) from error
            flat = np.concatenate([np.ravel(point[name]) for name in self.names])
            if np.isfinite(jitter) and jitter > 0:
                flat = flat + np.random.default_rng(s).uniform(-jitter, jitter, flat.shape)
            points.append(flat)
        return np.array(points, dtype=np.float64)

    def given_points(self, start: Any, n: int) -> np.ndarray:
        """Starting points (n, D) from an array, a mapping of names to (n, ...), or a fit.

        Names are those of all free variables, such as ``sigma``, or of all their unconstrained
        values, such as ``sigma_log__``. Raises ValueError if a name is missing or unknown, a shape
        is wrong, or a value not finite or outside its variable's support.
        """
        if isinstance(start, Mapping | xr.DataTree):
            start = named_points(self.model, start, n)
            free = [rv.name for rv in self.model.free_RVs]
            if set(start) == set(free) != set(self.names):
                start = unconstrained_points(self.model, start, n)
            if set(start) != set(self.names):
                either = "" if set(free) == set(self.names) else f", or {', '.join(free)}"
                raise ValueError(
                    f"start must name {', '.join(self.names)}{either}, got {', '.join(start)}"
                )
            for name, shape in zip(self.names, self.shapes, strict=True):
                if np.shape(start[name]) != (n, *shape):
                    raise ValueError(
                        f"start[{name!r}] must have shape {(n, *shape)}, "
                        f"got {np.shape(start[name])}"
                    )
            start = np.concatenate([np.reshape(start[name], (n, -1)) for name in self.names], 1)
        start = np.asarray(start, dtype=np.float64)
        if start.shape != (n, self.size):
            raise ValueError(f"start must have shape {(n, self.size)}, got {start.shape}")
        if not np.isfinite(start).all():
            raise ValueError("start must be finite, got NaN or infinity")
        return start


def compile_log_density(model: pm.Model, *, jacobian: bool = True) -> LogDensity:
    """Turn ``model`` into JAX functions with the data as inputs.

    Parameters
    ----------
    model : pymc.Model
        Any model without discrete free variables. Observed values and inputs may be constants,
        ``pm.Data`` containers or tensors of ``pm.Minibatch``, and the likelihood a potential.
        Invalid parameters have density zero as in PyMC, unless the model has
        ``check_bounds=False``.
    jacobian : bool
        Whether the prior counts the log Jacobian of the transforms. Samplers and ADVI need it; the
        mode in the model's own parameters is found without.

    Raises
    ------
    TypeError
        If ``model`` is not a ``pm.Model``, or has discrete free variables (named).
    ValueError
        If nothing is observed, not even by a potential, or nothing is free.
    """
    _check_model(model)
    graph = model_graph(model, jacobian=jacobian)
    point = model.initial_point(random_seed=0)
    names = tuple(v.name for v in model.value_vars)
    shapes = tuple(np.shape(point[name]) for name in names)
    key = graph_key(model, graph, names, shapes)
    functions = functions_of(model, graph, shapes, key)
    n_rows, row_dim = _rows(model, graph)
    return LogDensity(
        **functions._asdict(),
        data_names=graph.data_names,
        data=graph.data,
        batched=tuple(
            bool(a.ndim) and len(a) == n_rows and _may_be(model, name, row_dim)
            for name, a in zip(graph.data_names, graph.data, strict=True)
        ),
        fixed_rows=any(
            isinstance(v, Constant) and np.ndim(v.data) > 0 and len(v.data) == n_rows > 1
            for v in graph_inputs([graph.likelihood])
        ),
        N=n_rows,
        batch_size=graph.batch_size,
        names=names,
        shapes=shapes,
        graph=graph,
        key=key,
        dims={
            n: tuple(model.named_vars_to_dims.get(n, ()))
            for n in (rv.name for rv in model.free_RVs)
        },
        coords={k: np.asarray(v) for k, v in model.coords.items() if v is not None},
        model=model,
    )


def _check_model(model: pm.Model) -> None:
    if not isinstance(model, pm.Model):
        raise TypeError(f"model must be a pymc.Model, got {type(model).__name__}")
    if model.discrete_value_vars:
        discrete = ", ".join(
            rv.name for rv in model.free_RVs if rv.dtype.startswith(("int", "bool"))
        )
        raise TypeError(f"model must have no discrete free variables, got {discrete}")
    if not model.free_RVs:
        raise ValueError("model must have free variables, got none")
    if not model.observed_RVs and not model.potentials:
        raise ValueError("model must have observed variables, or a pm.Potential, got none")


def _rows(model: pm.Model, graph: ModelGraph) -> tuple[int, str | None]:
    """Length and name of the data axis: of the first observed variable, else of the data."""
    if not model.observed_RVs:
        rows = [a for a in graph.data if a.ndim]
        return (max(map(len, rows)), None) if rows else (1, None)
    first = model.observed_RVs[0]
    value = model.rvs_to_values[first]
    dims = model.named_vars_to_dims.get(first.name) or model.named_vars_to_dims.get(value.name)
    row_dim = dims[0] if dims else None
    if graph.minibatched:
        return len(graph.data[0]), row_dim
    shape = value.shape.eval(mode=IN_PYTHON)
    return int(shape[0]) if len(shape) else 1, row_dim


def _may_be(model: pm.Model, name: str, row_dim: str | None) -> bool:
    """Whether a container of the right length may follow the rows, by the names of its dims."""
    dims = model.named_vars_to_dims.get(name)
    return not dims or None in (dims[0], row_dim) or dims[0] == row_dim
