"""Groups that were not in the data: their variables, given what all groups have in common."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr
from pytensor.compile import SharedVariable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors, graph_inputs
from pytensor.tensor.random.basic import NormalRV

from bnnbook.density import jax_function, precision
from bnnbook.density.record import ATTRIBUTE, record_without
from bnnbook.predict.draws import Parameter, as_dataset, open_draws
from bnnbook.predict.labels import own_dims

__all__ = ["new_groups"]


def new_groups(
    model: pm.Model, posterior: xr.DataTree | xr.Dataset, *, dim: str = "group", seed: int
) -> xr.Dataset:
    r"""Draw the variables of groups without data, given what all groups have in common.

    For each draw of the shared variables :math:`\phi` (means and sds of the weights), the new
    groups' own are drawn from their prior, so that together they are draws from

    .. math:: p(w_{new} \mid D) = \int p(w_{new} \mid \phi) \, p(\phi \mid D) \, d\phi .

    Parameters
    ----------
    model : pymc.Model
        A model of the new groups, as many as wanted: built like the one that was fitted, with the
        new groups' inputs. Its labels are not used.
    posterior : DataTree with a ``posterior`` group, or Dataset
        Draws of the shared variables from the fit to other groups, with any dims of the draws; the
        rest is ignored.
    dim : str
        Dim of the groups. Variables with it must be normal, given the others.
    seed : int

    Returns
    -------
    xarray.Dataset
        Free variables of ``model``, the dims of the draws first: input to its
        :func:`compile_predictor`.

    Raises
    ------
    ValueError
        If groups have no variables of their own or none in common, a variable of a group is not
        normal or depends on another one of the group's, or the posterior lacks a shared variable.
    """
    own = [rv for rv in model.free_RVs if dim in model.named_vars_to_dims.get(rv.name, ())]
    if not own:
        raise ValueError(f"model must have free variables with dim {dim!r}, got none")
    shared = [rv for rv in model.free_RVs if rv not in own]
    if not shared:
        raise ValueError(f"model must have free variables without dim {dim!r}, got none to learn")
    for rv in own:
        if rv.owner is None or not isinstance(rv.owner.op, NormalRV):
            raise ValueError(f"variables with dim {dim!r} must be normal, {rv.name} is not")
        if any(other in ancestors(rv.owner.inputs) for other in own):
            raise ValueError(f"{rv.name} must depend on shared variables only")
    as_dataset(posterior, [rv.name for rv in shared])  # before anything is computed
    shapes = model.eval_rv_shapes()
    parameters = {}
    for rv in shared:
        size = tuple(int(n) for n in shapes[rv.name])
        dims = tuple(model.named_vars_to_dims.get(rv.name) or (None,) * len(size))
        parameters[rv.name] = Parameter(dims, size, rv.dtype)
    names = {d: np.asarray(c) for d, c in model.coords.items() if c is not None}
    draws = open_draws(posterior, parameters, names)

    inputs = {rv: rv.type() for rv in shared}
    graphs = [part for rv in own for part in rv.owner.op.dist_params(rv.owner)]
    graphs = graph_replace(graphs, inputs, strict=False)
    rest = [v for v in graph_inputs(graphs) if isinstance(v, SharedVariable)]
    if rest:
        constants = {v: v.type.filter_variable(v.get_value()) for v in rest}
        graphs = graph_replace(graphs, constants, strict=False)
    function = jax_function(list(inputs.values()), graphs)
    with precision(np.float64):
        flat = [jnp.asarray(draws.values[rv.name]) for rv in shared]
        parts = [np.asarray(part) for part in jax.jit(jax.vmap(function))(*flat)]

    rng = np.random.default_rng(seed)
    variables = {}
    for rv, loc, scale in zip(own, parts[::2], parts[1::2], strict=True):
        lengths = (model.dim_lengths[d] for d in model.named_vars_to_dims[rv.name])
        shape = tuple(
            int(n.get_value() if isinstance(n, SharedVariable) else n.data) for n in lengths
        )
        mean, sd = (a.reshape(len(a), *[1] * (len(shape) + 1 - a.ndim), *a.shape[1:])
                    for a in (loc, scale))  # fmt: skip
        drawn = mean + sd * rng.standard_normal((len(loc), *shape))
        dims = (*draws.sizes, *model.named_vars_to_dims[rv.name])
        variables[rv.name] = (dims, drawn.reshape(*draws.sizes.values(), *shape))
    for name, parameter in parameters.items():
        value = draws.values[name].reshape(*draws.sizes.values(), *parameter.shape)
        variables[name] = ((*draws.sizes, *own_dims(name, parameter.dims)), value)
    result = draws.index.assign(variables)
    result.attrs = {} if not draws.record else {ATTRIBUTE: record_without(draws.record, dim)}
    return result.assign_coords(
        {d: names[str(d)] for d in result.dims if d in names and d not in draws.sizes}
    )
