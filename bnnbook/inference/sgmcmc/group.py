"""The run of some chains together: their state, their draws, their checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from bnnbook.checks import DivergedError
from bnnbook.inference.sgmcmc.checkpoint import checkpoint_path, read_checkpoint, write_checkpoint
from bnnbook.inference.sgmcmc.draw_store import MemoryDraws, Values
from bnnbook.inference.sgmcmc.gradients import Anchor
from bnnbook.inference.sgmcmc.job import Job
from bnnbook.inference.sgmcmc.loop import Compiled
from bnnbook.inference.sgmcmc.state import (
    Epochs,
    Health,
    Kept,
    State,
    first_anchor,
    first_state,
    step_table,
)

__all__ = ["Group", "Sink", "chain_key", "unprefixed"]

BLOCK_SECONDS = 0.5  # aim of a call's length: between two looks at the bar and at Ctrl-C


class Sink(Protocol):
    """Where draws go."""

    def write(self, chains: range, start: int, values: Values, stats: Values) -> None:
        """Put new draws (chains, new, ...) of some chains in their place."""


def chain_key(seed: int, chain: int) -> np.ndarray:
    """Key of one chain's noise, (2,) uint32."""
    return np.random.SeedSequence(seed, spawn_key=(chain,)).generate_state(2)


class Group:
    """Chains that advance together, a task of the runner.

    Parameters
    ----------
    chains : range
        Their numbers.
    memory : MemoryDraws
        Their statistics, and their draws if there is no store.
    constrain : function of unconstrained draws (chains, new, D) that gives the free variables
    store : Sink, optional
    """

    def __init__(
        self, job: Job, compiled: Compiled, chains: range, memory: MemoryDraws,
        constrain: Callable[[np.ndarray], Values], store: Sink | None = None,
    ) -> None:  # fmt: skip
        self.job, self.chains = job, chains
        self._compiled, self._memory, self._store = compiled, memory, store
        self._constrain = constrain
        self._keys = np.stack([chain_key(job.seed, c) for c in chains])
        self.state: State = first_state(job, job.starts[chains.start : chains.stop])
        self._anchor = first_anchor(job, self.state.position)
        self._reference = self.state.position
        # where it is renewed: the way from there to a draw is then that of a chain at rest
        self._renew = {job.tune} - {0}
        if job.draws > 1:
            self._renew.add(int(job.plan.draw_at[job.draws // 2 - 1]))
        self.history: np.ndarray = np.empty(
            (len(chains), -(-job.plan.steps // job.history_every)), job.dtype
        )
        self._step, self.drawn, self.lp = 0, 0, float("nan")
        cut = [
            (k, n, N)
            for k, (n, N) in enumerate(zip(job.batches.sizes, job.batches.lengths, strict=True))
            if n < N
        ]
        self._epochs = [
            [Epochs(n, N, seed=job.seed, chain=c, axis=k) for c in chains] for k, n, N in cut
        ]
        self._pace = 16  # steps of the next call, adapted to BLOCK_SECONDS
        self._saved = time.perf_counter()
        if job.checkpoint is not None:
            self._resume(job.checkpoint)

    @property
    def done(self) -> bool:
        """Whether every draw is there: one step after the last update sees where it led."""
        return self._step > self.job.plan.steps

    @property
    def ready(self) -> int:
        """Updates of each chain whose outcome is in ``history``."""
        return max(self._step - 1, 0)

    @property
    def steps(self) -> int:
        """Updates done, of all chains together."""
        return self.ready * len(self.chains)

    def advance(self) -> None:
        """Run one compiled call and take its draws."""
        job, begin, count = self.job, self._step, self._next_count()
        clock = time.perf_counter()
        table = step_table(job, self._compiled.steps, begin, count)
        with jax.enable_x64(job.dtype == np.float64):  # of this thread
            if job.kernel.control_variates and begin % job.kernel.control_variates == 0:
                assert self._compiled.full_likelihood is not None
                position = self.state.position
                self._anchor = Anchor(position, *self._compiled.full_likelihood(position))
            if begin in self._renew:
                self._reference = self.state.position
            state, kept = self._compiled.advance(
                self.state, self._anchor, self._reference, self._keys, self._rows(begin, count),
                table, np.int32(count),
            )  # fmt: skip
            self._check(Health(*(np.asarray(a) for a in state.health)))
            seconds = time.perf_counter() - clock
            self._take(kept, begin, count)
        pace = count * BLOCK_SECONDS / max(seconds, 1e-6)
        self._pace = max(1, int(np.clip(pace, count / 2, 4 * count + 1)))
        self.state = state
        self.lp = float(np.asarray(state.health.last_lp)[0])
        self._step = begin + count  # last: other threads read what is ready
        due = time.perf_counter() - self._saved > job.checkpoint_every
        if self.done or due:
            self.save()

    def save(self) -> None:
        """Write each chain's state and draws so far; an old file stays until a new one is whole."""
        if self.job.checkpoint is None:
            return
        leaves = jax.tree.leaves(self._saved_state())
        for j, chain in enumerate(self.chains):
            arrays = {f"state_{i}": np.asarray(leaf)[j] for i, leaf in enumerate(leaves)}
            draws = self._memory.of_chain(chain, self.drawn)
            history = self.history[j, : -(-self.ready // self.job.history_every)]
            write_checkpoint(
                checkpoint_path(self.job.checkpoint, chain),
                self.job.run,
                {**arrays, **prefixed(draws), "history": history, "step": np.array(self._step)},
            )
        self._saved = time.perf_counter()

    def _next_count(self) -> int:
        """Steps of the next call: no more than the buffer holds, up to the next stop."""
        job, begin, plan = self.job, self._step, self.job.plan
        count = min(self._pace, self._compiled.steps, plan.steps + 1 - begin)
        last = self.drawn + self._compiled.slots - 1  # the last draw that has a slot
        if last < job.draws:
            count = min(count, int(plan.draw_at[last]) + 1 - begin)
        every = job.kernel.control_variates
        if every:
            count = min(count, every - begin % every)
        return min(count, *(stop - begin for stop in self._renew if stop > begin), count)

    def _rows(self, begin: int, count: int) -> tuple[np.ndarray, ...]:
        """Rows of each batch, (chains, steps, n), on each axis that is cut."""
        rows = []
        for epochs in self._epochs:
            axis = np.zeros((len(self.chains), self._compiled.steps, epochs[0].n), np.int32)
            for j, chain in enumerate(epochs):
                chain.fill(axis[j, :count], begin)
            rows.append(axis)
        return tuple(rows)

    def _take(self, kept: Kept, begin: int, count: int) -> None:
        """Put new draws, statistics and history in their places."""
        job = self.job
        first = max(begin - 1, 0) // job.history_every
        last = max(begin + count - 2, 0) // job.history_every + 1
        self.history[:, first:last] = np.asarray(kept.history)[:, : last - first]
        drawn = int(np.searchsorted(job.plan.draw_at, begin + count - 1, side="right"))
        new = drawn - self.drawn
        if not new:
            return
        flat = [np.asarray(p)[:, :new].reshape(len(self.chains), new, -1) for p in kept.position]
        values = self._constrain(np.concatenate(flat, axis=-1))
        stats = {
            "lp": np.asarray(kept.lp)[:, :new],
            "grad_norm": np.asarray(kept.grad_norm)[:, :new],
            "configurational_temperature": np.asarray(kept.virial)[:, :new] / job.density.size,
        }
        for name, value in values.items():
            finite = np.isfinite(value.reshape(len(self.chains), -1)).all(axis=1)
            if not finite.all():
                raise DivergedError(
                    f"chain {self.chains[int(np.argmin(finite))]} has run away: draws of {name} "
                    f"are no longer finite by step {begin + count}. A smaller step size may help"
                )
        self._memory.write(self.chains, self.drawn, values, stats)
        if self._store is not None:
            self._store.write(self.chains, self.drawn, values, stats)
        self.drawn = drawn

    def _saved_state(self) -> Any:
        return self.state, self._anchor, self._reference

    def _resume(self, folder: Path) -> None:
        """Go on from the checkpoints of these chains, if there are any."""
        paths = [checkpoint_path(folder, chain) for chain in self.chains]
        saved = [read_checkpoint(path, self.job.run) for path in paths]
        steps = {0 if s is None else int(s["step"]) for s in saved}
        if len(steps) > 1:
            raise ValueError(
                f"the chains of checkpoint {folder} are at different steps, {sorted(steps)}: "
                "go on with chain_method='parallel'"
            )
        if steps == {0}:
            return
        old, structure = jax.tree.flatten(self._saved_state())
        leaves = [
            np.stack([s[f"state_{i}"] for s in saved if s is not None]) for i in range(len(old))
        ]
        self.state, self._anchor, self._reference = jax.tree.unflatten(structure, leaves)
        self._step = steps.pop()
        for j, (chain, arrays) in enumerate(zip(self.chains, saved, strict=True)):
            assert arrays is not None
            draws = unprefixed(arrays)
            self._memory.restore(chain, draws)
            self.history[j, : len(arrays["history"])] = arrays["history"]
            self.drawn = len(draws["lp"])

    def _check(self, health: Health) -> None:
        bad = np.flatnonzero(health.bad_step >= 0)
        if not len(bad):
            return
        j, names = int(bad[0]), self.job.density.names
        where = [name for name, flag in zip(names, health.bad_leaf[j], strict=True) if flag]
        step = int(health.bad_step[j])
        raise DivergedError(
            f"chain {self.chains[j]} diverged at step {step + 1} of {self.job.plan.steps}: "
            f"gradient not finite in {', '.join(where) or 'none, but the log density is'}; "
            f"last finite log density {health.last_lp[j]:.6g}. A smaller step size than "
            f"{self.job.plan.step_size[min(step, self.job.plan.steps - 1)]:.3g} may help"
        )


def prefixed(arrays: Values) -> Values:
    return {f"draws_{name}": a for name, a in arrays.items()}


def unprefixed(arrays: Values) -> Values:
    return {
        name.removeprefix("draws_"): a for name, a in arrays.items() if name.startswith("draws_")
    }
