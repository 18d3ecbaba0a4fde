"""What a benchmark is: one piece of work, done by us and by peers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Run", "Task"]


@dataclass(frozen=True)
class Run:
    """What one run came to.

    Parameters
    ----------
    seconds : float
        Wall time without compiling where that can be told apart.
    compile_seconds : float or None
        What compiling took in this run. ``None``: it happens once in a process, and is found as
        what preparing and the first run took beyond a later run.
    work : float
        What was done: steps, calls or effective draws. Compared are seconds for one of them.
    quality : dict of str to float
        What says that the work is the same or as good: ELBO, R-hat, largest error.
    """

    seconds: float
    compile_seconds: float | None = None
    work: float = 1.0
    quality: dict[str, float] = field(default_factory=dict)


Timed = Callable[[int], Run]  # of a seed
Contestant = Callable[[bool], Timed]  # quick or not; builds, may compile


@dataclass(frozen=True)
class Task:
    """One row of the table: ``ours`` and ``peers`` do the same work.

    Parameters
    ----------
    name, group : str
        What ``ONLY`` selects by.
    what : str
        The work in words.
    unit : str
        What ``Run.work`` counts.
    goal : str
        What was aimed at.
    ours : callable
        ``ours(quick)`` prepares and returns ``run(seed) -> Run``.
    peers : dict of str to callable
        The same for each peer.
    fresh : bool
        Whether each run has a process of its own and so compiles anew.
    flags : str
        ``XLA_FLAGS`` of every contestant.
    """

    name: str
    group: str
    what: str
    unit: str
    goal: str
    ours: Contestant
    peers: dict[str, Contestant]
    fresh: bool = False
    flags: str = ""

    def contestants(self) -> dict[str, Any]:
        """Ours first, then the peers."""
        return {"bnnbook": self.ours, **self.peers}
