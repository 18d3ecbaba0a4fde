"""What every data set is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Dataset"]


@dataclass(frozen=True)
class Dataset:
    """A data set split in two: inputs (n, d) in float64 (images: float32), targets (n,).

    Labels of classes are int64, 0 to K - 1; real targets are float64.
    """

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    name: str
    description: str
