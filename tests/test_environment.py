"""Dependency files agree with each other and carry no addresses."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def declared():
    extras = PROJECT["optional-dependencies"].values()
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]
    return {(r.name, str(r.specifier)) for r in map(Requirement, lines)}


def test_conda_environment_has_the_same_names_and_ranges():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = [e for e in entries if isinstance(e, str)]
    (pip,) = (e["pip"] for e in entries if isinstance(e, dict))
    found = {(r.name, str(r.specifier)) for r in map(Requirement, [*conda, *pip])}
    assert ("python", PROJECT["requires-python"]) in found
    assert found - {("python", PROJECT["requires-python"]), ("pip", "")} == declared()


def test_lock_pins_everything_with_hashes_and_names_no_host():
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    assert "@ " not in text
    blocks = re.split(r"\n(?=\S)", text.strip())
    for block in blocks:
        assert re.match(r"[A-Za-z0-9_.-]+==\S+", block), block[:80]
        assert "--hash=sha256:" in block, block[:80]
    locked = {block.split("==")[0].lower() for block in blocks}
    assert {name.lower() for name, _ in declared()} <= locked
