"""Sphinx extension: one page for each module of the package, from its docstrings.

``.. api:: bnnbook.metrics`` lists every name of the module's ``__all__``, with its signature, its
docstring, its source and the chapters that use it.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

# how ``module.name`` looks when it has been coloured
CALL = re.compile(
    r'<span class="n">(?P<module>\w+)</span><span class="o">\.</span>'
    r'<span class="n">(?P<name>\w+)</span>'
)


class ApiPage(SphinxDirective):
    """The directive ``api``; its argument is a module with ``__all__``."""

    required_arguments = 1
    has_content = False

    def run(self) -> list[nodes.Node]:
        """Write the page as reStructuredText and parse it."""
        module = importlib.import_module(self.arguments[0])
        lines = [*page(module, uses(self.env, module)), ""]
        for file in sources(module):
            self.env.note_dependency(file)
        node = nodes.section()
        node.document = self.state.document
        text = StringList(lines, source=f"api page of {module.__name__}")
        self.state.nested_parse(text, self.content_offset, node)
        return node.children


def page(module: ModuleType, used: dict[str, list[str]]) -> Iterator[str]:
    """Lines of a module's page."""
    name = module.__name__
    yield from (f".. py:module:: {name}", "")
    yield from inspect.getdoc(module).splitlines()
    yield ""
    public = sorted(module.__all__, key=str.casefold)
    described = [n for n in public if described_by_docstring(getattr(module, n))]
    yield from (".. list-table::", "   :widths: 30 70", "")
    for n in described:
        first = inspect.getdoc(getattr(module, n)).splitlines()[0]
        yield from (f"   * - :py:obj:`~{name}.{n}`", f"     - {first}")
    for n in public:
        yield ""
        value = getattr(module, n)
        if n not in described:
            yield from (f".. py:data:: {n}", "")
            yield from (f"   {line}" for line in comment(module, n))
        elif inspect.isclass(value):
            yield from (f".. autoclass:: {name}.{n}", "   :members:")
        else:
            yield f".. autofunction:: {name}.{n}"
        if n in used:
            yield from ("", f"   *Used in* {', '.join(used[n])}.")


def described_by_docstring(value: object) -> bool:
    """Whether a public name is a class or a function and not a constant."""
    return inspect.isclass(value) or inspect.isroutine(value)


def sources(module: ModuleType) -> list[str]:
    """Files of a module and of those inside it."""
    return [importlib.import_module(n).__file__ or "" for n in names_inside(module)]


def names_inside(module: ModuleType) -> list[str]:
    """Names of a module and of those inside it."""
    inside = pkgutil.walk_packages(getattr(module, "__path__", []), f"{module.__name__}.")
    return [module.__name__, *(m.name for m in inside)]


def comment(module: ModuleType, name: str) -> list[str]:
    """The text below a constant, wherever in the module's package it is set."""
    for file in sources(module):
        found = ModuleAnalyzer.for_file(file, name).find_attr_docs().get(("", name))
        if found:
            return found
    raise LookupError(f"{module.__name__}.{name} needs a docstring below it")


def uses(env: Any, module: ModuleType) -> dict[str, list[str]]:
    """References to the chapters whose code names a public name of the module."""
    short, found = module.__name__.rpartition(".")[2], {}
    for doc in sorted(d for d in env.found_docs if d.startswith("book/chapters/")):
        path = Path(env.doc2path(doc))
        if path.suffix != ".ipynb":
            continue
        cells = json.loads(path.read_text())["cells"]
        code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
        for name in set(re.findall(rf"\b{short}\.(\w+)", code)) & set(module.__all__):
            number = int(re.match(r"\d*", path.stem)[0] or 0)
            found.setdefault(name, []).append(f":doc:`chapter {number} </{doc}>`")
    return found


def find_in_package(_: Any, env: Any, node: Any, text: Any) -> Any:
    """A name in a docstring that its own module's page does not have.

    It may stand on another page; or be internal, and is then no link. What is nowhere in the
    package is left to the warning that it deserves.
    """
    if node.get("refdomain") != "py":
        return None
    domain, name = env.get_domain("py"), node["reftarget"].rpartition(".")[2]
    found = [f for f in domain.objects if f.startswith("bnnbook.") and f.endswith(f".{name}")]
    if len(found) == 1:
        target = domain.objects[found[0]]
        return make_refnode(
            env.app.builder, node["refdoc"], target.docname, target.node_id, text, found[0]
        )
    package = importlib.import_module("bnnbook")
    modules = [importlib.import_module(n) for n in names_inside(package)]
    return text if any(hasattr(module, name) for module in modules) else None


def skip_fields(_: Any, what: str, __: str, member: Any, skip: bool, ___: Any) -> bool | None:
    """Leave out the fields of named tuples, which the docstring of their class describes."""
    if what == "class" and type(member).__name__ == "_tuplegetter":
        return True
    return skip or None


def link_code(app: Any, page_name: str, _: str, context: dict[str, Any], __: Any) -> None:
    """Link ``plots.grid`` and its like in the code of the pages to where they are described."""
    if not page_name.startswith(("book/chapters/", "book/howto/")) or "body" not in context:
        return
    objects = app.env.get_domain("py").objects

    def linked(match: re.Match) -> str:
        name = f"bnnbook.{match['module']}.{match['name']}"
        if name not in objects:
            return match[0]
        place = f"{context['pathto'](objects[name].docname)}#{name}"
        return f'<a class="api-link" href="{place}">{match[0]}</a>'

    context["body"] = CALL.sub(linked, context["body"])


def setup(app: Any) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("api", ApiPage)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("missing-reference", find_in_package)
    app.connect("html-page-context", link_code)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
