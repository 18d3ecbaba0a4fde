"""What a callback of variational inference sees, and the callbacks made for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from bnnbook.checks import positive_int, positive_number
from bnnbook.inference.callbacks import FitState

__all__ = ["ADVIState", "EarlyStopping", "Tracker"]


class _Shared(NamedTuple):
    """The part of a shared variable that PyMC's own callbacks read."""

    value: np.ndarray

    def get_value(self) -> np.ndarray:
        return self.value


@dataclass(frozen=True)
class ADVIState(FitState):
    """What a callback sees: the variational parameters after ``step`` steps.

    ``mean`` and ``sd`` are dicts of arrays by unconstrained variable; ``elbo`` is the last step's,
    per full data set; ``annealed`` the last step so far whose KL weight was below 1, or 0;
    ``params`` serves PyMC's ``CheckParametersConvergence``.
    """

    flat_mean: np.ndarray
    flat_sd: np.ndarray
    annealed: int = 0

    @property
    def elbo(self) -> float:
        return self.objective

    @cached_property
    def mean(self) -> dict[str, np.ndarray]:
        return self.density.split(self.flat_mean)

    @cached_property
    def sd(self) -> dict[str, np.ndarray]:
        return self.density.split(self.flat_sd)

    @property
    def params(self) -> list[_Shared]:
        return [_Shared(self.flat_mean), _Shared(self.flat_sd)]


class Tracker:
    """Callback that records functions of the state, such as ``mean=lambda s: s.mean["w1"]``.

    ``tracker["mean"]`` is then an array with one row per call, and ``tracker.steps`` the steps.
    """

    def __init__(self, **functions: Callable[[ADVIState], Any]) -> None:
        if not functions:
            raise ValueError("Tracker needs at least one function, as name=function")
        self._functions = functions
        self._records: dict[str, list[Any]] = {name: [] for name in functions}
        self.steps: list[int] = []

    def __call__(self, state: ADVIState, _losses: np.ndarray, step: int) -> None:
        self.steps.append(step)
        for name, function in self._functions.items():
            self._records[name].append(function(state))

    def __getitem__(self, name: str) -> np.ndarray:
        return np.array(self._records[name])


class EarlyStopping:
    """Callback that stops once the ELBO has stopped rising.

    Compares the mean ELBO of the last ``window`` steps with that of the window before, and stops
    when the gain is below ``tolerance`` nats. Steps whose KL weight was below 1 do not count, nor
    those before them: while an annealed objective changes, a flat ELBO means nothing.
    """

    def __init__(self, *, window: int = 2000, tolerance: float = 0.5) -> None:
        self.window = positive_int("window", window)
        self.tolerance = positive_number("tolerance", tolerance)

    def __call__(self, state: ADVIState | None, losses: np.ndarray, _step: int) -> None:
        if len(losses) - getattr(state, "annealed", 0) < 2 * self.window:
            return
        before = -losses[-2 * self.window : -self.window]
        after = -losses[-self.window :]
        if after.mean() - before.mean() < self.tolerance:
            raise StopIteration(
                f"ELBO gained {after.mean() - before.mean():.2f} nats over {self.window} steps, "
                f"less than {self.tolerance}"
            )
