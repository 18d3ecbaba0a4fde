"""Measure how cost grows (``make bench ONLY=growth``), draw it, and write it into the book's page.

Each point has a process of its own, the points of a series one after the other. With ``QUICK=1``
the smallest size of each series is run, to see that it does, for three minutes at most; nothing is
stored of that.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from benchmarks import report
from benchmarks.tasks.growth import SERIES, Series, write_rows
from benchmarks.timing import measure

__all__ = ["GROWTH", "draw", "main", "section", "slope", "write_page"]

GROWTH = report.ROOT / "benchmarks" / "growth.json"
FIGURE = report.ROOT / "book" / "_static" / "growth.png"
BEGIN, END = "<!-- growth: written by a script -->", "<!-- end of growth -->"
LIMIT = 240.0  # seconds a point may take
QUICK_SECONDS, QUICK_LIMIT = 140.0, 30.0  # after which no series is begun; that a point may take
LARGE = 3  # points through which a slope is fitted: at the small ones the fixed part shows
AXES = {
    "rows": "rows of data", "weights": "weights", "chains": "chains", "draws": "draws",
    "points": "points predicted", "groups": "groups",
}  # fmt: skip
MARKERS = "osv^"
COLUMNS = (
    ("seconds", "time a step or call (s)"),
    ("peak_mb", "peak memory (MB)"),
)
PICTURE = """```{figure} _static/growth.png
:name: fig-growth
:alt: Two columns of panels on logarithmic axes, a line of them for each of rows, weights, chains, \
draws, predicted points and groups; on the left time a step or call against that number, on the \
right peak memory; a curve for each way of computing, with its fitted slope in the legend

Time (left) and peak memory above what the imports hold (right) against what grows (top to bottom).
In the legends: fitted slopes of the logarithms, 0 where cost does not grow and 1 where it grows in
proportion.
```"""


def main(*, quick: bool) -> int:
    """Measure every series; print, store and show it."""
    begin, rows = time.perf_counter(), []
    for series in SERIES:
        if quick and time.perf_counter() - begin > QUICK_SECONDS:
            print(f"bench: no time was left for {series.axis}: {series.name}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measured(series, Path(folder), quick=quick))
        lines = table(rows)
        print("\n".join(lines[-1:] if len(rows) > 1 else lines), flush=True)
        if not quick:
            report.save(rows[-1], GROWTH)
            write_page()
    where = "a quick run, not stored" if quick else f"stored in {GROWTH.name}"
    print(f"bench: {time.perf_counter() - begin:,.0f} s; {where}")
    return 0


def measured(series: Series, folder: Path, *, quick: bool) -> dict[str, Any]:
    """One series as it is stored: its points are its contestants."""
    task = series.task(folder, quick=quick)
    sizes = series.sizes[: len(task.contestants())]
    if series.on_disk:
        for size in sizes:
            write_rows(size, folder)
    row = report.described(task, quick=quick) | {"axis": series.axis}
    clock = time.perf_counter()
    points = measure(task, repeats=1, quick=quick, limit=QUICK_LIMIT if quick else LIMIT)
    for point, size in zip(points, sizes, strict=True):
        point["name"] = f"{size:,}"
        if point["error"]:
            print(f"bench: {series.name}, {size:,} {series.axis}: {point['error']}", flush=True)
    return row | {"contestants": points, "seconds": time.perf_counter() - clock}


def curve(row: dict[str, Any], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Sizes of a series and what the points that ran cost, "seconds" for one unit or "peak_mb"."""
    points = [one for one in row["contestants"] if one["runs"]]
    sizes = np.array([one["quality"]["size"] for one in points])
    if key == "seconds":
        costs = [one["runs"][0]["seconds"] / one["runs"][0]["work"] for one in points]
    else:
        costs = [max(one[key], 0.1) for one in points]  # a logarithm is taken
    return sizes, np.array(costs)


def slope(sizes: Sequence[float] | np.ndarray, costs: Sequence[float] | np.ndarray) -> float:
    """Slope of log cost on log size by least squares over the largest sizes; NaN of one point."""
    order = np.argsort(sizes)[-LARGE:]
    if len(order) < 2:
        return float("nan")
    return float(
        np.polyfit(np.log(np.asarray(sizes)[order]), np.log(np.asarray(costs)[order]), 1)[0]
    )


def sloped(sizes: np.ndarray, costs: np.ndarray) -> str:
    """The slope as it is shown."""
    return f"{slope(sizes, costs):z.2f}" if len(sizes) > 1 else "one size"


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each series: cost at its smallest and largest size, and the slopes."""
    lines = [
        "| what grows | what is run | time, smallest to largest | slope | peak MB above imports "
        "| slope | set-up at the largest |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        sizes, seconds = curve(row, "seconds")
        if not len(sizes):
            lines.append(f"| {row['axis']} | {row['name']} | failed |  |  |  |  |")
            continue
        _, peak = curve(row, "peak_mb")
        last = next(one for one in reversed(row["contestants"]) if one["runs"])
        cells = [
            f"{row['axis']}, {sizes[0]:,.0f} to {sizes[-1]:,.0f}", row["name"],
            f"{report.seconds(seconds[0])} to {report.seconds(seconds[-1])} a {row['unit']}",
            sloped(sizes, seconds), f"{peak[0]:,.0f} to {peak[-1]:,.0f}",
            sloped(sizes, peak), report.seconds(last["quality"]["before"]),
        ]  # fmt: skip
        failed = [one["name"] for one in row["contestants"] if one["error"]]
        cells[1] += f" (failed at {', '.join(failed)})" if failed else ""
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def out_of_core(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What was resident at most with the most rows on disk, imports included."""
    lines = []
    for row in rows:
        if "on disk" not in row["name"]:
            continue
        points = [one for one in row["contestants"] if one["runs"]]
        if len(points) < 2:
            continue
        last, other = points[-1], points[-2]
        more = last["quality"]["size"] - other["quality"]["size"]
        each = (last["peak_mb"] - other["peak_mb"]) * 2**20 / more
        lines.append(
            f"- {row['name']}: with {last['name']} rows of three numbers in files, at most "
            f"{last['quality']['resident_mb']:,.0f} MB were resident, imports included, and a "
            f"further row took {each:,.0f} bytes."
        )
    return lines


def section(stored: dict[str, Any], template: str) -> str:
    """The page with its section as the stored rows have it."""
    rows = list(stored["tasks"].values())
    body = ["Not measured yet: `make bench ONLY=growth` does it."]
    if rows:
        body = [*report.intro(rows), PICTURE, "", *table(rows), "", *out_of_core(rows)]
    text = "\n".join([BEGIN, "", *body, "", END])
    return re.sub(f"{BEGIN}.*?{END}", lambda _: text, template, flags=re.DOTALL)


def write_page() -> None:
    """Write the section and its figure from what is stored."""
    stored = report.load(GROWTH)
    rows = list(stored["tasks"].values())
    if rows:
        draw(rows).savefig(FIGURE, dpi=150)
        plt.close("all")
    text = report.PAGE.read_text(encoding="utf-8")
    report.PAGE.write_text(section(stored, text), encoding="utf-8")


def draw(rows: Sequence[dict[str, Any]]) -> plt.Figure:
    """Time and memory against each thing that grows, log-log, slopes in the legends."""
    axes_there = [axis for axis in AXES if any(row["axis"] == axis for row in rows)]
    figure, panels = plt.subplots(
        len(axes_there), 2, figsize=(9, 2.9 * len(axes_there)), squeeze=False, layout="constrained"
    )
    for line, axis in zip(panels, axes_there, strict=True):
        for panel, (key, label) in zip(line, COLUMNS, strict=True):
            for number, row in enumerate(r for r in rows if r["axis"] == axis):
                sizes, costs = curve(row, key)
                if not len(sizes):  # all failed, as the table says
                    continue
                panel.plot(
                    sizes, costs, marker=MARKERS[number], color=f"C{number}", ms=5, lw=1.5,
                    label=f"{row['name']}: {sloped(sizes, costs)}",
                )  # fmt: skip
            panel.set(xscale="log", yscale="log", xlabel=AXES[axis])
            panel.set_ylabel(label)
            panel.grid(which="major", alpha=0.25)
            if not panel.lines:
                continue
            low, high = panel.get_ylim()  # with room for the legend, and what is flat looks flat
            panel.set_ylim(low / 3, max(high, 10 * low) * 10)
            panel.legend(fontsize=9, loc="upper left")
    return figure
