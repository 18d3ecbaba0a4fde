"""Sphinx extension: pages load the icons that they show, and the parts of MathJax that they need.

The theme brings every icon of Font Awesome (1.5 MB), and MathJax comes in one file with its
converters for speech and its menu (1.2 MB). Every page would load the index of the search, which
only the page of results uses, and figures have a palette where that shows no difference.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pydata_sphinx_theme
from PIL import Image
from sphinx.application import Sphinx

__all__ = ["few_colours", "setup", "with_icons", "with_rules", "without_search"]

ICONS = "static/scripts/fontawesome.js"
RULES = "static/styles/pydata-sphinx-theme.css"
THEME = Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme"
ICON = re.compile(r"""
    (?:"(?P<quoted>[\w-]+)"|(?<=[{,])(?P<bare>\w+)):                  # name
    \[\d+,\d+,\[(?P<others>[^\]]*)\],"[0-9a-f]+",                      # size, other names, number
    (?:"[^"]*"|\["[^"]*","[^"]*"\])\],?                                # path, or two
""", re.VERBOSE)  # fmt: skip
RULE = re.compile(r'(?:\.fa-[a-z0-9-]+:before,?)+\{content:"[^"]*"\}')  # an icon of the font
SEARCH = re.compile(
    r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>'
)
# of 255, in the channel that moves most: what one pixel in a thousand may be off with a palette
UNSEEN = 20
NAME = re.compile(r"\bfa-([a-z0-9-]+)")
PARTS = ["input/tex", "output/chtml", "a11y/assistive-mml"]
# a displayed equation may be wider than a phone: the keyboard reaches it, to scroll it
FOCUS = """addEventListener("load", () => window.MathJax?.startup?.promise?.then(() => {
  for (const shown of document.querySelectorAll("mjx-container[display]")) shown.tabIndex = 0;
}));"""


def with_icons(script: str, names: set[str]) -> str:
    """Font Awesome's script with those icons alone that have one of the names."""

    def keep(icon: re.Match[str]) -> str:
        own = {icon["quoted"] or icon["bare"], *re.findall(r'"([\w-]+)"', icon["others"])}
        return icon[0] if own & names else ""

    return ICON.sub(keep, script)


def with_rules(style: str, names: set[str]) -> str:
    """The theme's style with the rules of those icons alone that have one of the names."""

    def keep(rule: re.Match[str]) -> str:
        return rule[0] if names.intersection(NAME.findall(rule[0])) else ""

    return RULE.sub(keep, style)


def without_search(page: str) -> str:
    """A page without the scripts of the search: its field leads to the page of results."""
    return SEARCH.sub("", page)


def few_colours(png: bytes) -> bytes:
    """A picture with a palette of 256 colours, or as it is if that would show or be no smaller."""
    with Image.open(io.BytesIO(png)) as picture:
        extrema = picture.convert("RGBA").getextrema()[3]
        if picture.mode == "P" or extrema != (255, 255):
            return png
        full = picture.convert("RGB")
    few = full.quantize(256, method=Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
    off = np.abs(np.asarray(few.convert("RGB"), "int16") - np.asarray(full, "int16")).max(axis=-1)
    out = io.BytesIO()
    few.save(out, "PNG", optimize=True)
    seen = np.quantile(off, 0.999) > UNSEEN
    return png if seen or len(out.getvalue()) >= len(png) else out.getvalue()


def trim(app: Sphinx, exception: Exception | None) -> None:
    """Keep the icons that a page or a script of the site names, and lighten pages and figures."""
    site = Path(app.outdir)
    icons, rules = site / f"_{ICONS}", site / f"_{RULES}"
    if exception is not None or not icons.is_file():
        return
    for page in site.rglob("*.html"):
        if page.name != "search.html":
            page.write_text(without_search(page.read_text(encoding="utf-8")), encoding="utf-8")
    for picture in (site / "_images").glob("*.png"):
        picture.write_bytes(few_colours(picture.read_bytes()))
    users = [*site.rglob("*.html"), *(f for f in site.rglob("_static/**/*.js") if f != icons)]
    names = {name for file in users for name in NAME.findall(file.read_text(errors="ignore"))}
    icons.write_text(
        with_icons((THEME / ICONS).read_text(encoding="utf-8"), names), encoding="utf-8"
    )
    rules.write_text(
        with_rules((THEME / RULES).read_text(encoding="utf-8"), names), encoding="utf-8"
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """After the extension that brings MathJax."""
    app.config.mathjax_path = "mathjax/startup.js"
    app.config.mathjax3_config = {"loader": {"load": PARTS}}
    app.add_js_file(None, body=FOCUS)
    app.connect("build-finished", trim, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
