"""What a student's copy has in the place of a solution: names to fill in, and a check of them.

The check is made of the solution's own asserts and claims. What they compare with and a student
does not see, such as a number that a hidden cell of the chapter computed, comes with them.
"""

from __future__ import annotations

import ast
import builtins
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Statement", "empty_cell", "self_check", "statements"]

CALLS = ("keep", "claim")  # of the build alone
FULL = 'os.environ.get("BNNBOOK_FAST") != "1"'
HEAD = "# self-check: run it once your solution stands in the cell above"


@dataclass(frozen=True)
class Statement:
    """A statement of the chapter: what it binds and reads, and whether the copy has it.

    ``place`` is "shown" (in the copy), "hidden" (in a cell of the build alone), "solution" (taken
    out, for a student to write).
    """

    source: str
    node: ast.stmt
    place: str
    stores: frozenset[str]
    loads: frozenset[str]
    changes: frozenset[str]


def statements(source: str, place: str) -> Iterator[Statement]:
    """The statements of one code cell; lines that are no Python are left out."""
    lines = source.split("\n")
    source = "\n".join("" if line.startswith(("%", "!")) else line for line in lines)
    for node in ast.parse(source).body:
        segment = ast.get_source_segment(source, node)
        text = ast.unparse(node) if segment is None or _decorated(node) else segment
        names = _Names()
        names.visit(node)
        found = frozenset(names.stores), frozenset(names.loads), _changed(node)
        yield Statement(text, node, place, *found)


def empty_cell(solution: list[Statement], before: list[Statement]) -> str:
    """The cell that a student fills in: the names that the check looks at, with nothing in them."""
    blanks = _blanks(solution, _check(solution, before)[1])
    if not blanks:
        return "# your solution\n"
    return "\n".join(["# your solution: the check below looks at", *(f"{n} = ..." for n in blanks)])


def self_check(solution: list[Statement], before: list[Statement]) -> str | None:
    """The check of a solution as one cell; None if the solution asserts nothing.

    Parameters
    ----------
    solution : list of Statement
        Those between the solution's marks: places "solution" and "hidden".
    before : list of Statement
        All that come before them in the chapter.

    Returns
    -------
    str or None
        Code that raises AssertionError on an untouched cell, naming what to define, and on a wrong
        solution, and nothing on the model solution. Claims that hold at full budget only are not
        checked with ``BNNBOOK_FAST=1``.
    """
    body, wanted = _check(solution, before)
    if not body:
        return None
    text = "\n".join(body)
    lines = [HEAD]
    lines += ["import os"] * ("os.environ" in text) + ["import numpy as np"] * ("np.all(" in text)
    if wanted:
        names = ", ".join(f'"{name}"' for name in wanted) + "," * (len(wanted) == 1)
        lines += [
            f"missing = [n for n in ({names}) if globals().get(n, ...) is ...]",
            """assert not missing, f"first define in the cell above: {', '.join(missing)}\"""",
        ]
    return "\n".join([*lines, text])


def _check(solution: list[Statement], before: list[Statement]) -> tuple[list[str], list[str]]:
    """The lines of the check, and the names that students define for it."""
    asserting = [s for s in solution if _asserts(s.node)]
    if not asserting:
        return [], []
    own = [s for s in solution if s.place == "hidden" or s in asserting]
    needed: set[str] = set()
    kept: list[str] = []
    for s in reversed(own):
        if s in asserting or (s.stores | s.changes) & needed:
            kept.insert(0, _without_build(s))
            needed = (needed - s.stores) | (s.loads - set(CALLS))
    written = _bound(s for s in solution if s.place == "solution")
    wanted = needed & written
    needed -= wanted
    modules = _bound(s for s in before if isinstance(s.node, ast.Import | ast.ImportFrom))
    for s in reversed(before):
        changes = s.changes - modules if s.place == "hidden" else set()
        if not (s.stores | changes) & needed:
            continue
        if s.place == "solution":
            wanted |= s.stores & needed
        if s.place == "hidden":
            kept.insert(0, _without_build(s))
            needed |= s.loads - set(CALLS)
        needed -= s.stores
    return [line for line in kept if line], sorted(wanted - set(dir(builtins)))


def _blanks(solution: list[Statement], wanted: list[str]) -> list[str]:
    """Names to leave blank: those that the solution does not itself read before it binds them."""
    bound: set[str] = set()
    read: set[str] = set()
    for s in solution:
        read |= s.loads - bound
        bound |= s.stores
    return [name for name in wanted if name in bound and name not in read]


def _bound(found: Iterable[Statement]) -> set[str]:
    return {name for s in found for name in s.stores}


class _Names(ast.NodeVisitor):
    """Names that a statement binds in the module, and those that it reads from there.

    The standard library's ``symtable`` counts the names of comprehensions in some versions of
    Python and not in others.
    """

    def __init__(self) -> None:
        self.stores: set[str] = set()
        self.loads: set[str] = set()
        self.inner: list[set[str]] = []  # what each enclosing function or comprehension binds

    def visit_Name(self, node: ast.Name) -> None:
        if not any(node.id in bound for bound in self.inner):
            (self.loads if isinstance(node.ctx, ast.Load) else self.stores).add(node.id)

    def visit_alias(self, node: ast.alias) -> None:
        if not self.inner:
            self.stores.add(node.asname or node.name.split(".")[0])

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.generic_visit(node)
        if isinstance(node.target, ast.Name):
            self.loads.add(node.target.id)

    def visit_comprehension_of(self, node: Any) -> None:
        self.visit(node.generators[0].iter)
        self.inner.append(_stored(*(part.target for part in node.generators)))
        self.generic_visit(node)
        self.inner.pop()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_comprehension_of
    visit_GeneratorExp = visit_comprehension_of

    def visit_function(self, node: Any) -> None:
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        if not isinstance(node, ast.Lambda) and not self.inner:
            self.stores.add(node.name)
        given = node.args
        for part in (*getattr(node, "decorator_list", ()), *given.defaults, *given.kw_defaults):
            if part is not None:
                self.visit(part)
        named = [part.arg for part in ast.walk(given) if isinstance(part, ast.arg)]
        self.inner.append(_stored(*body) | set(named))
        for part in body:
            self.visit(part)
        self.inner.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = visit_function

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.stores.add(node.name)
        self.inner.append(_stored(*node.body))
        self.generic_visit(node)
        self.inner.pop()


def _stored(*nodes: ast.AST) -> set[str]:
    parts = [part for node in nodes for part in ast.walk(node)]
    names = {p.id for p in parts if isinstance(p, ast.Name) and isinstance(p.ctx, ast.Store)}
    return names | {p.name for p in parts if isinstance(p, ast.FunctionDef | ast.ClassDef)}


def _changed(node: ast.stmt) -> frozenset[str]:
    """Names of what a statement changes in place: ``a[0] = 1``, ``a.b = 1``, ``a.append(1)``."""
    changed = set()
    for part in ast.walk(node):
        stored = isinstance(getattr(part, "ctx", None), ast.Store)
        call = isinstance(part, ast.Expr) and isinstance(part.value, ast.Call)
        root: Any = part.value.func if call else part  # type: ignore[attr-defined]
        if not (stored or call):
            continue
        inside = False
        while isinstance(root, ast.Subscript | ast.Attribute):
            root, inside = root.value, True
        if inside and isinstance(root, ast.Name):
            changed.add(root.id)
    return frozenset(changed)


def _decorated(node: ast.stmt) -> bool:
    return bool(getattr(node, "decorator_list", None))


def _called(node: ast.AST) -> str | None:
    """The name of the function that an expression statement calls."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return getattr(node.value.func, "id", None)
    return None


def _asserts(node: ast.stmt) -> bool:
    return any(isinstance(part, ast.Assert) or _called(part) == "claim" for part in ast.walk(node))


def _without_build(s: Statement) -> str:
    """The source of a statement, its claims as asserts and without what is kept for the page."""
    if not any(_called(part) in CALLS for part in ast.walk(s.node)):
        return s.source
    if _called(s.node) == "claim":
        (again,) = ast.parse(s.source).body  # with the lines of this source
        return _assertion(again.value, s.source)  # type: ignore[attr-defined]
    changed = _Asserts(s.source).visit(ast.parse(s.source))
    return ast.unparse(ast.fix_missing_locations(changed))


class _Asserts(ast.NodeTransformer):
    """Claims become asserts; calls of ``keep`` go, and blocks that held nothing else with them."""

    def __init__(self, source: str) -> None:
        self.source = source

    def visit_Expr(self, node: ast.Expr) -> Any:
        called = _called(node)
        if called == "claim":
            return ast.parse(_assertion(node.value, self.source)).body  # type: ignore[arg-type]
        return None if called == "keep" else node

    def visit_If(self, node: ast.If) -> Any:
        self.generic_visit(node)
        if not node.body and getattr(node, "orelse", None):
            node.body = [ast.Pass()]
        return node if node.body else None

    visit_For = visit_With = visit_If  # type: ignore[assignment]


def _assertion(call: ast.Call, source: str) -> str:
    """``claim(name, holds, *values)`` as an assert; at full budget only, unless it says more."""
    _, holds, *values = call.args
    shown = ", ".join(ast.unparse(value) for value in values)
    told = f', ("not yet; it is judged by", {shown})' if shown else ', "not yet"'
    text = ast.get_source_segment(source, holds) or ast.unparse(holds)
    text = f"\n    {text}\n" if "\n" in text or len(text) > 60 else text
    check = f"assert np.all({text}){told}"
    quick = any(
        option.arg == "at_quick_budget" and getattr(option.value, "value", False)
        for option in call.keywords
    )
    return check if quick else f"if {FULL}:\n{textwrap.indent(check, '    ')}"
