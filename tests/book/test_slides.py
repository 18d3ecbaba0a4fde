"""Slides and print: what is on a deck, and pages bound with their numbers, links and bookmarks."""

import re
import shutil
from pathlib import Path

import nbformat
import pydata_sphinx_theme
import pytest
import slides
import sphinx_book_theme
from playwright.sync_api import sync_playwright
from reader.site import Book

STYLES = "theme/{0}/static/styles/{1}"
THEMES = (
    (pydata_sphinx_theme, STYLES.format("pydata_sphinx_theme", "pydata-sphinx-theme.css")),
    (sphinx_book_theme, STYLES.format("sphinx_book_theme", "sphinx-book-theme.css")),
)

TEXT = """(a-label)=
## A heading

A paragraph that is spoken, not shown.

$$
x^2 < 3
$$

- one
- two $a_1$

```{admonition} Before you run anything
:class: question
Guess.
```

### Another

More words.
"""


def test_of_a_text_the_points_are_shown():
    found = slides.points(TEXT)
    assert "spoken" not in found
    assert "More words" not in found
    for part in ("## A heading", "x^2 < 3", "- one\n- two", "Guess.", "### Another"):
        assert part in found


def test_a_folded_answer_has_a_slide_of_its_own():
    text = "````{admonition} The answer\n:class: dropdown\nIt is 3.\n````"
    assert slides.points(text) == f"## The answer\n\n{text}"


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("so $a_1 < b_2$.", r"\(a_1 &lt; b_2\)"),
        ("$$\nx_i\n$$", "\\[\nx_i\n\\]"),
        ("costs \\$5 and **more**", "<strong>more</strong>"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "<td>2</td>"),
    ],
)
def test_mathematics_is_left_to_mathjax(markdown, expected):
    assert expected in slides.to_html(markdown)


def test_tagged_cells_are_on_the_deck_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr(slides, "ROOT", tmp_path)
    figure = nbformat.v4.new_output("display_data", data={"image/png": "UE5H\n"})
    about = {"figure": {"caption": "The caption.", "name": "fig-a"}, "image": {"alt": "A line."}}
    shown = {"tags": ["slide", "hide-input"], "mystnb": about}
    cells = [
        nbformat.v4.new_markdown_cell("# Title\n\n- point", metadata={"tags": ["slide"]}),
        nbformat.v4.new_markdown_cell("## Section\n\n- left out"),
        nbformat.v4.new_code_cell("draw()", outputs=[figure], metadata=shown),
        nbformat.v4.new_code_cell("draw()", outputs=[figure], metadata={"mystnb": about}),
    ]
    run = nbformat.v4.new_notebook(cells=cells)
    first, second = slides.slides(Book(tmp_path), tmp_path / "01_name.ipynb", run)
    assert "<h1>Title</h1>" in first
    assert "<li>point</li>" in first
    assert "<h2>Section</h2>" in second
    assert '<img alt="A line." src="data:image/png;base64,UE5H">' in second
    assert "The caption." in second


def test_scripts_stand_beside_the_decks_and_no_deck_asks_another_host(tmp_path):
    pytest.importorskip("sphinx_revealjs")
    slides.put_scripts(tmp_path)
    deck = slides.SHELL.format(title="T", slides="<section>S</section>")
    for name in re.findall(r'(?:src|href)="([^"]+)"', deck):
        assert (tmp_path / name).is_file(), name
    assert "://" not in deck


def test_pages_are_bound_in_order(tmp_path, monkeypatch):
    pypdf = pytest.importorskip("pypdf")
    import print_book

    if not any(map(shutil.which, print_book.NAMES)):
        pytest.skip("no Chromium on the path")
    site = tmp_path / "_build" / "html"
    monkeypatch.setattr(print_book, "ROOT", tmp_path)
    monkeypatch.setattr(print_book, "HTML", site)
    (site / "book").mkdir(parents=True)
    (tmp_path / "_toc.yml").write_text(
        "root: book/index\nparts:\n- caption: Part\n  chapters:\n  - file: book/one\n"
    )
    page = (
        "<article><h1>{}<a class='headerlink'>#</a></h1>{}<p style='break-before:page'>e</article>"
    )
    other = f"<a href='{(site / 'book' / 'one.html').as_uri()}'>there</a>"
    folded = "<details open><summary>Solution</summary>SECRET</details>"
    (site / "book" / "index.html").write_text(page.format("Start", other))
    (site / "book" / "one.html").write_text(page.format("First", folded))
    assert print_book.main([]) == 0
    made = pypdf.PdfReader(tmp_path / "_build" / "bnnbook.pdf")
    texts = [sheet.extract_text() for sheet in made.pages]
    assert len(texts) == 5
    assert "Start" in texts[1]
    assert "First" in texts[3]
    assert "SECRET" not in "".join(texts)
    assert [text.split()[-1] for text in texts] == ["1", "2", "3", "4", "5"]
    assert re.search(r"Start\s*2", texts[0])
    assert re.search(r"First\s*4", texts[0])
    assert [item.title for item in made.outline] == ["Contents", "Start", "First"]
    (link,) = made.pages[1]["/Annots"]
    where = link.get_object()["/A"]["/D"][0].get_object()
    assert made.get_page_number(where) == 3


def test_print_keeps_text_on_the_sheet_and_code_in_its_box(tmp_path):
    """In the theme's own frame, which would push the page aside and repeat its title."""
    import print_book

    chromium = next(filter(None, map(shutil.which, print_book.NAMES)), None)
    if chromium is None:
        pytest.skip("no Chromium on the path")
    theme = "".join(
        f"<style>{(Path(module.__file__).parent / place).read_text()}</style>"
        for module, place in THEMES
    )
    code = "<pre>" + "x = 1\n" * 12 + "</pre>"
    boxes = f"<div class=cell><div class=cell_input>{code}</div></div>" * 12
    fold = "<details class=above-input><summary>Show code</summary></details>"
    page = tmp_path / "page.html"
    page.write_text(
        f"<!doctype html>{theme}<main class=bd-main><div class=bd-content>"
        "<div class=bd-article-container><div class=onlyprint id=jb-print-docs-body>"
        f"<h1>Title</h1></div><article class=bd-article><h1>Title</h1>{fold}{boxes}"
        f"<p>{'words ' * 400}</p></article></div></div></main>"
    )
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 673, "height": 980})
        tab.emulate_media(media="print")
        tab.goto(page.as_uri())
        tab.add_style_tag(content=print_book.STYLE)
        article = tab.locator("article").bounding_box()
        assert article["x"] >= 0
        assert article["x"] + article["width"] <= 673
        assert tab.locator("h1:visible").count() == 1
        assert not tab.get_by_text("Show code").is_visible()
        box = tab.locator(".cell_input").first
        looks = "e => (s => [s.breakInside, s.display])(getComputedStyle(e))"
        assert box.evaluate(looks) == ["avoid", "block"]
        browser.close()


def test_without_a_build_the_print_says_what_to_do(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pypdf")
    import print_book

    monkeypatch.setattr(print_book, "HTML", tmp_path)
    assert print_book.main([]) == 1
    assert "make book" in capsys.readouterr().err
