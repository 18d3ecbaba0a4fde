"""Images: handwritten digits, clothing and photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.ndimage import rotate
from sklearn.datasets import load_digits, load_sample_images
from sklearn.model_selection import train_test_split

from bnnbook.datasets.base import Dataset
from bnnbook.datasets.idx_files import FASHION_MNIST, MNIST, Source, fetch, read_idx

__all__ = ["digits", "fashion_mnist", "mnist", "photo_patches", "rotate_images"]


def mnist(data_dir: str | Path | None = None) -> Dataset:
    """Handwritten digits (LeCun et al. 1998): 60,000 training and 10,000 test images, 10 classes.

    Images are float32 in [0, 1], (n, 784); ``X.reshape(-1, 28, 28)`` gives them back as pictures.
    The files are downloaded once into the user's cache, with their SHA-256 checked.

    Parameters
    ----------
    data_dir : path, optional
        Where the files are, or go; see :func:`bnnbook.datasets.idx_files.fetch`.

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
        arrays[f"X_{part}"] = images.reshape(len(images), -1).astype(np.float32)
        arrays[f"X_{part}"] /= 255
        arrays[f"y_{part}"] = labels.astype(np.int64)
    return Dataset(
        **arrays,
        name=source.name,
        description=(
            f"{source.name}: {len(arrays['X_train']):,} training and {len(arrays['X_test']):,} "
            "test images of 28 x 28 grey values in [0, 1], 10 classes"
        ),
    )


def digits(classes: Sequence[int] | None = None) -> Dataset:
    """Handwritten digits that come with scikit-learn: 1,347 training and 450 test images of 8 x 8.

    Images are float32 in [0, 1], (n, 64). The split is fixed and has the same share of each class
    in both parts.

    Parameters
    ----------
    classes : sequence of int, optional
        Two or more of the ten digits: only images of these, with labels that count them from 0 in
        the order given.

    Raises
    ------
    ValueError
        If ``classes`` are not two or more different digits.
    """
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        (X / 16).astype(np.float32), y.astype(np.int64), test_size=450, random_state=0, stratify=y
    )
    count = 10
    if classes is not None:
        known = list(classes)
        if len(known) < 2 or len(set(known)) < len(known) or not set(known) <= set(range(10)):
            raise ValueError(
                f"classes must be two or more different digits from 0 to 9, got {classes!r}"
            )
        train, test = np.isin(y_train, known), np.isin(y_test, known)
        X_train, X_test = X_train[train], X_test[test]
        place = np.zeros(10, dtype=np.int64)
        place[known] = np.arange(len(known))
        y_train, y_test, count = place[y_train[train]], place[y_test[test]], len(known)
    return Dataset(
        X_train, y_train, X_test, y_test,
        name="digits",
        description=(
            f"digits: {len(X_train):,} training and {len(X_test)} test images of 8 x 8 grey "
            f"values, {count} classes"
        ),
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
