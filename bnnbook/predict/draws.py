"""Posterior draws in whatever form they are held, and what their fit holds besides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from bnnbook.density.record import content, record_of
from bnnbook.predict.labels import aligned, label_order, own_dims

__all__ = ["Draws", "Held", "Parameter", "as_dataset", "held_values", "open_draws"]

SAMPLE_DIMS = ("chain", "draw")


class Parameter(NamedTuple):
    """A free variable: its dims (None without a name), shape and dtype."""

    dims: tuple[str | None, ...]
    shape: tuple[int, ...]
    dtype: str


class Held(NamedTuple):
    """Data that are no rows, and their value in the model."""

    dims: tuple[str | None, ...]
    value: np.ndarray
    constant: bool
    """Whether the value is part of the compiled code, as integers are."""


@dataclass(frozen=True)
class Draws:
    """Values of the free variables, (draws, ...), and the dims, sizes and labels of the draws."""

    values: dict[str, np.ndarray]
    sizes: dict[str, int]
    index: xr.Dataset
    record: dict[str, Any]
    constants: xr.Dataset | None
    """The fit's ``constant_data``, where the draws came with it."""

    @property
    def total(self) -> int:
        return int(np.prod(list(self.sizes.values()), dtype=int))


def as_dataset(posterior: Any, names: Sequence[str]) -> tuple[xr.Dataset, xr.Dataset | None]:
    """The draws as a Dataset, which must have the variables ``names``, and the constant data."""
    constants = None
    if isinstance(posterior, xr.DataTree):
        node = posterior.children.get("posterior", posterior)
        if node is posterior and posterior.children and not posterior.data_vars:
            groups = sorted(posterior.children)
            raise ValueError(f"posterior must be a fit with the group posterior, got {groups}")
        beside = {} if node.parent is None else node.parent.children
        constants = beside["constant_data"].to_dataset() if "constant_data" in beside else None
        posterior = node.to_dataset()
    elif isinstance(posterior, Mapping) and not isinstance(posterior, xr.Dataset):
        posterior = xr.Dataset(
            {name: _from_array(str(name), value) for name, value in posterior.items()}
        )
    if not isinstance(posterior, xr.Dataset):
        raise TypeError(
            "posterior must be a DataTree, a Dataset or a mapping of arrays, "
            f"got {type(posterior).__name__}"
        )
    missing = [name for name in names if name not in posterior.data_vars]
    if missing:
        present = ", ".join(sorted(map(str, posterior.data_vars)))
        raise ValueError(f"posterior lacks {', '.join(missing)}; it has {present}")
    return posterior, constants


def _from_array(name: str, value: Any) -> Any:
    if isinstance(value, xr.DataArray):
        return value
    array = np.asarray(value)
    if array.ndim < 2:
        raise ValueError(
            f"posterior variable {name} must have the axes (chain, draw, ...) in a mapping of "
            f"arrays, got shape {array.shape}"
        )
    return (("chain", "draw", *(f"{name}_dim_{i}" for i in range(array.ndim - 2))), array)


def open_draws(
    posterior: Any, parameters: Mapping[str, Parameter], labels: Mapping[str, Any]
) -> Draws:
    """Draws in the order of the model's dims and labels; all dims that are not its own are draws'.

    Raises
    ------
    TypeError, ValueError
        If a variable is missing, has another shape, or has labels that the model does not have.
    """
    dataset, constants = as_dataset(posterior, list(parameters))
    arrays = {}
    for name, parameter in parameters.items():
        dims = own_dims(name, parameter.dims)
        value = dataset.variables[name]
        if not _in_order(dataset, value, dims, labels):
            value = aligned(dataset[name], f"posterior variable {name}", dims, labels).variable
        shape = value.shape[value.ndim - len(dims) :]
        if shape != parameter.shape:
            raise ValueError(
                f"posterior variable {name} must have shape {parameter.shape} in each draw, "
                f"got {shape}"
            )
        if value.dtype.kind not in "fiub":
            raise TypeError(
                f"posterior variable {name} must be real numbers, got dtype {value.dtype}"
            )
        arrays[name] = value
    sizes: dict[Any, int] = {}
    for name, value in arrays.items():
        own = len(parameters[name].dims)
        sizes |= dict(zip(value.dims[: value.ndim - own], value.shape, strict=False))
    order = [d for d in SAMPLE_DIMS if d in sizes] + [d for d in sizes if d not in SAMPLE_DIMS]
    sizes = {dim: sizes[dim] for dim in order}
    values = {}
    for name, value in arrays.items():
        short = {dim: size for dim, size in sizes.items() if dim not in value.dims}
        last = value.dims[value.ndim - len(parameters[name].dims) :]
        full = value.set_dims(short | value.sizes) if short else value
        full = full.transpose(*sizes, *last)
        values[name] = full.to_numpy().reshape(-1, *parameters[name].shape)
    carriers = [dataset.attrs, *(dataset[name].attrs for name in parameters)]
    others = [
        name
        for name, variable in dataset.variables.items()
        if name in dataset.data_vars or not set(variable.dims) <= set(sizes)
    ]
    index = dataset.drop_vars(others).copy()
    index.attrs = {}
    for variable in index.variables.values():  # as drop_attrs, which takes longer than predicting
        variable.attrs = {}
    return Draws(values, sizes, index, record_of(*carriers), constants)


def _in_order(
    dataset: xr.Dataset, variable: xr.Variable, dims: tuple[str, ...], labels: Mapping[str, Any]
) -> bool:
    """Whether nothing is left to do for :func:`aligned`, which takes longer than predicting."""
    if variable.dims[variable.ndim - len(dims) :] != dims:
        return False
    for dim in dims:
        own = dataset.variables.get(dim) if dim in labels else None
        if own is not None and own.to_numpy().tolist() != np.asarray(labels[dim]).tolist():
            return False
    return True


def held_values(
    draws: Draws, held: Mapping[str, Held], labels: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Values of the data that are no rows: those given, else the fit's, else the model's.

    Raises
    ------
    ValueError
        If the fit's are of another shape or label, or other than the model's where the compiled
        code has those.
    """
    values = {}
    for name, own in held.items():
        value = own.value
        if name in given:
            value = given[name]
        elif (fitted := _of_fit(draws, name, own, labels)) is not None:
            value = fitted.astype(own.value.dtype)
        if value.shape != own.value.shape:
            raise ValueError(
                f"the fit's {name} must have the shape of the model's, {own.value.shape}, "
                f"got {value.shape}; build the model as the one that was fitted"
            )
        if own.constant and not np.array_equal(value, own.value):
            difference = _first_difference(value, own.value)
            raise ValueError(
                f"the model's {name} is not that of the fit, {difference}; build the model with "
                "the fit's"
            )
        values[name] = value
    return values


def _of_fit(draws: Draws, name: str, own: Held, labels: Mapping[str, Any]) -> np.ndarray | None:
    dims = own_dims(name, own.dims)
    kept = draws.record.get("data", {}).get(name)
    if kept is not None and "values" in kept:
        array = np.asarray(kept["values"], dtype=kept["dtype"])
        coords = draws.record.get("coords", {})
        names = own_dims(name, kept["dims"] or (None,) * array.ndim)
        found = xr.DataArray(array, dims=names, coords={d: coords[d] for d in names if d in coords})
    elif draws.constants is not None and name in draws.constants.data_vars:
        found = draws.constants[name]
    else:
        if kept is not None and content(own.value) != {k: kept[k] for k in kept if k != "dims"}:
            raise ValueError(
                f"the model's {name} is not that of the fit, which is too large to come with its "
                "draws alone: pass the whole fit, or build the model with the fit's"
            )
        return None
    if found.ndim != len(dims):
        raise ValueError(
            f"the fit's {name} must have {len(dims)} axes, as the model's, got {found.ndim}"
        )
    return aligned(found, f"the fit's {name}", dims, labels).to_numpy()


def _first_difference(fitted: np.ndarray, own: np.ndarray) -> str:
    index = tuple(int(i) for i in np.argwhere(fitted != own)[0])
    where = f" at {index}" if index else ""
    return f"{own[index]} instead of {fitted[index]}{where}"


def check_record(
    record: Mapping[str, Any], fingerprints: Mapping[str, str | None], labels: Mapping[str, Any]
) -> None:
    """Raise unless the fit's model computes the outputs, and names what it names, as this one.

    Raises
    ------
    ValueError
        Says which output or which labels differ.
    """
    for name, own in fingerprints.items():
        fitted = record.get("outputs", {}).get(name)
        if own and fitted and own != fitted:
            raise ValueError(
                f"the model must compute {name} as the one that was fitted, but it has other "
                "operations or constants; build it with the settings of the fit (activation, "
                "links, layers) and with its data where they are part of the graph"
            )
    for dim, fitted in record.get("coords", {}).items():
        if (
            dim in labels
            and label_order(f"the fit's labels of {dim}", fitted, labels[dim]) is not None
        ):
            if dim in _carried(record):
                continue
            raise ValueError(
                f"the model's labels of {dim} must be in the order of the fit, {fitted}, "
                f"got {np.asarray(labels[dim]).tolist()}"
            )


def _carried(record: Mapping[str, Any]) -> set[str]:
    """Dims whose labels come with data, which are put into the model's order."""
    return {dim for kept in record.get("data", {}).values() for dim in kept["dims"]}
