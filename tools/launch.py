"""Sphinx extension: everything that needs the book's own addresses, from one place.

``repository: url`` and ``branch`` in ``_config.yml`` name the sources, ``html: baseurl`` the site.
Where an address is empty, what needs it is absent: nothing leads nowhere. The directive
``{launch}`` shows the ways to open the book elsewhere, ``{clone}`` the command that fetches it.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any
from urllib.parse import quote

from docutils import nodes
from docutils.parsers.rst import Directive

__all__ = ["clone_command", "meta_tags", "places"]

GITHUB = re.compile(r"https://github\.com/(?P<org>[\w.-]+)/(?P<repo>[\w.-]+?)(?:\.git)?/?$")
ICONS = {
    "GitHub": "fab fa-github",
    "Codespaces": "fas fa-laptop-code",
    "Binder": "fas fa-cloud",
    "Colab": "fas fa-flask",
    "Repository": "fas fa-code-branch",
}
LENGTH = 200  # characters of a description


def places(url: str, branch: str, chapter: str | None = None) -> dict[str, str]:
    """Where the book, or one chapter's copy for readers, can be opened: address by name."""
    if not url:
        return {}
    found = GITHUB.match(url)
    if found is None:
        return {"Repository": url}
    name = f"{found['org']}/{found['repo']}"
    copy = quote(f"lab/tree/_build/lab/{chapter}.ipynb" if chapter else "lab/tree/_build/lab", "")
    return {
        "GitHub": f"https://github.com/{name}",
        "Codespaces": f"https://codespaces.new/{name}",
        "Binder": f"https://mybinder.org/v2/gh/{name}/{quote(branch, '')}?urlpath={copy}",
        "Colab": f"https://colab.research.google.com/github/{name}/blob/{branch}/binder/colab.ipynb",
    }


def clone_command(url: str) -> str:
    """How to fetch the sources; empty where nobody knows from where."""
    if not url:
        return ""
    folder = url.rstrip("/").removesuffix(".git").rpartition("/")[2]
    return f"git clone {url}\ncd {folder}"


def meta_tags(title: str, text: str, base: str, page: str) -> str:
    """What a search or a link to the page shows; the picture needs the site's address."""
    text = text if len(text) <= LENGTH else text[:LENGTH].rsplit(" ", 1)[0] + " …"
    told = {"og:type": "article", "og:title": title, "og:description": text}
    if base:
        root = base.rstrip("/")
        told |= {"og:url": f"{root}/{page}.html", "og:image": f"{root}/_static/preview.png"}
        told["twitter:card"] = "summary_large_image"
    tags = [f'<meta name="description" content="{escape(text)}">']
    tags += [f'<meta property="{k}" content="{escape(v)}">' for k, v in told.items() if v]
    return "\n".join(tags)


class Launch(Directive):
    """``{launch}``: a row of links."""

    def run(self) -> list[nodes.Node]:
        """Nothing without a repository."""
        found = places(*_repository(self.state.document.settings.env.config))
        links = "".join(
            f'<a class="sd-btn sd-btn-outline-primary" href="{escape(where)}">'
            f'<i class="{ICONS[name]}" aria-hidden="true"></i> {name}</a> '
            for name, where in found.items()
        )
        return [nodes.raw("", f'<p class="launch">{links}</p>', format="html")] if links else []


class Clone(Directive):
    """``{clone}``: a block with the command."""

    def run(self) -> list[nodes.Node]:
        """Nothing without a repository."""
        url, _ = _repository(self.state.document.settings.env.config)
        command = clone_command(url)
        return [nodes.literal_block(command, command, language="console")] if command else []


def _repository(config: Any) -> tuple[str, str]:
    options = config.html_theme_options
    return options.get("repository_url") or "", options.get("repository_branch") or "main"


def configure(_: Any, config: Any) -> None:
    """Show the theme's own buttons only if there is a repository for them to lead to."""
    url, _branch = _repository(config)
    shown = dict.fromkeys(("use_repository_button", "use_issues_button"), bool(url))
    config.html_theme_options = {**config.html_theme_options, **shown}


def dress(app: Any, page: str, _: str, context: dict[str, Any], doctree: Any) -> None:
    """Add a page's description, and to a chapter the places where its copy opens."""
    if doctree is None:
        return
    first = next((p.astext() for p in doctree.findall(nodes.paragraph) if len(p.astext()) > 40), "")
    title = re.sub(r"<[^>]+>", "", context.get("title", ""))
    tags = meta_tags(title, " ".join(first.split()), app.config.html_baseurl, page)
    context["metatags"] = context.get("metatags", "") + "\n" + tags
    chapter = page.removeprefix("book/chapters/")
    found = places(*_repository(app.config), chapter)
    if chapter == page or "Binder" not in found:
        return
    buttons = [
        {"type": "link", "text": name, "tooltip": f"Open this chapter on {name}",
         "icon": ICONS[name], "url": found[name]}
        for name in ("Binder", "Colab", "Codespaces")
    ]  # fmt: skip
    group = {
        "type": "group", "tooltip": "Open elsewhere", "icon": "fas fa-rocket", "buttons": buttons,
        "label": "launch-buttons",
    }  # fmt: skip
    context["header_buttons"] = [group, *context.get("header_buttons", [])]


def setup(app: Any) -> dict[str, bool]:
    """Register both directives."""
    app.add_directive("launch", Launch)
    app.add_directive("clone", Clone)
    app.connect("config-inited", configure)
    app.connect("html-page-context", dress, priority=600)  # after the theme's buttons
    return {"parallel_read_safe": True, "parallel_write_safe": True}
