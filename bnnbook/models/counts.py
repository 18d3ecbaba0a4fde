"""Fully connected networks for counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pymc as pm

from bnnbook.checks import same_rows
from bnnbook.models.likelihoods import LIKELIHOODS
from bnnbook.models.network import network

__all__ = ["mlp_counts"]

COUNTS = (
    "negative_binomial", "poisson", "zero_inflated_negative_binomial", "zero_inflated_poisson",
)  # fmt: skip


def mlp_counts(
    X: Any,
    y: Any,
    hidden: Sequence[int] = (50,),
    *,
    likelihood: str = "negative_binomial",
    exposure: Any = None,
    activation: str = "tanh",
    bias: bool = True,
    prior_sd: float | Sequence[float] | str | None = None,
    standardise_inputs: bool = True,
    category_dims: Mapping[str, int] | None = None,
    category_sd: float | str = 1.0,
    total_size: int | None = None,
) -> pm.Model:
    r"""Build a fully connected network for counts.

    With the network's output f and the mean rate r of the data, counts by exposure,

    .. math::
        \mathrm{rate}(x) = r \, e^{f(x)}, \qquad \mu(x) = \mathrm{exposure} \times \mathrm{rate}(x),
        \qquad y \sim \mathrm{Poisson}(\mu(x)) .

    Parameters
    ----------
    X : array (n, d), frame of d columns, or a tensor of ``pm.Minibatch``
        Inputs, real and finite; a frame's column names become the labels of ``feature``.
    y : array (n,), or a tensor of the same ``pm.Minibatch`` call
        Counts: whole numbers from 0.
    hidden : sequence of int
        Units per hidden layer; none gives a generalised linear model.
    likelihood : str
        "negative_binomial", "poisson", "zero_inflated_negative_binomial" or
        "zero_inflated_poisson". The negative binomial has variance mu + mu^2 / alpha (Hilbe 2011,
        ch. 8); 1 / alpha is ``overdispersion``, with the prior HalfNormal(1). Inflated with zeros,
        a count is 0 with probability 1 - psi, else from the likelihood with mean ``mu`` (Lambert
        1992); psi is a second output of the network through a sigmoid. All are as in PyMC.
    exposure : array (n,), optional
        What each count was counted in, such as years or people; positive. Predictions of ``mu``
        then need it too, those of ``rate`` do not. With arrays only.
    activation, bias, prior_sd, standardise_inputs, category_dims, category_sd, total_size
        As in :func:`mlp_regression`.

    Returns
    -------
    pymc.Model
        Data ``X`` (obs_id, feature), ``y`` (obs_id,), ``exposure`` (obs_id,) if given,
        ``log_rate_centre`` and the inputs' centres and spreads; weights ``w1``, ..., ``w_out`` and
        ``w_psi``; ``overdispersion``; deterministics ``rate``, ``mu``, ``alpha`` and ``psi``
        (obs_id,), which :func:`bnnbook.metrics.nll_counts` and its like take; likelihood ``obs``.

    Raises
    ------
    TypeError
        If X or y are not numbers, ``hidden`` not integers, only one of X and y is a tensor, or
        ``exposure`` comes with tensors.
    ValueError
        If shapes disagree, a value is missing or not finite, a count is negative or no whole
        number, all are 0, an exposure is not positive, or an option is unknown.
    """
    if likelihood not in COUNTS:
        raise ValueError(f"likelihood must be one of {list(COUNTS)}, got {likelihood!r}")
    same_rows(X, exposure, "exposure")
    made = LIKELIHOODS[likelihood](exposure=exposure, standardise_targets=True)
    return network(
        X, y, hidden, made,
        activation=activation, bias=bias, prior_sd=prior_sd, standardise_inputs=standardise_inputs,
        category_dims=category_dims, category_sd=category_sd, total_size=total_size,
    )  # fmt: skip
