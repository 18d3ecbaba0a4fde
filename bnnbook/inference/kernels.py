"""Updates of stochastic-gradient MCMC, by the path they had before they got a room."""

from bnnbook.inference.sgmcmc import Kernel, Step, sghmc, sgld
from bnnbook.inference.sgmcmc.kernel import CONVENTION

__all__ = ["CONVENTION", "Kernel", "Step", "sghmc", "sgld"]
