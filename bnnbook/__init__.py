"""Bayesian neural networks in PyMC: models, inference, prediction and diagnostics.

The submodules load on first use, so that ``import bnnbook`` alone stays quick and
``bnnbook.datasets``, ``bnnbook.metrics`` and ``bnnbook.uncertainty`` work without PyMC.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version as _version
from types import ModuleType

__all__ = [
    "datasets",
    "diagnostics",
    "estimators",
    "inference",
    "metrics",
    "models",
    "plots",
    "predict",
    "uncertainty",
]
__version__ = _version("bnnbook")


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
