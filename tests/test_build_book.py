"""When chapters run again: the key of the execution cache, and the builds that use it."""

import importlib.util
import subprocess
import types
from pathlib import Path

import nbformat
import pooch
import pytest
from myst_nb.core.read import myst_nb_reader_plugin

TOOL = Path(__file__).parent.parent / "tools" / "build_book.py"


def load_tool():
    spec = importlib.util.spec_from_file_location("build_book", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


@pytest.fixture
def book(tmp_path, monkeypatch):
    """The build tool on a tiny project, with every command it runs recorded and not run."""
    tool = load_tool()
    for name, path in {"ROOT": ".", "BUILD": "_build", "CACHE": "_build/.jupyter_cache"}.items():
        monkeypatch.setattr(tool, name, tmp_path / path)
    for name in ("CACHED", "BUILT", "CHECKED"):
        monkeypatch.setattr(tool, name, tmp_path / "_build" / name)
    monkeypatch.setattr(tool, "print_run_times", lambda: None)
    monkeypatch.setattr(tool, "execute_chapters", lambda _: None)
    monkeypatch.setattr(tool, "serve_reader_copies", lambda: None)
    monkeypatch.setenv("BNNBOOK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("BNNBOOK_FAST", raising=False)
    names = ("bnnbook/models.py", "requirements.lock", "data/mnist/images.gz", *tool.CHECKS)
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "_toc.yml").write_text("root: index\nchapters:\n- file: one\n")
    tool.commands, tool.status = [], {"jupyter-book": 0, "python": 0}

    def run(command, **_):
        tool.commands.append(command)
        name = "jupyter-book" if "jupyter-book" in command[0] else "python"
        if name == "jupyter-book":
            for page in ("index", "one"):
                (tmp_path / "_build" / "html").mkdir(parents=True, exist_ok=True)
                (tmp_path / "_build" / "html" / f"{page}.html").write_text("page")
            (tmp_path / "_build" / ".jupyter_cache").mkdir(exist_ok=True)
        return subprocess.CompletedProcess(command, tool.status[name])

    monkeypatch.setattr(tool.subprocess, "run", run)
    return tool


def reads_everything(book):
    """Whether the last build of the pages read all of them again."""
    return "--all" in [c for c in book.commands if "jupyter-book" in c[0]][-1]


@pytest.mark.parametrize("name", ["bnnbook/models.py", "requirements.lock"])
def test_code_and_dependencies_are_in_the_key(book, name):
    before = book.code_key()
    assert book.code_key() == before
    (book.ROOT / name).write_text("changed")
    assert book.code_key() != before


def test_budget_and_python_version_are_in_the_key(book, monkeypatch):
    keys = {book.code_key()}
    monkeypatch.setenv("BNNBOOK_FAST", "1")
    keys.add(book.code_key())
    monkeypatch.setattr(book.platform, "python_version", lambda: "3.99.0")
    keys.add(book.code_key())
    assert len(keys) == 3


@pytest.mark.parametrize("place", ["variable", "user's cache"])
def test_data_are_in_the_key_wherever_they_lie(book, monkeypatch, place):
    if place == "user's cache":
        monkeypatch.delenv("BNNBOOK_DATA_DIR")
        monkeypatch.setattr(pooch, "os_cache", lambda _: book.ROOT / "data")
    before = book.data_key()
    (book.ROOT / "data" / "mnist" / "images.gz").write_text("other images")
    assert book.data_key() != before


def test_unchanged_build_reads_nothing_again(book):
    assert book.main() == 0
    assert reads_everything(book)
    assert book.main() == 0
    assert not reads_everything(book)
    assert book.CACHE.is_dir()


def test_pages_are_checked_when_they_or_the_checks_have_changed(book):
    def checks():
        return sum("pytest" in command for command in book.commands)

    book.status["python"] = 1
    assert book.main() == 1
    book.status["python"] = 0
    for expected in (2, 2):  # after a failure again, then no more
        assert book.main() == 0
        assert checks() == expected
    (book.ROOT / "tests" / "test_book.py").write_text("a new check")
    assert book.main() == 0
    assert checks() == 3
    (book.BUILD / "html" / "one.css").write_text("a new style")
    assert book.main() == 0
    assert checks() == 4


def test_changed_package_drops_the_results(book):
    book.main()
    (book.CACHE / "result").write_text("old")
    (book.ROOT / "bnnbook" / "models.py").write_text("changed")
    assert book.main() == 0
    assert reads_everything(book)
    assert not (book.CACHE / "result").exists()


@pytest.mark.parametrize("part", ["jupyter-book", "python"])
def test_after_a_failure_pages_are_read_again_and_results_kept(book, part):
    book.status[part] = 1
    assert book.main() == 1
    (book.CACHE / "result").write_text("good")
    book.status[part] = 0
    assert book.main() == 0
    assert reads_everything(book)
    assert (book.CACHE / "result").exists()


def test_data_fetched_during_the_build_are_no_change(book):
    run = book.subprocess.run

    def run_and_fetch(command, **options):
        (book.ROOT / "data" / "mnist" / "labels.gz").write_text("fetched")
        return run(command, **options)

    book.subprocess.run = run_and_fetch
    assert book.main() == 0
    assert book.main() == 0
    assert not reads_everything(book)


def test_missing_page_fails_the_build(book, capsys):
    (book.ROOT / "_toc.yml").write_text("root: index\nchapters:\n- file: two\n")
    assert book.main() == 1
    assert "pages missing from the build: two" in capsys.readouterr().err


def test_run_times_are_those_of_the_last_executions(monkeypatch, capsys):
    records = [
        types.SimpleNamespace(pk=pk, uri=f"book/{name}.ipynb", data={"execution_seconds": seconds})
        for pk, name, seconds in [(3, "one", 30.0), (1, "one", 10.0), (2, "two", 20.0)]
    ]
    cache = types.SimpleNamespace(list_cache_records=lambda: records)
    tool = load_tool()
    monkeypatch.setattr(tool, "get_cache", lambda _: cache)
    tool.print_run_times()
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert rows == [["one", "30.0", "s"], ["two", "20.0", "s"]]


def test_chapters_run_at_once_and_the_build_finds_them(tmp_path, monkeypatch):
    """In the folder of the chapter, in the cache of the build, and failures are left out."""
    tool = load_tool()
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "CACHE", tmp_path / "cache")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    (tmp_path / "book").mkdir()
    code = {"good": "import os; print(os.getcwd())", "bad": "1 / 0"}
    for name, source in code.items():
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
        nbformat.write(notebook, tmp_path / "book" / f"{name}.ipynb")
    head = "---\nfile_format: mystnb\nkernelspec:\n  name: python3\n---\n"
    text = tmp_path / "book" / "text.md"
    text.write_text(f"{head}# Title\n\n```{{code-cell}} ipython3\nprint(6 * 7)\n```\n")
    (tmp_path / "book" / "plain.md").write_text("# No code here\n")
    tool.execute_chapters(
        {"root": "book/good", "chapters": [{"file": f"book/{n}"} for n in ("bad", "text", "plain")]}
    )
    cache = tool.get_cache(tool.CACHE)
    good = nbformat.read(tmp_path / "book" / "good.ipynb", 4)
    _, merged = cache.merge_match_into_notebook(good)
    assert merged.cells[0].outputs[0].text.strip() == str(tmp_path / "book")
    _, merged = cache.merge_match_into_notebook(myst_nb_reader_plugin(str(text)))
    assert merged.cells[1].outputs[0].text.strip() == "42"
    assert cache.match_cache_notebook(good).data["execution_seconds"] > 0
    with pytest.raises(KeyError):
        cache.match_cache_notebook(nbformat.read(tmp_path / "book" / "bad.ipynb", 4))


@pytest.mark.parametrize(
    ("base", "expected"),
    [("", "See Glossary."), ("https://b.example/", "See [Glossary](https://b.example/g.html).")],
)
def test_the_download_button_gives_the_copy_for_readers(tmp_path, monkeypatch, base, expected):
    tool = load_tool()
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "BUILD", tmp_path)
    (tmp_path / "_config.yml").write_text(f"html:\n  baseurl: '{base}'\n")
    served = tmp_path / "html" / "_sources" / "book" / "chapters" / "one.ipynb"
    served.parent.mkdir(parents=True)
    served.write_text("the source")
    cells = [nbformat.v4.new_markdown_cell("See [Glossary](../html/g.html).")]

    def write_edition(root, folder, edition):
        assert (root, edition) == (tmp_path, "lab")
        nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "one.ipynb")

    monkeypatch.setattr(tool, "write_edition", write_edition)
    tool.serve_reader_copies()
    assert nbformat.read(served, 4).cells[0].source == expected
