"""One factor on the prior precision of a Laplace approximation, by its evidence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import optimize

from bnnbook.density import LogDensity

__all__ = ["tuned_scale"]


def tuned_scale(
    density: LogDensity,
    theta: np.ndarray,
    varying: np.ndarray,
    likelihood: np.ndarray,
    prior: np.ndarray,
    names: bool | Sequence[str],
) -> tuple[np.ndarray, list[str]]:
    """Factors (d,) on the prior precision of the varying parameters, and whose they are.

    With H and P the curvatures of likelihood and prior, d' of the d parameters to be scaled and
    prior means of zero, the factor s maximises (MacKay 1992, eq. 4.6)

    .. math:: \\tfrac{d'}{2} \\log s - \\tfrac{s}{2} \\hat\\theta^\\top P \\hat\\theta
        - \\tfrac12 \\log |H + s P| .

    Raises
    ------
    ValueError
        If a name is no free variable with a normal prior around zero.
    """
    ones = np.ones(int(varying.sum()))
    if names is False:
        return ones, []
    normal = [
        rv.name
        for rv in density.model.free_RVs
        if type(rv.owner.op).__name__ == "NormalRV" and _centred_at_zero(rv)
    ]
    wanted = normal if names is True else list(names)
    unknown = [name for name in wanted if name not in normal]
    if unknown or not wanted:
        raise ValueError(
            f"tune_prior must name free variables with normal priors around 0, {normal}; "
            f"got {unknown or wanted}"
        )
    owner = np.repeat(list(density.dims), [int(np.prod(s)) for s in density.shapes])[varying]
    scaled = np.isin(owner, wanted)
    mode = np.where(scaled, theta[varying], 0.0)
    quadratic = mode @ (prior @ mode if prior.ndim == 2 else prior * mode)

    def negative(log_s: float) -> float:
        factor = np.where(scaled, np.exp(log_s / 2), 1.0)
        if prior.ndim == 1:
            log_det = np.log(likelihood + prior * factor**2).sum()
        else:
            log_det = np.linalg.slogdet(likelihood + prior * np.outer(factor, factor))[1]
        return -0.5 * (scaled.sum() * log_s - np.exp(log_s) * quadratic - log_det)

    best = optimize.minimize_scalar(negative, bounds=(-10.0, 10.0), method="bounded")
    return np.where(scaled, np.exp(best.x), 1.0), wanted


def _centred_at_zero(rv: object) -> bool:
    mean = rv.owner.op.dist_params(rv.owner)[0]  # type: ignore[attr-defined]
    value = getattr(mean, "data", None)
    while value is None and mean.owner is not None and len(mean.owner.inputs) == 1:
        mean = mean.owner.inputs[0]
        value = getattr(mean, "data", None)
    return value is not None and not np.any(value)
