"""One chain of parallel tempering: replicas at all temperatures, moved and swapped in one loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bnnbook.density import LogDensity, compiled_once, density_key, given_data
from bnnbook.inference.chains import BLOCK

__all__ = ["PER_LEVEL", "TUNED", "Parts", "Replicas", "Tuning", "tempered_loop"]

JITTER = 0.5  # each trajectory's length is uniform on (1 +- JITTER) times the level's: no resonance
INITIAL_STEP = 0.1
PER_LEVEL = ("acceptance", "swap_probability", "log_likelihoods")  # statistics of every level
TUNED = ("beta", "step_size")  # of every level, set by warm-up

Array = jax.Array


class Replicas(NamedTuple):
    """One chain: K replicas, ordered by level from the prior (0) to the posterior (K - 1)."""

    theta: Array  # (K, D)
    log_prior: Array  # (K,)
    log_likelihood: Array  # (K,)
    prior_gradient: Array  # (K, D)
    likelihood_gradient: Array  # (K, D)
    replica: Array  # (K,) which replica sits at each level
    from_prior: Array  # (K,) by replica: has it been at level 0 since it was at level K - 1?
    parity: Array  # which pairs of levels are up for a swap
    adaptation: Any  # dual averaging of log step sizes, each (K,)


class Tuning(NamedTuple):
    """What warm-up sets: inverse temperatures (K,) and inverse mass matrices (K, D)."""

    beta: Any
    inverse_mass: Any


class Parts(NamedTuple):
    """Compiled: start at points (K, D); one block; step sizes (K,) to adapt from."""

    start: Callable[..., Replicas]
    advance: Callable[..., tuple]
    step_sizes: Callable[..., Any]


def tempered_loop(
    density: LogDensity, data: tuple, n_levels: int, n_steps: int, target_accept: float
) -> Parts:
    """``start(theta, data)``, ``advance(key, state, tuning, adapt, data)``, ``step_sizes(steps)``.

    Compiled once for all models that differ in their data alone.
    """
    key = ("tempered", n_levels, n_steps, target_accept, density_key(density, data))
    return compiled_once(key, lambda: _compiled(density, data, n_levels, n_steps, target_accept))


def _compiled(
    density: LogDensity, data: tuple, n_levels: int, n_steps: int, target_accept: float
) -> Parts:
    from blackjax.adaptation.step_size import dual_averaging_adaptation

    initial_steps, update_steps, _ = dual_averaging_adaptation(target_accept)
    step_sizes = jax.vmap(initial_steps)
    move = _moves(n_steps)

    def start(theta: Array, data: tuple) -> Replicas:
        return Replicas(
            theta, *_evaluated(_log_densities(density, theta[0], data), theta),
            replica=jnp.arange(n_levels), from_prior=jnp.zeros(n_levels, bool),
            parity=jnp.asarray(0), adaptation=step_sizes(jnp.full(n_levels, INITIAL_STEP)),
        )  # fmt: skip

    def advance(key: Array, state: Replicas, tuning: Tuning, adapt: Any, data: tuple) -> tuple:
        """One block; returns the state, the draws, and sums over the block by level."""
        parts = _log_densities(density, state.theta[0], data)

        def one(state: Replicas, key: Array) -> tuple:
            key_move, key_swap = jax.random.split(key)
            log_step = jnp.where(
                adapt, state.adaptation.log_step_size, state.adaptation.log_step_size_avg
            )
            theta, acceptance, diverging = move(key_move, state, parts, tuning, jnp.exp(log_step))
            adapted = jax.vmap(update_steps)(state.adaptation, acceptance)
            adaptation = jax.tree.map(
                lambda new, old: jnp.where(adapt, new, old), adapted, state.adaptation
            )
            moved = Replicas(theta, *_evaluated(parts, theta), *state[5:8], adaptation)
            state, probability = _swapped(key_swap, moved, tuning.beta)
            top = state.replica[-1]
            from_prior = state.from_prior.at[state.replica[0]].set(True)
            arrived = from_prior[top] & (n_levels > 1)
            state = state._replace(from_prior=from_prior.at[top].set(False))
            return state, (
                {
                    "theta": state.theta[-1],
                    "lp": state.log_prior[-1] + state.log_likelihood[-1],
                    "log_likelihood_sum": state.log_likelihood[-1],
                    "acceptance_rate": acceptance[-1],
                    "diverging": diverging[-1],
                    "replica": top,
                    "arrived": arrived,
                    "acceptance": acceptance,
                    "swap_probability": probability,
                    "log_likelihoods": state.log_likelihood,
                },
                (state.theta, _gradient(state, tuning.beta)),
            )

        outputs: Any
        state, outputs = jax.lax.scan(one, state, jax.random.split(key, BLOCK))
        out, (theta, gradient) = outputs
        return state, out, _moments(out["swap_probability"], theta, gradient)

    theta = jnp.zeros((n_levels, density.size))
    tuning = Tuning(jnp.zeros(n_levels), jnp.ones((n_levels, density.size)))
    state = jax.eval_shape(start, theta, data)
    block = jax.jit(advance).lower(jax.random.key(0), state, tuning, True, data).compile()
    return Parts(
        jax.jit(start).lower(theta, data).compile(), block,
        jax.jit(step_sizes).lower(jnp.zeros(n_levels)).compile(),
    )  # fmt: skip


def _log_densities(
    density: LogDensity, theta: Array, data: tuple
) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """Log prior and log likelihood at ``data``; a likelihood that is no number is one of 0."""
    log_prior = given_data(density.log_prior, theta, data)
    log_likelihood = given_data(density.log_likelihood, theta, data)

    def likelihood(theta: Array) -> Array:
        value = log_likelihood(theta)
        return jnp.where(jnp.isnan(value), -jnp.inf, value)

    return log_prior, likelihood


def _evaluated(parts: tuple, theta: Array) -> tuple[Array, Array, Array, Array]:
    """Log prior, log likelihood and their gradients at (K, D)."""
    (prior, prior_gradient), (likelihood, likelihood_gradient) = (
        jax.vmap(jax.value_and_grad(part))(theta) for part in parts
    )
    return prior, likelihood, prior_gradient, likelihood_gradient


def _weighted(prior: Array, likelihood: Array, beta: Array) -> Array:
    # the prior's replica may sit where the likelihood is 0, and 0 * -inf is not a number
    return prior + jnp.where(beta > 0, beta * likelihood, 0.0)


def _gradient(state: Replicas, beta: Array) -> Array:
    return _weighted(state.prior_gradient, state.likelihood_gradient, beta[:, None])


def _moves(n_steps: int) -> Callable[..., tuple]:
    """Moves all replicas by one trajectory of HMC each."""
    from blackjax.mcmc import hmc

    kernel = hmc.build_kernel()

    def moves(key: Array, state: Replicas, parts: tuple, tuning: Tuning, steps: Array) -> tuple:
        log_prior, log_likelihood = parts

        def move(key: Array, state: Any, beta: Array, step: Array, inverse_mass: Array) -> tuple:
            # a gradient of its own: that of beta * log_likelihood is no number at beta = 0 where
            # the likelihood's is infinite
            @jax.custom_vjp
            def target(theta: Array) -> Array:
                return _weighted(log_prior(theta), log_likelihood(theta), beta)

            def forward(theta: Array) -> tuple[Array, Array]:
                prior, prior_gradient = jax.value_and_grad(log_prior)(theta)
                likelihood, likelihood_gradient = jax.value_and_grad(log_likelihood)(theta)
                gradient = _weighted(prior_gradient, likelihood_gradient, beta)
                return _weighted(prior, likelihood, beta), gradient

            target.defvjp(forward, lambda gradient, cotangent: (cotangent * gradient,))
            key_step, key_move = jax.random.split(key)
            step = step * jax.random.uniform(key_step, minval=1 - JITTER, maxval=1 + JITTER)
            state, info = kernel(key_move, state, target, step, inverse_mass, n_steps)
            return state.position, info.acceptance_rate, info.is_divergent

        value = _weighted(state.log_prior, state.log_likelihood, tuning.beta)
        start = hmc.HMCState(state.theta, value, _gradient(state, tuning.beta))
        keys = jax.random.split(key, len(tuning.beta))
        return jax.vmap(move)(keys, start, tuning.beta, steps, tuning.inverse_mass)

    return moves


def _swapped(key: Array, state: Replicas, beta: Array) -> tuple[Replicas, Array]:
    """Propose to swap every second pair of neighbours; probabilities of all pairs (K - 1,)."""
    n_levels = len(beta)
    likelihood = state.log_likelihood
    log_ratio = (beta[:-1] - beta[1:]) * (likelihood[1:] - likelihood[:-1])
    probability = jnp.nan_to_num(jnp.exp(jnp.minimum(log_ratio, 0.0)), nan=0.0)
    pair = jnp.arange(n_levels - 1)
    accepted = (pair % 2 == state.parity) & (jax.random.uniform(key, pair.shape) < probability)
    shift = jnp.pad(accepted, (0, 1)).astype(int) - jnp.pad(accepted, (1, 0)).astype(int)
    order = jnp.arange(n_levels) + shift
    fields = (*Replicas._fields[:5], "replica")
    moved = {name: getattr(state, name)[order] for name in fields}
    return state._replace(**moved, parity=1 - state.parity), probability


def _moments(probability: Array, theta: Array, gradient: Array) -> dict[str, Array]:
    """Sums over a block, by level; gradients count where they are finite."""
    known = jnp.isfinite(gradient).all(axis=-1)
    gradient = jnp.where(known[..., None], gradient, 0.0)
    return {
        "rejection": (1 - probability).sum(axis=0),
        "theta": theta.sum(axis=0), "theta2": (theta**2).sum(axis=0),
        "gradient": gradient.sum(axis=0), "gradient2": (gradient**2).sum(axis=0),
        "known": known.sum(axis=0),
    }  # fmt: skip
