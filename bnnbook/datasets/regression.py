"""Regression problems: waves seen in clusters, and the diabetes study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

from bnnbook.datasets.base import Dataset

__all__ = ["CLUSTERS", "WAVES", "Cluster", "diabetes", "wave_clusters", "wave_gaps"]


class Cluster(NamedTuple):
    """Inputs uniform on [start, start + width]; normal noise of sd ``noise``; share of points."""

    start: float
    width: float
    noise: float
    share: float


CLUSTERS: dict[str, tuple[Cluster, ...]] = {
    "four": (
        Cluster(-4.1, 2.1, 0.01, 0.25),
        Cluster(-1.2, 1.2, 0.25, 0.25),
        Cluster(0.5, 1.4, 0.05, 0.25),
        Cluster(4.0, 2.0, 0.01, 0.25),
    ),
    "two": (Cluster(-1.0, 0.3, 0.2, 0.5), Cluster(0.5, 1.2, 0.05, 0.5)),
}
"""Clusters of inputs by name, with the regression tutorial's settings."""

WAVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "cos": np.cos,
    "cubic": lambda x: x**3 / 350,
}
"""Functions to be learned, by name."""


def wave_clusters(
    n: int = 400,
    function: str | Callable[[np.ndarray], np.ndarray] = "cos",
    *,
    clusters: str | Sequence[Cluster] = "four",
    noise_scale: float = 1.0,
    n_test: int | None = None,
    seed: int,
) -> Dataset:
    """Noisy values of a function at inputs in clusters with gaps between them.

    Inputs are uniform within a cluster and the noise is normal, with each cluster's own standard
    deviation. Training and test points are independent draws of the same kind; nothing is
    standardised.

    Parameters
    ----------
    n : int
        Training points, shared out over the clusters; at least one for each cluster.
    function : {"cos", "cubic"} or function of an array
        cos(x), x^3 / 350, or your own: it gets the inputs (n,) and returns (n,).
    clusters : {"four", "two"} or sequence of Cluster
        The regression tutorial's four clusters, its two, or your own.
    noise_scale : float
        Factor on every cluster's noise; at least 0.
    n_test : int, optional
        Test points, as many as training points by default.
    seed : int

    Returns
    -------
    Dataset
        ``X_train`` (n, 1) and ``y_train`` (n,), in the order of the inputs' clusters.

    Raises
    ------
    ValueError
        If an argument is out of range, a name unknown, or the function returns another shape or
        values that are not finite.
    """
    truth = _wave(function)
    parts = _clusters(clusters)
    if not (np.isfinite(noise_scale) and noise_scale >= 0):
        raise ValueError(f"noise_scale must be finite and at least 0, got {noise_scale}")
    rng = np.random.default_rng(seed)
    halves = []
    for name, size in {"n": n, "n_test": n if n_test is None else n_test}.items():
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < len(parts):
            raise ValueError(
                f"{name} must be an integer of at least {len(parts)}, one per cluster, got {size!r}"
            )
        counts = _shares(int(size), [c.share for c in parts])
        x = np.concatenate(
            [c.start + c.width * rng.random(k) for c, k in zip(parts, counts, strict=True)]
        )
        noise = np.repeat([c.noise for c in parts], counts) * noise_scale
        values = np.asarray(truth(x), dtype=float)
        if values.shape != x.shape or not np.isfinite(values).all():
            raise ValueError(
                f"function must return {x.shape} finite values, got shape {values.shape}"
            )
        halves.append((x[:, None], values + noise * rng.normal(size=len(x))))
    (X_train, y_train), (X_test, y_test) = halves
    label = function if isinstance(function, str) else getattr(function, "__name__", "a function")
    noises = ", ".join(f"{c.noise * noise_scale:g}" for c in parts)
    return Dataset(
        X_train, y_train, X_test, y_test,
        name="wave clusters",
        description=(
            f"wave clusters: {len(X_train)} training and {len(X_test)} test points of {label} in "
            f"{len(parts)} clusters, noise sds {noises}"
        ),
    )  # fmt: skip


def wave_gaps(clusters: str | Sequence[Cluster] = "four") -> list[tuple[float, float]]:
    """Intervals between neighbouring clusters, where there are no data."""
    ordered = sorted(_clusters(clusters))
    ends = [c.start + c.width for c in ordered]
    pairs = zip(ends, [c.start for c in ordered[1:]], strict=False)
    return [(end, start) for end, start in pairs if end < start]


def diabetes(test_size: float = 0.2, *, seed: int) -> Dataset:
    """Progression of diabetes after a year, from ten measurements (Efron et al. 2004, section 1).

    The 442 patients ship with scikit-learn, so nothing is downloaded. Inputs are standardised with
    the mean and standard deviation of the training part; the target, a score from 25 to 346, is
    left as it is.

    Parameters
    ----------
    test_size : float
        Share of test patients, in (0, 1).
    seed : int
        Of the split.

    Raises
    ------
    ValueError
        If ``test_size`` is out of range.
    """
    if not 0 < test_size < 1:
        raise ValueError(f"test_size must lie in (0, 1), got {test_size}")
    X, y = load_diabetes(return_X_y=True, scaled=False)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=test_size, random_state=seed
    )
    centre, scale = X_train.mean(axis=0), X_train.std(axis=0)
    return Dataset(
        X_train=(X_train - centre) / scale,
        y_train=y_train,
        X_test=(X_test - centre) / scale,
        y_test=y_test,
        name="diabetes",
        description=(
            f"diabetes: {len(X_train)} training and {len(X_test)} test patients, 10 inputs "
            "standardised on the training part, target: progression score after a year"
        ),
    )


def _wave(function: str | Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    if callable(function):
        return function
    if function not in WAVES:
        raise ValueError(f"function must be one of {sorted(WAVES)} or callable, got {function!r}")
    return WAVES[function]


def _clusters(clusters: str | Sequence[Cluster]) -> tuple[Cluster, ...]:
    if isinstance(clusters, str):
        if clusters not in CLUSTERS:
            raise ValueError(f"clusters must be one of {sorted(CLUSTERS)}, got {clusters!r}")
        return CLUSTERS[clusters]
    parts = tuple(Cluster(*c) for c in clusters)
    if not parts:
        raise ValueError("clusters must name at least one cluster, got none")
    for c in parts:
        if not (np.isfinite(c).all() and c.width > 0 and c.noise >= 0 and c.share > 0):
            raise ValueError(f"clusters need width > 0, noise >= 0 and share > 0, got {c}")
    return parts


def _shares(n: int, shares: Sequence[float]) -> list[int]:
    """Whole numbers that add up to n in proportion to ``shares``, each at least 1."""
    ends = np.rint(np.cumsum(shares) / np.sum(shares) * (n - len(shares))).astype(int)
    return [int(k) + 1 for k in np.diff(ends, prepend=0)]
