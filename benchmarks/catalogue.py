"""Every task, and the choice among them."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.task import Task
from benchmarks.tasks import (
    advi,
    convolution,
    crossval,
    gradient,
    laplace,
    nuts,
    points,
    predictor,
    sgmcmc,
    swag,
    tempering,
)

__all__ = ["TASKS", "chosen", "groups_first"]

TASKS = (
    *predictor.TASKS, *gradient.TASKS, *points.TASKS, *advi.TASKS, *sgmcmc.TASKS,
    *convolution.TASKS, *nuts.TASKS, *tempering.TASKS, *laplace.TASKS, *swag.TASKS,
    *crossval.TASKS,
)  # fmt: skip


def chosen(tasks: Sequence[Task], only: Sequence[str]) -> list[Task]:
    """Tasks that are named, by themselves or by their group; all where nothing is named."""
    known = {task.name for task in tasks} | {task.group for task in tasks}
    unknown = [name for name in only if name not in known]
    if unknown:
        raise ValueError(
            f"ONLY names {', '.join(unknown)}; name some of {', '.join(sorted(known))}"
        )
    return [task for task in tasks if not only or {task.name, task.group} & set(only)]


def groups_first(tasks: Sequence[Task]) -> list[Task]:
    """One task of every group, then the others: the order for a run that may be cut short."""
    first = {task.group: task for task in reversed(tasks)}
    return sorted(tasks, key=lambda task: first[task.group] is not task)
