"""Automatic differentiation variational inference (Kucukelbir et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr

from bnnbook.checks import float_dtype, positive_int, positive_number, seed_int
from bnnbook.density import (
    LogDensity,
    Minibatches,
    check_indices,
    compile_log_density,
    cut,
)
from bnnbook.inference.advi_result import advi_result
from bnnbook.inference.advi_runs import Runs, starts_here, starts_on
from bnnbook.inference.advi_start import MOST_PARAMETERS, PAIRS, given_start
from bnnbook.inference.advi_state import ADVIState, EarlyStopping, Tracker
from bnnbook.inference.advi_step import Loop, Optimizer
from bnnbook.inference.annealing import FractionSchedule, cyclical_annealing, linear_annealing
from bnnbook.inference.callbacks import Callback, common_interval
from bnnbook.inference.docs import with_shared_docs
from bnnbook.inference.executors import check_executor

__all__ = [
    "ADVIState",
    "EarlyStopping",
    "Optimizer",
    "Tracker",
    "cyclical_annealing",
    "fit_advi",
    "linear_annealing",
]

METHODS = ("advi", "fullrank_advi")
INITIAL_SD = 0.1  # small enough that the first gradients see the network and not the noise
LONGEST_BLOCK = 1000  # steps of one call of compiled code
FEWEST_CLIMBS = 200  # iterations of the first climb in a short run


@with_shared_docs
def fit_advi(
    model: pm.Model,
    n: int = 30_000,
    *,
    method: str = "advi",
    batch_size: int | None = None,
    kl_annealing: FractionSchedule | None = None,
    optimizer: Optimizer | None = None,
    learning_rate: float | FractionSchedule | None = None,
    callbacks: Sequence[Callback] = (),
    callback_every: int = 100,
    executor: Executor | None = None,
    n_starts: int = 1,
    initial_sd: float | None = None,
    start: xr.DataTree | Mapping[str, np.ndarray] | None = None,
    dtype: str = "float64",
    draws: int = 1000,
    seed: int,
    progressbar: bool = True,
) -> xr.DataTree:
    r"""Fit a normal approximation on the unconstrained space by stochastic gradient ascent.

    Each step draws one :math:`\xi \sim N(0, I)`, sets :math:`\theta = m + L \xi` and follows the
    gradient of :math:`\log p(D, \theta) - \log q(\theta)` with Adam (Kucukelbir et al. 2017, eqs.
    5 and 9; Kingma and Ba 2015, algorithm 1): the estimator of ``pm.fit``, in one compiled loop.

    By default it first climbs the ELBO of independent normals with 20 fixed draws, a plain function
    that L-BFGS maximises whatever the scales (Giordano, Ingram and Broderick 2024), from
    four starts; and then steps in coordinates in which the best of these has mean 0 and sd 1, or,
    for full rank, has a unit Hessian, with a rate that falls to 0. Any of ``optimizer``,
    ``learning_rate``, ``initial_sd`` and ``kl_annealing`` leaves that out, and so do models of more
    than 2,000 parameters and batches so small that the climb would cost more than the steps: then m
    moves in the model's own unconstrained coordinates.

    Parameters
    ----------
    model : pymc.Model
        Any model without discrete free variables. A model with ``pm.Minibatch`` data is fitted on
        minibatches of its own size.
    n : int
        Number of steps.
    method : {"advi", "fullrank_advi"}
        Diagonal L, or a full lower triangle.
    batch_size : int, optional
        Rows per step, drawn with replacement from the model's ``pm.Data`` containers, with the
        likelihood of each observed variable weighted by its own rows / batch_size.
    kl_annealing : function of the run's fraction, optional
        Weight of log q - log prior, in [0, 1], such as :func:`linear_annealing`.
    optimizer : optax.GradientTransformation, optional
        Takes the place of Adam, and brings its own step size.
    learning_rate : float or function of the run's fraction, optional
        Adam's step size. By default .02 (1 - fraction)^2, for full rank divided by the root of the
        number of parameters, in the coordinates above; without the climb .01, over the second half
        of the run falling to 0.
    {callbacks}
        Here with an :class:`ADVIState`, every ``callback_every`` steps unless they say otherwise.
    {executor}
    n_starts : int
        Independent starts, of which the best final ELBO (mean over the last tenth) is kept.
    initial_sd : float, optional
        Standard deviation of every parameter of the approximation at the start; 0.1 by default.
    start : DataTree or mapping of arrays by name, optional
        A fit of the same model by this function, whose means and standard deviations to start
        from, such as mean field's for full rank, without a climb; or means of the unconstrained
        variables.
    dtype : {"float64", "float32"}
        Precision of the fit. Single precision is about twice as fast where matrix products
        dominate, as for images. Results come back in float64 either way.
    draws : int
        Draws from the fitted approximation.
    {seed}
    {progressbar}

    Returns
    -------
    xarray.DataTree
        ``posterior`` (chain, draw, ...), ``sample_stats`` (``log_q``), ``history`` (step: ``elbo``
        per full data set in nats, ``seconds``, ``data_seen`` rows, ``kl_weight``), ``variational``
        (stat: mean, sd). Attributes ``stopped`` and ``interrupted`` say how the run ended,
        ``converged`` and ``problems`` whether the ELBO was still rising.

    Raises
    ------
    ValueError, TypeError
        For an unknown method, an argument out of range, data that cannot be cut into batches, or a
        log density that is not finite at the start.
    DivergedError
        If the ELBO stops being finite: names the step and the last finite value.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {list(METHODS)}, got {method!r}")
    n, draws = positive_int("n", n), positive_int("draws", draws)
    n_starts = positive_int("n_starts", n_starts)
    callback_every = positive_int("callback_every", callback_every)
    if initial_sd is not None:
        initial_sd = positive_number("initial_sd", initial_sd)
    dtype, seed = float_dtype(dtype), seed_int(seed)
    _check_steps(optimizer, learning_rate)
    if executor is not None:
        check_executor(executor, callbacks)
    weights = _weights(kl_annealing, n)
    density = compile_log_density(model)
    check_indices(density)
    given = None if start is None else given_start(start, density)
    batches = cut(density, batch_size)
    own_steps = (optimizer, learning_rate, initial_sd, kl_annealing)
    affordable = _climbs(density, batches, n)
    climbs = 0 if any(s is not None for s in own_steps) else affordable
    interval = common_interval(callbacks, callback_every) if callbacks else _block(n)
    loop = Loop(
        density, method, batches, _rates(learning_rate, n, method, density.size, climbs), weights,
        min(interval, LONGEST_BLOCK), interval, optimizer, dtype,
    )  # fmt: skip
    settings = {
        "n": n, "method": method, "batch_size": max(batches.sizes), "n_starts": n_starts,
        "draws": draws, "optimizer": "given" if optimizer else "adam",
        "learning_rate": _told(optimizer, learning_rate),
        "kl_annealing": kl_annealing is not None, "initial_sd": initial_sd or INITIAL_SD,
        "dtype": dtype, "climbs": climbs,
    }  # fmt: skip
    how = Runs(loop, given, settings, seed)
    if executor is not None:
        done = starts_on(executor, how, batch_size, progressbar)
    else:
        done = starts_here(how, callbacks, callback_every, progressbar)
    return advi_result(loop, done, draws, seed, settings, affordable=affordable)


def _check_steps(optimizer: Any, learning_rate: Any) -> None:
    if optimizer is not None:
        if learning_rate is not None:
            raise ValueError("learning_rate is Adam's; optimizer brings its own step size")
        if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
            raise TypeError(
                f"optimizer must have init and update, as optax's do, got {optimizer!r}"
            )
    if learning_rate is not None and not callable(learning_rate):
        positive_number("learning_rate", learning_rate)


def _told(optimizer: Any, learning_rate: Any) -> float | str | None:
    """The learning rate as a setting, if one number says it."""
    if optimizer or callable(learning_rate):
        return None
    return "default" if learning_rate is None else learning_rate


def _weights(kl_annealing: FractionSchedule | None, n: int) -> np.ndarray:
    weights = np.array([kl_annealing(f) if kl_annealing else 1.0 for f in np.arange(n) / n])
    if not ((weights >= 0) & (weights <= 1)).all():
        raise ValueError("kl_annealing must return weights in [0, 1]")
    return weights


def _rates(
    learning_rate: float | FractionSchedule | None, n: int, method: str, D: int, climbs: int
) -> np.ndarray:
    fractions = np.arange(n) / n
    if learning_rate is None:
        if not climbs:
            return 0.01 * np.minimum(1, 2 * (1 - fractions))
        return (0.02 if method == "advi" else 0.02 / np.sqrt(D)) * (1 - fractions) ** 2
    if callable(learning_rate):
        rates = np.array([learning_rate(f) for f in fractions], dtype=np.float64)
        if not (np.isfinite(rates) & (rates >= 0)).all():
            raise ValueError("learning_rate must return finite numbers that are not negative")
        return rates
    return np.full(n, float(learning_rate))


def _block(n: int) -> int:
    return min(max(n // 100, 50), LONGEST_BLOCK)


def _climbs(density: LogDensity, batches: Minibatches, n: int) -> int:
    """Iterations of the first climb: as much work as the run, or none where that is too little."""
    share = max(size / length for size, length in zip(batches.sizes, batches.lengths, strict=True))
    climbs = int(n * share / (2 * PAIRS))
    if share == 1:
        climbs = max(climbs, FEWEST_CLIMBS)
    return climbs if density.size <= MOST_PARAMETERS and climbs >= FEWEST_CLIMBS // 4 else 0
