"""Any variables of a model, such as its distributions' parameters, as a JAX function."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
from pytensor.compile import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import graph_inputs

from bnnbook.density.jax_graph import jax_function
from bnnbook.density.log_density import LogDensity

__all__ = ["compile_terms"]


def compile_terms(
    density: LogDensity, variables: Sequence[Variable]
) -> Callable[[jax.Array, tuple], tuple[jax.Array, ...]]:
    """Turn variables of ``density.model`` into a function of theta (D,) and ``density.data``.

    Free and observed variables in their graphs stand for their values.
    """
    graphs = density.model.replace_rvs_by_values(list(variables))
    shared = [v for v in graph_inputs(graphs) if isinstance(v, SharedVariable)]
    inputs = {v: v.type() for v in shared if v.name in density.data_names}
    fixed = {v: v.type.filter_variable(v.get_value()) for v in shared if v not in inputs}
    graphs = graph_replace(graphs, inputs | fixed, strict=False)
    function = jax_function([*density.model.value_vars, *inputs.values()], graphs)
    where = [density.data_names.index(v.name) for v in inputs]

    def call(theta: jax.Array, data: tuple) -> tuple[jax.Array, ...]:
        values = density.split(theta)
        return function(*(values[name] for name in density.names), *(data[i] for i in where))

    return call
