"""One result format for every method: an xarray DataTree."""

from __future__ import annotations

import json
import platform
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr
from pymc.pytensorf import extract_obs_data
from pytensor.compile import SharedVariable
from pytensor.graph.traversal import ancestors

from bnnbook.checks import ConvergenceWarning
from bnnbook.density import LogDensity, precision
from bnnbook.density.record import model_record
from bnnbook.inference.report import chain_report

__all__ = [
    "draws_dataset",
    "labelled",
    "posterior_dataset",
    "result_tree",
    "value_dataset",
    "variable_dims",
]

PACKAGE = str(Path(__file__).parents[1])


def posterior_dataset(density: LogDensity, thetas: np.ndarray) -> xr.Dataset:
    """Free variables in the model's space, float64, from unconstrained draws (chain, draw, D)."""
    thetas = np.asarray(thetas, np.float64)
    if all(name in density.names for name in density.dims):  # no transforms: the draws as they are
        draws = density.split(thetas)
    else:
        with precision(np.float64):
            flat = jnp.asarray(thetas.reshape(-1, thetas.shape[-1]))
            constrained = density.constrain_draws(flat, density.arrays())
        draws = {
            name: np.asarray(value).reshape((*thetas.shape[:2], *value.shape[1:]))
            for name, value in constrained.items()
        }
    return draws_dataset(density, draws)


def draws_dataset(density: LogDensity, draws: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Arrays (chain, draw, ...) of the free variables with their dims and labels; no copies.

    The attribute ``model``, of the dataset and of its first variable, which more operations keep,
    has what predictions need besides (:func:`bnnbook.density.record.model_record`).
    """
    variables = {
        name: (("chain", "draw", *variable_dims(density.model, name, value.ndim - 2)), value)
        for name, value in ((name, draws[name]) for name in density.dims)
    }
    record = model_record(density.model, dict(zip(density.data_names, density.data, strict=True)))
    dataset = labelled(xr.Dataset(variables, attrs={"model": record}), density.model)
    dataset[next(iter(variables))].attrs["model"] = record
    return dataset


def result_tree(
    density: LogDensity,
    posterior: xr.Dataset,
    *,
    sample_stats: Mapping[str, np.ndarray],
    method: str,
    settings: Mapping[str, Any],
    seed: int,
    n: int,
    seconds: float,
    compile_seconds: float,
    history: xr.Dataset | None = None,
    groups: Mapping[str, xr.Dataset] | None = None,
    attrs: Mapping[str, Any] | None = None,
    problems: Sequence[str] = (),
) -> xr.DataTree:
    """Assemble the groups and the attributes that every method stores, and warn of problems.

    Groups: ``posterior`` and ``sample_stats`` (chain, draw, ...); ``observed_data`` and
    ``constant_data``, which refer to the model's own arrays and copy none; ``history`` and others
    of the method. Draws of Markov chains, several with their log density ``lp``, are judged as well
    (:func:`bnnbook.inference.report.chain_report`).

    Attributes, all of them numbers, strings or lists of these (which netCDF gives back as arrays,
    and a list of one number as that number): ``method``, ``settings`` and
    ``versions`` (JSON), ``seed``, ``N`` (rows), ``n`` (batch size), ``seconds`` (run) and
    ``compile_seconds``; ``converged`` (1 or 0), ``problems`` and ``judged`` (JSON).

    Parameters
    ----------
    problems : sequence of str
        Sentences, each with its remedy, about what kept this run from converging. They are stored,
        and warned of as :class:`ConvergenceWarning`.
    """
    stats = xr.Dataset({name: (("chain", "draw"), a) for name, a in sample_stats.items()})
    stats = stats.assign_coords(chain=posterior["chain"], draw=posterior["draw"])
    parts = {"posterior": posterior, "sample_stats": stats, **data_groups(density.model)}
    if history is not None:
        parts["history"] = history
    tree = xr.DataTree.from_dict(parts | dict(groups or {}))
    found: list[str] = list(problems)
    judged: dict[str, Any] = {}
    if "lp" in sample_stats and posterior.sizes["draw"] > 1:
        more, judged = chain_report(density, posterior, np.asarray(sample_stats["lp"]))
        found += more
    packages = ("bnnbook", "pymc", "pytensor", "jax", "numpy", "arviz")
    versions = {name: version(name) for name in packages} | {"python": platform.python_version()}
    fields = {
        "method": method,
        "settings": json.dumps(settings, default=str),
        "seed": seed,
        "N": density.N,
        "n": n,
        "seconds": seconds,
        "compile_seconds": compile_seconds,
        "versions": json.dumps(versions),
        "inference_library": "bnnbook",
        "converged": int(not found),
        "problems": json.dumps(found),
        "judged": json.dumps(judged),
        **(attrs or {}),
    }
    tree.attrs = {name: _plain(value) for name, value in fields.items()}
    if found:
        warnings.warn(" ".join(found), ConvergenceWarning, skip_file_prefixes=(PACKAGE,))
    return tree


def value_dataset(density: LogDensity, values: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Unconstrained vectors (D,) by statistic, cut into variables with a ``stat`` axis."""
    parts = {key: density.split(np.asarray(value)) for key, value in values.items()}
    variables = {}
    for name, shape in zip(density.names, density.shapes, strict=True):
        stacked = np.stack([parts[key][name] for key in values])
        variables[name] = (("stat", *variable_dims(density.model, name, len(shape))), stacked)
    dataset = xr.Dataset(variables).assign_coords(stat=list(values))
    return labelled(dataset, density.model)


def data_groups(model: pm.Model) -> dict[str, xr.Dataset]:
    """``observed_data`` by observed variable and ``constant_data`` by container; no copies.

    Data of a minibatch are there in full. As in PyMC, a container that is nothing but observed
    values is in the first group alone.
    """
    values = {rv.name: model.rvs_to_values[rv] for rv in model.observed_RVs}
    used = set(ancestors([*model.basic_RVs, *model.deterministics, *model.potentials]))
    constants = {v.name: v for v in model.data_vars if v in used or v not in set(values.values())}
    groups = {"observed_data": values, "constant_data": constants}
    return {
        group: labelled(
            xr.Dataset(
                {
                    name: (variable_dims(model, name, array.ndim), array)
                    for name, array in ((name, _array(v)) for name, v in variables.items())
                }
            ),
            model,
        )
        for group, variables in groups.items()
    }


def _array(variable: Any) -> np.ndarray:
    if isinstance(variable, SharedVariable):
        return np.asarray(variable.get_value(borrow=True))  # images are large
    return np.asarray(extract_obs_data(variable))


def variable_dims(model: pm.Model, name: str, ndim: int) -> tuple[str, ...]:
    """Dims of a variable; axes without one are numbered."""
    named = model.named_vars_to_dims.get(name) or (None,) * ndim
    return tuple(dim or f"{name}_dim_{axis}" for axis, dim in enumerate(named))


def labelled(dataset: xr.Dataset, model: pm.Model) -> xr.Dataset:
    """Give the dims of ``dataset`` the model's labels."""
    coords: dict[str, np.ndarray] = {}
    for dim, size in dataset.sizes.items():
        labels = model.coords.get(str(dim))
        if labels is not None and len(labels) == size:
            coords[str(dim)] = np.asarray(labels)
        elif dim in ("chain", "draw"):
            coords[str(dim)] = np.arange(size)
    return dataset.assign_coords(coords)


def _plain(value: Any) -> Any:
    """Numbers, strings and lists of these, which every file format keeps: no booleans."""
    if isinstance(value, bool | np.bool_):
        return int(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    return value
