"""Likelihoods: what the outputs of a network mean.

A :class:`~bnnbook.models.head.Head` says which outputs a likelihood needs and makes the
deterministics and ``obs`` of them; :data:`HEADS` lists them by name. To add one, write a function
that returns a ``Head`` and put it there; what it takes of y is said in
:mod:`bnnbook.models.likelihoods`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor import TensorVariable

from bnnbook.models.count_heads import negative_binomial, poisson
from bnnbook.models.head import SCALE_LINKS, Head, Observed, Scale, Units, scale_of

__all__ = [
    "HEADS",
    "SCALE_LINKS",
    "Head",
    "Observed",
    "Scale",
    "Units",
    "bernoulli",
    "categorical",
    "mixture",
    "multilabel",
    "normal",
    "ordinal",
    "scale_of",
    "student_t",
]


def bernoulli() -> Head:
    """Two classes: ``p`` is the probability of the second, the sigmoid of one output."""

    def observe(outputs: Mapping[str, TensorVariable], observed: Observed) -> None:
        logit = outputs["_out"]
        pm.Deterministic("p", pm.math.sigmoid(logit), dims=observed.dims())
        pm.Bernoulli("obs", logit_p=logit, **observed.likelihood())

    return Head({"_out": ()}, observe)


def categorical() -> Head:
    """K classes: ``p`` (rows, class) is the softmax of K outputs."""

    def observe(outputs: Mapping[str, TensorVariable], observed: Observed) -> None:
        p = pm.math.softmax(outputs["_out"], axis=-1)
        p = pm.Deterministic("p", p, dims=observed.dims("class"))
        pm.Categorical("obs", p=p, **observed.likelihood())

    return Head({"_out": ("class",)}, observe)


def multilabel() -> Head:
    """Labels that a row may have any number of: ``p`` (rows, label), a sigmoid for each."""

    def observe(outputs: Mapping[str, TensorVariable], observed: Observed) -> None:
        logit = outputs["_out"]
        pm.Deterministic("p", pm.math.sigmoid(logit), dims=observed.dims("label"))
        pm.Bernoulli("obs", logit_p=logit, **observed.likelihood("label"))

    return Head({"_out": ("label",)}, observe)


def ordinal() -> Head:
    r"""K grades in their order: ``p`` (rows, class), from one output and K - 1 cut points.

    With the logistic function s, P(y <= k) = s(cut_k - f) (McCullagh 1980, eq. 1.1). The cut points
    are ordered by construction: where f = 0 the grades have the probabilities ``baseline``, whose
    prior is uniform, Dirichlet(1, ..., 1).
    """

    def observe(outputs: Mapping[str, TensorVariable], observed: Observed) -> None:
        grades = len(pm.modelcontext(None).coords["class"])
        baseline = pm.Dirichlet("baseline", np.ones(grades), dims="class")
        below, above = pt.cumsum(baseline)[:-1], pt.cumsum(baseline[::-1])[::-1][1:]
        cuts = pm.Deterministic("cutpoints", pt.log(below) - pt.log(above), dims="cut")
        lower = cuts - outputs["_out"][..., None]  # logits of P(y <= k), k = 0, ..., K - 2
        # s(b) - s(a) = s(b) s(-a) (1 - e^(a - b)), which does not cancel where both are near 1
        middle = pt.log1mexp(lower[..., :-1] - lower[..., 1:])
        log_p = pt.concatenate([-pt.softplus(-lower), pt.zeros_like(lower[..., :1])], axis=-1)
        log_p += pt.concatenate([pt.zeros_like(lower[..., :1]), -pt.softplus(lower)], axis=-1)
        ends = pt.zeros_like(lower[..., :1])
        log_p += pt.concatenate([ends, middle, ends], axis=-1)
        p = pm.Deterministic("p", pm.math.softmax(log_p, axis=-1), dims=observed.dims("class"))
        pm.Categorical("obs", p=p, **observed.likelihood())

    return Head({"_out": ()}, observe, bias=False)


def _mean_and_scale(
    outputs: Mapping[str, TensorVariable], observed: Observed, units: Units, scale: Scale
) -> tuple[TensorVariable, TensorVariable]:
    mu = units.centre + units.spread * outputs["_out"]
    mu = pm.Deterministic("mu", mu, dims=observed.dims(*units.dims))
    return mu, scale.of(outputs, units, mu)


def _parts(units: Units, scale: Scale) -> dict[str, tuple[str, ...]]:
    return {"_out": units.dims} | ({} if scale.link is None else {"_scale": units.dims})


def normal(units: Units, scale: Scale) -> Head:
    """Normal targets: mean ``mu`` and sd ``sigma``, in the units of y."""

    def observe(outputs: Mapping[str, TensorVariable], observed: Observed) -> None:
        mu, spread = _mean_and_scale(outputs, observed, units, scale)
        sigma = pm.Deterministic("sigma", spread, dims=observed.dims(*units.dims))
        pm.Normal("obs", mu, sigma, **observed.likelihood(*units.dims))

    return Head(_parts(units, scale), observe)


def student_t(units: Units, scale: Scale) -> Head:
    """Student-t targets with 2 + ``nu_excess`` degrees of freedom; ``sigma`` is their sd."""

    def observe(outputs: Mapping[str, TensorVariable], observed: Observed) -> None:
        mu, spread = _mean_and_scale(outputs, observed, units, scale)
        excess = pm.Gamma("nu_excess", np.float64(2.0), np.float64(0.1))
        sd = spread * pt.sqrt((2.0 + excess) / excess)
        pm.Deterministic("sigma", sd, dims=observed.dims(*units.dims))
        likelihood = observed.likelihood(*units.dims)
        pm.StudentT("obs", nu=2.0 + excess, mu=mu, sigma=spread, **likelihood)

    return Head(_parts(units, scale), observe)


def mixture(units: Units, scale: Scale) -> Head:
    """Mixtures of normals (Bishop 1994, eqs. 22-26); one row's are ``component``, in units of y.

    ``weight``, ``component_mu`` and ``component_sigma`` (rows, component) are those of the normals,
    ``mu`` and ``sigma`` (rows,) mean and sd of the mixture. Components have no order: their labels
    may differ from chain to chain.
    """
    parts = Units(units.centre, units.spread, ("component",))

    def observe(outputs: Mapping[str, TensorVariable], observed: Observed) -> None:
        dims = observed.dims("component")
        mus = parts.centre + parts.spread * outputs["_out"]
        sigmas = scale.of(outputs, parts, mus)
        w = pm.math.softmax(outputs["_weight"], axis=-1)
        w = pm.Deterministic("weight", w, dims=dims)
        mus = pm.Deterministic("component_mu", mus, dims=dims)
        sigmas = pm.Deterministic("component_sigma", sigmas, dims=dims)
        mu = pm.Deterministic("mu", (w * mus).sum(axis=-1), dims=observed.dims())
        variance = (w * (sigmas**2 + (mus - mu[..., None]) ** 2)).sum(axis=-1)
        pm.Deterministic("sigma", pt.sqrt(variance), dims=observed.dims())
        pm.NormalMixture("obs", w=w, mu=mus, sigma=sigmas, **observed.likelihood())

    return Head({**_parts(parts, scale), "_weight": ("component",)}, observe)


HEADS: dict[str, Callable[..., Head]] = {
    "bernoulli": bernoulli,
    "categorical": categorical,
    "mixture": mixture,
    "multilabel": multilabel,
    "negative_binomial": negative_binomial,
    "normal": normal,
    "ordinal": ordinal,
    "poisson": poisson,
    "student_t": student_t,
    "zero_inflated_negative_binomial": partial(negative_binomial, zero_inflated=True),
    "zero_inflated_poisson": partial(poisson, zero_inflated=True),
}
"""Functions that make a ``Head``, by the name of its likelihood."""
