"""Small data sets with a training and a test half."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import rotate
from sklearn.datasets import load_digits, load_sample_images, make_moons
from sklearn.model_selection import train_test_split

from bnnbook.idx_files import FASHION_MNIST, MNIST, DataUnavailableError, Source, fetch, read_idx

__all__ = [
    "DataUnavailableError",
    "Dataset",
    "boxes",
    "digits",
    "fashion_mnist",
    "mnist",
    "photo_patches",
    "rotate_images",
    "two_moons",
]


@dataclass(frozen=True)
class Dataset:
    """A data set split in two: inputs (n, d) in float64 (images: float32), labels (n,) in int64."""

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    name: str
    description: str


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


def mnist(data_dir: str | Path | None = None) -> Dataset:
    """Handwritten digits (LeCun et al. 1998): 60,000 training and 10,000 test images, 10 classes.

    Images are float32 in [0, 1], (n, 784); ``X.reshape(-1, 28, 28)`` gives them back as pictures.
    The files are downloaded once into the user's cache, with their SHA-256 checked.

    Parameters
    ----------
    data_dir : path, optional
        Where the files are, or go; see :func:`bnnbook.idx_files.fetch`.

    Raises
    ------
    DataUnavailableError
        With no network and no files: says why, and the two ways out.
    """
    return _idx_dataset(MNIST, data_dir)


def fashion_mnist(data_dir: str | Path | None = None) -> Dataset:
    """Articles of clothing (Xiao et al. 2017) in the format of :func:`mnist`, 10 classes."""
    return _idx_dataset(FASHION_MNIST, data_dir)


def _idx_dataset(source: Source, data_dir: str | Path | None) -> Dataset:
    paths = fetch(source, data_dir)
    arrays = {}
    for part, prefix in {"train": "train", "test": "t10k"}.items():
        images = read_idx(paths[f"{prefix}-images-idx3-ubyte.gz"])
        labels = read_idx(paths[f"{prefix}-labels-idx1-ubyte.gz"])
        arrays[f"X_{part}"] = images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
        arrays[f"y_{part}"] = labels.astype(np.int64)
    return Dataset(
        **arrays,
        name=source.name,
        description=(
            f"{source.name}: {len(arrays['X_train']):,} training and {len(arrays['X_test']):,} "
            "test images of 28 x 28 grey values in [0, 1], 10 classes"
        ),
    )


def digits() -> Dataset:
    """Handwritten digits that come with scikit-learn: 1,347 training and 450 test images of 8 x 8.

    Images are float32 in [0, 1], (n, 64). The split is fixed and has the same share of each class
    in both parts.
    """
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        (X / 16).astype(np.float32), y.astype(np.int64), test_size=450, random_state=0, stratify=y
    )
    return Dataset(
        X_train, y_train, X_test, y_test,
        name="digits",
        description="digits: 1,347 training and 450 test images of 8 x 8 grey values, 10 classes",
    )  # fmt: skip


def photo_patches(n: int = 900, size: int = 8, *, seed: int) -> Dataset:
    """Grey patches of two photographs that come with scikit-learn: inputs that are no digits.

    Parameters
    ----------
    n : int
        Patches in all, at least 2; half of them are the test half.
    size : int
        Pixels along an edge, 1 to 427. A patch is shrunk from one four times as wide where that
        fits, so that it shows more than a flat tone, and stretched to [0, 1].
    seed : int
        Of the patches' places.

    Returns
    -------
    Dataset
        Images float32 in [0, 1], (n / 2, size * size); labels: 0 temple, 1 flower.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 2:
        raise ValueError(f"n must be an integer of at least 2, got {n!r}")
    photos = [photo.mean(axis=2) / 255 for photo in load_sample_images().images]
    if not isinstance(size, int | np.integer) or not 1 <= size <= photos[0].shape[0]:
        raise ValueError(f"size must be an integer from 1 to {photos[0].shape[0]}, got {size!r}")
    shrink = 4 if 4 * size <= photos[0].shape[0] else 1
    edge = shrink * size
    rng = np.random.default_rng(seed)
    y = rng.integers(0, len(photos), size=n)
    patches = np.empty((n, size * size), np.float32)
    for i, which in enumerate(y):
        top, left = (rng.integers(0, length - edge + 1) for length in photos[which].shape)
        patch = photos[which][top : top + edge, left : left + edge]
        patch = patch.reshape(size, shrink, size, shrink).mean(axis=(1, 3))
        low, high = patch.min(), patch.max()
        patches[i] = ((patch - low) / (high - low if high > low else 1.0)).ravel()
    half = n - n // 2
    return Dataset(
        patches[:half], y[:half], patches[half:], y[half:],
        name="photo patches",
        description=f"photo patches: {n} grey patches of {size} x {size} pixels of two photographs",
    )  # fmt: skip


def rotate_images(X: np.ndarray, degrees: float) -> np.ndarray:
    """Turn square images (n, d) counter-clockwise about their centre; corners fill with 0."""
    X = np.asarray(X)
    edge = round(np.sqrt(X.shape[-1]))
    if X.ndim != 2 or edge * edge != X.shape[1]:
        raise ValueError(f"X must hold square images, (n, edge * edge), got shape {X.shape}")
    if not np.isfinite(degrees):
        raise ValueError(f"degrees must be finite, got {degrees}")
    turned = rotate(
        X.reshape(-1, edge, edge), degrees, axes=(2, 1), reshape=False, order=1, prefilter=False
    )
    return turned.reshape(X.shape).clip(0, 1).astype(X.dtype)
