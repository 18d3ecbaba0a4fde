"""Paragraphs of the docstrings that all methods share, written once.

A docstring has the name of a paragraph in braces, alone on its line, such as ``{seed}``; lines
below it, indented once more, add what is particular to the method.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

__all__ = ["SHARED", "with_shared_docs"]

EXECUTOR = """\
executor : concurrent.futures.Executor, optional
    Runs the {parts}, one task each: a pool of threads, of processes that were not forked
    (``mp_context=multiprocessing.get_context("spawn")``), or a Dask client's ``get_executor()``.
    The result is the same. What was lost with a worker that died is run once more, then named;
    Ctrl-C keeps the {parts} that are done. The model has to be one that cloudpickle takes;
    callbacks are refused, and the progress bar counts finished {parts}."""

SHARED = {
    "chains": """\
chains : int
    Independent chains. With 1 there is no R-hat between chains, and a warning says so.""",
    "seed": """\
seed : int
    Not negative. The same seed gives the same result on the same machine.""",
    "start": """\
start : fit, mapping of names to arrays, or array (chains, D), optional
    Where the chains start. A fit of the same model, by any method, has its chains (or members)
    taken in turn: each starts one here at its last draw, or several at draws spread evenly over
    it. A mapping has arrays (chains, ...) for all variables of the model, such as ``sigma``, or
    for all their unconstrained values, such as ``sigma_log__``; an array has points on the
    unconstrained space.""",
    "cores": """\
cores : int, optional
    Chains that run at once, each in a thread of its own; the number of CPUs by default.""",
    "executor": EXECUTOR.format(parts="starts"),
    "chains_executor": EXECUTOR.format(parts="chains"),
    "callbacks": """\
callbacks : sequence of ``callback(state, losses, step)``
    Called while the run goes on, at their own ``every`` if they have one, with a
    :class:`FitState` and what is being minimised so far (negative ELBO or log density, the mean
    over chains), by step. One that raises ``StopIteration`` ends the run, and what every chain
    has by then is kept. See :class:`LivePlot` and :class:`MLflowLog`.""",
    "progressbar": """\
progressbar : bool
    Whether to show steps, speed, time left and the current objective.""",
    "interrupted": """\
Ctrl-C ends a run too, and returns what every chain has by then. Attributes ``stopped`` and
``interrupted`` say how a run ended; ``converged`` and ``problems`` whether there is reason to
doubt it.""",
}

PLACE = re.compile(r"^( *)\{(\w+)\}$", re.MULTILINE)


def with_shared_docs[F: Callable](function: F) -> F:
    """Fill in the paragraphs that the docstring of ``function`` names.

    Raises
    ------
    KeyError
        If there is no paragraph of that name.
    """
    if function.__doc__ is not None:  # under python -OO there is none

        def paragraph(place: re.Match[str]) -> str:
            indent, name = place.groups()
            return "\n".join(indent + line for line in SHARED[name].splitlines())

        function.__doc__ = PLACE.sub(paragraph, inspect.cleandoc(function.__doc__))
    return function
