"""Parallel tempering with Hamiltonian moves (Geyer 1991; Syed et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr

from bnnbook.checks import float_dtype, positive_int, seed_int
from bnnbook.density import LogDensity, check_indices, check_start, precision
from bnnbook.inference.callbacks import Callback
from bnnbook.inference.chain_starts import RETRIES
from bnnbook.inference.chains import (
    BLOCK,
    Chain,
    acceptance_target,
    blackjax_for,
    chain_count,
    run_chains,
)
from bnnbook.inference.docs import with_shared_docs
from bnnbook.inference.tempered_ladder import (
    first_tuning,
    ladder_problems,
    ladder_summary,
    retuned,
)
from bnnbook.inference.tempered_loop import (
    PER_LEVEL,
    TUNED,
    Parts,
    Replicas,
    Tuning,
    tempered_loop,
)

__all__ = ["sample_tempered"]


@with_shared_docs
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
    start: xr.DataTree | Mapping[str, np.ndarray] | np.ndarray | None = None,
    dtype: str = "float64",
    cores: int | None = None,
    executor: Executor | None = None,
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
    {chains}
    n_temperatures : int
        Levels K; about twice the ``barrier`` in the result is best. 1 is plain HMC with no swaps.
    n_steps : int
        Leapfrog steps per trajectory.
    target_accept : float
        Target acceptance of the trajectories, in (0, 1).
    {seed}
    {start}
        All replicas of a chain start there; by default each at a draw from the prior.
    dtype : {"float64", "float32"}
        Precision of the log density, its gradient and the trajectories.
    {cores}
    {chains_executor}
    {callbacks}
    {progressbar}

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
        with ``log_evidence_se``, its standard error over chains. ``problems`` name divergences,
        levels that accept nothing, swaps that fail, chains without arrivals, and chains that have
        not mixed.
    {interrupted}

    Raises
    ------
    ImportError
        If BlackJAX is missing.
    ValueError, TypeError
        For an argument out of range, or a log density that is finite nowhere at the start.
    """
    blackjax_for("sample_tempered")
    counts = {
        "draws": draws, "tune": tune, "thin": thin, "n_temperatures": n_temperatures,
        "n_steps": n_steps,
    }  # fmt: skip
    counts = {name: positive_int(name, value) for name, value in counts.items()}
    draws, tune, thin = counts["draws"], counts["tune"], counts["thin"]
    chains, seed, dtype = chain_count(chains), seed_int(seed), float_dtype(dtype)
    target_accept = acceptance_target(target_accept)
    settings = {**counts, "chains": chains, "target_accept": target_accept, "dtype": dtype}
    n_blocks = -(-tune // BLOCK) - (-draws * thin // BLOCK)
    run = run_chains(
        _chains, model, start, seed=seed, method="tempered", settings=settings,
        label="parallel tempering", iterations=n_blocks * BLOCK, cores=cores, executor=executor,
        callbacks=callbacks, progressbar=progressbar,
    )  # fmt: skip
    levels, attrs = ladder_summary(run)
    return run.result(
        thin=thin, attrs=attrs, groups={"tempering": levels}, leave_out=(*PER_LEVEL, *TUNED),
        problems=lambda stats: ladder_problems(stats["diverging"], levels, attrs),
    )  # fmt: skip


def _chains(density: LogDensity, start: Any, seed: int, settings: Mapping[str, Any]) -> Chain:
    """Compile the loop and find where its chains start."""
    dtype, chains, n_levels = settings["dtype"], settings["chains"], settings["n_temperatures"]
    with precision(dtype):
        data = density.arrays()
        parts = tempered_loop(
            density, data, n_levels, settings["n_steps"], settings["target_accept"]
        )
        states = _starts(density, data, parts, start, chains, n_levels, dtype, seed)
        keys = jax.random.split(jax.random.key(seed), chains)
    n_warm = -(-settings["tune"] // BLOCK)
    n_blocks = -(-settings["draws"] * settings["thin"] // BLOCK)
    tuning = first_tuning(n_levels, density.size)

    def chain(number: int) -> Iterator[dict[str, np.ndarray] | None]:
        block_keys = jax.random.split(keys[number], n_warm + n_blocks)
        return _blocks(parts, states[number], tuning, block_keys, n_warm, data, dtype)

    return chain


def _blocks(
    parts: Parts, state: Replicas, tuning: Tuning, keys: jax.Array, n_warm: int, data: tuple,
    dtype: str,
) -> Iterator[dict[str, np.ndarray] | None]:  # fmt: skip
    """One chain: None for each of ``n_warm`` blocks of warm-up, then blocks of draws."""
    windows = {n_warm >> i for i in range(n_warm.bit_length())} - {n_warm}
    window: list[dict[str, np.ndarray]] = []

    def step_sizes(values: np.ndarray) -> Any:
        return parts.step_sizes(jnp.asarray(values, dtype))

    for i, key in enumerate(keys):
        arrays = Tuning(*(jnp.asarray(array, dtype) for array in tuning))
        state, out, moments = parts.advance(key, state, arrays, i < n_warm, data)
        if i >= n_warm:
            tuned = tuning.beta, np.exp(np.asarray(state.adaptation.log_step_size_avg))
            yield {name: np.asarray(value) for name, value in out.items()} | {
                name: np.broadcast_to(value, (BLOCK, len(value)))
                for name, value in zip(TUNED, tuned, strict=True)
            }
            continue
        window.append({name: np.asarray(value) for name, value in moments.items()})
        if i + 1 in windows:
            tuning, state = retuned(tuning, state, window, step_sizes)
            window = []
        yield None


def _starts(
    density: LogDensity, data: tuple, parts: Parts, start: object, chains: int, n_levels: int,
    dtype: str, seed: int,
) -> list[Replicas]:  # fmt: skip
    """Replicas of each chain where it starts; those of density 0 at the levels near the prior."""

    def at(points: np.ndarray) -> Replicas:
        return parts.start(jnp.asarray(points, dtype), data)

    check_indices(density)
    if start is not None:
        given = density.given_points(start, chains)
        check_start(density, given)
        return [at(np.repeat(point[None], n_levels, axis=0)) for point in given]
    drawn = density.initial_points(chains * n_levels, jitter=np.inf, seed=seed)
    states = []
    for number, points in enumerate(drawn.reshape(chains, n_levels, -1)):
        for retry in range(RETRIES + 1):
            finite = _finite(at(points))
            if finite.any():
                break
            if retry == RETRIES:
                check_start(density, points)
                raise ValueError("the gradient of the log density is finite at no starting point")
            fresh = np.random.SeedSequence([seed, number, retry]).generate_state(1)
            points = density.initial_points(n_levels, jitter=np.inf, seed=int(fresh[0]))
        states.append(at(points[np.argsort(finite, kind="stable")]))
    return states


def _finite(state: Replicas) -> np.ndarray:
    """Which replicas are where the density and its gradient are finite, (K,)."""
    values = (state.log_prior, state.log_likelihood)
    gradients = (state.prior_gradient, state.likelihood_gradient)
    finite = [np.isfinite(value) for value in values]
    finite += [np.isfinite(gradient).all(axis=1) for gradient in gradients]
    return np.all(finite, axis=0)
