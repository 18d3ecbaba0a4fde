"""MNIST's file format (IDX, LeCun et al. 1998), and its files fetched, checked and kept whole."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import uuid
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
import requests

__all__ = ["FASHION_MNIST", "MNIST", "DataUnavailableError", "Source", "fetch", "read_idx"]


class DataUnavailableError(OSError):
    """A data file is neither on this machine nor to be had from any mirror."""


@dataclass(frozen=True)
class Source:
    """Files by name with their SHA-256, kept in ``folder``, from mirrors tried in turn."""

    name: str
    folder: str
    mirrors: tuple[str, ...]
    files: dict[str, str]


MNIST = Source(
    "MNIST",
    "mnist",
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    {
        "train-images-idx3-ubyte.gz": (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
        ),
        "train-labels-idx1-ubyte.gz": (
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
        ),
        "t10k-images-idx3-ubyte.gz": (
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
        ),
    },
)
FASHION_MNIST = Source(
    "Fashion-MNIST",
    "fashion-mnist",
    (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    {
        "train-images-idx3-ubyte.gz": (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
        ),
        "train-labels-idx1-ubyte.gz": (
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
        ),
        "t10k-images-idx3-ubyte.gz": (
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
        ),
    },
)


def data_folder(data_dir: str | Path | None = None) -> Path:
    """``data_dir``, else the variable ``BNNBOOK_DATA_DIR``, else the user's cache folder."""
    return Path(data_dir or os.environ.get("BNNBOOK_DATA_DIR") or pooch.os_cache("bnnbook"))


def fetch(source: Source, data_dir: str | Path | None = None) -> dict[str, Path]:
    """Paths of a source's files, each with the right checksum, downloaded where missing.

    Parameters
    ----------
    source : Source
    data_dir : path, optional
        Holds (or will hold) ``mnist/*.gz`` and ``fashion-mnist/*.gz``. By default the environment
        variable ``BNNBOOK_DATA_DIR``, else the user's cache folder. May be read-only if the files
        are there.

    Raises
    ------
    DataUnavailableError
        If a file is missing or damaged and cannot be downloaded: says what failed at each mirror,
        and the two ways out.
    """
    root = data_folder(data_dir)
    folder = root / source.folder
    return {name: _fetch_file(source, name, folder) for name in source.files}


def _fetch_file(source: Source, name: str, folder: Path) -> Path:
    path, expected = folder / name, source.files[name]
    reasons = []
    if path.is_file():
        if hashlib.sha256(path.read_bytes()).hexdigest() == expected:
            return path
        reasons.append(_set_aside(path))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"no permission to write in {folder}")
    except OSError as error:
        raise _unavailable(source, path, [*reasons, str(error)]) from error
    for mirror in source.mirrors:
        # a name of its own and one move at the end: two processes may do this at once
        part = f"{name}.{uuid.uuid4().hex}.part"
        try:
            pooch.retrieve(mirror + name, f"sha256:{expected}", fname=part, path=folder)
            (folder / part).replace(path)
        except (requests.RequestException, ValueError, OSError) as error:
            reasons.append(f"{mirror}: {_first_line(error)}")
        else:
            return path
        finally:
            (folder / part).unlink(missing_ok=True)
    raise _unavailable(source, path, reasons)


def _set_aside(path: Path) -> str:
    """Rename a damaged file, so that it is neither used nor lost; say so."""
    aside = path.with_name(f"{path.name}.damaged-{uuid.uuid4().hex[:8]}")
    try:
        path.rename(aside)
        message = f"{path} is damaged (wrong SHA-256); kept aside as {aside.name}"
    except OSError:
        message = f"{path} is damaged (wrong SHA-256) and was not used"
    warnings.warn(message, UserWarning, stacklevel=5)
    return message


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]


def _unavailable(source: Source, path: Path, reasons: list[str]) -> DataUnavailableError:
    return DataUnavailableError(
        f"{source.name}: could not get {path.name}\n  "
        + "\n  ".join(reasons)
        + "\nEither connect to the network and try again, or put the files "
        f"({', '.join(source.files)}) in a folder {source.folder}/ and name its parent in "
        "BNNBOOK_DATA_DIR. datasets.digits() and datasets.diabetes() need no download."
    )


def read_idx(path: Path) -> np.ndarray:
    """Array of unsigned bytes from a gzipped IDX file.

    Raises
    ------
    ValueError
        If the file is not gzip, is truncated, has the wrong magic number or the wrong length;
        names the file.
    """
    try:
        with gzip.open(path, "rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} is truncated or not gzip: {error}") from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08" or content[3] not in (1, 3):
        raise ValueError(
            f"{path} must start with the IDX magic number 00 00 08 and 01 or 03 axes, "
            f"got {content[:4].hex(' ')}"
        )
    axes = content[3]
    shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    if values.size != np.prod(shape):
        raise ValueError(f"{path} must hold {shape} bytes, got {values.size}")
    return values.reshape(shape)
