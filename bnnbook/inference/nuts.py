"""The no-U-turn sampler (Hoffman and Gelman 2014) in one compiled loop, one thread per chain."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr

from bnnbook.inference.chains import (
    BLOCK,
    blackjax_for,
    chain_count,
    full_data_density,
    run_chains,
)
from bnnbook.inference.checks import positive_int, seed_int

__all__ = ["sample_nuts"]


def sample_nuts(
    model: pm.Model,
    *,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    seed: int,
    target_accept: float = 0.8,
    cores: int | None = None,
    progressbar: bool = True,
) -> xr.DataTree:
    """Sample the posterior with NUTS.

    The sampler is BlackJAX's, with its window adaptation of step size and diagonal mass matrix,
    compiled once and run with one thread per chain. On small networks a gradient takes tens of
    microseconds, so the loop has to be compiled too: a call from Python would cost more than the
    gradient.

    Parameters
    ----------
    model : pymc.Model
        Any model without discrete free variables or ``pm.Minibatch`` data.
    draws, tune : int
        Kept and discarded iterations per chain.
    chains : int
        With 1 there is no between-chain R-hat, and a warning says so.
    seed : int
    target_accept : float
        Target acceptance in (0, 1); raise it if there are divergences.
    cores : int, optional
        Chains run at once; the number of CPUs by default.
    progressbar : bool

    Returns
    -------
    xarray.DataTree
        ``posterior`` (chain, draw, ...) and ``sample_stats``: ``lp`` (log density on the
        unconstrained space), ``diverging``, ``n_steps``, ``acceptance_rate``, ``energy``,
        ``step_size``. After Ctrl-C, the draws that every chain has.

    Raises
    ------
    ImportError
        If BlackJAX is missing.
    ValueError, TypeError
        For an argument out of range.
    """
    blackjax = blackjax_for("sample_nuts")
    draws, tune = positive_int("draws", draws), positive_int("tune", tune)
    chains, seed = chain_count(chains), seed_int(seed)
    if not 0 < target_accept < 1:
        raise ValueError(f"target_accept must lie in (0, 1), got {target_accept}")
    density, data = full_data_density(model, "NUTS")

    def log_density(theta: jax.Array) -> jax.Array:
        return density.log_prior(theta, data) + density.log_likelihood(theta, data)

    def warm_up(key: jax.Array, theta: jax.Array) -> Any:
        adaptation = blackjax.window_adaptation(
            blackjax.nuts, log_density, target_acceptance_rate=target_accept
        )
        (state, parameters), _ = adaptation.run(key, theta, num_steps=tune)
        return state, parameters

    def advance(key: jax.Array, state: Any, parameters: dict[str, Any]) -> Any:
        step = blackjax.nuts(log_density, **parameters).step

        def one(state: Any, key: jax.Array) -> tuple:
            state, info = step(key, state)
            return state, {
                "theta": state.position,
                "lp": state.logdensity,
                "diverging": info.is_divergent,
                "n_steps": info.num_integration_steps,
                "acceptance_rate": info.acceptance_rate,
                "energy": info.energy,
            }

        return jax.lax.scan(one, state, jax.random.split(key, BLOCK))

    clock = time.perf_counter()
    key, theta = jax.random.key(0), jnp.zeros(density.size)
    compiled_warm_up = jax.jit(warm_up).lower(key, theta).compile()
    example = jax.eval_shape(warm_up, key, theta)
    compiled_advance = jax.jit(advance).lower(key, *example).compile()
    compile_seconds = time.perf_counter() - clock

    starts = density.initial_points(chains, jitter=1.0, seed=seed)
    keys = jax.random.split(jax.random.key(seed), chains)
    step_sizes = np.zeros(chains)
    n_blocks = -(-draws // BLOCK)

    def chain(number: int) -> Iterator[dict[str, np.ndarray] | None]:
        warm_key, *draw_keys = jax.random.split(keys[number], n_blocks + 1)
        state, parameters = compiled_warm_up(warm_key, jnp.asarray(starts[number]))
        step_sizes[number] = float(parameters["step_size"])
        for draw_key in draw_keys:
            state, out = compiled_advance(draw_key, state, parameters)
            yield {name: np.asarray(value) for name, value in out.items()}

    run = run_chains(
        chain, label="NUTS", chains=chains, iterations=draws, cores=cores, progressbar=progressbar
    )
    return run.result(
        density, data, draws=draws, extra_stats={"step_size": step_sizes}, method="nuts",
        settings={"draws": draws, "tune": tune, "chains": chains, "target_accept": target_accept},
        seed=seed, compile_seconds=compile_seconds,
    )  # fmt: skip
