"""Readers' copies: no markup of the build is left, and what it said is still there."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from reader.markdown import Page
from reader.notebook import EDITIONS, reader_copy
from reader.site import Book, Link, Picture

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "book" / "chapters").glob("*.ipynb"))
RAW = re.compile(r"^(`{3,}|:{3,})\{|\{[\w:-]+\}`|^:[\w-]+:\s|^\([\w-]+\)=|<!--", re.MULTILINE)


@pytest.fixture(scope="module")
def book():
    full = Book.read(ROOT)
    return Book(
        ROOT,
        labels={"fig-a": Link("A figure", "book/chapters/01.html#fig-a"),
                "a-section": Link("A section", "book/chapters/01.html#a-section")},
        terms={"elbo": Link("ELBO", "book/glossary.html#term-ELBO")},
        pages={"book/bibliography": Link("Bibliography", "book/bibliography.html"),
               "book/glossary": Link("Glossary", "book/glossary.html")},
        numbers={"fig-a": "Fig. 1.2", "ex-a": "Exercise 1.1"},
        works=full.works,
    )  # fmt: skip


@pytest.fixture
def page(book):
    return Page(book, "book/chapters/01", {"acc": 0.9612, "hero": Picture("UE5H"), "word": "yes"})


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{glue:text}`acc:.1%` right", "<u>96.1%</u> right"),
        ("{glue:text}`word`", "<u>yes</u>"),
        ("{glue:text}`missing:.2f`", "<u>…</u>"),
        ("the {term}`ELBO`", "the [ELBO](../html/book/glossary.html#term-ELBO)"),
        ("the {term}`bound <ELBO>`", "the [bound](../html/book/glossary.html#term-ELBO)"),
        ("{numref}`fig-a`", "[Fig. 1.2](../html/book/chapters/01.html#fig-a)"),
        ("{ref}`a-section`", "[A section](../html/book/chapters/01.html#a-section)"),
        ("{ref}`so <a-section>`", "[so](../html/book/chapters/01.html#a-section)"),
        ("{doc}`../glossary`", "[Glossary](../html/book/glossary.html)"),
        ("(a-label)=\n## Title", "## Title"),
        ("True. <!-- claim: x -->", "True."),
        ("```python\nx = '{term}'\n```", "```python\nx = '{term}'\n```"),
        ("```{math}\nx^2\n```", "$$\nx^2\n$$"),
        ("```{admonition} Stop\n:class: tip\nRead {term}`ELBO`.\n```",
         "> **Stop**\n>\n> Read [ELBO](../html/book/glossary.html#term-ELBO)."),
        ("```{note}\nOne.\n\nTwo.\n```", "> **Note**\n>\n> One.\n>\n> Two."),
        ("```{exercise} Why? (easy)\n:label: ex-a\nSay why.\n```",
         "#### Exercise 1.1: Why? (easy)\n\nSay why."),
        ("```{glue:figure} hero\n:name: fig-a\n:alt: A map.\nThe caption.\n```",
         "![A map.](attachment:hero.png)\n\n**Fig. 1.2.** The caption."),
    ],
)  # fmt: skip
def test_markdown(page, source, expected):
    assert page.text(source) == expected


def test_citations_have_names_and_years(page):
    key = next(k for k, e in page.book.works.items() if len(e.persons["author"]) == 1)
    person = page.book.works[key].persons["author"][0]
    text = page.text(f"{{cite}}`{key}`")
    assert person.last_names[-1] in text
    assert page.book.works[key].fields["year"] in text
    assert text.endswith("(../html/book/bibliography.html))")


@pytest.mark.parametrize("edition", EDITIONS)
@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda p: p.stem)
def test_no_markup_is_left(book, source, edition):
    copy = reader_copy(book, source, {}, edition)
    for cell in copy.cells:
        if cell.cell_type == "markdown":
            assert not RAW.search(cell.source), cell.source
        else:
            assert not cell.outputs
    text = "\n".join(cell.source for cell in copy.cells)
    titles = re.findall(r"\{exercise\} (.+)", source.read_text().replace("\\n", "\n"))
    for title in titles:
        assert json.loads(f'"{title.rstrip(chr(34) + ",")}"') in text
    solutions = [c for c in copy.cells if c.source.startswith("##### Solution")]
    folded = [c for c in solutions if c.metadata.get("jp-MarkdownHeadingCollapsed")]
    assert len(solutions) == (0 if edition == "student" else len(titles))
    assert len(folded) == (len(titles) if edition == "lab" else 0)
    if edition == "student":
        assert sum(c.source.startswith("# your solution") for c in copy.cells) == len(titles)


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda p: p.stem)
def test_text_and_code_in_view_are_kept(book, source):
    copy = reader_copy(book, source, {}, "lab")
    code = [c.source for c in copy.cells if c.cell_type == "code"]
    original = nbformat.read(source, 4)
    for cell in original.cells:
        if cell.cell_type == "code" and "remove-cell" not in cell.metadata.get("tags", []):
            assert cell.source in code
        if cell.cell_type == "markdown":
            for heading in re.findall(r"^#+ .+$", cell.source, re.MULTILINE):
                assert any(heading in c.source for c in copy.cells)


def test_the_command_writes_copies_and_touches_nothing_tracked(tmp_path):
    before = {p: p.read_bytes() for p in NOTEBOOKS}
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "reader", "lab"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert {p.name for p in (ROOT / "_build" / "lab").glob("*.ipynb")} == {
        p.name for p in NOTEBOOKS
    }
    assert all(p.read_bytes() == content for p, content in before.items())
    wrong = subprocess.run(
        [sys.executable, ROOT / "tools" / "reader", "poster"], capture_output=True, text=True
    )
    assert wrong.returncode == 2
    assert "lab, student, lecturer" in wrong.stderr
