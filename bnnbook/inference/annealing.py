"""Schedules of the KL weight for variational inference."""

from __future__ import annotations

from collections.abc import Callable

from bnnbook.checks import positive_int

__all__ = ["FractionSchedule", "cyclical_annealing", "linear_annealing"]

FractionSchedule = Callable[[float], float]  # of the part of the run that is done


def linear_annealing(warmup: float = 0.05, full: float = 0.05) -> FractionSchedule:
    """KL weight near 0 for the first ``warmup``, then linear, and 1 for the last ``full``.

    Raises
    ------
    ValueError
        If a fraction lies outside [0, 1] or the two overlap.
    """
    for name, value in {"warmup": warmup, "full": full}.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be a fraction in [0, 1], got {value}")
    if warmup + full > 1:
        raise ValueError(f"warmup and full must not overlap, got {warmup} + {full} > 1")

    def kl_weight(fraction: float) -> float:
        if fraction >= 1 - full:
            return 1.0
        return min(max((fraction - warmup) / max(1 - full - warmup, 1e-12), 1e-6), 1.0)

    return kl_weight


def cyclical_annealing(n_cycles: int = 4, rise: float = 0.5) -> FractionSchedule:
    """KL weight that rises from near 0 to 1 over ``rise`` of each cycle (Fu et al. 2019)."""
    cycles = positive_int("n_cycles", n_cycles)
    if not 0 < rise <= 1:
        raise ValueError(f"rise must be a fraction in (0, 1], got {rise}")

    def kl_weight(fraction: float) -> float:
        phase = (fraction * cycles) % 1.0 if fraction < 1 else 1.0
        return min(max(phase / rise, 1e-6), 1.0)

    return kl_weight
