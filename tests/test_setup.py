"""The set-up script: no Python, no network, an interrupted run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a POSIX shell script")


@pytest.fixture
def checkout(tmp_path):
    for name in ("requirements.lock", "pyproject.toml", "tools/setup.sh"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def set_up(folder, **env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHON"))}
    return subprocess.run(
        [shutil.which("sh"), "tools/setup.sh"], cwd=folder, env=clean | env, check=False,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{shutil.which('sh')}\n{text}\n")
    path.chmod(0o755)


def test_no_python_is_said_in_one_line(checkout):
    script(checkout / "bin" / "python3", "exit 1")  # too old
    result = set_up(checkout, PATH=str(checkout / "bin"))
    assert result.returncode == 1
    assert result.stderr.startswith("set-up: no Python >= 3.12 found on the path")
    assert result.stderr.count("\n") == 1
    assert not (checkout / ".venv").exists()


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


def test_set_up_begins_again_after_an_interruption(checkout):
    """A half-made environment, whose Python has no pip yet, is made anew."""
    script(checkout / ".venv" / "bin" / "python", "exit 1")
    (checkout / ".venv" / "left-over").touch()
    script(
        checkout / "python",
        'if [ "$2" = venv ]; then rm -rf .venv && mkdir -p .venv/bin && '
        "printf '#!/bin/sh\\necho \"$@\" >> calls\\n' > .venv/bin/python && "
        "chmod +x .venv/bin/python; fi",
    )
    result = set_up(checkout, PYTHON=str(checkout / "python"))
    assert result.returncode == 0, result.stderr
    assert (checkout / ".venv" / ".ready").exists()
    assert not (checkout / ".venv" / "left-over").exists()
    calls = (checkout / "calls").read_text()
    assert "--require-hashes --no-deps -r requirements.lock" in calls
    assert "--editable ." in calls
