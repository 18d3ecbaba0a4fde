"""Models of reference posteriors that no function of the package builds by itself."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm

from bnnbook import models

__all__ = ["convolution_classifier"]


class Convolution(eqx.Module):
    """Filters of 3 x 3 on an image of 8 x 8, tanh, means over squares of 2 x 2, one logit."""

    filters: eqx.nn.Conv2d
    out: eqx.nn.Linear

    def __init__(self, channels: int) -> None:
        first, second = jax.random.split(jax.random.key(0))  # shapes alone count: priors are on 0
        self.filters = eqx.nn.Conv2d(1, channels, kernel_size=3, key=first)
        self.out = eqx.nn.Linear(9 * channels, "scalar", key=second)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logit of one image (64,)."""
        h = jnp.tanh(self.filters(x.reshape(1, 8, 8)))
        return self.out(h.reshape(-1, 3, 2, 3, 2).mean(axis=(2, 4)).ravel())


def convolution_classifier(
    X: np.ndarray, y: np.ndarray, *, channels: int, prior_sd: float
) -> pm.Model:
    """A convolution for two classes of 8 x 8 images X (n, 64), with normal priors."""
    prior: Any = prior_sd
    return models.from_module(Convolution(channels), X, y, likelihood="bernoulli", prior_sd=prior)
