"""PyTensor graphs as JAX functions: rewrites for speed and stability, and the precision."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
import pytensor.tensor as pt
from pymc.logprob.utils import CheckParameterValue, local_check_parameter_to_ninf_switch
from pytensor.compile.mode import get_mode
from pytensor.graph.basic import Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.link.jax.dispatch import jax_funcify
from pytensor.link.jax.ops import JAXOp
from pytensor.raise_op import CheckAndRaise
from pytensor.scalar import Neg, Switch
from pytensor.scalar.math import Softplus
from pytensor.tensor.basic import Split
from pytensor.tensor.elemwise import DimShuffle, Elemwise
from pytensor.tensor.math import Dot

from bnnbook.checks import check_not_forked
from bnnbook.density.convolution import convolutions_as_products

__all__ = ["jax_function", "precision"]

Array = jax.Array


@contextmanager
def precision(dtype: Any) -> Iterator[None]:
    """JAX computes in ``dtype``, float32 or float64, the graph's float64 constants included.

    Threads other than this one keep their own precision.
    """
    with jax.enable_x64(np.dtype(dtype) == np.float64), warnings.catch_warnings():
        # that float64 becomes float32 is what was asked for
        warnings.filterwarnings("ignore", "Explicitly requested dtype (float|int)64")
        yield


def jax_function(
    inputs: list[Variable], outputs: list[Variable], *, check_bounds: bool = True
) -> Callable[..., tuple]:
    """Rewrite a PyTensor graph for speed and stability, and turn it into a JAX function.

    Where a distribution checks its parameters, its log density is -inf if they are invalid, as
    PyMC's own is, unless ``check_bounds`` is False.
    """
    check_not_forked()
    graph = FunctionGraph(inputs=inputs, outputs=outputs, clone=True)
    if check_bounds:
        _invalid_as_impossible(graph)
    _drop_checks(graph)
    _slice_instead_of_split(graph)
    get_mode("JAX").excluding("local_dimshuffle_lift").optimizer.rewrite(graph)
    _drop_checks(graph)  # rewrites add their own
    _simplify_softplus(graph)
    _share_gram_gradient(graph)
    _multiply_convolutions(graph)
    with jax.enable_x64(True):  # else the graph's constants are rounded to single precision
        function = jax_funcify(graph)

    def call(*args: Any) -> tuple:
        return tuple(function(*args))

    return call


def _invalid_as_impossible(graph: FunctionGraph) -> None:
    """Write a check of parameters as a switch to -inf, by PyMC's own rewrite."""
    for node in graph.toposort():
        if isinstance(node.op, CheckParameterValue):
            new = local_check_parameter_to_ninf_switch.transform(graph, node)
            if new:
                graph.replace(node.outputs[0], new[0])


def _drop_checks(graph: FunctionGraph) -> None:
    """Compiled JAX code cannot raise: what is left are checks of shapes, which JAX makes too."""
    for node in graph.toposort():
        if isinstance(node.op, CheckAndRaise):
            graph.replace(node.outputs[0], node.inputs[0])


def _slice_instead_of_split(graph: FunctionGraph) -> None:
    """Write a split as slices, as of a random walk into its first value and its steps.

    JAX has to know the sizes of a split when it compiles, and takes those of data for numbers that
    are not known; of a slice it finds them.
    """
    for node in graph.toposort():
        if isinstance(node.op, Split):
            x, sizes = node.inputs
            axis, end, ends = node.op.axis, None, []
            for k in range(node.op.len_splits - 1):
                end = sizes[k] if end is None else end + sizes[k]
                ends.append(end)
            for old, a, b in zip(node.outputs, [None, *ends], [*ends, None], strict=True):
                new = x[(*[slice(None)] * axis, slice(a, b))]
                graph.replace(old, pt.specify_shape(new, old.type.shape))


def _simplify_softplus(graph: FunctionGraph) -> None:
    """Write softplus without branches, and once where a Bernoulli likelihood has it twice.

    A Bernoulli with logit f comes as switch(y, -softplus(-f), -softplus(f)), and JAX evaluates all
    branches of each softplus and of their gradients: half the cost of a small network's gradient.
    """

    def is_op(node: Any, scalar_op: type) -> bool:
        return (
            node is not None
            and isinstance(node.op, Elemwise)
            and (isinstance(node.op.scalar_op, scalar_op))
        )

    def softplus_argument(value: Variable) -> Variable | None:
        """f of -softplus(f)."""
        node = value.owner
        if is_op(node, Neg) and is_op(node.inputs[0].owner, Softplus):
            return node.inputs[0].owner.inputs[0]
        return None

    for node in graph.toposort():
        if is_op(node, Switch):
            condition, *cases = node.inputs
            positive, negative = (softplus_argument(case) for case in cases)
            if positive is not None and negative is not None and positive.type == negative.type:
                graph.replace(
                    node.outputs[0], -pt.softplus(pt.switch(condition, positive, negative))
                )
    for node in graph.toposort():
        if is_op(node, Softplus):
            f = node.inputs[0]
            # (f + |f|) / 2 and not max(f, 0): with JAX's slope of 1 for |f| at 0, the slopes of
            # the two terms then add up to 1/2 there, as they should
            size = pt.abs(f)
            graph.replace(node.outputs[0], (f + size) / 2 + pt.log1p(pt.exp(-size)))


@jax.custom_jvp
def _gram(x: Array) -> Array:
    return x @ x.T


@_gram.defjvp
def _gram_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    half = tangents[0] @ primals[0].T
    return _gram(*primals), half + half.T


def _share_gram_gradient(graph: FunctionGraph) -> None:
    """Give x @ x.T a gradient of one product, (G + G.T) @ x, where JAX makes two.

    They are most of the gradient of a network whose output weights are integrated out.
    """
    for node in graph.toposort():
        if isinstance(node.op, Dot):
            x, y = node.inputs
            turned = y.owner
            if (
                turned is not None
                and isinstance(turned.op, DimShuffle)
                and turned.op.new_order == (1, 0)
                and turned.inputs[0] is x
            ):
                out = node.outputs[0]
                op = JAXOp([x.type], [out.type], lambda x: (_gram(x),), name="Gram")
                graph.replace(out, op(x))


def _multiply_convolutions(graph: FunctionGraph) -> None:
    """Compute the convolutions of wrapped JAX functions as products, fast in compiled loops too."""
    for node in graph.toposort():
        if isinstance(node.op, JAXOp):
            op = node.op
            fast = JAXOp(
                op.input_types, op.output_types, convolutions_as_products(op.jax_func), name=op.name
            )
            new = fast(*node.inputs, return_list=True)
            graph.replace_all(list(zip(node.outputs, new, strict=True)))
