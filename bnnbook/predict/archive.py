"""The archive that a saved predictor is: named members of bytes behind a checksum, no pickle."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["from_npy", "label_array", "plain_attributes", "read", "to_npy", "write"]

FORMAT = 2
START = b"bnnbook predictor "


def label_array(what: str, labels: Any) -> np.ndarray:
    """Labels as an array that needs no pickle: numbers, booleans, strings, bytes or dates.

    Raises ValueError for objects of other kinds; left out, they could not be compared when read.
    """
    array = np.asarray(labels)
    if array.dtype.kind != "O":
        return array
    values = array.tolist()
    for kind in (None, "datetime64"):
        with contextlib.suppress(TypeError, ValueError):
            found = np.array(values, dtype=kind)
            if found.dtype.kind != "O" and found.tolist() == values:
                return found
    odd = next((v for v in values if not isinstance(v, str)), values[0])
    raise ValueError(
        f"{what} must be numbers, strings or dates to be saved, got {type(odd).__name__} {odd!r}"
    )


def plain_attributes(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Attributes as JSON has them, or a TypeError that names the one that it cannot hold."""
    found = {}
    for key, value in attributes.items():
        plain = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
        try:
            json.dumps(plain)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"attribute {key!r} of the fit must be what JSON can hold to be saved, got "
                f"{type(value).__name__}: {error}"
            ) from error
        found[str(key)] = plain
    return found


def to_npy(array: np.ndarray) -> bytes:
    """An array as the content of an .npy file."""
    with io.BytesIO() as buffer:
        np.save(buffer, array, allow_pickle=False)
        return buffer.getvalue()


def from_npy(content: bytes) -> np.ndarray:
    """What :func:`to_npy` wrote."""
    return np.load(io.BytesIO(content), allow_pickle=False)


def write(path: Path, members: Mapping[str, bytes], check: Callable[[str], object]) -> None:
    """Write a file beside ``path``, ``check`` that it can be read, and put it in its place.

    First line: the format and the checksum of the rest, which is a zip archive.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path must be in a folder that exists, got {path}")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    body = buffer.getvalue()
    head = START + f"{FORMAT} {hashlib.sha256(body).hexdigest()}\n".encode()
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(head + body)
            file.flush()
            os.fsync(file.fileno())
        check(temporary)  # a file that cannot be read never replaces one that can
        Path(temporary).chmod(_mode(path))
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _mode(path: Path) -> int:
    """Who may read a file: as before, or as any new one; temporary ones are their owner's."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)  # it can be read by setting it only
    os.umask(mask)
    return 0o666 & ~mask


def read(path: Path) -> dict[str, bytes]:
    """The members of a file; ValueError if it is no such file, or was cut or altered."""
    content = path.read_bytes()
    head, _, body = content.partition(b"\n")
    parts = head[len(START) :].split(b" ")
    if not head.startswith(START) or len(parts) != 2:
        raise ValueError(f"{path} is not a file of predict.save, or its start was altered")
    if parts[0] != str(FORMAT).encode():
        raise ValueError(
            f"{path} is of an incompatible version: format {parts[0].decode(errors='replace')}, "
            f"and this bnnbook reads {FORMAT}"
        )
    if hashlib.sha256(body).hexdigest().encode() != parts[1]:
        raise ValueError(f"{path} was cut or altered: its checksum does not fit its content")
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
