"""One progress bar for every long run: steps, speed, time left and the current objective.

In a terminal Rich draws it. In Jupyter it is one line of plain text that is redrawn in place, so
that a saved notebook and a page built from it show its last state without a widget.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["Update", "in_notebook", "note", "progress_bar"]

WIDTH = 24  # characters of the bar
INTERVAL = 0.25  # seconds between two drawings


class Update(Protocol):
    """Tell the bar how many steps are done, and the objective there (NaN: none yet).

    A run that needs fewer steps than it might have taken ends with ``total``, the new number of
    all steps.
    """

    def __call__(self, done: int, value: float, *, total: int | None = None) -> None: ...


@contextmanager
def progress_bar(label: str, total: int, *, show: bool, value_name: str) -> Iterator[Update]:
    """Yield an :class:`Update`; its last call is drawn too. Nothing is drawn unless ``show``."""
    if not show:
        yield _draw_nothing
        return
    draw = _line_in_notebook if in_notebook() else _rich_bar
    with draw(label, total, value_name) as update:
        yield update


def note(text: str) -> None:
    """Print one line about a run, such as what an interrupted fit has kept."""
    print(text, flush=True)


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel; IPython in a terminal is none."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def _draw_nothing(done: int, value: float, *, total: int | None = None) -> None:
    """Take what an :class:`Update` takes."""


@contextmanager
def _rich_bar(label: str, total: int, value_name: str) -> Iterator[Update]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=WIDTH),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[value]}"),
    )
    with Progress(*columns, refresh_per_second=1 / INTERVAL) as bar:
        task = bar.add_task(label, total=total, speed="", value="")

        def update(done: int, value: float, *, total: int | None = None) -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            bar.update(
                task, completed=done, total=total, speed=_speed(done, elapsed),
                value=_value(value_name, value),
            )  # fmt: skip

        yield update


@contextmanager
def _line_in_notebook(label: str, total: int, value_name: str) -> Iterator[Update]:
    from IPython.display import display

    start = drawn = time.monotonic()
    state: tuple[int, int, float] = (0, total, math.nan)
    all_steps = total

    def line() -> dict[str, str]:
        done, of, value = state
        elapsed = time.monotonic() - start
        parts = [f"{label} {_bar(done, of)} {done}/{of}", _clock(elapsed)]
        if 0 < done < of:
            parts.append(f"{_clock(elapsed * (of - done) / done)} left")
        parts += [_speed(done, elapsed), _value(value_name, value)]
        return {"text/plain": ", ".join(part for part in parts if part)}

    handle: Any = display(line(), raw=True, display_id=True)

    def update(done: int, value: float, *, total: int | None = None) -> None:
        nonlocal drawn, state, all_steps
        all_steps = all_steps if total is None else total
        state = (done, all_steps, value)
        if time.monotonic() - drawn >= INTERVAL:
            drawn = time.monotonic()
            handle.update(line(), raw=True)

    try:
        yield update
    finally:
        handle.update(line(), raw=True)


def _bar(done: int, total: int) -> str:
    filled = WIDTH * min(done, total) // max(total, 1)
    return "█" * filled + "░" * (WIDTH - filled)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


def _speed(done: int, elapsed: float) -> str:
    return f"{done / elapsed:,.0f}/s" if elapsed > 0 else ""


def _value(name: str, value: float) -> str:
    return "" if math.isnan(value) else f"{name} {value:,.1f}"  # none in a warm-up
