"""Stochastic-gradient Hamiltonian Monte Carlo."""

from __future__ import annotations

from typing import Any

from bnnbook.checks import non_negative_number, positive_int, positive_number
from bnnbook.inference.sgmcmc.kernel import Arrays, Kernel, Step
from bnnbook.inference.sgmcmc.schedules import Schedule, as_schedule

__all__ = ["sghmc"]


def sghmc(
    step_size: float | Schedule,
    *,
    friction: float,
    temperature: float = 1.0,
    control_variates: int | None = None,
) -> Kernel:
    r"""Stochastic-gradient Hamiltonian Monte Carlo (Chen et al. 2014, eq. 15).

    .. math::
        v \leftarrow (1 - \alpha) v + \epsilon \nabla \log p + \sqrt{2 \alpha \epsilon T}\, \xi,
        \qquad \theta \leftarrow \theta + v.

    With friction 1 it is SGLD with the same step size.

    Parameters
    ----------
    step_size : float or Schedule
        :math:`\epsilon`.
    friction : float
        :math:`\alpha`, in (0, 1].
    temperature : float
        T: 1 samples the posterior; 0 adds no noise.
    control_variates : int, optional
        Steps between two gradients of the full data, around which the minibatch gradients are
        centred (SVRG-HMC: Zou et al. 2018, algorithm 1).

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range.
    """
    friction = positive_number("friction", friction)
    temperature = non_negative_number("temperature", temperature)
    if friction > 1:
        raise ValueError(f"friction must lie in (0, 1], got {friction}")
    if control_variates is not None:
        control_variates = positive_int("control_variates", control_variates)
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
        temperature=temperature,
        init=lambda position: tuple(p * 0 for p in position),
        update=update,
        settings={
            "friction": friction,
            "temperature": temperature,
            "control_variates": control_variates,
            **schedule.settings,
        },
        control_variates=control_variates,
    )
