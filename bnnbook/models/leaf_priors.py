"""Priors of the leaves of a user's network, by path and shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pymc as pm
from pymc.distributions.shape_utils import change_dist_size
from pytensor.compile.mode import Mode
from pytensor.graph.basic import Variable
from pytensor.tensor import TensorVariable

from bnnbook.checks import positive_number
from bnnbook.models.leaves import Leaf

__all__ = ["add_leaf", "check_patterns", "matching", "prior_of"]


def check_patterns(name: str, patterns: Iterable[str], paths: Sequence[str]) -> None:
    """Raise ValueError if a pattern matches none of the paths."""
    for pattern in patterns:
        if all(matching([pattern], path) is None for path in paths):
            raise ValueError(
                f"{name} must name leaves of the module, got {pattern!r}, which matches none of "
                f"{', '.join(paths[:20])}{', ...' if len(paths) > 20 else ''}"
            )


def matching(patterns: Iterable[str], path: str) -> str | None:
    """The first pattern that is a path, brackets and all, or matches it."""
    return next((p for p in patterns if p == path or fnmatchcase(path, p)), None)


def prior_of(prior_sd: Any, leaf: Leaf) -> Any:
    """Sd of a leaf, a number or an array of its shape, or a distribution.

    Raises
    ------
    TypeError, ValueError
        If it is neither, not positive, of another shape, or no pattern matches the leaf.
    """
    if isinstance(prior_sd, Mapping):
        pattern = matching(prior_sd, leaf.path)
        if pattern is None:
            raise ValueError(
                f"prior_sd must match every leaf, got nothing for {leaf.path}; a last '*' takes "
                "what is left"
            )
        return prior_of(prior_sd[pattern], leaf)
    if isinstance(prior_sd, str):
        if prior_sd != "1/sqrt(fan_in)":
            raise ValueError(
                "prior_sd must be a number, '1/sqrt(fan_in)', a function of path and shape, or a "
                f"mapping of path patterns to one of them or a distribution, got {prior_sd!r}"
            )
        return np.float64(leaf.fan_in**-0.5)
    if isinstance(prior_sd, Variable):
        return prior_sd
    if callable(prior_sd):
        found = prior_sd(leaf.path, leaf.value.shape)
        if callable(found) or isinstance(found, Mapping):
            raise TypeError(f"prior_sd must return a number for {leaf.path}, got {found!r}")
        return prior_of(found, leaf)
    if np.ndim(prior_sd) == 0:
        return np.float64(positive_number(f"prior_sd of {leaf.path}", prior_sd))
    sds = np.asarray(prior_sd, dtype=float)
    if sds.shape != leaf.value.shape or not (np.isfinite(sds) & (sds > 0)).all():
        raise ValueError(
            f"prior_sd of {leaf.path} must be positive and finite, one number or of shape "
            f"{leaf.value.shape}, got shape {sds.shape}"
        )
    return sds


def add_leaf(leaf: Leaf, prior: Any, dims: tuple[str, ...], *, centred: bool) -> TensorVariable:
    """The leaf as a random variable of the current model; ``centred`` at its value, else at 0."""
    if isinstance(prior, Variable):
        return _of_distribution(leaf, prior, dims)
    centre: Any = 0.0
    if centred:  # data of the model: its array is an argument of the compiled code
        centre = pm.Data(f"{leaf.name}_centre", leaf.value, dims=dims or None)
    return pm.Normal(leaf.name, centre, prior, dims=dims or None)


def _of_distribution(leaf: Leaf, dist: Any, dims: tuple[str, ...]) -> TensorVariable:
    """A copy of an unnamed distribution, of the leaf's shape and with its own random numbers."""
    op = getattr(dist.owner, "op", None)
    support = getattr(op, "ndim_supp", None)
    if support is None:
        raise TypeError(
            f"prior of {leaf.path} must be a distribution such as pm.Laplace.dist(0, 1), got {dist}"
        )
    shape = leaf.value.shape
    batch = shape[: len(shape) - support]
    model = pm.modelcontext(None)
    if dist in model.basic_RVs:
        raise TypeError(f"prior of {leaf.path} must not be a variable of the model, got {dist}")
    try:
        resized = change_dist_size(dist, new_size=batch)
        found = tuple(resized.shape.eval(mode=Mode("py", None)))
    except Exception as error:  # of any parameter that does not broadcast
        raise ValueError(f"prior of {leaf.path} must fit its shape {shape}: {error}") from error
    if found != shape:
        raise ValueError(f"prior of {leaf.path} must fit its shape {shape}, got {found}")
    return model.register_rv(resized, leaf.name, dims=dims or None)
