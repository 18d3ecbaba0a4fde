"""Likelihoods: what the outputs of a network mean.

A :class:`Head` says which affine maps of the last hidden layer a likelihood needs and makes the
deterministics and ``obs`` of them; :data:`HEADS` lists them by name. To add one, write a function
that returns a ``Head`` and put it there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor import TensorVariable

from bnnbook.checks import positive_number

__all__ = [
    "HEADS",
    "SCALE_LINKS",
    "Head",
    "Observed",
    "Scale",
    "Units",
    "bernoulli",
    "categorical",
    "normal",
    "scale_of",
    "student_t",
]

SCALE_LINKS: dict[str, Callable[[TensorVariable, np.float64], TensorVariable]] = {
    "softplus": lambda raw, floor: floor + pt.softplus(raw),
    "exp": lambda raw, floor: floor + pt.exp(raw),
    "clipped": lambda raw, floor: pt.maximum(raw, floor),
}
"""Maps from a network's second output to a scale of at least ``floor``, by name."""


class Observed(NamedTuple):
    """What is observed: values, dims of their rows (None in minibatches), rows in the full data."""

    y: Any
    rows: tuple[str | None, ...]
    total_size: int | None = None

    def dims(self, *more: str) -> tuple[str | None, ...]:
        """Dims of a deterministic: the rows, then ``more``."""
        return (*self.rows, *more)

    def likelihood(self, *more: str) -> dict[str, Any]:
        """Arguments of the distribution called ``obs``."""
        named = None not in self.rows
        return {
            "observed": self.y,
            "dims": self.dims(*more) if named else None,
            "total_size": self.total_size,
        }


@dataclass(frozen=True)
class Head:
    """What the outputs of a network mean.

    Attributes
    ----------
    parts : dict
        The affine maps of the last hidden layer, by suffix of their variables: "_out" has weights
        ``w_out`` and bias ``b_out``. The values are their dims beyond the rows, () for one number.
    observe : function (outputs, observed)
        Adds the deterministics and the likelihood ``obs`` to the current model. ``outputs`` has the
        parts' values by suffix, (rows, *dims).
    """

    parts: Mapping[str, tuple[str, ...]]
    observe: Callable[[Mapping[str, TensorVariable], Observed], None]


class Units(NamedTuple):
    """Centre and spread of the targets, () or (output,), and the dims of their outputs."""

    centre: Any
    spread: Any
    dims: tuple[str, ...]


class Scale(NamedTuple):
    """A scale in the units of y: of a second output by ``link``, free, or ``known``."""

    link: str | None
    floor: np.float64
    known: np.float64 | None = None

    def of(
        self, outputs: Mapping[str, TensorVariable], units: Units, like: TensorVariable
    ) -> TensorVariable:
        """The scale, of the shape of ``like``; one that is free is added to the current model."""
        if self.link is not None:
            return units.spread * SCALE_LINKS[self.link](outputs["_scale"], self.floor)
        if self.known is not None:
            return self.known + pt.zeros_like(like)
        noise = pm.HalfNormal("noise", np.float64(1.0), dims=units.dims or None)
        return units.spread * (self.floor + noise) + pt.zeros_like(like)


def scale_of(*, heteroskedastic: bool, link: str, floor: float, noise_sd: float | None) -> Scale:
    """Check the options that say where a scale comes from.

    Raises ValueError for an unknown link, a scale that is not positive, or a known scale together
    with ``heteroskedastic``.
    """
    if link not in SCALE_LINKS:
        raise ValueError(f"scale_link must be one of {sorted(SCALE_LINKS)}, got {link!r}")
    if noise_sd is not None and heteroskedastic:
        raise ValueError("noise_sd is a constant's; it needs heteroskedastic=False")
    known = None if noise_sd is None else np.float64(positive_number("noise_sd", noise_sd))
    least = np.float64(positive_number("scale_floor", floor))
    return Scale(link if heteroskedastic else None, least, known)


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


HEADS: dict[str, Callable[..., Head]] = {
    "bernoulli": bernoulli,
    "categorical": categorical,
    "normal": normal,
    "student_t": student_t,
}
"""Functions that make a :class:`Head`, by the name of its likelihood."""
