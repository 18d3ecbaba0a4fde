"""Checkpoints: written whole or not at all, and refused unless they belong to the same run."""

from __future__ import annotations

import hashlib
import json
import os
import types
import zipfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bnnbook.density import LogDensity, precision
from bnnbook.inference.sgmcmc.kernel import Kernel

__all__ = ["check_folder", "checkpoint_path", "fingerprint", "read_checkpoint", "write_checkpoint"]


def checkpoint_path(folder: Path, chain: int) -> Path:
    """File of one chain, however chains are run together."""
    return folder / f"chain_{chain}.npz"


def fingerprint(
    density: LogDensity, kernel: Kernel, starts: np.ndarray, settings: Mapping[str, Any]
) -> str:
    """Hash of the model, its data, the kernel, the settings and the versions that decide the draws.

    A model is known by its variables, its data and its log density at a fixed point; a kernel by
    its settings and by the code of its functions, so that one of your own counts too.
    """
    theta = density.initial_points(1, jitter=0.5, seed=0)[0]
    with precision(np.float64):
        lp = float(
            density.log_prior(theta, density.data) + density.log_likelihood(theta, density.data)
        )
    text = json.dumps(
        {
            "names": density.names,
            "shapes": density.shapes,
            "log_density": f"{lp:.10g}",
            "kernel": [kernel.name, kernel.temperature, kernel.control_variates, kernel.settings],
            "settings": dict(settings),
            "versions": {name: version(name) for name in ("bnnbook", "jax", "pymc", "pytensor")},
        },
        default=str,
        sort_keys=True,
    )
    digest = hashlib.sha256(text.encode())
    for function in (kernel.init, kernel.update):
        for part in _parts(function, set()):
            digest.update(part)
    for array in (starts, *density.data):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _parts(value: Any, seen: set[int]) -> Iterator[bytes]:
    """What a function does, as bytes: its code, and the values and functions that it uses.

    Not where it was written, so that moving it in a file or a notebook changes nothing.
    """
    if id(value) in seen:
        return
    if isinstance(value, types.CodeType):
        yield value.co_code
        yield repr(value.co_names).encode()
        for constant in value.co_consts:
            yield from _parts(constant, seen)
    elif isinstance(value, types.FunctionType):
        seen.add(id(value))
        yield from _parts(value.__code__, seen)
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        used = [value.__globals__.get(name) for name in value.__code__.co_names]
        helpers = [
            f
            for f in used
            if isinstance(f, types.FunctionType) and f.__module__ == value.__module__
        ]
        for part in (value.__defaults__, value.__kwdefaults__, *cells, *helpers):
            yield from _parts(part, seen)
    elif isinstance(value, np.ndarray | np.generic):
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _parts(part, seen)
    elif isinstance(value, Kernel):
        yield from _parts([value.name, value.settings, value.init, value.update], seen)
    elif isinstance(value, bool | int | float | str | bytes | dict | type(None)):
        yield repr(value).encode()
    else:
        yield f"{type(value).__module__}.{type(value).__qualname__}".encode()


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
        kernel, setting or version. The file is left as it is.
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
            f"checkpoint {path} belongs to another model, data, seed, kernel, setting or version; "
            "remove it or name another folder"
        )
    return arrays


def check_folder(folder: Path, chains: int) -> list[Path]:
    """Checkpoints of this run's chains in ``folder``.

    Raises
    ------
    ValueError
        If it holds checkpoints that this run would not read: it would start anew without a word.
    """
    ours = [checkpoint_path(folder, chain) for chain in range(chains)]
    others = sorted(set(folder.glob("*.npz")) - set(ours))
    if others:
        raise ValueError(
            f"checkpoint {folder} holds {others[0].name}, which belongs to another number of "
            "chains or another version; remove it or name another folder"
        )
    return [path for path in ours if path.exists()]
