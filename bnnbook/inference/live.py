"""Two callbacks for any fit: a figure that is redrawn while it runs, and a metric log."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from bnnbook.checks import positive_int
from bnnbook.inference.callbacks import FitState
from bnnbook.inference.progress import in_notebook

__all__ = ["LivePlot", "MLflowLog"]


class LivePlot:
    """Callback that redraws one figure in place while a fit runs in Jupyter.

    The left panel holds the objective against the step. ``draw(state, ax)``, if given, draws what
    you like on the right, such as predictions from ``state.posterior()``. The last picture is of
    where the run ended, however few steps it took. Outside a notebook nothing is drawn and the
    progress bar serves.

    Parameters
    ----------
    every : int
        Steps between two pictures.
    draw : function of (state, ax), optional
    alt : str
        Text alternative of the picture.
    """

    at_end = True

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
        if not in_notebook():
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
