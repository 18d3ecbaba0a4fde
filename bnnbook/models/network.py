"""A fully connected network with any likelihood, which the builders share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
from pytensor.tensor import TensorVariable

from bnnbook.models.embeddings import embedded
from bnnbook.models.head import Observed
from bnnbook.models.inputs import Data, input_moments, named_data, open_data
from bnnbook.models.layers import activation_function, dense, hidden_layers, layer_priors
from bnnbook.models.layers import widths as layer_widths
from bnnbook.models.likelihoods import Likelihood

__all__ = ["network", "network_inputs"]


def network(
    X: Any, y: Any, hidden: Sequence[int], likelihood: Likelihood, *,
    activation: str, bias: bool, prior_sd: float | Sequence[float] | str | None,
    standardise_inputs: bool, category_dims: Mapping[str, int] | None, category_sd: float | str,
    total_size: int | None, at_least: int = 0,
) -> pm.Model:  # fmt: skip
    """Build the model; the arguments and what is raised are those of the public builders."""
    units = layer_widths(hidden, at_least=at_least)
    act = activation_function(activation)
    data = open_data(X, y, total_size, likelihood.check, category_dims, category_sd)
    *priors, last = layer_priors(prior_sd, [data.inputs(), *units])
    coords = data.coords() | likelihood.all_coords(data)
    coords |= {f"hidden_{i}": np.arange(width) for i, width in enumerate(units, start=1)}

    with pm.Model(coords=coords) as model:
        inputs, observed = data.containers(*likelihood.y_dims(data))
        h, below = network_inputs(inputs, data, standardise=standardise_inputs)
        h, below = hidden_layers(h, act, priors, bias, below)
        head = likelihood.head(data)
        outputs = {
            suffix: dense(h, suffix, (below, *dims), last, bias and head.bias).T
            for suffix, dims in head.parts.items()
        }
        rows = (None if data.minibatch else "obs_id",)
        head.observe(outputs, Observed(observed, rows, data.total_size))
    return model


def network_inputs(
    inputs: TensorVariable, data: Data, *, standardise: bool
) -> tuple[TensorVariable, str]:
    """What the first layer takes, (inputs, rows), and its dim.

    Standardised inputs have mean 0 and sd 1 in the data; both numbers become data of the current
    model. Embeddings of categories follow them.
    """
    h = inputs
    if standardise:
        centre, spread = input_moments(data.full_X, data.features)
        centre = named_data("X_centre", centre, ("feature",))
        h = (inputs - centre) / named_data("X_spread", spread, ("feature",))
    return embedded(h.T, data.categories)
