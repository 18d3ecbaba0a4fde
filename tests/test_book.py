"""The book's sources, and the built pages where there are any."""

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from pybtex.database import parse_file

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_build" / "html"
NOTEBOOKS = sorted((ROOT / "book" / "chapters").glob("*.ipynb"))


def toc_pages(node):
    for key, value in node.items():
        if key in ("root", "file"):
            yield value
        elif isinstance(value, list):
            for entry in value:
                yield from toc_pages(entry)


PAGES = list(toc_pages(yaml.safe_load((ROOT / "_toc.yml").read_text())))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_comment_cuts_a_paragraph(path):
    """One at the head of a line ends the text above it, and shows what follows as it is written."""
    cells = json.loads(path.read_text())["cells"]
    text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    assert not re.findall(r"\S *\n {0,3}<!--.*|^ {0,3}<!--.*?--> *\S.*", text, re.MULTILINE)


@pytest.fixture(scope="session")
def html():
    if not (HTML / "index.html").is_file():
        if os.environ.get("BNNBOOK_REQUIRE_BOOK"):
            pytest.fail("the book has not been built")
        pytest.skip("the book has not been built; make book runs these tests after the build")
    return HTML


class Links(HTMLParser):
    """Resources a page loads, and anchors it links to."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.linked, self.ids, self.images = [], [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if "id" in attrs:
            self.ids.add(attrs["id"])
        if tag in ("script", "img", "iframe", "source", "audio", "video") and attrs.get("src"):
            self.loaded.append(attrs["src"])
        if tag == "link" and attrs.get("rel") not in ("canonical", "next", "prev", "search"):
            self.loaded.append(attrs.get("href", ""))
        if tag == "a" and attrs.get("href"):
            self.linked.append(attrs["href"])
        if tag == "img":
            self.images.append(attrs)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_clean(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            source = "".join(cell["source"])
            assert not cell["outputs"], f"cell {number} has outputs"
            assert "!pip" not in source
            assert "filterwarnings" not in source
            assert source.count("\n") <= 30, f"cell {number} is too long"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_figure_has_caption_name_and_alt_text(notebook):
    for cell in json.loads(notebook.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and "plt.subplots" in source and "plt.close" not in source:
            meta = cell["metadata"]["mystnb"]
            assert len(meta["image"]["alt"]) > 40
            assert meta["figure"]["caption"]
            assert meta["figure"]["name"].startswith("fig-")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_chapter_has_the_parts_of_the_template(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    for part in (
        "You will learn", "## Predict first", "## Setup", "## Data", "Prior predictive",
        "Where it fails", "## Takeaways", "## Exercises", "## References",
    ):  # fmt: skip
        assert part in text, part
    if notebook.stem[:2] in ("01", "02", "03", "04", "05"):  # those that mirror a tutorial
        assert "Changed from the source" in text
    exercises = re.findall(r"```\{exercise\}.*\n:label: (\S+)", text)
    solutions = re.findall(r"```\{solution-start\} (\S+)", text)
    assert len(exercises) >= 4
    assert exercises == solutions


def test_every_page_of_the_contents_exists():
    for page in PAGES:
        assert any((ROOT / f"{page}{suffix}").is_file() for suffix in (".md", ".ipynb")), page


def test_pages_are_built(html):
    for page in PAGES:
        assert (html / f"{page}.html").is_file(), page


def test_site_asks_nothing_of_another_host(html):
    for page in html.rglob("*.html"):
        for url in Links(page.read_text()).loaded:
            assert not urlsplit(url).netloc, f"{page.name} loads {url}"
    for sheet in html.rglob("*.css"):
        for url in re.findall(r"url\(['\"]?([^'\")]+)|@import ['\"]([^'\"]+)", sheet.read_text()):
            assert not urlsplit("".join(url)).netloc, f"{sheet.name} loads {url}"


def test_internal_links_lead_somewhere(html):
    ids = {}
    for name in PAGES:
        page = html / f"{name}.html"
        for link in Links(page.read_text()).linked:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.exists(), f"{name} links to {link}"
            if parts.fragment and target.suffix == ".html":
                if target not in ids:
                    ids[target] = Links(target.read_text()).ids
                assert unquote(parts.fragment) in ids[target], f"{name} links to {link}"


def test_no_built_page_shows_raw_markup(html):
    for name in PAGES:
        raw = re.findall(
            r"\{(?:glue|cite|term|ref|doc|numref)[\w:]*\}`.*", (html / f"{name}.html").read_text()
        )
        assert not raw, f"{name}: {raw[0][:80]}"


def test_every_built_image_has_alt_text(html):
    for name in PAGES:
        for image in Links((html / f"{name}.html").read_text()).images:
            assert image.get("alt", "").strip(), f"{name}: {image.get('src')}"


def test_every_work_cited_is_in_the_bibliography():
    works = parse_file(ROOT / "book" / "references.bib").entries
    sources = [*(ROOT / "book").rglob("*.md"), *NOTEBOOKS]
    cited = {
        key.strip()
        for source in sources
        for keys in re.findall(r"\{cite\}`([^`]+)`", source.read_text())
        for key in keys.split(",")
    }
    assert cited <= set(works)
    for key, work in works.items():
        assert {"title", "year"} <= set(work.fields), key
        assert work.persons.get("author"), key
