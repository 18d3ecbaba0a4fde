r"""Updates of stochastic-gradient MCMC.

One convention throughout, with log p the full log posterior and its gradient estimated on a
minibatch, step size :math:`\epsilon`, temperature :math:`T`, preconditioner :math:`G` and
:math:`\Gamma = \nabla \cdot G`:

.. math::
    \theta \leftarrow \theta + \epsilon (G \nabla \log p + T \Gamma) + \sqrt{2 \epsilon T G}\, \xi,
    \qquad \xi \sim N(0, I).

The stationary distribution is :math:`p^{1/T}` as :math:`\epsilon \to 0`; T = 1 is the posterior.
The preconditioner stands still once ``tune`` is over, so that :math:`\Gamma = 0` exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnnbook.checks import positive_int, positive_number
from bnnbook.inference.schedules import Schedule, as_schedule

__all__ = ["CONVENTION", "Kernel", "sghmc", "sgld"]

CONVENTION = "theta += eps*(G*grad + T*Gamma) + sqrt(2*eps*T*G)*xi"

Arrays = tuple[Any, ...]


@dataclass(frozen=True)
class Kernel:
    """One update rule with its step sizes.

    Attributes
    ----------
    init : function (position) -> memory
        What the rule carries along besides the position: tuples of arrays, chains first.
    update : function (position, memory, gradient, noise, step) -> (position, memory)
        ``gradient`` is of the full log posterior; ``noise(i)`` gives standard normals for the i-th
        array; ``step`` is a :class:`Step`. Written with operators alone, for NumPy and JAX.
    control_variates : int or None
        Steps between two full-data gradients.
    needs_tune : bool
        Whether the rule adapts during ``tune`` and is not defined without.
    """

    name: str
    schedule: Schedule
    temperature: float
    init: Callable[[Arrays], Arrays]
    update: Callable[[Arrays, Arrays, Arrays, Callable[[int], Any], Step], tuple[Arrays, Arrays]]
    settings: dict[str, Any]
    control_variates: int | None = None
    needs_tune: bool = False


@dataclass(frozen=True)
class Step:
    """Step size, temperature, whether to adapt (1.0 or 0.0), and the rows N of the data."""

    size: Any
    temperature: Any
    adapt: Any
    N: int


def sgld(
    step_size: float | Schedule,
    *,
    preconditioner: str | None = None,
    temperature: float = 1.0,
    decay: float = 0.99,
    damping: float = 1e-5,
    control_variates: int | None = None,
) -> Kernel:
    r"""Stochastic-gradient Langevin dynamics (Welling and Teh 2011, eq. 4).

    With ``preconditioner="rms"``, :math:`G = 1 / (\lambda + \sqrt V)` where V is a running mean of
    the squared gradient per row, with weights :math:`a^k` for the k-th last step of ``tune`` (Li et
    al. 2016, algorithm 1, without its bias towards the starting value).

    Parameters
    ----------
    step_size : float or Schedule
        In the convention of this module: Welling and Teh's is twice this.
    preconditioner : None or "rms"
    temperature : float
        1 samples the posterior; 0 adds no noise, which is optimisation by gradient ascent.
    decay : float
        a above, in (0, 1).
    damping : float
        :math:`\lambda` above, positive.
    control_variates : int, optional
        Steps between two gradients of the full data, around which the minibatch gradients are
        centred (SVRG-LD: Dubey et al. 2016, algorithm 2). Plain SGLD only.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range.
    """
    if preconditioner not in (None, "rms"):
        raise ValueError(f"preconditioner must be None or 'rms', got {preconditioner!r}")
    if not 0 < decay < 1:
        raise ValueError(f"decay must lie in (0, 1), got {decay}")
    damping = positive_number("damping", damping)
    if control_variates is not None:
        control_variates = positive_int("control_variates", control_variates)
        if preconditioner is not None:
            raise ValueError("control_variates belong to plain SGLD, got preconditioner='rms'")
    schedule = as_schedule(step_size)

    def plain(position: Arrays, memory: Arrays, gradient: Arrays, noise: Any, step: Step) -> Any:
        scale = (2.0 * step.size * step.temperature) ** 0.5
        moved = tuple(
            p + step.size * g + scale * noise(i)
            for i, (p, g) in enumerate(zip(position, gradient, strict=True))
        )
        return moved, memory

    def rms(position: Arrays, memory: Arrays, gradient: Arrays, noise: Any, step: Step) -> Any:
        weight, *sums = memory
        keep = 1.0 - step.adapt * (1.0 - decay)
        weight = keep * weight + step.adapt
        sums = [
            keep * v + step.adapt * (g / step.N) ** 2 for v, g in zip(sums, gradient, strict=True)
        ]
        moved = []
        for i, (p, g, v) in enumerate(zip(position, gradient, sums, strict=True)):
            metric = 1.0 / (damping + (v / weight) ** 0.5)
            scale = (2.0 * step.size * step.temperature * metric) ** 0.5
            moved.append(p + step.size * metric * g + scale * noise(i))
        return tuple(moved), (weight, *sums)

    def sums_of_none(position: Arrays) -> Arrays:
        first = position[0]
        return (first.reshape(len(first), -1)[:, 0] * 0, *(p * 0 for p in position))

    settings = {
        "preconditioner": preconditioner,
        "temperature": _temperature(temperature),
        "control_variates": control_variates,
        **schedule.settings,
    }
    if preconditioner == "rms":
        settings |= {"decay": decay, "damping": damping}
    return Kernel(
        name="sgld",
        schedule=schedule,
        temperature=float(temperature),
        init=sums_of_none if preconditioner else lambda _: (),
        update=rms if preconditioner else plain,
        settings=settings,
        control_variates=control_variates,
        needs_tune=preconditioner is not None,
    )


def sghmc(step_size: float | Schedule, *, friction: float, temperature: float = 1.0) -> Kernel:
    r"""Stochastic-gradient Hamiltonian Monte Carlo (Chen et al. 2014, eq. 15).

    .. math::
        v \leftarrow (1 - \alpha) v + \epsilon \nabla \log p + \sqrt{2 \alpha \epsilon T}\, \xi,
        \qquad \theta \leftarrow \theta + v.

    With friction 1 it is SGLD with the same step size.

    Parameters
    ----------
    step_size : float or Schedule
    friction : float
        :math:`\alpha`, in (0, 1].
    temperature : float

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range.
    """
    if not 0 < positive_number("friction", friction) <= 1:
        raise ValueError(f"friction must lie in (0, 1], got {friction}")
    schedule = as_schedule(step_size)

    def update(position: Arrays, memory: Arrays, gradient: Arrays, noise: Any, step: Step) -> Any:
        scale = (2.0 * friction * step.size * step.temperature) ** 0.5
        memory = tuple(
            (1.0 - friction) * v + step.size * g + scale * noise(i)
            for i, (v, g) in enumerate(zip(memory, gradient, strict=True))
        )
        return tuple(p + v for p, v in zip(position, memory, strict=True)), memory

    return Kernel(
        name="sghmc",
        schedule=schedule,
        temperature=float(_temperature(temperature)),
        init=lambda position: tuple(p * 0 for p in position),
        update=update,
        settings={"friction": friction, "temperature": temperature, **schedule.settings},
    )


def _temperature(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"temperature must be a number, got {value!r}")
    if not (np.isfinite(value) and value >= 0):
        raise ValueError(f"temperature must be finite and at least 0, got {value}")
    return float(value)
