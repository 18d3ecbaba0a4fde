"""One chapter, cell by cell, as a notebook for readers."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell

from reader.markdown import Page
from reader.self_check import Statement, empty_cell, self_check, statements
from reader.site import Book, glued

__all__ = ["EDITIONS", "reader_copy", "write_edition"]

EDITIONS = ("lab", "student", "lecturer")
SOLUTION = re.compile(r"^(`{3,}|:{3,})\{solution-(?P<which>start|end)\}[ \t]*(?P<label>\S*)")
BUILD_ONLY = re.compile(r"\b(keep|claim)\(")
NOTE = (
    "> Your copy: change anything, the book itself stays as it is. <u>Underlined</u> numbers in "
    "the text are those of the book's last build; the cells compute yours."
)
OPEN = (
    "> Your copy: change anything, the book itself stays as it is. Numbers in the text read … "
    "until the book has been built with `make book`; the cells compute yours."
)


def write_edition(root: Path, folder: Path, edition: str) -> bool:
    """Write every chapter to ``folder``; return whether there was a build to take numbers from."""
    book = Book.read(root)
    chapters = root / "book" / "chapters"
    built = False
    for source in sorted(chapters.glob("*.ipynb")):
        values = glued(root, source)
        built |= bool(values)
        copy = reader_copy(book, source, values, edition)
        nbformat.write(copy, folder / source.name)
    tables = chapters / "data"
    if tables.is_dir():
        shutil.copytree(tables, folder / "data")
    support = chapters / "book_support.py"
    if support.is_file():
        shutil.copy(support, folder)
    return built


def reader_copy(book: Book, source: Path, values: dict[str, Any], edition: str) -> Any:
    """The notebook ``source`` in one of the ``EDITIONS``."""
    notebook = nbformat.read(source, 4)
    page = Page(book, f"book/chapters/{source.stem}", values)
    cells: list[Any] = []
    solution: list[Statement] | None = None
    before: list[Statement] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for kind, text in _pieces(cell.source):
                if kind == "start":
                    solution = []
                    cells += _solution_head(page, text, edition)
                elif kind == "end":
                    cells += _to_fill_in(solution or [], before) if edition == "student" else []
                    before += solution or []
                    solution = None
                elif solution is None or edition != "student":
                    cells += _text(page, text)
        elif cell.cell_type == "code" and solution is not None and edition == "student":
            solution += statements(cell.source, "hidden" if _hidden(cell) else "solution")
        elif cell.cell_type == "code":
            shown = _code(page, cell)
            cells += shown
            if edition == "student":
                before += statements(cell.source, "shown" if shown else "hidden")
    if cells:
        cells.insert(1, new_markdown_cell(NOTE if values else OPEN))
    for number, cell in enumerate(cells):
        cell["id"] = f"{source.stem[:2]}-{number}"
    copy = nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)
    nbformat.validate(copy)
    return copy


def _pieces(source: str) -> list[tuple[str, str]]:
    """A text cell cut at the marks of solutions: ("start", label), ("end", ""), ("text", ...)."""
    pieces, text, lines = [], [], source.split("\n")
    i = 0
    while i < len(lines):
        mark = SOLUTION.match(lines[i])
        if mark is None:
            text.append(lines[i])
            i += 1
            continue
        if "".join(text).strip():
            pieces.append(("text", "\n".join(text)))
        text = []
        pieces.append((mark["which"], mark["label"]))
        while i + 1 < len(lines) and lines[i].strip() != mark[1]:  # its options and its end
            i += 1
        i += 1
    if "".join(text).strip():
        pieces.append(("text", "\n".join(text)))
    return pieces


def _text(page: Page, source: str) -> list[Any]:
    page.pictures.clear()
    text = page.text(source)
    if not text.strip():
        return []
    cell = new_markdown_cell(text)
    if page.pictures:
        cell["attachments"] = {name: {"image/png": png} for name, png in page.pictures.items()}
    return [cell]


def _solution_head(page: Page, label: str, edition: str) -> list[Any]:
    if edition == "student":
        return []
    number = page.book.numbers.get(label, "the exercise")
    head = new_markdown_cell(f"##### Solution of {number}")
    if edition == "lab":
        head["metadata"]["jp-MarkdownHeadingCollapsed"] = True
    return [head]


def _to_fill_in(solution: list[Statement], before: list[Statement]) -> list[Any]:
    """An empty cell in the place of a solution, and the solution's asserts as its check."""
    check = self_check(solution, before)
    cells = [new_code_cell(empty_cell(solution, before))]
    return cells if check is None else [*cells, new_code_cell(check)]


def _hidden(cell: Any) -> bool:
    return "remove-cell" in cell.metadata.get("tags", [])


def _code(page: Page, cell: Any) -> list[Any]:
    """A code cell without outputs, and its figure's caption; nothing of the build's own."""
    tags = cell.metadata.get("tags", [])
    hidden = _hidden(cell)
    if hidden and ("book_support" not in cell.source or BUILD_ONLY.search(cell.source)):
        return []
    copy = new_code_cell(cell.source)
    if hidden or {"hide-input", "remove-input"} & set(tags):
        copy["metadata"]["jupyter"] = {"source_hidden": True}
    figure = cell.metadata.get("mystnb", {}).get("figure", {})
    if "caption" not in figure:
        return [copy]
    return [copy, new_markdown_cell(page.caption(figure["caption"], figure.get("name")))]
