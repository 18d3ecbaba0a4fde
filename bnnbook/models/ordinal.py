"""Fully connected networks for grades: classes that have an order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pymc as pm

from bnnbook.models.likelihoods import LIKELIHOODS
from bnnbook.models.network import network

__all__ = ["mlp_ordinal"]


def mlp_ordinal(
    X: Any,
    y: Any,
    hidden: Sequence[int] = (50,),
    *,
    grades: Sequence[Any] | None = None,
    activation: str = "tanh",
    bias: bool = True,
    prior_sd: float | Sequence[float] | str | None = None,
    standardise_inputs: bool = True,
    category_dims: Mapping[str, int] | None = None,
    category_sd: float | str = 1.0,
    total_size: int | None = None,
) -> pm.Model:
    r"""Build a fully connected network for grades, with ordered cut points.

    With the network's output f, the logistic function s and cut points
    :math:`c_1 < \ldots < c_{K-1}` (McCullagh 1980, eq. 1.1),

    .. math:: P(y \leq k \mid x) = s(c_k - f(x)) .

    Where f = 0 the grades have the probabilities ``baseline``, and the cut points follow from them;
    their prior is uniform, Dirichlet(1, ..., 1), so that cut points are ordered by construction.
    The output layer has no bias, which the cut points would take up.

    Parameters
    ----------
    X : array (n, d), frame of d columns, or a tensor of ``pm.Minibatch``
        Inputs, real and finite; a frame's column names become the labels of ``feature``.
    y : grades (n,), or a tensor of the same ``pm.Minibatch`` call
        Integers 0, ..., K - 1; categories that have an order (``pd.Categorical(..., ordered=True)``
        or an Enum of polars); or any labels, with ``grades``. Every grade has to occur.
    hidden : sequence of int
        Units per hidden layer; none gives the proportional odds model.
    grades : sequence, optional
        The grades' labels from the lowest to the highest, such as (1, 2, 3, 4, 5). They become the
        labels of ``class``; y is held as 0, ..., K - 1.
    activation, bias, prior_sd, standardise_inputs, category_dims, category_sd, total_size
        As in :func:`mlp_regression`.

    Returns
    -------
    pymc.Model
        Data ``X`` (obs_id, feature), ``y`` (obs_id,) and the inputs' centres and spreads; weights
        ``w1``, ..., ``w_out``; ``baseline`` (class,); deterministics ``cutpoints`` (cut,) and ``p``
        (obs_id, class); likelihood ``obs``. :func:`bnnbook.metrics.ranked_probability_score`
        scores ``p``.

    Raises
    ------
    TypeError
        If X is not numbers, y is labels without an order, ``hidden`` not integers, or only one of X
        and y is a tensor.
    ValueError
        If shapes disagree, a value is missing or not finite, a grade is unknown or does not occur,
        ``grades`` are out of order, or an option is unknown.
    """
    return network(
        X, y, hidden, LIKELIHOODS["ordinal"](grades=grades),
        activation=activation, bias=bias, prior_sd=prior_sd, standardise_inputs=standardise_inputs,
        category_dims=category_dims, category_sd=category_sd, total_size=total_size,
    )  # fmt: skip
