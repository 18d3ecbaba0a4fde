"""What variational inference returns, and whether it had converged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from bnnbook.density import LogDensity
from bnnbook.inference.advi_check import gain_elsewhere, gain_of_a_climb
from bnnbook.inference.advi_loop import Run
from bnnbook.inference.advi_runs import Done
from bnnbook.inference.advi_step import LOG_2PI, Loop
from bnnbook.inference.results import posterior_dataset, result_tree, value_dataset

__all__ = ["advi_result"]

RISING = 0.5  # nats gained over the last tenth of a run that make a rise worth a warning
POOR = 20.0  # nats below another start, beyond what starts of a network differ by
SHARE = 10  # of the affordable work goes into that other start
MOST_STEPS = 120
FEWEST = 20  # steps in a tenth of a run, below which nothing can be said


def _rising(loop: Loop, elbo: np.ndarray) -> list[str]:
    """One sentence if the ELBO rose over the last tenth, compared with the tenth before it."""
    below = np.flatnonzero(loop.weights[: len(elbo)] < 1)
    settled = elbo[below[-1] + 1 :] if below.size else elbo
    size = min(len(elbo) // 10, len(settled) // 2)
    remedy = "Take more steps (n), or larger ones (learning_rate)."
    if size < FEWEST:
        few = f"{len(settled):,} steps at full KL weight are too few to judge convergence by."
        return [f"{few} {remedy}"]
    before, after = settled[-2 * size : -size], settled[-size:]
    gain = after.mean() - before.mean()
    means = [part[: size // 10 * 10].reshape(10, -1).mean(axis=1) for part in (before, after)]
    error = np.sqrt(sum(m.var(ddof=1) for m in means) / 10)
    if gain < max(RISING, 3 * error):
        return []
    return [f"The ELBO rose by {gain:,.3g} nats over the last {size:,} steps. {remedy}"]


def _off(density: LogDensity, run: Run) -> list[str]:
    """One sentence if the mean is not at the optimum of the ELBO, however flat that looks."""
    gain, error = gain_of_a_climb(density, run.mean, run.chol)
    if gain < max(RISING, 3 * error):
        return []
    return [
        f"The mean is {gain:,.3g} nats of ELBO from where it belongs. Take more steps (n), or a "
        "learning_rate that falls to 0, or leave out your own."
    ]


def _poor(
    density: LogDensity, elbo: float, settings: dict[str, Any], steps: int, seed: int
) -> list[str]:
    """One sentence if a short climb from elsewhere gets much further."""
    gain, error = gain_elsewhere(density, elbo, settings["initial_sd"], steps, seed)
    if gain < max(POOR, 3 * error):
        return []
    return [
        f"The ELBO is {gain:,.0f} nats below what a short climb of independent normals reaches "
        "from another start. Take several starts (n_starts), or leave out your own learning_rate."
    ]


def advi_result(
    loop: Loop,
    done: Done,
    draws: int,
    seed: int,
    settings: dict[str, Any],
    *,
    affordable: int,
) -> xr.DataTree:
    """The best run as a tree, with what is to be said of all of them.

    ``affordable`` are iterations of a climb that take no longer than the steps did; 0 where no
    climb is tried at all.
    """
    runs = [start.run for start in done.starts]
    density, method = loop.density, loop.method
    finals = [run.final_elbo for run in runs]
    which = int(np.argmax(finals))
    best, problems = runs[which], _rising(loop, runs[which].elbo)
    if not done.starts[which].arrived:
        problems.append("The climb to where the steps began was not over. Take more steps (n).")
    if affordable and not problems:
        problems = _off(density, best)
    if affordable and not problems and not settings["climbs"]:
        steps = min(affordable // SHARE, MOST_STEPS)
        problems = _poor(density, best.final_elbo, settings, steps, seed)
    if done.interrupted:  # told also if an earlier start was the better one
        best = replace(best, ended="interrupted")
    xi = np.random.default_rng([seed, 1]).normal(size=(draws, density.size))
    shift = best.chol * xi if method == "advi" else xi @ best.chol.T
    diagonal = best.chol if method == "advi" else np.diag(best.chol)
    log_q = -0.5 * (xi**2).sum(axis=1) - 0.5 * density.size * LOG_2PI - np.log(diagonal).sum()
    sd = best.chol if method == "advi" else np.sqrt((best.chol**2).sum(axis=1))
    step, rows = np.arange(1, len(best.elbo) + 1), max(loop.batches.sizes)
    history = {
        "elbo": ("step", best.elbo),
        "seconds": ("step", best.seconds),
        "data_seen": ("step", step * rows),
    }
    if settings["kl_annealing"]:
        history["kl_weight"] = ("step", loop.weights[: len(step)])
    variational = value_dataset(density, {"mean": best.mean, "sd": sd})
    if method == "fullrank_advi":
        variational["covariance"] = (("parameter", "parameter_"), best.chol @ best.chol.T)
    return result_tree(
        density, posterior_dataset(density, (best.mean + shift)[None]),
        sample_stats={"log_q": log_q[None]}, method=method, settings=settings, seed=seed,
        n=rows, seconds=done.seconds, compile_seconds=done.compile_seconds,
        history=xr.Dataset(history, coords={"step": step}), groups={"variational": variational},
        attrs={
            "stopped": best.ended,
            "interrupted": int(best.ended == "interrupted"),
            "final_elbo": best.final_elbo,
            "final_elbo_by_start": finals,
        },
        problems=problems,
    )  # fmt: skip
