"""The book's Markdown as plain Markdown: directives and roles turned into text, links, figures."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import PurePosixPath
from typing import Any

from interactive import FIGURES, QUIZZES

from reader.site import Book, Link, Picture

__all__ = ["Page", "quiz"]

FENCE = re.compile(r"^(?P<mark>`{3,}|:{3,})\{(?P<name>[\w:-]+)\}[ \t]*(?P<title>.*)$")
OPTION = re.compile(r"^:(?P<name>[\w-]+):[ \t]*(?P<value>.*)$")
ROLE = re.compile(r"\{(?P<name>[\w:-]+)\}`(?P<text>[^`]+)`")
LABEL = re.compile(r"^\([\w-]+\)=[ \t]*\n?", re.MULTILINE)
COMMENT = re.compile(r"[ \t]*<!--.*?-->", re.DOTALL)
EXPLICIT = re.compile(r"^(?P<text>.*?)\s*<(?P<target>[^>]+)>$", re.DOTALL)
FORMAT = re.compile(r"^(?P<name>.+?)(?::(?P<spec>[^:]*))?$")
UNKNOWN = "…"
LETTERS = "abcd"


@dataclass
class Page:
    """Turns the text cells of one chapter; keeps the pictures that they show.

    ``place`` is the chapter's address in the book, such as ``book/chapters/03_hmc``; ``values`` are
    those that its last run kept.
    """

    book: Book
    place: str
    values: Mapping[str, Any]
    up: str = "../html/"
    pictures: dict[str, str] = field(default_factory=dict)

    def text(self, source: str) -> str:
        """Plain Markdown of a cell; pictures are left in ``pictures`` by name."""
        lines, out = COMMENT.sub("", LABEL.sub("", source)).split("\n"), []
        i = 0
        while i < len(lines):
            fence = FENCE.match(lines[i])
            if fence is None:
                block = i
                if re.match(r"^(`{3,}|~{3,})", lines[i]):  # code stays as it is
                    mark = re.match(r"^(`{3,}|~{3,})", lines[i])[0]  # type: ignore[index]
                    i += 1
                    while i < len(lines) and not lines[i].startswith(mark):
                        i += 1
                    out += lines[block : i + 1]
                    i += 1
                    continue
                out.append(lines[i])
                i += 1
                continue
            end = i + 1
            while end < len(lines) and lines[end].strip() != fence["mark"]:
                end += 1
            options, body = _options(lines[i + 1 : end])
            out += self._directive(fence["name"], fence["title"].strip(), options, body)
            i = end + 1
        return ROLE.sub(self._role, "\n".join(out)).strip("\n")

    def caption(self, source: str, name: str | None) -> str:
        """One paragraph under the figure of a code cell."""
        text = ROLE.sub(self._role, COMMENT.sub("", source)).replace("\n", " ").strip()
        number = self.book.numbers.get(name or "", "")
        return f"**{number or 'Figure'}.** {text}"

    def _directive(
        self, name: str, title: str, options: dict[str, str], body: list[str]
    ) -> list[str]:
        if name in ("solution-start", "solution-end"):
            return []
        if name == "glue:figure":
            return self._figure(title, options, body)
        if name == "interactive":
            return self._interactive(title)
        if name == "quiz":
            return quiz(title)
        if name == "math":
            return ["$$", *body, "$$"]
        if name in ("exercise", "prf:theorem"):
            number = self.book.numbers.get(options.get("label", ""), "Exercise")
            return [f"#### {number}: {title}", "", *self.text("\n".join(body)).split("\n")]
        heading = title if name in ("admonition", "dropdown") else name.capitalize()
        if name not in ("admonition", "dropdown") and title:
            body = [title, *body]
        inner = self.text("\n".join(body)).strip("\n").split("\n")
        return [f"> **{heading}**", ">", *(f"> {line}".rstrip() for line in inner)]

    def _figure(self, name: str, options: dict[str, str], body: list[str]) -> list[str]:
        picture = self.values.get(name)
        number = self.book.numbers.get(options.get("name", ""), "Figure")
        caption = " ".join(line for line in body if line.strip())
        if not isinstance(picture, Picture):
            return [f"*{number} is on the built page.* {caption}"]
        self.pictures[f"{name}.png"] = picture.png
        alt = options.get("alt", "").replace("[", "(").replace("]", ")")
        return [f"![{alt}](attachment:{name}.png)", "", f"**{number}.** {caption}"]

    def _interactive(self, name: str) -> list[str]:
        figure = FIGURES[name]
        page = self.book.pages.get(self.place)
        where = f"[on the built page]({self.up}{page.address})" if page else "on the built page"
        return [f"> **{figure['title']}** moves {where}. {figure['caption']}"]

    def _role(self, found: re.Match[str]) -> str:
        name, text = found["name"], found["text"]
        explicit = EXPLICIT.match(text)
        shown, target = (explicit["text"], explicit["target"]) if explicit else (None, text)
        roles: dict[str, Callable[[], str]] = {
            "glue:text": lambda: self._number(text),
            "glue": lambda: self._number(text),
            "cite": lambda: f"({self._works(text)})",
            "cite:p": lambda: f"({self._works(text)})",
            "cite:t": lambda: self._works(text),
            "term": lambda: self._link(self.book.terms.get(target.lower()), shown or target),
            "ref": lambda: self._link(self.book.labels.get(target.lower()), shown),
            "numref": lambda: self._numbered(target, shown),
            "eq": lambda: self._numbered(target, shown),
            "doc": lambda: self._link(self.book.pages.get(self._beside(target)), shown),
            "math": lambda: f"${text}$",
        }
        return roles.get(name, lambda: shown or f"`{text}`")()

    def _number(self, text: str) -> str:
        parts = FORMAT.match(text)
        name, spec = (parts["name"], parts["spec"] or "") if parts else (text, "")
        if name not in self.values:
            return f"<u>{UNKNOWN}</u>"
        value = self.values[name]
        try:
            shown = format(value, spec)
        except (TypeError, ValueError):
            shown = str(value)
        return f"<u>{shown}</u>"

    def _works(self, keys: str) -> str:
        names = "; ".join(self.book.cite(key.strip()) for key in keys.split(","))
        page = self.book.pages.get("book/bibliography")
        return f"[{names}]({self.up}{page.address})" if page else names

    def _numbered(self, label: str, shown: str | None) -> str:
        name = self.book.numbers.get(label)
        place = self.book.labels.get(label.lower())
        if name is None or place is None:
            return shown or "the figure"
        return f"[{name}]({self.up}{place.address})"

    def _link(self, link: Link | None, shown: str | None) -> str:
        if link is None:
            return shown or "another page"
        return f"[{shown or link.name}]({self.up}{link.address})"

    def _beside(self, target: str) -> str:
        """Address of a page that is named from here."""
        parts: list[str] = []
        base = target if target.startswith("/") else f"{PurePosixPath(self.place).parent}/{target}"
        for part in base.strip("/").split("/"):
            if part == "..":
                parts.pop()
            elif part not in ("", "."):
                parts.append(part)
        return "/".join(parts)


def quiz(chapter: str) -> list[str]:
    """The questions, each with its answers folded away."""
    out = []
    for number, question in enumerate(QUIZZES[chapter], start=1):
        options = dict(zip(LETTERS, question["options"], strict=False))
        out += [f"**{number}. {question['ask']}**", ""]
        out += [f"- ({letter}) {option['text']}" for letter, option in options.items()]
        notes = [
            f"({letter}) {'Right' if option.get('right') else 'No'}. {escape(option['note'])}"
            for letter, option in options.items()
        ]
        out += ["", f"<details><summary>Answer</summary>{'<br>'.join(notes)}</details>", ""]
    return out


def _options(lines: list[str]) -> tuple[dict[str, str], list[str]]:
    """The options at the head of a directive, and its body."""
    options = {}
    for i, line in enumerate(lines):
        found = OPTION.match(line)
        if found is None:
            body = lines[i:]
            return options, body[1:] if body and not body[0].strip() else body
        options[found["name"]] = found["value"]
    return options, []
