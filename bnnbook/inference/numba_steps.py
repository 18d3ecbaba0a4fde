"""Steps of stochastic-gradient MCMC with gradients compiled by Numba and updates in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytensor
import pytensor.tensor as pt

from bnnbook.density import LogDensity
from bnnbook.inference.counter_rng import normal, step_key
from bnnbook.inference.kernels import Kernel, Step

__all__ = ["numba_advance"]

Arrays = tuple[np.ndarray, ...]
ValueAndGradient = Callable[[Arrays, Arrays, float], tuple[np.ndarray, Arrays]]


def numba_value_and_gradient(density: LogDensity) -> ValueAndGradient:
    """Log prior + weight * log likelihood and its gradients, by PyTensor's Numba linker."""
    graph = density.graph
    inputs, prior, likelihood = graph.inputs, graph.prior, graph.likelihood
    weight = pt.dscalar("weight")
    value = prior + weight * likelihood
    values = inputs[: len(density.names)]
    gradients = pytensor.grad(value, values, disconnected_inputs="ignore")
    function = pytensor.function(
        [*inputs, weight], [value, *gradients], mode="NUMBA", on_unused_input="ignore"
    )

    def value_and_gradient(position: Arrays, batch: Arrays, weight: float) -> tuple:
        lp, *gradient = function(*position, *batch, weight)
        return lp, tuple(gradient)

    return value_and_gradient


def numba_advance(
    density: LogDensity, kernel: Kernel, n: int
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Build ``advance`` and ``full_gradient`` with the arguments of the JAX functions.

    Both compute in float64, and the noise is that of the JAX backend.
    """
    value_and_gradient = numba_value_and_gradient(density)
    data = density.data

    def cut(rows: np.ndarray) -> Arrays:
        if n == density.N:
            return data
        return tuple(a[rows] if b else a for a, b in zip(data, density.batched, strict=True))

    def advance(carry: tuple, keys: np.ndarray, rows: np.ndarray, table: dict, count: int) -> tuple:
        carry = jax.tree.map(np.array, carry)
        for chain in range(len(keys)):
            for i in range(count):
                one_step(i, chain, carry, keys[chain], rows[chain], table)
        return carry

    def one_step(
        i: int, chain: int, carry: tuple, key: np.ndarray, rows: np.ndarray, table: dict
    ) -> None:
        """Update the arrays of ``carry`` in place, as the JAX backend does by value."""
        position, memory = (tuple(a[chain] for a in part) for part in carry[:2])
        anchor, kept, health = carry[2:]
        batch = cut(rows[i])
        lp, gradient = value_and_gradient(position, batch, density.N / n)
        if kernel.control_variates:
            at, full = (tuple(a[chain] for a in part) for part in anchor[:2])
            there_lp, there = value_and_gradient(at, batch, density.N / n)
            gradient = tuple(g - a + f for g, a, f in zip(gradient, there, full, strict=True))
            lp = lp - there_lp + anchor[2][chain]
        words = step_key(key, table["step"][i][None])
        step = Step(table["size"][i], table["temperature"][i], table["adapt"][i], density.N)

        def noise(leaf: int) -> np.ndarray:
            return normal(words, leaf, position[leaf].shape, np.float64)

        new_position, new_memory = kernel.update(position, memory, gradient, noise, step)
        for arrays, new in ((carry[0], new_position), (carry[1], new_memory)):
            for array, value in zip(arrays, new, strict=True):
                array[chain] = value
        squares = np.array([np.vdot(g, g) for g in gradient])
        slot = table["slot"][i]
        for array, value in zip(kept["position"], new_position, strict=True):
            array[chain, slot] = value
        kept["lp"][chain, slot] = lp
        kept["grad_norm"][chain, slot] = np.sqrt(squares.sum())
        kept["history"][chain, table["bucket"][i]] = lp
        if health["bad_step"][chain] < 0:
            if np.isfinite(lp) and np.isfinite(squares).all():
                health["last_lp"][chain] = lp
            else:
                health["bad_step"][chain] = table["step"][i]
                health["bad_leaf"][chain] = ~np.isfinite(squares)

    def full_gradient(position: Arrays) -> tuple[np.ndarray, Arrays]:
        chains = [
            value_and_gradient(tuple(a[c] for a in position), data, 1.0)
            for c in range(len(position[0]))
        ]
        values, gradients = zip(*chains, strict=True)
        return np.array(values), tuple(np.stack(g) for g in zip(*gradients, strict=True))

    return advance, full_gradient
