"""SG-MCMC on chapter 7's LeNet: ``sample_sgmcmc`` on an Equinox module beside JAX by hand.

The algorithm is SGHMC, as in the chapter. By hand the chains are under ``vmap`` and the block of
steps is one compiled scan, once with XLA's convolution, which is slow there on a CPU, and once with
a convolution written as shifted images times weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pymc as pm

from benchmarks.task import Run, Task, Timed
from bnnbook import inference, models
from bnnbook.density import precision

N, SIDE, CLASSES = 10_000, 28, 10
CHAINS, BATCH, STEPS, QUICK_STEPS = 3, 100, 200, 5
STEP_SIZE, FRICTION = 1e-6, 0.1

Convolve = Callable[[Any, Any, Any], Any]


class LeNet(eqx.Module):
    """Two convolutions with pooling, three dense layers; 44,426 weights and biases."""

    convolutions: list[Any]
    dense: list[Any]

    def __init__(self) -> None:
        k = jax.random.split(jax.random.key(0), 5)
        shapes = [(1, 6), (6, 16)]
        widths = [(256, 120), (120, 84), (84, CLASSES)]
        self.convolutions = [eqx.nn.Conv2d(*s, 5, key=k[i]) for i, s in enumerate(shapes)]
        self.dense = [eqx.nn.Linear(*w, key=k[2 + i]) for i, w in enumerate(widths)]

    def __call__(self, x: Any) -> Any:
        """Logits of one image."""
        x = x.reshape(1, SIDE, SIDE)
        for convolution in self.convolutions:
            x = jax.nn.relu(convolution(x))
            x = x.reshape(len(x), x.shape[1] // 2, 2, -1, 2).max((2, 4))
        x = x.ravel()
        for layer in self.dense[:-1]:
            x = jax.nn.relu(layer(x))
        return self.dense[-1](x)


def data() -> tuple[np.ndarray, np.ndarray]:
    """Random images and labels: the time does not depend on what they show."""
    rng = np.random.default_rng(0)
    return rng.random((N, SIDE**2), dtype=np.float32), rng.integers(0, CLASSES, N)


def prior_sd(_: str, shape: Sequence[int]) -> float:
    """The chapter's: twice the sd that an optimiser starts weights with, 1 for biases."""
    inputs = math.prod(shape[1:])
    return 2 * math.sqrt(2 / inputs) if inputs > 1 else 1.0


def build(X: np.ndarray, y: np.ndarray) -> pm.Model:
    """The model of some images."""
    return models.from_module(
        LeNet(), X, y, likelihood="categorical", n_classes=CLASSES, prior_sd=prior_sd
    )


def start(shapes: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """A draw from half the prior's sd for every chain; biases 0."""
    rng = np.random.default_rng(1)
    return [
        (prior_sd("", s) / 2 if math.prod(s[1:]) > 1 else 0.0) * rng.normal(size=(CHAINS, *s))
        for s in shapes
    ]


def plain(w: Any, b: Any, x: Any) -> Any:
    """XLA's convolution of images (n, channel, row, column)."""
    return jax.lax.conv_general_dilated(x, w, (1, 1), "VALID") + b


def shifted(w: Any, b: Any, x: Any) -> Any:
    """The same: shifted images, stacked, times weights."""
    size = w.shape[-1]
    rows, columns = (n - size + 1 for n in x.shape[-2:])
    patches = jnp.stack(
        [x[..., i : i + rows, j : j + columns] for i in range(size) for j in range(size)], axis=2
    )
    return jnp.einsum("ocp,ncpij->noij", w.reshape(*w.shape[:2], -1), patches) + b


def logits(leaves: Sequence[Any], X: Any, convolve: Convolve) -> Any:
    """The network by hand, of its weights and biases in the module's order."""
    pairs = list(zip(leaves[::2], leaves[1::2], strict=True))
    x = X.reshape(-1, 1, SIDE, SIDE)
    for w, b in pairs[:2]:
        x = jax.nn.relu(convolve(w, b, x))
        n, channels, rows, columns = x.shape
        x = x.reshape(n, channels, rows // 2, 2, columns // 2, 2).max((3, 5))
    x = x.reshape(len(X), -1)
    for w, b in pairs[2:-1]:
        x = jax.nn.relu(x @ w.T + b)
    return x @ pairs[-1][0].T + pairs[-1][1]


def log_posterior(leaves: Sequence[Any], X: Any, y: Any, convolve: Convolve) -> Any:
    """Up to a constant; the batch's likelihood times N/n."""
    logp = jax.nn.log_softmax(logits(leaves, X, convolve))
    likelihood = jnp.take_along_axis(logp, y[:, None], axis=1).sum() * (N / len(X))
    return likelihood - 0.5 * sum(jnp.sum((p / prior_sd("", p.shape)) ** 2) for p in leaves)


def judged(seconds: float, steps: int, leaves: Sequence[Any], X: Any, y: Any) -> Run:
    """A run with its mean log posterior, from 1,000 images."""
    each = jax.vmap(partial(log_posterior, convolve=shifted), (0, None, None))
    lp = jnp.mean(each(leaves, X[:1000], y[:1000]))
    return Run(seconds, work=steps, quality={"log p": float(lp)})


def by_hand(quick: bool, convolve: Convolve) -> Timed:
    """SGHMC, chains vectorised, in one compiled scan."""
    steps = QUICK_STEPS if quick else STEPS
    images, labels = data()
    kick = math.sqrt(2 * FRICTION * STEP_SIZE)

    def chain(leaves: list[Any], key: Any, X: Any, y: Any) -> list[Any]:
        def step(carry: tuple, key: Any) -> tuple:
            p, v = carry
            key_rows, key_noise = jax.random.split(key)
            rows = jax.random.randint(key_rows, (BATCH,), 0, N)
            gradient = jax.grad(log_posterior)(p, X[rows], y[rows], convolve)
            keys = jax.random.split(key_noise, len(p))
            v = [
                (1 - FRICTION) * v + STEP_SIZE * g + kick * jax.random.normal(k, g.shape, g.dtype)
                for v, g, k in zip(v, gradient, keys, strict=True)
            ]
            return ([a + b for a, b in zip(p, v, strict=True)], v), None

        carry = leaves, [jnp.zeros_like(p) for p in leaves]
        return jax.lax.scan(step, carry, jax.random.split(key, steps))[0][0]

    with precision("float32"):
        X, y = jnp.asarray(images), jnp.asarray(labels, jnp.int32)
        shapes = [p.shape for p in jax.tree.leaves(eqx.filter(LeNet(), eqx.is_inexact_array))]
        leaves = [jnp.asarray(p, jnp.float32) for p in start(shapes)]
        compiled = jax.jit(jax.vmap(chain, in_axes=(0, 0, None, None)))

    def run(seed: int) -> Run:
        with precision("float32"):
            keys = jax.random.split(jax.random.key(seed), CHAINS)
            clock = time.perf_counter()
            out = jax.block_until_ready(compiled(leaves, keys, X, y))
            return judged(time.perf_counter() - clock, steps, out, X, y)

    return run


def ours(quick: bool) -> Timed:
    """``sample_sgmcmc`` as a user calls it; ``seconds`` are without compiling."""
    steps = QUICK_STEPS if quick else STEPS
    images, labels = data()
    model = build(images, labels)
    names = [variable.name for variable in model.free_RVs]
    point = model.initial_point()
    begin = dict(zip(names, start([point[name].shape for name in names]), strict=True))
    kernel = inference.sghmc(STEP_SIZE, friction=FRICTION)

    def run(seed: int) -> Run:
        fit = inference.sample_sgmcmc(
            model, kernel, batch_size=BATCH, draws=1, tune=steps - 1, chains=CHAINS, seed=seed,
            start=begin, dtype="float32", progressbar=False,
        )  # fmt: skip
        with precision("float32"):
            leaves = [jnp.asarray(fit["posterior"][name][:, -1].to_numpy()) for name in names]
            return judged(fit.attrs["seconds"], steps, leaves, images, jnp.asarray(labels))

    return run


TASKS = (
    Task(
        f"SGHMC-LeNet-{CHAINS}x{BATCH}", "sgmcmc",
        f"SGHMC on chapter 7's LeNet, {CHAINS} chains, batch {BATCH} of {N:,} images, "
        f"{STEPS} steps",
        "step", "at most JAX's time by hand", ours,
        {
            "JAX by hand": partial(by_hand, convolve=plain),
            "JAX by hand, shifted images": partial(by_hand, convolve=shifted),
        },
    ),
)  # fmt: skip
