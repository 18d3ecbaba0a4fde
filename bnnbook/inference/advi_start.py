"""Where variational inference starts, and in which coordinates it steps.

Parameters may differ in scale by factors of thousands, and lie hundreds of posterior standard
deviations from where they start: steps of one size for all then never arrive. So, unless told how
to step, :func:`fit_advi` first climbs the ELBO of independent normals with the noise held fixed,
which is a plain function to maximise (Giordano, Ingram and Broderick 2024, JMLR 25(18)), and then
steps in the coordinates of what was found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bnnbook.density import LogDensity, check_start, compiled_once, density_key, precision
from bnnbook.inference.advi_step import Frame
from bnnbook.inference.climb import Climb, climb

__all__ = [
    "MOST_PARAMETERS",
    "PAIRS",
    "STARTS",
    "Climbed",
    "given_start",
    "log_density_at",
    "mean_field_climb",
    "whitened",
]

PAIRS = 10  # of opposite noise vectors: exact for the mean of a normal posterior
BLOCK = 2 * PAIRS  # points at which compiled code evaluates the density in one call
STARTS = 4  # climbs that are tried, of which the best goes on
FIRST_STEPS = 100  # of each
ROUND = 50  # iterations after which the units are chosen anew
SETTLED = 0.01  # nats gained by a round, below which a climb has arrived
MEMORY = 50  # iterations that L-BFGS remembers: scales differ
MOST_PARAMETERS = 2000  # for more, such as the weights of an image network, no climb is made
DENSE = 500  # parameters up to which full-rank steps are in the coordinates of a Hessian
FLOORS = (0.0, 1e-4, 1e-2, 1.0)  # smallest eigenvalues of that Hessian that are tried


class Climbed(NamedTuple):
    """Independent normals, with a scale of shape (D,), and whether the climb to them was over."""

    frame: Frame
    arrived: bool


def given_start(start: Any, density: LogDensity) -> tuple[np.ndarray, np.ndarray | None]:
    """Means (D,) to start from; and, of a fit, standard deviations (D,).

    Raises
    ------
    ValueError, TypeError
        If ``start`` is neither, or of another model.
    """
    if not isinstance(start, Mapping) or isinstance(start, xr.DataTree):
        return _from_fit(start, density)
    expected = dict(zip(density.names, density.shapes, strict=True))
    got = {name: np.shape(value) for name, value in start.items()}
    if got != expected:
        raise ValueError(f"start must have arrays of shapes {expected}, got {got}")
    mean = np.concatenate([np.ravel(start[name]) for name in density.names]).astype(np.float64)
    if not np.isfinite(mean).all():
        raise ValueError("start must be finite, got NaN or infinity")
    return mean, None


def _from_fit(fit: xr.DataTree, density: LogDensity) -> tuple[np.ndarray, np.ndarray]:
    """Variational means and standard deviations of an earlier fit, each (D,)."""
    group = fit.children.get("variational") if isinstance(fit, xr.DataTree) else None
    if group is None:
        raise TypeError(
            f"start must be a result of fit_advi or a mapping of arrays, got {type(fit).__name__}"
        )
    parts = []
    for name, shape in zip(density.names, density.shapes, strict=True):
        found = group[name].sizes if name in group else None
        if found is None or tuple(found.values())[1:] != shape:
            raise ValueError(
                f"start must be a fit of the same model, with {name} of shape {shape}, got "
                f"{sorted(map(str, group.data_vars))}"
            )
        parts.append(group[name].sel(stat=["mean", "sd"]).to_numpy().reshape(2, -1))
    mean, sd = np.concatenate(parts, axis=1)
    return mean, sd


def mean_field_climb(
    density: LogDensity, starts: np.ndarray, sd: float, max_steps: int
) -> Climbed | None:
    """Means and standard deviations that maximise the ELBO at fixed noise.

    Parameters
    ----------
    density : LogDensity
    starts : array (S, D)
        Means to start from. The climb that is best after a hundred iterations goes on.
    sd : float
        Standard deviation to start from.
    max_steps : int
        Iterations, over all climbs.

    Returns
    -------
    Climbed
        None if the ELBO is not finite at any start.
    """
    D = density.size
    xi = _noise(D)
    log_density = log_density_at(density)

    def elbo(params: np.ndarray) -> tuple[float, np.ndarray]:
        """But a constant, and its gradient."""
        with np.errstate(over="ignore", invalid="ignore"):  # far out: the line search turns back
            shifts = np.exp(params[D:]) * xi
            values, gradients = log_density(params[:D] + shifts)
            value = values.mean() + params[D:].sum()
            gradient = np.append(gradients.mean(axis=0), (gradients * shifts).mean(axis=0) + 1)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return -1e250, np.zeros(2 * D)
        return float(value), gradient

    tried = []
    for start in starts:
        first = np.append(start, np.full(D, np.log(sd)))
        if elbo(first)[0] > -1e250:
            steps = max(1, min(FIRST_STEPS, max_steps // (2 * len(starts))))
            tried.append(_rounds(elbo, first, steps))
    if not tried:
        check_start(density, starts)  # names what is not finite, if the means are to blame
        return None
    best = max(tried, key=lambda climbed: climbed.value)
    left = max_steps - sum(climbed.steps for climbed in tried)
    if left > 0 and not best.arrived:
        best = _rounds(elbo, best.theta, left)
    return Climbed(Frame(best.theta[:D], np.exp(best.theta[D:])), best.arrived)


def _rounds(
    elbo: Callable[[np.ndarray], tuple[float, np.ndarray]], start: np.ndarray, max_steps: int
) -> Climb:
    """L-BFGS, beginning anew with each parameter in units of the sd that it has by then.

    It has arrived when a round gains no more than a hundredth of a nat.
    """
    D, params, steps = len(start) // 2, start, 0
    value, arrived = elbo(start)[0], False
    while steps < max_steps and not arrived:
        unit = np.append(np.exp(params[D:]), np.ones(D))

        def scaled(z: np.ndarray, at: np.ndarray = params, unit: np.ndarray = unit) -> tuple:
            value, gradient = elbo(at + unit * z)
            return value, unit * gradient

        found = climb(scaled, np.zeros(2 * D), min(ROUND, max_steps - steps), memory=MEMORY)
        arrived = found.value - value < SETTLED
        params, value = params + unit * found.theta, found.value
        steps += max(found.steps, 1)
    return Climb(params, value, steps, arrived, np.nan)


def whitened(density: LogDensity, frame: Frame) -> Frame:
    """Coordinates in which a full-rank approximation is about a standard normal.

    By the mean Hessian of the log density under independent normals, which at the best normal is
    minus its inverse covariance (Opper and Archambeau 2009, eq. 8). Where that is not positive, or
    nearly not, the independent normals' own scale stands in: of several bounds on the eigenvalues
    the one with the best ELBO is taken.
    """
    D = density.size
    if D > DENSE:
        return frame
    noise = _noise(D)
    hessian = compiled_on_data(density, "hessian", _mean_hessian)
    scaled = -np.asarray(hessian(np.append(frame.centre, np.log(frame.scale)), noise))
    scaled = frame.scale[:, None] * scaled * frame.scale
    if not np.isfinite(scaled).all():
        return frame
    values, vectors = np.linalg.eigh((scaled + scaled.T) / 2)
    fresh = np.random.default_rng(1).normal(size=(5 * BLOCK, D))
    log_density = log_density_at(density)
    best, best_elbo = frame, -np.inf
    for floor in FLOORS:
        kept = np.where(values > floor, values, 1.0 if floor == 0 else floor)
        chol = np.linalg.cholesky((vectors / kept) @ vectors.T + 1e-14 * np.eye(D))
        tried = Frame(frame.centre, frame.scale[:, None] * chol)
        points = frame.centre + fresh @ tried.scale.T
        elbo = float(log_density(points)[0].mean()) + np.log(np.diag(tried.scale)).sum()
        if elbo > best_elbo:
            best, best_elbo = tried, elbo
    return best


def _noise(D: int) -> np.ndarray:
    xi = np.random.default_rng(0).normal(size=(PAIRS, D))
    return np.concatenate([xi, -xi])


def log_density_at(density: LogDensity) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Log densities (S,) and gradients (S, D) at points (S, D), where S is a multiple of 20.

    One compiled function, which goes from point to point to save memory, for all that is asked of
    the density around the loop.
    """
    compiled = compiled_on_data(density, "values and gradients", _values_and_gradients)

    def evaluate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = [compiled(block) for block in np.split(points, len(points) // BLOCK)]
        values, gradients = zip(*parts, strict=True)
        return np.concatenate(values), np.concatenate(gradients)

    return evaluate


def compiled_on_data(
    density: LogDensity, kind: str, function: Callable[..., Any]
) -> Callable[..., Any]:
    """``function(log density, *arrays)`` as a compiled function of arrays, in double precision.

    The log density is that given all the data. ``kind`` names ``function``.
    """

    def log_density(theta: jax.Array, data: tuple) -> jax.Array:
        if density.batch_size is None:
            likelihood = density.log_likelihood(theta, data)
        else:  # all rows, which the model's total_size would scale up as if they were a batch
            terms = density.pointwise(theta, data) | density.potentials(theta, data)
            likelihood = sum((term.sum() for term in terms.values()), start=jnp.zeros(()))
        return density.log_prior(theta, data) + likelihood

    def call(arrays: tuple, data: tuple) -> Any:
        return function(lambda theta: log_density(theta, data), *arrays)

    with precision("float64"):
        data = density.arrays()

    def evaluate(*arrays: np.ndarray) -> Any:
        with precision("float64"):
            shapes = tuple(array.shape for array in arrays)
            key = ("advi start", kind, shapes, density_key(density, data))
            compiled = compiled_once(key, lambda: jax.jit(call).lower(arrays, data).compile())
            return compiled(arrays, data)

    return evaluate


def _values_and_gradients(log_density: Callable[..., Any], points: jax.Array) -> Any:
    return jax.lax.map(jax.value_and_grad(log_density), points)


def _mean_hessian(
    log_density: Callable[..., Any], params: jax.Array, noise: jax.Array
) -> jax.Array:
    D = noise.shape[1]

    def add(total: jax.Array, xi: jax.Array) -> tuple:
        return total + jax.hessian(log_density)(params[:D] + jnp.exp(params[D:]) * xi), None

    return jax.lax.scan(add, jnp.zeros((D, D)), noise)[0] / len(noise)
