"""Write the tables of the book's page from what is stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.references.page import filled
from benchmarks.tables import calibration
from benchmarks.tables.methods import METHODS
from benchmarks.tables.run import GAPS, STANDARD, table

__all__ = ["PAGE", "PUBLISHED", "goals", "means", "text", "write"]

PAGE = Path(__file__).resolve().parents[2] / "book" / "tables.md"
PUBLISHED = Path(__file__).parent / "published.csv"
SOURCES = {
    "lakshminarayanan2017simple": "{cite}`lakshminarayanan2017simple`",
    "gal2016dropout": "authors' repository",
    "nnuncert": "nnuncert",
    "bde": "bde",
}
GOALS = ("yacht", "energy", "concrete", "wine-quality-red")
HEAD = ["method", "runs", "RMSE", "NLL", "CRPS"]


def text() -> str:
    """The page with its tables as they have to be."""
    rows = table()
    return filled(PAGE, {
        "goals": goal_lines(rows),
        "standard": sections(rows, gap=False),
        "gaps": sections(rows, gap=True),
        "costs": costs(rows),
        "calibration": calibration.lines(),
    })  # fmt: skip


def write() -> None:
    """Write the page."""
    PAGE.write_text(text(), encoding="utf-8")


def means(rows: pd.DataFrame, name: str, *, gap: bool) -> pd.DataFrame:
    """Mean and standard error over the splits of one table, by method.

    A method that failed on a split has no mean: its splits are counted in ``failed``.
    """
    own = rows[(rows["table"] == name) & (rows["split"].str.startswith("gap") == gap)]
    found = []
    for method in METHODS:
        part = own[own["method"] == method]
        if part.empty:
            continue
        row = {"method": method, "n": len(part), "failed": int(part["nll"].isna().sum())}
        row["unconverged"] = int((part["converged"] == 0).sum())
        for key in scores(gap):
            values = part[key].to_numpy()
            row[key] = values.mean()
            row[f"{key}_error"] = (
                values.std(ddof=1) / np.sqrt(len(values)) if len(part) > 1 else np.nan
            )
        row["rhat"], row["ess"] = part["rhat"].max(), part["ess"].min()
        row["cpu_seconds"] = part["cpu_seconds"].median()
        found.append(row)
    return pd.DataFrame(found)


def scores(gap: bool) -> list[str]:
    """Columns in the order of the table."""
    level = "95%" if gap else "90%"
    return ["rmse", "nll", "crps", f"coverage_{level}", f"width_{level}"]


def published(name: str, *, gap: bool) -> pd.DataFrame:
    """Published rows of one table."""
    rows = pd.read_csv(PUBLISHED)
    return rows[(rows["table"] == name) & (rows["splits"] == ("gap" if gap else "standard"))]


def sections(rows: pd.DataFrame, *, gap: bool) -> list[str]:
    """One section a table."""
    level = "95 %" if gap else "90 %"
    lines: list[str] = []
    for name in GAPS if gap else STANDARD:
        own = means(rows, name, gap=gap)
        if own.empty:
            continue
        title = f"{name}, gap splits" if gap else name
        head = [*HEAD, f"% in {level}", "width", "R-hat, ESS"]
        if own["ess"].isna().all():  # no method that samples
            head.pop()
        lines += [f"### {title}", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        for _, row in own.iterrows():
            lines.append(line(own_cells(row, gap=gap)[: len(head)]))
        for _, row in published(name, gap=gap).iterrows():
            lines.append(line(published_cells(row, gap=gap)[: len(head)]))
        lines.append("")
    return lines


def own_cells(row: pd.Series, *, gap: bool) -> list[str]:
    """A row of ours."""
    left = f" ({row['unconverged']:.0f})" if row["unconverged"] else ""
    if row["failed"]:
        return [row["method"], f"{row['n']:.0f}{left}", f"failed on {row['failed']}", *[""] * 5]
    cells = [row["method"], f"{row['n']:.0f}{left}"]
    cells += [with_error(row[key], row[f"{key}_error"]) for key in scores(gap)[:2]]
    cells += [number(row["crps"]), f"{100 * row[scores(gap)[3]]:.0f}", number(row[scores(gap)[4]])]
    return [*cells, "" if np.isnan(row["ess"]) else f"{rhat(row['rhat'])}, {row['ess']:,.0f}"]


def published_cells(row: pd.Series, *, gap: bool) -> list[str]:
    """A published row, in italics; coverage and width are of 95 %, and stand where ours are."""
    cells = [f"*{row['method']}*, {SOURCES[row['source']]}", f"{row['n']}"]
    cells += [with_error(row[key], row[f"{key}_error"]) for key in ("rmse", "nll")]
    cells.append(number(row["crps"]))
    both = gap and not np.isnan(row["coverage_95%"])
    cells += [f"{100 * row['coverage_95%']:.0f}", number(row["width_95%"])] if both else ["", ""]
    return [*cells, ""]


def goals(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each table the best NLL of ours and the best that is published."""
    found = []
    wanted = [(name, False) for name in GOALS] + [(name, True) for name in GAPS]
    for name, gap in [*wanted, ("airfoil", False)]:
        ours, theirs = means(rows, name, gap=gap), published(name, gap=gap)
        if ours.empty or ours["nll"].isna().all():
            continue
        mine, other = ours.loc[ours["nll"].idxmin()], theirs.loc[theirs["nll"].idxmin()]
        found.append({
            "table": f"{name}, gap splits" if gap else name,
            "ours": mine["method"], "nll": mine["nll"], "nll_error": mine["nll_error"],
            "unconverged": f"{mine['unconverged']} of {mine['n']}",
            "published": other["method"], "nll_published": other["nll"],
            "met": bool(mine["nll"] < other["nll"]),
        })  # fmt: skip
    return pd.DataFrame(found)


def goal_lines(rows: pd.DataFrame) -> list[str]:
    """The goals as a table."""
    lines = [
        "| table | ours, best | NLL | runs not converged | published, best | NLL | lower |",
        "|---" * 7 + "|",
    ]
    for _, row in goals(rows).iterrows():
        cells = [
            row["table"], row["ours"], with_error(row["nll"], row["nll_error"]), row["unconverged"],
            row["published"], number(row["nll_published"]), "yes" if row["met"] else "**no**",
        ]  # fmt: skip
        lines.append(line(cells))
    return lines


def costs(rows: pd.DataFrame) -> list[str]:
    """Processor seconds of a split, by method and table."""
    names = [name for name in STANDARD if (rows["table"] == name).any()]
    lines = [f"| method | {' | '.join(names)} |", "|---" * (1 + len(names)) + "|"]
    by_name = {name: means(rows, name, gap=False) for name in names}
    for method in METHODS:
        cells = []
        for found in by_name.values():
            own = found[found["method"] == method] if len(found) else found
            cells.append(f"{own['cpu_seconds'].iloc[0]:.0f}" if len(own) else "")
        if any(cells):
            lines.append(line([method, *cells]))
    return lines


def line(cells: list[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def with_error(value: float, error: float) -> str:
    """A number with its standard error."""
    return (
        number(value)
        if np.isnan(error)
        else f"{number(value)}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{number(error)}"
    )


def rhat(value: float) -> str:
    """Two digits; bold where it fails."""
    return f"{value:.2f}" if value <= 1.01 else f"**{value:.2f}**"


def number(value: float) -> str:
    """Three digits at most, none of them lost."""
    if np.isnan(value):
        return ""
    return (
        f"{value:,.0f}"
        if abs(value) >= 100
        else f"{value:.1f}"
        if abs(value) >= 10
        else f"{value:.2f}"
    )
