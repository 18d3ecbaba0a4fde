"""Predictions of 500 draws at 10,000 points, 2-5-5-1: ours beside NumPy, JAX and PyMC."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm
import xarray as xr

from bnnbook import models, predict

DRAWS, POINTS, REPEATS = 500, 10_000, 7


def main() -> None:
    """Print medians of interleaved runs; PyMC's functions compile in every call, as for a user."""
    rng = np.random.default_rng(0)
    model = models.mlp_classifier(rng.normal(size=(500, 2)), rng.integers(0, 2, 500))
    shapes = {"w1": (2, 5), "w2": (5, 5), "w_out": (5,)}
    draws = {k: rng.normal(size=(1, DRAWS, *s)) for k, s in shapes.items()}
    dims = {k: ("chain", "draw", *model.named_vars_to_dims[k]) for k in shapes}
    posterior = xr.Dataset({k: (dims[k], v) for k, v in draws.items()})
    X = rng.normal(size=(POINTS, 2))
    w1, w2, w_out = (v[0] for v in draws.values())

    def by_numpy() -> np.ndarray:
        logit = np.tanh(np.tanh(X @ w1) @ w2) @ w_out[..., None]
        return 1 / (1 + np.exp(-logit[..., 0]))

    @jax.jit
    def jax_predict(w1: jax.Array, w2: jax.Array, w_out: jax.Array, X: jax.Array) -> jax.Array:
        def one(w: tuple) -> jax.Array:
            return jax.nn.sigmoid(w[2] @ jnp.tanh(w[1].T @ jnp.tanh(w[0].T @ X.T)))

        return jax.lax.map(one, (w1, w2, w_out))

    def by_jax() -> np.ndarray:
        return np.asarray(jax.block_until_ready(jax_predict(w1, w2, w_out, X)))

    predictor = predict.compile_predictor(model, "p")

    def ours() -> np.ndarray:
        return predictor(posterior, X)["p"].to_numpy()[0]

    single = predict.compile_predictor(model, "p", dtype="float32")

    def ours_single() -> np.ndarray:
        return single(posterior, X)["p"].to_numpy()[0]

    def by_pymc() -> np.ndarray:
        with model:
            pm.set_data({"X": X, "y": np.zeros(POINTS, int)}, coords={"obs_id": np.arange(POINTS)})
            found = pm.sample_posterior_predictive(
                xr.DataTree.from_dict({"posterior": posterior}),
                var_names=["p", "obs"], freeze_vars=["w1", "w2", "w_out"], random_seed=1,
                progressbar=False,
            )  # fmt: skip
        return found["posterior_predictive"]["p"].to_numpy()[0]

    runs: dict[str, Callable[[], np.ndarray]] = {
        "bnnbook predictor": ours, "the same, float32": ours_single, "NumPy": by_numpy,
        "JAX, jitted": by_jax,
        "pm.sample_posterior_predictive": by_pymc,
    }  # fmt: skip
    first, seconds = {}, {name: [] for name in runs}
    expected = by_numpy()
    for name, run in runs.items():
        clock = time.perf_counter()
        np.testing.assert_allclose(run(), expected, atol=1e-5 if "float32" in name else 1e-6)
        first[name] = time.perf_counter() - clock
    for _ in range(REPEATS):
        for name, run in runs.items():
            clock = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - clock)
    reference = median(seconds["bnnbook predictor"])
    print(f"\npredictor: {DRAWS} draws x {POINTS:,} points, 2-5-5-1, float64")
    print(f"{'':32}{'first call':>12}{'median':>12}{'ratio':>8}")
    for name in runs:
        middle = median(seconds[name])
        print(f"{name:32}{first[name]:10.2f} s{1e3 * middle:9.0f} ms{middle / reference:8.2f}")


if __name__ == "__main__":
    main()
