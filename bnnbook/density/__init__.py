"""A ``pm.Model`` as JAX functions: the ground under inference and prediction."""

from bnnbook.density.jax_graph import jax_function, precision
from bnnbook.density.log_density import LogDensity, compile_log_density
from bnnbook.density.minibatch import Minibatches, cut
from bnnbook.density.start import check_indices, check_start

__all__ = [
    "LogDensity",
    "Minibatches",
    "check_indices",
    "check_start",
    "compile_log_density",
    "cut",
    "jax_function",
    "precision",
]
