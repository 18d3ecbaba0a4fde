"""Where the parameters of a graph last meet: what a network puts out before its link."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pytensor.graph.basic import Variable
from pytensor.graph.traversal import io_toposort

__all__ = ["before_link"]


def before_link(outputs: Sequence[Variable], parameters: Collection[Variable]) -> list[Variable]:
    """The variables at which the parameters last meet on their way to each output.

    From there to the output there is one way only: sigmoids, softmax, units and other maps that
    know no parameter, the link in the sense of generalised linear models. The probability of a
    network leads to its logit, a mean in the units of the data to the network's own output, a scale
    to what goes into its softplus; a mean that is linear in one parameter leads to the parameter.

    Parameters
    ----------
    outputs : sequence of variables
    parameters : collection of variables
        The graph's inputs that count as parameters.

    Returns
    -------
    list
        Each variable once, in the order of the outputs; those that depend on no parameter are left
        out.
    """
    found: dict[Variable, None] = {}
    for output in outputs:
        nodes = io_toposort(list(parameters), [output])
        depends = {p for p in parameters if p is output} if not nodes else set(parameters)
        for node in nodes:
            if any(v in depends for v in node.inputs):
                depends.update(node.outputs)
        if output in depends:
            found[_last_meeting(output, depends)] = None
    return list(found)


def _last_meeting(variable: Variable, depends: set[Variable]) -> Variable:
    while variable.owner is not None:
        incoming = {v for v in variable.owner.inputs if v in depends}
        if len(incoming) == 1:
            (variable,) = incoming
            continue
        before = _gate(incoming, depends)
        if before is None:
            break
        variable = before
    return variable


def _gate(variables: set[Variable], depends: set[Variable]) -> Variable | None:
    """The one variable through which all ``variables`` depend on parameters; None if several.

    A softmax written out as exp(f) / exp(f).sum() goes through f twice. A parameter is no gate: if
    all layers are parts of one vector, they meet where the layers do.
    """
    frontier = set(variables)
    while len(frontier) > 1:
        # the variable that is furthest from the parameters is opened next
        depth = {v: _depth(v, depends) for v in frontier}
        last = max(frontier, key=depth.__getitem__)
        if last.owner is None:
            return None
        frontier.remove(last)
        frontier |= {v for v in last.owner.inputs if v in depends}
    (gate,) = frontier
    return None if gate.owner is None else gate


def _depth(variable: Variable, depends: set[Variable]) -> int:
    """Longest way from a parameter."""
    known: dict[Variable, int] = {}
    stack = [variable]
    while stack:
        v = stack[-1]
        below = [] if v.owner is None else [u for u in v.owner.inputs if u in depends]
        missing = [u for u in below if u not in known]
        if missing:
            stack.extend(missing)
        else:
            known[v] = 1 + max((known[u] for u in below), default=-1)
            stack.pop()
    return known[variable]
