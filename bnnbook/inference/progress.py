"""One progress bar for every long run: steps, speed, time left and the current objective."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(
    label: str, total: int, *, show: bool, value_name: str
) -> Iterator[Callable[[int, float], None]]:
    """Yield ``update(steps_done, value)``; draws nothing if ``show`` is false."""
    if not show:
        yield lambda *_: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[value]}"),
    )
    with Progress(*columns, refresh_per_second=4) as bar:
        task = bar.add_task(label, total=total, speed="", value="")

        def update(done: int, value: float) -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            speed = f"{done / elapsed:,.0f}/s" if elapsed > 0 else ""
            shown = "" if math.isnan(value) else f"{value_name} {value:,.1f}"  # none in a warm-up
            bar.update(task, completed=done, speed=speed, value=shown)

        yield update
