"""Draw the stills of the interactive figures: python tools/stills.py (needs Chromium).

They stand in book/_static/stills for readers without JavaScript, and come from the same code.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from interactive import BOOK, FIGURES, SCRIPTS, figure_html
from playwright.sync_api import sync_playwright

STATIC = BOOK / "_static"
COLOURS = {
    "--first": "#0072b2",
    "--second": "#d55e00",
    "--pst-color-text-base": "#222",
    "--pst-color-text-muted": "#666",
}


def page() -> str:
    """All figures on one page, with the book's own style."""
    scripts = "".join(f"<script>{(STATIC / s).read_text()}</script>" for s in SCRIPTS)
    style = (STATIC / "custom.css").read_text()
    roots = "".join(f"{k}: {v};" for k, v in COLOURS.items() if k.startswith("--pst"))
    figures = "".join(figure_html(name, "") for name in FIGURES)
    return f"<style>:root {{{roots}}} {style}</style><body>{figures}{scripts}</body>"


def inlined(svg: str) -> str:
    """The picture with its own style, which a file of its own needs."""
    rules = re.findall(
        r"figure\.interactive ([^,{]*(?:line|area|dot|frame|text)[^,{]*) \{(.*?)\}",
        (STATIC / "custom.css").read_text(),
        flags=re.DOTALL,
    )
    style = "".join(f"{selector}{{{body}}}" for selector, body in rules)
    for name, colour in COLOURS.items():
        style = style.replace(f"var({name})", colour)
    style = re.sub(r"\s+", " ", style) + "text{font-family:sans-serif}"
    svg = re.sub(r"clip-[0-9a-z]+", "clip", svg)
    svg = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    head, tail = svg.split(">", 1)
    return f"{head}><style>{style}</style>{tail}\n"


def main(executable: str = "/usr/bin/chromium") -> None:
    """Write one SVG a figure."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        path = Path(folder, "page.html")
        path.write_text(page(), encoding="utf-8")
        browser = play.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto(path.as_uri())
        (STATIC / "stills").mkdir(exist_ok=True)
        for name in FIGURES:
            svg = tab.locator(f"figure[data-figure={name}] svg").evaluate("e => e.outerHTML")
            (STATIC / "stills" / f"{name}.svg").write_text(inlined(svg), encoding="utf-8")
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
