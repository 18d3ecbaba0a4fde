"""Make one deck of slides a chapter: python tools/slides.py.

Cells of a chapter with the tag ``slide`` are on its deck. Of text that is the heading, boxes,
lists and displayed equations; of code the figure with its caption. Figures and numbers are those of
the last build. reveal.js and MathJax come from locked packages and are put beside the decks in
``_build/slides``, which need no network.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from html import escape
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import nbformat
from markdown_it import MarkdownIt
from reader.markdown import Page
from reader.site import Book, executed, glued

ROOT = Path(__file__).resolve().parent.parent
TAG = "slide"
BLOCK = re.compile(
    r"^(?P<mark>`{3,}|:{3,})\{(?:admonition|math|glue:figure)\}.*?^(?P=mark)$"
    r"|^\$\$.*?\$\$$"
    r"|^#{1,4} .+?$"
    r"|^(?:[-*]|\d+\.) .+?(?=\n\n|\n(?:`{3}|:{3}|#)|\Z)",
    re.MULTILINE | re.DOTALL,
)
TITLE = re.compile(r"^\S+\{\w+\} (.+)$", re.MULTILINE)
MATHS = re.compile(r"\$\$(?P<block>.+?)\$\$|(?<!\\)\$(?P<line>[^$\n](?:[^$]*[^$\s])?)\$", re.DOTALL)
SHELL = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="reveal/reveal.css">
<link rel="stylesheet" href="reveal/theme/white.css">
<link rel="stylesheet" href="slides.css">
<script>window.MathJax = {{tex: {{inlineMath: [["\\\\(", "\\\\)"]]}}}};</script>
<script defer src="mathjax/tex-chtml.js"></script>
</head>
<body>
<div class="reveal"><div class="slides">
{slides}
</div></div>
<script src="reveal/reveal.js"></script>
<script>Reveal.initialize({{hash: true, slideNumber: "c/t", width: 1200, height: 720, pdfSeparateFragments: false}});</script>
</body>
</html>
"""  # noqa: E501
STYLE = """.reveal { font-size: 28px; }
.reveal h1 { font-size: 1.9em; text-transform: none; }
.reveal h2, .reveal h3, .reveal h4 { font-size: 1.35em; text-transform: none; }
.reveal section { text-align: left; }
.reveal section > h1, .reveal section > h2, .reveal section > h3 { text-align: left; }
.reveal img { display: block; margin: 0 auto; max-height: 500px; max-width: 100%; }
.reveal .caption { color: #444; font-size: 0.72em; }
.reveal blockquote { background: #f2f6fa; box-shadow: none; font-style: normal; padding: 0.4em 1em;
  width: 100%; box-sizing: border-box; margin: 0.6em 0; }
.reveal blockquote img { max-height: 330px; }
.reveal blockquote p { margin: 0.4em 0; }
.reveal ul, .reveal ol { display: block; margin-left: 1.2em; }
.reveal u { text-decoration: none; }
"""


def points(source: str) -> str:
    """What of a text cell is shown: headings, boxes, lists and displayed equations."""
    shown = []
    for found in BLOCK.finditer(source):
        folded = ":class: dropdown" in found[0]  # such as an answer: it has a slide of its own
        shown.append(f"## {TITLE.match(found[0])[1]}\n\n{found[0]}" if folded else found[0])  # type: ignore[index]
    return "\n\n".join(shown)


def to_html(markdown: str) -> str:
    """Markdown as HTML, with its mathematics left to MathJax."""
    kept: list[str] = []

    def hold(found: re.Match[str]) -> str:
        block, line = found["block"], found["line"]
        kept.append(f"\\[{escape(block)}\\]" if block else f"\\({escape(line)}\\)")
        return f"MATHS{len(kept) - 1}HERE"

    text = (
        MarkdownIt("commonmark", {"html": True}).enable("table").render(MATHS.sub(hold, markdown))
    )
    return re.sub(r"MATHS(\d+)HERE", lambda found: kept[int(found[1])], text)


def slides(book: Book, source: Path, run: Any) -> list[str]:
    """The slides of one chapter as HTML; ``run`` has the outputs of its last execution."""
    page = Page(book, f"book/chapters/{source.stem}", glued(ROOT, source))
    shown, heading = [], ""
    for cell in run.cells:
        tagged = TAG in cell.metadata.get("tags", [])
        if cell.cell_type == "markdown":
            titles = re.findall(r"^#{1,4} (.+)$", cell.source, re.MULTILINE)
            heading = titles[-1] if titles else heading
            if tagged:
                shown += [to_html(part) for part in _text(page, cell.source)]
        elif tagged:
            shown += [f"{to_html('## ' + heading)}{figure}" for figure in _figures(page, cell)]
    return shown


def _text(page: Page, source: str) -> list[str]:
    """A text cell, one slide for each of its headings."""
    page.pictures.clear()
    text = page.text(points(source))
    for name, png in page.pictures.items():
        text = text.replace(f"(attachment:{name})", f"(data:image/png;base64,{png})")
    text = re.sub(r"\]\(\.\./html/[^)]*\)", "](#)", text)
    text = re.sub(r"\[([^\]]+)\]\(#\)", r"\1", text)
    return [part for part in re.split(r"(?=^#{1,4} )", text, flags=re.MULTILINE) if part.strip()]


def _figures(page: Page, cell: Any) -> list[str]:
    """The pictures of a cell, each with the caption."""
    about = cell.metadata.get("mystnb", {})
    caption = page.caption(about.get("figure", {}).get("caption", ""), about["figure"].get("name"))
    caption = re.sub(r"\[([^\]]+)\]\(\.\./html/[^)]*\)", r"\1", caption)
    alt = escape(about.get("image", {}).get("alt", ""), quote=True)
    pictures = [
        output["data"]["image/png"].replace("\n", "")
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {}) and "scrapbook" not in output.get("metadata", {})
    ]
    return [
        f'<img alt="{alt}" src="data:image/png;base64,{png}">'
        f'<div class="caption">{to_html(caption)}</div>'
        for png in pictures
    ]


def put_scripts(folder: Path) -> None:
    """Copy reveal.js and MathJax beside the decks."""
    (revealjs,) = importlib.util.find_spec("sphinx_revealjs").submodule_search_locations  # type: ignore[union-attr]
    shutil.copytree(Path(revealjs, "_static", "revealjs", "dist"), folder / "reveal")
    mathjax = importlib.util.find_spec("sphinx-mathjax-offline").submodule_search_locations  # type: ignore[union-attr]
    found = next(Path(mathjax[0]).rglob("tex-chtml.js"))
    shutil.copytree(found.parent, folder / "mathjax")
    (folder / "slides.css").write_text(STYLE, encoding="utf-8")


def main() -> int:
    """Write every deck; without a build there are no figures to show."""
    folder = ROOT / "_build" / "slides"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    put_scripts(folder)
    book, unbuilt = Book.read(ROOT), []
    for source in sorted((ROOT / "book" / "chapters").glob("*.ipynb")):
        run = executed(ROOT, source)
        if run is None:
            unbuilt.append(source.stem)
            run = nbformat.read(source, 4)
        shown = slides(book, source, run)
        title = re.search(r"^# (.+)$", run.cells[0].source, re.MULTILINE)
        sections = "\n".join(f"<section>{slide}</section>" for slide in shown)
        deck = SHELL.format(title=escape(title[1] if title else source.stem), slides=sections)
        (folder / f"{source.stem}.html").write_text(deck, encoding="utf-8")
        print(f"slides: {len(shown):3} in {(folder / source.stem).relative_to(ROOT)}.html")
    if unbuilt:
        print(f"slides: without figures, until make book has run: {', '.join(unbuilt)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
