"""Point estimates: maximum likelihood, posterior mode, and deep ensembles of modes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from bnnbook.checks import DivergedError, positive_int, seed_int
from bnnbook.density import (
    LogDensity,
    check_indices,
    check_start,
    compile_log_density,
)
from bnnbook.inference.arrival import away
from bnnbook.inference.callbacks import Callback, Reporter
from bnnbook.inference.climbs import Climbs, climb_on
from bnnbook.inference.docs import with_shared_docs
from bnnbook.inference.executors import check_executor
from bnnbook.inference.held_out import HeldOut, hold_out
from bnnbook.inference.point_fit import Objective, PointFit, fit_from, joined_history
from bnnbook.inference.progress import Update, note, progress_bar
from bnnbook.inference.results import posterior_dataset, result_tree
from bnnbook.inference.verdict import collapsed_noise

__all__ = ["fit_ensemble", "fit_map", "fit_mle"]

MAX_STEPS = 2000


@with_shared_docs
def fit_mle(
    model: pm.Model,
    *,
    n_starts: int = 1,
    max_steps: int = MAX_STEPS,
    callbacks: Sequence[Callback] = (),
    executor: Executor | None = None,
    seed: int,
    progressbar: bool = True,
) -> xr.DataTree:
    """Maximise the likelihood alone with L-BFGS, from ``n_starts`` random starts.

    With separable data a network's likelihood has no maximum: weights grow until ``max_steps``.
    See :func:`fit_map` for the rest.

    Parameters
    ----------
    model : pymc.Model
    n_starts, max_steps : int
    {callbacks}
    {executor}
    {seed}
    {progressbar}
    """
    settings = {"n_starts": n_starts, "max_steps": max_steps, "jacobian": False}
    return _fit(
        model, "mle", settings, 1, n_starts, max_steps, callbacks, seed, progressbar,
        prior=False, executor=executor,
    )  # fmt: skip


@with_shared_docs
def fit_map(
    model: pm.Model,
    *,
    n_starts: int = 1,
    max_steps: int = MAX_STEPS,
    jacobian: bool = False,
    callbacks: Sequence[Callback] = (),
    executor: Executor | None = None,
    seed: int,
    progressbar: bool = True,
) -> xr.DataTree:
    """Maximise log prior + log likelihood with L-BFGS (Liu and Nocedal 1989).

    The fit has arrived if it is within .01 posterior standard deviations of the mode, as the Newton
    decrement tells. Where L-BFGS stops before, as on the narrow ridges of nearly collinear inputs,
    a model of up to 256 parameters goes on with Newton's steps. Larger ones get a lower bound on
    the distance from conjugate gradients, and a :class:`ConvergenceWarning` if it is more. At
    kinks, such as rectifiers make, no distance is told.

    Parameters
    ----------
    model : pymc.Model
        Any model without discrete free variables or ``pm.Minibatch`` data.
    n_starts : int
        Starts drawn at random; the best is kept.
    max_steps : int
        Iterations per start. A result that needs more says so, see :class:`ConvergenceWarning`.
    jacobian : bool
        False gives the mode in the model's own parameters, as ``pm.find_MAP``; True the mode on
        the unconstrained space, where samplers work.
    {callbacks}
        Here after every iteration; ``StopIteration`` ends one start.
    {executor}
    {seed}
    {progressbar}

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
        For an argument out of range, or a log density that is not finite at a start.
    """
    settings = {"n_starts": n_starts, "max_steps": max_steps, "jacobian": jacobian}
    return _fit(
        model, "map", settings, 1, n_starts, max_steps, callbacks, seed, progressbar,
        jacobian=jacobian, executor=executor,
    )  # fmt: skip


@with_shared_docs
def fit_ensemble(
    model: pm.Model,
    *,
    n_members: int = 5,
    max_steps: int | None = None,
    validation: float | None = None,
    callbacks: Sequence[Callback] = (),
    executor: Executor | None = None,
    seed: int,
    progressbar: bool = True,
) -> xr.DataTree:
    """Deep ensemble (Lakshminarayanan et al. 2017): ascents to posterior modes from the prior.

    Each member starts at its own draw from the prior. Where the data say little, members that
    stop early, after a small ``max_steps``, differ more than members that have arrived.

    The mode of a flexible regression may interpolate its rows, with a noise scale near zero. So
    each member first climbs with a share of the rows held out, other rows for each. If the log
    likelihood of those has fallen from its best, the member is the best point of that climb (early
    stopping, Prechelt 1998); else it climbs on to the mode given all rows. A ``max_steps`` of your
    own decides by itself when to stop, and holds out nothing unless ``validation`` asks for it.

    Parameters
    ----------
    model : pymc.Model
    n_members : int
    max_steps : int, optional
        Iterations of a member in all, 2000 by default.
    validation : float, optional
        Share of the rows to hold out, below 1/2; 0 holds out none. Without ``max_steps`` it is by
        default .1, or what gives 20 rows up to .25, where an observed variable is continuous, so
        that its density can grow without bound, and there are 20 rows that can be cut.
    {callbacks}
        Here after every iteration; ``StopIteration`` ends one member.
    {executor}
    {seed}
    {progressbar}

    Returns
    -------
    xarray.DataTree
        One member per chain, with one draw each; ``history`` has a ``chain`` axis too, padded with
        NaN where a member finished early, and holds what was climbed: the log density given the
        rows not held out, scaled to all, then that given all rows. ``sample_stats`` has
        ``stopped_early`` (1 or 0). See :func:`fit_map` for the rest.

    Raises
    ------
    ValueError
        Also if the prior cannot be sampled, as that of ``pm.Flat``.
    """
    n_members = positive_int("n_members", n_members)
    if max_steps is None:
        max_steps = MAX_STEPS
    elif validation is None:
        validation = 0.0
    settings = {"n_starts": n_members, "max_steps": max_steps, "jacobian": False}
    return _fit(
        model, "ensemble", settings, n_members, n_members, max_steps, callbacks, seed, progressbar,
        jitter=np.inf, validation=validation, holds_out=True, executor=executor,
    )  # fmt: skip


def _fit(
    model: pm.Model, method: str, settings: dict[str, Any], keep: int, n_starts: int,
    max_steps: int, callbacks: Sequence[Callback], seed: int, progressbar: bool, *,
    prior: bool = True, jacobian: bool = False, jitter: float = 1.0,
    validation: float | None = None, holds_out: bool = False, executor: Executor | None = None,
) -> xr.DataTree:  # fmt: skip
    """Climb from every start and keep the ``keep`` best, in the order of their starts."""
    n_starts, max_steps = positive_int("n_starts", n_starts), positive_int("max_steps", max_steps)
    seed = seed_int(seed)
    if executor is not None:
        check_executor(executor, callbacks)
    density = compile_log_density(model, jacobian=jacobian)
    if density.batch_size is not None:
        raise ValueError("model has pm.Minibatch data; an optimum needs the full data")
    held_out = hold_out(density, validation, seed) if holds_out else None
    if holds_out:
        settings["validation"] = held_out.share if held_out else 0.0
    starts = density.initial_points(n_starts, jitter=jitter, seed=seed)
    check_indices(density)
    objective = Objective(density, prior=prior)
    if not all(np.isfinite(objective.value_and_gradient(start)[0]) for start in starts):
        check_start(density, starts)  # names what is not finite
    clock, compiled_before = time.perf_counter(), objective.compile_seconds
    if executor is not None:
        share = settings["validation"] if held_out else None
        job = Climbs(model, starts, max_steps, method, prior, jacobian, share, seed)
        fits, interrupted = climb_on(executor, job, progressbar)
        if not fits:
            raise KeyboardInterrupt(f"{method}: no start had finished")
    else:
        reporters = partial(Reporter, callbacks, method=method, settings=settings)
        with progress_bar(
            method, n_starts * max_steps, show=progressbar, value_name="log density"
        ) as update:
            fits = _climb_from_all(
                objective, starts, max_steps, reporters, update, held_out, method
            )
        interrupted = False
    interrupted |= any(fit.ended == "interrupted" for fit in fits)
    compiled_later = objective.compile_seconds - compiled_before
    seconds = time.perf_counter() - clock - compiled_later
    kept = _best(fits, keep, n_starts)
    if interrupted:
        done = len(fits) if keep > 1 else 1
        note(f"{method}: interrupted in start {len(fits)} of {n_starts}; kept {done} of them")
    stats = {"lp": np.array([[fit.value] for fit in kept])}
    if holds_out:
        stats["stopped_early"] = np.array([[int(fit.stopped_early)] for fit in kept])
    return result_tree(
        density, posterior_dataset(density, np.array([fit.theta for fit in kept])[:, None]),
        sample_stats=stats, method=method, settings=settings, seed=seed,
        n=density.N, seconds=seconds, compile_seconds=objective.compile_seconds,
        history=joined_history([fit.history for fit in kept]),
        attrs={"interrupted": int(interrupted)},
        problems=_problems(kept, density, method, max_steps, held_out is None),
    )  # fmt: skip


def _climb_from_all(
    objective: Objective, starts: np.ndarray, max_steps: int, reporters: Any, update: Update,
    held_out: HeldOut | None, method: str,
) -> list[PointFit]:  # fmt: skip
    fits: list[PointFit] = []
    for number, start in enumerate(starts):

        def progress(step: int, value: float, before: int = number * max_steps) -> None:
            update(before + step, value)

        member = None if held_out is None else held_out.member(number)
        fits.append(fit_from(objective, start, max_steps, method, reporters(), progress, member))
        if fits[-1].ended == "interrupted":
            break
    return fits


def _best(fits: list[PointFit], keep: int, n_starts: int) -> list[PointFit]:
    values = np.array([fit.value for fit in fits])
    finite = np.isfinite(values)
    if not finite.any():
        raise DivergedError(f"the log density was not finite from any of the {n_starts} starts")
    order = np.argsort(np.where(finite, values, -np.inf))[::-1][:keep]
    return [fits[i] for i in sorted(order) if finite[i]]


def _problems(
    fits: list[PointFit], density: LogDensity, method: str, max_steps: int, unchecked: bool
) -> list[str]:
    """What kept the fits from arriving; noise too, if no rows held out have checked it."""
    problems = []
    short = [fit for fit in fits if fit.ended == "out of steps"]
    far = [fit for fit in fits if fit.ended == "short"]
    among = f" of {len(fits)} members" if method == "ensemble" else ""
    if short:
        slope = max(fit.gradient for fit in short)
        whose = f"{len(short)}{among}" if among else "L-BFGS"
        problems.append(
            f"{whose} had used all {max_steps} steps before the gradient vanished (its largest "
            f"component is {slope:.2g}): raise max_steps, or bring the inputs to similar scales."
        )
    if far:
        whose = f"{len(far)}{among}" if among else "The climb"
        problems.append(f"{whose} ended {away(max(fit.distance for fit in far))}")
    texts = (collapsed_noise(density, fit.theta) for fit in fits if unchecked)
    collapsed = next((text for text in texts if text is not None), None)
    return problems if collapsed is None else [*problems, collapsed]
