"""What a copy borrows from the last build: numbers, pictures, titles and where to find things."""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any

import nbformat
from jupyter_cache import get_cache
from pybtex.database import parse_file
from sphinx.util.inventory import InventoryFile

__all__ = ["Book", "Link", "Picture", "executed", "glued"]

TEXT = "application/papermill.record/text/plain"
PNG = "application/papermill.record/image/png"
NUMBERED = re.compile(
    r'id="(?P<id>[\w-]+)"(?:(?!id=").)*?<span class="caption-number">(?P<number>[^<]+?)\s*</span>',
    re.DOTALL,
)


@dataclass(frozen=True)
class Picture:
    """A figure that a cell kept for the text, as base64."""

    png: str


@dataclass(frozen=True)
class Link:
    """A place in the built book: its name, and its address below the site's root."""

    name: str
    address: str


@dataclass(frozen=True)
class Book:
    """The bibliography, and what there is of the last build: nothing if there was none."""

    root: Path
    labels: Mapping[str, Link] = field(default_factory=dict)
    terms: Mapping[str, Link] = field(default_factory=dict)
    pages: Mapping[str, Link] = field(default_factory=dict)
    numbers: Mapping[str, str] = field(default_factory=dict)
    works: Mapping[str, Any] = field(default_factory=dict)

    @property
    def html(self) -> Path:
        return self.root / "_build" / "html"

    @classmethod
    def read(cls, root: Path) -> Book:
        """Read the bibliography and, where there are any, the built pages."""
        works = parse_file(str(root / "book" / "references.bib")).entries
        html = root / "_build" / "html"
        if not (html / "objects.inv").is_file():
            return cls(root, works=works)
        with (html / "objects.inv").open("rb") as stream:
            entries = InventoryFile.load(stream, "", posixpath.join)

        def links(kind: str) -> dict[str, Link]:
            return {
                key: Link(title, uri)
                for key, (_, _, uri, title) in entries.get(f"std:{kind}", {}).items()
            }

        numbers: dict[str, str] = {}
        for page in (html / "book").rglob("*.html"):
            for found in NUMBERED.finditer(page.read_text()):
                numbers.setdefault(found["id"], unescape(found["number"]).strip())
        return cls(root, links("label"), links("term"), links("doc"), numbers, works)

    def cite(self, key: str) -> str:
        """Author and year of a work, as the pages have them."""
        entry = self.works.get(key)
        if entry is None:
            return key
        people = [" ".join(p.prelast_names + p.last_names) for p in entry.persons.get("author", [])]
        if len(people) > 2:
            names = f"{people[0]} et al."
        else:
            names = " and ".join(people) or entry.fields.get("title", key)
        return f"{names}, {entry.fields.get('year', 'no year')}"


def executed(root: Path, source: Path) -> Any | None:
    """A chapter with the outputs of its last run; None if it has not run as it is now."""
    folder = root / "_build" / ".jupyter_cache"
    if not folder.is_dir():
        return None
    try:
        return get_cache(folder).merge_match_into_notebook(nbformat.read(source, 4))[1]
    except KeyError:
        return None


def glued(root: Path, source: Path) -> dict[str, Any]:
    """Values and pictures by name that the last run of a chapter kept; none if it has not run."""
    run = executed(root, source)
    if run is None:
        return {}
    found: dict[str, Any] = {}
    for cell in run.cells:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            if name is None:
                continue
            if PNG in output["data"]:
                found[name] = Picture(output["data"][PNG])
            elif TEXT in output["data"]:
                found[name] = _value(output["data"][TEXT])
    return found


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
