"""Rows held out of a climb, to stop it before it fits its own rows too closely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bnnbook.density import (
    LogDensity,
    Minibatches,
    compiled_once,
    cut,
    density_key,
    precision,
)
from bnnbook.inference.climb import climb

__all__ = ["HeldOut", "Member", "hold_out"]

SHARE = 0.1  # of the rows, and at least
ENOUGH = 20  # rows, but not more than
MOST = 0.25
FEWEST_ROWS = 20
EVERY = 5  # iterations between two looks at the rows held out
PATIENCE = 100  # iterations after the best look before a climb that has got worse is stopped
CLIP = 3.0  # nats: what one row may say for or against stopping
TOO_FAR = 2.0  # nats lost: few well-determined parameters lose their number times SHARE, at most

Record = Callable[[np.ndarray, float], None]


def hold_out(density: LogDensity, share: float | None, seed: int) -> HeldOut | None:
    """Decide how many rows to hold out of the climbs of an ensemble; None for no rows.

    Raises
    ------
    ValueError, TypeError
        If ``share`` is no number in [0, 1/2), or is given for a model whose rows cannot be cut.
    """
    if share is not None:
        if isinstance(share, bool) or not isinstance(share, int | float | np.floating):
            raise TypeError(f"validation must be a number, got {share!r}")
        if not 0 <= share < 0.5:
            raise ValueError(f"validation must lie in [0, 1/2), got {share}")
    bounded = all(rv.dtype.startswith(("int", "bool", "uint")) for rv in density.model.observed_RVs)
    if share == 0 or (share is None and bounded):
        return None
    try:
        longest = max(cut(density, None).lengths)
        if longest < (FEWEST_ROWS if share is None else 2):
            raise ValueError(f"validation needs at least 2 rows, got {longest}")
        of_rows = max(SHARE, min(MOST, ENOUGH / longest)) if share is None else share
        n_out = max(1, round(longest * of_rows))
        batches = cut(density, longest - n_out)
    except ValueError:
        if share is None:
            return None
        raise
    return HeldOut(density, batches, n_out, n_out / longest, seed)


@dataclass(frozen=True)
class HeldOut:
    """How to hold ``n_out`` rows of the longest row axis out of each member's climb."""

    density: LogDensity
    batches: Minibatches
    n_out: int
    share: float
    seed: int

    def member(self, number: int) -> Member:
        """The rows of one member, drawn anew for each."""
        k = int(np.argmax(self.batches.lengths))
        order = np.random.default_rng([self.seed, number]).permutation(self.batches.lengths[k])
        whole = [np.arange(n) for n in self.batches.lengths]
        inside, outside = list(whole), list(whole)
        inside[k], outside[k] = np.sort(order[self.n_out :]), np.sort(order[: self.n_out])
        return Member(self, tuple(inside), tuple(outside))

    def log_likelihoods(self, rows: tuple[np.ndarray, ...]) -> Callable[[np.ndarray], np.ndarray]:
        """Function theta -> (n_out,): log likelihood of each row held out, over all it has."""
        density, longest = self.density, max(self.batches.lengths)
        with precision("float64"):
            data = density.arrays()
            batch = self.batches.take(data, tuple(jnp.asarray(r) for r in rows))
            theta = jnp.zeros(density.size)
            shapes = jax.eval_shape(density.pointwise, theta, data)
        names = [n for n, a in shapes.items() if a.ndim and a.shape[0] == longest]

        def by_row(theta: jax.Array, batch: tuple) -> jax.Array:
            terms = density.pointwise(theta, batch)
            return sum(terms[name].reshape(self.n_out, -1).sum(axis=1) for name in names)  # type: ignore[return-value]

        def build() -> Any:
            return jax.jit(by_row).lower(theta, batch).compile()

        with precision("float64"):
            key = ("held out", self.batches.sizes, density_key(density, data))
            compiled = compiled_once(key, build)

        def evaluate(theta: np.ndarray) -> np.ndarray:
            with precision("float64"):
                return np.asarray(compiled(theta, batch))

        return evaluate


@dataclass(frozen=True)
class Member:
    """The rows that one member climbs on, and those by which it is stopped."""

    held_out: HeldOut
    inside: tuple[np.ndarray, ...]
    outside: tuple[np.ndarray, ...]

    def climb(
        self, objective_on: Callable[..., Any], start: np.ndarray, max_steps: int, record: Record
    ) -> tuple[np.ndarray, bool]:
        """Climb on the inner rows; the point to go on from, or to stay at if True.

        A climb has gone too far if the rows held out have become less likely than at its best
        point by 2 nats together, of which each counts for at most 3.
        """
        look = self.held_out.log_likelihoods(self.outside)
        best_theta, best, steps, best_step = start, look(start), 0, 0

        def watch(theta: np.ndarray, value: float) -> None:
            nonlocal best_theta, best, best_step, steps
            steps += 1
            record(theta, value)
            if steps % EVERY:
                return
            now = look(theta)
            if now.sum() > best.sum():
                best_theta, best, best_step = theta.copy(), now, steps
            elif steps - best_step >= PATIENCE and _worse(now, best):
                raise _TooFar

        inside = objective_on(self.held_out.batches, self.inside)
        try:
            end = climb(inside, start, max_steps, watch).theta
        except _TooFar:
            return best_theta, True
        too_far = _worse(look(end), best)
        return (best_theta, True) if too_far else (end, False)


class _TooFar(Exception):
    """The rows held out have become less likely."""


def _worse(now: np.ndarray, best: np.ndarray) -> bool:
    loss = np.clip(np.nan_to_num(best - now, nan=CLIP), -CLIP, CLIP)
    return bool(loss.sum() > TOO_FAR)
