"""Inference for any PyMC model; every function returns an ``xarray.DataTree``."""

from bnnbook.inference.advi import (
    ADVIState,
    EarlyStopping,
    Optimizer,
    Tracker,
    cyclical_annealing,
    fit_advi,
    linear_annealing,
)
from bnnbook.inference.callbacks import FitState, LivePlot, MLflowLog
from bnnbook.inference.checks import DivergedError
from bnnbook.inference.log_density import LogDensity, compile_log_density
from bnnbook.inference.nuts import sample_nuts
from bnnbook.inference.optimize import fit_ensemble, fit_map, fit_mle

__all__ = [
    "ADVIState",
    "DivergedError",
    "EarlyStopping",
    "FitState",
    "LivePlot",
    "LogDensity",
    "MLflowLog",
    "Optimizer",
    "Tracker",
    "compile_log_density",
    "cyclical_annealing",
    "fit_advi",
    "fit_ensemble",
    "fit_map",
    "fit_mle",
    "linear_annealing",
    "sample_nuts",
]
