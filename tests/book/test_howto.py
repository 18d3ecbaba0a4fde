"""How-to pages: each is in the contents and has a title to search for; make book runs them all."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "book" / "howto").glob("*.md"))
CELL = re.compile(
    r"^```\{code-cell\} ipython3\n((?::[^\n]*\n)*)(.*?)^```$", re.MULTILINE | re.DOTALL
)


def cells(page):
    return [(options, code.strip()) for options, code in CELL.findall(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_page_can_be_read(page):
    text = page.read_text()
    assert text.startswith("---\nfile_format: mystnb\n")
    assert len(re.findall(r"^# .+", CELL.sub("", text), re.MULTILINE)) == 1
    assert len(cells(page)) == text.count("```{code-cell}") >= 2
    assert any("remove-cell" in options for options, _ in cells(page))
    wide = [line for _, code in cells(page) for line in code.splitlines() if len(line) > 76]
    assert not wide


def test_every_page_is_in_the_contents_and_on_the_landing_page():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    listed = [c["file"] for part in toc["parts"] for c in part["chapters"]]
    index = (ROOT / "book" / "index.md").read_text()
    for page in PAGES:
        assert f"book/howto/{page.stem}" in listed
        assert f"howto/{page.stem}" in index
