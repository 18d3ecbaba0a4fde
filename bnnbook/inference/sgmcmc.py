"""Stochastic-gradient MCMC for any PyMC model, in one compiled loop per chain."""

from __future__ import annotations

import functools
import os
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr
from pymc.data import MinibatchOp
from pymc.variational.minibatch_rv import MinibatchRandomVariable
from pytensor.graph.traversal import ancestors
from threadpoolctl import threadpool_limits

from bnnbook.checks import (
    DivergedError,
    batch_rows,
    float_dtype,
    non_negative_int,
    positive_int,
    seed_int,
)
from bnnbook.density import LogDensity, compile_log_density, precision
from bnnbook.inference.callbacks import Callback, FitState, Reporter
from bnnbook.inference.checkpoint import fingerprint, read_checkpoint, write_checkpoint
from bnnbook.inference.counter_rng import chain_key, normal, step_key
from bnnbook.inference.draw_store import DrawStore
from bnnbook.inference.kernels import CONVENTION, Kernel, Step
from bnnbook.inference.numba_steps import numba_advance
from bnnbook.inference.progress import progress_bar
from bnnbook.inference.results import posterior_dataset, result_tree
from bnnbook.inference.schedules import Plan

__all__ = ["sample_sgmcmc"]

BLOCK = 1024  # most steps in one compiled call
BLOCK_SECONDS = 0.5  # aim of a call's length: between two looks at the bar and at Ctrl-C
BUFFER_BYTES = 32e6  # draws held inside one call
ORDER_ROWS = 2**17  # rows shuffled at a time
HISTORY = 4096  # most entries of the history of log densities
MAX_BYTES = 8e9  # of the whole posterior, unless the caller allows more


def sample_sgmcmc(
    model: pm.Model,
    kernel: Kernel,
    *,
    batch_size: int | None = None,
    draws: int = 1000,
    tune: int = 1000,
    thin: int = 1,
    chains: int = 4,
    seed: int,
    start: np.ndarray | Mapping[str, np.ndarray] | None = None,
    dtype: str = "float64",
    backend: str = "jax",
    chain_method: str | None = None,
    executor: Executor | None = None,
    cores: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: float = 60.0,
    store: str | Path | None = None,
    max_bytes: float = MAX_BYTES,
    callbacks: Sequence[Callback] = (),
    progressbar: bool = True,
) -> xr.DataTree:
    r"""Sample the posterior with gradients of minibatches.

    The log density of a batch B of n rows is

    .. math:: \log p(\theta) + \frac{N}{n} \sum_{i \in B} \log p(y_i \mid x_i, \theta),

    on the unconstrained space, with the Jacobians of the transforms. Batches are cut from epochs
    without replacement, reshuffled for each epoch and chain; the last N mod n rows of an epoch's
    order are left out.

    Parameters
    ----------
    model : pymc.Model
        Any model without discrete free variables whose ``pm.Data`` containers and observed
        variables share the leading axis of N rows, and whose likelihood is a sum over rows.
    kernel : Kernel
        From :func:`sgld` or :func:`sghmc`.
    batch_size : int, optional
        n; all N rows by default.
    draws, tune : int
        Kept draws and discarded steps per chain. The preconditioner adapts during ``tune``.
    thin : int
        Steps between two draws.
    chains : int
    seed : int
    start : array (chains, D), or mapping of names to arrays (chains, ...), optional
        Starting points on the unconstrained space; draws from the prior by default. A mapping has
        all the model's value variables, such as ``w1`` or ``sigma_log__``.
    dtype : {"float64", "float32"}
    backend : {"jax", "numba"}
        What compiles the steps. JAX, the default, runs whole loops of steps in compiled code, on a
        CPU or a GPU. Numba compiles the gradient alone and in float64, and its chains run one after
        the other unless there is an executor. The draws agree to rounding.
    chain_method : {"parallel", "vectorized"}, optional
        One thread per chain, or all chains in one compiled step. By default parallel on a CPU and
        vectorized on an accelerator, where each is the faster.
    executor : concurrent.futures.Executor, optional
        Runs one task per chain, such as a process pool, a loky pool or a Dask client's
        ``get_executor()``. The draws are the same.
    cores : int, optional
        Chains run at once in this process; the number of CPUs by default.
    checkpoint : path, optional
        Folder in which each chain's state and draws are saved every ``checkpoint_every`` seconds.
        The same call goes on from there, to the same draws as without the interruption.
    store : path, optional
        Folder of a zarr store to which draws are written as they come, for posteriors larger than
        memory. The result reads them from there when they are used; so does
        ``xarray.open_datatree(store, engine="zarr")`` later.
    max_bytes : float
        Refuse a run without ``store`` whose draws would take more memory.
    callbacks : sequence of ``callback(state, losses, step)``
        Called about twice a second, when every chain has done another ``every`` steps, with a
        :class:`FitState` and the chains' mean negative log density, per step; one that raises
        ``StopIteration`` ends the run, and the draws that every chain has are kept. Not with an
        executor.
    progressbar : bool

    Returns
    -------
    xarray.DataTree
        ``posterior`` (chain, draw, ...); ``sample_stats`` at each draw: ``lp`` (log density
        estimated on the draw's last minibatch), ``grad_norm``, ``step_size``, ``temperature``,
        ``cycle``; ``history`` (chain, step) of the same ``lp`` at up to 4,096 steps of the run.
        Attributes ``N``, ``n``, ``temperature``, ``convention``. After Ctrl-C, the draws that every
        chain has.

    Raises
    ------
    DivergedError
        When the gradient or the log density is no longer finite: names the step, the chain, the
        parameter and the last finite log density.
    TypeError, ValueError
        For a model that cannot be cut into minibatches or an argument out of range.
    """
    job = _check_job(
        model, kernel, batch_size=batch_size, draws=draws, tune=tune, thin=thin, chains=chains,
        seed=seed, start=start, dtype=dtype, backend=backend, checkpoint=checkpoint,
        checkpoint_every=checkpoint_every, store=store, max_bytes=max_bytes,
    )  # fmt: skip
    if chain_method is None:
        on_cpu = backend == "numba" or jax.default_backend() == "cpu"
        chain_method = "parallel" if on_cpu else "vectorized"
    if chain_method not in ("parallel", "vectorized"):
        raise ValueError(f"chain_method must be 'parallel' or 'vectorized', got {chain_method!r}")
    if executor is not None and not hasattr(executor, "submit"):
        raise TypeError(f"executor must be a concurrent.futures.Executor, got {executor!r}")
    if executor is not None and callbacks:
        raise ValueError("callbacks need the chains in this process, got an executor too")
    clock = time.perf_counter()
    if job.store is not None:
        saved = [] if job.checkpoint is None else list(job.checkpoint.glob("chains_*.npz"))
        if saved and not job.store.exists():
            raise ValueError(
                f"store {job.store} has none of the draws that checkpoint {job.checkpoint} counts; "
                "bring it back, or remove the checkpoint"
            )
        _open_store(job)  # before tasks in other processes do, and before any work is wasted
    if executor is not None:
        results, compile_seconds, ended = _run_on_executor(job, executor, progressbar)
    else:
        together = chains if chain_method == "vectorized" else 1
        compiled = _compile(job, together)
        compile_seconds = compiled.seconds
        groups = [range(c, c + together) for c in range(0, chains, together)]
        cores = 1 if backend == "numba" else cores  # PyTensor functions are not safe in threads
        workers = min(positive_int("cores", cores or os.cpu_count() or 1), len(groups))
        with precision(job.dtype):
            runs = [_GroupRun(job, compiled, group) for group in groups]
            ended = _run_on_threads(job, runs, workers, callbacks, progressbar)
        results = [run.result() for run in runs]
    seconds = time.perf_counter() - clock - compile_seconds
    return _collect(job, results, seconds, compile_seconds, ended)


@dataclass(frozen=True)
class _Job:
    """Everything that decides the draws, checked."""

    model: pm.Model
    kernel: Kernel
    density: LogDensity = field(repr=False)
    plan: Plan = field(repr=False)
    starts: np.ndarray = field(repr=False)
    n: int
    draws: int
    tune: int
    thin: int
    chains: int
    seed: int
    dtype: type
    backend: str
    checkpoint: Path | None
    checkpoint_every: float
    store: Path | None
    fingerprint: str

    @property
    def settings(self) -> dict[str, Any]:
        """For the record."""
        return {
            **self.kernel.settings, "batch_size": self.n, "draws": self.draws, "tune": self.tune,
            "thin": self.thin, "chains": self.chains, "dtype": np.dtype(self.dtype).name,
            "backend": self.backend,
        }  # fmt: skip

    @property
    def history_every(self) -> int:
        """Steps between two entries of the history."""
        return -(-self.plan.steps // HISTORY)


def _check_job(
    model: pm.Model, kernel: Kernel, *, batch_size: int | None, draws: int, tune: int, thin: int,
    chains: int, seed: int, start: np.ndarray | Mapping[str, np.ndarray] | None, dtype: str,
    backend: str, checkpoint: str | Path | None, checkpoint_every: float,
    store: str | Path | None, max_bytes: float,
) -> _Job:  # fmt: skip
    if not isinstance(kernel, Kernel):
        raise TypeError(
            "kernel must come from inference.sgld or inference.sghmc, "
            f"got {kernel!r} ({type(kernel).__name__})"
        )
    dtype = float_dtype(dtype)
    if backend not in ("jax", "numba"):
        raise ValueError(f"backend must be 'jax' or 'numba', got {backend!r}")
    if backend == "numba" and dtype == "float32":
        raise ValueError("backend 'numba' computes in float64, got dtype 'float32'")
    draws, thin = positive_int("draws", draws), positive_int("thin", thin)
    chains, seed = positive_int("chains", chains), seed_int(seed)
    tune = non_negative_int("tune", tune)
    if kernel.needs_tune and tune == 0:
        raise ValueError("tune must be at least 1 for a preconditioner that adapts in it, got 0")
    if chains == 1:
        warnings.warn("R-hat between chains needs chains > 1, got 1", UserWarning, stacklevel=3)
    if kernel.temperature == 0:
        warnings.warn(
            "temperature 0 adds no noise: this is optimisation, not sampling", UserWarning,
            stacklevel=3,
        )  # fmt: skip
    _check_no_minibatch(model)
    density = compile_log_density(model)
    number = np.float32 if dtype == "float32" else np.float64
    n = density.N if batch_size is None else batch_rows(batch_size, density.N)
    _check_rows(density, n)
    size = draws * chains * density.size * np.dtype(number).itemsize
    if size > max_bytes and store is None:
        raise ValueError(
            f"the draws would take {size / 1e9:.1f} GB, more than max_bytes={max_bytes / 1e9:.1f} "
            "GB: take fewer draws (a larger thin), write them to a store, or raise max_bytes"
        )
    if start is None:
        start = density.initial_points(chains, jitter=np.inf, seed=seed)
    start = density.given_points(start, chains).astype(number)
    identity = {
        "kernel": kernel.name, **kernel.settings, "n": n, "draws": draws, "tune": tune,
        "thin": thin, "chains": chains, "seed": seed, "dtype": dtype, "backend": backend,
    }  # fmt: skip
    return _Job(
        model, kernel, density, kernel.schedule.plan(draws, tune, thin), start, n, draws, tune,
        thin, chains, seed, number, backend, None if checkpoint is None else Path(checkpoint),
        checkpoint_every, None if store is None else Path(store),
        fingerprint(density, start, identity) if checkpoint or store else "",
    )  # fmt: skip


def _check_no_minibatch(model: pm.Model) -> None:
    if not isinstance(model, pm.Model):
        raise TypeError(f"model must be a pymc.Model, got {type(model).__name__}")
    observed = model.observed_RVs
    variables = ancestors([*observed, *(model.rvs_to_values[rv] for rv in observed)])
    if any(v.owner is not None and isinstance(v.owner.op, MinibatchOp) for v in variables):
        raise ValueError(
            "model already has pm.Minibatch data; give it the full data in pm.Data and "
            "the batch_size to sample_sgmcmc"
        )
    scaled = [rv.name for rv in observed if isinstance(rv.owner.op, MinibatchRandomVariable)]
    if scaled:
        raise ValueError(
            f"model already scales {', '.join(scaled)} by total_size; "
            "remove it, sample_sgmcmc scales the likelihood by N/n itself"
        )


def _check_rows(density: LogDensity, n: int) -> None:
    """The likelihood must be a sum over rows that minibatches can cut."""
    model = density.model
    if not any(density.batched):
        raise ValueError("model must have its inputs and observed values in pm.Data, got none")
    if density.fixed_rows:
        raise ValueError(
            "every observed variable and input must be in pm.Data, "
            f"got rows of length {density.N} as constants"
        )
    for rv in model.observed_RVs:
        shape = tuple(int(s) for s in model.rvs_to_values[rv].shape.eval())
        if not shape or shape[0] != density.N:
            raise ValueError(
                f"observed variable {rv.name} must follow the {density.N} rows of the data, "
                f"got shape {shape}"
            )
    lengths = {
        name: len(a) for name, a in zip(density.data_names, density.data, strict=True) if a.ndim
    }
    m = max(1, min(n, density.N // 2))
    theta = density.initial_points(1, jitter=0.5, seed=0)[0]
    with precision(np.float64):

        def terms(rows: slice) -> tuple[float, float]:
            batch = tuple(
                jnp.asarray(a[rows] if b else a)
                for a, b in zip(density.data, density.batched, strict=True)
            )
            flat = jnp.asarray(theta)
            return float(density.log_prior(flat, batch)), float(density.log_likelihood(flat, batch))

        try:
            prior, first = terms(slice(0, m))
            _, second = terms(slice(m, 2 * m))
            prior_both, both = terms(slice(0, 2 * m))
        except (TypeError, ValueError, IndexError) as error:
            raise ValueError(
                "the data containers and parameters do not share one axis of rows: a batch of "
                f"{m} rows does not fit; lengths {lengths}. {error}"
            ) from error
    if density.N >= 2 and not np.isclose(
        first + second, both, rtol=1e-6, atol=1e-6, equal_nan=True
    ):
        raise ValueError(
            "the likelihood must be a sum over the rows of the data, but two batches have "
            f"{first + second:.6g} together and {both:.6g} as one"
        )
    if not np.isclose(prior, prior_both, rtol=1e-6, atol=1e-6, equal_nan=True):
        raise ValueError("the prior and potentials must not depend on the rows of the data")


@dataclass(frozen=True)
class _Compiled:
    """Compiled functions for ``together`` chains at a time, with the data already in place."""

    advance: Callable[..., Any]
    full_gradient: Callable[..., Any] | None
    steps: int
    slots: int
    seconds: float


def minibatch_log_density(density: LogDensity, position: tuple, batch: tuple, weight: Any) -> Any:
    """log prior + ``weight`` * log likelihood of the batch, with ``weight`` = N/n."""
    return density.log_prior(position, batch) + weight * density.log_likelihood(position, batch)


def _compile(job: _Job, together: int) -> _Compiled:
    """Compile ``advance``: up to ``steps`` updates of ``together`` chains."""
    density, kernel, n, N = job.density, job.kernel, job.n, job.density.N
    item = np.dtype(job.dtype).itemsize
    held = int(BUFFER_BYTES // (density.size * item * together))
    slots = max(2, min(held, BLOCK, job.draws + 1))
    steps = min(BLOCK, job.plan.steps)
    if slots <= job.draws:
        steps = min(steps, (slots - 1) * job.thin)
    scale = job.dtype(N / n)
    if job.backend == "numba":
        return _compile_numba(job, together, slots, steps)
    with precision(job.dtype):
        data = tuple(
            jnp.asarray(a, dtype=job.dtype if a.dtype.kind == "f" else None) for a in density.data
        )

        log_density = functools.partial(minibatch_log_density, density)
        # then the normal numbers, up to a third of a step's time, are not even drawn
        quiet_steps = kernel.temperature == 0 or not job.plan.noisy.all()

        def cut(rows: Any, data: tuple) -> tuple:
            if n == N:
                return data
            return tuple(
                a.at[rows].get(mode="promise_in_bounds") if batched else a
                for a, batched in zip(data, density.batched, strict=True)
            )

        def one_step(i: Any, carry: tuple, key: Any, rows: Any, table: dict, data: tuple) -> tuple:
            position, memory, anchor, kept, health = carry
            batch = cut(rows[i], data)
            lp, gradient = jax.value_and_grad(log_density)(position, batch, scale)
            if kernel.control_variates:
                at, full, at_lp = anchor
                there_lp, there = jax.value_and_grad(log_density)(at, batch, scale)
                gradient = jax.tree.map(lambda g, a, f: g - a + f, gradient, there, full)
                lp = lp - there_lp + at_lp
            words = step_key(key, table["step"][i][None])
            step = Step(table["size"][i], table["temperature"][i], table["adapt"][i], N)

            def noise(leaf: int) -> Any:
                return normal(words, leaf, position[leaf].shape, job.dtype)

            def noisy() -> tuple:
                return kernel.update(position, memory, gradient, noise, step)

            def still() -> tuple:
                return kernel.update(position, memory, gradient, lambda _: 0.0, step)

            position, memory = (
                jax.lax.cond(step.temperature > 0, noisy, still) if quiet_steps else noisy()
            )
            squares = jnp.stack([jnp.vdot(g, g) for g in gradient])
            slot = table["slot"][i]
            kept = {
                "position": tuple(
                    k.at[slot].set(p) for k, p in zip(kept["position"], position, strict=True)
                ),
                "lp": kept["lp"].at[slot].set(lp),
                "grad_norm": kept["grad_norm"].at[slot].set(jnp.sqrt(squares.sum())),
                "history": kept["history"].at[table["bucket"][i]].set(lp),
            }
            return position, memory, anchor, kept, _watch(health, table["step"][i], lp, squares)

        # the data are an argument: compiled code would hold, and take long over, a copy
        def advance(
            carry: tuple, key: Any, rows: Any, table: dict, count: Any, data: tuple
        ) -> tuple:
            def step(i: Any, carry: tuple) -> tuple:
                return one_step(i, carry, key, rows, table, data)

            return jax.lax.fori_loop(0, count, step, carry)

        def advance_one(carry: tuple, keys: Any, rows: Any, *shared: Any) -> tuple:
            alone = advance(jax.tree.map(lambda a: a[0], carry), keys[0], rows[0], *shared)
            return jax.tree.map(lambda a: a[None], alone)

        clock = time.perf_counter()
        carry = _initial_carry(job, job.starts[:together], slots, steps)
        table = _table(job, steps, 0, 1)
        rows = np.zeros((together, steps, n if n < N else 1), np.int32)
        keys = np.zeros((together, 2), np.uint32)
        # mapping over one chain would only take longer to trace
        mapped = jax.vmap(advance, in_axes=(0, 0, 0, None, None, None))
        compiled = (
            jax.jit(mapped if together > 1 else advance_one)
            .lower(carry, keys, rows, table, np.int32(1), data)
            .compile()
        )
        full = None
        if kernel.control_variates:
            value_and_grad = jax.value_and_grad(lambda p, data: log_density(p, data, 1.0))
            compiled_full = (
                jax.jit(jax.vmap(value_and_grad, in_axes=(0, None))).lower(carry[0], data).compile()
            )

            def full(position: tuple) -> Any:
                return compiled_full(position, data)

    def run(*arguments: Any) -> Any:
        return compiled(*arguments, data)

    return _Compiled(run, full, steps, slots, time.perf_counter() - clock)


def _compile_numba(job: _Job, together: int, slots: int, steps: int) -> _Compiled:
    clock = time.perf_counter()
    advance, full = numba_advance(job.density, job.kernel, job.n)
    carry = _initial_carry(job, job.starts[:together], slots, steps)
    rows = np.zeros((together, steps, job.n), np.int32)
    advance(carry, np.zeros((together, 2), np.uint32), rows, _table(job, steps, 0, 1), 1)
    return _Compiled(advance, full, steps, slots, time.perf_counter() - clock)


def _watch(health: dict, step: Any, lp: Any, squares: Any) -> dict:
    """Remember the first step that is not finite, where, and the last finite log density."""
    finite = jnp.isfinite(lp) & jnp.isfinite(squares).all()
    well = health["bad_step"] < 0
    first = well & ~finite
    return {
        "bad_step": jnp.where(first, step.astype(jnp.int32), health["bad_step"]),
        "bad_leaf": jnp.where(first, ~jnp.isfinite(squares), health["bad_leaf"]),
        "last_lp": jnp.where(well & finite, lp, health["last_lp"]),
    }


def _initial_carry(job: _Job, starts: np.ndarray, slots: int, steps: int) -> tuple:
    """Loop state of a group of chains before the first step, as NumPy arrays (chains, ...)."""
    together = len(starts)
    position = tuple(np.ascontiguousarray(p) for p in job.density.split(starts).values())
    leaves = len(position)
    anchor: tuple = ()
    if job.kernel.control_variates:
        anchor = (
            position,
            tuple(np.zeros_like(p) for p in position),
            np.zeros(together, job.dtype),
        )
    kept = {
        "position": tuple(np.zeros((together, slots, *p.shape[1:]), job.dtype) for p in position),
        "lp": np.zeros((together, slots), job.dtype),
        "grad_norm": np.zeros((together, slots), job.dtype),
        "history": np.zeros((together, steps // job.history_every + 2), job.dtype),
    }
    health = {
        "bad_step": np.full(together, -1, np.int32),
        "bad_leaf": np.zeros((together, leaves), bool),
        "last_lp": np.full(together, np.nan, job.dtype),
    }
    memory: tuple = tuple(np.asarray(m, job.dtype) for m in job.kernel.init(position))
    return position, memory, anchor, kept, health


def _table(job: _Job, length: int, first: int, count: int) -> dict[str, np.ndarray]:
    """What each of the next ``count`` steps needs, padded to ``length``."""
    plan, t = job.plan, first + np.arange(length)
    used = np.minimum(t, plan.steps - 1)
    finished = np.searchsorted(plan.draw_at, t, side="right")  # draws done before step t
    slot = finished - finished[0]
    return {
        "step": t.astype(np.uint32),
        "size": plan.step_size[used].astype(job.dtype),
        "temperature": (job.kernel.temperature * plan.noisy[used]).astype(job.dtype),
        "adapt": (t < job.tune).astype(job.dtype),
        "slot": np.where(np.arange(length) < count, slot, 0).astype(np.int32),
        "bucket": (t // job.history_every - first // job.history_every).astype(np.int32),
    }


class _GroupRun:
    """The run of a group of chains: its state, its draws so far, its checkpoint."""

    def __init__(self, job: _Job, compiled: _Compiled, chains: range) -> None:
        self.job, self.compiled, self.chains = job, compiled, chains
        self.keys = np.stack([chain_key(job.seed, c) for c in chains])
        self.carry = _initial_carry(
            job, job.starts[chains.start : chains.stop], compiled.slots, compiled.steps
        )
        self.store = None if job.store is None else _open_store(job)
        columns = job.density.size if self.store is None else 0
        self.thetas: np.ndarray = np.empty((len(chains), job.draws, columns), job.dtype)
        self.stats: dict[str, np.ndarray] = {
            k: np.empty((len(chains), job.draws), job.dtype) for k in ("lp", "grad_norm")
        }
        self.history: np.ndarray = np.empty(
            (len(chains), -(-job.plan.steps // job.history_every)), job.dtype
        )
        self.step, self.drawn, self.lp = 0, 0, float("nan")
        self._order: dict[int, tuple[int, np.ndarray]] = {}
        epochs = int(np.clip(ORDER_ROWS // job.density.N, 1, 64))
        self._epochs, self._stretch = epochs, epochs * (job.density.N // job.n)
        self._pace = 16  # steps of the next call, adapted to BLOCK_SECONDS
        self._saved = time.perf_counter()
        self.path = None
        if job.checkpoint is not None:
            self.path = job.checkpoint / f"chains_{chains.start}_{chains.stop - 1}.npz"
            self._resume()

    @property
    def done(self) -> bool:
        """Whether every draw is there."""
        return self.step >= self.job.plan.steps

    def advance(self) -> None:
        """Run one compiled call and take its draws."""
        job, compiled, plan = self.job, self.compiled, self.job.plan
        count = min(self._pace, compiled.steps, plan.steps - self.step)
        every = job.kernel.control_variates
        if every:
            if self.step % every == 0:
                self._anchor()
            count = min(count, every - self.step % every)
        last = self.drawn + compiled.slots - 1  # a call must not hold more draws than slots
        if last < job.draws:
            count = min(count, int(plan.draw_at[last]) - self.step)
        clock = time.perf_counter()
        table = _table(job, compiled.steps, self.step, count)
        rows = self._rows(count)
        self.carry = compiled.advance(self.carry, self.keys, rows, table, np.int32(count))
        health = {k: np.asarray(v) for k, v in self.carry[4].items()}
        self._check(health)
        seconds = time.perf_counter() - clock
        self._pace = int(
            np.clip(count * BLOCK_SECONDS / max(seconds, 1e-6), count / 2, 4 * count + 1)
        )
        self._pace = max(self._pace, 1)
        begin, self.step = self.step // job.history_every, self.step + count
        end = -(-self.step // job.history_every)
        self.history[:, begin:end] = np.asarray(self.carry[3]["history"])[:, : end - begin]
        drawn = int(np.searchsorted(plan.draw_at, self.step, side="right"))
        new = drawn - self.drawn
        if new:
            kept = self.carry[3]
            flat = [
                np.asarray(p)[:, :new].reshape(len(self.chains), new, -1) for p in kept["position"]
            ]
            thetas = np.concatenate(flat, axis=-1)
            if self.store is None:
                self.thetas[:, self.drawn : drawn] = thetas
            else:
                with jax.enable_x64(job.dtype == np.float64):  # of this thread
                    self.store.write(self.chains, self.drawn, thetas)
            for name, values in self.stats.items():
                values[:, self.drawn : drawn] = np.asarray(kept[name])[:, :new]
            self.drawn = drawn
        self.lp = float(health["last_lp"][0])
        if self.path and (self.done or time.perf_counter() - self._saved > job.checkpoint_every):
            self.save()

    def result(self) -> dict[str, np.ndarray]:
        """Draws so far, (chains, draws, D), and statistics."""
        return {
            "theta": self.thetas[:, : self.drawn],
            **{name: values[:, : self.drawn] for name, values in self.stats.items()},
            "history": self.history[:, : -(-self.step // self.job.history_every)],
        }

    def save(self) -> None:
        """Write the state and the draws so far; the old file stays until the new one is whole."""
        if self.path is None:
            return
        leaves = jax.tree.leaves((self.carry[0], self.carry[1], self.carry[2], self.carry[4]))
        arrays = {f"state_{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        write_checkpoint(
            self.path,
            self.job.fingerprint,
            {**arrays, **self.result(), "step": np.array(self.step)},
        )
        self._saved = time.perf_counter()

    def _resume(self) -> None:
        saved = read_checkpoint(self.path, self.job.fingerprint) if self.path else None
        if saved is None:
            return
        tree = (self.carry[0], self.carry[1], self.carry[2], self.carry[4])
        old, structure = jax.tree.flatten(tree)
        leaves = [saved[f"state_{i}"] for i in range(len(old))]
        position, memory, anchor, health = jax.tree.unflatten(structure, leaves)
        self.carry = (position, memory, anchor, self.carry[3], health)
        self.step, self.drawn = int(saved["step"]), saved["theta"].shape[1]
        self.thetas[:, : self.drawn] = saved["theta"]
        for name, values in self.stats.items():
            values[:, : self.drawn] = saved[name]
        self.history[:, : saved["history"].shape[1]] = saved["history"]

    def _rows(self, count: int) -> np.ndarray:
        """Rows of each batch, (chains, steps, n): epochs without replacement."""
        job, N = self.job, self.job.density.N
        if job.n == N:
            return np.zeros((len(self.chains), self.compiled.steps, 1), np.int32)
        rows = np.zeros((len(self.chains), self.compiled.steps, job.n), np.int32)
        for j, chain in enumerate(self.chains):
            done = 0
            while done < count:
                part, place = divmod(self.step + done, self._stretch)
                batches = self._order_of(chain, part)[place : place + count - done]
                rows[j, done : done + len(batches)] = batches
                done += len(batches)
        return rows

    def _order_of(self, chain: int, part: int) -> np.ndarray:
        """Batches (steps, n) of the ``part``-th stretch of epochs: a few long ones, many short."""
        if self._order.get(chain, (-1,))[0] != part:
            job, N = self.job, self.job.density.N
            stream = np.random.SeedSequence(job.seed, spawn_key=(chain, part))
            order = np.tile(np.arange(N, dtype=np.int32), (self._epochs, 1))
            order = np.random.default_rng(stream).permuted(order, axis=1)
            order = order[:, : N // job.n * job.n].reshape(-1, job.n)
            self._order[chain] = (part, order)
        return self._order[chain][1]

    def _anchor(self) -> None:
        """Full-data gradient at the present position."""
        assert self.compiled.full_gradient is not None
        position = self.carry[0]
        lp, full = self.compiled.full_gradient(position)
        self.carry = (position, self.carry[1], (position, full, lp), *self.carry[3:])

    def _check(self, health: dict[str, np.ndarray]) -> None:
        bad = np.flatnonzero(health["bad_step"] >= 0)
        if len(bad):
            j = int(bad[0])
            names = [
                name
                for name, flag in zip(self.job.density.names, health["bad_leaf"][j], strict=True)
                if flag
            ]
            step = int(health["bad_step"][j])
            raise DivergedError(
                f"chain {self.chains[j]} diverged at step {step + 1} of {self.job.plan.steps}: "
                f"gradient not finite in {', '.join(names) or 'none, but the log density is'}; "
                f"last finite log density {health['last_lp'][j]:.6g}. "
                f"A smaller step size than {self.job.plan.step_size[step]:.3g} may help"
            )


def _open_store(job: _Job) -> DrawStore:
    assert job.store is not None
    return DrawStore(
        job.store, job.fingerprint, job.density, chains=job.chains, draws=job.draws, dtype=job.dtype
    )


def _run_on_threads(
    job: _Job, runs: list[_GroupRun], workers: int, callbacks: Sequence[Callback], show: bool
) -> str:
    """Advance the least advanced group, on each worker, until all are done. Return how it ended."""
    lock, stop = threading.Lock(), threading.Event()
    waiting = list(runs)

    def work() -> None:
        while not stop.is_set():
            with lock:
                if not waiting:
                    return
                run = min(waiting, key=lambda r: r.step)
                waiting.remove(run)
            if not run.done:
                run.advance()
            if not run.done:
                with lock:
                    waiting.append(run)

    total = job.plan.steps * job.chains
    label = f"{job.kernel.name.upper()}, draws {_destination(job)}"
    reporter = Reporter(
        callbacks, method=job.kernel.name, settings=job.settings, default_every=job.history_every
    )
    clock, reported, ended = time.perf_counter(), 0, "finished"
    with (
        progress_bar(label, total, show=show, value_name="log density") as update,
        threadpool_limits(limits=max(1, (os.cpu_count() or 1) // workers), user_api="blas"),
        ThreadPoolExecutor(workers) as pool,
    ):
        futures = [pool.submit(work) for _ in range(workers)]
        try:
            with reporter:
                running = True
                while running:
                    running = not all(future.done() for future in futures)
                    time.sleep(0.05 if running else 0.0)
                    update(sum(r.step * len(r.chains) for r in runs), runs[0].lp)
                    if any(future.done() and future.exception() for future in futures):
                        stop.set()
                    step = min(r.step for r in runs)
                    if reporter and step > reported and not stop.is_set():
                        reported = step
                        reporter(*_state(job, runs, step, time.perf_counter() - clock))
        except BaseException as error:
            stop.set()
            if isinstance(error, StopIteration):
                ended = f"stopped at step {reported}: {error}"
            elif isinstance(error, KeyboardInterrupt):
                ended = "interrupted"
            else:
                raise
    for future in futures:
        future.result()
    if ended != "finished":
        for run in runs:
            run.save()
    return ended


def _state(
    job: _Job, runs: list[_GroupRun], step: int, seconds: float
) -> tuple[FitState, np.ndarray]:
    """What the callbacks see: where the chains are, and their mean log density so far."""
    lp = np.concatenate([r.history[:, : -(-step // job.history_every)] for r in runs])
    losses = -np.repeat(lp.mean(axis=0, dtype=float), job.history_every)[:step]
    positions = [run.carry[0] for run in runs]

    def sample(n: int) -> np.ndarray:
        flat = [
            np.concatenate([np.reshape(p, (len(p), -1)) for p in position], axis=1)
            for position in positions
        ]
        chains = np.concatenate(flat).astype(np.float64)
        return chains[np.arange(n) % len(chains)]

    return FitState(step, -losses[-1], seconds, job.kernel.name, job.density, sample), losses


def _destination(job: _Job) -> str:
    if job.store is not None:
        return "to the store"
    size = job.draws * job.chains * job.density.size * np.dtype(job.dtype).itemsize
    return f"take {size / 1e6:,.0f} MB" if size >= 1e6 else f"take {size / 1e3:,.0f} kB"


@functools.lru_cache(maxsize=1)
def _unpack(payload: bytes) -> tuple[_Job, _Compiled]:
    """A worker process compiles once for all its chains."""
    model, rest = cloudpickle.loads(payload)
    job = _Job(model=model, density=compile_log_density(model), **rest)
    return job, _compile(job, 1)


def _run_task(payload: bytes, chain: int) -> tuple[dict[str, np.ndarray], float]:
    job, compiled = _unpack(payload)
    run = _GroupRun(job, compiled, range(chain, chain + 1))
    while not run.done:
        run.advance()
    return run.result(), compiled.seconds


def _run_on_executor(
    job: _Job, executor: Executor, show: bool
) -> tuple[list[dict[str, np.ndarray]], float, str]:
    """One task per chain, wherever the executor runs them."""
    rest = {
        name: getattr(job, name)
        for name in job.__dataclass_fields__
        if name not in ("model", "density")
    }
    payload = cloudpickle.dumps((job.model, rest))
    futures = [executor.submit(_run_task, payload, chain) for chain in range(job.chains)]
    ended = "finished"
    with progress_bar(
        f"{job.kernel.name.upper()} chains", job.chains, show=show, value_name="log density"
    ) as update:
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                result, _ = future.result()
                update(done, float(result["lp"][0, -1]))
        except KeyboardInterrupt:
            ended = "interrupted"
            for future in futures:
                future.cancel()
    finished = [f.result() for f in futures if f.done() and not f.cancelled()]
    return [r for r, _ in finished], max((s for _, s in finished), default=0.0), ended


def _history(job: _Job, histories: list[np.ndarray]) -> xr.Dataset:
    """Log density along the run, at up to HISTORY steps that every chain has done."""
    length = min(h.shape[1] for h in histories)
    lp = np.concatenate([h[:, :length] for h in histories])
    last = np.minimum((np.arange(length) + 1) * job.history_every, job.plan.steps)
    return xr.Dataset(
        {
            "lp": (("chain", "step"), lp),
            "step_size": ("step", job.plan.step_size[last - 1]),
            "temperature": ("step", job.kernel.temperature * job.plan.noisy[last - 1]),
            "cycle": ("step", job.plan.cycle[last - 1]),
        },
        coords={"chain": np.arange(len(lp)), "step": last},
    )


def _collect(
    job: _Job,
    results: list[dict[str, np.ndarray]],
    seconds: float,
    compile_seconds: float,
    ended: str,
) -> xr.DataTree:
    """Stack the chains, cut to the draws that every chain has."""
    common = min((r["theta"].shape[1] for r in results), default=0)
    if common == 0:
        raise KeyboardInterrupt("interrupted before every chain had its first draw")
    history = _history(job, [r.pop("history") for r in results])
    joined = {name: np.concatenate([r[name][:, :common] for r in results]) for name in results[0]}
    thetas = joined.pop("theta")
    last = job.plan.draw_at[:common] - 1
    shape = (len(thetas), common)
    temperature = job.kernel.temperature * job.plan.noisy[last]
    joined |= {
        "step_size": np.broadcast_to(job.plan.step_size[last], shape),
        "temperature": np.broadcast_to(temperature, shape),
        "cycle": np.broadcast_to(job.plan.cycle[last], shape),
    }
    store = None if job.store is None else _open_store(job)
    if store is not None:
        posterior = store.posterior().isel(draw=slice(common))
    else:
        with precision(job.dtype):
            data = tuple(jnp.asarray(a) for a in job.density.data)
            posterior = posterior_dataset(job.density, thetas, data)
    tree = result_tree(
        job.density, posterior, sample_stats=joined, method=job.kernel.name,
        settings=job.settings,
        seed=job.seed, n=job.n, history=history, seconds=seconds, compile_seconds=compile_seconds,
        attrs={
            "temperature": job.kernel.temperature, "convention": CONVENTION,
            "steps": job.plan.steps, "interrupted": ended == "interrupted", "stopped": ended,
        },
    )  # fmt: skip
    if store is not None:
        store.finish(tree)
    return tree
