"""Execute the chapters that changed, build the book, check it and print the run times.

The execution cache looks at a notebook's code only. What else a result depends on (the package,
the locked dependencies, the Python version, the data, the budget) is hashed here; when that hash
changes, the cache is dropped and every chapter runs again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import chain, zip_longest
from pathlib import Path

import nbformat
import yaml
from jupyter_cache import get_cache
from jupyter_cache.executors import load_executor
from myst_nb.core.read import is_myst_markdown_notebook
from reader.notebook import write_edition

from bnnbook.datasets.idx_files import data_folder

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
CACHE = BUILD / ".jupyter_cache"
CACHED = BUILD / ".cached-key"  # what the cached results were made with
BUILT = BUILD / ".built-key"  # what the last good build was made with
CHECKED = BUILD / ".checked-key"  # the pages that last passed their checks
CHECKS = ("tests/test_book.py", "tests/test_browser.py")
TIMEOUT = 1800  # seconds a cell may take
LINK = re.compile(r"\[([^\]]+)\]\(\.\./html/([^)]*)\)")  # in a copy, to a page of the book
MARKDOWN = {"name": "myst_nb_md", "type": "plugin"}  # reads a page of text with cells of code


def code_key() -> str:
    """Hash of the package, the stored tables, the locked dependencies, the Python version
    and the budget.
    """
    files = [
        *sorted((ROOT / "bnnbook").rglob("*.py")),
        *sorted((ROOT / "book").rglob("*.py")),
        *sorted((ROOT / "book" / "chapters" / "data").glob("*.csv")),
        ROOT / "requirements.lock",
    ]
    return _hash(files, f"{platform.python_version()} FAST={os.environ.get('BNNBOOK_FAST')}")


def data_key() -> str:
    """Hash of the image files, wherever the chapters will find them."""
    return _hash(sorted(path for path in data_folder().rglob("*.gz") if path.is_file()))


def _hash(files: list[Path], start: str = "") -> str:
    digest = hashlib.sha256(start.encode())
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


def execute_chapters(toc: dict) -> None:
    """Execute what is not in the cache, one chapter on each core.

    A chapter that fails here is executed once more by the build, which tells what went wrong.
    """
    cache = get_cache(CACHE)
    listed = list(pages(toc))
    chapters = [page for page in listed if (ROOT / f"{page}.ipynb").is_file()]
    texts = [page for page in listed if page not in chapters]
    # pages are handed out in pairs: two chapters in one would leave a core idle at the end
    for page in filter(None, chain(*zip_longest(chapters, texts))):
        notebook, text = ROOT / f"{page}.ipynb", ROOT / f"{page}.md"
        if notebook.is_file():
            cache.add_nb_to_project(str(notebook))
        elif text.is_file() and is_myst_markdown_notebook(text.read_text(encoding="utf-8")):
            cache.add_nb_to_project(str(text), read_data=MARKDOWN)
    # several kernels at once leave each the one core that it has, also for products of matrices
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    logging.basicConfig(level=logging.INFO, format="book: %(message)s")
    executor = load_executor("local-parallel", cache, logger=logging.getLogger("book"))
    result = executor.run_and_cache(timeout=TIMEOUT)
    for uri in (*result.excepted, *result.errored):
        print(f"book: {Path(uri).stem} failed, and is executed again for its message")


def serve_reader_copies() -> None:
    """Let the download button of each chapter give its copy for readers.

    Links to other pages are to where the book is published, or plain text where it is not.
    """
    settings = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    base = (settings["html"].get("baseurl") or "").rstrip("/")
    with tempfile.TemporaryDirectory() as folder:
        write_edition(ROOT, Path(folder), "lab")
        for copy in Path(folder).glob("*.ipynb"):
            notebook = nbformat.read(copy, 4)
            for cell in notebook.cells:
                if cell.cell_type == "markdown":
                    shown = rf"[\1]({base}/\2)" if base else r"\1"
                    cell.source = LINK.sub(shown, cell.source)
            nbformat.write(notebook, BUILD / "html" / "_sources" / "book" / "chapters" / copy.name)


def print_run_times() -> None:
    """Table of the run time of every executed page, of its last execution."""
    records = sorted(get_cache(CACHE).list_cache_records(), key=lambda record: record.pk)
    latest = {record.uri: record for record in records}  # the cache keeps earlier versions too
    print("\nrun time per executed page")
    for _, record in sorted(latest.items()):
        seconds = record.data.get("execution_seconds", float("nan"))
        print(f"  {Path(record.uri).stem:<24}{seconds:8.1f} s")


def _read(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None


def main() -> int:
    """Build; return 0 only if every page is there and every check passed."""
    code = code_key()
    key = f"{code} {data_key()}"
    if _read(CACHED) != key:
        shutil.rmtree(CACHE, ignore_errors=True)
    BUILD.mkdir(exist_ok=True)
    CACHED.write_text(key)
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    execute_chapters(toc)
    jupyter_book = str(Path(sys.executable).with_name("jupyter-book"))
    command = [jupyter_book, "build", ".", "-W", "-n", "--keep-going"]
    # after a failure too: pages that failed are not read again unless they change
    command += [] if _read(BUILT) == key else ["--all"]
    BUILT.unlink(missing_ok=True)
    failed = subprocess.run(command, cwd=ROOT, check=False).returncode
    key = f"{code} {data_key()}"  # a chapter may have fetched its data
    CACHED.write_text(key)
    if failed:
        print("book: the build failed; the messages above say where", file=sys.stderr)
        return 1
    serve_reader_copies()
    missing = [p for p in pages(toc) if not (BUILD / "html" / f"{p}.html").is_file()]
    if missing:
        print(f"book: pages missing from the build: {', '.join(missing)}", file=sys.stderr)
        return 1
    site = sorted(path for path in (BUILD / "html").rglob("*") if path.is_file())
    pages_key = _hash([*site, *(ROOT / name for name in CHECKS)])
    if _read(CHECKED) == pages_key:
        print("book: no page has changed since all passed their checks")
    else:
        tests = [sys.executable, "-m", "pytest", "-q", "-n", "2", *CHECKS]
        env = {**os.environ, "BNNBOOK_REQUIRE_BOOK": "1"}
        if subprocess.run(tests, cwd=ROOT, env=env, check=False).returncode:
            print("book: the built pages did not pass their checks", file=sys.stderr)
            return 1
        CHECKED.write_text(pages_key)
    BUILT.write_text(key)
    print_run_times()
    print(f"\nbook: open {(BUILD / 'html' / 'index.html').relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
