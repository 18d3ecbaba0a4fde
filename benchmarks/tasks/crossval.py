"""Cross-validation: a network on the 20 splits of yacht, fitted by us and with NumPyro.

Every split has as many rows as the others, so that a program compiled for one fits all: NumPyro's
take the data as arguments under one ``jax.jit``, and ours is found again by ``bnnbook``. Timed is
all of it: reading a split, building the model, fitting and predicting the test rows. The noise is
known, as in the reference posterior: a learned one makes the mode degenerate and NUTS stick.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pymc as pm
import xarray as xr
from numpyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoNormal
from scipy.optimize import minimize
from scipy.special import logsumexp

from benchmarks.task import Run, Task, Timed
from bnnbook import datasets, diagnostics, inference, models, predict
from bnnbook.datasets import Dataset

SPLITS, QUICK_SPLITS = 20, 2
INPUTS, HIDDEN, NOISE_SD = 6, 10, 2.0
SHAPES = {"w1": (INPUTS, HIDDEN), "b1": (HIDDEN,), "w_out": (HIDDEN,), "b_out": ()}
PRIOR_SD = {"w1": INPUTS**-0.5, "b1": 1.0, "w_out": HIDDEN**-0.5, "b_out": 1.0}
STEPS, RATE, DRAWS = 5_000, 0.01, 200  # of ADVI
MOST = 500  # iterations of MAP
CHAINS, TUNE, DEPTH = 2, 200, 6  # of NUTS, whose trees would else have 1,000 gradients

Fit = Callable[..., Any]
Draws = dict[str, Any]  # weights, each (chain, draw, ...)


def ours(quick: bool, method: str) -> Timed:
    """Each split with a model of its own, as a user's loop has it."""
    method_fit = our_fit(method, quick)

    def predicted(data: Dataset, seed: int) -> np.ndarray:
        model = network(data)
        fit = method_fit(model, seed=seed, progressbar=False)
        mu = predict.compile_predictor(model, "mu")(fit, data.X_test)["mu"]
        return mu.transpose("chain", "draw", ...).to_numpy()

    return over_splits(predicted, quick)


def network(data: Dataset) -> pm.Model:
    """6-10-1 on a split's training rows, standardised by them."""
    return models.mlp_regression(
        data.X_train, data.y_train, (HIDDEN,), heteroskedastic=False, noise_sd=NOISE_SD
    )


def our_fit(method: str, quick: bool) -> Fit:
    """A fit of a model, by its seed."""
    if method == "MAP":
        return partial(inference.fit_map, max_steps=MOST)
    if method == "ADVI":
        return partial(
            inference.fit_advi, n=fewer(STEPS, quick), learning_rate=RATE, draws=DRAWS
        )  # fmt: skip
    few = {"draws": fewer(DRAWS, quick), "tune": fewer(TUNE, quick)}
    return partial(inference.sample_nuts, **few, chains=CHAINS, max_depth=DEPTH)


def fewer(count: int, quick: bool) -> int:
    """A fourth of the steps."""
    return count // 4 if quick else count


def apply(w: Draws, X: Any) -> Any:
    """The network's standardised output."""
    return jnp.tanh(X @ w["w1"] + w["b1"]) @ w["w_out"] + w["b_out"]


def priors_and_rows(X: Any, y: Any, noise: Any) -> None:
    """The same model for NumPyro, of standardised data."""
    w = {
        name: numpyro.sample(
            name, dist.Normal(0, PRIOR_SD[name]).expand(shape).to_event(len(shape))
        )
        for name, shape in SHAPES.items()
    }
    numpyro.sample("obs", dist.Normal(apply(w, X), noise).to_event(1), obs=y)


def by_numpyro(quick: bool, method: str) -> Timed:
    """Standardise, fit by a function that is compiled once, predict."""
    fit = {"MAP": by_scipy, "ADVI": by_svi, "NUTS": by_mcmc}[method](quick)
    functions = jax.jit(jax.vmap(jax.vmap(apply, (0, None)), (0, None)))

    def predicted(data: Dataset, seed: int) -> np.ndarray:
        X, y, X_test, centre, spread = standardised(data)
        draws = fit(seed, X, y, NOISE_SD / spread)
        return centre + spread * np.asarray(functions(draws, X_test))

    return over_splits(predicted, quick)


def standardised(data: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, float]:
    """Training inputs and targets, test inputs, and the targets' mean and sd."""
    mean, sd = data.X_train.mean(0), data.X_train.std(0)
    centre, spread = data.y_train.mean(), data.y_train.std()
    scaled = (data.X_train - mean) / sd, (data.y_train - centre) / spread
    return *scaled, (data.X_test - mean) / sd, float(centre), float(spread)


def by_svi(quick: bool) -> Fit:
    """``SVI.run`` and the draws of its guide under one ``jax.jit``."""
    guide = AutoNormal(priors_and_rows)
    svi = SVI(priors_and_rows, guide, numpyro.optim.Adam(RATE), Trace_ELBO())

    @jax.jit
    def fit(seed: Any, X: Any, y: Any, noise: Any) -> Draws:
        first, second = jax.random.split(jax.random.key(seed))
        found = svi.run(first, fewer(STEPS, quick), X, y, noise, progress_bar=False)
        return guide.sample_posterior(second, found.params, sample_shape=(1, DRAWS))

    return fit


def by_mcmc(quick: bool) -> Fit:
    """One ``MCMC`` for all splits: it compiles once if its chains are vectorised."""
    mcmc = MCMC(
        NUTS(priors_and_rows, max_tree_depth=DEPTH), num_warmup=fewer(TUNE, quick),
        num_samples=fewer(DRAWS, quick), num_chains=CHAINS, chain_method="vectorized",
        jit_model_args=True, progress_bar=False,
    )  # fmt: skip

    def fit(seed: int, X: Any, y: Any, noise: float) -> Draws:
        mcmc.run(jax.random.key(seed), jnp.asarray(X), jnp.asarray(y), jnp.asarray(noise))
        return dict(mcmc.get_samples(group_by_chain=True))

    return fit


def by_scipy(_: bool) -> Fit:
    """L-BFGS-B from a draw of the prior, on a density by hand: NumPyro has no such optimiser.

    SciPy's own tolerance would end it early, at a mode that is worse than ours.
    """
    both = jax.jit(jax.value_and_grad(negative))

    def fit(seed: int, X: Any, y: Any, noise: float) -> Draws:
        def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = both(theta, X, y, noise)
            return float(value), np.asarray(gradient)

        sd = np.concatenate([np.full(int(np.prod(s)), PRIOR_SD[n]) for n, s in SHAPES.items()])
        start = sd * np.random.default_rng(seed).normal(size=sd.size)
        found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": MOST}).x
        return {name: np.asarray(w)[None, None] for name, w in unpacked(found).items()}

    return fit


def unpacked(theta: Any) -> Draws:
    """Weights by name of one vector."""
    ends = np.cumsum([int(np.prod(shape)) for shape in SHAPES.values()])
    parts = jnp.split(theta, ends[:-1])
    return {n: p.reshape(s) for (n, s), p in zip(SHAPES.items(), parts, strict=True)}


def negative(theta: Any, X: Any, y: Any, noise: Any) -> Any:
    """Minus the log joint density, with its constants left out."""
    w = unpacked(theta)
    prior = sum(((w[name] / PRIOR_SD[name]) ** 2).sum() for name in SHAPES)
    return 0.5 * (prior + (((y - apply(w, X)) / noise) ** 2).sum())


def over_splits(predicted: Callable[[Dataset, int], np.ndarray], quick: bool) -> Timed:
    """Time the loop over all splits; ``predicted`` has means (chain, draw, row) of test rows."""
    count = QUICK_SPLITS if quick else SPLITS

    def run(seed: int) -> Run:
        clock = time.perf_counter()
        splits = [datasets.uci("yacht", number) for number in range(count)]
        means = [predicted(data, seed) for data in splits]
        seconds = time.perf_counter() - clock
        pairs = [scores(mu, data.y_test) for mu, data in zip(means, splits, strict=True)]
        return Run(seconds, work=count, quality={
            key: float(np.mean([pair[key] for pair in pairs])) for key in pairs[0]
        })  # fmt: skip

    return run


def scores(mu: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Of the equal mixture of the draws' normals; with chains also their R-hat."""
    every = mu.reshape(-1, len(y))
    squares = ((every - y) / NOISE_SD) ** 2 + np.log(2 * np.pi * NOISE_SD**2)
    nll = np.log(len(every)) - logsumexp(-0.5 * squares, axis=0)
    found = {"RMSE": float(np.sqrt(((every.mean(0) - y) ** 2).mean())), "NLL": float(nll.mean())}
    if len(mu) > 1:
        array = xr.DataArray(mu, dims=("chain", "draw", "obs_id"))
        found["R-hat"] = float(diagnostics.function_space(array).attrs["max_rhat"])
    return found


TASKS = tuple(
    Task(
        f"crossval-{method}", "crossval",
        f"{SPLITS} splits of yacht, 6-10-1 on 277 rows, {what}, and predictions", "split",
        "compile once; total ahead", partial(ours, method=method),
        {peer: partial(by_numpyro, method=method)},
    )
    for method, what, peer in (
        ("MAP", f"at most {MOST} iterations of L-BFGS", "SciPy and JAX by hand"),
        ("ADVI", f"{STEPS:,} steps", "NumPyro SVI"),
        ("NUTS", f"{CHAINS} x ({TUNE} + {DRAWS}), trees of depth {DEPTH}", "NumPyro NUTS"),
    )
)  # fmt: skip
