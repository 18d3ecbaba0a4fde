"""Where the chains of chapter 2 start, and what the mass matrix and the symmetries do to them.

Every row is one run of ``sample_nuts`` on the hierarchical classifier of chapter 2, in single
precision. Seconds are wall time with compiling, and with what it took to find the start.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr
from pytensor.tensor import TensorVariable

from bnnbook import datasets, diagnostics, inference, models, predict
from bnnbook.inference import compile_log_density

CHAINS = 4
DATA = datasets.grouped_moons(seed=31)


def located() -> pm.Model:
    """Return chapter 2's model."""
    return models.hierarchical_mlp_classifier(
        DATA.X_train, DATA.y_train, centred=(False, False, "location")
    )


def one_of_each_symmetry() -> pm.Model:
    """Restrict chapter 2's model to one of the 2^10 5!^2 copies of each function.

    The mean weights out of a hidden unit of the last layer are positive and increase over the
    units, and so do those from the first hidden layer to the first of these units.
    """

    def increasing(name: str) -> TensorVariable:
        """Return five half-normal values in increasing order."""
        gaps = pm.Flat(f"{name}_log_gaps", shape=5, initval=np.full(5, -1.0))
        value = pm.math.cumsum(pm.math.exp(gaps))
        log_prior = pm.logp(pm.HalfNormal.dist(1), value).sum()
        pm.Potential(f"{name}_prior", log_prior + gaps.sum())  # and the log Jacobian
        return value

    with pm.Model() as model:
        X = pm.Data("X", DATA.X_train, dims=("group", "obs_id", "feature"))
        y = pm.Data("y", DATA.y_train, dims=("group", "obs_id"))
        others = pm.Normal("w2_mu_others", 0, 1, shape=(5, 4))
        mu = [
            pm.Normal("w1_mu", 0, 1, shape=(2, 5)),
            pm.math.concatenate([increasing("w2_mu_first")[:, None], others], axis=1),
            increasing("w_out_mu"),
        ]
        sd = [pm.HalfNormal(f"{name}_sd", 1) for name in ("w1", "w2", "w_out")]
        offset = [
            pm.Normal("w1_offset", 0, 1, shape=(18, 2, 5)),
            pm.Normal("w2_offset", 0, 1, shape=(18, 5, 5)),
            pm.Normal("w_out_offset", mu[2] / sd[2], 1, shape=(18, 5)),
        ]
        h = pm.math.tanh(X @ (mu[0] + sd[0] * offset[0]))
        h = pm.math.tanh(h @ (mu[1] + sd[1] * offset[1]))
        f = (h * (sd[2] * offset[2])[:, None]).sum(axis=-1)
        pm.Deterministic("p", pm.math.sigmoid(f), dims=("group", "obs_id"))
        pm.Bernoulli("obs", logit_p=f, observed=y)
    return model


def unconstrained(model: pm.Model, posterior: xr.Dataset) -> dict[str, np.ndarray]:
    """Value variables (chains, ...) of the first draw of every chain."""
    starts = {}
    for rv in model.free_RVs:
        draw = posterior[rv.name].isel(draw=0).to_numpy()
        value = model.rvs_to_values[rv].name
        starts[value] = np.log(draw) if value.endswith("_log__") else draw
    return starts


def at_advi_draws(model: pm.Model, seed: int) -> dict[str, np.ndarray]:
    """Return draws of a mean-field fit."""
    fit = inference.fit_advi(model, 10_000, draws=CHAINS, seed=seed, progressbar=False)
    draws = fit["posterior"].to_dataset().isel(chain=0, drop=True).rename(draw="chain")
    return unconstrained(model, draws.expand_dims(draw=1))


def at_ensemble(model: pm.Model, seed: int) -> dict[str, np.ndarray]:
    """Return networks at their modes, each found from a prior draw of its own."""
    fit = inference.fit_ensemble(
        model, n_members=CHAINS, max_steps=2_000, seed=seed, progressbar=False
    )
    return unconstrained(model, fit["posterior"].to_dataset())


def at_pathfinder_draws(model: pm.Model, seed: int) -> np.ndarray:
    """Return one draw from each of as many Pathfinder runs as there are chains."""
    density = compile_log_density(model)
    data = tuple(jnp.asarray(a) for a in density.data)

    def log_density(theta: jax.Array) -> jax.Array:
        return density.log_prior(theta, data) + density.log_likelihood(theta, data)

    @jax.jit
    def path(key: jax.Array, theta: jax.Array) -> jax.Array:
        keys = jax.random.split(key)
        state, _ = blackjax.pathfinder.approximate(
            keys[0], log_density, theta, num_samples=50, maxiter=200, maxcor=10
        )
        return blackjax.pathfinder.sample(keys[1], state)[0]

    starts = density.initial_points(CHAINS, jitter=1.0, seed=seed)
    keys = jax.random.split(jax.random.key(seed), CHAINS)
    return np.stack([path(key, jnp.asarray(s)) for key, s in zip(keys, starts, strict=True)])


Start = Callable[[pm.Model, int], object]
TIED = {"exchangeable": ("hidden_1", "hidden_2")}  # as in chapter 2
TRIALS: dict[str, tuple[Callable[[], pm.Model], Start | None, dict]] = {
    "chapter 2": (located, None, TIED),
    "a variance for each weight": (located, None, {}),
    "started at ADVI draws": (located, at_advi_draws, TIED),
    "started at Pathfinder draws": (located, at_pathfinder_draws, TIED),
    "started at a deep ensemble": (located, at_ensemble, TIED),
    "symmetries broken": (one_of_each_symmetry, None, {}),
}


def run(name: str, *, seed: int, draws: int, tune: int) -> str:
    """Return one row of the table."""
    build, find_start, settings = TRIALS[name]
    model = build()
    clock = time.perf_counter()
    start = None if find_start is None else find_start(model, seed)
    found = time.perf_counter() - clock
    fit = inference.sample_nuts(
        model, draws=draws, tune=tune, chains=CHAINS, target_accept=0.9, dtype="float32",
        seed=seed, start=start, progressbar=False, **settings,
    )  # fmt: skip
    seconds = time.perf_counter() - clock
    p = predict.compile_predictor(model, "p")(fit["posterior"], DATA.X_train)["p"]
    p = p.clip(1e-12, 1 - 1e-12)
    check = diagnostics.function_space(np.log(p / (1 - p))).attrs
    stats = fit["sample_stats"]
    gradients = int(stats["n_steps"].sum()) / (draws * CHAINS)
    ess = check["min_ess_bulk"]
    return (
        f"| {name} | {seed} | {check['max_rhat']:.4f} | {ess:.0f} | {found:.0f} | {seconds:.0f} | "
        f"{ess / seconds:.1f} | {gradients:.0f} | {1e6 * ess / (gradients * draws * CHAINS):.0f} | "
        f"{int(stats['diverging'].sum())} |"
    )


def main(draws: int = 1000, tune: int = 500) -> None:
    """Print the table, a row as soon as it is there."""
    print(f"NUTS, {CHAINS} x ({tune:,} + {draws:,}), target .9; ESS over the 900 training logits")
    print(
        "| start or change | seed | R-hat | ESS | s to the start | s in all | ESS / s | "
        "gradients a draw | ESS / 10^6 gradients of draws | divergences |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    names = sys.argv[1:] or TRIALS
    for name in names:
        for seed in (0, 1):
            print(run(name, seed=seed, draws=draws, tune=tune), flush=True)


if __name__ == "__main__":
    main()
