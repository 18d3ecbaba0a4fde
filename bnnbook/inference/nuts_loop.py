"""NUTS and its warm-up in one compiled loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bnnbook.density import LogDensity, given_data

__all__ = ["DRAW", "IDLE", "State", "nuts_loop", "tied_variances", "warm_up_phases"]

DRAW, FAST, SLOW, WINDOW_END, LAST, IDLE = range(6)  # what an iteration adapts
STAN = 75, 25, 50  # iterations of Stan's first, second and last windows


class State(NamedTuple):
    """A chain and its adaptation."""

    chain: Any
    step_size: jax.Array
    averaging: Any
    mass: Any


def tied_variances(density: LogDensity, dims: Sequence[str], dense_mass: bool) -> np.ndarray | None:
    """Number of the variance that each of the D parameters shares; None if each has its own."""
    known = {dim for names in density.dims.values() for dim in names if dim is not None}
    if isinstance(dims, str) or not set(dims) <= known:
        raise ValueError(
            f"exchangeable must be a sequence of dims of the free variables, {sorted(known)}; "
            f"got {dims!r}"
        )
    if not dims:
        return None
    if dense_mass:
        raise ValueError("exchangeable needs a diagonal mass matrix, got dense_mass=True")
    numbers, count = [], 0
    for names, shape in zip(density.dims.values(), density.shapes, strict=True):
        labels = names or (None,) * len(shape)
        own = [1 if dim in dims else n for dim, n in zip(labels, shape, strict=True)]
        number = count + np.arange(np.prod(own, dtype=int)).reshape(own)
        numbers.append(np.broadcast_to(number, shape).ravel())
        count += number.size
    return np.concatenate(numbers)


def warm_up_phases(blackjax: ModuleType, tune: int) -> np.ndarray:
    """Phase of each iteration of the warm-up, in Stan's windows but for a longer last one.

    It sets the step size. Stan's 50 iterations leave that of one chain up to twice another's, and
    a chain that is unlucky diverges by the hundred: it has a fifth of ``tune``, and Stan's 50 at
    least where ``tune`` has room for Stan's windows. A shorter one is cut as Stan cuts it, 15 % for
    the first window, and 20 % for the last.
    """
    if tune >= sum(STAN):
        first, second, last = STAN[0], STAN[1], max(STAN[2], tune // 5)
    else:
        first, last = int(0.15 * tune), tune // 5
        second = tune - first - last
    schedule = blackjax.adaptation.window_adaptation.build_schedule(
        tune, initial_buffer_size=first, first_window_size=second, final_buffer_size=last
    )
    windows = np.asarray(schedule)
    phases = np.where(windows[:, 0] == 0, FAST, np.where(windows[:, 1] == 0, SLOW, WINDOW_END))
    phases[-1] = LAST  # a fast one: the windows of the mass matrix end before
    return phases


def nuts_loop(
    blackjax: ModuleType,
    density: LogDensity,
    target_accept: float,
    dense_mass: bool,
    tied: np.ndarray | None,
    max_depth: int,
) -> tuple[Callable[..., State], Callable[..., tuple]]:
    """``begin(theta, data)`` and ``advance(state, keys, phases, data)``, one block.

    The same compiled code warms up and draws: NUTS takes seconds to compile, and the adaptation
    next to nothing.
    """
    kernel = blackjax.nuts.build_kernel()
    start, adapt = _adaptation(blackjax, density.size, target_accept, dense_mass, tied)

    def begin(theta: jax.Array, data: tuple) -> State:
        return start(blackjax.nuts.init(theta, lambda t: density.log_density(t, data)))

    def advance(state: State, keys: jax.Array, phases: jax.Array, data: tuple) -> tuple:
        target = given_data(density.log_density, state.chain.position, data)

        def move(state: State, key: jax.Array, phase: jax.Array) -> tuple:
            chain, info = kernel(
                key, state.chain, target, state.step_size,
                state.mass.inverse_mass_matrix, max_num_doublings=max_depth,
            )  # fmt: skip
            deepest = info.num_trajectory_expansions >= max_depth
            state = jax.lax.switch(phase, adapt, state._replace(chain=chain), info.acceptance_rate)
            return state, {
                "theta": chain.position,
                "lp": chain.logdensity,
                "diverging": info.is_divergent,
                "n_steps": info.num_integration_steps,
                "tree_depth": info.num_trajectory_expansions,
                "reached_max_treedepth": deepest & ~info.is_turning & ~info.is_divergent,
                "acceptance_rate": info.acceptance_rate,
                "energy": info.energy,
            }

        example = jax.eval_shape(move, state, keys[0], phases[0])[1]

        def rest(state: State, *_: jax.Array) -> tuple:
            return state, jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), example)

        def one(state: State, step: tuple) -> tuple:
            key, phase = step
            return jax.lax.cond(phase == IDLE, rest, move, state, key, phase)

        return jax.lax.scan(one, state, (keys, phases))

    return begin, advance


def _adaptation(
    blackjax: ModuleType,
    size: int,
    target_accept: float,
    dense_mass: bool,
    tied: np.ndarray | None,
) -> tuple[Callable[[Any], State], list[Callable[..., State]]]:
    """The first state of a chain, and what each phase does with (state, acceptance)."""
    adaptation = blackjax.adaptation
    new_mass, update_mass, final_mass = adaptation.mass_matrix.mass_matrix_adaptation(
        not dense_mass
    )
    new_averaging, update_averaging, final_step_size = (
        adaptation.step_size.dual_averaging_adaptation(target_accept)
    )

    def start(chain: Any) -> State:
        one = jnp.ones((), chain.position.dtype)
        return State(chain, one, new_averaging(one), new_mass(size))

    def fast(state: State, acceptance: jax.Array) -> State:
        averaging = update_averaging(state.averaging, acceptance)
        return state._replace(step_size=jnp.exp(averaging.log_step_size), averaging=averaging)

    def slow(state: State, acceptance: jax.Array) -> State:
        mass = update_mass(state.mass, state.chain.position)
        return fast(state, acceptance)._replace(mass=mass)

    def window_end(state: State, acceptance: jax.Array) -> State:
        state = slow(state, acceptance)
        averaging = new_averaging(final_step_size(state.averaging))
        step_size = jnp.exp(averaging.log_step_size)
        mass = final_mass(state.mass)
        if tied is not None:
            variance = mass.inverse_mass_matrix
            total = jax.ops.segment_sum(variance, jnp.asarray(tied), size)
            mean = total / np.bincount(tied, minlength=size).clip(1)
            mass = mass._replace(inverse_mass_matrix=mean[tied].astype(variance.dtype))
        return State(state.chain, step_size, averaging, mass)

    def last(state: State, acceptance: jax.Array) -> State:
        state = fast(state, acceptance)
        return state._replace(step_size=final_step_size(state.averaging))

    def draw(state: State, _: jax.Array) -> State:
        return state

    phases = {DRAW: draw, FAST: fast, SLOW: slow, WINDOW_END: window_end, LAST: last, IDLE: draw}
    return start, [phases[phase] for phase in range(len(phases))]
