"""The README's example runs as printed."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_example_runs():
    (source,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    namespace: dict = {}
    exec(compile(source, "README.md", "exec"), namespace)
    draws, fit = namespace["draws"], namespace["fit"]
    assert draws["mu"].dims == ("chain", "draw", "obs")
    assert abs(float(fit["posterior"]["slope"].mean()) - 2) < 0.3


def test_length():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
