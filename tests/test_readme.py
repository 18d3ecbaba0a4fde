"""The README's examples run as printed."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(number: int) -> dict:
    sources = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(sources) == 3
    namespace: dict = {}
    exec(compile(sources[number], "README.md", "exec"), namespace)
    return namespace


def test_example_of_a_model_runs():
    namespace = run(0)
    draws, fit = namespace["draws"], namespace["fit"]
    assert draws["mu"].dims == ("chain", "draw", "obs")
    assert abs(float(fit["posterior"]["slope"].mean()) - 2) < 0.3


def test_example_of_a_table_runs():
    namespace = run(1)
    covered = (namespace["lower"] < namespace["y_test"]) & (
        namespace["y_test"] < namespace["upper"]
    )
    assert covered.mean() > 0.75


def test_example_of_a_network_runs():
    namespace = run(2)
    assert namespace["p"].dims == ("obs",)
    assert ((namespace["p"] > 0.5) == namespace["y"]).mean() > 0.9


def test_length():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
