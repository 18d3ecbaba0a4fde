"""The package beside hand-written jitted JAX on whatever device JAX has: a GPU, or else a CPU.

``python benchmarks/gpu.py`` prints one table. The two take turns; a rate is that of a whole call
without compiling, and its ratio is of the same turn. ``--quick`` does little, to see that it runs.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bnnbook import datasets, inference, models

REPEATS = 5
SIZES = (784, 300, 100, 10)  # chapter 5's network
STEP_SIZE, DECAY, DAMPING = 1e-8, 0.99, 1e-5
FILTERS = 16  # of the convolution
WIDE, RATE = (20, 100, 100, 1), 1e-3  # ADVI's network and its Adam's step

Call = Callable[[int], float]  # of a seed: what was done a second
Pair = tuple[Call, Call]  # ours, by hand
SINGLE = {"dtype": "float32", "progressbar": False}


def network(params: Any, X: Any) -> Any:
    """Logits of layers (weights, biases) with ReLU between them."""
    for w, b in params[:-1]:
        X = jax.nn.relu(X @ w + b)
    return X @ params[-1][0] + params[-1][1]


def convolved(params: dict[str, Any], X: Any) -> Any:
    """Logits of one 5 x 5 convolution with stride 2, ReLU and a dense layer."""
    h = jax.lax.conv_general_dilated(
        X, params["filters"], (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return jax.nn.relu(h).reshape(len(X), -1) @ params["dense"]


def langevin(
    apply: Callable[..., Any], params: Any, X: Any, y: Any, batch: int, chains: int, steps: int
) -> Call:
    """Preconditioned SGLD by hand: chains under ``vmap``, all steps in one compiled scan."""
    N = len(X)

    def log_posterior(params: Any, X: Any, y: Any) -> Any:
        logp = jax.nn.log_softmax(apply(params, X))
        likelihood = jnp.take_along_axis(logp, y[:, None], axis=1).sum() * (N / batch)
        return likelihood - 0.5 * sum(jnp.sum(p**2) for p in jax.tree.leaves(params))

    def chain(params: Any, key: Any, X: Any, y: Any) -> Any:
        leaves, tree = jax.tree.flatten(params)

        def step(carry: tuple, key: Any) -> tuple:
            params, v = carry
            key_rows, key_noise = jax.random.split(key)
            rows = jax.random.randint(key_rows, (batch,), 0, N)
            at = jax.tree.unflatten(tree, params)
            gradient = jax.tree.leaves(jax.grad(log_posterior)(at, X[rows], y[rows]))
            keys = jax.random.split(key_noise, len(params))
            v = [DECAY * a + (1 - DECAY) * (g / N) ** 2 for a, g in zip(v, gradient, strict=True)]
            metric = [1 / (DAMPING + jnp.sqrt(a)) for a in v]
            moved = [
                p + STEP_SIZE * m * g + jnp.sqrt(2 * STEP_SIZE * m) * jax.random.normal(k, p.shape)
                for p, m, g, k in zip(params, metric, gradient, keys, strict=True)
            ]
            return (moved, v), None

        start = leaves, [jnp.ones_like(p) for p in leaves]
        return jax.lax.scan(step, start, jax.random.split(key, steps))[0][0]

    run = jax.jit(jax.vmap(chain, in_axes=(0, 0, None, None)))
    X, y = jnp.asarray(X), jnp.asarray(y, jnp.int32)
    stacked = jax.tree.map(lambda p: jnp.stack([jnp.asarray(p, jnp.float32)] * chains), params)
    return rate(lambda s: run(stacked, jax.random.split(jax.random.key(s), chains), X, y), steps)


def rate(call: Callable[[int], Any], work: float) -> Call:
    """Work a second of a call that gives JAX arrays, in single precision."""

    def timed(seed: int) -> float:
        with jax.enable_x64(False):
            clock = time.perf_counter()
            jax.block_until_ready(call(seed))
            return work / (time.perf_counter() - clock)

    return timed


def our_langevin(model: Any, batch: int, chains: int, steps: int) -> Call:
    """``sample_sgmcmc``, one step of all chains being one step."""
    kernel = inference.sgld(STEP_SIZE, preconditioner="rms", decay=DECAY, damping=DAMPING)
    size = inference.compile_log_density(model).size
    start = np.random.default_rng(1).normal(0, 0.05, (chains, size))

    def run(seed: int) -> float:
        fit = inference.sample_sgmcmc(
            model, kernel, batch_size=batch, draws=1, tune=steps - 1, chains=chains, seed=seed,
            start=start, **SINGLE,
        )  # fmt: skip
        return steps / fit.attrs["seconds"]

    return run


def sgmcmc(quick: bool) -> Pair:
    """Chapter 5's step: 784-300-100-10, ten chains, batches of 1,000."""
    rows, steps, chains = (2_000, 3, 2) if quick else (60_000, 300, 10)
    rng = np.random.default_rng(0)
    X, y = rng.random((rows, SIZES[0]), dtype=np.float32), rng.integers(0, SIZES[-1], rows)
    model = models.mlp_classifier(
        X, y, SIZES[1:-1], n_classes=SIZES[-1], activation="relu", bias=True
    )
    params = [(rng.normal(0, 0.05, s), np.zeros(s[1])) for s in itertools.pairwise(SIZES)]
    sizes = (1_000, chains, steps)
    return our_langevin(model, *sizes), langevin(network, params, X, y, *sizes)


def convolution(quick: bool) -> Pair:
    """A network of one convolution in plain JAX, through ``from_module`` and as it is."""
    rows, sizes = (200, (100, 1, 3)) if quick else (10_000, (100, 4, 300))
    rng = np.random.default_rng(0)
    X, y = rng.random((rows, 28, 28, 1), dtype=np.float32), rng.integers(0, 10, rows)
    params = {
        "filters": rng.normal(0, 0.05, (5, 5, 1, FILTERS)).astype(np.float32),
        "dense": rng.normal(0, 0.05, (12 * 12 * FILTERS, 10)).astype(np.float32),
    }
    model = models.from_module(
        (convolved, params), X, y, likelihood="categorical", n_classes=10, prior_sd=1.0
    )
    return our_langevin(model, *sizes), langevin(convolved, params, X, y, *sizes)


def advi(quick: bool) -> Pair:
    """Mean field of 20-100-100-1 on 500 rows: one draw a step, Adam."""
    steps = 200 if quick else 10_000
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, WIDE[0]))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    model = models.mlp_classifier(X, y, WIDE[1:-1])
    shapes = list(itertools.pairwise(WIDE))
    ends = np.cumsum([a * b for a, b in shapes])

    def ours(seed: int) -> float:
        fit = inference.fit_advi(model, steps, learning_rate=RATE, draws=1, seed=seed, **SINGLE)
        return steps / fit.attrs["seconds"]

    def elbo(params: tuple, xi: Any, X: Any, sign: Any) -> Any:
        mean, scale = params
        sd = jax.nn.softplus(scale)
        theta = mean + sd * xi
        h = X
        for part, shape in zip(jnp.split(theta, ends[:-1]), shapes, strict=True):
            h = (h if h is X else jnp.tanh(h)) @ part.reshape(shape)
        return jax.nn.log_sigmoid(sign * h[:, 0]).sum() - 0.5 * theta @ theta + jnp.log(sd).sum()

    @jax.jit
    def run(key: Any, X: Any, sign: Any) -> Any:
        def step(carry: tuple, key: Any) -> tuple:
            params, m1, m2, t = carry
            gradient = jax.grad(elbo)(params, jax.random.normal(key, (ends[-1],)), X, sign)
            t = t + 1
            m1 = jax.tree.map(lambda a, g: 0.9 * a + 0.1 * g, m1, gradient)
            m2 = jax.tree.map(lambda a, g: 0.999 * a + 0.001 * g * g, m2, gradient)
            c1, c2 = RATE / (1 - 0.9**t), 1 - 0.999**t
            params = jax.tree.map(
                lambda p, a, b: p + c1 * a / (jnp.sqrt(b / c2) + 1e-8), params, m1, m2
            )
            return (params, m1, m2, t), None

        zeros = (jnp.zeros(ends[-1]),) * 2
        start = (zeros[0], zeros[0] - 2.25), zeros, zeros, jnp.float32(0)  # sd .1
        return jax.lax.scan(step, start, jax.random.split(key, steps))[0][0]

    inputs, sign = jnp.asarray(X, jnp.float32), jnp.asarray(2.0 * y - 1, jnp.float32)
    return ours, rate(lambda seed: run(jax.random.key(seed), inputs, sign), steps)


def nuts(quick: bool) -> Pair:
    """Chapter 2's model: gradients a second of NUTS, and of a bare loop of gradients by hand."""
    draws, tune, count, chains = (40, 20, 200, 1) if quick else (2_000, 200, 20_000, 4)
    data = datasets.grouped_moons(seed=31)
    model = models.hierarchical_mlp_classifier(data.X_train, data.y_train)

    def ours(seed: int) -> float:
        fit = inference.sample_nuts(
            model, draws=draws, tune=tune, chains=chains, seed=seed, max_depth=4 if quick else 10,
            **SINGLE,
        )  # fmt: skip
        # those of the warm-up are not known: they cost time and do not count
        return float(fit["sample_stats"]["n_steps"].sum()) / fit.attrs["seconds"]

    groups = len(data.X_train)
    layers = [(2, 5), (5, 5), (5,)]
    shapes = [*layers, (3,), *((groups, *shape) for shape in layers)]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    X = jnp.swapaxes(jnp.asarray(data.X_train, jnp.float32), 1, 2)  # observations last
    sign = jnp.asarray(2 * data.y_train - 1, jnp.float32)

    def log_density(theta: Any, X: Any, sign: Any) -> Any:
        pieces = zip(jnp.split(theta, ends[:-1]), shapes, strict=True)
        parts = [part.reshape(shape) for part, shape in pieces]
        sd = jnp.exp(parts[3])
        w1, w2, w3 = (m + s * e for m, s, e in zip(parts[:3], sd, parts[4:], strict=True))
        h = jnp.tanh(jnp.swapaxes(w1, 1, 2) @ X)
        f = (w3[:, None] @ jnp.tanh(jnp.swapaxes(w2, 1, 2) @ h))[:, 0]
        squares = sum((part**2).sum() for part in (*parts[:3], sd, *parts[4:]))
        return jax.nn.log_sigmoid(sign * f).sum() + parts[3].sum() - 0.5 * squares

    @jax.jit
    def loop(theta: Any, X: Any, sign: Any) -> Any:
        def climb(_: Any, theta: Any) -> Any:
            return theta + 1e-9 * jax.vmap(jax.grad(log_density), (0, None, None))(theta, X, sign)

        return jax.lax.fori_loop(0, count, climb, theta)

    start = jnp.asarray(np.random.default_rng(0).normal(size=(chains, ends[-1])) / 2, jnp.float32)
    return ours, rate(lambda _: loop(start, X, sign), count * chains)


TASKS = {
    "SG-MCMC, chapter 5": (sgmcmc, "steps"),
    "convolution, SG-MCMC": (convolution, "steps"),
    "ADVI, 12,100 weights": (advi, "steps"),
    "NUTS, chapter 2": (nuts, "gradients"),
}


def measured(prepare: Callable[[bool], Pair], *, quick: bool) -> list[tuple[float, list[float]]]:
    """For ours and by hand: seconds of the first call, which compiles, and rates of the next."""
    pair = prepare(quick)
    first, rates = [], ([], [])
    for call in pair:
        clock = time.perf_counter()
        call(0)
        first.append(time.perf_counter() - clock)
    for turn in range(1, 2 if quick else REPEATS + 1):
        for found, call in zip(rates, pair, strict=True):
            found.append(call(turn))
    return list(zip(first, rates, strict=True))


def table(results: dict[str, list[tuple[float, list[float]]]]) -> list[str]:
    """A line for each task; the ratio is ours by the other's, so that more is faster."""
    head = "task | a second: ours | by hand | ours / by hand | first call: ours | by hand"
    lines = [f"| {head} |", "|---|---|---|---|---|---|"]
    for name, ((first, ours), (first_hand, hand)) in results.items():
        ratios = [a / b for a, b in zip(ours, hand, strict=True)]
        cells = [
            name, f"{spread(ours, ',.0f')} {TASKS[name][1]}", spread(hand, ",.0f"),
            spread(ratios, ".2f"), f"{first:.1f} s", f"{first_hand:.1f} s",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def spread(values: list[float], digits: str) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:{digits}} ({low:{digits}}-{high:{digits}})"


def device() -> str:
    """The device in words; plainly, where it is none of the kind that is meant."""
    found = jax.devices()[0]
    if found.platform == "cpu":
        return "Device: CPU. JAX found no GPU: these numbers say nothing about one."
    return f"Device: {found.device_kind} ({found.platform}), JAX {jax.__version__}."


def main(arguments: list[str] | None = None) -> int:
    """Run what is named, all by default, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="do little, once")
    parser.add_argument("tasks", nargs="*", help=f"some of {', '.join(map(repr, TASKS))}")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.tasks) - set(TASKS):
        parser.error(f"tasks must be some of {list(TASKS)}, got {sorted(unknown)}")
    print(device() + (" A quick run: its ratios are no result." if chosen.quick else ""))
    results = {}
    with warnings.catch_warnings():
        # too short to converge
        warnings.simplefilter("ignore", inference.ConvergenceWarning)
        for name in chosen.tasks or TASKS:
            results[name] = measured(TASKS[name][0], quick=chosen.quick)
    print("\n".join(table(results)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
