"""Automatic differentiation variational inference (Kucukelbir et al. 2017) in one compiled loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr

from bnnbook.checks import (
    DivergedError,
    batch_rows,
    float_dtype,
    positive_int,
    positive_number,
    seed_int,
)
from bnnbook.density import LogDensity, compile_log_density, precision
from bnnbook.inference.callbacks import Callback, FitState, Reporter, common_interval
from bnnbook.inference.progress import progress_bar
from bnnbook.inference.results import posterior_dataset, result_tree, value_dataset

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
LOG_2PI = float(np.log(2 * np.pi))
INITIAL_SD = 0.1  # small enough that the first gradients see the network and not the noise
WIDE = 10_000  # with more parameters noise is drawn step by step, and three times faster

Schedule = Callable[[float], float]


class Optimizer(Protocol):
    """What ``fit_advi`` asks of an optimiser; every ``optax.GradientTransformation`` has it.

    ``update`` takes the gradient of the *loss* and returns what to add to the parameters.
    """

    def init(self, params: Any) -> Any: ...

    def update(self, updates: Any, state: Any, params: Any) -> tuple[Any, Any]: ...


class _Shared(NamedTuple):
    """The part of a shared variable that PyMC's own callbacks read."""

    value: np.ndarray

    def get_value(self) -> np.ndarray:
        return self.value


@dataclass(frozen=True)
class ADVIState(FitState):
    """What a callback sees: the variational parameters after ``step`` steps.

    ``mean`` and ``sd`` are dicts of arrays by unconstrained variable; ``elbo`` is the last step's,
    per full data set; ``params`` serves PyMC's ``CheckParametersConvergence``.
    """

    flat_mean: np.ndarray
    flat_sd: np.ndarray

    @property
    def elbo(self) -> float:
        return self.objective

    @cached_property
    def mean(self) -> dict[str, np.ndarray]:
        return self.density.split(self.flat_mean)

    @cached_property
    def sd(self) -> dict[str, np.ndarray]:
        return self.density.split(self.flat_sd)

    @property
    def params(self) -> list[_Shared]:
        return [_Shared(self.flat_mean), _Shared(self.flat_sd)]


class Tracker:
    """Callback that records functions of the state, such as ``mean=lambda s: s.mean["w1"]``.

    ``tracker["mean"]`` is then an array with one row per call, and ``tracker.steps`` the steps.
    """

    def __init__(self, **functions: Callable[[ADVIState], Any]) -> None:
        if not functions:
            raise ValueError("Tracker needs at least one function, as name=function")
        self._functions = functions
        self._records: dict[str, list[Any]] = {name: [] for name in functions}
        self.steps: list[int] = []

    def __call__(self, state: ADVIState, losses: np.ndarray, step: int) -> None:
        self.steps.append(step)
        for name, function in self._functions.items():
            self._records[name].append(function(state))

    def __getitem__(self, name: str) -> np.ndarray:
        return np.array(self._records[name])


class EarlyStopping:
    """Callback that stops once the ELBO has stopped rising.

    Compares the mean ELBO of the last ``window`` steps with that of the window before, and stops
    when the gain is below ``tolerance`` nats.
    """

    def __init__(self, *, window: int = 2000, tolerance: float = 0.5) -> None:
        self.window = positive_int("window", window)
        self.tolerance = positive_number("tolerance", tolerance)

    def __call__(self, state: ADVIState, losses: np.ndarray, step: int) -> None:
        if len(losses) < 2 * self.window:
            return
        before = -losses[-2 * self.window : -self.window]
        after = -losses[-self.window :]
        if after.mean() - before.mean() < self.tolerance:
            raise StopIteration(
                f"ELBO gained {after.mean() - before.mean():.2f} nats over {self.window} steps, "
                f"less than {self.tolerance}"
            )


def linear_annealing(warmup: float = 0.05, full: float = 0.05) -> Schedule:
    """KL weight near 0 for the first ``warmup``, then linear, and 1 for the last ``full``.

    Raises
    ------
    ValueError
        If a fraction lies outside [0, 1] or the two overlap.
    """
    for name, value in {"warmup": warmup, "full": full}.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be a fraction in [0, 1], got {value}")
    if warmup + full > 1:
        raise ValueError(f"warmup and full must not overlap, got {warmup} + {full} > 1")

    def kl_weight(fraction: float) -> float:
        if fraction >= 1 - full:
            return 1.0
        return min(max((fraction - warmup) / max(1 - full - warmup, 1e-12), 1e-6), 1.0)

    return kl_weight


def cyclical_annealing(n_cycles: int = 4, rise: float = 0.5) -> Schedule:
    """KL weight that rises from near 0 to 1 over ``rise`` of each cycle (Fu et al. 2019)."""
    cycles = positive_int("n_cycles", n_cycles)
    if not 0 < rise <= 1:
        raise ValueError(f"rise must be a fraction in (0, 1], got {rise}")

    def kl_weight(fraction: float) -> float:
        phase = (fraction * cycles) % 1.0 if fraction < 1 else 1.0
        return min(max(phase / rise, 1e-6), 1.0)

    return kl_weight


def fit_advi(
    model: pm.Model,
    n: int = 30_000,
    *,
    method: str = "advi",
    batch_size: int | None = None,
    kl_annealing: Schedule | None = None,
    optimizer: Optimizer | None = None,
    learning_rate: float | Callable[[float], float] | None = None,
    callbacks: Sequence[Callback] = (),
    callback_every: int = 100,
    n_starts: int = 1,
    initial_sd: float = INITIAL_SD,
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
        likelihood weighted by N / batch_size.
    kl_annealing : function of the run's fraction, optional
        Weight of log q - log prior, in [0, 1], such as :func:`linear_annealing`.
    optimizer : optax.GradientTransformation, optional
        Takes the place of Adam, and brings its own step size.
    learning_rate : float or function of the run's fraction, optional
        Adam's step size, 0.01 by default.
    callbacks : sequence of ``callback(state, losses, step)``
        Called every ``callback_every`` steps, or at their own ``every``, with an
        :class:`ADVIState` and the losses (negative ELBO) so far; one that raises ``StopIteration``
        ends the fit. See :class:`LivePlot` and :class:`MLflowLog`.
    n_starts : int
        Independent starts, of which the best final ELBO (mean over the last tenth) is kept.
    initial_sd : float
        Standard deviation of every parameter of the approximation at the start.
    start : DataTree or mapping of arrays by name, optional
        A fit of the same model by this function, whose means and standard deviations to start
        from, such as mean field's for full rank; or means of the unconstrained variables.
    dtype : {"float64", "float32"}
        Precision of the fit. Single precision is about twice as fast where matrix products
        dominate, as for images. Results come back in float64 either way.
    draws : int
        Draws from the fitted approximation.
    seed : int
    progressbar : bool

    Returns
    -------
    xarray.DataTree
        ``posterior`` (chain, draw, ...), ``sample_stats`` (``log_q``), ``history`` (step: ``elbo``
        per full data set in nats, ``seconds``, ``data_seen`` rows, ``kl_weight``), ``variational``
        (stat: mean, sd). Attributes ``stopped`` and ``interrupted`` say how the run ended.

    Raises
    ------
    ValueError, TypeError
        For an unknown method or an argument out of range.
    DivergedError
        If the ELBO stops being finite: names the step and the last finite value.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {list(METHODS)}, got {method!r}")
    n, draws = positive_int("n", n), positive_int("draws", draws)
    n_starts = positive_int("n_starts", n_starts)
    callback_every = positive_int("callback_every", callback_every)
    initial_sd = positive_number("initial_sd", initial_sd)
    dtype = float_dtype(dtype)
    seed = seed_int(seed)
    if optimizer is not None:
        if learning_rate is not None:
            raise ValueError("learning_rate is Adam's; optimizer brings its own step size")
        if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
            raise TypeError(
                f"optimizer must have init and update, as optax's do, got {optimizer!r}"
            )
    learning_rate = 0.01 if learning_rate is None else learning_rate
    if not callable(learning_rate):
        positive_number("learning_rate", learning_rate)
    density = compile_log_density(model)
    initial = None if start is None else _given_start(start, density, initial_sd)
    own = density.batch_size
    if batch_size is not None:
        batch_rows(batch_size, density.N)
        _check_batch_argument(batch_size, density)
    rows = batch_rows(own or batch_size or density.N, density.N)

    block = min(max(n // 100, 50), 1000)
    if callbacks:
        block = common_interval(callbacks, callback_every)
    compiled, compile_seconds = _compile_block(density, method, rows, block, optimizer, dtype)
    fractions = np.arange(n) / n
    rates = np.array(
        [learning_rate(f) if callable(learning_rate) else learning_rate for f in fractions]
    )
    weights = np.array([kl_annealing(f) if kl_annealing else 1.0 for f in fractions])
    if not ((weights >= 0) & (weights <= 1)).all():
        raise ValueError("kl_annealing must return weights in [0, 1]")

    settings = {
        "n": n, "method": method, "batch_size": rows, "n_starts": n_starts, "draws": draws,
        "learning_rate": None if optimizer or callable(learning_rate) else learning_rate,
        "optimizer": "given" if optimizer else "adam", "kl_annealing": kl_annealing is not None,
        "initial_sd": initial_sd, "dtype": dtype,
    }  # fmt: skip
    best: _Run | None = None
    finals = []
    for number in range(n_starts):
        start_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        reporter = Reporter(
            callbacks, method=method, settings=settings, default_every=callback_every
        )
        run = _run(
            compiled, density, method, n, block, rates, weights, reporter, optimizer, dtype=dtype,
            initial_sd=initial_sd, initial=initial, seed=start_seed,
            label=method if n_starts == 1 else f"{method} {number + 1}/{n_starts}",
            progressbar=progressbar,
        )  # fmt: skip
        finals.append(run.final_elbo)
        if best is None or run.final_elbo > best.final_elbo:
            best = run
        if run.ended == "interrupted":
            best = replace(best, ended=run.ended)  # also if an earlier start was the better one
            break
    assert best is not None
    return _result(
        best,
        density,
        method,
        rows,
        draws,
        seed,
        compile_seconds,
        finals,
        weights,
        annealed=kl_annealing is not None,
        settings=settings,
    )


@dataclass(frozen=True)
class _Run:
    """One start's outcome."""

    mean: np.ndarray
    chol: np.ndarray  # (D,) diagonal or (D, D)
    elbo: np.ndarray
    seconds: np.ndarray
    ended: str

    @property
    def final_elbo(self) -> float:
        return (
            float(self.elbo[-max(len(self.elbo) // 10, 1) :].mean()) if len(self.elbo) else -np.inf
        )


def _check_batch_argument(batch_size: int, density: LogDensity) -> None:
    own = density.batch_size
    if own is not None:
        if batch_size != own:
            raise ValueError(f"batch_size is already {own} in the model's pm.Minibatch")
        return
    if density.fixed_rows or not any(density.batched):
        raise ValueError(
            "batch_size needs the data in pm.Data containers (or pm.Minibatch), got a model that "
            f"holds {density.N} rows as constants"
        )


def _cholesky(method: str, scale: Any) -> Any:
    """Lower triangle from its parameters: softplus on the diagonal, as PyMC has it."""
    if method == "advi":
        return jax.nn.softplus(scale)
    return jnp.tril(scale, -1) + jnp.diag(jax.nn.softplus(jnp.diag(scale)))


def _compile_block(
    density: LogDensity, method: str, rows: int, block: int, optimizer: Optimizer | None,
    dtype: str,
) -> tuple[Callable[..., Any], float]:  # fmt: skip
    """Compile up to ``block`` steps on (mean, scale), with a run-time number of steps."""
    D, N = density.size, density.N
    subsample = rows < N
    weight = N / rows if density.batch_size is None else 1.0
    ahead = D <= WIDE

    def log_terms(params: tuple, xi: jax.Array, index: jax.Array, data: tuple) -> tuple:
        mean, scale = params
        chol = _cholesky(method, scale)
        if method == "advi":
            theta, log_det = mean + chol * xi, jnp.log(chol).sum()
        else:
            theta, log_det = mean + chol @ xi, jnp.log(jnp.diag(chol)).sum()
        log_q = -0.5 * (xi @ xi) - 0.5 * D * LOG_2PI - log_det
        batch = tuple(
            a[index] if subsample and batched else a
            for a, batched in zip(data, density.batched, strict=True)
        )
        return density.log_prior(theta, batch) - log_q, weight * density.log_likelihood(
            theta, batch
        )

    def objective(params: tuple, xi: Any, index: Any, kl_weight: Any, data: tuple) -> tuple:
        minus_kl, likelihood = log_terms(params, xi, index, data)
        return kl_weight * minus_kl + likelihood, minus_kl + likelihood

    gradient = jax.grad(objective, has_aux=True)

    def noise_of_step(key: jax.Array, i: Any) -> jax.Array:
        xi = jax.random.normal(jax.random.fold_in(key, i), (D,), dtype)
        return jax.lax.optimization_barrier(xi)  # else computed again wherever it is used

    def run(
        state: tuple, key: jax.Array, steps: Any, rates: Any, kl_weights: Any, data: tuple
    ) -> tuple:
        noise_key, index_key = jax.random.split(key)
        if ahead:
            noise = jax.random.normal(noise_key, (block, D), dtype)
        indices = jax.random.randint(index_key, (block, rows if subsample else 1), 0, N)

        def step(i: Any, carry: tuple) -> tuple:
            params, optimizer_state, elbos = carry
            xi = noise[i] if ahead else noise_of_step(noise_key, i)
            grads, elbo = gradient(params, xi, indices[i], kl_weights[i], data)
            if optimizer is None:
                params, optimizer_state = _adam(params, grads, optimizer_state, rates[i])
            else:
                grads = jax.tree.map(jnp.negative, grads)
                updates, optimizer_state = optimizer.update(grads, optimizer_state, params)
                params = jax.tree.map(jnp.add, params, updates)
            return params, optimizer_state, elbos.at[i].set(elbo)

        *state, elbos = jax.lax.fori_loop(0, steps, step, (*state, jnp.zeros(block, dtype)))
        return tuple(state), elbos

    clock = time.perf_counter()
    with precision(dtype):
        data = tuple(jnp.asarray(a) for a in density.data)
        example = (
            _initial_state(density, method, optimizer, seed=0, dtype=dtype),
            jax.random.key(0),
            0,
            *(np.zeros(block),) * 2,
        )
        compiled = jax.jit(run).lower(*example, data).compile()

    def run_block(*arguments: Any) -> tuple:
        with precision(dtype):
            return compiled(*arguments, data)

    return run_block, time.perf_counter() - clock


def _adam(params: tuple, grads: tuple, state: tuple, rate: Any) -> tuple[tuple, tuple]:
    """One step uphill (Kingma and Ba 2015, algorithm 1)."""
    m1, m2, count = state
    count = count + 1
    m1 = jax.tree.map(lambda a, g: 0.9 * a + 0.1 * g, m1, grads)
    m2 = jax.tree.map(lambda a, g: 0.999 * a + 0.001 * g * g, m2, grads)
    c1, c2 = 1 - 0.9**count, 1 - 0.999**count
    params = jax.tree.map(
        lambda p, a, b: p + rate * (a / c1) / (jnp.sqrt(b / c2) + 1e-8), params, m1, m2
    )
    return params, (m1, m2, count)


def _initial_state(
    density: LogDensity, method: str, optimizer: Optimizer | None, seed: int,
    initial_sd: float = INITIAL_SD, initial: tuple[np.ndarray, np.ndarray] | None = None,
    dtype: str = "float64",
) -> tuple[tuple, Any]:  # fmt: skip
    """Means near the model's initial point, jittered to break the network's symmetry.

    Or ``initial``, means and standard deviations, each (D,).
    """
    if initial is None:
        mean = density.initial_points(1, jitter=0.5, seed=seed)[0]
        sd = np.full(mean.shape, initial_sd)
    else:
        mean, sd = initial
    mean = jnp.asarray(mean, dtype)
    scale = jnp.asarray(sd + np.log(-np.expm1(-sd)), dtype)  # inverse softplus
    params = (mean, scale if method == "advi" else jnp.diag(scale))
    if optimizer is not None:
        return params, optimizer.init(params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    return params, (zeros, zeros, jnp.asarray(0.0, dtype))


def _run(
    compiled: Callable[..., Any], density: LogDensity, method: str, n: int, block: int,
    rates: np.ndarray, weights: np.ndarray, reporter: Reporter,
    optimizer: Optimizer | None, *, dtype: str, initial_sd: float,
    initial: tuple[np.ndarray, np.ndarray] | None, seed: int, label: str, progressbar: bool,
) -> _Run:  # fmt: skip
    """Run the compiled blocks until done, stopped or interrupted."""
    with precision(dtype):
        state = _initial_state(density, method, optimizer, seed, initial_sd, initial, dtype)
    keys = jax.random.split(jax.random.key(seed), -(-n // block))
    elbo, seconds = np.empty(n), np.empty(n)
    done, ended = 0, "finished"
    clock = time.perf_counter()
    with progress_bar(label, n, show=progressbar, value_name="ELBO") as update:
        try:
            with reporter:
                for key in keys:
                    steps = min(block, n - done)
                    pad = np.zeros(block - steps)
                    state, values = compiled(
                        state, key, steps, np.append(rates[done : done + steps], pad),
                        np.append(weights[done : done + steps], pad),
                    )  # fmt: skip
                    elbo[done : done + steps] = np.asarray(values)[:steps]
                    now = time.perf_counter() - clock
                    before = seconds[done - 1] if done else 0.0
                    seconds[done : done + steps] = np.linspace(before, now, steps + 1)[1:]
                    _check_finite(elbo, done, steps)
                    done += steps
                    update(done, float(elbo[done - 1]))
                    if reporter:
                        reporter(_state(state, elbo[:done], now, density, method), -elbo[:done])
        except StopIteration as stop:
            ended = f"stopped at step {done}: {stop}"
        except KeyboardInterrupt:
            ended = "interrupted"
    params = state[0]
    chol = np.asarray(_cholesky(method, params[1]), np.float64)
    return _Run(np.asarray(params[0], np.float64), chol, elbo[:done], seconds[:done], ended)


def _given_start(
    start: Any, density: LogDensity, initial_sd: float
) -> tuple[np.ndarray, np.ndarray]:
    """Variational means and standard deviations to start from, each (D,)."""
    if not isinstance(start, Mapping) or isinstance(start, xr.DataTree):
        return _from_fit(start, density)
    expected = dict(zip(density.names, density.shapes, strict=True))
    got = {name: np.shape(value) for name, value in start.items()}
    if got != expected:
        raise ValueError(f"start must have arrays of shapes {expected}, got {got}")
    mean = np.concatenate([np.ravel(start[name]) for name in density.names]).astype(np.float64)
    if not np.isfinite(mean).all():
        raise ValueError("start must be finite, got NaN or infinity")
    return mean, np.full(mean.shape, initial_sd)


def _from_fit(fit: xr.DataTree, density: LogDensity) -> tuple[np.ndarray, np.ndarray]:
    """Variational means and standard deviations of an earlier fit, each (D,)."""
    group = fit.children.get("variational") if isinstance(fit, xr.DataTree) else None
    if group is None:
        raise TypeError(
            f"start must be a result of fit_advi or a mapping of arrays, got {type(fit).__name__}"
        )
    parts = []
    for name, shape in zip(density.names, density.shapes, strict=True):
        found = group[name].sizes if name in group else None
        if found is None or tuple(found.values())[1:] != shape:
            raise ValueError(
                f"start must be a fit of the same model, with {name} of shape {shape}, got "
                f"{sorted(map(str, group.data_vars))}"
            )
        parts.append(group[name].sel(stat=["mean", "sd"]).to_numpy().reshape(2, -1))
    mean, sd = np.concatenate(parts, axis=1)
    return mean, sd


def _check_finite(elbo: np.ndarray, done: int, steps: int) -> None:
    bad = np.flatnonzero(~np.isfinite(elbo[done : done + steps]))
    if bad.size:
        step = done + int(bad[0])
        last = f"{elbo[step - 1]:.6g}" if step else "none"
        raise DivergedError(
            f"the ELBO became {elbo[step]} at step {step + 1}; last finite ELBO: {last}. "
            "Try a smaller learning_rate"
        )


def _state(
    state: tuple, elbo: np.ndarray, seconds: float, density: LogDensity, method: str
) -> ADVIState:
    """What the callbacks see of the loop's state."""
    mean, chol = np.asarray(state[0][0]), np.asarray(_cholesky(method, state[0][1]))
    sd = chol if method == "advi" else np.sqrt((chol**2).sum(axis=1))
    step = len(elbo)

    def sample(draws: int) -> np.ndarray:
        xi = np.random.default_rng(step).normal(size=(draws, density.size))
        return mean + (chol * xi if method == "advi" else xi @ chol.T)

    return ADVIState(step, float(elbo[-1]), seconds, method, density, sample, mean, sd)


def _result(
    run: _Run, density: LogDensity, method: str, rows: int, draws: int, seed: int,
    compile_seconds: float, finals: list[float], weights: np.ndarray, *, annealed: bool,
    settings: dict[str, Any],
) -> xr.DataTree:  # fmt: skip
    xi = np.random.default_rng([seed, 1]).normal(size=(draws, density.size))
    shift = run.chol * xi if method == "advi" else xi @ run.chol.T
    diagonal = run.chol if method == "advi" else np.diag(run.chol)
    log_q = -0.5 * (xi**2).sum(axis=1) - 0.5 * density.size * LOG_2PI - np.log(diagonal).sum()
    sd = run.chol if method == "advi" else np.sqrt((run.chol**2).sum(axis=1))
    steps = np.arange(1, len(run.elbo) + 1)
    history = {
        "elbo": ("step", run.elbo),
        "seconds": ("step", run.seconds),
        "data_seen": ("step", steps * rows),
    }
    if annealed:
        history["kl_weight"] = ("step", weights[: len(steps)])
    variational = value_dataset(density, {"mean": run.mean, "sd": sd})
    if method == "fullrank_advi":
        variational["covariance"] = (("parameter", "parameter_"), run.chol @ run.chol.T)
    data = tuple(jnp.asarray(a) for a in density.data)
    return result_tree(
        density,
        posterior_dataset(density, (run.mean + shift)[None], data),
        sample_stats={"log_q": log_q[None]},
        method=method,
        settings=settings,
        seed=seed,
        n=rows,
        seconds=float(run.seconds[-1]) if len(run.seconds) else 0.0,
        compile_seconds=compile_seconds,
        history=xr.Dataset(history, coords={"step": steps}),
        groups={"variational": variational},
        attrs={
            "stopped": run.ended,
            "interrupted": run.ended == "interrupted",
            "final_elbo": run.final_elbo,
            "final_elbo_by_start": finals,
        },
    )
