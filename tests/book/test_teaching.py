"""Lecture notes: every chapter has them, and they name its sections."""

from pathlib import Path

import nbformat
import pytest
import yaml
from reader.markdown import Page
from reader.site import Book
from reader.teaching import lecture_page, sections, syllabus

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "book" / "chapters").glob("*.ipynb"))
TOLD = yaml.safe_load((ROOT / "book" / "teaching.yml").read_text())


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_chapters_notes_fit_the_chapter(source):
    chapter, told = nbformat.read(source, 4), TOLD[source.stem]
    found = sections(chapter)
    assert set(told["minutes"]) <= set(found), set(told["minutes"]) - set(found)
    assert 75 <= sum(told["minutes"].values()) <= 150
    assert min(len(told[key]) for key in ("misconceptions", "questions", "board")) >= 3
    page = lecture_page(Page(Book(ROOT), f"book/chapters/{source.stem}", {}), chapter, told)
    goals = page.split("## Goals")[1].split("## Minutes")[0]
    assert goals.count("\n- ") >= 4
    assert "{term}" not in page
    for name in found:
        assert f"| {name} | {told['minutes'].get(name, 'at home')} |" in page


def test_the_syllabus_has_as_many_weeks_as_it_says():
    assert list(TOLD["syllabus"]) == [6, 10, 14]
    text = syllabus(TOLD["syllabus"])
    for weeks, topics in TOLD["syllabus"].items():
        assert len(topics) == weeks
        assert f"## {weeks} weeks" in text
        chapters = " ".join(topics)
        assert all(f"Chapter {k}" in chapters for k in (0, 1, 3, 4, 5))
