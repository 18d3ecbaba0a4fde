"""Likelihoods by name with what they take of y: how it is checked, its labels, its units.

Builders and :func:`bnnbook.models.from_module` share them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pymc as pm

from bnnbook.checks import positive_int
from bnnbook.models.count_heads import negative_binomial, poisson
from bnnbook.models.head import Head, Units, scale_of
from bnnbook.models.heads import (
    bernoulli,
    categorical,
    mixture,
    multilabel,
    normal,
    ordinal,
    student_t,
)
from bnnbook.models.inputs import CheckTargets, Data, class_column, moments, named_data, targets
from bnnbook.models.outcomes import (
    count_classes,
    count_column,
    exposure_column,
    grade_column,
    label_matrix,
)

__all__ = ["LIKELIHOODS", "Likelihood", "classes", "one_column", "target_units", "two_classes"]


class Likelihood(NamedTuple):
    """What a likelihood takes of the targets, and the head that it makes of them.

    Attributes
    ----------
    check : function of y
        The targets as an array (rows,) or (rows, columns), and their labels or None.
    coords : function of Data
        Labels of the dims of the head's outputs, as far as they do not come from y's columns.
    head : function of Data
        The head; called inside the model, to which it adds numbers that it takes of y.
    columns : str
        Name of y's second axis.
    """

    check: CheckTargets
    coords: Callable[[Data], dict[str, Any]]
    head: Callable[[Data], Head]
    columns: str = "output"

    def y_dims(self, data: Data) -> tuple[str, ...]:
        """Dims of y beyond the rows."""
        return (self.columns,) if data.full_y.ndim == 2 else ()

    def all_coords(self, data: Data) -> dict[str, Any]:
        """Labels of the dims of y and of the outputs, beyond the rows."""
        columns = data.labels or range(data.full_y.shape[-1])
        return {dim: list(columns) for dim in self.y_dims(data)} | self.coords(data)


def _no_coords(_: Data) -> dict[str, Any]:
    return {}


def _classes(data: Data) -> dict[str, Any]:
    return {} if data.labels is None else {"class": data.labels}


def two_classes() -> Likelihood:
    """Integers 0 and 1, or two kinds of labels."""
    return Likelihood(lambda y: class_column(y, 2), _classes, lambda _: bernoulli())


def classes(*, n_classes: int | None = None) -> Likelihood:
    """Integers 0, ..., ``n_classes`` - 1, or so many kinds of labels; by default those in y."""
    return Likelihood(
        lambda y: class_column(y, count_classes(y) if n_classes is None else n_classes),
        lambda data: {"class": np.arange(n_classes or data.full_y.max() + 1)} | _classes(data),
        lambda _: categorical(),
    )


def labels() -> Likelihood:
    """One column of 0 and 1 a label."""
    return Likelihood(label_matrix, _no_coords, lambda _: multilabel(), "label")


def grades(*, grades: Sequence[Any] | None = None) -> Likelihood:
    """Grades from the lowest on, in ``grades`` or by y's own order."""
    return Likelihood(
        lambda y: grade_column(y, grades),
        lambda data: _classes(data) | {"cut": np.arange(len(data.labels or ()) - 1)},
        lambda _: ordinal(),
    )


def counts(
    head: Callable[..., Head], *, exposure: Any = None, standardise_targets: bool = False
) -> Likelihood:
    """Counts, in so much ``exposure`` a row; standardised, an output of 0 is their mean rate."""

    def make(data: Data) -> Head:
        times = None
        total: Any = float(len(data.full_y))
        if exposure is not None:
            if data.minibatch:
                raise TypeError(
                    "exposure needs X and y as arrays, got minibatch tensors: give batch_size to "
                    "the method instead"
                )
            array = exposure_column(exposure, len(data.full_y))
            times, total = pm.Data("exposure", array, dims="obs_id"), array.sum()
        log_rate = 0.0
        if standardise_targets:
            log_rate = named_data("log_rate_centre", np.log(data.full_y.sum() / total), ())
        return head(log_rate, times)

    return Likelihood(count_column, _no_coords, make)


def real(
    head: Callable[..., Head], *, heteroskedastic: bool = False, scale_link: str = "softplus",
    scale_floor: float = 1e-3, noise_sd: float | None = None, standardise_targets: bool = False,
) -> Likelihood:  # fmt: skip
    """Real targets; standardised, outputs are in units of y's sd around its mean."""
    scale = scale_of(
        heteroskedastic=heteroskedastic, link=scale_link, floor=scale_floor, noise_sd=noise_sd
    )

    def make(data: Data) -> Head:
        dims = ("output",) if data.full_y.ndim == 2 else ()
        return head(target_units(data, dims, standardise_targets), scale)

    return Likelihood(targets, _no_coords, make)


def mixtures(*, n_components: int = 3, **options: Any) -> Likelihood:
    """Real targets (rows,), whose density has ``n_components`` normals in each row."""
    k = positive_int("n_components", n_components)

    found = real(mixture, **options)
    return found._replace(check=one_column, coords=lambda _: {"component": np.arange(k)})


def one_column(y: Any) -> tuple[np.ndarray, list[Any] | None]:
    """Targets (rows,), as a mixture needs them."""
    array, names = targets(y)
    if array.ndim != 1:
        raise ValueError(f"likelihood='mixture' needs y of shape (rows,), got {array.shape}")
    return array, names


def target_units(data: Data, dims: tuple[str, ...], standardise: bool) -> Units:
    """Mean and sd of the targets as data of the current model; 0 and 1 if not standardised."""
    if not standardise:
        return Units(np.float64(0.0), np.float64(1.0), dims)
    centre, spread = moments(data.full_y)
    centre = named_data("y_centre", centre, dims)
    return Units(centre, named_data("y_spread", spread, dims), dims)


LIKELIHOODS: Mapping[str, Callable[..., Likelihood]] = {
    "bernoulli": two_classes,
    "categorical": classes,
    "mixture": mixtures,
    "multilabel": labels,
    "negative_binomial": partial(counts, negative_binomial),
    "normal": partial(real, normal),
    "ordinal": grades,
    "poisson": partial(counts, poisson),
    "student_t": partial(real, student_t),
    "zero_inflated_negative_binomial": partial(
        counts, partial(negative_binomial, zero_inflated=True)
    ),
    "zero_inflated_poisson": partial(counts, partial(poisson, zero_inflated=True)),
}
"""Functions of options that make a :class:`Likelihood`, by its name."""
