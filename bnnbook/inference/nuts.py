"""The no-U-turn sampler (Hoffman and Gelman 2014) in one compiled loop, one thread per chain."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr

from bnnbook.inference.callbacks import Callback
from bnnbook.inference.chains import (
    BLOCK,
    blackjax_for,
    chain_count,
    full_data_density,
    run_chains,
)
from bnnbook.inference.checks import float_dtype, positive_int, seed_int
from bnnbook.inference.log_density import precision

__all__ = ["sample_nuts"]


def sample_nuts(
    model: pm.Model,
    *,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    seed: int,
    target_accept: float = 0.8,
    dense_mass: bool = False,
    max_depth: int = 10,
    dtype: str = "float64",
    cores: int | None = None,
    callbacks: Sequence[Callback] = (),
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
    dense_mass : bool
        Whether the mass matrix has correlations; its warm-up needs more draws than parameters.
    max_depth : int
        Largest number of doublings of a trajectory: at most 2^max_depth - 1 gradients a draw.
    dtype : {"float64", "float32"}
        Precision of the log density, its gradient and the trajectories. Single precision is two to
        four times faster where products of small matrices dominate; its rounding, about 1e-7 of
        the log density, is far below the error of the leapfrog steps that acceptance corrects.
        Draws come back in float64 either way.
    cores : int, optional
        Chains run at once; the number of CPUs by default.
    callbacks : sequence of ``callback(state, losses, step)``
        Called when every chain has another 100 draws (or has passed their own ``every``) with a
        :class:`FitState` and the chains' mean negative log density, per draw; one that raises
        ``StopIteration`` ends the sampling, and the draws that every chain has are kept.
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
    max_depth = positive_int("max_depth", max_depth)
    if not 0 < target_accept < 1:
        raise ValueError(f"target_accept must lie in (0, 1), got {target_accept}")
    dtype = float_dtype(dtype)
    density = full_data_density(model, "NUTS")

    def log_density(theta: jax.Array) -> jax.Array:
        data = tuple(jnp.asarray(a) for a in density.data)  # in the precision of the moment
        return density.log_prior(theta, data) + density.log_likelihood(theta, data)

    def warm_up(key: jax.Array, theta: jax.Array) -> Any:
        adaptation = blackjax.window_adaptation(
            blackjax.nuts,
            log_density,
            is_mass_matrix_diagonal=not dense_mass,
            target_acceptance_rate=target_accept,
            max_num_doublings=max_depth,
        )
        (state, parameters), _ = adaptation.run(key, theta, num_steps=tune)
        # the depth is a constant of the compiled code and no array
        return state, {k: v for k, v in parameters.items() if k != "max_num_doublings"}

    def advance(key: jax.Array, state: Any, parameters: dict[str, Any]) -> Any:
        step = blackjax.nuts(log_density, max_num_doublings=max_depth, **parameters).step

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
    with precision(dtype):
        key, theta = jax.random.key(0), jnp.zeros(density.size, dtype)
        compiled_warm_up = jax.jit(warm_up).lower(key, theta).compile()
        example = jax.eval_shape(warm_up, key, theta)
        compiled_advance = jax.jit(advance).lower(key, *example).compile()
    compile_seconds = time.perf_counter() - clock

    starts = density.initial_points(chains, jitter=1.0, seed=seed).astype(dtype)
    keys = jax.random.split(jax.random.key(seed), chains)
    step_sizes = np.zeros(chains)
    n_blocks = -(-draws // BLOCK)

    def chain(number: int) -> Iterator[dict[str, np.ndarray] | None]:
        with jax.enable_x64(dtype == "float64"):  # of this thread
            warm_key, *draw_keys = jax.random.split(keys[number], n_blocks + 1)
            state, parameters = compiled_warm_up(warm_key, jnp.asarray(starts[number]))
            step_sizes[number] = float(parameters["step_size"])
            for draw_key in draw_keys:
                state, out = compiled_advance(draw_key, state, parameters)
                yield {name: np.asarray(value) for name, value in out.items()}

    settings = {
        "draws": draws, "tune": tune, "chains": chains, "target_accept": target_accept,
        "dense_mass": dense_mass, "max_depth": max_depth, "dtype": dtype,
    }  # fmt: skip
    run = run_chains(
        chain, density, method="nuts", settings=settings, label="NUTS", iterations=draws,
        cores=cores, callbacks=callbacks, progressbar=progressbar,
    )  # fmt: skip
    return run.result(
        density, draws=draws, extra_stats={"step_size": step_sizes}, method="nuts",
        settings=settings, seed=seed, compile_seconds=compile_seconds,
    )  # fmt: skip
