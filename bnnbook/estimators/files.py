"""Estimators as files of :func:`bnnbook.predict.save`: parameters and labels beside the fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from bnnbook import predict

__all__ = ["Found", "read", "write"]

FORMAT = 1
ATTRIBUTE = "estimator"
ARRAYS = ("classes_", "feature_names_in_")
PLAIN = (bool, int, float, str, type(None))


class Found(NamedTuple):
    """What a file holds: arguments of the constructor, and what the fit had set."""

    parameters: dict[str, Any]
    attributes: dict[str, Any]


def write(path: str | Path, estimator: Any, *, linearised: xr.DataTree | None) -> None:
    """Write a fitted estimator; see :meth:`BayesianNetwork.save`."""
    about = {
        "format": FORMAT,
        "class": type(estimator).__name__,
        "parameters": {
            name: value
            for name, given in estimator.get_params(deep=False).items()
            if (value := _plain(given)) is not None
        },
        "n_features_in_": estimator.n_features_in_,
        "seed_": estimator.seed_,
        "arrays": {
            name: {"dtype": value.dtype.str, "values": value.tolist()}
            for name in ARRAYS
            if (value := getattr(estimator, name, None)) is not None
        },
    }
    fit = estimator.fit_.copy()
    fit.attrs = {**estimator.fit_.attrs, ATTRIBUTE: json.dumps(about)}
    predict.save(path, estimator.model_, fit, outputs=estimator.outputs, linearised=linearised)


def read(path: str | Path, kind: str) -> Found:
    """Read an estimator of the class that is called ``kind``.

    Raises
    ------
    ValueError
        If the file is of something else or of an incompatible version.
    """
    predictor, fit = predict.load(path)
    text = fit.attrs.pop(ATTRIBUTE, None)
    if text is None:
        raise ValueError(f"{path} has a predictor but no estimator; read it by predict.load")
    about = json.loads(text)
    if about["format"] != FORMAT:
        raise ValueError(
            f"{path} is of an incompatible version: format {about['format']} of estimators, and "
            f"this bnnbook reads {FORMAT}; save it again"
        )
    if about["class"] != kind:
        raise ValueError(f"{path} must hold a {kind}, got a {about['class']}")
    attributes = {
        name: np.array(array["values"], dtype=array["dtype"])
        for name, array in about["arrays"].items()
    }
    return Found(
        {name: _frozen(value) for name, value in about["parameters"].items()},
        attributes
        | {"n_features_in_": about["n_features_in_"], "seed_": about["seed_"]}
        | {"fit_": fit, "predictor_": predictor},
    )


def _plain(value: Any) -> Any:
    """A value as JSON has it, None if it has no form there."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Mapping):
        kept = {str(k): _plain(v) for k, v in value.items()}
        return {k: v for k, v in kept.items() if v is not None or value[k] is None}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v) for v in value]
    return None


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
