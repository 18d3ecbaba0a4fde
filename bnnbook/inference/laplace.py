"""Laplace's approximation: a normal at a mode, with the curvature there."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from scipy import linalg

from bnnbook.checks import positive_int, seed_int
from bnnbook.density import LogDensity, compile_log_density, precision
from bnnbook.inference.curvature import CURVATURES, precision_parts
from bnnbook.inference.docs import with_shared_docs
from bnnbook.inference.optimize import fit_map
from bnnbook.inference.prior_scale import tuned_scale
from bnnbook.inference.results import (
    ConvergenceWarning,
    posterior_dataset,
    result_tree,
    value_dataset,
)

__all__ = ["fit_laplace"]

STRUCTURES = ("full", "diagonal")
MOST_FULL = 8000  # parameters of a full covariance: half a gigabyte
NOT_A_MODE = 0.5  # nats that a Newton step would still gain


@with_shared_docs
def fit_laplace(
    model: pm.Model,
    *,
    structure: str = "full",
    curvature: str = "ggn",
    last_layer: str | Sequence[str] | None = None,
    mode: xr.DataTree | None = None,
    tune_prior: bool | Sequence[str] = False,
    n_starts: int = 5,
    max_steps: int = 5000,
    draws: int = 1000,
    seed: int,
    progressbar: bool = True,
) -> xr.DataTree:
    r"""Fit a normal at a posterior mode, with the inverse of the curvature there as covariance.

    At the mode :math:`\hat\theta` of the log density on the unconstrained space (MacKay 1992),

    .. math::
        q(\theta) = \mathcal{N}(\hat\theta, (H + P)^{-1}), \qquad
        \log p(D) \approx \log p(D, \hat\theta) + \tfrac{d}{2} \log 2 \pi
        - \tfrac12 \log |H + P|,

    with P minus the Hessian of the log prior, and H that of the likelihood: the generalised
    Gauss-Newton matrix by default, :math:`\sum_i J_i^\top F_i J_i`, where J is the Jacobian of the
    parameters of row i's distribution and F their Fisher information. For exponential families that
    is the Gauss-Newton matrix in natural parameters (Martens 2020, sec. 9.2); it is never negative.

    There are two ways to predict. Draws of this fit in a plain predictor are *sampled*: for
    networks they often predict badly, since the curvature is that of the linearised network
    (Immer et al. 2021). ``predict.compile_predictor(model, outputs, linearised=fit)`` is
    *linearised* and predicts with that network.

    Parameters
    ----------
    model : pymc.Model
        Any model without discrete free variables or ``pm.Minibatch`` data.
    structure : {"full", "diagonal"}
        The covariance, or the inverse of the curvature's diagonal alone.
    curvature : {"ggn", "hessian"}
        For the likelihood. A Hessian need not be positive definite.
    last_layer : str or sequence of str, optional
        Names of free variables, or dims: only variables so named, or along those dims, vary; the
        others stay at the mode.
    mode : DataTree, optional
        A result of ``fit_map(model, jacobian=True)``; by default the best of ``n_starts`` is found
        here, with at most ``max_steps`` steps each.
    tune_prior : bool or sequence of str
        Whether to choose the prior's precision after the fit. True, or the names of free variables
        with normal priors, scales their prior precision by the factor that maximises the evidence
        at the mode found with the model's own prior (MacKay 1992, sec. 4). It is off by default:
        with it the result is no approximation of the model's posterior. Attribute ``prior_scale``.
    n_starts, max_steps : int
    draws : int
    {seed}
    {progressbar}

    Returns
    -------
    xarray.DataTree
        ``posterior`` with one chain; ``variational`` (stat: mean, sd on the unconstrained space,
        and ``covariance`` if full); ``mode``, in the model's own space. Attributes
        ``log_evidence`` (nats; NaN with ``last_layer``), ``log_density`` at the mode,
        ``newton_decrement`` (nats that another Newton step would gain).

    Raises
    ------
    TypeError
        If the model has discrete free variables.
    ValueError
        If ``structure``, ``curvature``, or a name is unknown, ``mode`` is no mode of this model,
        the curvature is singular (names the variables), or there are too many parameters.
    """
    _check_known("structure", structure, STRUCTURES)
    _check_known("curvature", curvature, CURVATURES)
    draws, seed = positive_int("draws", draws), seed_int(seed)
    density = compile_log_density(model)
    varying = _varying(density, last_layer)
    if structure == "full" and varying.sum() > MOST_FULL:
        raise ValueError(
            f"structure='full' takes at most {MOST_FULL} parameters, got {varying.sum()}: "
            "use structure='diagonal' or last_layer"
        )
    if mode is None:
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # told below
            mode = fit_map(
                model, n_starts=n_starts, max_steps=max_steps, jacobian=True, seed=seed,
                progressbar=progressbar,
            )  # fmt: skip
    clock = time.perf_counter()
    theta = density.given_points(mode, 1)[0]
    with precision(np.float64):
        data = density.arrays()
        likelihood, prior, gradient, value = precision_parts(
            density, theta, data, varying, curvature=curvature, full=structure == "full"
        )
    scale, names = tuned_scale(density, theta, varying, likelihood, prior, tune_prior)
    prior = prior * (scale if prior.ndim == 1 else np.sqrt(np.outer(scale, scale)))
    root = _root(density, likelihood + prior, varying)
    decrement = _decrement(root, gradient[varying])
    tuned = bool(names)
    if decrement > NOT_A_MODE and not tuned:
        raise ValueError(
            f"mode must be a mode of this model with jacobian=True: a Newton step from it would "
            f"gain {decrement:.3g} nats; take more steps in fit_map"
        )
    settings = {
        "structure": structure, "curvature": curvature, "last_layer": _listed(last_layer),
        "tune_prior": names, "n_starts": n_starts, "max_steps": max_steps, "draws": draws,
    }  # fmt: skip
    return _result(
        density, theta, root, varying, value, settings, seed,
        seconds=time.perf_counter() - clock + mode.attrs.get("seconds", 0.0),
        attrs={
            "newton_decrement": float(decrement), "log_density": float(value),
            "prior_scale": float(scale.max()) if tuned else 1.0,
        },
        problems=json.loads(mode.attrs.get("problems", "[]")),
    )  # fmt: skip


def _check_known(name: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {list(known)}, got {value!r}")


def _listed(names: str | Sequence[str] | None) -> list[str]:
    if isinstance(names, bool) or not isinstance(names, str | Sequence | None):
        raise TypeError(
            "last_layer must name free variables or dims, such as 'w_out' or a list of them, got "
            f"{names!r}"
        )
    return [names] if isinstance(names, str) else list(names or [])


def _varying(density: LogDensity, last_layer: str | Sequence[str] | None) -> np.ndarray:
    """Which of the D parameters vary, boolean (D,)."""
    wanted = _listed(last_layer)
    free = dict(zip(density.dims, density.names, strict=True))  # by the model's own name
    dims = {dim for own in density.dims.values() for dim in own if dim is not None}
    unknown = [name for name in wanted if name not in free and name not in dims]
    if unknown:
        raise ValueError(
            f"last_layer must hold free variables, {list(free)}, or their dims, {sorted(dims)}; "
            f"got {unknown}"
        )
    chosen = [
        not wanted or name in wanted or bool(set(own) & set(wanted))
        for name, own in density.dims.items()
    ]
    sizes = [int(np.prod(shape)) for shape in density.shapes]
    return np.repeat(chosen, sizes)


def _root(density: LogDensity, matrix: np.ndarray, varying: np.ndarray) -> np.ndarray:
    """Lower Cholesky factor of the precision, or root of its diagonal; an error if singular."""
    if matrix.ndim == 1:
        if (matrix > 0).all():
            return np.sqrt(matrix)
        weakest = np.array(matrix <= 0, dtype=float)
    else:
        # in units of the diagonal, so that scales of the parameters do not look like rank
        unit = np.sqrt(np.maximum(np.diag(matrix), 1e-300))
        scaled = matrix / np.outer(unit, unit)
        try:
            if np.isfinite(scaled).all() and np.linalg.eigvalsh(scaled)[0] > 1e-12:
                return unit[:, None] * np.linalg.cholesky(scaled)
        except np.linalg.LinAlgError:
            pass
        finite = np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)
        weakest = np.abs(np.linalg.eigh(finite)[1][:, 0])
    owner = np.repeat(list(density.dims), [int(np.prod(s)) for s in density.shapes])[varying]
    names = sorted(set(owner[weakest > 0.3 * weakest.max()]))
    raise ValueError(
        f"the curvature at the mode is singular or not positive along {', '.join(names)}: the data "
        "and the prior leave a direction open there, or a parameter is at a bound; use "
        "curvature='ggn', a proper prior, or another method"
    )


def _decrement(root: np.ndarray, gradient: np.ndarray) -> float:
    """Half the squared length of the gradient in the metric of the covariance, nats."""
    if root.ndim == 1:
        return float(0.5 * np.sum((gradient / root) ** 2))
    return float(0.5 * np.sum(linalg.solve_triangular(root, gradient, lower=True) ** 2))


def _result(
    density: LogDensity, theta: np.ndarray, root: np.ndarray, varying: np.ndarray, value: float,
    settings: dict[str, Any], seed: int, *, seconds: float, attrs: dict[str, Any],
    problems: Sequence[str],
) -> xr.DataTree:  # fmt: skip
    count = int(varying.sum())
    z = np.random.default_rng([seed, 1]).normal(size=(settings["draws"], count))
    thetas = np.repeat(theta[None], settings["draws"], axis=0)
    thetas[:, varying] += (
        z / root if root.ndim == 1 else linalg.solve_triangular(root.T, z.T, lower=False).T
    )
    log_det = 2 * np.log(root if root.ndim == 1 else np.diag(root)).sum()
    whole = varying.all() and not settings["tune_prior"]
    evidence = value + 0.5 * count * np.log(2 * np.pi) - 0.5 * log_det if whole else np.nan
    sd = np.zeros(density.size)
    if root.ndim == 1:
        sd[varying] = 1 / root
        covariance = None
    else:
        inverse = linalg.solve_triangular(root, np.eye(count), lower=True)
        covariance = np.zeros((density.size, density.size))
        covariance[np.ix_(varying, varying)] = inverse.T @ inverse
        sd = np.sqrt(np.diag(covariance))
    variational = value_dataset(density, {"mean": theta, "sd": sd})
    if covariance is not None:
        variational["covariance"] = (("parameter", "parameter_"), covariance)
    mode = posterior_dataset(density, theta[None, None])
    return result_tree(
        density, posterior_dataset(density, thetas[None]), sample_stats={},
        method="laplace", settings=settings, seed=seed, n=density.N, seconds=seconds,
        compile_seconds=0.0,
        groups={"variational": variational, "mode": mode.isel(chain=0, draw=0, drop=True)},
        attrs={"log_evidence": float(evidence), **attrs}, problems=problems,
    )  # fmt: skip
