"""The no-U-turn sampler (Hoffman and Gelman 2014) in one compiled loop, one thread per chain."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr

from bnnbook.inference.callbacks import Callback, FitState, Reporter
from bnnbook.inference.checks import positive_int, seed_int
from bnnbook.inference.log_density import LogDensity, compile_log_density
from bnnbook.inference.progress import progress_bar
from bnnbook.inference.results import posterior_dataset, result_tree

__all__ = ["sample_nuts"]

BLOCK = 100  # draws between two looks at the progress bar and at Ctrl-C


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
    try:
        import blackjax
    except ImportError as error:
        raise ImportError("sample_nuts needs BlackJAX: pip install blackjax") from error

    draws, tune, chains = (
        positive_int(name, value)
        for name, value in {"draws": draws, "tune": tune, "chains": chains}.items()
    )
    max_depth = positive_int("max_depth", max_depth)
    seed = seed_int(seed)
    if not 0 < target_accept < 1:
        raise ValueError(f"target_accept must lie in (0, 1), got {target_accept}")
    cores = min(positive_int("cores", cores or os.cpu_count() or 1), chains)
    if chains == 1:
        warnings.warn("R-hat between chains needs chains > 1, got 1", UserWarning, stacklevel=2)
    density = compile_log_density(model)
    if density.batch_size is not None:
        raise ValueError("model has pm.Minibatch data; NUTS needs the full data")
    data = tuple(jnp.asarray(a) for a in density.data)

    def log_density(theta: jax.Array) -> jax.Array:
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
    key, theta = jax.random.key(0), jnp.zeros(density.size)
    compiled_warm_up = jax.jit(warm_up).lower(key, theta).compile()
    example = jax.eval_shape(warm_up, key, theta)
    compiled_advance = jax.jit(advance).lower(key, *example).compile()
    compile_seconds = time.perf_counter() - clock

    starts = density.initial_points(chains, jitter=1.0, seed=seed)
    keys = jax.random.split(jax.random.key(seed), chains)
    blocks: list[list[dict[str, np.ndarray]]] = [[] for _ in range(chains)]
    step_sizes = np.zeros(chains)
    stop = False
    n_blocks = -(-draws // BLOCK)

    def run_chain(chain: int) -> None:
        warm_key, *draw_keys = jax.random.split(keys[chain], n_blocks + 1)
        state, parameters = compiled_warm_up(warm_key, jnp.asarray(starts[chain]))
        step_sizes[chain] = float(parameters["step_size"])
        for draw_key in draw_keys:
            if stop:
                return
            state, out = compiled_advance(draw_key, state, parameters)
            blocks[chain].append({name: np.asarray(value) for name, value in out.items()})

    settings = {
        "draws": draws, "tune": tune, "chains": chains, "target_accept": target_accept,
        "dense_mass": dense_mass, "max_depth": max_depth,
    }  # fmt: skip
    reporter = Reporter(callbacks, method="nuts", settings=settings)
    clock = time.perf_counter()
    interrupted, ended = False, "finished"
    with (
        progress_bar("NUTS", chains * draws, show=progressbar, value_name="log density") as update,
        ThreadPoolExecutor(cores) as pool,
    ):
        futures = [pool.submit(run_chain, chain) for chain in range(chains)]
        try:
            with reporter:
                running, reported = True, 0
                while running:
                    running = not all(future.done() for future in futures)
                    time.sleep(0.1 if running else 0.0)
                    done = sum(len(chain) for chain in blocks)
                    last = next((b[-1]["lp"][-1] for b in blocks if b), np.nan)
                    update(min(done * BLOCK, chains * draws), float(last))
                    complete = min(len(chain) for chain in blocks)
                    if reporter and complete > reported:
                        reported = complete
                        seconds = time.perf_counter() - clock
                        reporter(*_state(density, blocks, complete, draws, seconds))
        except BaseException as error:
            stop = True
            for future in futures:
                future.cancel()
            interrupted = isinstance(error, KeyboardInterrupt)
            if isinstance(error, StopIteration):
                ended = f"stopped at draw {min(complete * BLOCK, draws)}: {error}"
            elif not interrupted:
                raise  # the threads end after their block
    for future in futures:
        if not future.cancelled():
            future.result()
    seconds = time.perf_counter() - clock
    return _collect(
        density, blocks, step_sizes, data, draws=draws, seed=seed, seconds=seconds,
        compile_seconds=compile_seconds, interrupted=interrupted,
        ended=ended, settings=settings,
    )  # fmt: skip


def _state(
    density: LogDensity, blocks: list[list[dict[str, np.ndarray]]], complete: int, draws: int,
    seconds: float,
) -> tuple[FitState, np.ndarray]:  # fmt: skip
    """What the callbacks see: the draws that every chain has."""
    kept = [chain[:complete] for chain in blocks]
    lp = np.mean([np.concatenate([b["lp"] for b in chain]) for chain in kept], axis=0)[:draws]

    def sample(n: int) -> np.ndarray:
        last = np.concatenate([chain[-1]["theta"] for chain in kept])
        return last[np.linspace(0, len(last) - 1, n).astype(int)]

    return FitState(len(lp), float(lp[-1]), seconds, "nuts", density, sample), -lp


def _collect(
    density: LogDensity, blocks: list[list[dict[str, np.ndarray]]], step_sizes: np.ndarray,
    data: tuple, *, draws: int, seed: int, seconds: float, compile_seconds: float,
    interrupted: bool, ended: str, settings: dict[str, Any],
) -> xr.DataTree:  # fmt: skip
    """Stack what every chain has."""
    complete = min(len(chain) for chain in blocks)
    if complete == 0:
        raise KeyboardInterrupt("interrupted before every chain had its first draws")
    stacked = {
        name: np.stack(
            [np.concatenate([b[name] for b in chain[:complete]])[:draws] for chain in blocks]
        )
        for name in blocks[0][0]
    }
    thetas = stacked.pop("theta")
    stacked["step_size"] = np.repeat(step_sizes[:, None], thetas.shape[1], axis=1)
    return result_tree(
        density,
        posterior_dataset(density, thetas, data),
        sample_stats=stacked,
        method="nuts",
        settings=settings,
        seed=seed,
        n=density.N,
        seconds=seconds,
        compile_seconds=compile_seconds,
        attrs={"interrupted": interrupted, "stopped": "interrupted" if interrupted else ended},
    )
