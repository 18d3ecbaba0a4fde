"""The no-U-turn sampler (Hoffman and Gelman 2014) in one compiled loop, one thread per chain."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr

from bnnbook.checks import float_dtype, positive_int, seed_int
from bnnbook.density import LogDensity, precision
from bnnbook.inference.callbacks import Callback
from bnnbook.inference.chains import (
    BLOCK,
    blackjax_for,
    chain_count,
    full_data_density,
    run_chains,
)

__all__ = ["sample_nuts"]

DRAW, FAST, SLOW, WINDOW_END, LAST, IDLE = range(6)  # what an iteration adapts


def sample_nuts(
    model: pm.Model,
    *,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    seed: int,
    target_accept: float = 0.8,
    dense_mass: bool = False,
    exchangeable: Sequence[str] = (),
    max_depth: int = 10,
    start: np.ndarray | Mapping[str, np.ndarray] | None = None,
    dtype: str = "float64",
    cores: int | None = None,
    callbacks: Sequence[Callback] = (),
    progressbar: bool = True,
) -> xr.DataTree:
    """Sample the posterior with NUTS.

    The sampler is BlackJAX's, with its window adaptation of step size and diagonal mass matrix;
    the last window, of the step size alone, is a fifth of ``tune`` and at least 50 iterations. It
    is compiled once and run with one thread per chain. On small networks a gradient takes tens of
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
    exchangeable : sequence of str
        Dims along which the posterior is the same under any permutation, such as the hidden units
        of a network, ``("hidden_1", "hidden_2")``. Variances are equal along them, so the diagonal
        mass matrix takes their averages. It then fits every mirror image of a posterior, where
        that of a chain fits those it saw in its warm-up.
    max_depth : int
        Largest number of doublings of a trajectory: at most 2^max_depth - 1 gradients a draw.
    start : array (chains, D), or mapping of names to arrays (chains, ...), optional
        Starting points on the unconstrained space; by default the model's own initial point plus
        uniform noise in (-1, 1). A mapping has all the model's value variables, such as ``w1`` or
        ``sigma_log__``.
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
    tied = _tied(density, exchangeable, dense_mass)

    begin, advance = _compiled_parts(blackjax, density, target_accept, dense_mass, tied, max_depth)
    if start is None:
        start = density.initial_points(chains, jitter=1.0, seed=seed)
    starts = density.given_points(start, chains).astype(dtype)
    n_warm, n_blocks = -(-tune // BLOCK), -(-draws // BLOCK)
    warm_phases = np.append(_warm_up_phases(blackjax, tune), np.full(n_warm * BLOCK - tune, IDLE))

    clock = time.perf_counter()
    with precision(dtype):
        draw_phases = jnp.full(BLOCK, DRAW)
        states = [jax.jit(begin)(jnp.asarray(theta)) for theta in starts]
        block_keys = jax.random.split(jax.random.key(0), BLOCK)
        # chains that run side by side must not share one product's threads as well: the small
        # products of a network then wait for each other, up to twice as long as they compute
        alone = {"xla_cpu_multi_thread_eigen": chains == 1}
        lowered = jax.jit(advance).lower(states[0], block_keys, draw_phases)
        compiled = lowered.compile(compiler_options=alone)
    compile_seconds = time.perf_counter() - clock

    keys = jax.random.split(jax.random.key(seed), chains)
    step_sizes = np.zeros(chains)

    def chain(number: int) -> Iterator[dict[str, np.ndarray] | None]:
        with jax.enable_x64(dtype == "float64"):  # of this thread
            state = states[number]
            block_keys = jax.random.split(keys[number], n_blocks + 1)
            warm_keys = jax.random.split(block_keys[0], n_warm * BLOCK)
            for first in range(0, n_warm * BLOCK, BLOCK):
                now = slice(first, first + BLOCK)
                state, _ = compiled(state, warm_keys[now], jnp.asarray(warm_phases[now]))
                step_sizes[number] = float(state.step_size)  # waits for the block
                yield None
            for block in range(1, n_blocks + 1):
                draw_keys = jax.random.split(block_keys[block], BLOCK)
                state, out = compiled(state, draw_keys, draw_phases)
                yield {name: np.asarray(value) for name, value in out.items()}

    settings = {
        "draws": draws, "tune": tune, "chains": chains, "target_accept": target_accept,
        "dense_mass": dense_mass, "exchangeable": list(exchangeable), "max_depth": max_depth,
        "dtype": dtype,
    }  # fmt: skip
    run = run_chains(
        chain, density, method="nuts", settings=settings, label="NUTS",
        iterations=(n_warm + n_blocks) * BLOCK, cores=cores, callbacks=callbacks,
        progressbar=progressbar,
    )  # fmt: skip
    return run.result(
        density, draws=draws, extra_stats={"step_size": step_sizes}, method="nuts",
        settings=settings, seed=seed, compile_seconds=compile_seconds,
    )  # fmt: skip


class _State(NamedTuple):
    """A chain and its adaptation."""

    chain: Any
    step_size: jax.Array
    averaging: Any
    mass: Any


def _tied(density: LogDensity, dims: Sequence[str], dense_mass: bool) -> np.ndarray | None:
    """Number of the variance that each of the D parameters shares; None if each has its own."""
    known = {dim for names in density.dims.values() for dim in names if dim is not None}
    if isinstance(dims, str) or not set(dims) <= known:
        raise ValueError(
            f"exchangeable must be a sequence of dims of the free variables, {sorted(known)}; "
            f"got {dims!r}"
        )
    if not dims:
        return None
    if dense_mass:
        raise ValueError("exchangeable needs a diagonal mass matrix, got dense_mass=True")
    numbers, count = [], 0
    for names, shape in zip(density.dims.values(), density.shapes, strict=True):
        labels = names or (None,) * len(shape)
        own = [1 if dim in dims else n for dim, n in zip(labels, shape, strict=True)]
        number = count + np.arange(np.prod(own, dtype=int)).reshape(own)
        numbers.append(np.broadcast_to(number, shape).ravel())
        count += number.size
    return np.concatenate(numbers)


def _warm_up_phases(blackjax: ModuleType, tune: int) -> np.ndarray:
    """Phase of each iteration of the warm-up, in Stan's windows but for a longer last one.

    It sets the step size. Stan's 50 iterations leave that of one chain up to twice another's, and
    a chain that is unlucky diverges by the hundred.
    """
    last = max(50, tune // 5)
    schedule = blackjax.adaptation.window_adaptation.build_schedule(tune, final_buffer_size=last)
    windows = np.asarray(schedule)
    phases = np.where(windows[:, 0] == 0, FAST, np.where(windows[:, 1] == 0, SLOW, WINDOW_END))
    phases[-1] = LAST  # a fast one: the windows of the mass matrix end before
    return phases


def _compiled_parts(
    blackjax: ModuleType,
    density: LogDensity,
    target_accept: float,
    dense_mass: bool,
    tied: np.ndarray | None,
    max_depth: int,
) -> tuple[Callable[..., _State], Callable[..., tuple]]:
    """``begin(theta)`` and ``advance(state, keys, phases)``, one block.

    The same compiled code warms up and draws: NUTS takes seconds to compile, and the adaptation
    next to nothing.
    """
    kernel, adaptation = blackjax.nuts.build_kernel(), blackjax.adaptation
    new_mass, update_mass, final_mass = adaptation.mass_matrix.mass_matrix_adaptation(
        not dense_mass
    )
    new_averaging, update_averaging, final_step_size = (
        adaptation.step_size.dual_averaging_adaptation(target_accept)
    )

    def log_density(theta: jax.Array) -> jax.Array:
        # constants of the compiled code, in the precision of the moment
        data = tuple(jnp.asarray(a) for a in density.data)
        return density.log_prior(theta, data) + density.log_likelihood(theta, data)

    def begin(theta: jax.Array) -> _State:
        chain = blackjax.nuts.init(theta, log_density)
        averaging = new_averaging(jnp.ones((), theta.dtype))
        return _State(chain, jnp.ones((), theta.dtype), averaging, new_mass(density.size))

    def fast(state: _State, acceptance: jax.Array) -> _State:
        averaging = update_averaging(state.averaging, acceptance)
        return state._replace(step_size=jnp.exp(averaging.log_step_size), averaging=averaging)

    def slow(state: _State, acceptance: jax.Array) -> _State:
        mass = update_mass(state.mass, state.chain.position)
        return fast(state, acceptance)._replace(mass=mass)

    def window_end(state: _State, acceptance: jax.Array) -> _State:
        state = slow(state, acceptance)
        averaging = new_averaging(final_step_size(state.averaging))
        step_size = jnp.exp(averaging.log_step_size)
        mass = final_mass(state.mass)
        if tied is not None:
            variance = mass.inverse_mass_matrix
            total = jax.ops.segment_sum(variance, jnp.asarray(tied), density.size)
            mean = total / np.bincount(tied, minlength=density.size).clip(1)
            mass = mass._replace(inverse_mass_matrix=mean[tied].astype(variance.dtype))
        return _State(state.chain, step_size, averaging, mass)

    def last(state: _State, acceptance: jax.Array) -> _State:
        state = fast(state, acceptance)
        return state._replace(step_size=final_step_size(state.averaging))

    adapt = {
        DRAW: lambda state, _: state, FAST: fast, SLOW: slow, WINDOW_END: window_end, LAST: last,
    }  # fmt: skip

    def advance(state: _State, keys: jax.Array, phases: jax.Array) -> tuple:
        def move(state: _State, key: jax.Array, phase: jax.Array) -> tuple:
            chain, info = kernel(
                key, state.chain, log_density, state.step_size,
                state.mass.inverse_mass_matrix, max_num_doublings=max_depth,
            )  # fmt: skip
            state = state._replace(chain=chain)
            branches = [adapt[phase] for phase in range(len(adapt))]
            state = jax.lax.switch(phase, branches, state, info.acceptance_rate)
            return state, {
                "theta": chain.position,
                "lp": chain.logdensity,
                "diverging": info.is_divergent,
                "n_steps": info.num_integration_steps,
                "acceptance_rate": info.acceptance_rate,
                "energy": info.energy,
            }

        example = jax.eval_shape(move, state, keys[0], phases[0])[1]

        def rest(state: _State, *_: jax.Array) -> tuple:
            return state, jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), example)

        def one(state: _State, step: tuple) -> tuple:
            key, phase = step
            return jax.lax.cond(phase == IDLE, rest, move, state, key, phase)

        return jax.lax.scan(one, state, (keys, phases))

    return begin, advance
