"""Execute the chapters that changed, build the book, check it and print the run times.

The execution cache looks at a notebook's code only. What else a result depends on (the package,
the locked dependencies, the Python version, the data, the budget) is hashed here; when that hash
changes, the cache is dropped and every chapter runs again.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml
from jupyter_cache import get_cache

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
CACHE = BUILD / ".jupyter_cache"
KEY = BUILD / ".execution-key"


def execution_key() -> str:
    """Hash of everything outside the notebooks that their results depend on."""
    digest = hashlib.sha256()
    digest.update(f"{platform.python_version()} FAST={os.environ.get('BNNBOOK_FAST')}".encode())
    files = [*sorted((ROOT / "bnnbook").rglob("*.py")), ROOT / "requirements.lock"]
    data_dir = os.environ.get("BNNBOOK_DATA_DIR")
    if data_dir:
        files += sorted(path for path in Path(data_dir).rglob("*.gz") if path.is_file())
    for path in files:
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def pages(toc: dict) -> Iterator[str]:
    """Every page named in the table of contents, without its suffix."""
    for name, value in toc.items():
        if name in ("root", "file"):
            yield value
        elif isinstance(value, list):
            for entry in value:
                yield from pages(entry)


def print_run_times() -> None:
    """Table of the run time of every executed page."""
    records = sorted(get_cache(CACHE).list_cache_records(), key=lambda record: record.uri)
    print("\nrun time per executed page")
    for record in records:
        seconds = record.data.get("execution_seconds", float("nan"))
        print(f"  {Path(record.uri).stem:<24}{seconds:8.1f} s")


def main() -> int:
    """Build; return 0 only if every page is there and every check passed."""
    key = execution_key()
    stale = not KEY.is_file() or KEY.read_text() != key
    if stale:
        shutil.rmtree(CACHE, ignore_errors=True)
        KEY.unlink(missing_ok=True)
    jupyter_book = str(Path(sys.executable).with_name("jupyter-book"))
    command = [jupyter_book, "build", ".", "-W", "-n"]
    command += ["--keep-going", "--all"] if stale else ["--keep-going"]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        print("book: the build failed; the messages above say where", file=sys.stderr)
        return 1
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    missing = [p for p in pages(toc) if not (BUILD / "html" / f"{p}.html").is_file()]
    if missing:
        print(f"book: pages missing from the build: {', '.join(missing)}", file=sys.stderr)
        return 1
    KEY.write_text(key)
    tests = [sys.executable, "-m", "pytest", "-q", "tests/test_book.py", "tests/test_browser.py"]
    env = {**os.environ, "BNNBOOK_REQUIRE_BOOK": "1"}
    if subprocess.run(tests, cwd=ROOT, env=env, check=False).returncode:
        print("book: the built pages did not pass their checks", file=sys.stderr)
        return 1
    print_run_times()
    print(f"\nbook: open {(BUILD / 'html' / 'index.html').relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
