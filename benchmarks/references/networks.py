"""Networks of the references that no builder of the package makes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm

from bnnbook import models

__all__ = ["convolution"]

EDGE, FILTER, POOL = 8, 3, 2  # pixels


def convolution(X: np.ndarray, y: np.ndarray, *, channels: int, n_classes: int) -> pm.Model:
    """Filters on images (n, 64), tanh, averages of 2 x 2 pixels and a dense layer.

    Weights have prior sd 1 / sqrt(fan_in), biases 1.
    """
    pooled = channels * ((EDGE - FILTER + 1) // POOL) ** 2
    parameters = {
        "filters": np.zeros((channels, 1, FILTER, FILTER)),
        "filters_bias": np.zeros(channels),
        "w_out": np.zeros((pooled, n_classes)),
        "b_out": np.zeros(n_classes),
    }

    def network(p: dict[str, jax.Array], X: jax.Array) -> jax.Array:
        images = X.reshape(-1, 1, EDGE, EDGE)
        h = jax.lax.conv_general_dilated(images, p["filters"], (1, 1), "VALID")
        h = jnp.tanh(h + p["filters_bias"][:, None, None])
        rows, _, height, width = h.shape
        h = h.reshape(rows, channels, height // POOL, POOL, width // POOL, POOL).mean((3, 5))
        return h.reshape(rows, -1) @ p["w_out"] + p["b_out"]

    return models.from_module(
        (network, parameters), X, y, likelihood="categorical", n_classes=n_classes,
        prior_sd={"filters": 1 / FILTER, "w_out": pooled**-0.5, "*": 1.0},
        dims={"w_out": ("pooled", "class"), "b_out": ("class",)},
    )  # fmt: skip
