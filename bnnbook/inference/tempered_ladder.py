"""The ladder of temperatures: how warm-up spaces it, and what it tells at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from bnnbook.inference.chains import BLOCK, Chains
from bnnbook.inference.report import divergence_problems, share
from bnnbook.inference.tempered_loop import PER_LEVEL, TUNED, Replicas, Tuning

__all__ = ["first_tuning", "ladder_problems", "ladder_summary", "retuned"]

LEAST_ACCEPTANCE = 0.1  # of a level's moves; their target is .8, the best possible about .65
# a replica from a hotter level may diverge once, where it lands; that place was not out of reach
MOST_DIVERGENCES = 0.01
LEAST_SWAPS = 0.05  # between two levels; .5 is best (Syed et al. 2022, section 5.2)


def first_tuning(n_levels: int, size: int) -> Tuning:
    """Levels packed towards the prior, where the density changes fastest, and unit masses."""
    beta = np.linspace(0, 1, n_levels) ** 4 if n_levels > 1 else np.ones(1)
    return Tuning(beta, np.ones((n_levels, size)))


def retuned(
    tuning: Tuning,
    state: Replicas,
    window: list[dict[str, np.ndarray]],
    step_sizes: Callable[..., Any],
) -> tuple[Tuning, Replicas]:
    """New temperatures, masses and starting step sizes from one window of warm-up.

    The rejection rates add up to the barrier between prior and posterior; temperatures that cut it
    into equal parts are the new ones. Masses balance the spread of draws with that of gradients, so
    that modes far apart do not make a level look wider than each mode is.
    """
    n = BLOCK * len(window)
    total = {name: np.sum([w[name] for w in window], axis=0, dtype=float) for name in window[0]}
    known = np.maximum(total["known"], 1)[:, None]
    with np.errstate(over="ignore", invalid="ignore"):  # gradients at the edge of what is finite
        spread = total["theta2"] / n - (total["theta"] / n) ** 2
        curvature = total["gradient2"] / known - (total["gradient"] / known) ** 2
        estimate = np.sqrt(np.maximum(spread, 1e-12) / np.maximum(curvature, 1e-12))
    usable = np.isfinite(curvature) & (curvature > 0) & (total["known"] > n / 2)[:, None]
    shrink = n / (n + 5)
    inverse_mass = np.where(usable, np.exp(shrink * np.log(estimate)), tuning.inverse_mass)
    step = np.exp(np.asarray(state.adaptation.log_step_size_avg))
    beta = old = tuning.beta
    if len(old) > 1:
        rejection = np.maximum(total["rejection"] / n, 1e-4)
        barrier = np.concatenate([[0.0], np.cumsum(rejection)])
        beta = np.interp(np.linspace(0, barrier[-1], len(old)), barrier, old)
        beta[0], beta[-1] = 0.0, 1.0
        step = np.interp(beta, old, step)
        columns = [np.exp(np.interp(beta, old, np.log(column))) for column in inverse_mass.T]
        inverse_mass = np.stack(columns, axis=1)
    return Tuning(beta, inverse_mass), state._replace(adaptation=step_sizes(step))


def ladder_summary(run: Chains) -> tuple[xr.Dataset, dict[str, Any]]:
    """Summary by chain and level, and the attributes that follow from it.

    The stepping stones (Xie et al. 2011): log Z is the sum over levels of
    log E_k[L^(beta_{k+1} - beta_k)].
    """
    beta, steps = (run.joined(name)[:, -1].astype(float) for name in TUNED)
    acceptance, swaps, likelihoods = (run.joined(name).astype(float) for name in PER_LEVEL)
    stones = [
        logsumexp(np.diff(b) * chain[:, :-1], axis=0) - np.log(len(chain))
        for b, chain in zip(beta, likelihoods, strict=True)
    ]
    evidence = np.sum(stones, axis=1)
    n_chains, n_levels = beta.shape
    swaps = swaps.mean(axis=1)
    variables = {
        "beta": beta,
        "step_size": steps,
        "acceptance_rate": acceptance.mean(axis=1),
        "swap_rate": np.pad(swaps, ((0, 0), (0, 1)), constant_values=np.nan),
        "log_likelihood": likelihoods.mean(axis=1),
    }
    dataset = xr.Dataset(
        {name: (("chain", "level"), value) for name, value in variables.items()},
        coords={"chain": np.arange(n_chains), "level": np.arange(n_levels)},
    )
    tempered = n_levels > 1
    error = evidence.std(ddof=1) / np.sqrt(n_chains) if n_chains > 1 else np.nan
    return dataset, {
        "arrivals": run.joined("arrived").sum(axis=1).tolist(),
        "barrier": float((1 - swaps).sum(axis=1).mean()),
        "log_evidence": float(evidence.mean()) if tempered else np.nan,
        "log_evidence_se": float(error) if tempered else np.nan,
    }


def ladder_problems(diverging: np.ndarray, levels: xr.Dataset, attrs: dict[str, Any]) -> list[str]:
    """Sentences about levels that accept nothing, swaps that fail and chains without arrivals."""
    problems = divergence_problems(diverging, "Raise target_accept", MOST_DIVERGENCES)
    acceptance = levels["acceptance_rate"].to_numpy()
    for number in np.flatnonzero(acceptance.min(axis=0) < LEAST_ACCEPTANCE):
        problems.append(
            f"Level {number} of the temperatures accepts {share(acceptance[:, number].min())} of "
            "its moves in one chain at least. Tune longer, or see whether the density is finite "
            "where the prior goes."
        )
    if levels.sizes["level"] == 1:
        return problems
    swaps = levels["swap_rate"].to_numpy()[:, :-1].min(axis=0)
    if swaps.min() < LEAST_SWAPS:
        level = int(swaps.argmin())
        problems.append(
            f"Levels {level} and {level + 1} swap in {share(swaps.min())} of the tries in one "
            "chain at least. Take more temperatures (about twice the barrier, which is "
            f"{attrs['barrier']:.1f}), or tune longer."
        )
    for chain in np.flatnonzero(np.asarray(attrs["arrivals"]) == 0):
        problems.append(
            f"In chain {chain} no replica came from the prior to the posterior: the weights of its "
            "modes are those of its start. Draw longer, or take more temperatures."
        )
    return problems
