r"""Gradients of the log posterior, estimated on minibatches.

The estimate on a batch B of n rows is that of

.. math:: \log p(\theta) + \frac{N}{n} \sum_{i \in B} \log p(y_i \mid x_i, \theta),

or, with control variates, of

.. math::
    \log p(\theta) + \log p(D \mid \tilde\theta)
    + \frac{N}{n} \sum_{i \in B} \log p(y_i \mid x_i, \theta) - \log p(y_i \mid x_i, \tilde\theta)

around an anchor :math:`\tilde\theta`, a position some steps ago. Both have the right mean given the
position, whatever the update that follows; the noise of the second vanishes as the position comes
near to the anchor. Every likelihood of a model has its own N / n.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from bnnbook.density import LogDensity
from bnnbook.density.minibatch import Minibatches
from bnnbook.inference.sgmcmc.kernel import Arrays

__all__ = ["Anchor", "Estimate", "control_variates", "minibatch_likelihood", "posterior_gradient"]

Likelihood = Callable[[Arrays, tuple, Any], tuple[Any, Arrays]]


class Anchor(NamedTuple):
    """A position, and there the log likelihood of all data and its gradient."""

    position: Arrays
    value: Any
    gradient: Arrays


class Estimate(NamedTuple):
    """Log posterior, its gradient, and the likelihood's share in the gradient."""

    lp: Any
    gradient: Arrays
    likelihood: Arrays


def minibatch_likelihood(batches: Minibatches) -> Likelihood:
    """Log likelihood and its gradient on one batch, as ``(position, batch, anchor)``."""
    value_and_grad = jax.value_and_grad(batches.log_likelihood)

    def estimate(position: Arrays, batch: tuple, _: Any) -> tuple[Any, Arrays]:
        return value_and_grad(position, batch)

    return estimate


def control_variates(likelihood: Likelihood) -> Likelihood:
    """Centre estimates of the likelihood around those at an anchor."""

    def estimate(position: Arrays, batch: tuple, anchor: Anchor) -> tuple[Any, Arrays]:
        value, gradient = likelihood(position, batch, None)
        there, there_gradient = likelihood(anchor.position, batch, None)
        centred = jax.tree.map(
            lambda here, there, all_data: here - there + all_data,
            gradient, there_gradient, anchor.gradient,
        )  # fmt: skip
        return value - there + anchor.value, centred

    return estimate


def posterior_gradient(
    density: LogDensity, likelihood: Likelihood
) -> Callable[[Arrays, tuple, Any], Estimate]:
    """Add the prior, which is exact."""
    prior_and_grad = jax.value_and_grad(density.log_prior)

    def estimate(position: Arrays, batch: tuple, anchor: Any) -> Estimate:
        prior, prior_gradient = prior_and_grad(position, batch)
        value, gradient = likelihood(position, batch, anchor)
        total = jax.tree.map(lambda a, b: a + b, prior_gradient, gradient)
        return Estimate(prior + value, total, gradient)

    return estimate
