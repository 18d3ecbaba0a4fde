"""Sphinx extension: pages load the icons that they show, and the parts of MathJax that they need.

The theme brings every icon of Font Awesome (1.5 MB), and MathJax comes in one file with its
converters for speech and its menu (1.2 MB).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pydata_sphinx_theme
from sphinx.application import Sphinx

__all__ = ["setup", "with_icons"]

ICONS = "static/scripts/fontawesome.js"
THEME = Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme"
ICON = re.compile(r"""
    (?:"(?P<quoted>[\w-]+)"|(?<=[{,])(?P<bare>\w+)):                  # name
    \[\d+,\d+,\[(?P<others>[^\]]*)\],"[0-9a-f]+",                      # size, other names, number
    (?:"[^"]*"|\["[^"]*","[^"]*"\])\],?                                # path, or two
""", re.VERBOSE)  # fmt: skip
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


def trim(app: Sphinx, exception: Exception | None) -> None:
    """Keep the icons that a page or a script of the site names."""
    site = Path(app.outdir)
    icons = site / f"_{ICONS}"
    if exception is not None or not icons.is_file():
        return
    users = [*site.rglob("*.html"), *(f for f in site.rglob("_static/**/*.js") if f != icons)]
    names = {name for file in users for name in NAME.findall(file.read_text(errors="ignore"))}
    icons.write_text(
        with_icons((THEME / ICONS).read_text(encoding="utf-8"), names), encoding="utf-8"
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """After the extension that brings MathJax."""
    app.config.mathjax_path = "mathjax/startup.js"
    app.config.mathjax3_config = {"loader": {"load": PARTS}}
    app.add_js_file(None, body=FOCUS)
    app.connect("build-finished", trim, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
