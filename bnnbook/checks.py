"""Checks of arguments that several methods share, and the errors they raise."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

__all__ = [
    "ConvergenceWarning",
    "DivergedError",
    "check_not_forked",
    "core_count",
    "non_negative_int",
    "non_negative_number",
    "positive_int",
    "positive_number",
    "same_rows",
    "seed_int",
]


class DivergedError(RuntimeError):
    """An optimiser or sampler left the finite numbers; the message says at which step."""


class ConvergenceWarning(UserWarning):
    """A run came to its end without having converged; the message says why and what may help."""


def positive_int(name: str, value: object) -> int:
    """Return ``value`` as an int of at least 1, or raise naming the argument."""
    return _int_from(1, name, value)


def non_negative_int(name: str, value: object) -> int:
    """Return ``value`` as an int of at least 0, or raise naming the argument."""
    return _int_from(0, name, value)


def _int_from(least: int, name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return int(value)


def positive_number(name: str, value: object) -> float:
    """Return ``value`` as a positive, finite float, or raise naming the argument."""
    number = _number(name, value)
    if not (np.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be positive and finite, got {value}")
    return number


def non_negative_number(name: str, value: object) -> float:
    """Return ``value`` as a finite float of at least 0, or raise naming the argument."""
    number = _number(name, value)
    if not (np.isfinite(number) and number >= 0):
        raise ValueError(f"{name} must be finite and at least 0, got {value}")
    return number


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(value)


def seed_int(seed: object) -> int:
    """Return ``seed`` as a non-negative int, or raise."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise TypeError(f"seed must be a non-negative integer, got {seed!r}")
    return int(seed)


def float_dtype(dtype: object) -> str:
    """Return the name of a floating-point precision, or raise."""
    if dtype not in ("float64", "float32"):
        raise ValueError(f"dtype must be 'float64' or 'float32', got {dtype!r}")
    return str(dtype)


def batch_rows(batch_size: object, n_rows: int) -> int:
    """Return a batch size between 1 and ``n_rows``, or raise."""
    size = positive_int("batch_size", batch_size)
    if size > n_rows:
        raise ValueError(f"batch_size must be at most the {n_rows} rows of the data, got {size}")
    return size


def core_count(cores: object) -> int:
    """Return how many tasks may run at once, by default the number of CPUs, or raise."""
    return (os.cpu_count() or 1) if cores is None else positive_int("cores", cores)


_forked = False


def _note_fork() -> None:
    """In a new child process: had JAX started its threads before the fork, which the child lacks?

    JAX's compiled code would wait for those threads for ever.
    """
    global _forked
    bridge = sys.modules.get("jax._src.xla_bridge")
    started = getattr(bridge, "backends_are_initialized", lambda: True)
    _forked = bridge is not None and started()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def check_not_forked() -> None:
    """Raise RuntimeError in a process that was forked after JAX had started in its parent."""
    if _forked:
        raise RuntimeError(
            "this process was forked after JAX had started in its parent, and JAX would wait for "
            "ever for threads that a fork does not copy. Start processes afresh: "
            "ProcessPoolExecutor(mp_context=multiprocessing.get_context('spawn')), with 'spawn' or "
            "'forkserver'"
        )


def same_rows(X: Any, other: Any, name: str) -> None:
    """Refuse pandas data whose row labels are those of ``X`` in another order.

    Rows are paired by their position, and what was sorted or shuffled on its own would be paired
    with the wrong ones. Other labels say nothing of the order.

    Raises
    ------
    ValueError
        Names the argument and the first row that differs.
    """
    indexes: list[Any] = [getattr(value, "index", None) for value in (X, other)]
    index, own = indexes
    if not all(hasattr(i, "equals") for i in indexes) or len(index) != len(own):
        return
    if not index.equals(own) and index.symmetric_difference(own, sort=False).empty:
        row = next(i for i, (a, b) in enumerate(zip(index, own, strict=True)) if a != b)
        raise ValueError(
            f"X and {name} must have their rows in the same order, got row {row} labelled "
            f"{index[row]} in X and {own[row]} in {name}; write {name}.loc[X.index]"
        )
