"""Step sizes of stochastic-gradient MCMC: constant, polynomial and cyclical."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from bnnbook.checks import non_negative_number, positive_int, positive_number

__all__ = ["Plan", "Schedule", "as_schedule", "constant", "cyclical", "polynomial"]


@dataclass(frozen=True)
class Plan:
    """A whole run, step by step.

    Attributes
    ----------
    step_size : array (steps,)
    noisy : bool array (steps,)
        False where the schedule explores without noise.
    cycle : int array (steps,)
        -1 during ``tune``.
    draw_at : int array (draws,)
        Number of steps done when each draw is taken.
    """

    step_size: np.ndarray
    noisy: np.ndarray
    cycle: np.ndarray
    draw_at: np.ndarray

    @property
    def steps(self) -> int:
        """Number of steps in all."""
        return len(self.step_size)


@dataclass(frozen=True)
class Schedule:
    """``plan(draws, tune, thin)`` lays out a run; ``settings`` says how, for the record."""

    plan: Callable[[int, int, int], Plan]
    settings: dict[str, Any]


def constant(step_size: float) -> Schedule:
    """The same step size throughout."""
    size = positive_number("step_size", step_size)
    return Schedule(
        lambda draws, tune, thin: _one_stage(np.full(tune + draws * thin, size), draws, tune, thin),
        {"schedule": "constant", "step_size": size},
    )


def polynomial(step_size: float, *, offset: float = 1.0, power: float = 0.55) -> Schedule:
    """step_size * (1 + t / offset)^-power (Welling and Teh 2011, section 4.1).

    The bias vanishes in the limit for a power in (0.5, 1]. Draws of later, smaller steps stand for
    less time; weigh them by ``sample_stats.step_size`` to estimate expectations.

    Parameters
    ----------
    step_size : float
        Of the first step.
    offset : float
        Steps after which the decay sets in.
    power : float
        In (0.5, 1].
    """
    size, offset = positive_number("step_size", step_size), positive_number("offset", offset)
    power = positive_number("power", power)
    if not 0.5 < power <= 1:
        raise ValueError(f"power must lie in (0.5, 1], got {power}")

    def plan(draws: int, tune: int, thin: int) -> Plan:
        t = np.arange(tune + draws * thin)
        return _one_stage(size * (1 + t / offset) ** -power, draws, tune, thin)

    return Schedule(
        plan,
        {"schedule": "polynomial", "step_size": size, "offset": offset, "power": power},
    )


def cyclical(
    step_size: float, n_cycles: int, exploration: float = 0.8, *, quiet: bool = True
) -> Schedule:
    """Cosine cycles from ``step_size`` to 0 (Zhang et al. 2020, eq. 1 and algorithm 1).

    Each cycle explores, without noise, for a share ``exploration`` of its steps, then samples; its
    share of the draws is taken ``thin`` steps apart while it samples. The ``tune`` steps before the
    first cycle have the largest step size.

    Parameters
    ----------
    step_size : float
        At the start of each cycle.
    n_cycles : int
        The number of draws must be a multiple of it.
    exploration : float
        In [0, 1).
    quiet : bool
        Whether exploration goes without noise. With noise throughout, weights about which the data
        say little keep the spread of their prior.
    """
    size, cycles = positive_number("step_size", step_size), positive_int("n_cycles", n_cycles)
    exploration = non_negative_number("exploration", exploration)
    if exploration >= 1:
        raise ValueError(f"exploration must lie in [0, 1), got {exploration}")

    def plan(draws: int, tune: int, thin: int) -> Plan:
        if draws % cycles:
            raise ValueError(f"draws must be a multiple of the {cycles} cycles, got {draws}")
        sampling = draws // cycles * thin
        length = math.ceil(sampling / (1 - Fraction(repr(exploration))))  # .8 is 4/5
        one = size / 2 * (1 + np.cos(np.pi * np.arange(length) / length))
        noisy = (np.arange(length) >= length - sampling) | (not quiet)
        ends = np.arange(1, draws // cycles + 1) * thin + length - sampling
        return Plan(
            step_size=np.concatenate([np.full(tune, size), np.tile(one, cycles)]),
            noisy=np.concatenate([np.ones(tune, bool), np.tile(noisy, cycles)]),
            cycle=np.concatenate([np.full(tune, -1), np.repeat(np.arange(cycles), length)]),
            draw_at=np.concatenate([tune + c * length + ends for c in range(cycles)]),
        )

    return Schedule(
        plan,
        {
            "schedule": "cyclical",
            "step_size": size,
            "n_cycles": cycles,
            "exploration": exploration,
            "quiet": quiet,
        },
    )


def as_schedule(step_size: float | Schedule) -> Schedule:
    """A number stands for a constant step size."""
    return step_size if isinstance(step_size, Schedule) else constant(step_size)


def _one_stage(step_size: np.ndarray, draws: int, tune: int, thin: int) -> Plan:
    steps = len(step_size)
    return Plan(
        step_size=step_size,
        noisy=np.ones(steps, bool),
        cycle=np.where(np.arange(steps) < tune, -1, 0),
        draw_at=tune + np.arange(1, draws + 1) * thin,
    )
