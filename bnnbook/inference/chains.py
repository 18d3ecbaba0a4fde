"""Independent chains of full-data samplers: where they start, how they run, what they give."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pymc as pm
import xarray as xr

from bnnbook.checks import positive_int
from bnnbook.density import (
    LogDensity,
    check_indices,
    check_start,
    compile_log_density,
)
from bnnbook.inference.callbacks import Callback, FitState, Reporter
from bnnbook.inference.progress import note
from bnnbook.inference.results import posterior_dataset, result_tree
from bnnbook.inference.runner import run_tasks

__all__ = [
    "BLOCK",
    "RETRIES",
    "Chains",
    "acceptance_target",
    "blackjax_for",
    "chain_count",
    "full_data_density",
    "run_chains",
    "starting_points",
]

BLOCK = 100  # iterations between two looks at the progress bar and at Ctrl-C
TOO_EARLY = "interrupted before every chain had its first draws"
RETRIES = 10  # of a random start where the density is not finite; as many as pm.sample makes

Block = dict[str, np.ndarray]


@dataclass(frozen=True)
class Chains:
    """Blocks of draws by chain, each a dict of arrays (BLOCK, ...), and how the run went."""

    blocks: list[list[Block]]
    seconds: float
    ended: str
    method: str
    settings: Mapping[str, Any]

    @property
    def complete(self) -> int:
        """Blocks that every chain has; at least one."""
        least = min(len(chain) for chain in self.blocks)
        if least == 0:
            raise KeyboardInterrupt(TOO_EARLY)
        return least

    def joined(self, name: str) -> np.ndarray:
        """One variable of all complete blocks, (chain, iteration, ...)."""
        return np.stack(
            [
                np.concatenate([block[name] for block in chain[: self.complete]])
                for chain in self.blocks
            ]
        )

    def result(
        self,
        density: LogDensity,
        *,
        tune: int = 0,
        thin: int = 1,
        extra_stats: Mapping[str, np.ndarray] | None = None,
        leave_out: Sequence[str] = (),
        problems: Callable[[dict[str, np.ndarray]], list[str]],
        **fields: Any,
    ) -> xr.DataTree:
        """Stack what every chain has after ``tune``: one draw in ``thin``, up to those asked for.

        The block variable ``theta`` becomes the posterior and the others, but for ``leave_out``,
        sample statistics; ``extra_stats`` are constants by chain; ``problems`` turns all statistics
        (chain, draw) into sentences; and ``fields`` go to :func:`result_tree`.
        """
        draws = self.settings["draws"]
        kept = slice(tune + thin - 1, tune + draws * thin, thin)
        if self.complete * BLOCK <= kept.start:
            raise KeyboardInterrupt(TOO_EARLY)
        names = set(self.blocks[0][0]) - set(leave_out)
        stats = {name: self.joined(name)[:, kept] for name in sorted(names)}
        thetas = stats.pop("theta")
        n_chains, n_draws = thetas.shape[:2]
        for name, value in (extra_stats or {}).items():
            stats[name] = np.repeat(value[:, None], n_draws, axis=1)
        interrupted = self.ended == "interrupted"
        if interrupted:
            note(f"interrupted: kept {n_draws:,} of {draws:,} draws in each of {n_chains} chains")
        fields["attrs"] = {
            "interrupted": interrupted, "stopped": self.ended, **fields.get("attrs", {})
        }  # fmt: skip
        return result_tree(
            density, posterior_dataset(density, thetas), sample_stats=stats, n=density.N,
            seconds=self.seconds, problems=problems(stats), method=self.method,
            settings=self.settings, **fields,
        )  # fmt: skip


class _Chain:
    """One chain as a task of the runner: blocks from a generator, None for those of a warm-up."""

    def __init__(self, blocks: Iterator[Block | None], dtype: str) -> None:
        self._next, self._x64 = blocks, dtype == "float64"
        self.blocks: list[Block] = []
        self.steps, self.done = 0, False

    @property
    def ready(self) -> int:
        return BLOCK * len(self.blocks)

    @property
    def lp(self) -> float:
        return float(self.blocks[-1]["lp"][-1]) if self.blocks else np.nan

    def advance(self) -> None:
        with jax.enable_x64(self._x64):  # of this thread
            try:
                block = next(self._next)
            except StopIteration:
                self.done = True
                return
        if block is not None:
            self.blocks.append(block)
        self.steps += BLOCK


def run_chains(
    chain: Callable[[int], Iterator[Block | None]],
    density: LogDensity,
    *,
    method: str,
    settings: Mapping[str, Any],
    label: str,
    iterations: int,
    cores: int | None,
    progressbar: bool,
    callbacks: Sequence[Callback] = (),
) -> Chains:
    """Run ``chain(0)``, ``chain(1)``, ... on threads until they end or Ctrl-C.

    ``chain`` is a generator that yields one block of BLOCK iterations at a time, with at least
    ``theta`` (BLOCK, D) and ``lp`` (BLOCK,), or None for a block of warm-up. Compiled code releases
    the interpreter, so threads run in parallel. ``settings`` has the number of ``chains``
    and ``draws`` and the ``dtype``; ``iterations`` per chain are what the progress bar counts.
    """
    tasks = [_Chain(chain(number), settings["dtype"]) for number in range(settings["chains"])]
    clock = time.perf_counter()

    def state(ready: int) -> tuple[FitState, np.ndarray]:
        kept = [task.blocks[: ready // BLOCK] for task in tasks]
        lp = np.mean([np.concatenate([block["lp"] for block in blocks]) for blocks in kept], axis=0)

        def sample(n: int) -> np.ndarray:
            last = np.concatenate([blocks[-1]["theta"] for blocks in kept]).astype(np.float64)
            return last[np.linspace(0, len(last) - 1, n).astype(int)]

        seconds = time.perf_counter() - clock
        return FitState(ready, float(lp[-1]), seconds, method, density, sample), -lp

    ended = run_tasks(
        tasks, cores=cores, label=label, total=len(tasks) * iterations, progressbar=progressbar,
        reporter=Reporter(callbacks, method=method, settings=settings), state=state, unit="draw",
    )  # fmt: skip
    blocks = [task.blocks for task in tasks]
    return Chains(blocks, time.perf_counter() - clock, ended, method, settings)


def starting_points(
    density: LogDensity,
    start: Any,
    chains: int,
    *,
    seed: int,
    state: Callable[[np.ndarray], Any],
) -> np.ndarray:
    """Points (chains, D) at which the log density and its gradient are finite.

    Those given, or the model's own initial point plus uniform noise in (-1, 1), drawn again, up to
    RETRIES times, where they are not. ``state`` is BlackJAX's at a point, with value and gradient.

    Raises
    ------
    ValueError
        If they are not finite; names the observed variable, or the parameter.
    """
    check_indices(density)
    random = start is None
    if random:
        points = density.initial_points(chains, jitter=1.0, seed=seed)
    else:
        points = density.given_points(start, chains)
    for number in range(chains):
        for retry in range(RETRIES + 1):
            at = state(points[number])
            gradient = np.asarray(at.logdensity_grad)
            if np.isfinite(float(at.logdensity)) and np.isfinite(gradient).all():
                break
            if not random or retry == RETRIES:
                check_start(density, points)
                bad = density.split(~np.isfinite(gradient))
                names = [name for name, wrong in bad.items() if np.any(wrong)]
                raise ValueError(
                    f"the gradient of the log density is not finite at starting point {number}, in "
                    f"{', '.join(names)}"
                    if names
                    else f"the log density is not finite at starting point {number} in float32, "
                    "but it is in float64: use dtype='float64'"
                )
            fresh = np.random.SeedSequence([seed, number, retry]).generate_state(1)
            points[number] = density.initial_points(1, jitter=1.0, seed=int(fresh[0]))[0]
    return points


def chain_count(chains: object) -> int:
    """Return ``chains`` as an int of at least 1; warn the caller's caller of a single chain."""
    count = positive_int("chains", chains)
    if count == 1:
        warnings.warn("R-hat between chains needs chains > 1, got 1", UserWarning, stacklevel=3)
    return count


def acceptance_target(target_accept: object) -> float:
    """Return a target acceptance inside (0, 1), or raise."""
    number = isinstance(target_accept, int | float | np.integer | np.floating)
    if not number or isinstance(target_accept, bool):
        raise TypeError(f"target_accept must be a number, got {target_accept!r}")
    if not 0 < target_accept < 1:  # type: ignore[operator]
        raise ValueError(f"target_accept must lie in (0, 1), got {target_accept}")
    return float(target_accept)  # type: ignore[arg-type]


def full_data_density(model: pm.Model, method: str) -> LogDensity:
    """Compile ``model``; minibatch models are refused."""
    density = compile_log_density(model)
    if density.batch_size is not None:
        raise ValueError(f"model has pm.Minibatch data; {method} needs the full data")
    return density


def blackjax_for(function: str) -> ModuleType:
    """Import BlackJAX, or say which function needs it and how to install it."""
    try:
        import blackjax
    except ImportError as error:
        raise ImportError(f"{function} needs BlackJAX: pip install blackjax") from error
    return blackjax
