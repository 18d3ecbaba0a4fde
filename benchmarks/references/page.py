"""Write the tables of the book's page on references from what is stored."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from benchmarks.references.methods import ABOUT, METHODS
from benchmarks.references.posteriors import POSTERIORS
from benchmarks.references.scoreboard import table
from bnnbook import datasets

__all__ = ["PAGE", "filled", "text", "write"]

PAGE = Path(__file__).resolve().parents[2] / "book" / "references.md"
SECOND = "*second exact sampler*"


def text() -> str:
    """The page with its tables as they have to be."""
    parts = {"references": references(), "scoreboard": scoreboard(), "methods": methods()}
    return filled(PAGE, parts)


def filled(page: Path, parts: Mapping[str, list[str]]) -> str:
    """Text of a page with the lines of each part between the marks of that name."""
    found = page.read_text(encoding="utf-8")
    for name, lines in parts.items():
        begin, end = f"<!-- {name}: written by a script -->", f"<!-- end of {name} -->"
        found = re.sub(
            f"{begin}.*?{end}",
            lambda _, b=begin, e=end, body=lines: "\n".join([b, "", *body, "", e]),
            found,
            flags=re.DOTALL,
        )
    return found


def write() -> None:
    """Write the page."""
    PAGE.write_text(text(), encoding="utf-8")


def references() -> list[str]:
    """One row for each reference: what it is, both samplers, and whether they agree."""
    lines = [
        "| name | posterior | sampler | R-hat | ESS, bulk / tail | divergences | processor s | "
        "converged | both agree |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in known():
        record = datasets.reference(name).record
        for i, sampler in enumerate(record["samplers"]):
            first = i == 0
            agrees = "yes" if record["confirmed"] else "**no**"
            cells = [
                f"`{name}`" if first else "",
                record["description"] if first else "",
                f"`{sampler['function']}`",
                f"{sampler['rhat']:.4f}",
                f"{sampler['ess_bulk']:,.0f} / {sampler['ess_tail']:,.0f}",
                f"{sampler['divergences']} of {sampler['draws']:,}",
                f"{sampler['cpu_seconds']:,.0f}",
                "yes" if sampler["converged"] else "**no**",
                agrees if first else "",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def scoreboard() -> list[str]:
    """A table for each reference."""
    rows = table()
    lines: list[str] = []
    for name in known():
        record = datasets.reference(name).record
        own = rows[rows["posterior"] == name].set_index("method")
        if own.empty:
            continue
        scored = [key for key in own if own[key].notna().any()]
        columns = columns_for("p" in record["outputs"], scored)
        lines += [f"### `{name}`", "", f"| method | {' | '.join(columns)} | processor s | |"]
        lines.append("|---|" + "---|" * (len(columns) + 2))
        exact = pd.Series(record["second_scores"])
        seconds = record["samplers"][1]["cpu_seconds"]
        lines.append(line(SECOND, exact, columns, seconds, ""))
        for method in METHODS:
            if method in own.index:
                scores = own.loc[method]
                remark = "" if scores["converged"] == 1 else "!"
                remark = "failed" if pd.isna(scores["wasserstein"]) else remark
                lines.append(line(method, scores, columns, scores["cpu_seconds"], remark))
        lines.append("")
    return lines


def methods() -> list[str]:
    """What each method assumes and gives, and its scores summed up over the posteriors."""
    rows = table()
    exact = [datasets.reference(name).record for name in known()]
    lines = [
        "| method | assumes | gives | Wasserstein / sd, median (least–most) | bias of sd, median | "
        "processor s, median | said that it had not converged |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, (assumes, gives) in ABOUT.items():
        own = rows[rows["method"] == method]
        scores = {key: own[key] for key in ("wasserstein_sds", "sd_bias", "cpu_seconds")}
        remark = f"{int((own['converged'] != 1).sum())} of {len(own)}"
        lines.append(summed(method, assumes, gives, scores, remark))
    second = {key: pd.Series([r["second_scores"][key] for r in exact]) for key in
              ("wasserstein_sds", "sd_bias")}  # fmt: skip
    second["cpu_seconds"] = pd.Series([r["samplers"][1]["cpu_seconds"] for r in exact])
    unsure = sum(not r["samplers"][1]["converged"] for r in exact)
    remark = f"{unsure} of {len(exact)}"
    lines.append(summed(SECOND, "time", "the posterior, where R-hat says so", second, remark))
    return lines


def summed(
    method: str, assumes: str, gives: str, scores: Mapping[str, pd.Series], remark: str
) -> str:
    """One row of the table of methods."""
    distance = scores["wasserstein_sds"].dropna()
    cells = [
        method, assumes, gives,
        f"{number(distance.median())} ({number(distance.min())}–{number(distance.max())})",
        number(scores["sd_bias"].median()), f"{scores['cpu_seconds'].median():,.0f}", remark,
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def known() -> list[str]:
    """Stored references in the order of the script."""
    return [name for name in POSTERIORS if name in datasets.reference_names()]


def columns_for(classes: bool, scored: Sequence[str]) -> dict[str, str]:
    """Headings and the scores below them, those of gaps and of the evidence where there are any."""
    columns = {"agreement": "agreement", "total variation": "total_variation"} if classes else {}
    columns |= {
        "Wasserstein / sd": "wasserstein_sds",
        "error of sd": "sd_error",
        "bias of sd": "sd_bias",
    }
    more = {"bias of sd in gaps": "sd_bias_gap", "error of log evidence": "log_evidence_error"}
    return columns | {heading: key for heading, key in more.items() if key in scored}


def line(
    method: str, scores: pd.Series, columns: dict[str, str], seconds: float, remark: str
) -> str:
    """One row of a table."""
    cells = [number(scores.get(key)) for key in columns.values()]
    return f"| {method} | {' | '.join(cells)} | {seconds:,.0f} | {remark} |"


def number(value: float | None) -> str:
    """Two digits after the point, three of a small number."""
    if value is None or pd.isna(value):
        return ""
    return f"{value:.3f}" if abs(value) < 0.1 else f"{value:.2f}"
