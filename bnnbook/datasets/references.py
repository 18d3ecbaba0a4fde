"""Reference posteriors: draws of networks' functions that other methods are measured against."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from bnnbook.datasets.idx_files import DataUnavailableError
from bnnbook.datasets.reference_data import ReferenceData, load_data

__all__ = ["Reference", "reference", "reference_data", "reference_names"]


CHECKSUMS = "SHA256SUMS"  # as of sha256sum, which can check it


@dataclass(frozen=True)
class Reference:
    """Draws of the functions of one posterior at fixed inputs, and how they were made.

    Attributes
    ----------
    name, description : str
    draws : mapping of float32 arrays (draws, n), (draws, n, K) or (draws, group, n)
        By output: ``p``, the probability of class 1 or of each class; or ``mu`` and, where the
        noise is not known, ``sigma``, in the units of the target.
    gap : bool array (n,) or (group, n)
        Inputs in a gap of the data: those of a held-out range, or within the range of the training
        rows and farther from each of them than ``record["inputs"]["gap"]``.
    moments : mapping of float32 arrays (2, ...)
        What the sampler of the draws and a second, independent one found with all of theirs:
        ``p_mean`` and ``p_sd``, and so on, with Monte Carlo standard errors ``p_mean_mcse``,
        ``p_sd_mcse``. Where they disagree, they are the bracket.
    record : mapping
        ``data``, ``inputs`` and ``model`` by name; ``samplers``: both, with their settings,
        ``rhat``, ``ess_bulk`` and ``ess_tail`` (worst over all inputs and outputs),
        ``divergences``, ``seconds`` and ``cpu_seconds``; ``agreement`` of the two; ``converged``
        (R-hat at most 1.01 and effective sample sizes at least 400, for both) and ``confirmed``
        (the two agree within Monte Carlo error); ``second_scores``, what 1,000 draws of the second
        score against those of the first; ``versions``; ``log_evidence`` where known.
    """

    name: str
    description: str
    draws: Mapping[str, np.ndarray]
    gap: np.ndarray
    moments: Mapping[str, np.ndarray]
    record: Mapping[str, Any]


def reference_names() -> list[str]:
    """Names of the reference posteriors."""
    found = (Path(entry.name) for entry in _folder().iterdir())
    return sorted(path.stem for path in found if path.suffix == ".json")


def reference(name: str) -> Reference:
    """Load a reference posterior, which comes with the package.

    Parameters
    ----------
    name : str
        One of :func:`reference_names`.

    Raises
    ------
    ValueError
        If there is none of that name; those that exist are listed.
    DataUnavailableError
        If a file is missing, or not the one that the record was written with (SHA-256).

    Examples
    --------
    >>> boxes = reference("boxes")
    >>> boxes.draws["p"].shape, int(boxes.gap.sum())
    ((1000, 201), 61)
    """
    record = _record(name)
    content = _verified(name, f"{name}.npz")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    for array in arrays.values():
        array.flags.writeable = False
    outputs = record["outputs"]
    return Reference(
        name=name,
        description=record["description"],
        draws=MappingProxyType({key: arrays[key] for key in outputs}),
        gap=arrays["gap"],
        moments=MappingProxyType(
            {k: a for k, a in arrays.items() if k not in outputs and k != "gap"}
        ),
        record=MappingProxyType(record),
    )


def reference_data(name: str, *, data_dir: str | Path | None = None) -> ReferenceData:
    """Training rows of a reference posterior, and the inputs of its draws.

    They are made again from their record, or loaded as by :func:`uci`.

    Parameters
    ----------
    name : str
        One of :func:`reference_names`.
    data_dir : path, optional
        Where the UCI tables are, or go.

    Raises
    ------
    ValueError
        If there is none of that name; those that exist are listed.
    DataUnavailableError
        If a table is not there and cannot be downloaded.

    Examples
    --------
    >>> data = reference_data("boxes")
    >>> data.X_train.shape, data.X.shape, data.y.shape
    ((80, 2), (201, 2), (80,))
    """
    record = _record(name)
    return load_data(record["data"], record["inputs"], data_dir)


def _folder() -> Traversable:
    return files("bnnbook.datasets") / "reference_draws"


def _record(name: str) -> dict[str, Any]:
    names = reference_names()
    if name not in names:
        raise ValueError(f"name must be one of {names}, got {name!r}")
    record: dict[str, Any] = json.loads(_verified(name, f"{name}.json"))
    return record


def _verified(name: str, file: str) -> bytes:
    """A file's bytes, if they have the SHA-256 that was noted when it was written."""
    remedy = f"install bnnbook again, or remake it with make references NAME={name}"
    try:
        content = (_folder() / file).read_bytes()
        lines = (_folder() / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataUnavailableError(f"reference {name!r} is not whole: {error}; {remedy}") from error
    noted = {line[66:]: line[:64] for line in lines}
    found = hashlib.sha256(content).hexdigest()
    if found != noted.get(file):
        raise DataUnavailableError(
            f"{file} of reference {name!r} is corrupt or was altered: its SHA-256 is {found}, not "
            f"{noted.get(file)}; {remedy}"
        )
    return content
