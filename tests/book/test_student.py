"""The edition for students: empty cells, and checks of them made of the solutions' asserts."""

import ast
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from reader.notebook import reader_copy
from reader.self_check import self_check, statements
from reader.site import Book

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "book" / "chapters").glob("*.ipynb"))
START = (
    "```{{exercise}} {0}\n:label: {0}\nDo.\n```\n\n```{{solution-start}} {0}\n:class: dropdown\n```"
)
END = "It is so. <!-- claim: a -->\n\n```{solution-end}\n```"


def code(source, hidden=False):
    tags = {"tags": ["remove-cell"]} if hidden else {}
    return nbformat.v4.new_code_cell(source, metadata=tags)


def chapter(
    *cells, setup="data = [1, 2, 3]\ntotal = 99", secret="count = len(data)\nkeep(n=count)"
):
    """A chapter with one exercise, solved by ``cells``."""
    return nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# Title"),
            code(setup),
            code(secret, hidden=True),
            nbformat.v4.new_markdown_cell(START.format("ex-a")),
            *cells,
            nbformat.v4.new_markdown_cell(END),
        ]
    )


def student(tmp_path, notebook):
    """Codes of the student's copy: those before the exercise, the empty cell, the checks."""
    source = tmp_path / "01_small.ipynb"
    nbformat.write(notebook, source)
    copy = reader_copy(Book(tmp_path), source, {}, "student")
    codes = [cell.source for cell in copy.cells if cell.cell_type == "code"]
    at = next(i for i, c in enumerate(codes) if c.startswith("# your solution"))
    return "\n".join(codes[:at]), codes[at], codes[at + 1 :]


def run(*codes):
    place = {}
    for part in codes:
        exec(part, place)


SOLVED = code("total = sum(data)\nmean = total / 3")
CHECKED = code(
    "gap = abs(total - 2 * count)\nnoise = 3\nkeep(gap=gap, noise=noise)\n"
    'claim("a", (gap < 1) & (mean == 2), gap, *data, at_quick_budget=True)\nassert mean > 0',
    hidden=True,
)


def test_the_check_passes_on_the_solution_alone(tmp_path):
    before, empty, (check,) = student(tmp_path, chapter(SOLVED, CHECKED))
    # an earlier total, which an untouched cell must not live on, is emptied
    assert empty == "# your solution: the check below looks at\nmean = ...\ntotal = ..."
    assert "keep" not in check
    assert "noise" not in check
    assert "claim" not in check
    run(before, SOLVED.source, check)
    run(before, empty, SOLVED.source, check)
    with pytest.raises(AssertionError, match="first define in the cell above: mean, total"):
        run(before, empty, check)
    with pytest.raises(AssertionError, match="first define in the cell above: total"):
        run(before, empty, "mean = 2", check)
    with pytest.raises(AssertionError, match=r"not yet; it is judged by', 1, 1, 2, 3"):
        run(before, empty, "total, mean = 7, 2", check)


def test_a_claim_of_the_full_budget_is_not_made_at_the_quick_one(tmp_path, monkeypatch):
    judged = code('if count:\n    keep(m=mean)\n    claim("a", mean == 2, mean)', hidden=True)
    before, _, (check,) = student(tmp_path, chapter(SOLVED, judged))
    monkeypatch.setenv("BNNBOOK_FAST", "1")
    run(before, "mean = 5", check)
    with pytest.raises(AssertionError, match="first define"):
        run(before, check)
    monkeypatch.delenv("BNNBOOK_FAST")
    run(before, "mean = 2", check)
    with pytest.raises(AssertionError, match="not yet"):
        run(before, "mean = 5", check)


def test_asserts_in_view_are_part_of_the_check(tmp_path):
    seen = code("mean = 2\n\n\ndef twice(x):\n    return 2 * x\n\n\nassert twice(mean) == 4")
    before, empty, (check,) = student(tmp_path, chapter(seen))
    assert "return" not in check
    run(before, seen.source, check)
    with pytest.raises(AssertionError, match="mean, twice"):
        run(before, empty, check)
    with pytest.raises(AssertionError):
        run(before, "mean = 2\ntwice = int", check)


@pytest.mark.parametrize("unchecked", ["", "keep(gap=mean)"])
def test_a_solution_without_asserts_has_no_check(tmp_path, unchecked):
    _, empty, checks = student(tmp_path, chapter(SOLVED, code(unchecked, hidden=True)))
    assert empty.strip() == "# your solution"
    assert checks == []


@pytest.mark.parametrize(
    ("source", "stores", "loads"),
    [
        ("a = [b for b in c]", "a", "c"),
        ("a = {k: v[d] for k, v in c.items() if k}", "a", "c d"),
        ("a += b", "a", "a b"),
        ("def f(x, *, y=a):\n    z = x + b\n    return z", "f", "a b"),
        ("a = lambda x: x + b", "a", "b"),
        ("import x.y as z, u.v", "z u", ""),
        ("for i, j in a:\n    b[i] = j", "i j", "a b i j"),
        ("with a() as b:\n    c = b", "b c", "a b"),
    ],
)
def test_names_that_a_statement_binds_and_reads(source, stores, loads):
    (found,) = statements(source, "shown")
    assert found.stores == frozenset(stores.split())
    assert found.loads == frozenset(loads.split())


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_solution_that_asserts_has_a_check_that_an_untouched_cell_fails(source):
    notebook = nbformat.read(source, 4)
    asserting, inside = 0, None
    for cell in notebook.cells:
        if "{solution-end}" in cell.source:
            asserting += bool(inside)
            inside = None
        if "{solution-start}" in cell.source:
            inside = 0
        if inside is not None and cell.cell_type == "code":
            parts = list(ast.walk(ast.parse(cell.source)))
            called = [p.func.id for p in parts if isinstance(p, ast.Call) and hasattr(p.func, "id")]
            inside += sum(isinstance(p, ast.Assert) for p in parts) + called.count("claim")
    copy = reader_copy(Book(ROOT), source, {}, "student")
    codes = [cell.source for cell in copy.cells if cell.cell_type == "code"]
    checks = [(a, b) for a, b in pairwise(codes) if "# self-check" in b]
    assert len(checks) == asserting > 2
    for empty, check in checks:
        assert empty.startswith("# your solution")
        blanks = [part.targets[0].id for part in ast.parse(empty).body]
        with pytest.raises(AssertionError) as told:
            run(empty, check)
        assert blanks
        assert all(name in str(told.value) for name in blanks)
        assert "claim(" not in check
        assert "keep(" not in check
        shown = {name for s in codes[: codes.index(check)] for t in statements(s, "shown")
                 for name in t.stores}  # fmt: skip
        bound = shown | set(dir(__builtins__)) | set(__builtins__)
        for part in statements(check, "shown"):
            assert part.loads <= bound | part.stores, part.loads - bound
            bound |= part.stores


def test_an_else_with_a_check_outlives_an_if_that_only_keeps():
    source = "if quick:\n    keep('n', 1)\nelse:\n    assert answer == 1"
    quick, answer = statements("quick = False", "shown"), statements("answer = 1", "solution")
    check = self_check([*answer, *statements(source, "solution")], list(quick))
    exec(check, {"quick": False, "answer": 1})
    with pytest.raises(AssertionError):
        exec(check, {"quick": False, "answer": 2})
