"""What the scores are given, checked: labels, probabilities, draws of a likelihood's parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

__all__ = [
    "SAMPLE_DIMS",
    "Classes",
    "by_draw",
    "check_rows_sum_to_one",
    "class_probabilities",
    "labels_and_classes",
    "parameter_draws",
    "positive_bins",
    "real_numbers",
    "real_targets",
    "refuse_masked",
    "same_labels",
    "unit_level",
]

SAMPLE_DIMS = ("chain", "draw", "sample")


class Classes(NamedTuple):
    """Class probabilities (n, K) in double precision, their rows summing to 1.

    ``certainty`` (n,) is the top probability as it was given, in its own precision, so that equal
    inputs tie; ``rounding`` is what a probability may be off by for having been rounded.
    """

    probs: np.ndarray
    certainty: np.ndarray
    rounding: float


def real_numbers(name: str, value: Any) -> np.ndarray:
    """``value`` in double precision, or an error that names it.

    Of complex numbers NumPy would take the real part, of dates their days, of a masked array what
    lies behind the mask.
    """
    refuse_masked(name, value)
    array = np.asarray(value)
    if array.dtype.kind == "O":  # such as a nullable column
        try:
            array = array.astype(float)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name} must hold real numbers, got {error}") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    return array.astype(float, copy=False)


def refuse_masked(name: str, value: Any) -> None:
    """Raise if entries of a masked array are masked: they would count like any other."""
    if np.ma.is_masked(value):
        hidden = int(np.ma.getmaskarray(value).sum())
        raise ValueError(
            f"{name} must have no masked values, got {hidden} of {np.size(value)}: leave them out"
        )


def check_rows_sum_to_one(name: str, probs: np.ndarray, dtype: Any) -> None:
    """Raise unless the last axis sums to 1, as nearly as ``dtype`` can hold it.

    The bound is 1e-5, since probabilities computed in single precision are often cast to double;
    8 units of rounding in half precision.
    """
    bound = max(1e-5, 8 * float(np.finfo(dtype).eps))
    off = np.abs(probs.sum(axis=-1) - 1)
    if off.size and off.max() > bound:
        row = np.unravel_index(int(off.argmax()), off.shape)
        raise ValueError(
            f"{name} must sum to 1 over the classes in every row, got a sum of "
            f"{float(probs[row].sum()):.6g} in row {row[-1] if row else 0}"
        )


def class_probabilities(name: str, p: Any) -> Classes:
    """Probabilities of class 1, (n,), or of each class, (n, K); draws of a DataArray averaged.

    A DataArray's dim ``class`` is found by its name, and put in order if its labels are integers.
    """
    dtype = np.result_type(getattr(p, "dtype", np.float64))
    dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
    if isinstance(p, xr.DataArray):
        samples = [d for d in SAMPLE_DIMS if d in p.dims]
        p = p.astype(float).mean(samples) if samples else p
        p = _classes_in_order(name, p)
    refuse_masked(name, p)
    raw = np.asarray(p)
    if raw.ndim not in (1, 2) or raw.size == 0:
        raise ValueError(f"{name} must have shape (n,) or (n, K), got {raw.shape}")
    if raw.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold numbers, got dtype {raw.dtype}")
    raw = raw if raw.dtype.kind == "f" else raw.astype(float)
    if not ((raw >= 0) & (raw <= 1)).all():  # also catches NaN
        raise ValueError(f"{name} must lie in [0, 1], got a value outside or NaN")
    probs = raw.astype(float)
    rounding = 4 * float(np.finfo(dtype).eps)
    if raw.ndim == 1:
        return Classes(np.stack([1 - probs, probs], axis=1), np.maximum(raw, 1 - raw), rounding)
    check_rows_sum_to_one(name, probs, dtype)
    return Classes(probs / probs.sum(axis=1, keepdims=True), raw.max(axis=1), rounding)


def labels_and_classes(y: Any, p: Any) -> tuple[np.ndarray, Classes]:
    """Labels (n,) and the probabilities of their classes, or an error that names the argument."""
    refuse_masked("y", y)
    labels = np.asarray(y)
    if labels.ndim != 1 or labels.size == 0:
        raise ValueError(f"y must be a non-empty 1-D array, got shape {labels.shape}")
    if labels.dtype.kind not in "iub":
        raise TypeError(f"y must hold integer labels, got dtype {labels.dtype}")
    classes = class_probabilities("p", p)
    same_labels(y, p, "y and the predictions")
    n, width = classes.probs.shape
    if n != len(labels):
        raise ValueError(f"y and p must have the same length, got {len(labels)} and {n}")
    if labels.min() < 0 or labels.max() >= width:
        raise ValueError(f"y must hold labels 0..{width - 1}, got {labels.min()}..{labels.max()}")
    return labels.astype(np.intp), classes


def parameter_draws(name: str, value: Any, *, positive: bool = False) -> np.ndarray:
    """Draws of one parameter for every target as (draws, n[, D]), or an error that names it."""
    if isinstance(value, xr.DataArray):
        dims = [d for d in SAMPLE_DIMS if d in value.dims]
        if not dims:
            raise ValueError(f"{name} must have dims chain and draw, got {value.dims}")
        value = value.transpose(*dims, ...).to_numpy()
        value = value.reshape(-1, *value.shape[len(dims) :])
    array = real_numbers(name, value)
    if array.ndim not in (2, 3) or array.size == 0:
        raise ValueError(f"{name} must have shape (draws, n) or (draws, n, D), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    if positive and (array <= 0).any():
        raise ValueError(f"{name} must be positive, got {array.min()}")
    return array


def by_draw(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A parameter that is one number, one a draw, or one a draw and target, for ``shape``."""
    if isinstance(value, xr.DataArray):
        dims = [d for d in SAMPLE_DIMS if d in value.dims]
        value = value.transpose(*dims, ...).to_numpy()
        value = value.reshape(-1, *value.shape[len(dims) :])
    array = real_numbers(name, value)
    if array.shape not in ((), shape[:1], shape):
        raise ValueError(
            f"{name} must be a number, one a draw, {shape[:1]}, or of the shape of mu, {shape}, "
            f"got {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return array.reshape(array.shape + (1,) * (len(shape) - array.ndim)) if array.ndim else array


def real_targets(y: Any, draws: np.ndarray, given: Any = None) -> np.ndarray:
    """Finite targets of the shape of one of the ``draws``, which ``given`` held with labels."""
    target = real_numbers("y", y)
    if target.shape != draws.shape[1:]:
        raise ValueError(
            f"y must have the shape of one draw of mu, {draws.shape[1:]}, got {target.shape}"
        )
    if not np.isfinite(target).all():
        raise ValueError("y must be finite, got NaN or infinity")
    same_labels(y, given, "y and the predictions")
    return target


def positive_bins(n_bins: Any) -> int:
    """Return the number of bins, or raise."""
    if isinstance(n_bins, bool) or not isinstance(n_bins, int | np.integer) or n_bins < 1:
        raise ValueError(f"n_bins must be a positive integer, got {n_bins!r}")
    return int(n_bins)


def unit_level(level: Any) -> float:
    """Return a probability strictly between 0 and 1, or raise."""
    if isinstance(level, str) or np.ndim(level) or not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    return float(level)


def same_labels(first: Any, second: Any, names: str) -> None:
    """Two DataArrays must carry the same labels in the same order along the dims of both."""
    if not (isinstance(first, xr.DataArray) and isinstance(second, xr.DataArray)):
        return
    for dim in set(first.indexes) & set(second.indexes):
        if not first.indexes[dim].equals(second.indexes[dim]):
            raise ValueError(f"{names} must have the same labels along {dim!r}, in the same order")


def _classes_in_order(name: str, p: xr.DataArray) -> xr.DataArray:
    """Classes on the last axis; those with the integers 0, ..., K - 1 as labels in that order."""
    if "class" not in p.dims:
        if p.ndim == 2 and p.dims[1] in ("obs", "obs_id"):
            raise ValueError(
                f"{name} must have the dims of draws named {', '.join(SAMPLE_DIMS)} and its "
                f"classes on the last axis, got {p.dims}"
            )
        return p
    p = p.transpose(..., "class")
    codes = p["class"].to_numpy() if "class" in p.indexes else np.arange(0)
    if codes.dtype.kind in "iu" and sorted(codes.tolist()) == list(range(p.sizes["class"])):
        return p.isel({"class": np.argsort(codes)})
    return p
