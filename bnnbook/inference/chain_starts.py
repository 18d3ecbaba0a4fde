"""Where the chains of full-data samplers start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bnnbook.density import LogDensity, check_indices, check_start

__all__ = ["RETRIES", "starting_points"]

RETRIES = 10  # of a random start where the density is not finite; as many as pm.sample makes


def starting_points(
    density: LogDensity,
    start: Any,
    chains: int,
    *,
    seed: int,
    state: Callable[[np.ndarray], Any],
) -> np.ndarray:
    """Points (chains, D) at which the log density and its gradient are finite.

    Those given, or the model's own initial point plus uniform noise in (-1, 1), drawn again, up to
    RETRIES times, where they are not. ``state`` is BlackJAX's at a point, with value and gradient.

    Raises
    ------
    ValueError
        If they are not finite; names the observed variable, or the parameter.
    """
    check_indices(density)
    random = start is None
    if random:
        points = density.initial_points(chains, jitter=1.0, seed=seed)
    else:
        points = density.given_points(start, chains)
    for number in range(chains):
        for retry in range(RETRIES + 1):
            at = state(points[number])
            gradient = np.asarray(at.logdensity_grad)
            if np.isfinite(float(at.logdensity)) and np.isfinite(gradient).all():
                break
            if not random or retry == RETRIES:
                check_start(density, points)
                bad = density.split(~np.isfinite(gradient))
                names = [name for name, wrong in bad.items() if np.any(wrong)]
                raise ValueError(
                    f"the gradient of the log density is not finite at starting point {number}, in "
                    f"{', '.join(names)}"
                    if names
                    else f"the log density is not finite at starting point {number} in float32, "
                    "but it is in float64: use dtype='float64'"
                )
            fresh = np.random.SeedSequence([seed, number, retry]).generate_state(1)
            points[number] = density.initial_points(1, jitter=1.0, seed=int(fresh[0]))[0]
    return points
