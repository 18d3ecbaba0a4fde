"""Networks of the references that no builder of the package makes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm

from bnnbook import models

__all__ = ["convolution"]

EDGE, FILTER, STRIDE = 8, 4, 2  # pixels


def convolution(X: np.ndarray, y: np.ndarray, *, channels: int, n_classes: int) -> pm.Model:
    """Filters of 4 x 4 pixels on images (n, 64), two pixels apart, tanh, and a dense layer.

    Weights have prior sd 1 / sqrt(fan_in), biases 1.
    """
    units = channels * ((EDGE - FILTER) // STRIDE + 1) ** 2
    parameters = {
        "filters": np.zeros((channels, 1, FILTER, FILTER)),
        "filters_bias": np.zeros(channels),
        "w_out": np.zeros((units, n_classes)),
        "b_out": np.zeros(n_classes),
    }

    def network(p: dict[str, jax.Array], X: jax.Array) -> jax.Array:
        images = X.reshape(-1, 1, EDGE, EDGE)
        h = jax.lax.conv_general_dilated(images, p["filters"], (STRIDE, STRIDE), "VALID")
        h = jnp.tanh(h + p["filters_bias"][:, None, None])
        return h.reshape(len(X), -1) @ p["w_out"] + p["b_out"]

    return models.from_module(
        (network, parameters), X, y, likelihood="categorical", n_classes=n_classes,
        prior_sd={"filters": 1 / FILTER, "w_out": units**-0.5, "*": 1.0},
        dims={
            "filters": ("hidden_1", "colour", "row", "column"), "filters_bias": ("hidden_1",),
            "w_out": ("output_of_filter", "class"), "b_out": ("class",),
        },
    )  # fmt: skip
