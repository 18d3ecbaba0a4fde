"""SG-MCMC on LeNet-300-100: ``sample_sgmcmc`` beside hand-written JAX and BlackJAX, ms a step.

One step moves every chain once. The hand-written step is the same algorithm on the same model: the
chains under ``vmap``, noise from ``jax.random.normal``, batches cut from the data on the device, a
whole block of steps in one compiled scan. Runs are interleaved and the median is shown; compiling
is timed apart. The last column counts 6 floating-point operations per weight and example.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np

from bnnbook import inference, models
from bnnbook.density import precision

N, SIZES = 60_000, (784, 300, 100, 10)
WEIGHTS = sum(a * b for a, b in itertools.pairwise(SIZES))
STEP_SIZE, DECAY, DAMPING = 1e-8, 0.99, 1e-5
REPEATS = 3

Params = tuple[tuple[jax.Array, jax.Array], ...]
Timed = Callable[[], float]


def data() -> tuple[np.ndarray, np.ndarray]:
    """Random images and labels: the time does not depend on what they show."""
    rng = np.random.default_rng(0)
    return rng.random((N, SIZES[0]), dtype=np.float32), rng.integers(0, SIZES[-1], N)


def log_posterior(params: Params, X: jax.Array, y: jax.Array) -> jax.Array:
    """Standard normal prior; the batch's likelihood times N/n."""
    h = X
    for w, b in params[:-1]:
        h = jax.nn.relu(h @ w + b)
    w, b = params[-1]
    logp = jax.nn.log_softmax(h @ w + b)
    likelihood = jnp.take_along_axis(logp, y[:, None], axis=1).sum() * (N / len(X))
    return likelihood - 0.5 * sum(jnp.sum(p**2) for p in jax.tree.leaves(params))


def start(chains: int) -> Params:
    """Small weights for every chain."""
    rng = np.random.default_rng(1)
    shapes = itertools.pairwise(SIZES)
    return tuple(
        (
            jnp.asarray(rng.normal(0, 0.05, (chains, a, b)), jnp.float32),
            jnp.zeros((chains, b), jnp.float32),
        )
        for a, b in shapes
    )


def by_hand(X: Any, y: Any, chains: int, batch: int, steps: int) -> tuple[Timed, float]:
    """pSGLD with vectorised chains in one compiled scan."""

    def one_step(carry: tuple, key: jax.Array) -> tuple:
        params, v = carry
        key_rows, key_noise = jax.random.split(key)
        rows = jax.random.randint(key_rows, (batch,), 0, N)
        gradient = jax.grad(log_posterior)(params, X[rows], y[rows])
        v = jax.tree.map(lambda v, g: DECAY * v + (1 - DECAY) * (g / N) ** 2, v, gradient)
        leaves, tree = jax.tree.flatten(params)
        keys = jax.random.split(key_noise, len(leaves))
        noise = [jax.random.normal(k, p.shape) for k, p in zip(keys, leaves, strict=True)]

        def update(p: Any, g: Any, v: Any, xi: Any) -> Any:
            metric = 1 / (DAMPING + jnp.sqrt(v))
            return p + STEP_SIZE * metric * g + jnp.sqrt(2 * STEP_SIZE * metric) * xi

        params = jax.tree.map(update, params, gradient, v, jax.tree.unflatten(tree, noise))
        return (params, v), None

    def run_chain(params: Params, v: Params, key: jax.Array) -> Params:
        return jax.lax.scan(one_step, (params, v), jax.random.split(key, steps))[0][0]

    params = start(chains)
    v = jax.tree.map(jnp.ones_like, params)
    return timed(jax.jit(jax.vmap(run_chain)), params, v, chains, steps)


def by_blackjax(X: Any, y: Any, batch: int, steps: int) -> tuple[Timed, float]:
    """BlackJAX's SGLD, one chain, in one compiled scan."""

    def gradient(params: Params, rows: jax.Array) -> Params:
        return jax.grad(log_posterior)(params, X[rows], y[rows])

    sgld = blackjax.sgld(gradient)

    def one_step(params: Params, key: jax.Array) -> tuple:
        key_rows, key_noise = jax.random.split(key)
        rows = jax.random.randint(key_rows, (batch,), 0, N)
        return sgld.step(key_noise, params, rows, STEP_SIZE), None

    def run_chain(params: Params, _: Any, key: jax.Array) -> Params:
        return jax.lax.scan(one_step, params, jax.random.split(key, steps))[0]

    params = start(1)
    return timed(jax.jit(jax.vmap(run_chain)), params, params, 1, steps)


def timed(function: Any, params: Params, v: Params, chains: int, steps: int) -> tuple[Timed, float]:
    """Milliseconds a step of a compiled loop, and the seconds it took to compile."""
    clock = time.perf_counter()
    keys = jax.random.split(jax.random.key(0), chains)
    with precision("float32"):
        compiled = function.lower(params, v, keys).compile()
    compile_seconds = time.perf_counter() - clock

    def run() -> float:
        clock = time.perf_counter()
        out = jax.block_until_ready(compiled(params, v, keys))
        assert all(bool(jnp.isfinite(p).all()) for p in jax.tree.leaves(out))
        return 1e3 * (time.perf_counter() - clock) / steps

    return run, compile_seconds


def by_bnnbook(
    model: Any, kernel: inference.Kernel, chains: int, batch: int, steps: int
) -> tuple[Timed, float]:
    """``sample_sgmcmc`` as a user calls it; ``seconds`` are without compiling."""
    density = inference.compile_log_density(model)
    position = np.random.default_rng(1).normal(0, 0.05, (chains, density.size))
    compiling: list[float] = []

    def run() -> float:
        fit = inference.sample_sgmcmc(
            model, kernel, batch_size=batch, draws=1, tune=steps - 1, chains=chains, seed=0,
            start=position, dtype="float32", progressbar=False,
        )  # fmt: skip
        compiling.append(fit.attrs["compile_seconds"])
        return 1e3 * fit.attrs["seconds"] / steps

    run()
    return run, compiling[0]


def sgemm_rate() -> float:
    """Best rate of a product of two large float32 matrices, GFLOP/s."""
    a = jnp.ones((2048, 2048), jnp.float32)
    product = jax.jit(jnp.matmul).lower(a, a).compile()
    seconds = []
    for _ in range(10):
        clock = time.perf_counter()
        jax.block_until_ready(product(a, a))
        seconds.append(time.perf_counter() - clock)
    return 2 * 2048**3 / min(seconds) / 1e9


def main(repeats: int = REPEATS) -> None:
    """Print one table per setting."""
    images, labels = data()
    X, y = jnp.asarray(images), jnp.asarray(labels, jnp.int32)
    model = models.mlp_classifier(
        images, labels, SIZES[1:-1], n_classes=10, activation="relu", bias=True
    )
    rms = inference.sgld(STEP_SIZE, preconditioner="rms", decay=DECAY, damping=DAMPING)
    plain = inference.sgld(STEP_SIZE)
    rate = sgemm_rate()
    print(f"\nLeNet-300-100 in float32, {N:,} rows; sgemm {rate:.0f} GFLOP/s")
    print(f"median (range) of {repeats} interleaved runs\n")
    for chains, batch, steps in ((10, 1000, 60), (10, 128, 300), (1, 200, 1500)):
        contestants = {
            "pSGLD, sample_sgmcmc": by_bnnbook(model, rms, chains, batch, steps),
            "pSGLD, JAX by hand": by_hand(X, y, chains, batch, steps),
        }
        if chains == 1:
            contestants["SGLD, sample_sgmcmc"] = by_bnnbook(model, plain, 1, batch, steps)
            contestants["SGLD, BlackJAX"] = by_blackjax(X, y, batch, steps)
        runs: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(repeats):
            for name, (run, _) in contestants.items():
                runs[name].append(run())
        flops = 6 * WEIGHTS * chains * batch
        print(f"{chains} chains, batch {batch:,}, {steps:,} steps")
        print(f"{'':24s}{'ms/step':>9s}{'range':>18s}{'compile s':>11s}{'of sgemm':>10s}")
        for name, values in runs.items():
            median, spread = float(np.median(values)), f"{min(values):.2f}-{max(values):.2f}"
            share = flops / (median * 1e-3) / 1e9 / rate
            compile_seconds = contestants[name][1]
            print(f"{name:24s}{median:9.2f}{spread:>18s}{compile_seconds:11.1f}{share:10.0%}")
        print()


if __name__ == "__main__":
    main()
