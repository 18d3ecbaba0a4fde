"""Parallel tempering with Hamiltonian moves (Geyer 1991; Syed et al. 2022)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr
from scipy.special import logsumexp

from bnnbook.checks import positive_int, seed_int
from bnnbook.density import LogDensity
from bnnbook.inference.callbacks import Callback
from bnnbook.inference.chains import (
    BLOCK,
    blackjax_for,
    chain_count,
    full_data_density,
    run_chains,
)

__all__ = ["sample_tempered"]

JITTER = 0.5  # each trajectory's length is uniform on (1 +- JITTER) times the level's: no resonance
INITIAL_STEP = 0.1
PER_LEVEL = ("acceptance", "swap_probability", "log_likelihoods")


class _State(NamedTuple):
    """One chain: K replicas, ordered by level from the prior (0) to the posterior (K - 1)."""

    theta: jax.Array  # (K, D)
    log_prior: jax.Array  # (K,)
    log_likelihood: jax.Array  # (K,)
    prior_gradient: jax.Array  # (K, D)
    likelihood_gradient: jax.Array  # (K, D)
    replica: jax.Array  # (K,) which replica sits at each level
    from_prior: jax.Array  # (K,) by replica: has it been at level 0 since it was at level K - 1?
    parity: jax.Array  # which pairs of levels are up for a swap
    adaptation: Any  # dual averaging of log step sizes, each (K,)


class _Tuning(NamedTuple):
    """What warm-up sets: inverse temperatures (K,) and inverse mass matrices (K, D)."""

    beta: np.ndarray
    inverse_mass: np.ndarray


def sample_tempered(
    model: pm.Model,
    *,
    draws: int = 1000,
    tune: int = 2000,
    thin: int = 5,
    chains: int = 4,
    n_temperatures: int = 10,
    n_steps: int = 10,
    target_accept: float = 0.8,
    seed: int,
    cores: int | None = None,
    callbacks: Sequence[Callback] = (),
    progressbar: bool = True,
) -> xr.DataTree:
    r"""Sample a posterior with several modes by parallel tempering (replica exchange).

    Each chain holds K replicas, which sample the tempered densities

    .. math::
        \pi_k(\theta) \propto p(\theta)\, p(D \mid \theta)^{\beta_k},
        \qquad 0 = \beta_0 < \dots < \beta_{K-1} = 1 .

    An iteration moves every replica by one trajectory of HMC, and then proposes to swap neighbours
    k and k + 1, accepted with probability
    :math:`\min\{1, (L_{k+1} / L_k)^{\beta_k - \beta_{k+1}}\}`, L being their likelihoods. Even
    and odd pairs take turns, which moves a replica on in one direction until a swap is rejected
    (Syed et al. 2022). A mode that the posterior alone would never leave is left by way
    of the prior. Every swap and move leaves the joint density invariant: at :math:`\beta = 1` the
    draws are from the posterior, with no approximation.

    Warm-up doubles its windows. After each it spaces the temperatures for equal rejection (Syed et
    al. 2022, section 5.1) and sets diagonal masses from the spreads of draws and gradients; step
    sizes follow by dual averaging, level by level.

    Parameters
    ----------
    model : pymc.Model
        Any model without discrete free variables or ``pm.Minibatch`` data whose prior is proper.
    draws : int
        Kept draws per chain, one in every ``thin`` iterations.
    tune : int
        Discarded iterations per chain, rounded up to a multiple of 100.
    thin : int
        Iterations between kept draws.
    chains : int
        With 1 there is no between-chain R-hat, and a warning says so.
    n_temperatures : int
        Levels K; about twice the ``barrier`` in the result is best. 1 is plain HMC with no swaps.
    n_steps : int
        Leapfrog steps per trajectory.
    target_accept : float
        Target acceptance of the trajectories, in (0, 1).
    seed : int
    cores : int, optional
        Chains run at once; the number of CPUs by default.
    callbacks : sequence of ``callback(state, losses, step)``
        As for :func:`sample_nuts`.
    progressbar : bool

    Returns
    -------
    xarray.DataTree
        ``posterior`` (chain, draw, ...); ``sample_stats``: ``lp`` (log density on the unconstrained
        space), ``log_likelihood_sum``, ``acceptance_rate``, ``diverging``, ``replica`` (which one
        is at the posterior) and ``arrived`` (whether it came from the prior since its last visit);
        ``tempering`` (chain, level): ``beta``, ``step_size``, ``acceptance_rate``,
        ``swap_rate`` with the next level (NaN at the last), ``log_likelihood`` (mean). Attributes
        ``arrivals`` (by chain: replicas that came all the way from the prior), ``barrier`` (sum of
        rejection rates), ``log_evidence`` by the stepping-stone estimate (Xie et al. 2011)
        with ``log_evidence_se``, its standard error over chains.

    Raises
    ------
    ImportError
        If BlackJAX is missing.
    ValueError, TypeError
        For an argument out of range.
    """
    blackjax_for("sample_tempered")
    counts = {"draws": draws, "tune": tune, "thin": thin}
    draws, tune, thin = (positive_int(name, value) for name, value in counts.items())
    n_levels = positive_int("n_temperatures", n_temperatures)
    n_steps = positive_int("n_steps", n_steps)
    chains, seed = chain_count(chains), seed_int(seed)
    if not 0 < target_accept < 1:
        raise ValueError(f"target_accept must lie in (0, 1), got {target_accept}")
    density = full_data_density(model, "parallel tempering")
    start, advance, step_sizes = _functions(density, n_levels, n_steps, target_accept)

    tuning = _Tuning(
        np.linspace(0, 1, n_levels) ** 4 if n_levels > 1 else np.ones(1),
        np.ones((n_levels, density.size)),
    )
    clock = time.perf_counter()
    points = density.initial_points(chains * n_levels, jitter=np.inf, seed=seed)
    states = [start(jnp.asarray(rows)) for rows in points.reshape(chains, n_levels, -1)]
    compiled = jax.jit(advance).lower(jax.random.key(0), states[0], tuning, True).compile()
    compile_seconds = time.perf_counter() - clock

    keys = jax.random.split(jax.random.key(seed), chains)
    n_warm, n_blocks = -(-tune // BLOCK), -(-draws * thin // BLOCK)
    ends = {n_warm >> i for i in range(n_warm.bit_length())} - {n_warm}
    tunings, steps = [tuning] * chains, np.zeros((chains, n_levels))

    def chain(number: int) -> Iterator[dict[str, np.ndarray] | None]:
        state, tuned = states[number], tuning
        block_keys = jax.random.split(keys[number], n_warm + n_blocks)
        window: list[dict[str, np.ndarray]] = []
        for i, key in enumerate(block_keys[:n_warm], start=1):
            state, _, moments = compiled(key, state, tuned, True)
            window.append({name: np.asarray(value) for name, value in moments.items()})
            if i in ends:
                tuned, state = _retuned(tuned, state, window, step_sizes)
                window = []
            yield None
        tunings[number] = tuned
        steps[number] = np.exp(np.asarray(state.adaptation.log_step_size_avg))
        for key in block_keys[n_warm:]:
            state, out, _ = compiled(key, state, tuned, False)
            yield {name: np.asarray(value) for name, value in out.items()}

    settings = {
        "draws": draws, "tune": tune, "thin": thin, "chains": chains,
        "n_temperatures": n_levels, "n_steps": n_steps, "target_accept": target_accept,
    }  # fmt: skip
    run = run_chains(
        chain, density, method="tempered", settings=settings, label="tempering",
        iterations=BLOCK * (n_warm + n_blocks), cores=cores, callbacks=callbacks,
        progressbar=progressbar,
    )  # fmt: skip
    beta = np.stack([tuned.beta for tuned in tunings])
    levels = {
        name: [
            np.concatenate([block.pop(name) for block in blocks[: run.complete]])
            for blocks in run.blocks
        ]
        for name in PER_LEVEL
    }
    tempering, attrs = _tempering(levels, beta, steps)
    attrs["arrivals"] = [
        int(sum(block["arrived"].sum() for block in blocks)) for blocks in run.blocks
    ]
    return run.result(
        density, draws=draws, thin=thin, method="tempered", seed=seed, settings=settings,
        compile_seconds=compile_seconds, groups={"tempering": tempering}, attrs=attrs,
    )  # fmt: skip


def _functions(
    density: LogDensity, n_levels: int, n_steps: int, target_accept: float
) -> tuple[Callable[..., _State], Callable[..., tuple], Callable[..., Any]]:
    """Start a chain at (K, D) points; advance it by one block; restart the step sizes."""
    from blackjax.adaptation.step_size import dual_averaging_adaptation
    from blackjax.mcmc import hmc

    data = tuple(jnp.asarray(a) for a in density.data)

    def log_prior(theta: jax.Array) -> jax.Array:
        return density.log_prior(theta, data)

    def log_likelihood(theta: jax.Array) -> jax.Array:
        return density.log_likelihood(theta, data)

    def tempered(prior: jax.Array, likelihood: jax.Array, beta: jax.Array) -> jax.Array:
        # the prior's replica may sit where the likelihood is 0, and 0 * -inf is not a number
        return prior + jnp.where(beta > 0, beta * likelihood, 0.0)

    kernel = hmc.build_kernel()
    initial_steps, update_steps, _ = dual_averaging_adaptation(target_accept)
    step_sizes = jax.vmap(initial_steps)

    def evaluated(theta: jax.Array) -> dict[str, jax.Array]:
        prior, prior_gradient = jax.vmap(jax.value_and_grad(log_prior))(theta)
        likelihood, likelihood_gradient = jax.vmap(jax.value_and_grad(log_likelihood))(theta)
        return {
            "theta": theta, "log_prior": prior, "log_likelihood": likelihood,
            "prior_gradient": prior_gradient, "likelihood_gradient": likelihood_gradient,
        }  # fmt: skip

    @jax.jit
    def start(theta: jax.Array) -> _State:
        return _State(
            **evaluated(theta), replica=jnp.arange(n_levels),
            from_prior=jnp.zeros(n_levels, bool), parity=jnp.asarray(0),
            adaptation=step_sizes(jnp.full(n_levels, INITIAL_STEP)),
        )  # fmt: skip

    def move(key: jax.Array, state: hmc.HMCState, beta: Any, step: Any, inverse_mass: Any) -> tuple:
        key_step, key_move = jax.random.split(key)
        step = step * jax.random.uniform(key_step, minval=1 - JITTER, maxval=1 + JITTER)

        def target(theta: jax.Array) -> jax.Array:
            return tempered(log_prior(theta), log_likelihood(theta), beta)

        state, info = kernel(key_move, state, target, step, inverse_mass, n_steps)
        return state.position, info.acceptance_rate, info.is_divergent

    def swapped(key: jax.Array, state: _State, beta: jax.Array) -> tuple[_State, jax.Array]:
        likelihood = state.log_likelihood
        log_ratio = (beta[:-1] - beta[1:]) * (likelihood[1:] - likelihood[:-1])
        probability = jnp.nan_to_num(jnp.exp(jnp.minimum(log_ratio, 0.0)), nan=0.0)
        pair = jnp.arange(n_levels - 1)
        accepted = (pair % 2 == state.parity) & (jax.random.uniform(key, pair.shape) < probability)
        shift = jnp.pad(accepted, (0, 1)).astype(int) - jnp.pad(accepted, (1, 0)).astype(int)
        order = jnp.arange(n_levels) + shift
        fields = (*_State._fields[:5], "replica")
        moved = {name: getattr(state, name)[order] for name in fields}
        return state._replace(**moved, parity=1 - state.parity), probability

    def advance(key: jax.Array, state: _State, tuning: _Tuning, adapt: Any) -> tuple:
        """One block; returns the state, the draws, and sums over the block by level."""
        beta = jnp.asarray(tuning.beta)

        def one(state: _State, key: jax.Array) -> tuple:
            key_move, key_swap = jax.random.split(key)
            log_step = jnp.where(
                adapt, state.adaptation.log_step_size, state.adaptation.log_step_size_avg
            )
            gradient = state.prior_gradient + beta[:, None] * state.likelihood_gradient
            value = tempered(state.log_prior, state.log_likelihood, beta)
            theta, acceptance, diverging = jax.vmap(move)(
                jax.random.split(key_move, n_levels), hmc.HMCState(state.theta, value, gradient),
                beta, jnp.exp(log_step), tuning.inverse_mass,
            )  # fmt: skip
            adapted = jax.vmap(update_steps)(state.adaptation, acceptance)
            adaptation = jax.tree.map(
                lambda new, old: jnp.where(adapt, new, old), adapted, state.adaptation
            )
            state = state._replace(**evaluated(theta), adaptation=adaptation)
            state, probability = swapped(key_swap, state, beta)
            top = state.replica[-1]
            from_prior = state.from_prior.at[state.replica[0]].set(True)
            arrived = from_prior[top] & (n_levels > 1)
            state = state._replace(from_prior=from_prior.at[top].set(False))
            gradient = state.prior_gradient + beta[:, None] * state.likelihood_gradient
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
                (state.theta, gradient),
            )

        outputs: Any
        state, outputs = jax.lax.scan(one, state, jax.random.split(key, BLOCK))
        out, (theta, gradient) = outputs
        moments = {
            "rejection": (1 - out["swap_probability"]).sum(axis=0),
            "theta": theta.sum(axis=0), "theta2": (theta**2).sum(axis=0),
            "gradient": gradient.sum(axis=0), "gradient2": (gradient**2).sum(axis=0),
        }  # fmt: skip
        return state, out, moments

    return start, advance, jax.jit(step_sizes)


def _retuned(
    tuning: _Tuning, state: _State, window: list[dict[str, np.ndarray]],
    step_sizes: Callable[..., Any],
) -> tuple[_Tuning, _State]:  # fmt: skip
    """New temperatures, masses and starting step sizes from one window of warm-up.

    The rejection rates add up to the barrier between prior and posterior; temperatures that cut it
    into equal parts are the new ones. Masses balance the spread of draws with that of gradients, so
    that modes far apart do not make a level look wider than each mode is.
    """
    n = BLOCK * len(window)
    mean = {name: np.sum([w[name] for w in window], axis=0) / n for name in window[0]}
    spread = mean["theta2"] - mean["theta"] ** 2
    curvature = mean["gradient2"] - mean["gradient"] ** 2
    shrink = n / (n + 5)
    estimate = np.sqrt(np.maximum(spread, 1e-12) / np.maximum(curvature, 1e-12))
    inverse_mass = np.exp(shrink * np.log(estimate))
    step = np.exp(np.asarray(state.adaptation.log_step_size_avg))
    old = tuning.beta
    if len(old) > 1:
        rejection = np.maximum(mean["rejection"], 1e-4)
        barrier = np.concatenate([[0.0], np.cumsum(rejection)])
        beta = np.interp(np.linspace(0, barrier[-1], len(old)), barrier, old)
        beta[0], beta[-1] = 0.0, 1.0
        step = np.interp(beta, old, step)
        columns = [np.exp(np.interp(beta, old, np.log(column))) for column in inverse_mass.T]
        tuning = _Tuning(beta, np.stack(columns, axis=1))
    else:
        tuning = _Tuning(old, inverse_mass)
    return tuning, state._replace(adaptation=step_sizes(jnp.asarray(step)))


def _tempering(
    levels: dict[str, list[np.ndarray]], beta: np.ndarray, steps: np.ndarray
) -> tuple[xr.Dataset, dict[str, Any]]:
    """Summary by chain and level, and the attributes that follow from it.

    The stepping stones: log Z is the sum over levels of log E_k[L^(beta_{k+1} - beta_k)].
    """
    acceptance, swaps, likelihood = (
        np.stack([chain.mean(axis=0) for chain in levels[name]]) for name in PER_LEVEL
    )
    stones = [
        logsumexp(np.diff(b) * chain[:, :-1], axis=0) - np.log(len(chain))
        for b, chain in zip(beta, levels["log_likelihoods"], strict=True)
    ]
    evidence = np.sum(stones, axis=1)
    n_chains, n_levels = beta.shape
    variables = {
        "beta": beta,
        "step_size": steps,
        "acceptance_rate": acceptance,
        "swap_rate": np.pad(swaps, ((0, 0), (0, 1)), constant_values=np.nan),
        "log_likelihood": likelihood,
    }
    dataset = xr.Dataset(
        {name: (("chain", "level"), value) for name, value in variables.items()},
        coords={"chain": np.arange(n_chains), "level": np.arange(n_levels)},
    )
    tempered = n_levels > 1
    error = evidence.std(ddof=1) / np.sqrt(n_chains) if n_chains > 1 else np.nan
    return dataset, {
        "barrier": float((1 - swaps).sum(axis=1).mean()),
        "log_evidence": float(evidence.mean()) if tempered else np.nan,
        "log_evidence_se": float(error) if tempered else np.nan,
    }
