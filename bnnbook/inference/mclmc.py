"""Microcanonical Langevin Monte Carlo (Robnik et al. 2023), with or without acceptance steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr

from bnnbook.checks import float_dtype, positive_int, seed_int
from bnnbook.density import LogDensity, compiled_once, density_key, given_data, precision
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
from bnnbook.inference.report import acceptance_problems, divergence_problems

__all__ = ["sample_mclmc"]

MEAN_STEPS = 2.0  # leapfrog steps per proposal of the adjusted sampler, BlackJAX's advice
ENERGY_VARIANCE = 5e-4  # per dimension, of the energy error of a step (Robnik et al. 2023, sec. 4)
TOO_MUCH = 10  # times that variance: the bias of the draws is then no longer small
ACCEPTANCE_GAP = 0.2


@with_shared_docs
def sample_mclmc(
    model: pm.Model,
    *,
    adjusted: bool = True,
    draws: int = 1000,
    tune: int = 2000,
    thin: int = 10,
    chains: int = 4,
    target_accept: float = 0.9,
    seed: int,
    start: xr.DataTree | Mapping[str, np.ndarray] | np.ndarray | None = None,
    dtype: str = "float64",
    cores: int | None = None,
    executor: Executor | None = None,
    callbacks: Sequence[Callback] = (),
    progressbar: bool = True,
) -> xr.DataTree:
    r"""Sample the posterior with microcanonical dynamics, whose speed never changes.

    The momentum u keeps length 1 and turns towards the gradient,

    .. math::
        \dot\theta = u, \qquad
        \dot u = (I - u u^\top) \, \nabla \log p(\theta) / (D - 1),

    with noise that makes it forget its direction over a length L (Robnik et al. 2023, eq. 2 and
    sec. 3). ``adjusted`` accepts or rejects the end of a few steps, so that the draws have the
    posterior as their limit; without it nothing is rejected, and the step size is held so small
    that the energy error of a step has a variance of 5e-4 per dimension: the bias is small, not
    zero. Step size, L and a diagonal mass matrix are BlackJAX's, found in ``tune`` iterations.

    Started from the members of an ensemble (``start=fit_ensemble(...)``), the unadjusted sampler is
    the method of Sommer et al. (2025), there called MILE.

    Parameters
    ----------
    model : pymc.Model
        Any model with at least two parameters, without discrete free variables or
        ``pm.Minibatch`` data.
    adjusted : bool
    draws, tune : int
        Kept draws and iterations of the warm-up, per chain.
    thin : int
        Iterations per kept draw.
    {chains}
    target_accept : float
        Mean acceptance that the step size of the adjusted sampler aims at.
    {seed}
    {start}
        By default as for :func:`sample_nuts`.
    dtype : {"float64", "float32"}
    {cores}
    {chains_executor}
    {callbacks}
    {progressbar}

    Returns
    -------
    xarray.DataTree
        ``posterior`` (chain, draw, ...) and ``sample_stats``: ``lp`` (log density on the
        unconstrained space), ``step_size``, ``L``, ``diverging``, and ``acceptance_rate`` or
        ``energy_error`` (nats, of the last step).
    {interrupted}

    Raises
    ------
    ImportError
        If BlackJAX is missing.
    ValueError, TypeError
        For an argument out of range, a model with one parameter, or a log density that is not
        finite at the start.
    """
    blackjax_for("sample_mclmc")
    if not isinstance(adjusted, bool | np.bool_):
        raise TypeError(f"adjusted must be True or False, got {adjusted!r}")
    draws, tune = positive_int("draws", draws), positive_int("tune", tune)
    thin, chains = positive_int("thin", thin), chain_count(chains)
    seed, dtype = seed_int(seed), float_dtype(dtype)
    settings = {
        "adjusted": bool(adjusted), "draws": draws, "tune": tune, "thin": thin, "chains": chains,
        "target_accept": acceptance_target(target_accept), "dtype": dtype,
    }  # fmt: skip
    run = run_chains(
        _chains, model, start, seed=seed, method="mclmc", settings=settings, label="MCLMC",
        iterations=(1 - (-draws // BLOCK)) * BLOCK, cores=cores, executor=executor,
        callbacks=callbacks, progressbar=progressbar,
    )  # fmt: skip
    size = run.density.size
    return run.result(problems=lambda stats: _problems(stats, size, target_accept))


def _chains(density: LogDensity, start: Any, seed: int, settings: Mapping[str, Any]) -> Chain:
    """Compile warm-up and draws, and find where the chains start."""
    import blackjax

    if density.size < 2:
        raise ValueError("model must have at least two parameters for MCLMC, got 1")
    names = ("adjusted", "tune", "thin", "target_accept")
    dtype, chains, thin = settings["dtype"], settings["chains"], settings["thin"]
    with precision(dtype):
        data = density.arrays()
        begin, warm_up, advance = compiled_once(
            ("mclmc", *(settings[name] for name in names), density_key(density, data)),
            lambda: _compiled(_algorithm(blackjax, settings), density, data, thin),
        )
        keys = jax.random.split(jax.random.key(seed), chains)
        points = starting_points(
            density, start, chains, seed=seed,
            state=lambda theta: begin(jnp.asarray(theta, dtype), keys[0], data),
        )  # fmt: skip
    n_blocks = -(-settings["draws"] // BLOCK)

    def chain(number: int) -> Iterator[dict[str, np.ndarray] | None]:
        first, second, *rest = jax.random.split(keys[number], n_blocks + 2)
        state = begin(jnp.asarray(points[number], dtype), first, data)
        state, parameters = jax.block_until_ready(warm_up(state, second, data))
        yield None
        for key in rest:
            state, out = advance(state, key, parameters, data)
            yield {name: np.asarray(value) for name, value in out.items()}

    return chain


def _steps(key: jax.Array, mean: jax.Array) -> jax.Array:
    """Leapfrog steps of one proposal: uniform from 1 to twice the mean, less one."""
    return jnp.ceil(jax.random.uniform(key) * (2 * mean - 1)).astype(int)


class _Algorithm(NamedTuple):
    """BlackJAX's: first state, warm-up, one iteration, and what that says besides."""

    init: Callable[..., Any]  # (theta, log density, key) -> state
    tuned: Callable[..., tuple]  # (log density, state, key) -> state, parameters
    step: Callable[..., tuple]  # (log density, state, key, parameters) -> state, stat, diverging
    stat: str


def _algorithm(blackjax: ModuleType, settings: Mapping[str, Any]) -> _Algorithm:
    if settings["adjusted"]:
        return _adjusted(blackjax, settings["tune"], settings["target_accept"])
    return _unadjusted(blackjax, settings["tune"])


def _adjusted(blackjax: ModuleType, tune: int, target_accept: float) -> _Algorithm:
    algorithm = blackjax.mcmc.adjusted_mclmc_dynamic
    kernel = algorithm.build_kernel(integration_steps_fn=_steps)

    def tuned(target: Any, state: Any, key: jax.Array) -> tuple:
        return blackjax.adjusted_mclmc_find_L_and_step_size(
            kernel, target, round(tune / 0.6), state, key, target_accept, frac_tune1=0.3,
            frac_tune2=0.3, target_num_integration_steps=MEAN_STEPS,
        )[:2]  # fmt: skip

    def step(target: Any, state: Any, key: jax.Array, parameters: Any) -> tuple:
        state, info = kernel(
            key, state, target, parameters.step_size,
            inverse_mass_matrix=parameters.inverse_mass_matrix,
            integration_steps_params=(parameters.L / parameters.step_size,),
        )  # fmt: skip
        return state, (info.acceptance_rate, info.is_divergent)

    return _Algorithm(algorithm.init, tuned, step, "acceptance_rate")


def _unadjusted(blackjax: ModuleType, tune: int) -> _Algorithm:
    algorithm = blackjax.mcmc.mclmc
    kernel = algorithm.build_kernel()

    def tuned(target: Any, state: Any, key: jax.Array) -> tuple:
        return blackjax.mclmc_find_L_and_step_size(
            kernel, round(tune / 0.9), state, key, target, frac_tune1=0.3, frac_tune2=0.3,
            frac_tune3=0.2, desired_energy_var=ENERGY_VARIANCE,
        )[:2]  # fmt: skip

    def step(target: Any, state: Any, key: jax.Array, parameters: Any) -> tuple:
        mass, L, step_size = parameters.inverse_mass_matrix, parameters.L, parameters.step_size
        state, info = kernel(key, state, target, mass, L, step_size)
        return state, (info.energy_change, ~info.nonans)

    return _Algorithm(algorithm.init, tuned, step, "energy_error")


def _compiled(
    algorithm: _Algorithm, density: LogDensity, data: tuple, thin: int
) -> tuple[Any, Any, Any]:
    """First state, warm-up, and a block of BLOCK draws, compiled."""

    def begin(theta: jax.Array, key: jax.Array, data: tuple) -> Any:
        return algorithm.init(theta, lambda t: density.log_density(t, data), key)

    def warm_up(state: Any, key: jax.Array, data: tuple) -> tuple:
        return algorithm.tuned(given_data(density.log_density, state.position, data), state, key)

    def advance(state: Any, key: jax.Array, parameters: Any, data: tuple) -> tuple:
        target = given_data(density.log_density, state.position, data)

        def one(state: Any, key: jax.Array) -> tuple:
            return algorithm.step(target, state, key, parameters)

        def draw(state: Any, key: jax.Array) -> tuple:
            value: Any
            diverging: Any
            state, (value, diverging) = jax.lax.scan(one, state, jax.random.split(key, thin))
            return state, {
                "theta": state.position, "lp": state.logdensity, "diverging": diverging.any(),
                algorithm.stat: value[-1] if algorithm.stat == "energy_error" else value.mean(),
                "step_size": parameters.step_size, "L": parameters.L,
            }  # fmt: skip

        return jax.lax.scan(draw, state, jax.random.split(key, BLOCK))

    theta, key = jnp.zeros(density.size), jax.random.key(0)
    state = jax.eval_shape(begin, theta, key, data)
    state_after, parameters = jax.eval_shape(warm_up, state, key, data)
    return (
        jax.jit(begin).lower(theta, key, data).compile(),
        jax.jit(warm_up).lower(state, key, data).compile(),
        jax.jit(advance).lower(state_after, key, parameters, data).compile(),
    )


def _problems(stats: dict[str, np.ndarray], size: int, target: float) -> list[str]:
    problems = divergence_problems(stats["diverging"], "Tune longer, or raise target_accept")
    if "acceptance_rate" in stats:
        return problems + acceptance_problems(
            stats["acceptance_rate"], target - ACCEPTANCE_GAP,
            f"The step size did not settle at its target of {target:.2g}: tune longer",
        )  # fmt: skip
    variance = stats["energy_error"].var() / size
    if not variance < TOO_MUCH * ENERGY_VARIANCE:
        problems.append(
            f"The energy error of a step has a variance of {variance:.2g} per dimension, where "
            f"{ENERGY_VARIANCE:.0e} was the aim: the draws may be biased. Tune longer, or use "
            "adjusted=True."
        )
    return problems
