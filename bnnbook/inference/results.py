"""One result format for every method: an xarray DataTree."""

from __future__ import annotations

import json
import platform
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from bnnbook.checks import ConvergenceWarning
from bnnbook.density import LogDensity

__all__ = ["posterior_dataset", "result_tree"]


def posterior_dataset(density: LogDensity, thetas: np.ndarray, data: tuple) -> xr.Dataset:
    """Free variables in the model's space from unconstrained draws (chain, draw, D)."""
    if all(name in density.names for name in density.dims):  # no transforms: the draws as they are
        draws = density.split(thetas)
    else:
        flat = jnp.asarray(thetas.reshape(-1, thetas.shape[-1]))
        draws = {
            name: np.asarray(value).reshape((*thetas.shape[:2], *value.shape[1:]))
            for name, value in density.constrain_draws(flat, data).items()
        }
    variables = {}
    for name, value in draws.items():
        dims = density.dims[name] or tuple(f"{name}_dim_{i}" for i in range(value.ndim - 2))
        variables[name] = (("chain", "draw", *dims), value)
    return _labelled(xr.Dataset(variables), density)


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
    """Assemble the groups and the attributes that every method stores.

    ``problems`` are sentences, each with its remedy, about what kept this run from converging: they
    are stored as attributes ``converged`` (1 or 0) and ``problems`` (JSON), and warned of.

    Attributes: ``method``, ``settings`` and ``versions`` (JSON), ``seed``, ``N`` (rows), ``n``
    (batch size), ``seconds`` (run) and ``compile_seconds``.
    """
    stats = xr.Dataset({name: (("chain", "draw"), a) for name, a in sample_stats.items()})
    stats = stats.assign_coords(chain=posterior["chain"], draw=posterior["draw"])
    parts = {"posterior": posterior, "sample_stats": stats}
    if history is not None:
        parts["history"] = history
    tree = xr.DataTree.from_dict(parts | dict(groups or {}))
    packages = ("bnnbook", "pymc", "pytensor", "jax", "numpy", "arviz")
    versions = {name: version(name) for name in packages} | {"python": platform.python_version()}
    tree.attrs = {
        "method": method,
        "settings": json.dumps(settings, default=str),
        "seed": seed,
        "N": density.N,
        "n": n,
        "seconds": seconds,
        "compile_seconds": compile_seconds,
        "versions": json.dumps(versions),
        "inference_library": "bnnbook",
        "converged": int(not problems),
        "problems": json.dumps(list(problems)),
        **(attrs or {}),
    }
    if problems:
        warnings.warn(" ".join(problems), ConvergenceWarning, stacklevel=3)
    return tree


def value_dataset(density: LogDensity, values: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Unconstrained vectors (D,) by statistic, cut into variables with a ``stat`` axis."""
    parts = {key: density.split(np.asarray(value)) for key, value in values.items()}
    variables = {}
    for name, shape in zip(density.names, density.shapes, strict=True):
        dims = density.dims.get(name) or tuple(f"{name}_dim_{i}" for i in range(len(shape)))
        stacked = np.stack([parts[key][name] for key in values])
        variables[name] = (("stat", *dims), stacked)
    dataset = xr.Dataset(variables).assign_coords(stat=list(values))
    return _labelled(dataset, density)


def _labelled(dataset: xr.Dataset, density: LogDensity) -> xr.Dataset:
    coords: dict[str, Sequence[Any] | np.ndarray] = {}
    for dim, size in dataset.sizes.items():
        labels = density.coords.get(str(dim))
        if labels is not None and len(labels) == size:
            coords[str(dim)] = labels
        elif dim in ("chain", "draw"):
            coords[str(dim)] = np.arange(size)
    return dataset.assign_coords(coords)
