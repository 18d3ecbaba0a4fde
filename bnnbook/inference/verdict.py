"""Is a mode one that a model's data support, or has a scale run off to zero?"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from pymc.variational.minibatch_rv import MinibatchRandomVariable
from pytensor.graph.traversal import ancestors

from bnnbook.density import IN_PYTHON, LogDensity, compiled_once, density_key, precision

__all__ = ["collapsed_noise"]

ZERO = -18.0  # log of a scale at which its variable counts as zero
PERFECT = np.log(1e5)  # nats a row above a normal fitted to the targets alone: no data are so good
CLOSE = np.log(20.0)  # the same, where there are as many parameters as rows
LOG_2PI_E = 1 + np.log(2 * np.pi)

REMEDY = (
    "the density has no useful maximum there. Hold rows out (validation of fit_ensemble), stop "
    "earlier (max_steps), give the scale a prior that keeps it from zero, or sample"
)


def collapsed_noise(density: LogDensity, theta: np.ndarray) -> str | None:
    """Say so if a scale has collapsed at ``theta`` (D,), such as that of a network's residuals.

    A scale that the density can make arbitrarily small is a free variable near zero; or the noise
    of an observed variable whose location and scale are both fitted, if it is a hundred-thousandth
    of the targets' spread, or, with as many parameters as rows, a twentieth. The noise is that of a
    normal distribution with the mean log likelihood of the rows.

    Returns
    -------
    str or None
        A sentence with remedies, naming the variable.
    """
    for name, values in density.split(np.asarray(theta)).items():
        if name.endswith("_log__") and np.size(values) and np.min(values) < ZERO:
            least = np.exp(np.min(values))
            return f"{name.removesuffix('_log__')} has collapsed to {least:.2g}: {REMEDY}."
    fitted = [rv for rv in density.model.observed_RVs if _scale_is_free(density, rv)]
    if not fitted:
        return None
    with precision("float64"):
        data = density.arrays()
        kept = compiled_once(
            ("terms", density_key(density, data)), lambda: jax.jit(density.pointwise)
        )
        terms = {name: np.asarray(term) for name, term in kept(jnp.asarray(theta), data).items()}
    for rv in fitted:
        y = np.asarray(density.model.rvs_to_values[rv].eval(mode=IN_PYTHON), np.float64)
        spread = float(np.nanstd(y)) if y.ndim < 2 else float(np.nanstd(y - y.mean(axis=0)))
        if not spread > 0:
            continue
        share = -(float(np.mean(terms[rv.name])) + np.log(spread) + 0.5 * LOG_2PI_E)
        most = -CLOSE if density.size >= y.size else -PERFECT
        if share < most:
            return (
                f"the noise of {rv.name} has collapsed to {np.exp(share):.2g} of the spread of its "
                f"{y.size} values, which {density.size} parameters fit nearly exactly: {REMEDY}."
            )
    return None


def _scale_is_free(density: LogDensity, rv: object) -> bool:
    """Whether two parameters of a continuous variable's distribution are fitted."""
    node = rv.owner  # type: ignore[attr-defined]
    if isinstance(node.op, MinibatchRandomVariable):
        node = node.inputs[0].owner
    parameters = getattr(node.op, "dist_params", None)
    if parameters is None or not str(rv.dtype).startswith("float"):  # type: ignore[attr-defined]
        return False
    free = set(density.model.free_RVs)
    return sum(not free.isdisjoint(ancestors([p])) for p in parameters(node)) >= 2
