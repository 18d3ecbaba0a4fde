"""The no-U-turn sampler (Hoffman and Gelman 2014) in one compiled loop, one thread per chain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr

from bnnbook.checks import float_dtype, positive_int, seed_int
from bnnbook.density import LogDensity, compiled_once, density_key, precision
from bnnbook.inference.callbacks import Callback
from bnnbook.inference.chain_starts import starting_points
from bnnbook.inference.chains import (
    BLOCK,
    Chain,
    acceptance_target,
    blackjax_for,
    chain_count,
    run_chains,
)
from bnnbook.inference.docs import with_shared_docs
from bnnbook.inference.nuts_loop import (
    DRAW,
    IDLE,
    State,
    nuts_loop,
    tied_variances,
    warm_up_phases,
)
from bnnbook.inference.report import (
    acceptance_problems,
    divergence_problems,
    energy_problems,
    share,
)

__all__ = ["sample_nuts"]

DEEP = 0.05  # share of trees at the depth limit that is worth a word; as pm.sample
ACCEPTANCE_GAP = 0.2  # below target: dual averaging itself stays within .1 in a warm-up of 500


@with_shared_docs
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
    start: xr.DataTree | Mapping[str, np.ndarray] | np.ndarray | None = None,
    dtype: str = "float64",
    cores: int | None = None,
    executor: Executor | None = None,
    callbacks: Sequence[Callback] = (),
    progressbar: bool = True,
) -> xr.DataTree:
    """Sample the posterior with NUTS.

    The sampler is BlackJAX's, with its window adaptation of step size and diagonal mass matrix.
    The last window, of the step size alone, is a fifth of ``tune``, and at least 50 iterations
    where ``tune`` is 150 or more. A model is compiled once, and so are models that differ in their
    data alone. On small networks a gradient takes tens of microseconds, so the loop has to be
    compiled too: a call from Python would cost more than the gradient.

    Parameters
    ----------
    model : pymc.Model
        Any model without discrete free variables or ``pm.Minibatch`` data.
    draws, tune : int
        Kept and discarded iterations per chain.
    {chains}
    {seed}
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
    {start}
        By default the model's own initial point plus uniform noise in (-1, 1), drawn again where
        the log density is not finite.
    dtype : {"float64", "float32"}
        Precision of the log density, its gradient and the trajectories. Single precision is two to
        four times faster where products of small matrices dominate; its rounding, about 1e-7 of
        the log density, is far below the error of the leapfrog steps that acceptance corrects.
        Draws come back in float64 either way.
    {cores}
    {chains_executor}
    {callbacks}
    {progressbar}

    Returns
    -------
    xarray.DataTree
        ``posterior`` (chain, draw, ...) and ``sample_stats``: ``lp`` (log density on the
        unconstrained space), ``diverging``, ``n_steps``, ``tree_depth``,
        ``reached_max_treedepth`` (the trajectory was to go on), ``acceptance_rate``, ``energy``,
        ``step_size``. ``problems`` name divergences, trees at the depth limit, low acceptance,
        energies that change slowly, and chains that have not mixed.
    {interrupted}

    Raises
    ------
    ImportError
        If BlackJAX is missing.
    ValueError, TypeError
        For an argument out of range, or a log density that is not finite at the start.
    """
    blackjax_for("sample_nuts")
    draws, tune = positive_int("draws", draws), positive_int("tune", tune)
    chains, seed = chain_count(chains), seed_int(seed)
    max_depth, dtype = positive_int("max_depth", max_depth), float_dtype(dtype)
    target_accept = acceptance_target(target_accept)
    settings = {
        "draws": draws, "tune": tune, "chains": chains, "target_accept": target_accept,
        "dense_mass": dense_mass, "max_depth": max_depth, "dtype": dtype,
        "exchangeable": exchangeable if isinstance(exchangeable, str) else tuple(exchangeable),
    }  # fmt: skip
    run = run_chains(
        _chains, model, start, seed=seed, method="nuts", settings=settings, label="NUTS",
        iterations=(-(-tune // BLOCK) - (-draws // BLOCK)) * BLOCK, cores=cores, executor=executor,
        callbacks=callbacks, progressbar=progressbar,
    )  # fmt: skip
    return run.result(problems=lambda stats: _problems(stats, target_accept, max_depth))


def _chains(density: LogDensity, start: Any, seed: int, settings: Mapping[str, Any]) -> Chain:
    """Compile the loop and find where its chains start."""
    import blackjax

    dtype, chains, tune = settings["dtype"], settings["chains"], settings["tune"]
    tied = tied_variances(density, settings["exchangeable"], settings["dense_mass"])
    phases = np.append(warm_up_phases(blackjax, tune), np.full(-tune % BLOCK, IDLE))
    with precision(dtype):
        data = density.arrays()
        begin, advance = _compiled(blackjax, density, data, settings, tied)

        def first(theta: np.ndarray) -> State:
            return begin(jnp.asarray(theta, dtype), data)

        points = starting_points(
            density, start, chains, seed=seed, state=lambda theta: first(theta).chain
        )
        states = [first(theta) for theta in points]
        keys = jax.random.split(jax.random.key(seed), chains)
    n_blocks = -(-settings["draws"] // BLOCK)
    return lambda number: _blocks(advance, states[number], keys[number], phases, n_blocks, data)


def _blocks(
    advance: Callable[..., tuple], state: State, key: jax.Array, warm_phases: np.ndarray,
    n_blocks: int, data: tuple,
) -> Iterator[dict[str, np.ndarray] | None]:  # fmt: skip
    """One chain: None for each block of its warm-up, then ``n_blocks`` blocks of draws."""
    block_keys = jax.random.split(key, n_blocks + 1)
    warm_keys = jax.random.split(block_keys[0], len(warm_phases))
    for first in range(0, len(warm_phases), BLOCK):
        now = slice(first, first + BLOCK)
        state, _ = advance(state, warm_keys[now], jnp.asarray(warm_phases[now]), data)
        jax.block_until_ready(state)
        yield None
    step_size = np.full(BLOCK, float(state.step_size))
    draw_phases = jnp.full(BLOCK, DRAW)
    for block in range(1, n_blocks + 1):
        state, out = advance(state, jax.random.split(block_keys[block], BLOCK), draw_phases, data)
        yield {name: np.asarray(value) for name, value in out.items()} | {"step_size": step_size}


def _compiled(
    blackjax: ModuleType, density: LogDensity, data: tuple, settings: Mapping[str, Any],
    tied: np.ndarray | None,
) -> tuple[Any, Any]:  # fmt: skip
    """The first state of a chain at (theta, data), and the block that moves it on."""
    names = ("target_accept", "dense_mass", "max_depth")
    target_accept, dense_mass, max_depth = (settings[name] for name in names)
    alone = settings["chains"] == 1

    def compile_() -> tuple[Any, Any]:
        begin, advance = nuts_loop(blackjax, density, target_accept, dense_mass, tied, max_depth)
        theta, phases = jnp.zeros(density.size), jnp.full(BLOCK, DRAW)
        keys = jax.random.split(jax.random.key(0), BLOCK)
        state = jax.eval_shape(begin, theta, data)
        lowered = jax.jit(advance).lower(state, keys, phases, data)
        # chains that run side by side must not share one product's threads as well: the small
        # products of a network then wait for each other, up to twice as long as they compute
        options = {"xla_cpu_multi_thread_eigen": alone}
        return jax.jit(begin).lower(theta, data).compile(), lowered.compile(options)

    key = "nuts", target_accept, dense_mass, tied if tied is None else tuple(tied), max_depth, alone
    return compiled_once((*key, density_key(density, data)), compile_)


def _problems(stats: dict[str, np.ndarray], target: float, max_depth: int) -> list[str]:
    problems = divergence_problems(
        stats["diverging"], "Raise target_accept, or write the model with parameters that depend "
        "less on each other (non-centred)"
    )  # fmt: skip
    deep = stats["reached_max_treedepth"]
    if deep.mean() > DEEP:
        problems.append(
            f"{share(deep)} of the trajectories were cut off at max_depth={max_depth}, "
            f"{2**max_depth - 1:,} gradients. Write the model with parameters of about the same "
            "scale, tune longer, or raise max_depth."
        )
    problems += acceptance_problems(
        stats["acceptance_rate"], target - ACCEPTANCE_GAP,
        f"The step size did not settle at its target of {target:.2g}: tune longer",
    )  # fmt: skip
    return problems + energy_problems(stats["energy"])
