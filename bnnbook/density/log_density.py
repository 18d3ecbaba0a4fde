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
from pymc.data import MinibatchOp
from pymc.initial_point import make_initial_point_fn
from pymc.logprob.basic import transformed_conditional_logp
from pymc.variational.minibatch_rv import MinibatchRandomVariable
from pytensor.compile import SharedVariable
from pytensor.graph.basic import Constant, Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors, graph_inputs

from bnnbook.density.jax_graph import jax_function
from bnnbook.density.starts_from_fit import named_points, unconstrained_points

__all__ = ["LogDensity", "compile_log_density"]

Array = jax.Array
Theta = Array | tuple[Array, ...]


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
        Sum over the rows given, rescaled only where the model itself carries ``total_size``.
    constrain : function (theta, data) -> dict of arrays
        Free variables in the model's own space.
    pointwise : function (theta, data) -> dict of arrays
        Log likelihood of each observed variable, row by row, without the model's ``total_size``.
    data_names, data : tuple
        The model's data containers and their current values; minibatches come back as full data.
    batched : tuple of bool
        Which containers have the data axis (length N) first.
    fixed_rows : bool
        Whether the likelihood also holds N rows as a constant, which no minibatch can cut.
    N : int
        Rows in the full data.
    batch_size : int or None
        Rows in the model's own ``pm.Minibatch``, if it has one.
    names, shapes : tuple
        Unconstrained value variables, in the order in which theta holds them.
    graph : (inputs, (log prior, log likelihood))
        The same as PyTensor variables, with the values and then the data as inputs.
    dims : dict
        Dimension names of the free variables; coords their labels.
    """

    log_prior: Callable[[Theta, tuple], Array]
    log_likelihood: Callable[[Theta, tuple], Array]
    constrain: Callable[[Theta, tuple], dict[str, Array]]
    pointwise: Callable[[Theta, tuple], dict[str, Array]]
    data_names: tuple[str, ...]
    data: tuple[np.ndarray, ...]
    batched: tuple[bool, ...]
    fixed_rows: bool
    N: int
    batch_size: int | None
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    graph: tuple[list[Variable], tuple[Variable, Variable]] = field(repr=False)
    dims: dict[str, tuple[str, ...]]
    coords: dict[str, Any]
    model: pm.Model

    @property
    def size(self) -> int:
        """Number of unconstrained parameters D."""
        return sum(int(np.prod(shape)) for shape in self.shapes)

    @cached_property
    def constrain_draws(self) -> Callable[[Array, tuple], dict[str, Array]]:
        """``constrain`` for (draws, D) at once, compiled when it is first called."""
        return jax.jit(jax.vmap(self.constrain, in_axes=(0, None)))

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
        ``pm.Data`` containers or tensors of ``pm.Minibatch``.
    jacobian : bool
        Whether the prior counts the log Jacobian of the transforms. Samplers and ADVI need it; the
        mode in the model's own parameters is found without.

    Raises
    ------
    TypeError
        If ``model`` is not a ``pm.Model``, or has discrete free variables (named).
    ValueError
        If nothing is observed or nothing is free.
    """
    if not isinstance(model, pm.Model):
        raise TypeError(f"model must be a pymc.Model, got {type(model).__name__}")
    if model.discrete_value_vars:
        discrete = ", ".join(
            rv.name for rv in model.free_RVs if rv.dtype.startswith(("int", "bool"))
        )
        raise TypeError(f"model must have no discrete free variables, got {discrete}")
    if not model.free_RVs:
        raise ValueError("model must have free variables, got none")
    if not model.observed_RVs:
        raise ValueError("model must have observed variables, got none")

    prior = model.logp(vars=model.free_RVs, jacobian=jacobian)
    likelihood = model.logp(vars=model.observed_RVs)
    potentials = [term.sum() for term in model.replace_rvs_by_values(model.potentials)]
    prior = prior + sum(potentials) if potentials else prior
    free = model.replace_rvs_by_values(model.free_RVs)
    dim_lengths = set(model.dim_lengths.values())

    row_terms = _row_terms(model)
    outputs = [prior, likelihood, *free, *row_terms]
    outputs, batch_size, full = _open_minibatches(outputs)
    shared = [v for v in graph_inputs(outputs) if isinstance(v, SharedVariable)]
    lengths = {v: v.type.filter_variable(v.get_value()) for v in shared if v in dim_lengths}
    if lengths:
        outputs = graph_replace(outputs, lengths, strict=False)
    values = list(model.value_vars)
    containers = [
        v for v in graph_inputs(outputs) if isinstance(v, SharedVariable) and v not in full
    ]
    inputs = {v: v.type() for v in containers}
    if inputs:
        outputs = graph_replace(outputs, inputs, strict=False)
    all_inputs = [*values, *full.values(), *inputs.values()]
    data = tuple(np.asarray(v.eval()) for v in full) + tuple(
        np.asarray(v.get_value(borrow=True))
        for v in containers  # images are large
    )
    data_names = tuple(v.name or f"data_{i}" for i, v in enumerate([*full, *containers]))
    point = model.initial_point(random_seed=0)
    names: tuple[str, ...] = tuple(v.name for v in values)
    shapes = tuple(np.shape(point[name]) for name in names)
    n_rows = _n_rows(model, data, full)
    batched = tuple(bool(a.ndim) and len(a) == n_rows for a in data)
    fixed_rows = any(
        isinstance(v, Constant) and np.ndim(v.data) > 0 and len(v.data) == n_rows > 1
        for v in graph_inputs([likelihood])
    )

    def split(theta: Theta) -> list[Array]:
        if isinstance(theta, tuple):
            return list(theta)
        # the gradient of a split is one concatenation, that of slices a sum of padded arrays
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
        parts = jnp.split(theta, ends[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    cut = 2 + len(free)
    parts = (outputs[:1], outputs[1:2], outputs[2:cut], outputs[cut:])
    functions = [jax_function(all_inputs, out) for out in parts]
    free_names = [rv.name for rv in model.free_RVs]
    return LogDensity(
        log_prior=lambda theta, data: functions[0](*split(theta), *data)[0],
        log_likelihood=lambda theta, data: functions[1](*split(theta), *data)[0],
        constrain=lambda theta, data: dict(
            zip(free_names, functions[2](*split(theta), *data), strict=True)
        ),
        pointwise=lambda theta, data: dict(
            zip(
                [rv.name for rv in model.observed_RVs],
                functions[3](*split(theta), *data),
                strict=True,
            )
        ),
        data_names=data_names,
        data=data,
        batched=batched,
        fixed_rows=fixed_rows,
        N=n_rows,
        batch_size=batch_size,
        names=names,
        shapes=shapes,
        graph=(all_inputs, (outputs[0], outputs[1])),
        dims={n: tuple(model.named_vars_to_dims.get(n, ())) for n in free_names},
        coords={k: np.asarray(v) for k, v in model.coords.items() if v is not None},
        model=model,
    )


def _row_terms(model: pm.Model) -> list[Variable]:
    """Log likelihood of each observed variable, row by row, not scaled by ``total_size``."""
    plain = {
        rv: rv.owner.inputs[0] if isinstance(rv.owner.op, MinibatchRandomVariable) else rv
        for rv in model.basic_RVs
    }
    return transformed_conditional_logp(
        [plain[rv] for rv in model.observed_RVs],
        rvs_to_values={plain[rv]: value for rv, value in model.rvs_to_values.items()},
        rvs_to_transforms={plain[rv]: t for rv, t in model.rvs_to_transforms.items()},
    )


def _n_rows(model: pm.Model, data: tuple[np.ndarray, ...], full: Mapping) -> int:
    """Length of the data axis: of the minibatched data, else of the first observed variable."""
    if full:
        return len(data[0])
    observed = model.rvs_to_values[model.observed_RVs[0]]
    if isinstance(observed, Constant):
        shape = np.shape(observed.data)
    else:
        shape = tuple(observed.shape.eval())
    return int(shape[0]) if shape else 1


def _open_minibatches(outputs: list[Variable]) -> tuple[list[Variable], int | None, dict]:
    """Replace ``pm.Minibatch`` tensors by plain inputs.

    Returns the outputs, the batch size, and a map from each full data tensor to its input.
    """
    nodes = [
        v.owner
        for v in ancestors(outputs)
        if v.owner is not None and isinstance(v.owner.op, MinibatchOp)
    ]
    if not nodes:
        return outputs, None, {}
    tensors = nodes[0].inputs[:-1]
    # a graph may hold copies of the call; its random generator tells one call from another
    if len({node.inputs[-1] for node in nodes}) > 1:
        raise ValueError(
            "model must take all its minibatches from one pm.Minibatch(X, y, ...) call, "
            "else rows are mispaired"
        )
    inputs = [batch.type() for batch in nodes[0].outputs[:-1]]
    opened = {
        batch: new for node in nodes for batch, new in zip(node.outputs[:-1], inputs, strict=True)
    }
    outputs = graph_replace(outputs, opened, strict=False)
    return outputs, inputs[0].type.shape[0], dict(zip(tensors, inputs, strict=True))
