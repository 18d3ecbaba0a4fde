"""What the chapters share with the build of the book and a reader need not see.

Cells that use this module carry the tag ``remove-cell``. The cells in view run without them: they
keep numbers for the text, check its claims, shift the seed and cut the budget, and nothing else.

Environment variables: ``BNNBOOK_FAST=1`` asks for the quick budget, ``BNNBOOK_SEED_SHIFT=k`` moves
every chapter's seed, and ``BNNBOOK_CLAIMS=path`` collects claims there instead of failing.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
from myst_nb import glue

from bnnbook import inference

__all__ = ["FAST", "budget", "claim", "keep", "quick", "seed"]

FAST = os.environ.get("BNNBOOK_FAST") == "1"
SHIFT = int(os.environ.get("BNNBOOK_SEED_SHIFT", "0"))
QUICK = {
    "n": 300,
    "draws": 50,
    "tune": 50,
    "max_steps": 100,
    "max_depth": 5,
}


def _without_path(message: Any, category: type, *_: Any, **__: Any) -> str:
    """A warning as the page shows it: the place in the builder's own files helps nobody."""
    return f"{category.__name__}: {message}\n"


warnings.formatwarning = _without_path


def seed(base: int) -> int:
    """The chapter's seed, moved to another stream of numbers when claims are tried again."""
    return base + 10_007 * SHIFT


def budget(full: Any, quick: Any) -> Any:
    """``full``, or ``quick`` at quick budget."""
    return quick if FAST else full


def quick(**most: int) -> None:
    """At quick budget, hold arguments of the package's fits and samplers to at most ``QUICK``.

    The same code runs with fewer steps and draws. ``most`` changes or adds limits. At full budget
    this does nothing.
    """
    if not FAST:
        return
    # after a few hundred steps nothing has converged, and need not say so
    warnings.simplefilter(
        "ignore", getattr(inference, "ConvergenceWarning", UserWarning)
    )
    limits = QUICK | most
    for name in inference.__all__:
        if name.startswith(("fit_", "sample_")):
            setattr(
                inference,
                name,
                _shortened(getattr(inference, name), limits),
            )
    pm.fit = _shortened(pm.fit, limits)


def _shortened(function: Any, limits: dict[str, int]) -> Any:
    """``function`` with its arguments named in ``limits`` held to them."""
    function = inspect.unwrap(
        function
    )  # a second call replaces the first one's limits
    signature = inspect.signature(function)

    @functools.wraps(function)
    def shortened(*args: Any, **kwargs: Any) -> Any:
        call = signature.bind(*args, **kwargs)
        call.apply_defaults()
        for name, most in limits.items():
            if isinstance(call.arguments.get(name), int):
                call.arguments[name] = min(call.arguments[name], most)
        return function(*call.args, **call.kwargs)

    return shortened


def keep(**values: Any) -> None:
    """Keep numbers, texts and figures for the page: ``{glue:text}`name:.2f```."""
    for name, value in values.items():
        glue(
            name,
            value.item() if isinstance(value, np.generic) else value,
            display=False,
        )


def claim(
    name: str, holds: Any, *values: Any, at_quick_budget: bool = False
) -> None:
    """Check a claim that the page's text makes and marks with ``<!-- claim: name -->``.

    Parameters
    ----------
    name : str
        Identifier, such as ``"vi-elbo-goal"``.
    holds : bool, or array of them
        What has to be true, all of it.
    *values : numbers
        What it was judged by, for the message and for the table of claims.
    at_quick_budget : bool
        Whether the claim must hold after a quick run too.

    Raises
    ------
    AssertionError
        If it does not hold; at quick budget only if asked for. Nothing is raised while claims are
        collected (``BNNBOOK_CLAIMS``).
    """
    true = bool(np.all(np.asarray(holds)))
    numbers = [round(float(value), 6) for value in values]
    if path := os.environ.get("BNNBOOK_CLAIMS"):
        record = {
            "claim": name,
            "shift": SHIFT,
            "holds": true,
            "values": numbers,
        }
        with Path(path).open("a") as file:
            file.write(json.dumps(record) + "\n")
        return
    if FAST and not at_quick_budget:
        return
    if not true:
        raise AssertionError(
            f"claim {name!r} does not hold; it was judged by {numbers}"
        )
