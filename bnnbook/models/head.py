"""What all likelihoods have in common: outputs by suffix, rows that are observed, scales."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor import TensorVariable

from bnnbook.checks import positive_number

__all__ = ["SCALE_LINKS", "Head", "Observed", "Scale", "Units", "scale_of"]

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
    bias : bool
        Whether the parts may have offsets; not where the likelihood has one of its own.
    """

    parts: Mapping[str, tuple[str, ...]]
    observe: Callable[[Mapping[str, TensorVariable], Observed], None]
    bias: bool = True


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
