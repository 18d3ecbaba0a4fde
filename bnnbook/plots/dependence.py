"""How predictions depend on one column: partial dependence and its parts, row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from bnnbook.frames import is_frame
from bnnbook.plots.style import line_of, numbered_style

__all__ = ["ice", "partial_dependence"]

GRID = 20  # values, where a column has more
TAILS = 0.05, 0.95  # quantiles that the grid reaches to: beyond them there are few rows


def partial_dependence(
    model: Any,
    X: Any,
    feature: str | int,
    *,
    grid: Any = None,
    target: Any = None,
    level: float = 0.9,
    ax: Axes | None = None,
) -> Axes:
    """Mean prediction over the rows of X with one column set to each value (Friedman 2001, eq. 47).

    Every posterior draw has its own curve: the line is their mean, the band their central interval,
    so it is the uncertainty of the curve, noise left out. Where columns depend on each other, some
    of the rows that it averages over cannot occur.

    Parameters
    ----------
    model : estimator, Pipeline, or function of X
        A fitted estimator of :mod:`bnnbook.estimators`, a pipeline that ends with one, or a
        function that returns draws, as a DataArray (chain, draw, obs[, class]) or an array
        (draws, n[, K]).
    X : array or frame (n, d)
    feature : str or int
        Name of a frame's column, or number of an array's.
    grid : sequence, optional
        Values to set; by default the column's own if there are at most 20, else 20 evenly spaced
        from its 5 % to its 95 % quantile.
    target : label, optional
        Whose probability is shown, for classes; by default the second of two.
    level : float
        Probability of the band, in (0, 1).

    Raises
    ------
    ValueError, TypeError
        If the column does not exist, the grid is empty, ``level`` is not in (0, 1), ``target`` is
        no class or left out for three or more, or ``model`` gives no draws.
    """
    values, tails = _values(X, feature, grid), _tails(level)
    curves = [draws.mean(axis=1) for draws in _draws(model, X, feature, values, target)]
    ax = _axes(ax, feature, values)
    _band(ax, values, np.array(curves).T, tails, {"color": "#0072B2"}, label=f"{level:.0%} band")
    ax.set_ylabel("mean prediction")
    return ax


def ice(
    model: Any,
    X: Any,
    feature: str | int,
    *,
    rows: Sequence[int] | None = None,
    grid: Any = None,
    target: Any = None,
    level: float = 0.9,
    ax: Axes | None = None,
) -> Axes:
    """Predictions of single rows with one column set to each value (Goldstein et al. 2015).

    Lines are posterior means and bands central intervals over the draws. Curves that are not
    parallel show that the column acts together with others.

    Parameters
    ----------
    model, X, feature, grid, target, level
        As of :func:`partial_dependence`, and the errors too.
    rows : sequence of int, optional
        Positions of the rows to show; by default at most six, evenly spaced.
    """
    n = len(X)
    chosen = np.unique(np.linspace(0, n - 1, min(n, 6)).astype(int)) if rows is None else rows
    chosen = np.asarray(chosen)
    if chosen.ndim != 1 or chosen.size == 0 or chosen.dtype.kind not in "iu":
        raise TypeError(f"rows must be positions of rows, integers, got {rows!r}")
    if chosen.min() < 0 or chosen.max() >= n:
        raise ValueError(f"rows must lie in 0..{n - 1}, got {rows!r}")
    values, tails = _values(X, feature, grid), _tails(level)
    part = X.iloc[chosen] if hasattr(X, "iloc") else (X if is_frame(X) else np.asarray(X))[chosen]
    curves = np.array(list(_draws(model, part, feature, values, target)))  # (grid, draws, rows)
    ax = _axes(ax, feature, values)
    for i, row in enumerate(chosen):
        style = line_of(numbered_style(i))
        _band(ax, values, curves[:, :, i].T, tails, style, label=f"row {row}")
    ax.set_ylabel("prediction")
    return ax


def _values(X: Any, feature: str | int, grid: Any) -> np.ndarray:
    """Values that the column is set to."""
    if is_frame(X):
        columns = list(X.columns)
        if feature not in columns:
            raise ValueError(f"feature must be a column of X, {columns}, got {feature!r}")
        column = np.asarray(X[feature])
    else:
        X = np.asarray(X)
        if isinstance(feature, bool) or not isinstance(feature, int | np.integer):
            raise TypeError(f"feature must be the number of a column of an array, got {feature!r}")
        if not 0 <= feature < X.shape[1]:
            raise ValueError(f"feature must lie in 0..{X.shape[1] - 1}, got {feature}")
        column = X[:, feature]
    if grid is not None:
        values = np.asarray(grid)
        if values.ndim != 1 or values.size == 0:
            raise ValueError(f"grid must be a sequence of values, got shape {values.shape}")
        return values
    own = np.unique(column)
    if len(own) <= GRID or own.dtype.kind not in "iuf":
        return own
    low, high = np.quantile(column, TAILS)
    return np.linspace(low, high, GRID)


def _tails(level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    return (1 - level) / 2, (1 + level) / 2


def _draws(
    model: Any, X: Any, feature: str | int, values: np.ndarray, target: Any
) -> Iterator[np.ndarray]:
    """Draws (draws, rows) of the prediction at each value."""
    predict = _predictions(model)
    for value in values:
        yield _one_output(predict(_with_column(X, feature, value)), target)


def _predictions(model: Any) -> Callable[[Any], Any]:
    if hasattr(model, "steps"):
        before, last = model[:-1], _predictions(model[-1])
        return lambda X: last(before.transform(X) if len(before) else X)
    if hasattr(model, "predict_draws"):

        def predict(X: Any) -> xr.DataArray:
            found = model.predict_draws(X)
            if "mu" in found:
                return found["mu"]
            p, classes = found["p"], model.classes_
            both = p if "class" in p.dims else xr.concat([1 - p, p], "class")
            return both.assign_coords({"class": classes})

        return predict
    if not callable(model):
        raise TypeError(
            "model must be an estimator with predict_draws, a pipeline that ends with one, or a "
            f"function of X, got {type(model).__name__}"
        )
    return model


def _one_output(draws: Any, target: Any) -> np.ndarray:
    """Predictions of one number, (draws, rows)."""
    if isinstance(draws, xr.DataArray):
        samples = [d for d in ("chain", "draw", "sample") if d in draws.dims]
        labels = draws["class"].to_numpy().tolist() if "class" in draws.coords else None
        rest = [d for d in draws.dims if d not in samples]
        array = draws.transpose(*samples, *rest).to_numpy()
        array = array.reshape(-1, *array.shape[len(samples) :])
        if rest and rest[0] != "obs" and "obs" in rest:
            array = np.moveaxis(array, 1 + rest.index("obs"), 1)
    else:
        array, labels = np.asarray(draws, dtype=float), None
    if array.ndim == 2:
        if target is not None:
            raise ValueError(f"target is for several classes or outputs, got {target!r}")
        return array
    if array.ndim != 3:
        raise ValueError(f"model must give draws (draws, n) or (draws, n, K), got {array.shape}")
    labels = list(range(array.shape[2])) if labels is None else labels
    if target is None and len(labels) == 2:
        return array[:, :, 1]
    if target not in labels:
        raise ValueError(f"target must be one of {labels}, got {target!r}")
    return array[:, :, labels.index(target)]


def _with_column(X: Any, feature: str | int, value: Any) -> Any:
    """X with one column set to a value in every row."""
    value = value.item() if isinstance(value, np.generic) else value
    if hasattr(X, "with_columns"):  # polars
        return X.with_columns(type(X[feature])(feature, [value] * len(X)))
    if is_frame(X):
        changed = X.copy()
        changed[feature] = value
        return changed
    array: Any = np.array(X, dtype=np.float64)
    array[:, feature] = value
    return array


def _axes(ax: Axes | None, feature: str | int, values: np.ndarray) -> Axes:
    ax = ax or plt.gca()
    ax.set_xlabel(str(feature) if isinstance(feature, str) else f"column {feature}")
    if values.dtype.kind not in "iuf":
        ax.set_xticks(range(len(values)), [str(v) for v in values])
    return ax


def _band(
    ax: Axes, values: np.ndarray, curves: np.ndarray, tails: tuple[float, float],
    style: dict[str, Any], label: str,
) -> None:  # fmt: skip
    """Mean and interval of curves (draws, grid); for categories, points with bars."""
    mean = curves.mean(axis=0)
    low, high = np.quantile(curves, tails, axis=0)
    if values.dtype.kind in "iuf":
        ax.fill_between(values, low, high, alpha=0.25, color=style["color"], linewidth=0)
        ax.plot(values, mean, label=label, **style)
    else:
        at = np.arange(len(values))
        ax.vlines(at, low, high, color=style["color"], alpha=0.5)
        ax.plot(at, mean, "o", label=label, color=style["color"])
