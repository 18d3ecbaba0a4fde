"""Static Hamiltonian Monte Carlo (Duane et al. 1987; Neal 2011) with nothing adapted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr

from bnnbook.checks import (
    non_negative_int,
    positive_int,
    positive_number,
    seed_int,
)
from bnnbook.inference.callbacks import Callback
from bnnbook.inference.chains import (
    BLOCK,
    blackjax_for,
    chain_count,
    full_data_density,
    run_chains,
)

__all__ = ["sample_hmc"]


def sample_hmc(
    model: pm.Model,
    *,
    step_size: float,
    n_steps: int,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    seed: int,
    start: np.ndarray | Mapping[str, np.ndarray] | None = None,
    cores: int | None = None,
    callbacks: Sequence[Callback] = (),
    progressbar: bool = True,
) -> xr.DataTree:
    r"""Sample the posterior with HMC of a fixed step size and a fixed number of steps.

    Each iteration draws a momentum :math:`r \sim N(0, I)`, follows ``n_steps`` leapfrog steps

    .. math::
        r \leftarrow r + \tfrac{\epsilon}{2} \nabla \log p(\theta), \quad
        \theta \leftarrow \theta + \epsilon r, \quad
        r \leftarrow r + \tfrac{\epsilon}{2} \nabla \log p(\theta),

    and accepts the end with probability :math:`\min(1, e^{H_{start} - H_{end}})`, where
    :math:`H = -\log p(\theta) + r^\top r / 2` (Neal 2011, sections 2 and 3). The kernel is
    BlackJAX's, compiled once and run with one thread per chain.

    Parameters
    ----------
    model : pymc.Model
        Any model without discrete free variables or ``pm.Minibatch`` data.
    step_size : float
        Leapfrog step :math:`\epsilon`, on the unconstrained space; positive.
    n_steps : int
        Leapfrog steps per iteration, at least 1.
    draws, tune : int
        Kept and discarded iterations per chain. Nothing is tuned in the latter: 0 keeps all.
    chains : int
        With 1 there is no between-chain R-hat, and a warning says so.
    seed : int
    start : array (chains, D), or mapping of names to arrays (chains, ...), optional
        As for :func:`sample_nuts`.
    cores : int, optional
        Chains run at once; the number of CPUs by default.
    callbacks : sequence of ``callback(state, losses, step)``
        As for :func:`sample_nuts`; iterations of ``tune`` count.
    progressbar : bool

    Returns
    -------
    xarray.DataTree
        ``posterior`` (chain, draw, ...) and ``sample_stats``: ``lp`` (log density on the
        unconstrained space), ``accepted``, ``acceptance_rate``, ``diverging``, ``energy``. After
        Ctrl-C, the draws that every chain has.

    Raises
    ------
    ImportError
        If BlackJAX is missing.
    ValueError, TypeError
        For an argument out of range.
    """
    blackjax = blackjax_for("sample_hmc")
    step_size, n_steps = positive_number("step_size", step_size), positive_int("n_steps", n_steps)
    draws, tune = positive_int("draws", draws), non_negative_int("tune", tune)
    chains, seed = chain_count(chains), seed_int(seed)
    density = full_data_density(model, "HMC")

    data = tuple(jnp.asarray(a) for a in density.data)

    def log_density(theta: jax.Array) -> jax.Array:
        return density.log_prior(theta, data) + density.log_likelihood(theta, data)

    sampler = blackjax.hmc(log_density, step_size, jnp.ones(density.size), n_steps)

    def advance(key: jax.Array, state: Any) -> tuple:
        def one(state: Any, key: jax.Array) -> tuple:
            state, info = sampler.step(key, state)
            return state, {
                "theta": state.position,
                "lp": state.logdensity,
                "accepted": info.is_accepted,
                "acceptance_rate": info.acceptance_rate,
                "diverging": info.is_divergent,
                "energy": info.energy,
            }

        return jax.lax.scan(one, state, jax.random.split(key, BLOCK))

    clock = time.perf_counter()
    if start is None:
        start = density.initial_points(chains, jitter=1.0, seed=seed)
    states = [sampler.init(jnp.asarray(theta)) for theta in density.given_points(start, chains)]
    compiled = jax.jit(advance).lower(jax.random.key(0), states[0]).compile()
    compile_seconds = time.perf_counter() - clock

    keys = jax.random.split(jax.random.key(seed), chains)
    n_blocks = -(-(tune + draws) // BLOCK)

    def chain(number: int) -> Iterator[dict[str, np.ndarray]]:
        state = states[number]
        for key in jax.random.split(keys[number], n_blocks):
            state, out = compiled(key, state)
            yield {name: np.asarray(value) for name, value in out.items()}

    settings = {
        "step_size": step_size, "n_steps": n_steps, "draws": draws, "tune": tune, "chains": chains,
    }  # fmt: skip
    run = run_chains(
        chain, density, method="hmc", settings=settings, label="HMC", iterations=tune + draws,
        cores=cores, callbacks=callbacks, progressbar=progressbar,
    )  # fmt: skip
    return run.result(
        density, draws=draws, tune=tune, method="hmc", seed=seed, settings=settings,
        compile_seconds=compile_seconds,
    )  # fmt: skip
