"""Sphinx extension: interactive figures and quizzes, from book/interactive.yml and book/quiz.yml.

The directives ``{interactive} name`` and ``{quiz} chapter`` take nothing else: questions, answers
and descriptions have one place, from which the readers' notebooks are made too.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from docutils.parsers.rst import Directive

__all__ = ["FIGURES", "QUIZZES", "figure_html", "quiz_html"]

BOOK = Path(__file__).resolve().parent.parent / "book"
FIGURES: dict[str, dict[str, Any]] = yaml.safe_load(
    (BOOK / "interactive.yml").read_text(encoding="utf-8")
)
QUIZZES: dict[str, list[dict[str, Any]]] = yaml.safe_load(
    (BOOK / "quiz.yml").read_text(encoding="utf-8")
)
SCRIPTS = ("interactive.js", "figures.js")


def figure_html(name: str, up: str) -> str:
    """An interactive figure; ``up`` leads from its page to the root of the site."""
    given = FIGURES[name]
    told = {key: given[key] for key in ("alt", "ask", "options", "answer", "why")}
    script = json.dumps(told).replace("</", "<\\/")
    alt = escape(given["alt"], quote=True)
    still = f'<noscript><img src="{up}_static/stills/{name}.svg" alt="{alt}"></noscript>'
    caption = f"<strong>{escape(given['title'])}.</strong> {escape(given['caption'])}"
    return (
        f'<figure class="interactive" data-figure="{name}">'
        f'<script type="application/json">{script}</script>{still}'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def quiz_html(chapter: str) -> str:
    """Five questions; without a script, all the answers are read below them."""
    parts = []
    for number, question in enumerate(QUIZZES[chapter]):
        name = f"quiz-{chapter}-{number}"
        options, notes = [], []
        for i, option in enumerate(question["options"]):
            options.append(
                f'<label><input type="radio" name="{name}" value="{i}"> '
                f"{escape(option['text'])}</label>"
            )
            right = "true" if option.get("right") else "false"
            notes.append(f'<p class="note" data-right="{right}">{escape(option["note"])}</p>')
        parts.append(
            f"<fieldset><legend>{number + 1}. {escape(question['ask'])}</legend>"
            f'{"".join(options)}<p class="reply" aria-live="polite"></p>{"".join(notes)}</fieldset>'
        )
    return f'<div class="quiz">{"".join(parts)}</div>'


class Interactive(Directive):
    """``{interactive} name``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """One raw block of HTML."""
        (name,) = self.arguments
        if name not in FIGURES:
            raise self.error(f"interactive must be one of {sorted(FIGURES)}, got {name!r}")
        page = self.state.document.settings.env.docname
        return [nodes.raw("", figure_html(name, "../" * page.count("/")), format="html")]


class Quiz(Directive):
    """``{quiz} chapter``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """One raw block of HTML."""
        (chapter,) = self.arguments
        if chapter not in QUIZZES:
            raise self.error(f"quiz must be one of {sorted(QUIZZES)}, got {chapter!r}")
        return [nodes.raw("", quiz_html(chapter), format="html")]


def setup(app: Any) -> dict[str, bool]:
    """Add the directives and their scripts."""
    app.add_directive("interactive", Interactive)
    app.add_directive("quiz", Quiz)
    for script in SCRIPTS:
        app.add_js_file(script, loading_method="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
