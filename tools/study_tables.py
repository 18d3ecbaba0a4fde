"""What the studies behind the chapters share: which to run, and the tables that they write."""

from __future__ import annotations

import argparse
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

FOLDER = Path(__file__).resolve().parent.parent / "book" / "chapters" / "data"
PACKAGES = ("bnnbook", "jax", "pymc", "numpy")


def write(kind: str, name: str, rows: list[dict], seconds: float, folder: Path = FOLDER) -> Path:
    """The table, under a line that says what made it."""
    versions = ", ".join(f"{p} {version(p)}" for p in PACKAGES)
    path = folder / f"{kind}_{name}.csv"
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.write(
            f"# tools/study_{kind}.py {name}: {seconds:.0f} s on a shared machine; "
            f"Python {platform.python_version()}, {versions}\n"
        )
        pd.DataFrame(rows).to_csv(file, index=False, float_format="%.6g")
    return path


def stored(kind: str, name: str, folder: Path = FOLDER) -> tuple[list[dict], float]:
    """Rows and seconds of what an earlier run wrote; none if there is nothing."""
    path = folder / f"{kind}_{name}.csv"
    if not path.is_file():
        return [], 0.0
    seconds = re.search(r": (\d+) s on", path.read_text().split("\n", 1)[0])
    rows = pd.read_csv(path, comment="#").to_dict("records")
    return rows, float(seconds[1]) if seconds else 0.0


def run(
    kind: str,
    about: str,
    studies: Mapping[str, Callable[..., Iterator[dict]]],
    *data: Callable[[], Any],
    resume: bool = False,
) -> None:
    """Run the studies named on the command line, all by default, on what ``data`` gives.

    With ``resume`` a study is told the rows that are stored already (``done``), which are kept.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[[], *studies], help="all if none is named")
    names = parser.parse_args().names or list(studies)
    given = [load() for load in data]
    for name in names:
        rows, before = stored(kind, name) if resume else ([], 0.0)
        clock = time.perf_counter() - before
        for row in studies[name](*given, **({"done": list(rows)} if resume else {})):
            rows.append(row)
            print(name, row, flush=True)
            write(kind, name, rows, time.perf_counter() - clock)
