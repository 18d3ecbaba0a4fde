"""What a fit tells its callbacks, and two callbacks for any fit: a live figure and a metric log.

A callback is any function of (state, losses, step). It may have an attribute ``every`` (steps
between calls) and methods ``start(method, settings)`` and ``finish(status)``, which are called
around each run: once for each start of an optimiser and once for all chains of a sampler.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from math import gcd
from pathlib import Path
from types import TracebackType
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from bnnbook.checks import positive_int
from bnnbook.density import LogDensity
from bnnbook.inference.results import posterior_dataset

__all__ = ["Callback", "FitState", "LivePlot", "MLflowLog", "Reporter", "common_interval"]

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
        data = tuple(jnp.asarray(a) for a in self.density.data)
        return posterior_dataset(self.density, self.sample(draws)[None], data)


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

    def __bool__(self) -> bool:
        return bool(self._callbacks)

    def __enter__(self) -> Reporter:
        for callback in self._callbacks:
            if hasattr(callback, "start"):
                self._guarded(callback, callback.start, self._method, self._settings)
        return self

    def __call__(self, state: FitState, losses: np.ndarray) -> None:
        before, self._step = self._step, state.step
        for callback in self._callbacks:
            every = _every(callback, self._default_every)
            if state.step // every > before // every:
                self._guarded(callback, callback, state, losses, state.step)

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        status = "FINISHED"
        if kind is not None and not issubclass(kind, StopIteration):
            status = "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        for callback in self._callbacks:
            if hasattr(callback, "finish"):
                self._guarded(callback, callback.finish, status)

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


class LivePlot:
    """Callback that redraws one figure in place while a fit runs in Jupyter.

    The left panel holds the objective against the step. ``draw(state, ax)``, if given, draws what
    you like on the right, such as predictions from ``state.posterior()``. Outside a notebook
    nothing is drawn and the progress bar serves.

    Parameters
    ----------
    every : int
        Steps between two pictures.
    draw : function of (state, ax), optional
    alt : str
        Text alternative of the picture.
    """

    def __init__(
        self,
        *,
        every: int = 50,
        draw: Callable[[FitState, Any], Any] | None = None,
        alt: str = "Objective of the running fit against the step.",
    ) -> None:
        self.every = positive_int("every", every)
        if draw is not None and not callable(draw):
            raise TypeError(f"draw must be a function of (state, ax), got {draw!r}")
        self._draw, self._alt = draw, alt
        self._handle: Any = None

    def start(self, method: str, settings: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Show the next picture below the last run's, if there was one."""
        self._handle = None

    def __call__(self, state: FitState, losses: np.ndarray, step: int) -> None:
        if not _in_notebook():
            return
        from IPython.display import Image, display

        picture = Image(data=self._picture(state, losses, step), format="png", alt=self._alt)
        if self._handle is None:
            self._handle = display(picture, display_id=True)
        else:
            self._handle.update(picture)

    def _picture(self, state: FitState, losses: np.ndarray, step: int) -> bytes:
        from matplotlib.figure import Figure  # not pyplot: no figure is left open

        panels = 1 if self._draw is None else 2
        figure = Figure(figsize=(4.2 * panels, 3.2), layout="constrained")
        axes = figure.subplots(1, panels, squeeze=False)[0]
        objective = -np.asarray(losses)
        steps = np.arange(1, len(objective) + 1)
        axes[0].plot(steps, objective, color="#0072B2", linestyle="-", linewidth=1)
        axes[0].set(xlabel="step", ylabel=f"{state.objective_name} (nats)")
        axes[0].set_title(f"{state.method}, step {step:,}, {state.seconds:.1f} s")
        if len(objective) > 20:  # the first steps would flatten the rest
            low, high = np.quantile(objective, [0.1, 1.0])
            margin = 0.05 * (high - low) + 1e-9
            axes[0].set_ylim(low - margin, high + margin)
        if self._draw is not None:
            self._draw(state, axes[1])
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=110, facecolor="white")
        return buffer.getvalue()


class MLflowLog:
    """Callback that logs a fit to MLflow: its settings, objective, seconds and your own metrics.

    Each run of an optimiser, or all chains of a sampler, becomes one MLflow run in a store of plain
    files; no server is needed. ``mlflow ui`` shows it, with MLFLOW_ALLOW_FILE_STORE=true set.

    Parameters
    ----------
    directory : path
        Of the store; made if it does not exist.
    experiment : str
    every : int
        Steps between two entries.
    metrics : function of the state that returns a dict of numbers, optional

    Attributes
    ----------
    run_ids : list of str
        The runs written so far, for ``client.get_metric_history(run_id, "objective")``.
    client : mlflow.MlflowClient

    Raises
    ------
    ImportError
        If MLflow is not installed.
    PermissionError
        If the directory cannot be made or written to.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        experiment: str = "bnnbook",
        every: int = 50,
        metrics: Callable[[FitState], Mapping[str, float]] | None = None,
    ) -> None:
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise ImportError("MLflowLog needs MLflow: pip install mlflow-skinny") from error
        self.every = positive_int("every", every)
        path = Path(directory).absolute()
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise PermissionError(
                f"directory must be writable, got {path}: {error.strerror or error}"
            ) from error
        self._metrics = metrics
        self.run_ids: list[str] = []
        with _file_store_allowed():
            self.client = MlflowClient(tracking_uri=path.as_uri())
            known = self.client.get_experiment_by_name(experiment)
            self._experiment = known.experiment_id if known else self.client.create_experiment(
                experiment
            )  # fmt: skip

    def start(self, method: str, settings: Mapping[str, Any]) -> None:
        """Open a run and note its settings."""
        run = self.client.create_run(self._experiment, run_name=method)
        self.run_ids.append(run.info.run_id)
        for name, value in {"method": method, **settings}.items():
            self.client.log_param(run.info.run_id, name, value)

    def __call__(self, state: FitState, losses: np.ndarray, step: int) -> None:  # noqa: ARG002
        from mlflow.entities import Metric

        values = {"objective": state.objective, "seconds": state.seconds}
        if self._metrics is not None:
            values |= {name: float(value) for name, value in self._metrics(state).items()}
        now = int(1000 * time.time())
        entries = [Metric(name, value, now, step) for name, value in values.items()]
        self.client.log_batch(self.run_ids[-1], metrics=entries)

    def finish(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED (Ctrl-C)."""
        self.client.set_terminated(self.run_ids[-1], status)


def _every(callback: Callback, default: int) -> int:
    every = getattr(callback, "every", default)
    return int(every) if every else default


def _in_notebook() -> bool:
    """Whether this process is a Jupyter kernel; IPython in a terminal is none."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


@contextmanager
def _file_store_allowed() -> Iterator[None]:
    """MLflow >= 3.17 opens a store of plain files only if this variable is set."""
    name = "MLFLOW_ALLOW_FILE_STORE"
    before = os.environ.get(name)
    os.environ[name] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
