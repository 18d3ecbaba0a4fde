"""Fit and score one split of one table by one method, and keep what is done."""

from __future__ import annotations

import fcntl
import json
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.linalg import LinAlgError

from benchmarks.tables.methods import METHODS, network
from bnnbook import datasets, diagnostics, inference, metrics
from bnnbook.datasets import Dataset

__all__ = ["GAPS", "STANDARD", "TABLE", "rows_to_do", "run", "table", "unit"]

TABLE = Path(__file__).parent / "results.csv"
PACKAGES = ("bnnbook", "pymc", "jax", "numpy")
OUTPUTS = ["mu", "sigma"]
KEYS = ["table", "split", "method"]
FAILED = (ValueError, LinAlgError, inference.DivergedError)  # that a method may end in
STANDARD = {
    "yacht": 20, "energy": 20, "concrete": 20, "wine-quality-red": 20, "airfoil": 1,
    "power-plant": 20, "kin8nm": 20,
}  # fmt: skip
"""Tables and how many of their splits are in use."""
GAPS = {"yacht": 6, "energy": 8, "concrete": 8}
"""Tables with gap splits, and the number of their inputs, each of which is cut once."""

STANDARDISED = ("airfoil",)
"""Tables whose published scores are of targets in units of the training rows' sd."""


def cut(name: str, split: str) -> Dataset:
    """A split by its name; ``"validation"`` holds a fifth of split 0's training rows out."""
    if split != "validation":
        return datasets.uci(name, split if split.startswith("gap") else int(split))
    data = datasets.uci(name, 0)
    order = np.random.default_rng(0).permutation(len(data.y_train))
    out, rest = np.split(order, [len(order) // 5])
    return Dataset(
        data.X_train[rest], data.y_train[rest], data.X_train[out], data.y_train[out],
        name=f"{name}, {split}", description=data.description,
    )  # fmt: skip


def scores(y: np.ndarray, functions: xr.Dataset) -> dict[str, float]:
    """Scores in the table's units, of the equal mixture of the draws' normals."""
    mu, sigma = functions["mu"], functions["sigma"]
    found = {
        "rmse": metrics.rmse(y, mu),
        "nll": metrics.gaussian_mixture_nll(y, mu, sigma),
        "crps": metrics.crps(y, mu, sigma),
    }
    for level in (0.9, 0.95):
        lower, upper = metrics.predictive_interval(mu, sigma, level=level)
        found[f"coverage_{level:.0%}"] = metrics.coverage(y, lower, upper)
        found[f"width_{level:.0%}"] = metrics.interval_width(lower, upper)
    return found


def unit(
    name: str, split: str, method: str, *, seed: int = 0, model: dict[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:  # fmt: skip
    """One row: scores on the held-out rows, diagnostics, seconds, versions.

    ``model`` and ``changes`` are to how the model is written and to the method's arguments.
    """
    entry, data = METHODS[method], cut(name, split)
    found: dict[str, Any] = dict(zip(KEYS, (name, split, method), strict=True))
    clock, cpu = time.perf_counter(), time.process_time()
    try:
        with warnings.catch_warnings():  # what they say is in the fit, and in the row
            warnings.simplefilter("ignore", inference.ConvergenceWarning)
            fit, functions = entry.run(
                network(data, **entry.model | (model or {})), OUTPUTS, data.X_test, seed, **changes
            )
        one = data.y_train.std() if name in STANDARDISED else 1.0
        found |= scores(data.y_test / one, functions / one)
        if entry.chains:
            summary = diagnostics.function_space(functions["mu"])
            found |= {"rhat": summary.attrs["max_rhat"], "ess": summary.attrs["min_ess_bulk"]}
        found["converged"] = fit.attrs["converged"]
        found["problems"] = " ".join(json.loads(fit.attrs["problems"]))
    except FAILED as error:
        found["problems"] = f"{type(error).__name__}: {error}"
    found |= {
        "seconds": time.perf_counter() - clock,
        "cpu_seconds": time.process_time() - cpu,
        "seed": seed,
        "versions": "; ".join(f"{p} {version(p)}" for p in PACKAGES),
    }
    return found


def table() -> pd.DataFrame:
    """The stored rows."""
    if not TABLE.is_file():
        return pd.DataFrame(columns=KEYS)
    rows = pd.read_csv(TABLE, dtype={"split": str})
    return rows.assign(**{key: np.nan for key in ("rhat", "ess") if key not in rows})


def rows_to_do(names: list[str], methods: list[str], splits: int | None) -> list[tuple]:
    """Units that are not stored yet, table by table, then method by method."""
    done = set(table()[KEYS].itertuples(index=False, name=None))
    wanted = []
    for name in names:
        base, _, gap = name.partition(":")
        every = [f"gap:{k}" for k in range(GAPS[base])] if gap else map(str, range(STANDARD[base]))
        own = list(every)[:splits]
        wanted += [(base, split, method) for method in methods for split in own]
    return [key for key in wanted if key not in done]


def run(names: list[str], methods: list[str], splits: int | None = None) -> None:
    """Run what is missing; each row is written as soon as it is done."""
    todo = rows_to_do(names, methods, splits)
    for number, key in enumerate(todo, start=1):
        row = unit(*key)
        shown = {k: v for k, v in row.items() if k not in ("versions", "seed")}
        print(f"{number} of {len(todo)}:", json.dumps(shown, default=float), flush=True)
        append(row)


def append(row: dict[str, Any]) -> None:
    """Add a row to the stored ones; other processes may do so at the same time."""
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = pd.concat([table(), pd.DataFrame([row])], ignore_index=True)
        rows = rows.drop_duplicates(KEYS, keep="last")
        place = {m: i for i, m in enumerate([*STANDARD, *METHODS])}
        order = np.lexsort([
            rows["split"].str.removeprefix("gap:").astype(int), rows["method"].map(place),
            rows["split"].str.startswith("gap"), rows["table"].map(place),
        ])  # fmt: skip
        rows.iloc[order].to_csv(TABLE, index=False, float_format="%.5g")
