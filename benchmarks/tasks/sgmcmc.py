"""SG-MCMC on LeNet-300-100: ``sample_sgmcmc`` beside hand-written JAX and BlackJAX.

One step moves every chain once. The hand-written step is the same algorithm on the same model: the
chains under ``vmap``, noise from ``jax.random.normal``, batches cut from the data on the device, a
whole block of steps in one compiled scan, in single precision.
"""

from __future__ import annotations

import itertools
import time
from functools import partial
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.task import Run, Task, Timed
from bnnbook import inference, models
from bnnbook.density import precision

N, SIZES = 60_000, (784, 300, 100, 10)
WEIGHTS = sum(a * b for a, b in itertools.pairwise(SIZES))
STEP_SIZE, DECAY, DAMPING = 1e-8, 0.99, 1e-5

Params = tuple[tuple[jax.Array, jax.Array], ...]


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
    return tuple(
        (
            jnp.asarray(rng.normal(0, 0.05, (chains, a, b)), jnp.float32),
            jnp.zeros((chains, b), jnp.float32),
        )
        for a, b in itertools.pairwise(SIZES)
    )


def by_hand(quick: bool, chains: int, batch: int, steps: int) -> Timed:
    """SGLD with the RMS preconditioner, chains vectorised, in one compiled scan."""
    steps = fewer(steps, quick)

    def one_step(carry: tuple, key: jax.Array, X: jax.Array, y: jax.Array) -> tuple:
        params, v = carry
        key_rows, key_noise = jax.random.split(key)
        rows = jax.random.randint(key_rows, (batch,), 0, N)
        gradient = jax.grad(log_posterior)(params, X[rows], y[rows])
        v = jax.tree.map(lambda v, g: DECAY * v + (1 - DECAY) * (g / N) ** 2, v, gradient)
        leaves, tree = jax.tree.flatten(params)
        keys = jax.random.split(key_noise, len(leaves))
        noise = [jax.random.normal(k, p.shape, p.dtype) for k, p in zip(keys, leaves, strict=True)]

        def update(p: Any, g: Any, v: Any, xi: Any) -> Any:
            metric = 1 / (DAMPING + jnp.sqrt(v))
            return p + STEP_SIZE * metric * g + jnp.sqrt(2 * STEP_SIZE * metric) * xi

        params = jax.tree.map(update, params, gradient, v, jax.tree.unflatten(tree, noise))
        return (params, v), None

    def run_chain(params: Params, key: jax.Array, X: jax.Array, y: jax.Array) -> Params:
        v = jax.tree.map(jnp.ones_like, params)
        keys = jax.random.split(key, steps)
        return jax.lax.scan(partial(one_step, X=X, y=y), (params, v), keys)[0][0]

    return looped(run_chain, chains, steps)


def by_blackjax(quick: bool, chains: int, batch: int, steps: int) -> Timed:
    """BlackJAX's SGLD, which has no preconditioner."""
    steps = fewer(steps, quick)

    def run_chain(params: Params, key: jax.Array, X: jax.Array, y: jax.Array) -> Params:
        def gradient(params: Params, rows: jax.Array) -> Params:
            return jax.grad(log_posterior)(params, X[rows], y[rows])

        sgld = blackjax.sgld(gradient)

        def one_step(params: Params, key: jax.Array) -> tuple:
            key_rows, key_noise = jax.random.split(key)
            rows = jax.random.randint(key_rows, (batch,), 0, N)
            return sgld.step(key_noise, params, rows, STEP_SIZE), None

        return jax.lax.scan(one_step, params, jax.random.split(key, steps))[0]

    return looped(run_chain, chains, steps)


def by_sgmcmcjax(*_: Any, **__: Any) -> Timed:
    """Of JAX's past: 0.2.13 imports a module that JAX removed."""
    from sgmcmcjax.samplers import build_sgld_sampler

    # printed in the table as the peer's error, should a release import again
    raise NotImplementedError(f"it imports again: write the loop of {build_sgld_sampler.__name__}")


def looped(run_chain: Any, chains: int, steps: int) -> Timed:
    """Time a compiled loop over some chains."""
    images, labels = data()
    with precision("float32"):
        X, y = jnp.asarray(images), jnp.asarray(labels, jnp.int32)
        params = start(chains)
        compiled = jax.jit(jax.vmap(run_chain, in_axes=(0, 0, None, None)))

    def run(seed: int) -> Run:
        with precision("float32"):
            keys = jax.random.split(jax.random.key(seed), chains)
            clock = time.perf_counter()
            out = jax.block_until_ready(compiled(params, keys, X, y))
            seconds = time.perf_counter() - clock
            assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(out))
            lp = jnp.mean(jax.vmap(log_posterior, (0, None, None))(out, X[:1000], y[:1000]))
        return Run(seconds, work=steps, quality={"log p": float(lp)})

    return run


def ours(quick: bool, chains: int, batch: int, steps: int, rms: bool = True) -> Timed:
    """``sample_sgmcmc`` as a user calls it; ``seconds`` are without compiling."""
    steps = fewer(steps, quick)
    images, labels = data()
    model = models.mlp_classifier(
        images, labels, SIZES[1:-1], n_classes=SIZES[-1], activation="relu", bias=True
    )
    density = inference.compile_log_density(model)
    position = np.random.default_rng(1).normal(0, 0.05, (chains, density.size))
    settings = {"preconditioner": "rms", "decay": DECAY, "damping": DAMPING} if rms else {}
    kernel = inference.sgld(STEP_SIZE, **settings)

    def run(seed: int) -> Run:
        fit = inference.sample_sgmcmc(
            model, kernel, batch_size=batch, draws=1, tune=steps - 1, chains=chains, seed=seed,
            start=position, dtype="float32", progressbar=False,
        )  # fmt: skip
        last = {k: v.to_numpy()[:, -1] for k, v in fit["posterior"].data_vars.items()}
        finite = all(np.isfinite(v).all() for v in last.values())
        return Run(fit.attrs["seconds"], work=steps, quality={"finite": float(finite)})

    return run


def fewer(steps: int, quick: bool) -> int:
    """A tenth of the steps."""
    return steps // 10 if quick else steps


def task(chains: int, batch: int, steps: int, *, rms: bool) -> Task:
    """One setting."""
    kind, peers = (
        ("pSGLD", {"JAX by hand": by_hand})
        if rms
        else ("SGLD", {"BlackJAX": by_blackjax, "sgmcmcjax": by_sgmcmcjax})
    )
    same = {"chains": chains, "batch": batch, "steps": steps}
    return Task(
        f"{kind}-{chains}x{batch}", "sgmcmc",
        f"{kind} on LeNet-300-100, {chains} chains, batch {batch:,} of {N:,} rows, {steps:,} steps",
        "step", "at most JAX's time by hand", partial(ours, **same, rms=rms),
        {peer: partial(f, **same) for peer, f in peers.items()},
    )  # fmt: skip


TASKS = (
    task(1, 200, 1500, rms=True),
    task(1, 200, 1500, rms=False),
    task(10, 128, 300, rms=True),
    task(10, 1000, 60, rms=True),
)
