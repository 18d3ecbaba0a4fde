"""The compiled loop of stochastic-gradient MCMC: many steps of a chain in one call."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bnnbook.density import compiled_once, density_key, precision
from bnnbook.inference.sgmcmc.gradients import (
    Estimate,
    control_variates,
    minibatch_likelihood,
    posterior_gradient,
)
from bnnbook.inference.sgmcmc.kernel import Arrays, Kernel, Step
from bnnbook.inference.sgmcmc.state import (
    Health,
    Kept,
    State,
    call_size,
    first_anchor,
    first_state,
    step_table,
)

if TYPE_CHECKING:
    from bnnbook.inference.sgmcmc.job import Job

__all__ = ["Compiled", "compile_loop"]

AHEAD_BYTES = 4e6  # noise drawn before a call's loop: many times as fast for few parameters
FEW = 10_000  # parameters for which to compute a thing is quicker than to branch around it
FELT = 1e-24  # share of its first squared norm at which a gradient counts as none


class Carry(NamedTuple):
    """What the loop carries from step to step."""

    state: State
    kept: Kept


@dataclass(frozen=True)
class Compiled:
    """Compiled functions for some chains at a time, with the data already in place.

    Attributes
    ----------
    advance : function (state, anchor, reference, keys, rows, table, count) -> (state, kept)
        All arguments but ``table`` and ``count`` have the chains first.
    full_likelihood : function (position) -> (value, gradient), or None
        Of all data, for control variates.
    steps, slots : int
        Most steps and most draws of one call.
    seconds : float
    """

    advance: Callable[..., tuple[State, Kept]]
    full_likelihood: Callable[[Arrays], tuple[Any, Arrays]] | None
    steps: int
    slots: int
    seconds: float


def _watch(health: Health, t: Any, estimate: Estimate) -> Health:
    """Take note of what is not finite, and of variables that the data say nothing about."""
    squares = jnp.stack([jnp.vdot(g, g) for g in estimate.likelihood])
    finite = jnp.isfinite(estimate.lp) & jnp.isfinite(squares).all()
    well, t = health.bad_step < 0, t.astype(jnp.int32)
    broken = well & ~finite
    first = jnp.where(t == 0, squares, health.first)
    return Health(
        bad_step=jnp.where(broken, t, health.bad_step),
        bad_leaf=jnp.where(broken, ~jnp.isfinite(squares), health.bad_leaf),
        first_lp=jnp.where(t == 0, estimate.lp, health.first_lp),
        last_lp=jnp.where(well & finite, estimate.lp, health.last_lp),
        first=first,
        felt=jnp.where(squares > FELT * first, t, health.felt),
    )


def _measured(position: Arrays, gradient: Arrays, reference: Arrays) -> tuple[Any, Any]:
    """Norm of the gradient, and minus its product with the way from the reference."""
    squares = jnp.stack([jnp.vdot(g, g) for g in gradient]).sum()
    products = [jnp.vdot(g, p - r) for g, p, r in zip(gradient, position, reference, strict=True)]
    return jnp.sqrt(squares), -jnp.stack(products).sum()


Normal = Callable[[Any], Any]
"""Normal numbers (D,) from a key."""


def _mover(job: Job, normal: Normal, *, ahead: bool) -> Callable[..., tuple]:
    """Function (state, gradient, table, i) -> (position, memory): the kernel's update of step i."""
    density, kernel = job.density, job.kernel
    # then the normal numbers, up to a third of a step's time, are not even drawn
    quiet_steps = not ahead and _has_quiet_steps(job)

    def moved(state: State, gradient: Arrays, table: dict, i: Any) -> tuple:
        step = Step(table["size"][i], table["temperature"][i], table["adapt"][i], density.N)
        still = functools.partial(
            kernel.update, state.position, state.memory, gradient, lambda _: 0.0, step
        )
        if kernel.temperature == 0:
            return still()

        def noisy() -> tuple:
            xi = table["noise"][i] if ahead else normal(table["key"][i])
            noise = list(density.split(xi).values())
            return kernel.update(
                state.position, state.memory, gradient, lambda leaf: noise[leaf], step
            )

        return jax.lax.cond(step.temperature > 0, noisy, still) if quiet_steps else noisy()

    return moved


def _has_quiet_steps(job: Job) -> bool:
    return not job.plan.noisy.all()


def _measure(
    job: Job, estimate: Estimate, state: State, reference: Arrays, taken: Any
) -> tuple[Any, Any]:
    def measure() -> tuple:
        return _measured(state.position, estimate.gradient, reference)

    if job.density.size <= FEW:  # a branch would cost more
        return measure()
    nothing = jnp.zeros((), job.dtype)
    return jax.lax.cond(taken, measure, lambda: (nothing, nothing))


def _no_draws(state: State, slots: int, buckets: int, dtype: Any) -> Kept:
    return Kept(
        position=tuple(jnp.zeros((slots, *p.shape), dtype) for p in state.position),
        lp=jnp.zeros(slots, dtype),
        grad_norm=jnp.zeros(slots, dtype),
        virial=jnp.zeros(slots, dtype),
        history=jnp.zeros(buckets, dtype),
    )


def _build_loop(
    job: Job, steps: int, slots: int, buckets: int
) -> Callable[..., tuple[State, Kept]]:
    """``advance`` of one chain, not compiled, with the data as its last argument."""
    density, batches, dtype = job.density, job.batches, job.dtype
    whole = [n == N for n, N in zip(batches.sizes, batches.lengths, strict=True)]
    ahead = steps * density.size * np.dtype(dtype).itemsize <= AHEAD_BYTES
    likelihood = minibatch_likelihood(batches)
    if job.kernel.control_variates:
        likelihood = control_variates(likelihood)
    estimate_at = posterior_gradient(density, likelihood)

    def batch_of(rows: tuple, i: Any, data: tuple) -> tuple:
        if all(whole):
            return data
        cut = iter(rows)
        return batches.take(data, tuple(slice(None) if w else next(cut)[i] for w in whole))

    def normal(key: Any) -> Any:
        return jax.random.normal(key, (density.size,), dtype)

    moved = _mover(job, normal, ahead=ahead)

    def advance(
        state: State, anchor: Any, reference: Arrays, key: Any, rows: tuple, table: dict,
        count: Any, data: tuple,
    ) -> tuple[State, Kept]:  # fmt: skip
        def one_step(i: Any, carry: Carry) -> Carry:
            state, kept = carry
            estimate = estimate_at(state.position, batch_of(rows, i, data), anchor)
            grad_norm, virial = _measure(job, estimate, state, reference, table["taken"][i])
            slot = table["slot"][i]
            kept = Kept(
                position=tuple(
                    k.at[slot].set(p) for k, p in zip(kept.position, state.position, strict=True)
                ),
                lp=kept.lp.at[slot].set(estimate.lp),
                grad_norm=kept.grad_norm.at[slot].set(grad_norm),
                virial=kept.virial.at[slot].set(virial),
                history=kept.history.at[table["bucket"][i]].set(estimate.lp),
            )
            health = _watch(state.health, table["step"][i], estimate)
            position, memory = moved(state, estimate.gradient, table, i)
            return Carry(State(position, memory, health), kept)

        # by step, so that blocks, processes and resumed runs draw the same numbers
        chain = jax.random.wrap_key_data(key, impl="threefry2x32")
        table = table | {"key": jax.vmap(jax.random.fold_in, (None, 0))(chain, table["step"])}
        if ahead:
            table["noise"] = jax.vmap(normal)(table["key"])
        kept = _no_draws(state, slots, buckets, dtype)
        end = jax.lax.fori_loop(0, count, one_step, Carry(state, kept))
        return end.state, end.kept

    return advance


def compile_loop(job: Job, together: int) -> Compiled:
    """Compile the loop for ``together`` chains, once for all models that differ in their data."""
    clock = time.perf_counter()
    steps, slots = call_size(job, together)
    kernel = job.kernel
    with precision(job.dtype):
        # the data are an argument: compiled code would hold, and take long over, a copy
        data = job.density.arrays(job.dtype)
        key = (
            "sgmcmc", together, steps, slots, job.history_every, np.dtype(job.dtype).name,
            job.batches.key, _has_quiet_steps(job), _rule(kernel),
            density_key(job.density, data),
        )  # fmt: skip
        compiled, compiled_full = compiled_once(
            key, lambda: _compiled(job, together, steps, slots, data)
        )

    def run(*arguments: Any) -> Any:
        return compiled(*arguments, data)

    def full(position: Arrays) -> Any:
        return compiled_full(position, data)

    own = full if kernel.control_variates else None
    return Compiled(run, own, steps, slots, time.perf_counter() - clock)


def _rule(kernel: Kernel) -> Hashable:
    """What decides the code of a kernel; one that is not of this package is never the same."""
    update = kernel.update
    if not getattr(update, "__module__", "").startswith("bnnbook."):
        return object()
    values = tuple(cell.cell_contents for cell in update.__closure__ or ())
    return update.__code__, values, kernel.temperature == 0, kernel.control_variates is None


def _compiled(job: Job, together: int, steps: int, slots: int, data: tuple) -> tuple[Any, Any]:
    """``advance`` with its chains first, and the likelihood of all data for control variates."""
    advance = _build_loop(job, steps, slots, steps // job.history_every + 2)

    def advance_one(
        state: Any, anchor: Any, reference: Any, keys: Any, rows: Any, *shared: Any
    ) -> Any:
        alone = jax.tree.map(lambda a: a[0], (state, anchor, reference, keys, rows))
        return jax.tree.map(lambda a: a[None], advance(*alone, *shared))

    state = first_state(job, job.starts[:together])
    rows = tuple(
        np.zeros((together, steps, n), np.int32)
        for n, N in zip(job.batches.sizes, job.batches.lengths, strict=True)
        if n < N
    )
    # mapping over one chain would only take longer to trace
    mapped = jax.vmap(advance, in_axes=(0, 0, 0, 0, 0, None, None, None))
    compiled = (
        jax.jit(mapped if together > 1 else advance_one)
        .lower(
            state, first_anchor(job, state.position), state.position,
            np.zeros((together, 2), np.uint32), rows, step_table(job, steps, 0, 1),
            np.int32(1), data,
        )
        .compile()
    )  # fmt: skip
    if not job.kernel.control_variates:
        return compiled, None
    value_and_grad = jax.vmap(jax.value_and_grad(job.whole.log_likelihood), in_axes=(0, None))
    return compiled, jax.jit(value_and_grad).lower(state.position, data).compile()
