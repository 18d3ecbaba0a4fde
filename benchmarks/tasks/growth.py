"""How cost grows: a task for each series, whose contestants are its points.

Time a step is what a long run takes beyond a short one, by the steps between them, so that it has
no part of the set-up. That is told apart, as is compiling. Peak memory is above what imports hold.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from benchmarks.task import Contestant, Run, Task, Timed
from benchmarks.timing import peak_mb
from bnnbook import inference, models, predict

__all__ = ["SERIES", "Series", "write_rows"]

BATCH = 100
STEPS = 40_000  # of the long run, fewer where a step is long
FEW_MICROSECONDS = 200_000  # so many where a step is short: shuffling the most rows takes a second
QUICK_STEPS = 10_000
PREDICTED = 10_000_000  # numbers that the calls of a prediction come to, where one call is few
CHUNK = 1_000_000  # rows written at a time
ON_DISK = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)  # rows
IN_MEMORY = (1_000, 100_000, 10_000_000)
SHAPES = {"w1": (2, 5), "w2": (5, 5), "w_out": (5,)}


@dataclass(frozen=True)
class Series:
    """One line of the figure: cost at some sizes of one thing, all else the same.

    ``point(quick, size, folder)`` prepares a run; ``folder`` has the files of :func:`write_rows`.
    """

    name: str
    axis: str
    what: str
    unit: str
    sizes: Sequence[int]
    point: Callable[..., Timed]
    on_disk: bool = False

    def task(self, folder: Path, *, quick: bool) -> Task:
        """The series as a task; a quick one has its smallest size."""
        sizes = self.sizes[:1] if quick else self.sizes
        first, *others = (partial(self.point, size=size, folder=folder) for size in sizes)
        peers: dict[str, Contestant] = dict(zip(map(str, sizes[1:]), others, strict=True))
        return Task(
            self.name, "growth", self.what, self.unit, "", first, peers, fresh=True
        )  # fmt: skip


def write_rows(size: int, folder: Path) -> None:
    """Write ``X`` (size, 2) and ``y`` (size,) to disk, never more than a chunk in memory."""
    rng = np.random.default_rng(0)
    create = np.lib.format.open_memmap
    X = create(folder / f"X-{size}.npy", mode="w+", dtype=np.float64, shape=(size, 2))
    y = create(folder / f"y-{size}.npy", mode="w+", dtype=np.int32, shape=(size,))
    for first in range(0, size, CHUNK):
        rows = slice(first, first + CHUNK)
        X[rows] = rng.normal(size=X[rows].shape)
        y[rows] = X[rows].prod(axis=1) > 0


def rows(quick: bool, size: int, folder: Path, *, method: str, mapped: bool) -> Timed:
    """Minibatches of a network 2-5-1 in plain PyMC, its rows loaded or mapped from disk."""

    def run(seed: int) -> Run:
        clock = time.perf_counter()
        mode = "r" if mapped else None
        X, y = (np.load(folder / f"{name}-{size}.npy", mmap_mode=mode) for name in "Xy")
        with pm.Model() as model:
            inputs, observed = pm.Data("X", X), pm.Data("y", y)
            hidden = pm.math.tanh(inputs @ pm.Normal("w1", 0, 1, shape=(2, 5)))
            logit = hidden @ pm.Normal("w_out", 0, 1, shape=5)
            pm.Bernoulli("obs", logit_p=logit, observed=observed)
        most = FEW_MICROSECONDS if method == "SG-MCMC" else STEPS
        return a_step(partial(METHODS[method], model, seed=seed), steps(quick, most), size, clock)

    return run


def weights(quick: bool, size: int, folder: Path, *, method: str) -> Timed:  # noqa: ARG001
    """A network 20-h-h-1 of about so many weights on 1,000 rows, in single precision."""
    width = round((np.sqrt(441 + 4 * size) - 21) / 2)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1_000, 20))

    def run(seed: int) -> Run:
        clock = time.perf_counter()
        model = models.mlp_classifier(X, X[:, 0] * X[:, 1] > 0, (width, width))
        fit = partial(METHODS[method], model, seed=seed, dtype="float32")
        return a_step(fit, steps(quick, min(5e7 / size, STEPS)), width**2 + 21 * width, clock)

    return run


def chains(quick: bool, size: int, folder: Path) -> Timed:  # noqa: ARG001
    """Chains of a network 2-5-5-1, as many threads at once as there are cores."""

    def run(seed: int) -> Run:
        clock = time.perf_counter()
        model = models.mlp_classifier(*labelled(1_000))
        fit = partial(sgmcmc, model, seed=seed, chains=size)
        return a_step(fit, steps(quick, 5_000), size, clock)

    return run


def groups(quick: bool, size: int, folder: Path) -> Timed:  # noqa: ARG001
    """Networks 2-5-5-1 of 50 rows that are pooled, all rows at each step of ADVI."""

    def run(seed: int) -> Run:
        clock = time.perf_counter()
        X, y = labelled(50 * size)
        model = models.hierarchical_mlp_classifier(X.reshape(size, 50, 2), y.reshape(size, 50))
        fit = partial(advi, model, seed=seed, batch_size=None)
        return a_step(fit, steps(quick, min(1e5 / size, STEPS)), size, clock)

    return run


def prediction(
    quick: bool, size: int, folder: Path, *, draws: int = 0, points: int = 0,  # noqa: ARG001
    reduce: Any = None,
) -> Timed:  # fmt: skip
    """Probabilities of a network 2-5-5-1; ``size`` is whichever of draws and points is left out."""
    draws, points = draws or size, points or size

    def run(seed: int) -> Run:
        clock = time.perf_counter()
        rng = np.random.default_rng(seed)
        predictor = predict.compile_predictor(models.mlp_classifier(*labelled(500)), "p")
        posterior = {name: rng.normal(size=(1, draws, *s)) for name, s in SHAPES.items()}
        X = rng.normal(size=(points, 2))
        predictor(posterior, X, reduce=reduce)  # compiles
        before = time.perf_counter() - clock
        calls = 1 if quick else int(np.clip(PREDICTED / (draws * points), 2, 100))
        clock = time.perf_counter()
        for _ in range(calls):
            predictor(posterior, X, reduce=reduce)
        return Run(time.perf_counter() - clock, 0.0, calls, told(size, before))

    return run


def labelled(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of the plane and in which kind of quadrant they are."""
    X = np.random.default_rng(0).normal(size=(size, 2))
    return X, (X.prod(axis=1) > 0).astype(int)


def sgmcmc(model: pm.Model, count: int, *, chains: int = 1, **options: Any) -> xr.DataTree:
    """SGLD by minibatches; one draw is kept."""
    return inference.sample_sgmcmc(
        model, inference.sgld(1e-9), batch_size=BATCH, draws=1, tune=count - 1, chains=chains,
        progressbar=False, **options,
    )  # fmt: skip


def advi(model: pm.Model, count: int, *, batch_size: int | None = BATCH, **options: Any) -> Any:
    """Steps of Adam of one size, without the first climb."""
    return inference.fit_advi(
        model, count, learning_rate=1e-3, batch_size=batch_size, draws=1, progressbar=False,
        **options,
    )  # fmt: skip


METHODS: dict[str, Callable[..., Any]] = {"SG-MCMC": sgmcmc, "ADVI": advi}


def steps(quick: bool, most: float = STEPS) -> int:
    """Steps of the long run."""
    return int(np.clip(most, 10, QUICK_STEPS if quick else None))


def a_step(fit: Callable[[int], Any], count: int, size: int, clock: float) -> Run:
    """Runs of a tenth of the steps, of which the first compiles, and what one of all adds."""
    few = count // 10
    with warnings.catch_warnings():
        # too short to converge
        warnings.simplefilter("ignore", inference.ConvergenceWarning)
        first = fit(few)
        compiling = first.attrs["compile_seconds"]
        before = time.perf_counter() - clock - compiling - first.attrs["seconds"]
        seconds = -fit(few).attrs["seconds"] + fit(count).attrs["seconds"]
    if seconds <= 0:
        raise RuntimeError(f"{count} steps took no longer than {few}: is the machine busy?")
    return Run(seconds, compiling, count - few, told(size, before))


def told(size: int, before: float) -> dict[str, float]:
    """Where the point lies, seconds before its first step, and all memory that was resident."""
    return {"size": float(size), "before": before, "resident_mb": peak_mb()}


SERIES = (
    *(
        Series(
            f"{method}, {place}", "rows", f"{method}, batches of {BATCH} of rows {place}, 2-5-1",
            "step", ON_DISK if mapped else IN_MEMORY, partial(rows, method=method, mapped=mapped),
            on_disk=True,
        )
        for method in METHODS
        for place, mapped in (("in memory", False), ("on disk", True))
    ),
    Series(
        "SG-MCMC", "weights", f"SG-MCMC, batches of {BATCH}, 20-h-h-1, float32", "step",
        (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000), partial(weights, method="SG-MCMC"),
    ),
    Series(
        "ADVI", "weights", f"ADVI, batches of {BATCH}, 20-h-h-1, float32", "step",
        (100, 10_000, 1_000_000, 10_000_000), partial(weights, method="ADVI"),
    ),
    Series(
        "SG-MCMC of all chains", "chains", f"SG-MCMC, batches of {BATCH}, 2-5-5-1", "step",
        (1, 4, 16, 64), chains,
    ),
    Series(
        "probabilities at 100 points", "draws", "predictor, 2-5-5-1", "call",
        (100, 1_000, 10_000, 100_000), partial(prediction, points=100),
    ),
    Series(
        "each of 100 draws", "points", "predictor, 2-5-5-1, all draws returned", "call",
        (100, 10_000, 1_000_000), partial(prediction, draws=100),
    ),
    Series(
        "mean of 100 draws", "points", "predictor, 2-5-5-1, reduced block by block", "call",
        (100, 1_000, 10_000, 100_000, 1_000_000), partial(prediction, draws=100, reduce="mean"),
    ),
    Series(
        "ADVI, 50 rows a group", "groups", "ADVI, all rows, a network 2-5-5-1 a group", "step",
        (2, 18, 100, 1_000), groups,
    ),
)  # fmt: skip
