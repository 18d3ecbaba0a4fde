"""Point estimates: maximum likelihood, posterior mode, and deep ensembles of modes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr
from scipy import optimize

from bnnbook.checks import DivergedError, positive_int, seed_int
from bnnbook.density import LogDensity, compile_log_density
from bnnbook.inference.callbacks import Callback, FitState, Reporter
from bnnbook.inference.progress import progress_bar
from bnnbook.inference.results import posterior_dataset, result_tree

__all__ = ["fit_ensemble", "fit_map", "fit_mle"]


def fit_mle(
    model: pm.Model,
    *,
    n_starts: int = 1,
    max_steps: int = 2000,
    callbacks: Sequence[Callback] = (),
    seed: int,
    progressbar: bool = True,
) -> xr.DataTree:
    """Maximise the likelihood alone with L-BFGS, from ``n_starts`` random starts.

    With separable data a network's likelihood has no maximum: weights grow until ``max_steps``.
    See :func:`fit_map` for the rest.
    """
    return _fit(
        model,
        "mle",
        1,
        n_starts,
        max_steps,
        seed,
        progressbar,
        callbacks,
        prior=False,
        jacobian=False,
    )


def fit_map(
    model: pm.Model,
    *,
    n_starts: int = 1,
    max_steps: int = 2000,
    jacobian: bool = False,
    callbacks: Sequence[Callback] = (),
    seed: int,
    progressbar: bool = True,
) -> xr.DataTree:
    """Maximise log prior + log likelihood with L-BFGS (Liu and Nocedal 1989).

    Parameters
    ----------
    model : pymc.Model
        Any model without discrete free variables or ``pm.Minibatch`` data.
    n_starts : int
        Starts drawn at random; the best is kept.
    max_steps : int
        L-BFGS iterations per start.
    jacobian : bool
        False gives the mode in the model's own parameters, as ``pm.find_MAP``; True the mode on
        the unconstrained space, where samplers work.
    callbacks : sequence of ``callback(state, losses, step)``
        Called after every L-BFGS iteration, or at their own ``every``, with a :class:`FitState` and
        the negative log densities so far; one that raises ``StopIteration`` ends that start.
    seed : int
    progressbar : bool

    Returns
    -------
    xarray.DataTree
        ``posterior`` with one chain and one draw, ``sample_stats`` (``lp``: the maximum, nats) and
        ``history`` (step: ``log_density``, ``seconds``).

    Raises
    ------
    DivergedError
        If the density at every start is not finite.
    ValueError, TypeError
        For an argument out of range.
    """
    return _fit(model, "map", 1, n_starts, max_steps, seed, progressbar, callbacks, True, jacobian)


def fit_ensemble(
    model: pm.Model,
    *,
    n_members: int = 5,
    max_steps: int = 2000,
    callbacks: Sequence[Callback] = (),
    seed: int,
    progressbar: bool = True,
) -> xr.DataTree:
    """Deep ensemble (Lakshminarayanan et al. 2017): ascents to posterior modes from the prior.

    Each member starts at its own draw from the prior. Where the data say little, members that
    stop early, after a small ``max_steps``, differ more than members that have arrived.

    One member per chain, with one draw each; ``history`` has a ``chain`` axis too, padded with NaN
    where a member finished early. See :func:`fit_map` for the rest.

    Raises
    ------
    ValueError
        Also if the prior cannot be sampled, as that of ``pm.Flat``.
    """
    n_members = positive_int("n_members", n_members)
    return _fit(
        model,
        "ensemble",
        n_members,
        n_members,
        max_steps,
        seed,
        progressbar,
        callbacks,
        True,
        False,
        jitter=np.inf,
    )


def _fit(
    model: pm.Model, method: str, keep: int, n_starts: int, max_steps: int, seed: int,
    progressbar: bool, callbacks: Sequence[Callback], prior: bool, jacobian: bool,
    jitter: float = 1.0,
) -> xr.DataTree:  # fmt: skip
    """Run L-BFGS from every start and keep the ``keep`` best, in the order of their starts."""
    n_starts, max_steps = positive_int("n_starts", n_starts), positive_int("max_steps", max_steps)
    seed = seed_int(seed)
    density = compile_log_density(model, jacobian=jacobian)
    if density.batch_size is not None:
        raise ValueError("model has pm.Minibatch data; an optimum needs the full data")
    data = tuple(jnp.asarray(a) for a in density.data)

    def negative(theta: jax.Array) -> jax.Array:
        likelihood = density.log_likelihood(theta, data)
        return -likelihood - density.log_prior(theta, data) if prior else -likelihood

    clock = time.perf_counter()
    compiled = jax.jit(jax.value_and_grad(negative)).lower(jnp.zeros(density.size)).compile()
    compile_seconds = time.perf_counter() - clock

    settings = {"n_starts": n_starts, "max_steps": max_steps, "jacobian": jacobian}
    starts = density.initial_points(n_starts, jitter=jitter, seed=seed)
    clock = time.perf_counter()
    thetas, values, histories, interrupted = [], [], [], False
    with progress_bar(
        method, n_starts * max_steps, show=progressbar, value_name="log density"
    ) as update:
        for number, start in enumerate(starts):
            trace = [(start, -np.inf, 0.0)]
            reporter = Reporter(callbacks, method=method, settings=settings)

            def report(
                trace: list = trace, reporter: Reporter = reporter, done: int = number * max_steps
            ) -> None:
                update(done + len(trace) - 1, trace[-1][1])
                if reporter:
                    reporter(_state(trace, method, density), _losses(trace))

            try:
                with reporter:
                    _climb(compiled, start, max_steps, trace, report)
            except StopIteration:
                pass  # a callback has seen enough of this start
            except KeyboardInterrupt:
                interrupted = True
            theta = trace[-1][0]
            thetas.append(theta)
            values.append(-float(compiled(jnp.asarray(theta))[0]))
            histories.append(np.array([step[1:] for step in trace[1:]]).reshape(-1, 2))
            if interrupted:
                break
    seconds = time.perf_counter() - clock
    finite = np.isfinite(values)
    if not finite.any():
        raise DivergedError(f"the log density was not finite from any of the {n_starts} starts")
    best = np.sort(np.argsort(np.where(finite, values, -np.inf))[::-1][:keep])
    best = best[finite[best]]
    return result_tree(
        density,
        posterior_dataset(density, np.array(thetas)[best][:, None], data),
        sample_stats={"lp": np.array(values)[best][:, None]},
        method=method,
        settings=settings,
        seed=seed,
        n=density.N,
        seconds=seconds,
        compile_seconds=compile_seconds,
        history=_history([histories[i] for i in best]),
        attrs={"interrupted": interrupted},
    )


def _climb(
    compiled: Callable[..., Any],
    start: np.ndarray,
    max_steps: int,
    trace: list[tuple[np.ndarray, float, float]],
    report: Callable[[], None],
) -> None:
    """Run L-BFGS, appending (theta, log density, seconds) to ``trace`` after every iteration."""
    clock = time.perf_counter()

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = compiled(theta)
        return float(value), np.asarray(gradient)

    def record(intermediate_result: optimize.OptimizeResult) -> None:
        value = -float(intermediate_result.fun)
        trace.append((intermediate_result.x.copy(), value, time.perf_counter() - clock))
        report()

    options = {"maxiter": max_steps, "maxfun": 4 * max_steps, "ftol": 1e-12, "gtol": 1e-6}
    optimize.minimize(
        objective, start, jac=True, method="L-BFGS-B", callback=record, options=options
    )


def _losses(trace: list[tuple[np.ndarray, float, float]]) -> np.ndarray:
    return -np.array([value for _, value, _ in trace[1:]])


def _state(
    trace: list[tuple[np.ndarray, float, float]], method: str, density: LogDensity
) -> FitState:
    theta, value, seconds = trace[-1]
    return FitState(
        len(trace) - 1, value, seconds, method, density, lambda n: np.repeat(theta[None], n, axis=0)
    )


def _history(histories: list[np.ndarray]) -> xr.Dataset:
    """Log density and seconds per step; with a chain axis if there are several members."""
    length = max(len(h) for h in histories)
    padded = np.full((len(histories), length, 2), np.nan)
    for row, h in zip(padded, histories, strict=True):
        row[: len(h)] = h
    dataset = xr.Dataset(
        {
            "log_density": (("chain", "step"), padded[..., 0]),
            "seconds": (("chain", "step"), padded[..., 1]),
        },
        coords={"chain": np.arange(len(histories)), "step": np.arange(1, length + 1)},
    )
    return dataset.squeeze("chain", drop=True) if len(histories) == 1 else dataset
