"""Fully connected networks for real targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm

from bnnbook.checks import positive_int, positive_number
from bnnbook.models.heads import HEADS, Observed, scale_of
from bnnbook.models.inputs import open_data, targets
from bnnbook.models.layers import (
    LayerPrior,
    activation_function,
    dense,
    hidden_layers,
    layer_priors,
)
from bnnbook.models.layers import widths as layer_widths
from bnnbook.models.likelihoods import one_column, target_units
from bnnbook.models.marginal import check_marginal, marginal_head
from bnnbook.models.network import network_inputs

__all__ = ["mlp_regression"]

LIKELIHOODS = ("mixture", "normal", "student_t")


def mlp_regression(
    X: Any,
    y: Any,
    hidden: Sequence[int] = (50,),
    *,
    heteroskedastic: bool = True,
    activation: str = "tanh",
    bias: bool = True,
    prior_sd: float | Sequence[float] | str | None = None,
    scale_link: str = "softplus",
    scale_floor: float = 1e-3,
    scale_prior_sd: float | None = None,
    noise_sd: float | None = None,
    likelihood: str = "normal",
    n_components: int | None = None,
    marginal_output: bool = False,
    standardise_inputs: bool = True,
    category_dims: Mapping[str, int] | None = None,
    category_sd: float | str = 1.0,
    total_size: int | None = None,
) -> pm.Model:
    r"""Build a fully connected network with a normal or Student-t likelihood.

    Inputs and targets are standardised inside, with the means and standard deviations of the data
    given here, so that the priors mean the same on every data set. X, ``mu``, ``sigma`` and the
    likelihood are in the units of the data; with m, s of the targets and the standardised inputs
    :math:`h^0 = (x - m_x) / s_x`,

    .. math::
        \mu(x) = m + s f(x), \qquad
        \sigma(x) = s \, \mathrm{link}(h^L w^{scale} + b^{scale}), \qquad
        y \sim \mathcal{N}(\mu(x), \sigma^2(x)).

    The four numbers are data of the model (``y_centre``, ``y_spread``, ``X_centre``,
    ``X_spread``), and so part of every fit: predictions use those of the fit.

    Parameters
    ----------
    X : array (n, d), frame of d columns, or a tensor of ``pm.Minibatch``
        Inputs, real and finite. A frame's column names become the labels of ``feature``.
    y : array (n,) or (n, D), frame of D columns, or a tensor of the same ``pm.Minibatch`` call
        Targets, real, finite and not constant. Given the weights, outputs are independent. A frame
        or an array (n, 1) gives outputs with an axis ``output``.
    hidden : sequence of int
        Units per hidden layer; none gives linear regression.
    heteroskedastic : bool
        Whether the last hidden layer also feeds a scale that depends on x (Nix and Weigend 1994).
        If not, one scale per output has the prior HalfNormal(1) on standardised targets.
    activation : {"tanh", "relu", "gelu", "sigmoid"}
    bias : bool
        Whether each layer has biases.
    prior_sd : float, sequence of float, or "1/sqrt(fan_in)", optional
        Prior sd of weights and biases, as in :func:`mlp_classifier`; the last is for both heads.
        By default weights have 1 / sqrt(fan_in) (Neal 1996, sec. 2.1), biases 1 and the bias of
        the scale 2: functions then vary by about the sd of the targets, at any number of inputs
        and units, and noise from 2 % to 400 % of it is within two prior sds.
    scale_link : {"softplus", "exp", "clipped"}
        floor + log(1 + e^a), floor + e^a, or max(a, floor). The clipped link has no gradient below
        its floor.
    scale_floor : float
        Smallest scale, in standardised units (a share of the sd of ``y``); positive.
    scale_prior_sd : float, optional
        Prior sd of the scale head's weights and bias, instead of the above.
    noise_sd : float, optional
        Known noise sd in the units of ``y``; only without ``heteroskedastic``. The posterior of a
        model without hidden layers is then normal.
    likelihood : {"normal", "student_t", "mixture"}
        The Student-t has nu = 2 + ``nu_excess`` degrees of freedom, ``nu_excess`` ~ Gamma(2, 0.1),
        so that its variance exists; ``sigma`` is its standard deviation. The mixture is one of
        normals (a mixture density network, Bishop 1994), for targets that branch.
    n_components : int, optional
        Normals of the mixture, 3 by default.
    marginal_output : bool
        Whether to integrate the mean head out of the posterior. Given everything else, its weights
        are normal; the model then has standard normal ``z_out`` in place of ``w_out`` and
        ``b_out``, which it maps to draws of just that normal, so ``mu`` has the same posterior as
        without, and samplers no longer have to follow thin ridges. For normal likelihoods, arrays
        and one output; the inputs in ``X`` are then for predictions only.
    standardise_inputs : bool
        Whether to standardise X; if not, inputs are used as they are. A column that does not vary
        is only centred.
    category_dims : dict of str to int, optional
        Columns of a frame X that hold categories (strings, integers or booleans), and the length of
        the vectors ``e_{column}`` that stand for their levels, with normal priors. The vectors
        follow the numbers as inputs of the first layer, along ``input``. A category that the data
        here have not is predicted with ``e_{column}_unseen``, which keeps its prior (a fit of modes
        has it at 0), and a warning says in how many rows.
    category_sd : float or "learned"
        Prior sd of the entries of those vectors. "learned" is one sd a column, ``e_{column}_sd``
        with the prior HalfNormal(1): levels are partially pooled, and an unseen one is as far from
        the others as they are from each other (Gelman and Hill 2007, ch. 12). Samplers move
        ``e_{column}_offset``, of which the vectors are multiples.
    total_size : int, optional
        Rows in the full data, with minibatch tensors, as in :func:`mlp_classifier`.

    Returns
    -------
    pymc.Model
        Data ``X`` (obs_id, feature) and ``y`` (obs_id[, output]), and the centres and spreads;
        weights ``w1``, ..., ``w_out`` (hidden_L[, output]), or ``z_out`` (head,); ``w_scale`` and
        ``b_scale``, or ``noise``; deterministics ``mu`` and ``sigma`` (obs_id[, output]);
        likelihood ``obs``. A mixture has ``w_weight`` too, each with an axis ``component``, and
        deterministics ``weight``, ``component_mu``, ``component_sigma`` (obs_id, component);
        ``mu`` and ``sigma`` are then mean and sd of the mixture.

    Raises
    ------
    TypeError
        If X or y are not numbers, ``hidden`` not integers, or only one of X and y is a tensor.
    ValueError
        If shapes disagree, a value is missing or not finite, y is constant but for rounding or its
        unit out of range, a floor or sd is not positive, or an option is unknown.
    """
    units = layer_widths(hidden, at_least=0)
    act = activation_function(activation)
    scale = scale_of(
        heteroskedastic=heteroskedastic, link=scale_link, floor=scale_floor, noise_sd=noise_sd
    )
    if likelihood not in LIKELIHOODS:
        raise ValueError(f"likelihood must be one of {list(LIKELIHOODS)}, got {likelihood!r}")
    components = _components(likelihood, n_components)
    check_y = one_column if components else targets
    data = open_data(X, y, total_size, check_y, category_dims, category_sd)
    *priors, last = layer_priors(prior_sd, [data.inputs(), *units])
    scale_prior = _scale_prior(scale_prior_sd, last, default=prior_sd is None)
    outputs = ("output",) if data.full_y.ndim == 2 else ()
    if marginal_output:
        check_marginal(data, likelihood)
    coords = data.coords() | components
    coords |= {f"hidden_{i}": np.arange(width) for i, width in enumerate(units, start=1)}
    if marginal_output:
        coords["head"] = [*range([data.inputs(), *units][-1]), *(["bias"] if bias else [])]
    if outputs:
        coords["output"] = data.labels or np.arange(data.full_y.shape[1])

    with pm.Model(coords=coords) as model:
        inputs, observed_y = data.containers(*outputs)
        target = target_units(data, outputs, standardise=True)
        h, below = network_inputs(inputs, data, standardise=standardise_inputs)
        h, below = hidden_layers(h, act, priors, bias, below)
        rows = (None if data.minibatch else "obs_id",)
        head = HEADS[likelihood](target, scale)
        prior_of = {"_scale": scale_prior}
        parts = {
            suffix: dense(h, suffix, (below, *dims), prior_of.get(suffix, last), bias).T
            for suffix, dims in head.parts.items()
            if not (marginal_output and suffix == "_out")
        }
        if marginal_output:
            marginal_head(inputs, h, parts, data, target, scale, last.weights, bias)
        else:
            head.observe(parts, Observed(observed_y, rows, data.total_size))
    return model


def _components(likelihood: str, n_components: int | None) -> dict[str, Any]:
    if likelihood == "mixture":
        k = 3 if n_components is None else positive_int("n_components", n_components)
        return {"component": np.arange(k)}
    if n_components is not None:
        raise ValueError(f"n_components needs likelihood='mixture', got {likelihood!r}")
    return {}


def _scale_prior(sd: float | None, last: LayerPrior, *, default: bool) -> LayerPrior:
    if sd is None:
        return last._replace(biases=np.float64(2.0)) if default else last
    sd = np.float64(positive_number("scale_prior_sd", sd))
    return LayerPrior(sd, sd)
