"""Step sizes of stochastic-gradient MCMC, by the path they had before they got a room."""

from bnnbook.inference.sgmcmc.schedules import (
    Plan,
    Schedule,
    as_schedule,
    constant,
    cyclical,
    polynomial,
)

__all__ = ["Plan", "Schedule", "as_schedule", "constant", "cyclical", "polynomial"]
