"""The table, the JSON file and the book's page of the benchmarks."""

from __future__ import annotations

import json
import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import psutil

from benchmarks.task import Task

__all__ = [
    "RESULTS", "described", "intro", "load", "machine", "markdown", "page", "save", "seconds",
    "versions", "write_page",
]  # fmt: skip

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results.json"
PAGE = ROOT / "book" / "performance.md"
FIGURE = ROOT / "book" / "_static" / "performance.png"
PACKAGES = (
    "bnnbook", "jax", "pymc", "pytensor", "numpy", "scipy", "blackjax", "optax", "numpyro",
    "nutpie", "pymc-extras",
)  # fmt: skip
BEGIN, END = "<!-- timings: written by a script -->", "<!-- end of timings -->"
NARROW = 70  # characters of an error that a table shows


def machine() -> dict[str, Any]:
    """The machine, and how busy it was with other work when asked."""
    names = re.findall(r"model name\s*: (.*)", cpu) if (cpu := _read("/proc/cpuinfo")) else []
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def versions() -> dict[str, str]:
    """What is installed of the packages that are compared."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def described(task: Task, *, quick: bool) -> dict[str, Any]:
    """A task's row before it is measured: what is done, when and where."""
    return {
        "name": task.name, "group": task.group, "what": task.what, "unit": task.unit,
        "goal": task.goal, "quick": quick, "machine": machine(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "versions": versions(),
    }  # fmt: skip


def load(path: Path = RESULTS) -> dict[str, Any]:
    """Stored rows by task; none if there is no file."""
    text = _read(path)
    return json.loads(text) if text else {"tasks": {}}


def save(task: dict[str, Any], path: Path = RESULTS) -> None:
    """Store a task's row; a quick one does not replace a full one."""
    stored = load(path)
    old = stored["tasks"].get(task["name"])
    if old and task["quick"] and not old["quick"]:
        return
    stored["tasks"][task["name"]] = task
    part = path.with_suffix(".part")
    part.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def markdown(tasks: list[dict[str, Any]]) -> list[str]:
    """One table row for each contestant of each task."""
    lines = [
        "| task | who | time / ours: median (min-max) | with compiling | for one unit "
        "| compiling | peak MB | quality |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for task in tasks:
        for i, one in enumerate(task["contestants"]):
            cells = [task["name"] if i == 0 else "", one["name"]]
            if one["error"] or not one["runs"]:
                why = (one["error"] or "not run").replace("|", "/")[:NARROW]
                cells += [f"failed: {why}", *[""] * 5]
            else:
                per = sorted(run["seconds"] / run["work"] for run in one["runs"])
                compiling = sorted(run["compile_seconds"] for run in one["runs"])
                quality = ", ".join(f"{k} {v:,.4g}" for k, v in one["quality"].items())
                cells += [
                    _ratio(one["ratio"]), _ratio(one["ratio_with_compiling"]),
                    f"{seconds(per[len(per) // 2])} / {task['unit']}",
                    seconds(compiling[len(compiling) // 2]), f"{one['peak_mb']:,.0f}", quality,
                ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def page(results: dict[str, Any], template: str) -> str:
    """The page with its tables as the stored rows have them."""
    tasks = list(results["tasks"].values())
    body = intro(tasks) + ([*markdown(tasks), "", *_goals(tasks)] if tasks else [])
    text = "\n".join([BEGIN, "", *body, "", END])
    return re.sub(f"{BEGIN}.*?{END}", lambda _: text, template, flags=re.DOTALL)


def write_page(results: dict[str, Any] | None = None) -> None:
    """Write the page and its figure from what is stored."""
    results = load() if results is None else results
    PAGE.write_text(page(results, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    draw(list(results["tasks"].values())).savefig(FIGURE, dpi=150)
    plt.close("all")


def draw(tasks: list[dict[str, Any]]) -> plt.Figure:
    """One line for each peer and task: its time by ours, least to largest, and the middle."""
    rows = [
        (f"{task['name']}: {one['name']}" + (" (quick)" if task["quick"] else ""), one)
        for task in tasks
        for one in task["contestants"]
        if one["ratio"]
    ]
    figure, ax = plt.subplots(figsize=(8, 1 + 0.3 * max(len(rows), 1)), layout="constrained")
    for shift, key, colour, label in (
        (-0.13, "ratio", "C0", "after compiling"),
        (0.13, "ratio_with_compiling", "C1", "with compiling"),
    ):
        for y, (_, one) in enumerate(rows):
            r = one[key]
            ax.plot([r["min"], r["max"]], [y + shift] * 2, color=colour, lw=2)
            ax.plot(r["median"], y + shift, "o", color=colour, ms=5, label=None if y else label)
    ax.axvline(1, color="0.4", lw=1)
    ax.set(xscale="log", xlabel="peer's time / our time for the same work (right of 1: slower)")
    ax.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=8)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(axis="x", which="both", alpha=0.2)
    if rows:
        ax.legend(loc="best", fontsize=8)
    return figure


def intro(tasks: list[dict[str, Any]]) -> list[str]:
    """When, where and how seriously the rows were measured."""
    if not tasks:
        return ["Nothing has been measured yet."]
    quick = [task["name"] for task in tasks if task["quick"]]
    lines = []
    if quick:
        which = "All rows are" if len(quick) == len(tasks) else f"{', '.join(quick)}: these are"
        lines += [
            f"**{which} from a quick run**, which does little work and repeats it little. It shows "
            "that they run; their ratios are no result, whatever the spread.",
            "",
        ]
    for place in dict.fromkeys(json.dumps([task["machine"] | {"load": 0}, task["versions"]])
                               for task in tasks):  # fmt: skip
        where, packages = json.loads(place)
        same = [t for t in tasks
                if [t["machine"] | {"load": 0}, t["versions"]] == [where, packages]]  # fmt: skip
        dates = sorted(t["date"] for t in same)
        loads = [t["machine"]["load"] for t in same]
        count = min(
            (len(c["runs"]) for t in same for c in t["contestants"] if c["runs"]), default=0
        )
        lines += [
            f"Measured {dates[0][:16]} to {dates[-1][:16]} in "
            f"{sum(t['seconds'] for t in same):,.0f} s on {where['processor']}, "
            f"{where['cores']} cores, {where['memory_gb']} GB, "
            f"{where['system']}, Python {where['python']}; load of the machine before a row "
            f"{min(loads)} to {max(loads)}; at least {count} {'run' if count == 1 else 'runs'} "
            "of each that count. "
            + ", ".join(f"{k} {v}" for k, v in packages.items()) + ".",
            "",
        ]  # fmt: skip
    return lines


def _goals(tasks: list[dict[str, Any]]) -> list[str]:
    lines = ["| task | what is timed | unit | goal |", "|---|---|---|---|"]
    return lines + [f"| {t['name']} | {t['what']} | {t['unit']} | {t['goal']} |" for t in tasks]


def _ratio(r: dict[str, float] | None) -> str:
    return f"{r['median']:.2f} ({r['min']:.2f}-{r['max']:.2f})" if r else ""


def seconds(value: float) -> str:
    """A time with its unit."""
    for size, name in ((1, "s"), (1e-3, "ms")):
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value / 1e-6:.3g} us"


def _read(path: Path | str) -> str | None:
    path = Path(path)
    return path.read_text(encoding="utf-8") if path.is_file() else None
