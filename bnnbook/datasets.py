"""Small data sets with a training and a test half."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import make_moons
from sklearn.model_selection import train_test_split

__all__ = ["Dataset", "two_moons"]


@dataclass(frozen=True)
class Dataset:
    """A data set split in two: inputs (n, d) in float64, labels (n,) in int64."""

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    name: str
    description: str


def two_moons(n: int = 1000, noise: float = 0.2, test_size: float = 0.5, *, seed: int) -> Dataset:
    """Two interleaved half circles with normal noise: scikit-learn's ``make_moons``.

    Inputs are standardised with the mean and standard deviation of the *training* half, so that
    nothing about the test half enters the fit.

    Parameters
    ----------
    n : int
        Points in all, at least 4.
    noise : float
        Standard deviation of the noise, before standardising; at least 0.
    test_size : float
        Share of test points, in (0, 1).
    seed : int
        Of the points (``random_state``) and of the split.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 4:
        raise ValueError(f"n must be an integer of at least 4, got {n!r}")
    if not (np.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise must be finite and at least 0, got {noise}")
    if not 0 < test_size < 1:
        raise ValueError(f"test_size must lie in (0, 1), got {test_size}")
    X, y = make_moons(n, noise=noise, random_state=seed)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y.astype(np.int64), test_size=test_size, random_state=seed
    )
    centre, scale = X_train.mean(axis=0), X_train.std(axis=0)
    return Dataset(
        X_train=(X_train - centre) / scale,
        y_train=y_train,
        X_test=(X_test - centre) / scale,
        y_test=y_test,
        name="two moons",
        description=(
            f"two moons: {len(X_train)} training and {len(X_test)} test points, "
            f"2 inputs standardised on the training half, 2 classes, noise sd {noise}"
        ),
    )
