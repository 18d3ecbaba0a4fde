"""A model's log density as PyTensor graphs: what is prior, what is likelihood, what is data."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pymc as pm
from pymc.data import MinibatchOp
from pymc.logprob.basic import transformed_conditional_logp
from pymc.variational.minibatch_rv import MinibatchRandomVariable
from pytensor.compile import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace
from pytensor.graph.traversal import ancestors, graph_inputs
from pytensor.tensor.random.type import RandomType
from pytensor.tensor.subtensor import AdvancedSubtensor

from bnnbook.density.compiled import IN_PYTHON

__all__ = ["ModelGraph", "model_graph"]


class ModelGraph(NamedTuple):
    """Graphs of the values of the free variables and of the data.

    ``terms`` are the parts of the likelihood by name: the observed variables row by row, without
    their ``total_size``, and then the potentials that depend on data.
    """

    inputs: list[Variable]
    prior: Variable
    likelihood: Variable
    free: list[Variable]
    terms: dict[str, Variable]
    data_names: tuple[str, ...]
    data: tuple[np.ndarray, ...]
    minibatched: int  # of the data, the first ones, come in full from a pm.Minibatch
    batch_size: int | None


def model_graph(model: pm.Model, *, jacobian: bool) -> ModelGraph:
    """Take ``model`` apart, its data containers and minibatches opened as inputs."""
    potentials = dict(
        zip(
            (p.name for p in model.potentials),
            model.replace_rvs_by_values(model.potentials),
            strict=True,
        )
    )
    on_data = [name for name, term in potentials.items() if _depends_on_data(model, term)]
    if not model.observed_RVs and not on_data:
        on_data = list(potentials)  # their data are constants: nothing else is a likelihood
    # taking a model apart is slow: all its variables at once
    n_free = len(model.free_RVs)
    logps = model.logp([*model.free_RVs, *model.observed_RVs], jacobian=jacobian, sum=False)
    prior = [term.sum() for term in logps[:n_free]]
    prior += [term.sum() for name, term in potentials.items() if name not in on_data]
    likelihood = [term.sum() for term in logps[n_free:]]
    likelihood += [potentials[name].sum() for name in on_data]
    outputs = [
        sum(prior[1:], start=prior[0]),
        sum(likelihood[1:], start=likelihood[0]),
        *model.replace_rvs_by_values(model.free_RVs),
        *_row_terms(model, logps[n_free:]),
        *(potentials[name] for name in on_data),
    ]
    outputs, batch_size, full = _open_minibatches(outputs)
    dim_lengths = set(model.dim_lengths.values())
    shared = [v for v in graph_inputs(outputs) if isinstance(v, SharedVariable)]
    # what decides a shape has to be known when JAX compiles
    shaping = {v for v in shared if v in dim_lengths} | _masks(outputs)
    constants = {v: v.type.filter_variable(v.get_value()) for v in shaping}
    if constants:
        outputs = graph_replace(outputs, constants, strict=False)
    containers = [
        v for v in graph_inputs(outputs) if isinstance(v, SharedVariable) and v not in full
    ]
    inputs = {v: v.type() for v in containers}
    if inputs:
        outputs = graph_replace(outputs, inputs, strict=False)
    cut = 2 + n_free
    return ModelGraph(
        inputs=[*model.value_vars, *full.values(), *inputs.values()],
        prior=outputs[0],
        likelihood=outputs[1],
        free=outputs[2:cut],
        terms=dict(
            zip([rv.name for rv in model.observed_RVs] + on_data, outputs[cut:], strict=True)
        ),
        data_names=tuple(v.name or f"data_{i}" for i, v in enumerate([*full, *containers])),
        data=tuple(np.asarray(v.eval(mode=IN_PYTHON)) for v in full)
        + tuple(np.asarray(v.get_value(borrow=True)) for v in containers),  # images are large
        minibatched=len(full),
        batch_size=batch_size,
    )


def _masks(outputs: list[Variable]) -> set[SharedVariable]:
    """Containers that decide which rows a boolean index takes, and so how many."""
    chosen = [
        index
        for v in ancestors(outputs)
        if v.owner is not None and isinstance(v.owner.op, AdvancedSubtensor)
        for index in v.owner.inputs[1:]
        if getattr(index.type, "dtype", None) == "bool"
    ]
    return {
        v
        for v in graph_inputs(chosen)
        if isinstance(v, SharedVariable) and not isinstance(v.type, RandomType)
    }


def _depends_on_data(model: pm.Model, term: Variable) -> bool:
    """Whether a potential is computed from rows of data; a container of one number is none."""
    dim_lengths = set(model.dim_lengths.values())
    return any(
        (v.owner is not None and isinstance(v.owner.op, MinibatchOp))
        or (
            isinstance(v, SharedVariable)
            and not isinstance(v.type, RandomType)
            and v not in dim_lengths
            and v.type.ndim > 0
        )
        for v in ancestors([term])
    )


def _row_terms(model: pm.Model, scaled: list[Variable]) -> list[Variable]:
    """Log likelihood of each observed variable, row by row, not ``scaled`` by ``total_size``."""
    if not any(isinstance(rv.owner.op, MinibatchRandomVariable) for rv in model.basic_RVs):
        return scaled
    plain = {
        rv: rv.owner.inputs[0] if isinstance(rv.owner.op, MinibatchRandomVariable) else rv
        for rv in model.basic_RVs
    }
    return transformed_conditional_logp(
        [plain[rv] for rv in model.observed_RVs],
        rvs_to_values={plain[rv]: value for rv, value in model.rvs_to_values.items()},
        rvs_to_transforms={plain[rv]: t for rv, t in model.rvs_to_transforms.items()},
    )


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
            "else rows are mispaired; or hold the full data in pm.Data, with batch_size given to "
            "the method"
        )
    batches = nodes[0].outputs[:-1]
    inputs = {tensor: batch.type() for tensor, batch in zip(tensors, batches, strict=True)}
    opened = {
        batch: inputs[tensor]
        for node in nodes
        for batch, tensor in zip(node.outputs[:-1], tensors, strict=True)
    }
    outputs = graph_replace(outputs, opened, strict=False)
    return outputs, batches[0].type.shape[0], inputs
