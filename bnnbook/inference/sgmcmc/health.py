r"""Is a run of stochastic-gradient MCMC to be believed?

For a density that falls off, integration by parts gives, at temperature T and whatever the centre,

.. math:: -\mathrm{E}[(\theta - c)^\top \nabla \log p(\theta)] = T D

for D parameters. What stands on the left, divided by D, is the configurational temperature, which
Wenzel et al. (2020) measure of networks. It is taken on the minibatches that follow the draws,
which are independent of them, and shows what step size and minibatch noise add to the temperature:
at rest, :math:`\theta \leftarrow \theta + \epsilon g + \sqrt{2 \epsilon T}\, \xi` has exactly
:math:`T + \epsilon \mathrm{E} |g|^2 / (2 D)`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bnnbook.checks import DivergedError
from bnnbook.inference.sgmcmc.job import Job

__all__ = ["Vitals", "problems_of"]

RUN_AWAY = 10.0  # times the temperature asked for, in three quarters of the draws
FROZEN = 0.05  # of the temperature, which three quarters of the draws are below
COLLAPSE = 20.0  # times T for each parameter, by which the log density may fall from where it was
WINDOWS = 20  # parts of a run, whose median log densities are compared
HOT = 2.0  # times the temperature, from which it is worth a word
FEWEST = 10  # draws by which a chain is judged
FAR = 5.0  # standard deviations within a chain, by which one stands below the others


class Vitals(NamedTuple):
    """What is known of chains besides their draws."""

    first_lp: np.ndarray  # (chains,) log density at the start, on one minibatch
    felt: np.ndarray  # (chains, leaves) last step at which the likelihood had a gradient
    steps: np.ndarray  # (chains,) done


def problems_of(
    job: Job, chains: list[int], stats: dict[str, np.ndarray], history: np.ndarray, vitals: Vitals
) -> list[str]:
    """Sentences, each with its remedy, about chains that have fallen, are hot, dead, or below.

    Parameters
    ----------
    chains : list of int
    stats : dict of array (chains, draws)
    history : array (chains, entries)
        Log density along the run.
    vitals : Vitals

    Raises
    ------
    DivergedError
        If the numbers of a chain are finite and have run away all the same.
    """
    return [
        *_fallen(job, chains, stats, history, vitals), *_hot(job, chains, stats),
        *_dead(job, chains, vitals), *_below(chains, stats["lp"]),
    ]  # fmt: skip


def _fallen(
    job: Job, chains: list[int], stats: dict[str, np.ndarray], history: np.ndarray, vitals: Vitals
) -> list[str]:
    """Chains whose log density has come to lie far below where it had been.

    They have run away if their draws are ten times as hot as they should be as well, or have no
    heat, far out where the density is flat, or if they have fallen by twenty nats for each row of
    data, too. One that started in a narrow peak, such as a mode where a scale is nearly 0, falls
    by less and comes to rest at the right heat. Of fewer than ten draws nothing is that sure.
    """
    temperature, D = job.kernel.temperature, job.density.size
    unit = COLLAPSE * max(temperature, 1.0)
    fallen = []
    for row, chain in enumerate(chains):
        whole, draws = history[row].astype(float), stats["lp"][row].astype(float)
        parts = np.array_split(whole, max(1, min(WINDOWS, len(whole) // 3)))
        medians = [np.median(part) for part in parts]
        before = np.nanmax([vitals.first_lp[row], *medians])
        late = draws[len(draws) // 2 :] if len(draws) >= FEWEST else whole[3 * len(whole) // 4 :]
        if len(late) < FEWEST // 2:
            continue
        # a chain that has run away is noisy, too: that is no excuse for it
        best = parts[int(np.argmax(np.nan_to_num(medians, nan=-np.inf)))]
        now, noise = np.median(late), min(_noise(late), _noise(best))
        fall = before - now - 5 * noise
        if fall <= unit * D:
            continue
        told = f"its log density was {before:,.6g} once and is {now:,.6g} now"
        smaller = f"a smaller step size than {job.plan.step_size.max():.3g}"
        sure = len(draws) >= FEWEST
        few = np.sqrt(job.density.N / job.n)  # minibatches make the heat of each draw vary
        heat = _wrong_heat(stats["configurational_temperature"][row], temperature, few)
        if sure and heat is not None:
            raise DivergedError(
                f"chain {chain} has run away: {told}, and the configurational temperature of its "
                f"draws is {heat:,.3g}, not {temperature:g}. Take {smaller}, larger batches or "
                "control variates"
            )
        if sure and fall > unit * (D + job.density.N):
            raise DivergedError(f"chain {chain} has run away: {told}. Take {smaller}")
        fallen.append(
            f"Chain {chain} has fallen: {told}. Take {smaller}, unless it started in a peak that "
            "is narrower than the posterior."
        )
    return fallen


def _noise(values: np.ndarray) -> float:
    """Standard deviation of what a log density has from one entry to the next."""
    return float(1.5 * np.median(np.abs(np.diff(values)))) if len(values) > 2 else np.inf


def _wrong_heat(heat: np.ndarray, temperature: float, few: float) -> float | None:
    """Median of the later draws, or of the last, if it cannot be that of a chain at rest.

    Three quarters of the draws are ten times too hot, or next to cold, or most of them are far
    from where they should be on either side.
    """
    if temperature == 0:
        return None
    for window in (heat[len(heat) // 2 :], heat[-max(FEWEST, len(heat) // 20) :]):
        if len(window) < FEWEST:
            continue
        low, median, high = np.quantile(window, [0.25, 0.5, 0.75]) / temperature
        wide = np.median(np.abs(window)) / temperature
        if low > RUN_AWAY or wide > RUN_AWAY * few or high < FROZEN:
            return float(median * temperature)
    return None


def _hot(job: Job, chains: list[int], stats: dict[str, np.ndarray]) -> list[str]:
    temperature = job.kernel.temperature
    heat = stats["configurational_temperature"]
    heat = heat[:, heat.shape[1] // 2 :]
    if temperature == 0 or heat.shape[1] < FEWEST:
        return []
    hot = []
    for chain, values in zip(chains, heat / temperature, strict=True):
        batches = np.array_split(values, min(20, len(values) // 2))
        means = np.array([batch.mean() for batch in batches])
        error = means.std(ddof=1) / np.sqrt(len(means))
        if values.mean() - 3 * error > HOT:
            hot.append((chain, values.mean()))
    if not hot:
        return []
    named = ", ".join(str(chain) for chain, _ in hot)
    return [
        f"The draws of chain {named} are {max(h for _, h in hot):.2g} times as hot as temperature "
        f"{temperature:g} asks for (configurational temperature): step size and minibatch noise "
        "widen them. Take a smaller step size, larger batches or control variates."
    ]


def _dead(job: Job, chains: list[int], vitals: Vitals) -> list[str]:
    """Chains in which the data have nothing to say about variables that they did speak about."""
    found = []
    spoken = (vitals.felt >= 0).any(axis=0)
    for row, chain in enumerate(chains):
        silent = spoken & (vitals.felt[row] < vitals.steps[row] // 2)
        names = [n for n, s in zip(job.density.names, silent, strict=True) if s]
        if names:
            since = int(vitals.felt[row][silent].min()) + 1
            found.append(
                f"Chain {chain} has died: since step {since:,} the likelihood has had no gradient "
                f"for {', '.join(names)}, as when every unit of a layer is off for every input, "
                "and its predictions do not depend on them. Take a smaller step size, or start "
                "elsewhere; do not average over this chain."
            )
    return found


def _below(chains: list[int], lp: np.ndarray) -> list[str]:
    late = lp[:, lp.shape[1] // 2 :].astype(float)
    if late.shape[1] < FEWEST or len(chains) < 2:
        return []
    means, spread = late.mean(axis=1), late.std(axis=1)
    best = int(means.argmax())
    far = means[best] - means > FAR * np.maximum(spread, spread[best])
    return [
        f"Chain {chains[row]} stands far below chain {chains[best]}: mean log density "
        f"{means[row]:,.6g}, not {means[best]:,.6g}. Take a smaller step size, longer chains or "
        "other starting points; do not average over this chain."
        for row in np.flatnonzero(far)
    ]
