"""The linearised network: outputs of a first-order expansion in the weights, before the link."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from pytensor.graph.basic import Variable
from pytensor.graph.replace import graph_replace

from bnnbook.density import jax_function
from bnnbook.density.link import before_link
from bnnbook.predict.draws import Parameter, open_draws

__all__ = ["expansion_point", "linearised_function"]


def expansion_point(
    fit: Any, parameters: Mapping[str, Parameter], labels: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    """The mode that a fit was made at, by parameter.

    Raises
    ------
    TypeError, ValueError
        If ``fit`` is no result of ``fit_laplace``, nor one with a single draw.
    """
    if not isinstance(fit, xr.DataTree):
        raise TypeError(f"linearised must be a fit, got {type(fit).__name__}")
    point = fit["mode"].to_dataset() if "mode" in fit.children else fit
    draws = open_draws(point, parameters, labels)
    if draws.total != 1:
        raise ValueError(
            "linearised must be a fit with a mode, of fit_laplace or fit_map, whose draws may then "
            f"be those of any fit; got one of method {fit.attrs.get('method')!r} with "
            f"{draws.total:,} draws"
        )
    return [np.asarray(draws.values[name])[0] for name in parameters]


def linearised_function(
    outputs: Sequence[Variable],
    inputs: Sequence[Variable],
    mode: Sequence[np.ndarray],
) -> Callable[..., tuple]:
    """The outputs as a function of draw and data, linear in the draw before the link.

    With f what the network puts out before its link g, J its Jacobian in the parameters, and the
    mode as point of expansion, an output is g(f(mode) + J(mode) (draw - mode)) (Immer et al. 2021,
    eq. 8). ``inputs`` are the parameters, as many as ``mode`` has, and then the data.
    """
    count = len(mode)
    links = before_link(outputs, inputs[:count])
    network = jax_function(list(inputs), links)
    placeholders = [v.type() for v in links]
    after = graph_replace(list(outputs), dict(zip(links, placeholders, strict=True)), strict=False)
    link = jax_function([*placeholders, *inputs], after)

    def function(*arguments: jax.Array) -> tuple:
        draw, data = arguments[:count], arguments[count:]
        at = tuple(jnp.asarray(m, d.dtype) for m, d in zip(mode, draw, strict=True))
        step = tuple(d - m for d, m in zip(draw, at, strict=True))
        value, change = jax.jvp(lambda *theta: network(*theta, *data), at, step)
        moved = [v + c for v, c in zip(value, change, strict=True)]
        return link(*moved, *arguments)

    return function
