"""A ``pm.Model`` as JAX functions: the ground under inference and prediction."""

from bnnbook.density.compiled import IN_PYTHON, compiled_once, density_key
from bnnbook.density.given_data import given_data
from bnnbook.density.jax_graph import jax_function, precision
from bnnbook.density.log_density import LogDensity, compile_log_density
from bnnbook.density.minibatch import Minibatches, cut
from bnnbook.density.start import check_indices, check_start, first_points

__all__ = [
    "IN_PYTHON",
    "LogDensity",
    "Minibatches",
    "check_indices",
    "check_start",
    "compile_log_density",
    "compiled_once",
    "cut",
    "density_key",
    "first_points",
    "given_data",
    "jax_function",
    "precision",
]
