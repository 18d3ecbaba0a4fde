"""Small data sets with a training and a test half."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import make_moons
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

__all__ = ["Dataset", "GroupedDataset", "grouped_moons", "two_moons"]


@dataclass(frozen=True)
class Dataset:
    """A data set split in two: inputs (n, d) in float64, labels (n,) in int64."""

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    name: str
    description: str


@dataclass(frozen=True)
class GroupedDataset(Dataset):
    """Groups of equal size, split in two: inputs (group, obs, d), labels (group, obs).

    ``degrees`` (group,) is the angle by which each group was turned.
    """

    degrees: np.ndarray


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


def grouped_moons(
    n_groups: int = 18, n_per_group: int = 100, noise: float = 0.3, *, seed: int
) -> GroupedDataset:
    """Two moons in several groups, each turned by an angle of its own.

    For each group in turn, from one legacy generator ``numpy.random.RandomState(seed)``: points by
    ``make_moons``, standardised, then multiplied by the rotation matrix of an angle drawn from
    N(0, 90 degrees). The first half of a group's points trains and the second half tests. With
    ``seed=31`` these are, to the last bit, the data of the tutorial that chapter 2 follows. More
    groups leave the first ones as they are, so ``n_groups=19`` adds a new one.

    Points are standardised before the split, as in that tutorial, so that a group's test half enters
    its centre and scale.

    Parameters
    ----------
    n_groups : int
        At least 1.
    n_per_group : int
        Points per group, at least 4.
    noise : float
        Standard deviation of the noise, before standardising; at least 0.
    seed : int
        0 to 2**32 - 1.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    for name, value, least in (("n_groups", n_groups, 1), ("n_per_group", n_per_group, 4)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
    if not (np.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise must be finite and at least 0, got {noise}")
    rng = np.random.RandomState(seed)  # noqa: NPY002 - the tutorial's generator
    inputs, labels, degrees = [], [], []
    for _ in range(n_groups):
        X, y = make_moons(n_per_group, noise=noise, random_state=rng)
        angle = rng.randn() * 90.0
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        inputs.append(scale(X) @ np.array([[cos, -sin], [sin, cos]]))
        labels.append(y.astype(np.int64))
        degrees.append(angle)
    X, y, half = np.stack(inputs), np.stack(labels), n_per_group // 2
    return GroupedDataset(
        X_train=X[:, :half],
        y_train=y[:, :half],
        X_test=X[:, half:],
        y_test=y[:, half:],
        name="grouped moons",
        description=(
            f"grouped moons: {n_groups} groups of {half} training and {n_per_group - half} test "
            f"points, each turned by its own angle, 2 inputs, 2 classes, noise sd {noise}"
        ),
        degrees=np.array(degrees),
    )
