"""Have Markov chains converged? One report for every sampler, on functions where there are any.

Weights of a network are not identified: permuted or flipped, they compute the same function. So
what is judged are the model's deterministics that have a value for each row of the data, such as
probabilities, at some of these rows; and only in a model without them its log density and its free
variables.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import arviz_stats as azs
import numpy as np
import xarray as xr

from bnnbook.density import LogDensity
from bnnbook.inference.functions import draw_blocks, function_values, some_of

__all__ = [
    "acceptance_problems",
    "chain_report",
    "chains_where",
    "divergence_problems",
    "energy_problems",
    "share",
]

RHAT = 1.01  # largest, rank-normalised: Vehtari et al. (2021), section 4.2; as pm.sample
DISAGREE = 1.1  # R-hat at which chains are in different places: Gelman and Rubin's (1992) own limit
ESS_PER_CHAIN = 100  # least, bulk and tail: Vehtari et al. (2021), section 4.2; as pm.sample
MIN_DRAWS = 100  # a chain, below which neither means anything; as pm.sample
BFMI = 0.3  # least: Betancourt (2016), section 3; as Stan
LEAST_MOVES = 0.05  # share of draws that differ from the one before, in a chain that is not stuck
MAX_QUANTITIES = 100  # numbers judged: a second's work at 4,000 draws
MAX_DRAWS = 4000  # of all chains together, every k-th

REMEDY = "Run longer, or, where the posterior has modes that chains do not cross, sample_tempered"
WEIGHTS = (
    "If the parameters are weights of a network, which are not identified, give the model a "
    "pm.Deterministic of its output for each row: that is judged then"
)


class Judged(NamedTuple):
    """Statistics of one variable's quantities, and the values of its worst, (chain, draw)."""

    quantities: int
    constant: int
    rhat: float
    ess_bulk: float
    ess_tail: float
    worst: np.ndarray


def chain_report(
    density: LogDensity, posterior: xr.Dataset, lp: np.ndarray
) -> tuple[list[str], dict[str, Any]]:
    """Judge the chains of a run.

    Parameters
    ----------
    density : LogDensity
    posterior : Dataset (chain, draw, ...)
        Free variables; those that are needed are read, at the draws that are judged.
    lp : array (chain, draw)
        Log density.

    Returns
    -------
    problems : list of str
        Sentences with remedies; empty for a run that gives no reason for doubt.
    judged : dict
        By variable: ``quantities`` looked at, ``rhat`` (largest), ``ess_bulk`` and ``ess_tail``
        (smallest); ``draws`` per chain that were used; ``skipped``, what was too large to look at.
    """
    n_chains, n_draws = lp.shape
    problems = _stuck(lp)
    if n_draws < MIN_DRAWS:
        problems.append(
            f"{n_draws} draws a chain are too few to judge convergence by: take at least "
            f"{MIN_DRAWS}."
        )
        return problems, {}
    picked = slice(None, None, max(1, -(-n_draws * n_chains // MAX_DRAWS)))  # no copy
    looked = posterior.isel(draw=picked)
    values, skipped = function_values(density, looked, MAX_QUANTITIES)
    functions = bool(values)
    if not functions:
        values = {"log density": lp[:, picked, None], **_free(looked)}
    judged = {}
    for name, value in values.items():
        finite = np.isfinite(value)
        if not finite.all():
            bad = share(~finite.all(axis=-1))
            problems.append(f"{name} is not finite in {bad} of the draws that were looked at.")
            continue
        judged[name] = _judge(value)
    mixing = _mixing(judged, n_chains)
    if mixing and not functions and any(v.ndim > 3 for v in posterior.data_vars.values()):
        mixing.append(f"{WEIGHTS}.")
    problems += mixing
    table: dict[str, Any] = {
        name: {
            "quantities": found.quantities, "rhat": _number(found.rhat),
            "ess_bulk": _number(found.ess_bulk), "ess_tail": _number(found.ess_tail),
        }
        for name, found in judged.items()
    }  # fmt: skip
    return problems, {"variables": table, "draws": looked.sizes["draw"], "skipped": skipped}


def share(which: np.ndarray) -> str:
    """Percentage of true values, with as many digits as it needs."""
    percent = 100 * float(np.mean(which))
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.2g} %"


def chains_where(which: np.ndarray) -> str:
    """Name some chains, (chains,), with their verb: ``"Chain 0 is"``, ``"Chains 0 and 2 are"``."""
    numbers = [str(chain) for chain in np.flatnonzero(which)]
    if len(numbers) == 1:
        return f"Chain {numbers[0]} is"
    return f"Chains {', '.join(numbers[:-1])} and {numbers[-1]} are"


def divergence_problems(diverging: np.ndarray, remedy: str, most: float = 0.0) -> list[str]:
    """One sentence if more than a share ``most`` of the draws (chain, draw) diverged."""
    if diverging.mean() <= most:
        return []
    return [
        f"{diverging.sum():,} of {diverging.size:,} draws ({share(diverging)}) come after a "
        f"divergence: a part of the posterior may be out of reach. {remedy}."
    ]


def acceptance_problems(acceptance: np.ndarray, least: float, remedy: str) -> list[str]:
    """One sentence if a chain's mean acceptance rate is below ``least``."""
    rates = acceptance.mean(axis=1)
    low = rates < least
    if not low.any():
        return []
    return [
        f"{chains_where(low)} rejecting too much: the acceptance rate is {rates[low].min():.2f}, "
        f"less than {least:.2g}. {remedy}."
    ]


def energy_problems(energy: np.ndarray) -> list[str]:
    """One sentence if energies (chain, draw) change too little from draw to draw.

    By the Bayesian fraction of missing information (Betancourt 2016, eq. 3).
    """
    if energy.shape[1] < MIN_DRAWS:
        return []
    changes = np.square(np.diff(energy, axis=1)).mean(axis=1)
    spread = energy.var(axis=1)
    missing = np.divide(changes, spread, out=np.full(len(energy), np.inf), where=spread > 0)
    if missing.min() >= BFMI:
        return []
    return [
        f"E-BFMI is {missing.min():.2f} in chain {missing.argmin()}, less than {BFMI}: energies "
        "change too slowly to reach the tails. Write the model with other parameters, such as "
        "non-centred ones."
    ]


def _stuck(lp: np.ndarray) -> list[str]:
    if lp.shape[1] < 2:
        return []
    moves = (np.diff(lp, axis=1) != 0).mean(axis=1)
    stuck = moves < LEAST_MOVES
    if not stuck.any():
        return []
    return [
        f"{chains_where(stuck)} stuck: only {share(moves[stuck].max())} of the draws differ from "
        "the one before. Make the steps smaller, or start elsewhere."
    ]


def _free(posterior: xr.Dataset) -> dict[str, np.ndarray]:
    """Some elements of each free variable, (chain, draw, elements)."""
    quota = max(1, MAX_QUANTITIES // max(1, len(posterior.data_vars)))
    values = {}
    for name, variable in list(posterior.data_vars.items())[:MAX_QUANTITIES]:
        variable = variable.transpose("chain", "draw", ...)
        elements = some_of(int(np.prod(variable.shape[2:])), quota)
        parts = (variable.isel(draw=block).to_numpy() for block in draw_blocks(variable))
        picked = [part.reshape(*part.shape[:2], -1)[..., elements] for part in parts]
        values[str(name)] = np.concatenate(picked, axis=1)
    return values


def _judge(value: np.ndarray) -> Judged:
    """R-hat and effective sample sizes of quantities (chain, draw, K)."""
    moving = np.ptp(value, axis=(0, 1)) > 0
    if not moving.any():
        return Judged(value.shape[-1], value.shape[-1], np.nan, np.nan, np.nan, value[..., 0])
    dims = ("chain", "draw", "quantity")
    data = xr.Dataset({"x": (dims, value[..., moving])})
    half = value.shape[1] // 2
    halves = data if len(value) > 1 else xr.Dataset(  # of a single chain
        {"x": (dims, np.concatenate([value[:, :half], value[:, -half:]])[..., moving])}
    )  # fmt: skip
    with np.errstate(all="ignore"):  # chains that stand still, each in its own place: infinite
        rhat = np.nan_to_num(azs.rhat(halves)["x"].to_numpy(), nan=np.inf)
        bulk, tail = (
            np.nan_to_num(azs.ess(data, method=method)["x"].to_numpy(), nan=0.0)
            for method in ("bulk", "tail")
        )
    return Judged(
        value.shape[-1], int((~moving).sum()), float(rhat.max()), float(bulk.min()),
        float(tail.min()), value[..., moving][..., int(rhat.argmax())],
    )  # fmt: skip


def _mixing(judged: dict[str, Judged], n_chains: int) -> list[str]:
    moving = {name: found for name, found in judged.items() if found.constant < found.quantities}
    if judged and not moving:
        return ["Every draw is the same. Make the steps smaller, or start elsewhere."]
    problems = []
    least = ESS_PER_CHAIN * n_chains
    if moving:
        name, found = max(moving.items(), key=lambda item: item[1].rhat)
        if found.rhat > RHAT:
            rhat = f"{found.rhat:.4g}" if found.rhat < 100 else "above 100"
            where = f"R-hat is {rhat} for {name}, more than {RHAT}"
            problems.append(f"{where}: {_disagreement(found)}. {REMEDY}.")
        name, found = min(moving.items(), key=lambda i: min(i[1].ess_bulk, i[1].ess_tail))
        fewest = min(found.ess_bulk, found.ess_tail)
        if fewest < least:
            problems.append(
                f"The draws are worth {fewest:,.0f} independent ones for {name}, fewer than "
                f"{least:,} ({ESS_PER_CHAIN} a chain). Take more draws."
            )
    return problems


def _disagreement(found: Judged) -> str:
    """Which chain is elsewhere, if it is one."""
    if found.rhat <= DISAGREE:
        return "the chains have not mixed yet"
    others = [np.delete(found.worst, chain, axis=0) for chain in range(len(found.worst))]
    if len(others) > 2:
        rest = [_judge(values[..., None]).rhat for values in others]
        if min(rest) <= DISAGREE:
            return f"chain {int(np.argmin(rest))} disagrees with the others"
    return "the chains disagree" if len(others) > 1 else "the chain is still on its way"


def _number(value: float) -> float | None:
    """For JSON, which has no infinity."""
    return round(value, 4) if np.isfinite(value) else None
