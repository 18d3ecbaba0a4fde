"""A lecturer's page for each chapter, and a syllabus, from ``book/teaching.yml``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import yaml

from reader.markdown import Page
from reader.site import Book, glued

__all__ = ["lecture_page", "sections", "syllabus", "write_pages"]

GOALS = re.compile(r"\{admonition\} You will learn\n(?::.*\n)*((?:.+\n)+)")


def write_pages(root: Path, folder: Path) -> None:
    """Write one page a chapter, and ``syllabus.md``, to ``folder``."""
    told = yaml.safe_load((root / "book" / "teaching.yml").read_text(encoding="utf-8"))
    book = Book.read(root)
    for source in sorted((root / "book" / "chapters").glob("*.ipynb")):
        page = Page(book, f"book/chapters/{source.stem}", glued(root, source))
        text = lecture_page(page, nbformat.read(source, 4), told[source.stem])
        (folder / f"{source.stem}_lecture.md").write_text(text, encoding="utf-8")
    (folder / "syllabus.md").write_text(syllabus(told["syllabus"]), encoding="utf-8")


def sections(chapter: Any) -> list[str]:
    """Headings of a chapter's sections, in their order."""
    text = "\n".join(cell.source for cell in chapter.cells if cell.cell_type == "markdown")
    return re.findall(r"^## (.+)$", text, re.MULTILINE)


def lecture_page(page: Page, chapter: Any, told: dict[str, Any]) -> str:
    """Goals, minutes, misconceptions, questions and the board plan of one chapter."""
    first = chapter.cells[0].source
    title = re.search(r"^# (.+)$", first, re.MULTILINE)
    goals = GOALS.search(first)
    minutes = told["minutes"]
    rows = [f"| {name} | {minutes.get(name, 'at home')} |" for name in sections(chapter)]
    lines = [f"# Lecture notes: {title[1] if title else page.place}", "", "## Goals", ""]
    lines += [page.text(goals[1]) if goals else "", "", "## Minutes", ""]
    lines += [f"{sum(minutes.values())} in all.", "", "| section | minutes |", "|---|---|", *rows]
    for name, key, mark in (
        ("Common misconceptions", "misconceptions", "-"),
        ("To discuss", "questions", "-"),
        ("On the board", "board", "1."),
    ):
        lines += ["", f"## {name}", "", *(f"{mark} {entry}" for entry in told[key])]
    return "\n".join(lines) + "\n"


def syllabus(weeks: dict[int, list[str]]) -> str:
    """The course in so many weeks, one table each."""
    lines = ["# Syllabus", "", "One meeting of 90 minutes a week, and as long again at home."]
    for count, topics in weeks.items():
        lines += ["", f"## {count} weeks", "", "| week | what |", "|---|---|"]
        lines += [f"| {week} | {topic} |" for week, topic in enumerate(topics, start=1)]
    return "\n".join(lines) + "\n"
