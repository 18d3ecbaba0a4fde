"""What the study of the methods' calibration found, as a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

__all__ = ["LEVELS", "PLACES", "TABLE", "lines", "ranks", "summary"]

TABLE = Path(__file__).resolve().parents[2] / "book" / "chapters" / "data" / "calibration_ranks.csv"
PLACES = ("data", "gap", "beyond")
LEVELS = (0.9, 0.5)  # of the central intervals whose coverage is counted
FALSE_ALARM = 0.05  # that any of all counts of a calibrated method is marked


def ranks() -> pd.DataFrame:
    """The stored ranks."""
    return pd.read_csv(TABLE, comment="#")


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Coverage of the central intervals, by method and place, with their verdicts.

    A coverage is off if an exact binomial test says so, and ranks are not uniform if that of
    Kolmogorov and Smirnov does, each at the level that Bonferroni's rule leaves it.
    """
    methods = list(dict.fromkeys(rows["method"]))
    level = FALSE_ALARM / (3 * len(methods) * len(PLACES))
    found = []
    for method in methods:
        own = rows[rows["method"] == method]
        for place in PLACES:
            u = own[f"u_{place}"].dropna().to_numpy()
            row = {"method": method, "place": place, "n": len(u), "failed": len(own) - len(u)}
            for share in LEVELS:
                inside = int((np.abs(u - 0.5) < share / 2).sum())
                row[f"{share:.0%}"] = inside / len(u)
                row[f"{share:.0%} off"] = stats.binomtest(inside, len(u), share).pvalue < level
            found.append(row | {"not_uniform": stats.kstest(u, "uniform").pvalue < level})
    return pd.DataFrame(found)


def lines() -> list[str]:
    """The table of the page: per cent covered, bold where the method is not calibrated."""
    found = summary(ranks())
    head = ["method", "runs", *(f"{level:.0%}, {place}" for level in LEVELS for place in PLACES)]
    text = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for method, own in found.groupby("method", sort=False):
        cells = [method, str(own["n"].min())]
        for level in (f"{share:.0%}" for share in LEVELS):
            for _, row in own.iterrows():
                wrong = row[f"{level} off"] or row["not_uniform"]
                covered = f"{100 * row[level]:.0f}"
                cells.append(f"**{covered}**" if wrong else covered)
        text.append(f"| {' | '.join(cells)} |")
    return text
