"""Inference for any PyMC model; every function returns an ``xarray.DataTree``."""

from bnnbook.checks import ConvergenceWarning, DivergedError
from bnnbook.density import LogDensity, compile_log_density
from bnnbook.inference.advi import (
    ADVIState,
    EarlyStopping,
    Optimizer,
    Tracker,
    cyclical_annealing,
    fit_advi,
    linear_annealing,
)
from bnnbook.inference.callbacks import FitState
from bnnbook.inference.hmc import sample_hmc
from bnnbook.inference.kernels import Kernel, sghmc, sgld
from bnnbook.inference.live import LivePlot, MLflowLog
from bnnbook.inference.log_likelihood import log_likelihood
from bnnbook.inference.nuts import sample_nuts
from bnnbook.inference.optimize import fit_ensemble, fit_map, fit_mle
from bnnbook.inference.schedules import Schedule, constant, cyclical, polynomial
from bnnbook.inference.sgmcmc import sample_sgmcmc
from bnnbook.inference.summaries import summary
from bnnbook.inference.tempered import sample_tempered

__all__ = [
    "ADVIState",
    "ConvergenceWarning",
    "DivergedError",
    "EarlyStopping",
    "FitState",
    "Kernel",
    "LivePlot",
    "LogDensity",
    "MLflowLog",
    "Optimizer",
    "Schedule",
    "Tracker",
    "compile_log_density",
    "constant",
    "cyclical",
    "cyclical_annealing",
    "fit_advi",
    "fit_ensemble",
    "fit_map",
    "fit_mle",
    "linear_annealing",
    "log_likelihood",
    "polynomial",
    "sample_hmc",
    "sample_nuts",
    "sample_sgmcmc",
    "sample_tempered",
    "sghmc",
    "sgld",
    "summary",
]
