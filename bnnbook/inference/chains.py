"""Independent chains on threads: what every Markov chain sampler here shares."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr
from threadpoolctl import threadpool_limits

from bnnbook.checks import positive_int
from bnnbook.density import LogDensity, compile_log_density
from bnnbook.inference.callbacks import Callback, FitState, Reporter
from bnnbook.inference.progress import progress_bar
from bnnbook.inference.results import posterior_dataset, result_tree

__all__ = ["BLOCK", "Chains", "blackjax_for", "chain_count", "full_data_density", "run_chains"]

BLOCK = 100  # iterations between two looks at the progress bar and at Ctrl-C
TOO_EARLY = "interrupted before every chain had its first draws"

Block = dict[str, np.ndarray]


@dataclass(frozen=True)
class Chains:
    """Blocks of draws by chain, each a dict of arrays (BLOCK, ...), and how the run went."""

    blocks: list[list[Block]]
    seconds: float
    interrupted: bool
    ended: str

    @property
    def complete(self) -> int:
        """Blocks that every chain has; at least one."""
        least = min(len(chain) for chain in self.blocks)
        if least == 0:
            raise KeyboardInterrupt(TOO_EARLY)
        return least

    def result(
        self,
        density: LogDensity,
        *,
        draws: int,
        tune: int = 0,
        thin: int = 1,
        extra_stats: dict[str, np.ndarray] | None = None,
        **fields: Any,
    ) -> xr.DataTree:
        """Stack what every chain has after ``tune``: one draw in ``thin``, up to ``draws``.

        The block variable ``theta`` becomes the posterior and the others sample statistics;
        ``extra_stats`` are constants by chain, and ``fields`` go to :func:`result_tree`.
        """
        complete = self.complete
        kept = slice(tune + thin - 1, tune + draws * thin, thin)
        if complete * BLOCK <= kept.start:
            raise KeyboardInterrupt(TOO_EARLY)
        stats = {
            name: np.stack(
                [
                    np.concatenate([block[name] for block in chain[:complete]])
                    for chain in self.blocks
                ]
            )[:, kept]
            for name in self.blocks[0][0]
        }
        thetas = stats.pop("theta")
        for name, value in (extra_stats or {}).items():
            stats[name] = np.repeat(value[:, None], thetas.shape[1], axis=1)
        fields["attrs"] = {
            "interrupted": self.interrupted, "stopped": self.ended, **fields.get("attrs", {})
        }  # fmt: skip
        data = tuple(jnp.asarray(a) for a in density.data)
        posterior = posterior_dataset(density, thetas.astype(np.float64), data)
        return result_tree(
            density, posterior, sample_stats=stats, n=density.N, seconds=self.seconds, **fields,
        )  # fmt: skip


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
    """Run ``chain(0)``, ``chain(1)``, ..., one thread each, until they end or Ctrl-C.

    ``chain`` is a generator that yields one block of BLOCK iterations at a time, with at least
    ``theta`` (BLOCK, D) and ``lp`` (BLOCK,), or None for a block of warm-up. Compiled code releases
    the interpreter, so threads run in parallel. ``settings`` has the number of ``chains``;
    ``iterations`` per chain are what the progress bar counts; ``cores`` chains run at once, by
    default as many as there are CPUs. Callbacks hear of every block that all chains have.
    """
    chains = settings["chains"]
    cores = min(positive_int("cores", cores or os.cpu_count() or 1), chains)
    blocks: list[list[Block]] = [[] for _ in range(chains)]
    done = [0] * chains
    stop = False

    def run(number: int) -> None:
        for block in chain(number):
            done[number] += BLOCK
            if block is not None:
                blocks[number].append(block)
            if stop:
                return

    clock = time.perf_counter()
    interrupted, ended = False, "finished"
    reporter = Reporter(callbacks, method=method, settings=settings)
    with (
        progress_bar(
            label, chains * iterations, show=progressbar, value_name="log density"
        ) as update,
        # two chains whose linear algebra wants both cores each are thirty times slower
        threadpool_limits(limits=max(1, (os.cpu_count() or 1) // cores), user_api="blas"),
        ThreadPoolExecutor(cores) as pool,
    ):
        futures = [pool.submit(run, number) for number in range(chains)]
        reported = 0
        try:
            with reporter:
                running = True
                while running:
                    running = not all(future.done() for future in futures)
                    time.sleep(0.05 if running else 0.0)
                    last = next((b[-1]["lp"][-1] for b in blocks if b), np.nan)
                    update(min(sum(done), chains * iterations), float(last))
                    complete = min(len(b) for b in blocks)
                    if reporter and complete > reported:
                        reported = complete
                        seconds = time.perf_counter() - clock
                        reporter(*_state(density, blocks, complete, method, seconds))
        except BaseException as error:
            stop = True
            for future in futures:
                future.cancel()
            interrupted = isinstance(error, KeyboardInterrupt)
            if isinstance(error, StopIteration):
                ended = f"stopped at draw {reported * BLOCK}: {error}"
            elif interrupted:
                ended = "interrupted"
            else:
                raise  # the threads end after their block
    for future in futures:
        if not future.cancelled():
            future.result()
    return Chains(blocks, time.perf_counter() - clock, interrupted, ended)


def _state(
    density: LogDensity, blocks: list[list[Block]], complete: int, method: str, seconds: float
) -> tuple[FitState, np.ndarray]:
    """What the callbacks see: the draws that every chain has."""
    kept = [chain[:complete] for chain in blocks]
    lp = np.mean([np.concatenate([block["lp"] for block in chain]) for chain in kept], axis=0)

    def sample(n: int) -> np.ndarray:
        last = np.concatenate([chain[-1]["theta"] for chain in kept]).astype(np.float64)
        return last[np.linspace(0, len(last) - 1, n).astype(int)]

    return FitState(len(lp), float(lp[-1]), seconds, method, density, sample), -lp


def chain_count(chains: object) -> int:
    """Return ``chains`` as an int of at least 1; warn the caller's caller of a single chain."""
    count = positive_int("chains", chains)
    if count == 1:
        warnings.warn("R-hat between chains needs chains > 1, got 1", UserWarning, stacklevel=3)
    return count


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
