"""Pathfinder (Zhang et al. 2022): normal approximations along a quasi-Newton climb."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr
from threadpoolctl import threadpool_limits

from bnnbook.checks import DivergedError, positive_int, seed_int
from bnnbook.density import (
    LogDensity,
    compiled_once,
    density_key,
    first_points,
    precision,
)
from bnnbook.inference.chains import blackjax_for, full_data_density
from bnnbook.inference.docs import with_shared_docs
from bnnbook.inference.importance import PARETO_K, smoothed_log_weights
from bnnbook.inference.progress import progress_bar
from bnnbook.inference.results import posterior_dataset, result_tree

__all__ = ["fit_pathfinder"]


@with_shared_docs
def fit_pathfinder(
    model: pm.Model,
    *,
    n_paths: int = 4,
    max_steps: int = 100,
    history_size: int = 10,
    elbo_draws: int = 100,
    draws: int = 1000,
    start: Any = None,
    seed: int,
    progressbar: bool = True,
) -> xr.DataTree:
    r"""Fit by multi-path Pathfinder, with Pareto smoothed importance resampling.

    From each start L-BFGS climbs the log density; every iterate, with the inverse Hessian that
    L-BFGS has there, is the centre of a normal distribution, and that of the highest ELBO is the
    path's (Zhang et al. 2022, algorithm 1; BlackJAX's). The draws of all paths are then resampled
    with weights p / q, q being the path's own, smoothed (algorithm 2). The shape of the weights'
    tail, Pareto k, says whether that helps: above 0.7 it does not, and the result says so.

    Parameters
    ----------
    model : pymc.Model
        Any model without discrete free variables or ``pm.Minibatch`` data.
    n_paths : int
        Starts.
    max_steps : int
        L-BFGS iterations per path.
    history_size : int
        Steps from which L-BFGS estimates the inverse Hessian: its rank is twice that.
    elbo_draws : int
        Draws with which each iterate's ELBO is estimated.
    draws : int
    {start}
    {seed}
    {progressbar}

    Returns
    -------
    xarray.DataTree
        ``posterior`` with one chain of ``draws`` resampled draws; ``sample_stats`` (``lp``, nats);
        ``paths`` (path: ``elbo``, nats). Attribute ``pareto_k``.

    Raises
    ------
    DivergedError
        If no path has a finite ELBO.
    ValueError, TypeError
        For an argument out of range or a minibatch model.
    """
    blackjax = blackjax_for("fit_pathfinder")
    n_paths, draws = positive_int("n_paths", n_paths), positive_int("draws", draws)
    max_steps, seed = positive_int("max_steps", max_steps), seed_int(seed)
    history_size = positive_int("history_size", history_size)
    elbo_draws = positive_int("elbo_draws", elbo_draws)
    density = full_data_density(model, "Pathfinder")
    starts = first_points(density, start, n_paths, seed=seed, jitter=1.0)
    settings = {
        "n_paths": n_paths, "max_steps": max_steps, "history_size": history_size,
        "elbo_draws": elbo_draws, "draws": draws,
    }  # fmt: skip

    with precision(np.float64):
        data = density.arrays()
        keys = jax.random.split(jax.random.key(seed), n_paths)
        clock = time.perf_counter()
        compiled = compiled_once(
            ("pathfinder", *list(settings.values())[1:], density_key(density, data)),
            lambda: _compiled(blackjax, density, data, settings),
        )
        compile_seconds = time.perf_counter() - clock
        clock, results = time.perf_counter(), []
        with (
            threadpool_limits(1, user_api="blas"),  # small factorizations: threads would only wait
            progress_bar("Pathfinder", n_paths, show=progressbar, value_name="ELBO") as update,
        ):
            for theta, key in zip(starts, keys, strict=True):
                results.append(jax.tree.map(np.asarray, compiled(jnp.asarray(theta), key, data)))
                update(len(results), float(results[-1][0].elbo))
        elbo = np.array([state.elbo for state, *_ in results])
    thetas, log_p, log_q = _joined(results, elbo)
    log_weights, pareto_k = smoothed_log_weights(log_p - log_q)
    weights = np.exp(log_weights - log_weights.max())
    rng = np.random.default_rng([seed, 1])
    chosen = rng.choice(len(thetas), draws, p=weights / weights.sum())
    problems = []
    if not pareto_k <= PARETO_K:
        problems.append(
            f"Pareto k of the importance weights is {pareto_k:.2f}, above {PARETO_K}: the "
            "approximation lacks much of the posterior; use sample_nuts, or more paths."
        )
    return result_tree(
        density, posterior_dataset(density, thetas[chosen][None]),
        sample_stats={"lp": log_p[chosen][None]}, method="pathfinder", settings=settings,
        seed=seed, n=density.N, seconds=time.perf_counter() - clock,
        compile_seconds=compile_seconds, problems=problems,
        groups={"paths": xr.Dataset({"elbo": ("path", elbo)}, {"path": np.arange(n_paths)})},
        attrs={"pareto_k": float(pareto_k)},
    )  # fmt: skip


def _compiled(
    blackjax: ModuleType, density: LogDensity, data: tuple, settings: Mapping[str, int]
) -> Any:
    """One path from (theta, key, data): its state, draws (draws, D), log p and log q of these."""

    def path(theta: jax.Array, key: jax.Array, data: tuple) -> tuple:
        def log_density(theta: jax.Array) -> jax.Array:
            return density.log_density(theta, data)

        key_climb, key_draw = jax.random.split(key)
        state, _ = blackjax.vi.pathfinder.approximate(
            key_climb, log_density, theta, settings["elbo_draws"], maxiter=settings["max_steps"],
            maxcor=settings["history_size"], ftol=1e-9,
        )  # fmt: skip
        thetas, log_q = blackjax.vi.pathfinder.sample(key_draw, state, settings["draws"])
        return state, thetas, jax.lax.map(log_density, thetas), log_q

    return jax.jit(path).lower(jnp.zeros(density.size), jax.random.key(0), data).compile()


def _joined(results: list[tuple], elbo: np.ndarray) -> tuple[np.ndarray, ...]:
    """Draws, log p and log q of all paths with a finite ELBO."""
    good = [result for result, value in zip(results, elbo, strict=True) if np.isfinite(value)]
    if not good:
        raise DivergedError(f"no iterate of the {len(elbo)} paths had a finite ELBO")
    return tuple(np.concatenate([result[part] for result in good]) for part in (1, 2, 3))
