"""Stochastic-gradient Langevin dynamics, plain and preconditioned."""

from __future__ import annotations

from typing import Any

from bnnbook.checks import non_negative_number, positive_int, positive_number
from bnnbook.inference.sgmcmc.kernel import Arrays, Kernel, Step
from bnnbook.inference.sgmcmc.schedules import Schedule, as_schedule

__all__ = ["sgld"]


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

    .. math::
        \theta \leftarrow \theta + \epsilon G \nabla \log p + \sqrt{2 \epsilon T G}\, \xi,
        \qquad \xi \sim N(0, I).

    With ``preconditioner="rms"``, :math:`G = 1 / (\lambda + \sqrt V)` where V is a running mean of
    the squared gradient per row, with weights :math:`a^k` for the k-th last step of ``tune`` (Li et
    al. 2016, algorithm 1, without its bias towards the starting value); otherwise G = 1.

    Parameters
    ----------
    step_size : float or Schedule
        :math:`\epsilon` above: Welling and Teh's is twice this.
    preconditioner : None or "rms"
    temperature : float
        T: 1 samples the posterior; 0 adds no noise, which is optimisation by gradient ascent.
    decay : float
        a above, in (0, 1).
    damping : float
        :math:`\lambda` above, positive.
    control_variates : int, optional
        Steps between two gradients of the full data, around which the minibatch gradients are
        centred (SVRG-LD: Dubey et al. 2016, algorithm 2).

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range.
    """
    if preconditioner not in (None, "rms"):
        raise ValueError(f"preconditioner must be None or 'rms', got {preconditioner!r}")
    if not positive_number("decay", decay) < 1:
        raise ValueError(f"decay must lie in (0, 1), got {decay}")
    decay, damping = float(decay), positive_number("damping", damping)
    temperature = non_negative_number("temperature", temperature)
    if control_variates is not None:
        control_variates = positive_int("control_variates", control_variates)
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
        "temperature": temperature,
        "control_variates": control_variates,
        **schedule.settings,
    }
    if preconditioner == "rms":
        settings |= {"decay": decay, "damping": damping}
    return Kernel(
        name="sgld",
        schedule=schedule,
        temperature=temperature,
        init=sums_of_none if preconditioner else lambda _: (),
        update=rms if preconditioner else plain,
        settings=settings,
        control_variates=control_variates,
        needs_tune=preconditioner is not None,
    )
