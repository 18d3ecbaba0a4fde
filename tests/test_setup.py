"""Set-up and tasks, by make, by sh and by Python alone, on small checkouts with false Pythons."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = ("requirements.lock", "pyproject.toml", "tools/setup.sh", "tasks.py", "Makefile")

posix = pytest.mark.skipif(os.name == "nt", reason="a POSIX shell script")


@pytest.fixture(params=["plain", "a folder für tests"])
def checkout(request, tmp_path):
    folder = tmp_path / request.param
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


def clean_environment():
    hidden = ("PIP_", "PYTHON", "PYTENSOR", "JAX_", "BNNBOOK_", "MAKE", "MFLAGS")
    return {k: v for k, v in os.environ.items() if not k.startswith(hidden)}


def call(folder, *command, **env):
    return subprocess.run(
        list(map(str, command)), cwd=folder, env=clean_environment() | env, check=False,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def set_up(folder, **env):
    return call(folder, shutil.which("sh"), "tools/setup.sh", **env)


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{shutil.which('sh')}\n{text}\n")
    path.chmod(0o755)
    return path


def false_python(path, version="3.13.0", home="/opt/false"):
    """Says what it is, notes what it is asked to do, makes such a Python as its ``venv``."""
    described = json.dumps([[int(v) for v in version.split(".")], home])
    calls, made = path.parent / f"calls-{path.name}", path.parent / "made"
    script(
        made,
        f"""case "$1" in -c) echo '{described}';; *) echo "$@" >> "{calls}.inside";; esac""",
    )
    return script(
        path,
        f"""case "$1" in
    -c) echo '{described}';;
    tasks.py) exec "{sys.executable}" "$@";;
    *) echo "$@" >> "{calls}"
       [ "$2" != venv ] || {{ rm -rf .venv; mkdir -p .venv/bin; cp "{made}" .venv/bin/python; }};;
esac""",
    )


def calls_of(path):
    own, inside = (path.parent / f"calls-{path.name}{end}" for end in ("", ".inside"))
    return [p.read_text() if p.exists() else "" for p in (own, inside)]


@posix
def test_no_python_is_said_in_one_line(checkout):
    script(checkout / "bin" / "python3", "exit 1")  # too old
    result = set_up(checkout, PATH=str(checkout / "bin"))
    assert result.returncode == 1
    assert result.stderr.startswith("set-up: no Python >= 3.12 found on the path")
    assert result.stderr.count("\n") == 1
    assert not (checkout / ".venv").exists()


@posix
@pytest.mark.parametrize("how", ["sh", "make", "python"])
@pytest.mark.parametrize("named", ["/nonexistent/python", "old"])
def test_a_python_that_is_named_is_never_replaced(checkout, tmp_path, how, named):
    if named == "old":
        named = str(false_python(tmp_path / "bin" / "python", "3.11.7"))
    commands = {
        "sh": [shutil.which("sh"), "tools/setup.sh"], "make": ["make", "setup"],
        "python": [sys.executable, "tasks.py", "setup"],
    }  # fmt: skip
    result = call(checkout, *commands[how], PYTHON=named)
    assert result.returncode != 0
    assert f"set-up: PYTHON={named} is not a Python >= 3.12; name another" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (checkout / ".venv").exists()


@posix
def test_a_python_that_is_named_is_taken(checkout, tmp_path):
    named = false_python(tmp_path / "bin" / "own python")
    result = call(checkout, "make", "setup", f"PYTHON={named}")
    assert result.returncode == 0, result.stderr
    assert "with Python 3.13.0 (" in result.stdout
    own, inside = calls_of(named)
    assert "-m venv --clear" in own
    assert "--require-hashes --no-deps -r requirements.lock" in inside
    assert "--editable ." in inside


@posix
def test_an_environment_of_another_python_is_made_anew_with_a_word(checkout, tmp_path):
    first, second = (
        false_python(tmp_path / v / "python", v, f"/opt/{v}") for v in ("3.12.1", "3.13.0")
    )
    assert set_up(checkout, PYTHON=str(first)).returncode == 0
    (checkout / ".venv" / "left-over").touch()
    again = set_up(checkout, PYTHON=str(first))
    assert again.returncode == 0
    assert again.stdout == ""  # the same one: nothing to do
    assert (checkout / ".venv" / "left-over").exists()
    result = set_up(checkout, PYTHON=str(second))
    assert result.returncode == 0, result.stderr
    assert ".venv has Python 3.12.1; making it anew with Python 3.13.0, as named" in result.stdout
    assert not (checkout / ".venv" / "left-over").exists()
    assert "-m venv --clear" in calls_of(second)[0]


@posix
def test_packages_are_installed_again_only_when_the_lock_changes(checkout, tmp_path):
    named = false_python(tmp_path / "bin" / "python")
    for _ in range(2):
        assert set_up(checkout, PYTHON=str(named)).returncode == 0
    assert calls_of(named)[1].count("requirements.lock") == 1
    with (checkout / "requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    assert set_up(checkout, PYTHON=str(named)).returncode == 0
    assert calls_of(named)[1].count("requirements.lock") == 2
    assert calls_of(named)[0].count("venv --clear") == 1


@posix
def test_offline_says_what_could_not_be_fetched(checkout):
    result = set_up(
        checkout, PYTHON=sys.executable, PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_CONFIG_FILE=os.devnull, PIP_RETRIES="0", PIP_NO_CACHE_DIR="1",
    )  # fmt: skip
    first = (checkout / "requirements.lock").read_text().split("==")[0]
    assert result.returncode == 1
    assert first in result.stderr
    assert "could not be fetched; check the network connection" in result.stderr
    assert not (checkout / ".venv" / ".ready").exists()


@posix
def test_set_up_begins_again_after_an_interruption(checkout, tmp_path):
    """A half-made environment, whose Python does not run yet, is made anew."""
    script(checkout / ".venv" / "bin" / "python", "exit 1")
    (checkout / ".venv" / "left-over").touch()
    named = false_python(tmp_path / "bin" / "python")
    result = set_up(checkout, PYTHON=str(named))
    assert result.returncode == 0, result.stderr
    assert (checkout / ".venv" / ".ready").exists()
    assert not (checkout / ".venv" / "left-over").exists()


def load_tasks(folder):
    spec = importlib.util.spec_from_file_location("tasks", folder / "tasks.py")
    tasks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tasks)
    return tasks


@posix
def test_make_and_python_list_the_same_tasks(checkout):
    by_python = call(checkout, sys.executable, "tasks.py")
    by_make = call(checkout, "make", PYTHON=sys.executable)
    assert by_python.stdout == by_make.stdout
    names = re.search(r"TASKS := (.*)", (ROOT / "Makefile").read_text())[1].split()
    assert names == list(load_tasks(ROOT).TASKS)
    assert [line.split()[0] for line in by_python.stdout.splitlines()] == names
    unknown = call(checkout, sys.executable, "tasks.py", "bok")
    assert unknown.returncode == 2
    assert "tasks: name one of book, test," in unknown.stderr


def test_an_old_python_says_so():
    tasks = load_tasks(ROOT)
    tasks.sys = types.SimpleNamespace(
        version_info=(3, 11, 7), version="3.11.7 (main)", stderr=sys.stderr
    )
    assert tasks.main(["book"]) == 1


@pytest.fixture
def recorded(checkout, monkeypatch):
    """Tasks of a checkout that is set up, with every command noted and not run."""
    tasks = load_tasks(checkout)
    tasks.commands, tasks.status = [], 0

    def run(command, *, env=None, **_):
        tasks.commands.append((command[1:], env))
        return tasks.status

    monkeypatch.setattr(tasks, "run", run)
    monkeypatch.setattr(tasks, "prepare", lambda: None)
    for name in ("BNNBOOK_FAST", "PYTENSOR_FLAGS", "JAX_COMPILATION_CACHE_DIR", "SEEDS", "NAME"):
        monkeypatch.delenv(name, raising=False)
    return tasks


COMMANDS = {
    "book": ["tools/build_book.py"], "test": ["-m", "pytest"], "claims": ["tools/run_claims.py"],
    "lab": ["tools/reader", "lab"], "student": ["tools/reader", "student"],
    "lecturer": ["tools/reader", "lecturer"], "slides": ["tools/slides.py"],
    "pdf": ["tools/print_book.py"], "lint": ["-m", "ruff"], "bench": ["-m", "benchmarks"],
    "references": ["-m", "benchmarks.references", "make"],
    "scoreboard": ["-m", "benchmarks.references", "scoreboard"],
    "tables": ["-m", "benchmarks.tables"], "lock": ["-m", "uv"],
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_every_task_runs_its_command_and_hands_on_its_status(recorded, name):
    assert recorded.main([name]) == 0
    first, env = recorded.commands[0]
    assert list(first[: len(COMMANDS[name])]) == COMMANDS[name]
    assert env["JAX_COMPILATION_CACHE_DIR"] == str(recorded.BUILD / ".jax_cache")
    assert f"base_compiledir={recorded.BUILD / '.pytensor'}" in env["PYTENSOR_FLAGS"]
    recorded.status = 3
    assert recorded.main([name]) == 3
    assert len(recorded.commands) == {"lint": 4, "lab": 3}.get(name, 2)  # stops at the first


def test_one_reference_is_named_by_the_environment(recorded, monkeypatch):
    monkeypatch.setenv("NAME", "moons")
    assert recorded.main(["references"]) == 0
    assert list(recorded.commands[0][0]) == ["-m", "benchmarks.references", "make", "moons"]


def test_what_the_tasks_run_is_there():
    for command in COMMANDS.values():
        if command[0] != "-m":
            assert (ROOT / command[0]).exists()
    assert (ROOT / "benchmarks" / "__main__.py").is_file()


def test_the_tests_run_at_quick_budget_and_own_flags_are_kept(recorded, monkeypatch):
    monkeypatch.setenv("PYTENSOR_FLAGS", "cxx=")
    assert recorded.main(["test"]) == 0
    _, env = recorded.commands[0]
    assert env["BNNBOOK_FAST"] == "1"
    start, *rest = env["PYTENSOR_FLAGS"].split(",")
    assert start.startswith("base_compiledir=")
    numpy = ["linker=py", "optimizer_excluding=fusion", "blas__ldflags="]
    assert rest == ["cxx=", *numpy, "traceback__limit=0"]


def test_a_book_at_quick_budget_says_so(recorded, monkeypatch, capsys):
    recorded.main(["book"])
    assert "quick budget" not in capsys.readouterr().out
    monkeypatch.setenv("BNNBOOK_FAST", "1")
    recorded.main(["book"])
    assert "book: quick budget (BNNBOOK_FAST=1)" in capsys.readouterr().out


@pytest.mark.parametrize(("fast", "expected"), [("1", "Quick budget"), (None, None)])
def test_pages_at_quick_budget_say_so(monkeypatch, fast, expected):
    import quick_budget

    monkeypatch.delenv("BNNBOOK_FAST", raising=False)
    if fast:
        monkeypatch.setenv("BNNBOOK_FAST", fast)
    config = types.SimpleNamespace(html_theme_options={"logo": "x"})
    quick_budget.announce(None, config)
    assert config.html_theme_options["logo"] == "x"
    assert config.html_theme_options.get("announcement", "None").startswith(str(expected))


def test_clean_removes_what_was_built_and_needs_no_packages(checkout):
    (checkout / "_build" / "html").mkdir(parents=True)
    assert call(checkout, sys.executable, "tasks.py", "clean").returncode == 0
    assert not (checkout / "_build").exists()
    assert not (checkout / ".venv").exists()


def test_a_home_that_cannot_be_written_is_left_alone(recorded, monkeypatch):
    monkeypatch.setenv("HOME", "/dev/null/nobody")
    monkeypatch.setattr(recorded.Path, "home", lambda: Path("/dev/null/nobody"))
    for name in ("MPLCONFIGDIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.delenv(name, raising=False)
    env = recorded.environment()
    program = (
        "import pytensor, matplotlib, IPython.paths, jupyter_core.paths as p\n"
        "print(pytensor.config.compiledir, matplotlib.get_configdir(), "
        "IPython.paths.get_ipython_dir(), p.jupyter_runtime_dir(), sep='\\n')"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", program], env=env, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    places = result.stdout.splitlines()
    assert len(places) == 4
    assert all(place.startswith(str(recorded.BUILD)) for place in places)
    assert "Matplotlib" not in result.stderr  # which would speak of a temporary folder


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_checkout_with_crlf_line_ends_has_none(tmp_path):
    source, copy = tmp_path / "source", tmp_path / "copy"
    for name in (*FILES, ".gitattributes", "README.md", "_config.yml", ".ci/run"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    git = [
        "git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.autocrlf=true",
        "-c", "init.defaultBranch=main",
    ]  # fmt: skip
    for command in (["init"], ["add", "."], ["commit", "-m", "all"]):
        subprocess.run([*git, *command], cwd=source, check=True, capture_output=True)
    subprocess.run([*git, "clone", source, copy], check=True, capture_output=True)
    files = [p for p in copy.rglob("*") if p.is_file() and ".git" not in p.parts]
    assert len(files) == len(FILES) + 4
    for path in files:
        assert b"\r" not in path.read_bytes(), path


def test_the_source_distribution_holds_no_tests_that_could_not_pass(tmp_path):
    pytest.importorskip("hatchling")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path], cwd=ROOT,
        check=True, capture_output=True,
    )  # fmt: skip
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = ["/".join(Path(name).parts[1:]) for name in tar.getnames()]
    assert "bnnbook/py.typed" in names
    assert "README.md" in names
    assert not any(name.startswith(("tests", "book/", "_build")) for name in names)
