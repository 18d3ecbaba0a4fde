"""Fully connected networks for several labels a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pymc as pm

from bnnbook.models.likelihoods import LIKELIHOODS
from bnnbook.models.network import network

__all__ = ["mlp_multilabel"]


def mlp_multilabel(
    X: Any,
    y: Any,
    hidden: Sequence[int] = (50,),
    *,
    activation: str = "tanh",
    bias: bool = True,
    prior_sd: float | Sequence[float] | str | None = None,
    standardise_inputs: bool = True,
    category_dims: Mapping[str, int] | None = None,
    category_sd: float | str = 1.0,
    total_size: int | None = None,
) -> pm.Model:
    """Build a fully connected network for labels of which a row may have none, one or several.

    Given the weights, labels are independent: each has one output, through a sigmoid.

    Parameters
    ----------
    X : array (n, d), frame of d columns, or a tensor of ``pm.Minibatch``
        Inputs, real and finite; a frame's column names become the labels of ``feature``.
    y : array (n, L), frame of L columns, or a tensor of the same ``pm.Minibatch`` call
        0 or 1, or booleans. A frame's column names become the labels of ``label``.
    hidden : sequence of int
        Units per hidden layer; none gives L logistic regressions.
    activation, bias, prior_sd, standardise_inputs, category_dims, category_sd, total_size
        As in :func:`mlp_regression`.

    Returns
    -------
    pymc.Model
        Data ``X`` (obs_id, feature), ``y`` (obs_id, label) and the inputs' centres and spreads;
        weights ``w1``, ..., ``w_out`` (hidden_L, label); deterministic ``p`` (obs_id, label);
        likelihood ``obs`` (obs_id, label). :func:`bnnbook.metrics.nll_multilabel` scores ``p``.

    Raises
    ------
    TypeError
        If X or y are not numbers, ``hidden`` not integers, or only one of X and y is a tensor.
    ValueError
        If shapes disagree, a value is missing or not finite, y holds anything but 0 and 1, or an
        option is unknown.
    """
    return network(
        X, y, hidden, LIKELIHOODS["multilabel"](),
        activation=activation, bias=bias, prior_sd=prior_sd, standardise_inputs=standardise_inputs,
        category_dims=category_dims, category_sd=category_sd, total_size=total_size,
    )  # fmt: skip
