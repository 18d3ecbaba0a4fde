"""Checkpoints: written whole or not at all, and refused unless they belong to the same run."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bnnbook.density import LogDensity

__all__ = ["fingerprint", "read_checkpoint", "write_checkpoint"]


def fingerprint(density: LogDensity, start: np.ndarray, settings: Mapping[str, Any]) -> str:
    """Hash of the model, its data, the settings and the versions that decide a run's draws.

    A model is known by its variables, its data and its log density at a fixed point.
    """
    theta = density.initial_points(1, jitter=0.5, seed=0)[0]
    lp = float(density.log_prior(theta, density.data) + density.log_likelihood(theta, density.data))
    text = json.dumps(
        {
            "names": density.names,
            "shapes": density.shapes,
            "log_density": f"{lp:.10g}",
            "settings": dict(settings),
            "versions": {name: version(name) for name in ("bnnbook", "jax", "pymc", "pytensor")},
        },
        default=str,
        sort_keys=True,
    )
    digest = hashlib.sha256(text.encode())
    for array in (start, *density.data):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def write_checkpoint(path: Path, run: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write to a temporary file and put it in place in one move."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            np.savez(file, run=np.array(run), **dict(arrays))  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_checkpoint(path: Path, run: str) -> dict[str, np.ndarray] | None:
    """Arrays of the checkpoint at ``path``; None if there is no file.

    Raises
    ------
    ValueError
        If the file is truncated or not a checkpoint, or belongs to another model, data, seed,
        setting or version. The file is left as it is.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        owner = str(arrays.pop("run"))
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"checkpoint {path} is truncated or not a checkpoint ({error}); "
            "remove it or name another folder"
        ) from error
    if owner != run:
        raise ValueError(
            f"checkpoint {path} belongs to another model, data, seed, setting or version; "
            "remove it or name another folder"
        )
    return arrays
