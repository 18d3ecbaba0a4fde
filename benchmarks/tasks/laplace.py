"""Laplace's approximation: ``fit_laplace`` beside JAX by hand and pymc-extras.

A fit is one ascent from a draw of the prior, the curvature there and 1,000 draws of the normal; in
the last layer's weights alone, or in all. Ours and by hand it is the generalised Gauss-Newton
matrix, with pymc-extras the Hessian, which need not be positive. The modes differ by the start.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
from scipy import linalg
from scipy.optimize import minimize

from benchmarks.task import Contestant, Run, Task, Timed
from bnnbook import datasets, inference, models

DRAWS, MOST = 1_000, 5_000
NOISE_SD = 0.3
WIDTH = 20  # of the regression


class Problem(NamedTuple):
    """A model, and what is needed to write it by hand: shapes and prior sds in its order."""

    model: pm.Model
    shapes: dict[str, tuple[int, ...]]
    prior_sd: dict[str, float]
    last: tuple[str, ...]
    X: np.ndarray
    y: np.ndarray
    noise: float | None = None  # of standardised targets; None: labels

    def unpacked(self, theta: Any) -> list[Any]:
        """Weights of one vector."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes.values()])
        parts = jnp.split(theta, ends[:-1])
        return [p.reshape(s) for p, s in zip(parts, self.shapes.values(), strict=True)]

    def spread(self) -> np.ndarray:
        """Prior sd of every weight."""
        return np.concatenate([
            np.full(int(np.prod(shape)), self.prior_sd[name])
            for name, shape in self.shapes.items()
        ])  # fmt: skip

    def chosen(self, last_layer: bool) -> np.ndarray:
        """Which weights vary."""
        return np.concatenate([
            np.full(int(np.prod(shape)), not last_layer or name in self.last)
            for name, shape in self.shapes.items()
        ])  # fmt: skip

    def output(self, theta: Any) -> Any:
        """Logits, or standardised means, of all rows."""
        w = self.unpacked(theta)
        if self.noise is None:
            return jnp.tanh(jnp.tanh(self.X @ w[0]) @ w[1]) @ w[2]
        return jnp.tanh(self.X @ w[0] + w[1]) @ w[2] + w[3]

    def negative(self, theta: Any) -> Any:
        """Minus the log joint density, with its constants left out."""
        f = self.output(theta)
        if self.noise is None:
            fit = jax.nn.softplus(jnp.where(self.y == 1, -f, f)).sum()
        else:
            fit = 0.5 * (((self.y - f) / self.noise) ** 2).sum()
        return fit + 0.5 * ((theta / self.spread()) ** 2).sum()


def moons() -> Problem:
    """Chapter 1's network."""
    data = datasets.two_moons(seed=1)
    shapes: dict[str, tuple[int, ...]] = {"w1": (2, 5), "w2": (5, 5), "w_out": (5,)}
    return Problem(
        models.mlp_classifier(data.X_train, data.y_train), shapes, dict.fromkeys(shapes, 1.0),
        ("w_out",), data.X_train, data.y_train,
    )  # fmt: skip


def waves() -> Problem:
    """A cosine seen in clusters, 1-20-1 with biases and known noise."""
    data = datasets.wave_clusters(seed=0)
    X, y = data.X_train, data.y_train
    model = models.mlp_regression(X, y, (WIDTH,), heteroskedastic=False, noise_sd=NOISE_SD)
    return Problem(
        model, {"w1": (1, WIDTH), "b1": (WIDTH,), "w_out": (WIDTH,), "b_out": ()},
        {"w1": 1.0, "b1": 1.0, "w_out": WIDTH**-0.5, "b_out": 1.0}, ("w_out", "b_out"),
        (X - X.mean(0)) / X.std(0), (y - y.mean()) / y.std(), NOISE_SD / float(y.std()),
    )  # fmt: skip


def judged(seconds: float, problem: Problem, mode: Any, draws: np.ndarray) -> Run:
    """A run with the log density of the mode, and how wide the draws (draw, weight) are."""
    quality = {
        "log p": -float(problem.negative(jnp.asarray(mode))),
        "mean log sd": float(np.log(draws.std(axis=0)).mean()),
    }
    return Run(seconds, quality=quality)


def ours(_: bool, build: Callable[[], Problem], last_layer: bool) -> Timed:
    """``fit_laplace`` as a user calls it."""
    problem = build()
    chosen = problem.chosen(last_layer)

    def run(seed: int) -> Run:
        clock = time.perf_counter()
        fit = inference.fit_laplace(
            problem.model, last_layer=problem.last if last_layer else None, n_starts=1,
            max_steps=MOST, draws=DRAWS, seed=seed, progressbar=False,
        )  # fmt: skip
        seconds = time.perf_counter() - clock
        mode = np.concatenate([fit["mode"][name].to_numpy().ravel() for name in problem.shapes])
        draws = np.concatenate(
            [fit["posterior"][name].to_numpy().reshape(DRAWS, -1) for name in problem.shapes], 1
        )
        return judged(seconds, problem, mode, draws[:, chosen])

    return run


def gauss_newton(problem: Problem, chosen: np.ndarray, theta: Any) -> Any:
    """The precision of the chosen weights."""
    slopes = jax.jacobian(problem.output)(theta)[:, chosen]
    if problem.noise is None:
        p = jax.nn.sigmoid(problem.output(theta))
        fisher = p * (1 - p)
    else:
        fisher = jnp.full(len(problem.y), problem.noise**-2)
    return slopes.T @ (slopes * fisher[:, None]) + jnp.diag(problem.spread()[chosen] ** -2.0)


def by_hand(_: bool, build: Callable[[], Problem], last_layer: bool) -> Timed:
    """SciPy's L-BFGS-B, the Jacobian under ``jax.jit``, a Cholesky factor of its products."""
    problem = build()
    chosen, sd = problem.chosen(last_layer), problem.spread()
    both = jax.jit(jax.value_and_grad(problem.negative))

    curvature = jax.jit(partial(gauss_newton, problem, chosen))

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = both(theta)
        return float(value), np.asarray(gradient)

    def run(seed: int) -> Run:
        rng = np.random.default_rng(seed)
        clock = time.perf_counter()
        mode = minimize(
            objective, sd * rng.normal(size=sd.size), jac=True, method="L-BFGS-B",
            options={"maxiter": MOST, "maxfun": 2 * MOST, "ftol": 0.0, "gtol": 1e-6},
        ).x  # fmt: skip
        root = np.linalg.cholesky(np.asarray(curvature(mode)))
        z = rng.normal(size=(int(chosen.sum()), DRAWS))
        draws = mode[chosen] + linalg.solve_triangular(root.T, z).T
        return judged(time.perf_counter() - clock, problem, mode, draws)

    return run


def by_pymc_extras(_: bool, build: Callable[[], Problem], last_layer: bool) -> Timed:
    """``fit_laplace`` with the Hessian; from 0, its default, a network's ascent would not move."""
    from pymc_extras.inference import fit_laplace

    if last_layer:
        # printed in the table in the place of the peer's time
        raise NotImplementedError("it has no Laplace approximation of some of the variables")
    problem = build()
    sd = problem.spread()

    def run(seed: int) -> Run:
        values = problem.unpacked(sd * np.random.default_rng(seed).normal(size=sd.size))
        begin = {n: np.asarray(v) for n, v in zip(problem.shapes, values, strict=True)}
        clock = time.perf_counter()
        fit = fit_laplace(
            "L-BFGS-B", model=problem.model, initvals=begin, random_seed=seed, draws=DRAWS,
            progressbar=False, optimizer_kwargs={"maxiter": MOST},
        )  # fmt: skip
        seconds = time.perf_counter() - clock
        posterior = fit["posterior"].to_dataset()
        draws = np.concatenate(
            [posterior[name].to_numpy().reshape(DRAWS, -1) for name in problem.shapes], 1
        )
        return judged(seconds, problem, fit["fit"]["mean_vector"].to_numpy(), draws)

    return run


def by_laplace_torch(*_: Any, **__: Any) -> Timed:
    """laplace-torch, which needs PyTorch; not installed with the others, so this is its error."""
    from laplace import Laplace

    # printed in the table as the peer's error, should it be installed
    raise NotImplementedError(f"it is installed: write the fit of {Laplace.__name__}")


PEERS: dict[str, Callable[..., Timed]] = {
    "JAX by hand": by_hand, "pymc-extras fit_laplace": by_pymc_extras,
    "laplace-torch": by_laplace_torch,
}  # fmt: skip


def task(name: str, what: str, build: Callable[[], Problem], last_layer: bool) -> Task:
    """Ours and the peers on a problem."""
    same = {"build": build, "last_layer": last_layer}
    peers: dict[str, Contestant] = {peer: partial(f, **same) for peer, f in PEERS.items()}
    return Task(
        name, "laplace", f"Laplace, {what}, {DRAWS:,} draws", "fit", "ahead or level, stated",
        partial(ours, **same), peers,
    )  # fmt: skip


TASKS = (
    task("Laplace-moons", "all of 2-5-5-1 on 500 rows", moons, False),
    task("Laplace-moons-last", "last layer of 2-5-5-1 on 500 rows", moons, True),
    task("Laplace-waves", f"all of 1-{WIDTH}-1 on 400 rows", waves, False),
    task("Laplace-waves-last", f"last layer of 1-{WIDTH}-1 on 400 rows", waves, True),
)
