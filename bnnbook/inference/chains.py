"""Independent chains of full-data samplers: how they run, what they give."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import cloudpickle
import jax
import numpy as np
import pymc as pm
import xarray as xr

from bnnbook.checks import positive_int
from bnnbook.density import LogDensity, compile_log_density
from bnnbook.inference.callbacks import Callback, FitState, Reporter
from bnnbook.inference.executors import check_executor, opened_once, packed, run_parts
from bnnbook.inference.progress import note
from bnnbook.inference.results import posterior_dataset, result_tree
from bnnbook.inference.runner import run_tasks

__all__ = [
    "BLOCK",
    "Chain",
    "Chains",
    "acceptance_target",
    "blackjax_for",
    "chain_count",
    "full_data_density",
    "run_chains",
]

BLOCK = 100  # iterations between two looks at the progress bar and at Ctrl-C
TOO_EARLY = "interrupted before every chain had its first draws"

Block = dict[str, np.ndarray]
Chain = Callable[[int], Iterator[Block | None]]
"""Function of a chain's number that yields its blocks of BLOCK iterations one by one.

A block has at least ``theta`` (BLOCK, D) and ``lp`` (BLOCK,); None stands for one of warm-up.
"""


@dataclass(frozen=True)
class Chains:
    """Blocks of draws by chain, each a dict of arrays (BLOCK, ...), and how the run went."""

    density: LogDensity
    blocks: list[list[Block]]
    seconds: float
    compile_seconds: float
    ended: str
    method: str
    settings: Mapping[str, Any]
    seed: int

    @property
    def complete(self) -> int:
        """Blocks that every chain has; at least one."""
        least = min((len(chain) for chain in self.blocks), default=0)
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
        *,
        tune: int = 0,
        thin: int = 1,
        leave_out: Sequence[str] = (),
        problems: Callable[[dict[str, np.ndarray]], list[str]],
        **fields: Any,
    ) -> xr.DataTree:
        """Stack what every chain has after ``tune``: one draw in ``thin``, up to those asked for.

        The block variable ``theta`` becomes the posterior and the others, but for ``leave_out``,
        sample statistics; ``problems`` turns all statistics (chain, draw) into sentences; and
        ``fields`` go to :func:`result_tree`.
        """
        draws = self.settings["draws"]
        kept = slice(tune + thin - 1, tune + draws * thin, thin)
        if self.complete * BLOCK <= kept.start:
            raise KeyboardInterrupt(TOO_EARLY)
        names = set(self.blocks[0][0]) - set(leave_out)
        stats = {name: self.joined(name)[:, kept] for name in sorted(names)}
        thetas = stats.pop("theta")
        n_chains, n_draws = thetas.shape[:2]
        interrupted = self.ended == "interrupted"
        if interrupted:
            note(f"interrupted: kept {n_draws:,} of {draws:,} draws in each of {n_chains} chains")
        fields["attrs"] = {
            "interrupted": interrupted, "stopped": self.ended, **fields.get("attrs", {})
        }  # fmt: skip
        return result_tree(
            self.density, posterior_dataset(self.density, thetas), sample_stats=stats,
            n=self.density.N, seconds=self.seconds, compile_seconds=self.compile_seconds,
            problems=problems(stats), method=self.method, settings=self.settings, seed=self.seed,
            **fields,
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


class _Job(NamedTuple):
    """All that a worker needs to run any of the chains."""

    prepare: Callable[[LogDensity, Any, int, Mapping[str, Any]], Chain]
    model: pm.Model
    start: np.ndarray | None
    seed: int
    settings: Mapping[str, Any]


@opened_once
def _opened(payload: bytes) -> tuple[Chain, str]:
    job = cloudpickle.loads(payload)
    density = compile_log_density(job.model)
    return job.prepare(density, job.start, job.seed, job.settings), job.settings["dtype"]


def _run_chain(payload: bytes, number: int) -> tuple[list[Block], float]:
    """In the worker: one chain's blocks, and the seconds that it waited for compiled code."""
    clock = time.perf_counter()
    chain, dtype = _opened(payload)
    waited = time.perf_counter() - clock
    task = _Chain(chain(number), dtype)
    while not task.done:
        task.advance()
    return task.blocks, waited


def run_chains(
    prepare: Callable[[LogDensity, Any, int, Mapping[str, Any]], Chain],
    model: pm.Model,
    start: Any,
    *,
    seed: int,
    method: str,
    settings: Mapping[str, Any],
    label: str,
    iterations: int,
    cores: int | None,
    executor: Executor | None,
    progressbar: bool,
    callbacks: Sequence[Callback] = (),
) -> Chains:
    """Run all chains, on threads or on an executor, until they end or Ctrl-C.

    ``prepare(density, start, seed, settings)`` compiles what they need and finds where they start;
    a function of a module, since a worker of an executor calls it as well. Compiled code releases
    the interpreter, so threads run in parallel. ``settings`` has the number of ``chains``
    and ``draws`` and the ``dtype``; ``iterations`` per chain are what the progress bar counts.
    """
    if executor is not None:
        check_executor(executor, callbacks, cores)
    density = full_data_density(model, label)
    clock = time.perf_counter()
    if executor is not None:
        points = None if start is None else density.given_points(start, settings["chains"])
        payload = packed(_Job(prepare, model, points, seed, settings))
        finished, interrupted = run_parts(
            _run_chain, payload, settings["chains"], executor, label=label, progressbar=progressbar
        )
        compile_seconds = max((waited for _, waited in finished), default=0.0)
        return Chains(
            density, [blocks for blocks, _ in finished],
            time.perf_counter() - clock - compile_seconds, compile_seconds,
            "interrupted" if interrupted else "finished", method, settings, seed,
        )  # fmt: skip
    chain = prepare(density, start, seed, settings)
    compile_seconds = time.perf_counter() - clock
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
    seconds = time.perf_counter() - clock
    return Chains(density, blocks, seconds, compile_seconds, ended, method, settings, seed)


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
