"""Students' copies, run as they are: an untouched cell fails its check, and the model solution in
its place passes.

At quick budget, as a student may have set it. Chapter 0; with ``BNNBOOK_LAB=all`` chapter 2 too,
which takes as long as it does at quick budget.
"""

import os
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from reader.notebook import _hidden, _pieces, reader_copy
from reader.site import Book

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = ROOT / "book" / "chapters"
EMPTY, CHECK = "# your solution", "# self-check"


def solutions(notebook):
    """The code of each model solution that a reader sees, in the order of the exercises."""
    found, inside = [], False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for kind, _ in _pieces(cell.source):
                inside = kind == "start" or (inside and kind != "end")
                found += [[]] if kind == "start" else []
        elif inside and not _hidden(cell):
            found[-1].append(cell.source)
    return ["\n\n\n".join(parts) for parts in found]


def solved(copy, models):
    """The copy with each check run twice: on the empty cell, and on the model solution."""
    cells, models = [], iter(models)
    for cell, after in zip(copy.cells, [*copy.cells[1:], None], strict=True):
        if cell.cell_type != "code":
            continue
        if cell.source.startswith(EMPTY):
            if after is not None and after.source.startswith(CHECK):
                tags = {"tags": ["untouched", "raises-exception"]}
                cells += [cell, nbformat.v4.new_code_cell(after.source, metadata=tags)]
            cells.append(nbformat.v4.new_code_cell(next(models)))
        else:
            cells.append(cell)
    assert next(models, None) is None
    return nbformat.v4.new_notebook(cells=cells, metadata=copy.metadata)


ALL = os.environ.get("BNNBOOK_LAB") == "all"
RUN = [("00_start", 4), ("02_hierarchical", 4)][: 2 if ALL else 1]


@pytest.mark.parametrize(("name", "checks"), RUN)
def test_the_model_solution_passes_where_an_untouched_cell_fails(
    name, checks, tmp_path, monkeypatch
):
    monkeypatch.setenv("BNNBOOK_FAST", "1")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    source = CHAPTERS / f"{name}.ipynb"
    shutil.copytree(CHAPTERS / "data", tmp_path / "data")
    shutil.copy(CHAPTERS / "book_support.py", tmp_path)
    copy = reader_copy(Book(ROOT), source, {}, "student")
    run = solved(copy, solutions(nbformat.read(source, 4)))
    # an error in any cell that is not an untouched one's check ends the run
    NotebookClient(run, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    untouched = [c for c in run.cells if "untouched" in c.metadata.get("tags", [])]
    assert len(untouched) == checks
    assert sum(cell.source.startswith(CHECK) for cell in run.cells) == 2 * checks
    for cell in untouched:
        (error,) = [o for o in cell.outputs if o.output_type == "error"]
        assert error.ename == "AssertionError"
        assert "first define in the cell above" in error.evalue
