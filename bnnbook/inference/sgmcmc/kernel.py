r"""What an update of stochastic-gradient MCMC is.

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

from bnnbook.inference.sgmcmc.schedules import Schedule

__all__ = ["CONVENTION", "Arrays", "Kernel", "Step"]

CONVENTION = "theta += eps*(G*grad + T*Gamma) + sqrt(2*eps*T*G)*xi"

Arrays = tuple[Any, ...]


@dataclass(frozen=True)
class Step:
    """Step size, temperature, whether to adapt (1.0 or 0.0), and the rows N of the data."""

    size: Any
    temperature: Any
    adapt: Any
    N: int


@dataclass(frozen=True)
class Kernel:
    """One update rule with its step sizes.

    Attributes
    ----------
    init : function (position) -> memory
        What the rule carries along besides the position: tuples of arrays, chains first.
    update : function (position, memory, gradient, noise, step) -> (position, memory)
        Of one chain. ``gradient`` is of the full log posterior; ``noise(i)`` gives standard normals
        for the i-th array; ``step`` is a :class:`Step`.
    settings : dict
        For the record.
    control_variates : int or None
        Steps between two full-data gradients, around which those of minibatches are centred.
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
