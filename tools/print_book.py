"""Print the built book: python tools/print_book.py (needs Chromium; a few minutes).

Chromium prints the pages of ``_build/html`` one by one, solutions closed. They are bound in the
order of the contents into ``_build/bnnbook.pdf``, behind a contents page, with page numbers and
bookmarks, and with links between pages that stay inside the file.
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import yaml
from playwright.sync_api import Page, sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, NameObject

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_build" / "html"
NAMES = ("chromium", "chromium-browser", "google-chrome")
PAPER = {"format": "A4", "print_background": True}
MARGINS = {"top": "18mm", "bottom": "20mm", "left": "16mm", "right": "16mm"}
# the page opens its solutions when it is about to be printed; here they stay closed
CLOSED = "addEventListener('beforeprint', e => e.stopImmediatePropagation(), true)"
STYLE = """
  html { font-size: 13.5px !important; }
  .bd-header-article, .bd-sidebar-primary, .bd-sidebar-secondary, .prev-next-footer, .bd-footer,
  .bd-footer-content, .headerlink, .copybtn, .interactive .controls, noscript,
  #jb-print-docs-body, .bd-header-announcement, .launch,
  details.above-input { display: none !important; }
  .bd-article-container, .bd-content, .bd-main {
    display: block !important; margin: 0 !important; max-width: none !important; width: 100%;
  }
  .bd-article { padding: 0 !important; }
  .bd-main .bd-content .bd-article h1:first-of-type { display: block; margin-top: 0; }
  pre { white-space: pre-wrap !important; overflow-wrap: anywhere; }
  .cell, .cell_input, .cell_output { display: block !important; }
  .cell_input, .cell_output, .admonition, figure, img, tr, .quiz fieldset, mjx-container[display] {
    break-inside: avoid;
  }
  h1, h2, h3, h4, dt, .rubric, thead, .admonition-title { break-after: avoid; }
  .cell_input:has(+ .cell_output) { break-after: avoid; }
  p, li, dd { orphans: 3; widows: 3; }
  .bd-main .bd-content table { break-inside: auto; font-size: 0.85rem; }
  .bd-main .bd-content table :is(td, th) { overflow-wrap: anywhere; padding: 0.2rem 0.35rem; }
  .pst-scrollable-table-container { overflow: visible !important; }
  figure.interactive svg.plot { max-width: 22rem; }
  img { max-height: 235mm; object-fit: contain; }
"""


class Entry(NamedTuple):
    """A page of the contents: its place, the part it stands in, and its title."""

    place: str
    part: str
    title: str


def contents(toc: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Place and part of every page, in their order."""
    yield toc["root"], ""
    for part in toc["parts"]:
        for chapter in part["chapters"]:
            yield chapter["file"], part["caption"]


def printed(page: Page, place: str) -> tuple[str, bytes]:
    """Title and PDF of one page of the site."""
    page.goto((HTML / f"{place}.html").as_uri(), wait_until="load")
    page.evaluate("window.MathJax?.startup?.promise")
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = false)")
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    page.add_style_tag(content=STYLE)
    title = page.locator("article h1").first.evaluate(
        "e => [...e.childNodes].filter(n => !n.classList?.contains('headerlink'))"
        ".map(n => n.textContent).join('')"
    )
    return title.strip(), page.pdf(**PAPER, margin=MARGINS)


def contents_page(entries: list[Entry], starts: dict[str, int]) -> str:
    """The table of contents as HTML; its links lead to the pages of the site, as all others do."""
    rows, part = [], ""
    for entry in entries:
        if entry.part != part:
            part = entry.part
            rows.append(f"<h2>{escape(part)}</h2>")
        where = (HTML / f"{entry.place}.html").as_uri()
        rows.append(
            f'<p><a href="{where}">{escape(entry.title)}</a><span>{starts[entry.place]}</span></p>'
        )
    style = (
        "body{font:11pt sans-serif} h2{font-size:12pt;margin:1.2em 0 .3em} p{display:flex;"
        "justify-content:space-between;margin:.2em 0} a{color:inherit;text-decoration:none}"
    )
    return f"<meta charset=utf-8><style>{style}</style><h1>Contents</h1>{''.join(rows)}"


def numbers(count: int) -> str:
    """One sheet a page, with nothing on it but its number."""
    style = (
        "@page{margin:0} body{margin:0} div{height:296mm;display:flex;align-items:flex-end;"
        "justify-content:center;break-after:page;font:9pt sans-serif} span{padding-bottom:8mm}"
    )
    sheets = "".join(f"<div><span>{n}</span></div>" for n in range(1, count + 1))
    return f"<meta charset=utf-8><style>{style}</style>{sheets}"


def keep_links_inside(writer: PdfWriter, starts: dict[str, int]) -> None:
    """Let links between pages of the site lead to sheets of this file; drop other local ones."""
    places = {str(HTML / f"{place}.html"): number - 1 for place, number in starts.items()}
    for sheet in writer.pages:
        kept = ArrayObject()
        for reference in sheet.get("/Annots", ArrayObject()):
            link = reference.get_object()
            target = urlsplit(str(link.get("/A", {}).get("/URI", "")))
            if target.scheme == "file":
                number = places.get(unquote(target.path))
                if number is None:
                    continue
                where = ArrayObject([writer.pages[number].indirect_reference, NameObject("/Fit")])
                action = {NameObject("/S"): NameObject("/GoTo"), NameObject("/D"): where}
                link[NameObject("/A")] = DictionaryObject(action)
            kept.append(reference)
        sheet[NameObject("/Annots")] = kept


def bind(page: Page, entries: list[Entry], parts: dict[str, bytes]) -> PdfWriter:
    """All pages in their order, contents first."""
    lengths = {place: len(PdfReader(io.BytesIO(pdf)).pages) for place, pdf in parts.items()}

    def sheet(html: str, **options: Any) -> PdfReader:
        page.set_content(html)
        return PdfReader(io.BytesIO(page.pdf(**PAPER, **options)))

    length = 1  # of the contents, whose own length moves what it lists
    while True:
        starts, at = {}, 1 + length
        for entry in entries:
            starts[entry.place] = at
            at += lengths[entry.place]
        table = sheet(contents_page(entries, starts), margin=MARGINS)
        if len(table.pages) == length:
            break
        length = len(table.pages)
    writer = PdfWriter()
    writer.append(table, outline_item="Contents", import_outline=False)
    for entry in entries:
        pdf = io.BytesIO(parts[entry.place])
        writer.append(pdf, outline_item=entry.title, import_outline=False)
    for under, over in zip(writer.pages, sheet(numbers(len(writer.pages))).pages, strict=True):
        under.merge_page(over)
    keep_links_inside(writer, starts)
    writer.compress_identical_objects()
    return writer


def main(arguments: list[str]) -> int:
    """Print the book, or only the pages that are named, such as ``book/chapters/00_start``."""
    if not (HTML / "book" / "index.html").is_file():
        print("pdf: the book has not been built; make book builds it", file=sys.stderr)
        return 1
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        print(f"pdf: needs one of {', '.join(NAMES)} on the path", file=sys.stderr)
        return 1
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    listed = [(p, part) for p, part in contents(toc) if not arguments or p in arguments]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(color_scheme="light")
        context.add_init_script(CLOSED)
        page, parts, entries = context.new_page(), {}, []
        for place, part in listed:
            title, parts[place] = printed(page, place)
            entries.append(Entry(place, part, title))
        writer = bind(context.new_page(), entries, parts)
        browser.close()
    writer.add_metadata({"/Title": "Bayesian neural networks in Python"})
    out = ROOT / "_build" / "bnnbook.pdf"
    writer.write(out)
    print(f"pdf: {len(writer.pages)} pages in {out.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
