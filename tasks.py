"""Set up .venv and run one of the project's tasks: python tasks.py book | test | lab | ...

The Makefile calls this file; where there is no make, such as on Windows, call it yourself. Python
3.12 or newer and nothing else is needed. PYTHON in the environment names the Python of .venv.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
READY = VENV / ".ready"  # holds a hash of what was installed
BUILD = ROOT / "_build"
OLDEST = (3, 12)
# PyTensor would note the lines of code that made each of its many variables, for messages
UNTRACED = "traceback__limit=0"
# at quick budget it would compile for longer than it computes: let it call NumPy instead
NUMPY = f"linker=py,optimizer_excluding=fusion,blas__ldflags=,{UNTRACED}"


class Refused(Exception):
    """What stands in the way of a task, in one line, with the way out."""


def book() -> int:
    """execute every chapter and build _build/html/index.html"""
    if os.environ.get("BNNBOOK_FAST") == "1":
        say("book: quick budget (BNNBOOK_FAST=1): few steps and draws, no numbers to rely on")
    say("book: executing what changed and building _build/html (half an hour at first)")
    return python("tools/build_book.py", pytensor_flags=UNTRACED)


def test() -> int:
    """unit tests and every chapter at quick budget"""
    say("test: unit tests and every chapter at quick budget (about 25 minutes)")
    return python(
        "-m", "pytest", "-n", "2", "--dist", "load", "--maxschedchunk", "1", "--nbmake",
        "--nbmake-timeout=1200", "--durations=10", "book/chapters", "tests",
        pytensor_flags=NUMPY, BNNBOOK_FAST="1",
    )  # fmt: skip


def claims() -> int:
    """every chapter's claims at full budget under SEEDS seeds (hours)"""
    seeds = os.environ.get("SEEDS") or "3"
    say(f"claims: every chapter at full budget, {seeds} times (book/claims.csv)")
    return python("tools/run_claims.py", "--seeds", seeds)


def lab() -> int:
    """open readers' copies of the chapters in JupyterLab"""
    failed = python("tools/reader", "lab")
    if failed:
        return failed
    say("lab: starting JupyterLab on copies under _build/lab (stop it with Ctrl-C)")
    return python("-m", "jupyter", "lab", f"--notebook-dir={BUILD / 'lab'}")


def student() -> int:
    """chapters with an empty cell in the place of each solution, in _build/student"""
    return python("tools/reader", "student")


def lecturer() -> int:
    """chapters with open solutions, lecture notes and a syllabus, in _build/lecturer"""
    return python("tools/reader", "lecturer")


def slides() -> int:
    """one deck of slides a chapter, in _build/slides"""
    return python("tools/slides.py")


def pdf() -> int:
    """print the built book to _build/bnnbook.pdf (needs Chromium)"""
    say("pdf: printing every page of _build/html (a few minutes)")
    return python("tools/print_book.py")


def lint() -> int:
    """formatting, lint and types"""
    say("lint: ruff and mypy (under a minute)")
    return (
        python("-m", "ruff", "format", "--check", ".")
        or python("-m", "ruff", "check", ".")
        or python("-m", "mypy")
    )


def bench() -> int:
    """timings against peers, all or those that ONLY names; QUICK=1 in three minutes"""
    if os.environ.get("QUICK") == "1":
        say("bench: quick run (QUICK=1): every row in little, no ratios to rely on")
    else:
        say("bench: timings against peers (up to two hours; leave the machine alone)")
    return python("-m", "benchmarks")


def references() -> int:
    """remake the reference posteriors, or the one that NAME names (hours; each says how long)"""
    return python("-m", "benchmarks.references", "make", *named())


def scoreboard() -> int:
    """score the approximations against the references, or against the one that NAME names"""
    return python("-m", "benchmarks.references", "scoreboard", *named())


def tables() -> int:
    """score the methods on UCI tables: what is missing, or what NAME names (an hour or more)"""
    return python("-m", "benchmarks.tables", *named())


def lock() -> int:
    """renew requirements.lock from pyproject.toml"""
    say("lock: resolving every dependency for all platforms (seconds)")
    return python(
        "-m", "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header",
        "--no-annotate", "--python-version", "3.12", "--all-extras", "--upgrade", "pyproject.toml",
        "--output-file", "requirements.lock",
    )  # fmt: skip


def clean() -> int:
    """remove the built book and its execution cache"""
    shutil.rmtree(BUILD, ignore_errors=True)
    return 0


def setup() -> int:
    """make .venv with the locked packages, or bring it up to date"""
    return 0


ALL = (
    book, test, claims, lab, student, lecturer, slides, pdf, lint, bench, references, scoreboard,
    tables, lock, clean, setup,
)  # fmt: skip
TASKS = {f.__name__: f for f in ALL}
WITHOUT_PACKAGES = ("clean",)


def prepare() -> None:
    """Make ``.venv`` with the locked packages, unless it is there; safe to interrupt and repeat."""
    named = os.environ.get("PYTHON")
    wanted = describe(named) if named else None
    if named and wanted is None:
        raise Refused(
            f"PYTHON={named} is not a Python >= 3.12; name another, or none to have one chosen"
        )
    found = describe(str(PYTHON)) if PYTHON.exists() else None
    key = hashlib.sha256(b"".join(map(read, ("requirements.lock", "pyproject.toml")))).hexdigest()
    other = wanted is not None and found is not None and wanted != found
    if found and not other and READY.is_file() and READY.read_text() == key:
        return
    READY.unlink(missing_ok=True)
    base = named or getattr(sys, "_base_executable", None) or sys.executable
    if found and other:
        say(f"set-up: .venv has {told(found)}; making it anew with {told(wanted)}, as named")
    if other or not found or run([PYTHON, "-m", "pip", "--version"], quiet=True):
        if run([base, "-m", "venv", "--clear", VENV]):
            raise Refused(
                f"'{base} -m venv' failed; on Debian and Ubuntu install the python3-venv package"
            )
        found = describe(str(PYTHON))
    say(f"set-up: filling .venv from requirements.lock with {told(found)} (2-4 minutes, once)")
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check"]
    # nearly half of the time would go into compiling modules that nothing imports
    quick = ["install", "--quiet", "--no-compile"]
    if run([*pip, *quick, "--require-hashes", "--no-deps", "-r", "requirements.lock"]):
        raise Refused(
            "the packages named above could not be fetched; check the network connection and "
            "try again"
        )
    own = ["install", "--quiet", "--no-build-isolation", "--no-deps", "--editable", "."]
    if run([*pip, *own]) or run([*pip, "check"], quiet=True):
        raise Refused("the packages do not fit together; the lines above say which")
    READY.write_text(key)


def describe(python: str) -> list | None:
    """Version and home of a Python of at least 3.12, or None."""
    asks = "import sys, json; print(json.dumps([list(sys.version_info[:3]), sys.base_prefix]))"
    try:
        answer = subprocess.run(
            [python, "-c", asks], capture_output=True, text=True, timeout=60, check=True
        )
        version, home = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return [version, os.path.realpath(home)] if tuple(version) >= OLDEST else None


def told(description: list | None) -> str:
    """A Python in words."""
    return "Python " + ".".join(map(str, description[0])) if description else "no Python"


def environment(pytensor_flags: str = "") -> dict[str, str]:
    """What every task runs with: caches under _build, and nothing written to a home that is not.

    The same networks are compiled many times over, so JAX's and PyTensor's code is kept.
    """
    compiled = f"base_compiledir={BUILD / '.pytensor'}"
    own = "" if "," in str(BUILD) else compiled  # no way to quote it
    flags = [own, os.environ.get("PYTENSOR_FLAGS"), pytensor_flags]
    env = {
        "JAX_COMPILATION_CACHE_DIR": str(BUILD / ".jax_cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
        **os.environ,
        "PYTENSOR_FLAGS": ",".join(filter(None, flags)),  # of two the last one counts
    }
    if not os.access(Path.home(), os.W_OK):
        for name in ("MPLCONFIGDIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"):
            env.setdefault(name, str(BUILD / ".home" / name.lower()))
            Path(env[name]).mkdir(parents=True, exist_ok=True)
    return env


def python(*arguments: str, pytensor_flags: str = "", **extra: str) -> int:
    """Run the Python of ``.venv`` in the project's root; its exit status."""
    return run([PYTHON, *arguments], env={**environment(pytensor_flags), **extra})


def run(command: list, *, quiet: bool = False, env: dict[str, str] | None = None) -> int:
    output = subprocess.DEVNULL if quiet else None
    try:
        return subprocess.run(
            list(map(str, command)), cwd=ROOT, env=env, stdout=output, stderr=output, check=False
        ).returncode
    except OSError as error:
        say(f"{command[0]}: {error.strerror}")
        return 127


def named() -> list[str]:
    """What ``NAME`` in the environment names."""
    return (os.environ.get("NAME") or "").split()


def read(name: str) -> bytes:
    return (ROOT / name).read_bytes()


def say(text: str) -> None:
    print(text, flush=True)


def main(arguments: list[str]) -> int:
    """Run the task that is named, or list them."""
    if sys.version_info < OLDEST:
        print(f"tasks: needs Python >= 3.12, got {sys.version.split()[0]}", file=sys.stderr)
        return 1
    name = arguments[0] if arguments else "help"
    if name == "help":
        for task in TASKS.values():
            say(f"{task.__name__:<12}{task.__doc__}")
        return 0
    if name not in TASKS or len(arguments) > 1:
        print(f"tasks: name one of {', '.join(TASKS)}; got {' '.join(arguments)}", file=sys.stderr)
        return 2
    try:
        if name not in WITHOUT_PACKAGES:
            prepare()
        return TASKS[name]()
    except Refused as reason:
        print(f"set-up: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
