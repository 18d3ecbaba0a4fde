"""Layers of a network inside a PyMC model: activations, affine maps, prior sds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor import TensorVariable

from bnnbook.checks import positive_number

__all__ = ["ACTIVATIONS", "activation_function", "dense", "hidden_layers", "layer_priors", "widths"]


def _gelu(x: TensorVariable) -> TensorVariable:
    """Gaussian error linear unit, x Phi(x) (Hendrycks and Gimpel 2016, eq. 2), not its tanh fit."""
    return 0.5 * x * (1.0 + pt.erf(x / np.sqrt(2.0)))


ACTIVATIONS: dict[str, Callable[[TensorVariable], TensorVariable]] = {
    "tanh": pt.tanh,
    "relu": lambda x: pt.maximum(x, 0.0),
    "gelu": _gelu,
    "sigmoid": pm.math.sigmoid,
}
"""Activation functions by name."""


class LayerPrior(NamedTuple):
    """Prior sds of one layer's weights and of its biases."""

    weights: np.float64
    biases: np.float64


def layer_priors(
    prior_sd: float | Sequence[float] | str | None, fan_in: Sequence[int]
) -> list[LayerPrior]:
    """Prior sds of each layer, output layer last, from the number of inputs of each.

    None gives weights of sd 1 / sqrt(fan_in) and biases of sd 1, so that what goes into a unit has
    a variance of the order of 1 whatever the widths; otherwise biases have the sd of the weights.
    """
    if prior_sd is None:
        return [LayerPrior(np.float64(1.0 / np.sqrt(n)), np.float64(1.0)) for n in fan_in]
    if isinstance(prior_sd, str):
        if prior_sd != "1/sqrt(fan_in)":
            raise ValueError(
                "prior_sd must be a number, one number per layer or '1/sqrt(fan_in)', "
                f"got {prior_sd!r}"
            )
        return [LayerPrior(*[np.float64(1.0 / np.sqrt(n))] * 2) for n in fan_in]
    sds = [prior_sd] * len(fan_in) if np.ndim(prior_sd) == 0 else list(prior_sd)  # type: ignore[arg-type]
    if len(sds) != len(fan_in):
        raise ValueError(
            f"prior_sd must give one number for each of the {len(fan_in)} layers "
            f"(hidden and output), got {len(sds)}"
        )
    # PyTensor keeps a Python float as float32 where that is exact, and then its log is too
    return [LayerPrior(*[np.float64(positive_number("prior_sd", sd))] * 2) for sd in sds]


def widths(hidden: Sequence[int], *, at_least: int = 1) -> tuple[int, ...]:
    """Units of the hidden layers, of which there must be ``at_least`` so many."""
    if np.ndim(hidden) != 1:
        raise TypeError(f"hidden must be a sequence of integers, as (8,), got {hidden!r}")
    units = tuple(hidden)
    if len(units) < at_least:
        raise ValueError("hidden must name at least one layer, got none")
    for width in units:
        if not isinstance(width, int | np.integer) or isinstance(width, bool):
            raise TypeError(f"hidden must hold integers, got {width!r}")
        if width < 1:
            raise ValueError(f"every hidden layer needs at least 1 unit, got {width}")
    return tuple(int(width) for width in units)


def activation_function(activation: str) -> Callable[[TensorVariable], TensorVariable]:
    """The function of that name, or a ValueError that lists the names."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}")
    return ACTIVATIONS[activation]


def dense(
    h: TensorVariable, suffix: str, dims: tuple[str, ...], prior: LayerPrior, bias: bool
) -> TensorVariable:
    """One affine layer of the current model, rows of the data on the last axis of ``h``.

    With the long axis last and contiguous, compiled gradients run 1.5 to 3 times faster than with
    the textbook's ``h @ w``, and the numbers are the same.
    """
    weights = pm.Normal(f"w{suffix}", 0.0, prior.weights, dims=dims)
    out = pt.dot(weights.T, h)
    if bias:
        offset = pm.Normal(f"b{suffix}", 0.0, prior.biases, dims=dims[1:] or None)
        out = out + offset[..., None]
    return out


def hidden_layers(
    h: TensorVariable,
    activation: Callable[[TensorVariable], TensorVariable],
    priors: Sequence[LayerPrior],
    bias: bool,
    below: str = "feature",
) -> tuple[TensorVariable, str]:
    """The last hidden layer (units, rows) for inputs (features, rows), and the dim of its units."""
    for i, prior in enumerate(priors, start=1):
        h = activation(dense(h, str(i), (below, f"hidden_{i}"), prior, bias))
        below = f"hidden_{i}"
    return h, below
