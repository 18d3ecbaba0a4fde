"""The code stays in pieces that can be read: modules of 300 lines, functions of 60."""

import ast
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
LONGEST_MODULE = 300  # lines
LONGEST_FUNCTION = 60  # lines of code: no docstring, no comment, no blank line


def docstring_lines(tree):
    lines = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            lines |= set(range(first.lineno, first.end_lineno + 1))
    return lines


def long_functions(source):
    """Name and lines of code of each function that has too many."""
    tree, text = ast.parse(source), source.splitlines()
    left_out = docstring_lines(tree)
    left_out |= {i for i, line in enumerate(text, 1) if line.strip()[:1] in ("", "#")}
    functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    sizes = {f.name: len(set(range(f.lineno, f.end_lineno + 1)) - left_out) for f in functions}
    return {name: size for name, size in sizes.items() if size > LONGEST_FUNCTION}


def test_a_long_function_is_seen():
    body = "    # a comment\n\n    x = 1\n"
    for lines, found in ((59, {}), (60, {"f": 61})):
        assert long_functions('def f():\n    """Two\n    lines."""\n' + body * lines) == found


def test_sizes():
    folders = (ROOT / "bnnbook", ROOT / "tools")
    sources = {path: path.read_text() for folder in folders for path in folder.rglob("*.py")}
    assert sources
    long = {path: n for path, s in sources.items() if (n := len(s.splitlines())) > LONGEST_MODULE}
    assert not long
    functions = {path: found for path, s in sources.items() if (found := long_functions(s))}
    assert not functions


def shared_generators(source):
    """Names of a module's own generators that the tests in it would draw from in turn."""
    made = (node for node in ast.parse(source).body if isinstance(node, ast.Assign | ast.AnnAssign))
    calls = (node for node in made if isinstance(node.value, ast.Call))
    named = [n for n in calls if ast.unparse(n.value.func).endswith(("default_rng", "RandomState"))]
    targets = (n.targets if isinstance(n, ast.Assign) else [n.target] for n in named)
    return {ast.unparse(target) for several in targets for target in several}


def test_a_shared_generator_is_seen():
    source = "rng = np.random.default_rng(1)\nX = np.random.default_rng(2).normal(size=3)\n"
    assert shared_generators(source) == {"rng"}


def test_numbers_do_not_depend_on_the_order_of_the_tests():
    """conftest.py starts ``RNG`` anew for every test and fixture, and no other name."""
    for path in (ROOT / "tests").rglob("*.py"):
        assert shared_generators(path.read_text()) <= {"RNG"}, path.name


RNG = np.random.default_rng(0)
FIRST = []


@pytest.mark.parametrize("_", range(2))
def test_a_test_starts_its_numbers_anew(_):
    FIRST.append(RNG.random())
    assert set(FIRST) == {FIRST[0]}
    assert FIRST[0] != np.random.default_rng(0).random()
