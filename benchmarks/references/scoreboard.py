"""Score approximations against the references: one row for each posterior and method."""

from __future__ import annotations

import json
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.linalg import LinAlgError

from benchmarks.references.make import build, data_of
from benchmarks.references.methods import METHODS
from benchmarks.references.posteriors import POSTERIORS
from bnnbook import datasets, diagnostics, inference

__all__ = ["TABLE", "main", "row", "table"]

PACKAGES = ("bnnbook", "pymc", "jax", "numpy")
TABLE = Path(__file__).parent / "scoreboard.csv"
FAILED = (ValueError, LinAlgError, inference.DivergedError)  # that a method may end in


def row(name: str, method: str, *, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """Fit one posterior by one method and score its functions."""
    posterior = POSTERIORS[name]
    data = data_of(posterior)
    known = datasets.reference(name)
    clock, cpu = time.perf_counter(), time.process_time()
    found: dict[str, Any] = {"posterior": name, "method": method}
    try:
        with warnings.catch_warnings():  # what they say is in the fit, and in the row
            warnings.simplefilter("ignore", inference.ConvergenceWarning)
            fit, functions = METHODS[method](
                build(posterior, data), list(posterior.outputs), data.X, seed, **changes
            )
        found |= diagnostics.against_reference(
            functions, known, log_evidence=_finite(fit.attrs.get("log_evidence"))
        )
        found["converged"] = fit.attrs["converged"]
        found["problems"] = " ".join(json.loads(fit.attrs["problems"]))
    except FAILED as error:
        found["problems"] = f"{type(error).__name__}: {error}"
    found["seconds"] = time.perf_counter() - clock
    found["cpu_seconds"] = time.process_time() - cpu
    found["seed"] = seed
    found["versions"] = "; ".join(f"{p} {version(p)}" for p in PACKAGES)
    return found


def table() -> pd.DataFrame:
    """The stored rows."""
    return pd.read_csv(TABLE) if TABLE.is_file() else pd.DataFrame(columns=["posterior", "method"])


def main(names: list[str], methods: list[str]) -> None:
    """Score methods on the posteriors that are named, row by row; each replaces its own."""
    for name in names:
        if name not in datasets.reference_names():
            print(f"{name}: no reference yet", flush=True)
            continue
        for method in methods:
            new = row(name, method)
            print(new, flush=True)
            old = table()
            others = old[(old["posterior"] != name) | (old["method"] != method)]
            write(pd.concat([others, pd.DataFrame([new])], ignore_index=True))


def write(rows: pd.DataFrame) -> None:
    """Rows in the order of the posteriors and the methods."""
    place = {key: i for i, key in enumerate([*POSTERIORS, *METHODS])}
    order = np.lexsort([rows[key].map(place) for key in ("method", "posterior")])
    rows.iloc[order].to_csv(TABLE, index=False, float_format="%.4g")


def _finite(value: Any) -> float | None:
    return value if value is not None and np.isfinite(value) else None
