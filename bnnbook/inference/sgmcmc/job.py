"""Everything that decides a run's draws, checked."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pymc as pm

from bnnbook.checks import float_dtype, non_negative_int, positive_int, positive_number, seed_int
from bnnbook.density import LogDensity, compile_log_density, first_points
from bnnbook.density.minibatch import Minibatches, cut
from bnnbook.inference.sgmcmc.checkpoint import fingerprint
from bnnbook.inference.sgmcmc.kernel import Kernel
from bnnbook.inference.sgmcmc.schedules import Plan

__all__ = ["Job", "check_job"]

HISTORY = 4096  # most entries of the history of log densities


@dataclass(frozen=True)
class Job:
    """A model, how it is sampled, and where its chains start (chains, D).

    ``batches`` cut the data into minibatches, ``whole`` does not. ``run`` is the fingerprint.
    """

    model: pm.Model
    kernel: Kernel
    density: LogDensity = field(repr=False)
    batches: Minibatches = field(repr=False)
    whole: Minibatches = field(repr=False)
    plan: Plan = field(repr=False)
    starts: np.ndarray = field(repr=False)
    batch_size: int | None
    draws: int
    tune: int
    thin: int
    chains: int
    seed: int
    dtype: type
    checkpoint: Path | None
    checkpoint_every: float
    store: Path | None
    run: str

    @property
    def n(self) -> int:
        """Rows of a batch, of the first observed variable."""
        return self.batches.sizes[0]

    @property
    def settings(self) -> dict[str, Any]:
        """For the record."""
        return {
            **self.kernel.settings, "batch_size": self.n, "draws": self.draws, "tune": self.tune,
            "thin": self.thin, "chains": self.chains, "dtype": np.dtype(self.dtype).name,
        }  # fmt: skip

    @property
    def history_every(self) -> int:
        """Steps between two entries of the history."""
        return -(-self.plan.steps // HISTORY)


def check_job(
    model: pm.Model, kernel: Kernel, *, batch_size: int | None, draws: int, tune: int, thin: int,
    chains: int, seed: int, start: Any, dtype: str, checkpoint: str | Path | None,
    checkpoint_every: float, store: str | Path | None,
) -> Job:  # fmt: skip
    """Check the arguments of :func:`sample_sgmcmc`, which documents them."""
    if not isinstance(kernel, Kernel):
        raise TypeError(
            "kernel must come from inference.sgld or inference.sghmc, "
            f"got {kernel!r} ({type(kernel).__name__})"
        )
    number = np.float32 if float_dtype(dtype) == "float32" else np.float64
    draws, thin = positive_int("draws", draws), positive_int("thin", thin)
    chains, seed = positive_int("chains", chains), seed_int(seed)
    tune = non_negative_int("tune", tune)
    checkpoint_every = positive_number("checkpoint_every", checkpoint_every)
    if kernel.needs_tune and tune == 0:
        raise ValueError("tune must be at least 1 for a preconditioner that adapts in it, got 0")
    _warn(kernel, chains)
    density = compile_log_density(model)
    if density.batch_size is not None:
        raise ValueError(
            "model already has pm.Minibatch data: give it the full data in pm.Data instead, and "
            f"batch_size={density.batch_size} to sample_sgmcmc, which cuts and scales them itself"
        )
    batches = cut(density, batch_size)
    starts = first_points(density, start, chains, seed=seed, dtype=number).astype(number)
    settings = {
        "n": list(batches.sizes), "draws": draws, "tune": tune, "thin": thin, "chains": chains,
        "seed": seed, "dtype": dtype,
    }  # fmt: skip
    places = {"checkpoint": checkpoint, "store": store}
    paths = {name: None if p is None else _folder(name, p) for name, p in places.items()}
    return Job(
        model=model, kernel=kernel, density=density, batches=batches, whole=cut(density, None),
        plan=kernel.schedule.plan(draws, tune, thin), starts=starts, batch_size=batch_size,
        draws=draws, tune=tune, thin=thin, chains=chains, seed=seed, dtype=number,
        checkpoint=paths["checkpoint"], checkpoint_every=checkpoint_every, store=paths["store"],
        run=fingerprint(density, kernel, starts, settings) if any(paths.values()) else "",
    )  # fmt: skip


def _warn(kernel: Kernel, chains: int) -> None:
    if chains == 1:
        warnings.warn("R-hat between chains needs chains > 1, got 1", UserWarning, stacklevel=4)
    if kernel.temperature == 0:
        warnings.warn(
            "temperature 0 adds no noise: this is optimisation, not sampling", UserWarning,
            stacklevel=4,
        )  # fmt: skip


def _folder(name: str, path: str | Path) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{name} must be a path, got {path!r}")
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise ValueError(f"{name} must be a folder, got the file {path}")
    return path
