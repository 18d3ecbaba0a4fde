"""Stochastic-gradient MCMC: kernels, schedules of step sizes, and the sampler."""

from bnnbook.inference.sgmcmc.kernel import Kernel, Step
from bnnbook.inference.sgmcmc.sample import sample_sgmcmc
from bnnbook.inference.sgmcmc.schedules import Schedule, constant, cyclical, polynomial
from bnnbook.inference.sgmcmc.sghmc import sghmc
from bnnbook.inference.sgmcmc.sgld import sgld

__all__ = [
    "Kernel",
    "Schedule",
    "Step",
    "constant",
    "cyclical",
    "polynomial",
    "sample_sgmcmc",
    "sghmc",
    "sgld",
]
