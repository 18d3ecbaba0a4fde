"""Compare settings on a fifth of the training rows of split 0; no test row is looked at.

usage: python -m benchmarks.tables.settings
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.tables.run import unit
from bnnbook import inference

__all__ = ["SETTINGS", "TABLE", "TABLES", "compare"]

TABLE = Path(__file__).parent / "settings.csv"
TABLES = ("yacht", "concrete")
KEPT = ["table", "method", "setting", "rmse", "nll", "crps", "converged", "rhat", "problems",
        "cpu_seconds", "versions"]  # fmt: skip
NOISE: dict[str, dict[str, Any]] = {
    "one noise sd": {"model": {"heteroskedastic": False}},
    "noise sd of x": {"model": {"heteroskedastic": True}},
}
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "one network (MAP)": NOISE,
    "ensemble of 5": NOISE,
    "mean-field ADVI": NOISE,
    "SWAG": {f"learning rate {rate:g}": {"learning_rate": rate} for rate in (0.01, 1e-3, 1e-4)},
    "dropout": {f"rate {rate:g}": {"rate": rate} for rate in (0.1, 0.05, 0.02, 0.005)},
    "SGLD, preconditioned": {
        f"step size {step:g}": {"kernel": inference.sgld(step, preconditioner="rms")}
        for step in (1e-4, 1e-5, 1e-6)
    },
}


def compare() -> None:
    """Run all settings and store their scores."""
    rows = []
    for method, settings in SETTINGS.items():
        for name in TABLES:
            for setting, arguments in settings.items():
                row = unit(name, "validation", method, **arguments) | {"setting": setting}
                rows.append(row)
                print({key: row.get(key) for key in KEPT[:-1]}, flush=True)
                pd.DataFrame(rows).reindex(columns=KEPT).to_csv(
                    TABLE, index=False, float_format="%.4g"
                )


if __name__ == "__main__":
    compare()
