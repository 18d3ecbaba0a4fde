"""The pages of the package: every public name described, every example run, every link whole."""

import doctest
import importlib
import inspect
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
import yaml

import bnnbook

ROOT = Path(__file__).resolve().parents[2]
ROOMS = [getattr(bnnbook, name) for name in bnnbook.__all__]
MODULES = [m.name for m in pkgutil.walk_packages(bnnbook.__path__, "bnnbook.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)
    found = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.failed == 0


@pytest.mark.parametrize("room", ["metrics", "uncertainty", "diagnostics"])
def test_every_function_has_an_example(room):
    module = getattr(bnnbook, room)
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isfunction(value):
            assert ">>>" in value.__doc__, name


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.__name__)
def test_every_public_name_is_described(room):
    import api_pages

    for name in room.__all__:
        value = getattr(room, name)
        if api_pages.described_by_docstring(value):
            first = inspect.getdoc(value).splitlines()[0]
            assert first.endswith((".", ":")), name
            assert not first.startswith(f"{name}("), name  # what dataclasses write by themselves
        else:
            assert api_pages.comment(room, name)


def test_every_room_has_a_page():
    toc = (ROOT / "_toc.yml").read_text()
    for room in ROOMS:
        short = room.__name__.rpartition(".")[2]
        assert f"- file: book/api/{short}\n" in toc
        assert f".. api:: {room.__name__}\n" in (ROOT / "book" / "api" / f"{short}.md").read_text()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages of the package alone, built as the book is, every warning an error."""
    pytest.importorskip("jupyter_book")
    folder = tmp_path_factory.mktemp("api")
    for name in ("bnnbook", "tools", "book/api", "book/_static"):
        shutil.copytree(ROOT / name, folder / name)
    for name in (
        "_config.yml",
        *(f"book/{n}" for n in ("references.bib", "interactive.yml", "quiz.yml")),
    ):
        shutil.copy(ROOT / name, folder / name)
    config = yaml.safe_load((folder / "_config.yml").read_text())
    config["execute"]["execute_notebooks"] = "off"
    (folder / "_config.yml").write_text(yaml.safe_dump(config))
    (folder / "book" / "index.md").write_text("# Book\n")
    (folder / "book" / "chapters").mkdir()
    code = "from bnnbook import metrics\n\nmetrics.nll([1], [0.5])"
    chapter = f"# A chapter\n\n```python\n{code}\n```\n"
    (folder / "book" / "chapters" / "01_one.md").write_text(chapter)
    pages = [f"book/api/{name}" for name in bnnbook.__all__]
    toc = {
        "format": "jb-book", "root": "book/index",
        "chapters": [{"file": page} for page in ("book/chapters/01_one", *pages)],
    }  # fmt: skip
    (folder / "_toc.yml").write_text(yaml.safe_dump(toc))
    built = subprocess.run(
        [Path(sys.executable).with_name("jupyter-book"), "build", ".", "-W", "-n", "--keep-going"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    said = re.sub(r"\x1b\[[0-9;]*m", "", built.stdout + built.stderr)
    warnings = [line for line in said.splitlines() if "WARNING" in line or "ERROR" in line]
    assert built.returncode == 0, "\n".join(warnings) or said[-3000:]
    return folder / "_build" / "html" / "book"


def test_pages_name_and_link_everything(site):
    """One test, for two would have the pages built twice where tests run in two processes."""
    for room in ROOMS:
        page = (site / "api" / f"{room.__name__.rpartition('.')[2]}.html").read_text()
        for name in room.__all__:
            assert f'id="{room.__name__}.{name}"' in page, name
        functions = [n for n in room.__all__ if inspect.isfunction(getattr(room, n))]
        assert page.count('<span class="viewcode-link">') >= len(functions), room.__name__
        for source in set(re.findall(r'href="([^"#]*_modules[^"#]*)#', page)):
            assert (site / "api" / source).is_file()
    chapter = (site / "chapters" / "01_one.html").read_text()
    assert '<a class="api-link" href="../api/metrics.html#bnnbook.metrics.nll">' in chapter


def test_used_in_is_found_in_notebooks(tmp_path):
    import api_pages

    cell = {"cell_type": "code", "source": ["x = metrics.nll(y, p)\n", "metrics.unheard_of\n"]}
    text = {"cell_type": "markdown", "source": ["metrics.brier"]}
    path = tmp_path / "03_three.ipynb"
    path.write_text(json.dumps({"cells": [cell, text]}))
    env = types.SimpleNamespace(
        found_docs={"book/chapters/03_three", "book/index"}, doc2path=lambda _: str(path)
    )
    found = api_pages.uses(env, bnnbook.metrics)
    assert found == {"nll": [":doc:`chapter 3 </book/chapters/03_three>`"]}


def test_links_to_names_that_are_nowhere_are_left_to_the_warning():
    import api_pages

    env = types.SimpleNamespace(get_domain=lambda _: types.SimpleNamespace(objects={}))
    for target, expected in (("bnnbook.checks.positive_int", "text"), ("no_such_thing", None)):
        node = {"refdomain": "py", "reftarget": target}
        assert api_pages.find_in_package(None, env, node, "text") == expected
