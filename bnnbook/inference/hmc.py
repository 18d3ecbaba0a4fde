"""Static Hamiltonian Monte Carlo (Duane et al. 1987; Neal 2011) with nothing adapted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr

from bnnbook.checks import (
    float_dtype,
    non_negative_int,
    positive_int,
    positive_number,
    seed_int,
)
from bnnbook.density import LogDensity, compiled_once, density_key, given_data, precision
from bnnbook.inference.callbacks import Callback
from bnnbook.inference.chain_starts import starting_points
from bnnbook.inference.chains import (
    BLOCK,
    Chain,
    blackjax_for,
    chain_count,
    run_chains,
)
from bnnbook.inference.docs import with_shared_docs
from bnnbook.inference.report import (
    acceptance_problems,
    divergence_problems,
    energy_problems,
)

__all__ = ["sample_hmc"]

LOW_ACCEPTANCE = 0.3  # half of the best, .651 (Beskos et al. 2013, section 4)


@with_shared_docs
def sample_hmc(
    model: pm.Model,
    *,
    step_size: float,
    n_steps: int,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    seed: int,
    start: xr.DataTree | Mapping[str, np.ndarray] | np.ndarray | None = None,
    dtype: str = "float64",
    cores: int | None = None,
    executor: Executor | None = None,
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
    BlackJAX's, compiled once for all models that differ in their data alone.

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
    {chains}
    {seed}
    {start}
        By default as for :func:`sample_nuts`.
    dtype : {"float64", "float32"}
        Precision of the log density, its gradient and the trajectories.
    {cores}
    {chains_executor}
    {callbacks}
        Iterations of ``tune`` count.
    {progressbar}

    Returns
    -------
    xarray.DataTree
        ``posterior`` (chain, draw, ...) and ``sample_stats``: ``lp`` (log density on the
        unconstrained space), ``accepted``, ``acceptance_rate``, ``diverging``, ``energy``.
        ``problems`` name divergences, low acceptance, energies that change slowly, and chains that
        have not mixed.
    {interrupted}

    Raises
    ------
    ImportError
        If BlackJAX is missing.
    ValueError, TypeError
        For an argument out of range, or a log density that is not finite at the start.
    """
    blackjax_for("sample_hmc")
    step_size, n_steps = positive_number("step_size", step_size), positive_int("n_steps", n_steps)
    draws, tune = positive_int("draws", draws), non_negative_int("tune", tune)
    chains, seed, dtype = chain_count(chains), seed_int(seed), float_dtype(dtype)
    settings = {
        "step_size": step_size, "n_steps": n_steps, "draws": draws, "tune": tune, "chains": chains,
        "dtype": dtype,
    }  # fmt: skip
    run = run_chains(
        _chains, model, start, seed=seed, method="hmc", settings=settings, label="HMC",
        iterations=tune + draws, cores=cores, executor=executor, callbacks=callbacks,
        progressbar=progressbar,
    )  # fmt: skip
    return run.result(tune=tune, problems=_problems)


def _chains(density: LogDensity, start: Any, seed: int, settings: Mapping[str, Any]) -> Chain:
    """Compile an iteration and find where the chains start."""
    import blackjax

    dtype, chains = settings["dtype"], settings["chains"]
    n_blocks = -(-(settings["tune"] + settings["draws"]) // BLOCK)
    with precision(dtype):
        data = density.arrays()
        begin, advance = _compiled(blackjax, density, data, settings["n_steps"])

        def first(theta: np.ndarray) -> Any:
            return begin(jnp.asarray(theta, dtype), data)

        points = starting_points(density, start, chains, seed=seed, state=first)
        states = [first(theta) for theta in points]
        keys = jax.random.split(jax.random.key(seed), chains)
        step = jnp.asarray(settings["step_size"], dtype)

    def chain(number: int) -> Iterator[dict[str, np.ndarray]]:
        state = states[number]
        for key in jax.random.split(keys[number], n_blocks):
            state, out = advance(state, key, step, data)
            yield {name: np.asarray(value) for name, value in out.items()}

    return chain


def _compiled(
    blackjax: ModuleType, density: LogDensity, data: tuple, n_steps: int
) -> tuple[Any, Any]:
    """The first state of a chain at (theta, data), and the block that moves it on."""
    kernel = blackjax.hmc.build_kernel()

    def begin(theta: jax.Array, data: tuple) -> Any:
        return blackjax.hmc.init(theta, lambda t: density.log_density(t, data))

    def advance(state: Any, key: jax.Array, step_size: jax.Array, data: tuple) -> tuple:
        target = given_data(density.log_density, state.position, data)
        mass = jnp.ones(density.size, state.position.dtype)

        def one(state: Any, key: jax.Array) -> tuple:
            state, info = kernel(key, state, target, step_size, mass, n_steps)
            return state, {
                "theta": state.position,
                "lp": state.logdensity,
                "accepted": info.is_accepted,
                "acceptance_rate": info.acceptance_rate,
                "diverging": info.is_divergent,
                "energy": info.energy,
            }

        return jax.lax.scan(one, state, jax.random.split(key, BLOCK))

    def compile_() -> tuple[Any, Any]:
        theta = jnp.zeros(density.size)
        state = jax.eval_shape(begin, theta, data)
        lowered = jax.jit(advance).lower(state, jax.random.key(0), jnp.zeros(()), data)
        return jax.jit(begin).lower(theta, data).compile(), lowered.compile()

    return compiled_once(("hmc", n_steps, density_key(density, data)), compile_)


def _problems(stats: dict[str, np.ndarray]) -> list[str]:
    problems = divergence_problems(stats["diverging"], "Make step_size smaller")
    problems += acceptance_problems(
        stats["acceptance_rate"], LOW_ACCEPTANCE, "Make step_size smaller"
    )
    return problems + energy_problems(stats["energy"])
