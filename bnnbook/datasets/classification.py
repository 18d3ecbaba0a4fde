"""Small classification problems in two dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import make_moons
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from bnnbook.datasets.base import Dataset

__all__ = ["GroupedDataset", "boxes", "grouped_moons", "two_moons"]


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

    Points are standardised before the split, as in that tutorial, so that a group's test half
    enters its centre and scale.

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
    rng = np.random.RandomState(seed)  # the tutorial's generator
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


def boxes(n: int = 80, *, seed: int) -> Dataset:
    """Four separated boxes with the classes of an exclusive or.

    Points are uniform on two boxes of class 1, [0.5, 5] x [0.5, 5] and [-5, -0.5] x [-5, -0.5],
    and two of class 0, [0.5, 5] x [-5, -0.5] and [-5, -0.5] x [0.5, 5]; the gap of width 1
    around the axes stays empty. Inputs are not standardised.

    Parameters
    ----------
    n : int
        Training points, and as many test points drawn in the same way: a multiple of 4, so that
        every box holds n / 4 of each.
    seed : int

    Raises
    ------
    ValueError
        If ``n`` is not a positive multiple of 4.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 4 or n % 4:
        raise ValueError(f"n must be a positive multiple of 4, got {n!r}")
    rng = np.random.default_rng(seed)
    lower = np.repeat([[0.5, 0.5], [-5.0, -5.0], [0.5, -5.0], [-5.0, 0.5]], n // 4, axis=0)
    y = np.repeat([1, 1, 0, 0], n // 4).astype(np.int64)
    X_train, X_test = (rng.uniform(lower, lower + 4.5) for _ in range(2))
    return Dataset(
        X_train=X_train,
        y_train=y,
        X_test=X_test,
        y_test=y.copy(),
        name="boxes",
        description=(
            f"boxes: {n} training and {n} test points, 2 inputs, 2 classes, "
            f"{n // 4} of each in every one of four boxes"
        ),
    )
