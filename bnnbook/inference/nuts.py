"""The no-U-turn sampler (Hoffman and Gelman 2014) in one compiled loop, one thread per chain."""

from __future__ import annotations

import os
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr

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
    dtype: str = "float64",
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
    dtype : {"float64", "float32"}
        Precision of the log density, its gradient and the trajectories. Single precision is two to
        four times faster where products of small matrices dominate; its rounding, about 1e-7 of
        the log density, is far below the error of the leapfrog steps that acceptance corrects. Draws
        come back in float64 either way.
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
    try:
        import blackjax
    except ImportError as error:
        raise ImportError("sample_nuts needs BlackJAX: pip install blackjax") from error

    draws, tune, chains = (
        positive_int(name, value)
        for name, value in {"draws": draws, "tune": tune, "chains": chains}.items()
    )
    seed = seed_int(seed)
    if not 0 < target_accept < 1:
        raise ValueError(f"target_accept must lie in (0, 1), got {target_accept}")
    if dtype not in ("float64", "float32"):
        raise ValueError(f"dtype must be 'float64' or 'float32', got {dtype!r}")
    cores = min(positive_int("cores", cores or os.cpu_count() or 1), chains)
    if chains == 1:
        warnings.warn("R-hat between chains needs chains > 1, got 1", UserWarning, stacklevel=2)
    density = compile_log_density(model)
    if density.batch_size is not None:
        raise ValueError("model has pm.Minibatch data; NUTS needs the full data")

    def log_density(theta: jax.Array) -> jax.Array:
        data = tuple(jnp.asarray(a) for a in density.data)
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
    with jax.enable_x64(dtype == "float64"), warnings.catch_warnings():
        # casts to 64 bits that PyTensor wrote into the graph are meant to give 32 bits here
        warnings.filterwarnings("ignore", message="Explicitly requested dtype (float64|int64)")
        key, theta = jax.random.key(0), jnp.zeros(density.size, dtype)
        compiled_warm_up = jax.jit(warm_up).lower(key, theta).compile()
        example = jax.eval_shape(warm_up, key, theta)
        compiled_advance = jax.jit(advance).lower(key, *example).compile()
    compile_seconds = time.perf_counter() - clock

    starts = density.initial_points(chains, jitter=1.0, seed=seed).astype(dtype)
    keys = jax.random.split(jax.random.key(seed), chains)
    blocks: list[list[dict[str, np.ndarray]]] = [[] for _ in range(chains)]
    step_sizes = np.zeros(chains)
    stop = False
    n_blocks = -(-draws // BLOCK)

    def run_chain(chain: int) -> None:
        with jax.enable_x64(dtype == "float64"):  # of this thread
            warm_key, *draw_keys = jax.random.split(keys[chain], n_blocks + 1)
            state, parameters = compiled_warm_up(warm_key, jnp.asarray(starts[chain]))
            step_sizes[chain] = float(parameters["step_size"])
            for draw_key in draw_keys:
                if stop:
                    return
                state, out = compiled_advance(draw_key, state, parameters)
                blocks[chain].append({name: np.asarray(value) for name, value in out.items()})

    clock = time.perf_counter()
    interrupted = False
    with (
        progress_bar("NUTS", chains * draws, show=progressbar, value_name="log density") as update,
        ThreadPoolExecutor(cores) as pool,
    ):
        futures = [pool.submit(run_chain, chain) for chain in range(chains)]
        try:
            while not all(future.done() for future in futures):
                time.sleep(0.1)
                done = sum(len(chain) for chain in blocks)
                last = next((b[-1]["lp"][-1] for b in blocks if b), np.nan)
                update(min(done * BLOCK, chains * draws), float(last))
        except KeyboardInterrupt:
            interrupted = stop = True
            for future in futures:
                future.cancel()
    for future in futures:
        if not future.cancelled():
            future.result()
    seconds = time.perf_counter() - clock
    return _collect(
        density, blocks, step_sizes, draws=draws, seed=seed, seconds=seconds,
        compile_seconds=compile_seconds, interrupted=interrupted,
        settings={
            "draws": draws, "tune": tune, "chains": chains, "target_accept": target_accept,
            "dtype": dtype,
        },
    )  # fmt: skip


def _collect(
    density: LogDensity, blocks: list[list[dict[str, np.ndarray]]], step_sizes: np.ndarray,
    *, draws: int, seed: int, seconds: float, compile_seconds: float,
    interrupted: bool, settings: dict[str, Any],
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
    thetas = stacked.pop("theta").astype(np.float64)
    data = tuple(jnp.asarray(a) for a in density.data)
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
        attrs={"interrupted": interrupted},
    )
