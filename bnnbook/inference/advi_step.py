"""The steps of automatic differentiation variational inference, to be compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from bnnbook.density import LogDensity, Minibatches

__all__ = ["LOG_2PI", "Frame", "Loop", "Optimizer", "cholesky", "compiled_steps"]

LOG_2PI = float(np.log(2 * np.pi))
WIDE = 10_000  # with more parameters noise is drawn step by step, and three times faster


class Optimizer(Protocol):
    """What ``fit_advi`` asks of an optimiser; every ``optax.GradientTransformation`` has it.

    ``update`` takes the gradient of the *loss* and returns what to add to the parameters.
    """

    def init(self, params: Any) -> Any: ...

    def update(self, updates: Any, state: Any, params: Any) -> tuple[Any, Any]: ...


class Frame(NamedTuple):
    """Where an approximation starts, and the scale of its steps.

    Its parameters are those of z in theta = centre + scale z, so that all of them have about the
    same scale. ``scale`` is (D,), or a lower triangle (D, D).
    """

    centre: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True)
class Loop:
    """Everything that decides a run but its start and its seed.

    ``rates`` and ``weights`` (n,) are Adam's step sizes and the KL weights; callbacks may be due
    every ``interval`` steps, ``block`` of which run in one call of compiled code.
    """

    density: LogDensity = field(repr=False)
    method: str
    batches: Minibatches = field(repr=False)
    rates: np.ndarray
    weights: np.ndarray
    block: int
    interval: int
    optimizer: Optimizer | None
    dtype: str

    @property
    def n(self) -> int:
        return len(self.rates)

    @property
    def subsamples(self) -> bool:
        return self.batches.sizes != self.batches.lengths


def cholesky(method: str, scale: Any) -> Any:
    """Lower triangle from its parameters: softplus on the diagonal, as PyMC has it."""
    if method == "advi":
        return jax.nn.softplus(scale)
    return jnp.tril(scale, -1) + jnp.diag(jax.nn.softplus(jnp.diag(scale)))


def compiled_steps(loop: Loop) -> Callable[..., tuple]:
    """Up to ``block`` steps on (parameters, optimiser's state), as a function to compile."""
    density, method, optimizer, dtype = loop.density, loop.method, loop.optimizer, loop.dtype
    D, block, ahead = loop.density.size, loop.block, loop.density.size <= WIDE
    batches = loop.batches

    def log_terms(params: tuple, xi: Any, batch: tuple, frame: Any) -> tuple:
        mean, scale = params
        chol = cholesky(method, scale)
        if method == "advi":
            theta, log_det = mean + chol * xi, jnp.log(chol).sum()
        else:
            theta, log_det = mean + chol @ xi, jnp.log(jnp.diag(chol)).sum()
        if frame is not None:
            centre, shape = frame
            diagonal = shape if shape.ndim == 1 else jnp.diag(shape)
            theta = centre + (shape * theta if shape.ndim == 1 else shape @ theta)
            log_det = log_det + jnp.log(diagonal).sum()
        log_q = -0.5 * (xi @ xi) - 0.5 * D * LOG_2PI - log_det
        return density.log_prior(theta, batch) - log_q, batches.log_likelihood(theta, batch)

    def objective(params: tuple, xi: Any, batch: tuple, kl_weight: Any, frame: Any) -> tuple:
        minus_kl, likelihood = log_terms(params, xi, batch, frame)
        return kl_weight * minus_kl + likelihood, minus_kl + likelihood

    gradient = jax.grad(objective, has_aux=True)

    def noise_of_step(key: jax.Array, i: Any) -> jax.Array:
        xi = jax.random.normal(jax.random.fold_in(key, i), (D,), dtype)
        return jax.lax.optimization_barrier(xi)  # else computed again wherever it is used

    def run(
        state: tuple, key: jax.Array, steps: Any, rates: Any, kl_weights: Any, frame: Any,
        data: tuple,
    ) -> tuple:  # fmt: skip
        noise_key, index_key = jax.random.split(key)
        if ahead:
            noise = jax.random.normal(noise_key, (block, D), dtype)
        indices = _indices(loop, index_key)

        def step(i: Any, carry: tuple) -> tuple:
            params, optimizer_state, elbos = carry
            xi = noise[i] if ahead else noise_of_step(noise_key, i)
            batch = data
            if loop.subsamples:
                batch = batches.take(
                    data, tuple(rows if fixed else rows[i] for rows, fixed in indices)
                )
            grads, elbo = gradient(params, xi, batch, kl_weights[i], frame)
            if optimizer is None:
                params, optimizer_state = _adam(params, grads, optimizer_state, rates[i])
            else:
                grads = jax.tree.map(jnp.negative, grads)
                updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
                params = jax.tree.map(jnp.add, params, updates)
            return params, optimizer_state, elbos.at[i].set(elbo)

        *state, elbos = jax.lax.fori_loop(0, steps, step, (*state, jnp.zeros(block, dtype)))
        return tuple(state), elbos

    return run


def _indices(loop: Loop, key: jax.Array) -> list[tuple[Any, bool]]:
    """Rows of each axis for each step of a block; or, where a batch has them all, for all steps."""
    found: list[tuple[Any, bool]] = []
    if not loop.subsamples:
        return found
    for k, (length, size) in enumerate(zip(loop.batches.lengths, loop.batches.sizes, strict=True)):
        if size == length:
            found.append((jnp.arange(length), True))
        else:
            own = jax.random.fold_in(key, k) if k else key
            found.append((jax.random.randint(own, (loop.block, size), 0, length), False))
    return found


def _adam(params: tuple, grads: tuple, state: tuple, rate: Any) -> tuple[tuple, tuple]:
    """One step uphill (Kingma and Ba 2015, algorithm 1)."""
    m1, m2, count = state
    count = count + 1
    m1 = jax.tree.map(lambda a, g: 0.9 * a + 0.1 * g, m1, grads)
    m2 = jax.tree.map(lambda a, g: 0.999 * a + 0.001 * g * g, m2, grads)
    c1, c2 = 1 - 0.9**count, 1 - 0.999**count
    params = jax.tree.map(
        lambda p, a, b: p + rate * (a / c1) / (jnp.sqrt(b / c2) + 1e-8), params, m1, m2
    )
    return params, (m1, m2, count)
