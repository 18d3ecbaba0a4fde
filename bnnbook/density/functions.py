"""A model's graph as JAX functions, kept: models that differ only in their data share them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pymc as pm
from jax import Array
from pytensor.graph.basic import Variable

from bnnbook.checks import check_not_forked
from bnnbook.density.compiled import GraphKey, compiled_once
from bnnbook.density.jax_graph import jax_function
from bnnbook.density.model_graph import ModelGraph

__all__ = ["Functions", "Theta", "functions_of", "graph_key"]

Theta = Array | tuple[Array, ...]
ByName = Callable[[Theta, tuple], dict[str, Array]]


class Functions(NamedTuple):
    """Functions of (theta, data); :class:`~bnnbook.density.LogDensity` says what each returns."""

    log_prior: Callable[[Theta, tuple], Array]
    log_likelihood: Callable[[Theta, tuple], Array]
    constrain: ByName
    pointwise: ByName
    potentials: ByName


def graph_key(
    model: pm.Model, graph: ModelGraph, names: Sequence[str], shapes: Sequence[tuple[int, ...]]
) -> GraphKey:
    """Equal to that of a model whose functions are the same, for other data."""
    outputs = [graph.prior, graph.likelihood, *graph.free, *graph.terms.values()]
    free = tuple(rv.name for rv in model.free_RVs)
    dims = model.named_vars_to_dims
    rows = tuple(dims.get(name) for name in (*graph.data_names, *graph.terms))
    observed = len(model.observed_RVs)
    static = tuple(getattr(v.type, "shape", None) for v in graph.inputs)  # rewrites may use them
    told = (tuple(names), tuple(shapes), free, tuple(graph.terms), observed, graph.data_names)
    return GraphKey(graph.inputs, outputs, (*told, rows, static, model.check_bounds))


def functions_of(
    model: pm.Model, graph: ModelGraph, shapes: Sequence[tuple[int, ...]], key: GraphKey
) -> Functions:
    """The functions, turned into JAX once for all models with an equal ``key``."""
    check_not_forked()  # also where they are kept
    return compiled_once(("functions", key), lambda: _functions(model, graph, shapes))


def _functions(
    model: pm.Model, graph: ModelGraph, shapes: Sequence[tuple[int, ...]]
) -> Functions:  # fmt: skip
    # the gradient of a split is one concatenation, that of slices a sum of padded arrays
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    check_bounds = model.check_bounds  # what is kept must not keep the model, which has its data

    def function(outputs: Sequence[Variable]) -> Callable[[Theta, tuple], tuple]:
        call = jax_function(graph.inputs, list(outputs), check_bounds=check_bounds)

        def evaluate(theta: Theta, data: tuple) -> tuple:
            if isinstance(theta, tuple):
                return call(*theta, *data)
            parts = jnp.split(theta, ends)
            pieces = (part.reshape(s) for part, s in zip(parts, shapes, strict=True))
            return call(*pieces, *data)

        return evaluate

    def one(output: Variable) -> Callable[[Theta, tuple], Array]:
        evaluate = function([output])
        return lambda theta, data: evaluate(theta, data)[0]

    def by_name(names: Sequence[Any], outputs: Sequence[Variable]) -> ByName:
        if not outputs:
            return lambda _theta, _data: {}
        evaluate = function(outputs)
        return lambda theta, data: dict(zip(names, evaluate(theta, data), strict=True))

    terms, values = list(graph.terms), list(graph.terms.values())
    observed = len(model.observed_RVs)
    return Functions(
        log_prior=one(graph.prior),
        log_likelihood=one(graph.likelihood),
        constrain=by_name([rv.name for rv in model.free_RVs], graph.free),
        pointwise=by_name(terms[:observed], values[:observed]),
        potentials=by_name(terms[observed:], values[observed:]),
    )
