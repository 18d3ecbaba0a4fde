"""Run the chapters at full budget with other seeds and write down which claims hold.

    python tools/run_claims.py --seeds 3 [chapter ...]

Every chapter's one seed is moved (``BNNBOOK_SEED_SHIFT``), and every ``claim`` of its cells is
recorded instead of raised. Two chapters run at a time where there are two cores. A run that is done
is kept in ``_build/claims`` until the chapter or the package changes, so what was interrupted goes
on. The table, ``book/claims.csv``, has one row for each claim with the day of the run and what it
was judged by under each seed. Chapters that are not named keep their rows. The status page has a
summary.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import hashlib
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import nbformat
from build_book import code_key
from nbclient import NotebookClient
from prose import Chapter

from benchmarks.references.page import filled

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = ROOT / "book" / "chapters"
STATUS = ROOT / "book" / "status.md"
TABLE = ROOT / "book" / "claims.csv"
KEPT = ROOT / "_build" / "claims"


def kept_at(path: Path, shift: int) -> Path:
    """Where the claims of one run are kept, for as long as chapter and package stay as they are."""
    key = hashlib.sha256(path.read_bytes() + code_key().encode()).hexdigest()
    return KEPT / f"{path.stem}-{shift}-{key[:16]}.jsonl"


def run(path: Path, shift: int, done: Path) -> str:
    """Execute one chapter with its seed moved, unless that was done; what to say of it.

    The claims are kept in ``done``, named before the first run: files may change while they run.
    """
    clock = time.perf_counter()
    if not done.is_file():
        KEPT.mkdir(parents=True, exist_ok=True)
        record = done.with_suffix(f".{os.getpid()}")
        notebook = nbformat.read(path, as_version=4)
        client = NotebookClient(
            notebook, timeout=3600, resources={"metadata": {"path": path.parent}}
        )
        try:
            client.execute(
                env=os.environ | {"BNNBOOK_SEED_SHIFT": str(shift), "BNNBOOK_CLAIMS": str(record)}
            )
            record.replace(done)
        finally:
            record.unlink(missing_ok=True)
    records = read(done)
    failed = [r["claim"] for r in records if not r["holds"]]
    return (
        f"{path.stem}, seed {shift + 1}: {len(records)} claims in "
        f"{time.perf_counter() - clock:.0f} s, {len(failed)} do not hold {failed or ''}"
    )


def read(done: Path) -> list[dict]:
    """The claims of a run that is done, in the order of the cells."""
    return [json.loads(line) for line in done.read_text().splitlines()]


def rows(chapter: str, runs: list[Path]) -> list[list[str]]:
    """One row for each claim of a chapter: what it was judged by and whether it held."""
    found: dict[str, list[str]] = {}
    for shift, done in enumerate(runs):
        for record in read(done):
            values = ", ".join(f"{value:.4g}" for value in record["values"])
            verdict = values or "holds"
            found.setdefault(record["claim"], [""] * len(runs))[shift] = (
                verdict if record["holds"] else f"FAILS {values}".strip()
            )
    day = datetime.date.fromtimestamp(runs[0].stat().st_mtime).isoformat()
    return [[chapter, name, day, *cells] for name, cells in found.items()]


def status() -> str:
    """The status page with the summary of the stored table, and of claims that it lacks."""
    table = stored()
    lines = ["| chapter | claims | tried with seeds | do not hold | on |", "|---|---|---|---|---|"]
    for path in sorted(CHAPTERS.glob("*.ipynb")):
        asserted = set(Chapter(path).asserted())
        if not asserted:
            continue
        tried = [row for row in table.get(path.stem, []) if row[1] in asserted]
        seeds = str(min(sum(map(bool, row[3:])) for row in tried)) if tried else "none yet"
        if tried and len(tried) < len(asserted):
            seeds += f" ({len(asserted) - len(tried)} claims are newer)"
        failed = ", ".join(f"`{row[1]}`" for row in tried if "FAILS" in " ".join(row[3:]))
        day = max((row[2] for row in tried), default="")
        lines.append(f"| {path.stem} | {len(asserted)} | {seeds} | {failed or '–'} | {day} |")
    return filled(STATUS, {"claims": lines})


def main() -> int:
    """Run, write the table, and return 0 only if every claim holds under every seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="parts of the chapters' names; all by default")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    if options.seeds < 1:
        parser.error(f"--seeds must be at least 1, got {options.seeds}")
    paths = [
        path
        for path in sorted(CHAPTERS.glob("*.ipynb"))
        if Chapter(path).asserted()
        and (not options.chapters or any(part in path.stem for part in options.chapters))
    ]
    if not paths:
        parser.error(f"no chapter with claims is called {options.chapters}")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # one core for each kernel
        os.environ.setdefault(name, "1")
    kept = {path: [kept_at(path, shift) for shift in range(options.seeds)] for path in paths}
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        runs = [
            pool.submit(run, path, shift, kept[path][shift])
            for shift in range(options.seeds)
            for path in paths
        ]
        for done in as_completed(runs):
            print(done.result(), flush=True)
    table = stored() | {path.stem: rows(path.stem, done) for path, done in kept.items()}
    _write(table)
    STATUS.write_text(status(), encoding="utf-8")
    failed = [row[:2] for chapter in table.values() for row in chapter if "FAILS" in " ".join(row)]
    for chapter, name in failed:
        print(f"claims: {name} of {chapter} does not hold under every seed", file=sys.stderr)
    print(f"claims: wrote {TABLE.relative_to(ROOT)}")
    return 1 if failed else 0


def stored() -> dict[str, list[list[str]]]:
    """Rows of the table by chapter: chapter, claim, day, and a verdict a seed."""
    table: dict[str, list[list[str]]] = {}
    if TABLE.is_file():
        with TABLE.open(newline="") as file:
            for row in list(csv.reader(file))[1:]:
                table.setdefault(row[0], []).append(row)
    return table


def _write(table: dict[str, list[list[str]]]) -> None:
    seeds = max(len(row) for chapter in table.values() for row in chapter) - 3
    with TABLE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["chapter", "claim", "run", *(f"seed {i + 1}" for i in range(seeds))])
        for chapter in sorted(table):
            writer.writerows(table[chapter])


if __name__ == "__main__":
    sys.exit(main())
