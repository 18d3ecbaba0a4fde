"""A ``pm.Model`` as JAX functions: the ground under inference and prediction."""

from bnnbook.density.jax_graph import jax_function, precision
from bnnbook.density.log_density import LogDensity, compile_log_density

__all__ = ["LogDensity", "compile_log_density", "jax_function", "precision"]
