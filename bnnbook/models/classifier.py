"""Fully connected networks for classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm

from bnnbook.models.likelihoods import classes, two_classes
from bnnbook.models.network import network

__all__ = ["mlp_classifier"]


def mlp_classifier(
    X: Any,
    y: Any,
    hidden: Sequence[int] = (5, 5),
    *,
    n_classes: int = 2,
    activation: str = "tanh",
    bias: bool = False,
    prior_sd: float | Sequence[float] | str = 1.0,
    standardise_inputs: bool = False,
    category_dims: Mapping[str, int] | None = None,
    category_sd: float | str = 1.0,
    total_size: int | None = None,
) -> pm.Model:
    """Build a fully connected network with a Bernoulli or categorical likelihood.

    Weights and biases have independent normal priors with mean 0 (Neal 1996, ch. 1).

    Parameters
    ----------
    X : array (n, d), frame of d columns, or a tensor of ``pm.Minibatch``
        Inputs, real and finite. A frame's column names become the labels of ``feature``; new data
        for predictions are then put into their order.
    y : labels (n,), or a tensor of the same ``pm.Minibatch`` call
        Integers 0, ..., ``n_classes`` - 1; or strings, booleans or categories, which are counted
        from 0 in sorted order (categories in theirs) and become the labels of ``class``.
    hidden : sequence of int
        Units per hidden layer, from the input on.
    n_classes : int
        2 gives one output unit and a Bernoulli likelihood; K > 2 gives K output units and a
        categorical likelihood through a softmax.
    activation : {"tanh", "relu", "gelu", "sigmoid"}
    bias : bool
        Whether each layer has biases. Their prior sd is the layer's ``prior_sd`` (with
        "1/sqrt(fan_in)" too).
    prior_sd : float, sequence of float, or "1/sqrt(fan_in)"
        Prior standard deviation of the weights: one number for all layers, one per layer (hidden
        layers first, output last), or scaled by the layer's number of inputs.
    standardise_inputs : bool
        Whether to standardise X inside, with the mean and sd of the rows given here, as
        :func:`mlp_regression` does; the two are then part of every fit.
    category_dims, category_sd
        As in :func:`mlp_regression`.
    total_size : int, optional
        Number of rows in the full data, with minibatch tensors: the likelihood is then scaled by
        ``total_size`` / batch size. Required for tensors, refused for arrays.

    Returns
    -------
    pymc.Model
        Data ``X`` (obs_id, feature) and ``y`` (obs_id,); weights ``w1`` (feature, hidden_1),
        ``w2`` (hidden_1, hidden_2), ..., ``w_out``, which is (hidden_L,) for two classes and
        (hidden_L, class) for more; deterministic ``p``, the probability of the second class,
        (obs_id,), or of each class, (obs_id, class); likelihood ``obs`` (obs_id,).

    Raises
    ------
    TypeError
        If X is not numbers, y not labels, ``hidden`` not integers, or only one of X and y is a
        tensor.
    ValueError
        If shapes disagree, a value is missing or not finite, a label is out of range, a layer is
        empty, or an option is unknown.
    """
    if isinstance(n_classes, bool) or not isinstance(n_classes, int | np.integer) or n_classes < 2:
        raise ValueError(f"n_classes must be an integer of at least 2, got {n_classes!r}")
    likelihood = two_classes() if n_classes == 2 else classes(n_classes=int(n_classes))
    return network(
        X, y, hidden, likelihood,
        activation=activation, bias=bias, prior_sd=prior_sd,
        standardise_inputs=standardise_inputs, category_dims=category_dims,
        category_sd=category_sd, total_size=total_size, at_least=1,
    )  # fmt: skip
