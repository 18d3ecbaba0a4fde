"""What a chain is between two steps, and what the steps of one compiled call need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from bnnbook.inference.sgmcmc.gradients import Anchor
from bnnbook.inference.sgmcmc.kernel import Arrays

if TYPE_CHECKING:
    from bnnbook.inference.sgmcmc.job import Job

__all__ = [
    "Epochs",
    "Health",
    "Kept",
    "State",
    "call_size",
    "first_anchor",
    "first_state",
    "step_table",
]

BLOCK = 1024  # most steps in one compiled call
BUFFER_BYTES = 8e6  # draws held inside one call
ORDER_ROWS = 2**17  # rows shuffled at a time


class Health(NamedTuple):
    """What went wrong in a chain, and when; each leaf is one unconstrained variable."""

    bad_step: Any  # first step whose log density or gradient is not finite; -1 if none
    bad_leaf: Any  # (leaves,) where the gradient was not
    first_lp: Any  # log density at the start
    last_lp: Any  # last finite log density
    first: Any  # (leaves,) squared norm of the likelihood's gradient at the start
    felt: Any  # (leaves,) last step at which the likelihood had a gradient; -1 if it never had


class State(NamedTuple):
    """A chain between two steps."""

    position: Arrays
    memory: Arrays
    health: Health


class Kept(NamedTuple):
    """What one call hands over: draws by slot, and the history by bucket."""

    position: Arrays
    lp: Any
    grad_norm: Any
    virial: Any
    history: Any


def call_size(job: Job, together: int) -> tuple[int, int]:
    """Steps and slots of one call, whose draws fit the buffer."""
    held = int(BUFFER_BYTES // (job.density.size * np.dtype(job.dtype).itemsize * together))
    steps = min(BLOCK, job.plan.steps + 1, job.kernel.control_variates or BLOCK)
    slots = max(1, min(held, -(-steps // job.thin) + 1, job.draws))
    return (steps if slots == job.draws else min(steps, slots * job.thin)), slots


def step_table(job: Job, length: int, first: int, count: int) -> dict[str, np.ndarray]:
    """What each of the next ``count`` steps needs, padded to ``length``.

    Step t begins where t updates have led: a draw that is taken after t updates is recorded there,
    together with the log density and the gradient that step t computes anyway. So there is one step
    more than updates count, whose own update goes nowhere.
    """
    plan, t = job.plan, first + np.arange(length)
    used = np.minimum(t, plan.steps - 1)
    earlier = np.searchsorted(plan.draw_at, t, side="left")  # draws before this position
    taken = plan.draw_at[np.minimum(earlier, job.draws - 1)] == t
    bucket = np.maximum(t - 1, 0) // job.history_every
    padding = np.arange(length) >= count
    return {
        "step": t.astype(np.uint32),
        "size": plan.step_size[used].astype(job.dtype),
        "temperature": (job.kernel.temperature * plan.noisy[used]).astype(job.dtype),
        "adapt": (t < job.tune).astype(job.dtype),
        "slot": np.where(padding, 0, earlier - earlier[0]).astype(np.int32),
        "taken": taken & ~padding,
        "bucket": np.where(padding, 0, bucket - bucket[0]).astype(np.int32),
    }


def first_state(job: Job, starts: np.ndarray) -> State:
    """Chains (chains, D) before their first step, as NumPy arrays (chains, ...)."""
    chains = len(starts)
    position = tuple(np.ascontiguousarray(p) for p in job.density.split(starts).values())
    leaves = len(position)
    health = Health(
        bad_step=np.full(chains, -1, np.int32),
        bad_leaf=np.zeros((chains, leaves), bool),
        first_lp=np.full(chains, np.nan, job.dtype),
        last_lp=np.full(chains, np.nan, job.dtype),
        first=np.zeros((chains, leaves), job.dtype),
        felt=np.full((chains, leaves), -1, np.int32),
    )
    memory = jax.tree.map(lambda m: np.asarray(m, job.dtype), tuple(job.kernel.init(position)))
    return State(position, memory, health)


def first_anchor(job: Job, position: Arrays) -> Anchor | tuple[()]:
    """Room for an anchor of control variates, if there are any."""
    if not job.kernel.control_variates:
        return ()
    chains = len(position[0])
    return Anchor(position, np.zeros(chains, job.dtype), tuple(np.zeros_like(p) for p in position))


class Epochs:
    """Batches of ``n`` of ``N`` rows for one chain, on one axis of rows.

    The rows of step t depend on the seed, the chain, the axis and t alone. The last N mod n rows
    of an epoch's order are left out.
    """

    def __init__(self, n: int, N: int, *, seed: int, chain: int, axis: int) -> None:
        self.n, self.N = n, N
        self._seed, self._key = seed, (chain, axis)
        self._epochs = int(np.clip(ORDER_ROWS // N, 1, 64))  # shuffled together
        self._stretch = self._epochs * (N // n)  # batches in them
        self._part, self._batches = -1, np.empty((0, n), np.int32)

    def fill(self, rows: np.ndarray, first: int) -> None:
        """Put the rows of steps ``first``, ``first`` + 1, ... into ``rows`` (steps, n)."""
        done = 0
        while done < len(rows):
            part, place = divmod(first + done, self._stretch)
            batches = self._of(part)[place : place + len(rows) - done]
            rows[done : done + len(batches)] = batches
            done += len(batches)

    def _of(self, part: int) -> np.ndarray:
        if part != self._part:
            stream = np.random.SeedSequence(self._seed, spawn_key=(*self._key, part))
            order = np.tile(np.arange(self.N, dtype=np.int32), (self._epochs, 1))
            np.random.default_rng(stream).permuted(order, axis=1, out=order)
            order = order[:, : self.N // self.n * self.n]
            self._part, self._batches = part, order.reshape(-1, self.n)
        return self._batches
