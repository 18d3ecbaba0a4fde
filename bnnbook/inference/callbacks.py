"""What a fit tells its callbacks, and when.

A callback is any function of (state, losses, step). It may have an attribute ``every`` (steps
between calls), an attribute ``at_end`` (if true, it is called once more where the run ended, unless
the run failed or it has seen that step), and methods ``start(method, settings)`` and
``finish(status)``, which are called around each run: once for each start of an optimiser and once
for all chains of a sampler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import gcd
from types import TracebackType
from typing import Any

import numpy as np
import xarray as xr

from bnnbook.density import LogDensity
from bnnbook.inference.results import posterior_dataset

__all__ = ["Callback", "FitState", "Reporter", "common_interval"]

Callback = Callable[[Any, np.ndarray, int], None]
OBJECTIVES = {"advi": "ELBO", "fullrank_advi": "ELBO"}  # others climb or walk on a log density


@dataclass(frozen=True)
class FitState:
    """What a callback of any fit sees after ``step`` steps.

    ``objective`` is the ELBO of ADVI, the log density of the other methods; ``seconds`` run from
    the start, without compiling; ``sample(n)`` gives about n unconstrained parameter vectors.
    """

    step: int
    objective: float
    seconds: float
    method: str
    density: LogDensity = field(repr=False)
    sample: Callable[[int], np.ndarray] = field(repr=False)

    @property
    def objective_name(self) -> str:
        return OBJECTIVES.get(self.method, "log density")

    def posterior(self, draws: int = 20) -> xr.Dataset:
        """Draws (chain, draw, ...) from where the fit is now, for a compiled predictor.

        From the current approximation, the last draws of the chains, or, repeated, the one point
        that an optimiser has reached.
        """
        return posterior_dataset(self.density, self.sample(draws)[None])


def common_interval(callbacks: Sequence[Callback], default: int) -> int:
    """Steps after which some callback may be due: the greatest common divisor of theirs."""
    return gcd(*(_every(callback, default) for callback in callbacks)) if callbacks else default


class Reporter:
    """Calls the callbacks of one run when they are due; a context from its start to its end.

    An error in a callback ends the fit as a ``RuntimeError`` that names the callback and the step;
    ``StopIteration`` and ``KeyboardInterrupt`` pass through, since they end a fit without error.
    """

    def __init__(
        self, callbacks: Sequence[Callback], *, method: str, settings: Mapping[str, Any],
        default_every: int = 1,
    ) -> None:  # fmt: skip
        self._callbacks = tuple(callbacks)
        self._method, self._settings = method, dict(settings)
        self._default_every = default_every
        self._step = 0
        self._last: tuple[FitState, np.ndarray] | None = None
        self._called: dict[int, int] = {}  # the step that each callback last saw

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def __enter__(self) -> Reporter:
        for callback in self._callbacks:
            if hasattr(callback, "start"):
                self._guarded(callback, callback.start, self._method, self._settings)
        return self

    def __call__(self, state: FitState, losses: np.ndarray) -> None:
        before, self._step = self._step, state.step
        self._last = (state, losses)
        for number, callback in enumerate(self._callbacks):
            every = _every(callback, self._default_every)
            if state.step // every > before // every:
                self._called[number] = state.step
                self._guarded(callback, callback, state, losses, state.step)

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        status = "FINISHED"
        if kind is not None and not issubclass(kind, StopIteration):
            status = "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        failure = None
        if status != "FAILED":
            try:
                self._call_at_end()
            except RuntimeError as error:
                status, failure = "FAILED", error
        for callback in self._callbacks:
            if hasattr(callback, "finish"):
                self._guarded(callback, callback.finish, status)
        if failure is not None:
            raise failure

    def _call_at_end(self) -> None:
        for number, callback in enumerate(self._callbacks):
            wanted = getattr(callback, "at_end", False) and self._called.get(number) != self._step
            if wanted and self._last is not None:
                with suppress(StopIteration):  # the run is over
                    self._guarded(callback, callback, *self._last, self._step)

    def _guarded(self, callback: Callback, function: Callable[..., Any], *args: Any) -> None:
        try:
            function(*args)
        except (StopIteration, KeyboardInterrupt):
            raise
        except Exception as error:
            name = getattr(callback, "__name__", type(callback).__name__)
            raise RuntimeError(
                f"callback {name} raised {type(error).__name__} at step {self._step}: {error}"
            ) from error


def _every(callback: Callback, default: int) -> int:
    every = getattr(callback, "every", default)
    return int(every) if every else default
