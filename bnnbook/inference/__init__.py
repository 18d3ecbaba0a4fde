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
from bnnbook.inference.dropout import fit_dropout
from bnnbook.inference.hmc import sample_hmc
from bnnbook.inference.laplace import fit_laplace
from bnnbook.inference.live import LivePlot, MLflowLog
from bnnbook.inference.log_likelihood import log_likelihood
from bnnbook.inference.mclmc import sample_mclmc
from bnnbook.inference.nuts import sample_nuts
from bnnbook.inference.optimize import fit_ensemble, fit_map, fit_mle
from bnnbook.inference.pathfinder import fit_pathfinder
from bnnbook.inference.sgmcmc import (
    Kernel,
    Schedule,
    constant,
    cyclical,
    polynomial,
    sample_sgmcmc,
    sghmc,
    sgld,
)
from bnnbook.inference.summaries import summary
from bnnbook.inference.swag import fit_swag
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
    "fit_dropout",
    "fit_ensemble",
    "fit_laplace",
    "fit_map",
    "fit_mle",
    "fit_pathfinder",
    "fit_swag",
    "linear_annealing",
    "log_likelihood",
    "polynomial",
    "sample_hmc",
    "sample_mclmc",
    "sample_nuts",
    "sample_sgmcmc",
    "sample_tempered",
    "sghmc",
    "sgld",
    "summary",
]
