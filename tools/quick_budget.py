"""Sphinx extension: pages built with BNNBOOK_FAST=1 say so at their top."""

from __future__ import annotations

import os
from typing import Any

BANNER = (
    "Quick budget (BNNBOOK_FAST=1): few steps and draws. The numbers and figures on these pages "
    "are not the book's."
)


def setup(app: Any) -> dict[str, bool]:
    """Put the banner up before the pages are written."""
    app.connect("config-inited", announce)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def announce(_: Any, config: Any) -> None:
    """Set the theme's announcement if the build runs at quick budget."""
    if os.environ.get("BNNBOOK_FAST") == "1":
        config.html_theme_options = {**config.html_theme_options, "announcement": BANNER}
