"""The hierarchical classifier of chapter 2: its gradient, and samples, against peers.

Gradients: single precision, one thread, in a compiled loop, beside the same density written by hand
in JAX in four layouts. Samples: smallest bulk ESS over the 900 training logits per second, with
compiling, beside NumPyro's NUTS on the model as the source of chapter 2 writes it, with four host
devices, so that its chains run at once. Every run has a fresh process.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

CHAINS = 4
EVALUATIONS = 3000
REPEATS = 7
FLAGS = {
    "gradients": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "bnnbook": "",
    "numpyro": f"--xla_force_host_platform_device_count={CHAINS}",
}


def gradients() -> dict[str, float]:
    """Microseconds of processor time for one log density with its gradient, best of the repeats."""
    import jax

    with jax.enable_x64(False):  # PyTensor turns double precision on
        return _gradients()


def _gradients() -> dict[str, float]:
    import jax
    import jax.numpy as jnp

    from bnnbook import datasets, models
    from bnnbook.inference import compile_log_density

    data = datasets.grouped_moons(seed=31)
    X, y = jnp.asarray(data.X_train, jnp.float32), jnp.asarray(data.y_train)
    rows_last = jnp.swapaxes(X, 1, 2)
    shapes = [(2, 5), (5, 5), (5,), (3,), (18, 2, 5), (18, 5, 5), (18, 5)]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])

    def matmul(w1: Any, w2: Any, w3: Any) -> Any:
        return (jnp.tanh(jnp.tanh(X @ w1) @ w2) @ w3[..., None])[..., 0]

    def einsum(w1: Any, w2: Any, w3: Any) -> Any:
        h = jnp.tanh(jnp.einsum("gio,gin->gon", w1, rows_last))
        h = jnp.tanh(jnp.einsum("gio,gin->gon", w2, h))
        return jnp.einsum("gi,gin->gn", w3, h)

    def matmul_rows_last(w1: Any, w2: Any, w3: Any) -> Any:
        h = jnp.tanh(jnp.swapaxes(w1, 1, 2) @ rows_last)
        return (w3[:, None] @ jnp.tanh(jnp.swapaxes(w2, 1, 2) @ h))[:, 0]

    def sums(w1: Any, w2: Any, w3: Any) -> Any:
        h = jnp.tanh((w1[..., None] * rows_last[:, :, None]).sum(axis=1))
        h = jnp.tanh((w2[..., None] * h[:, :, None]).sum(axis=1))
        return (w3[..., None] * h).sum(axis=1)

    def by_hand(network: Callable[..., Any]) -> Callable[[Any], Any]:
        def log_density(theta: Any) -> Any:
            parts = [
                part.reshape(shape)
                for part, shape in zip(jnp.split(theta, ends[:-1]), shapes, strict=True)
            ]
            means, log_sd, offsets = parts[:3], parts[3], parts[4:]
            sd = jnp.exp(log_sd)
            weights = [m + s * e for m, s, e in zip(means, sd, offsets, strict=True)]
            squares = sum((part**2).sum() for part in (*means, sd, *offsets))
            f = jnp.where(y == 1, -1.0, 1.0) * network(*weights)
            softplus = jnp.maximum(f, 0) + jnp.log1p(jnp.exp(-jnp.abs(f)))
            return log_sd.sum() - 0.5 * squares - softplus.sum()

        return log_density

    layouts = {
        "matmul": matmul, "matmul, rows last": matmul_rows_last, "einsum": einsum, "sums": sums
    }  # fmt: skip
    runs = {f"JAX, {name}": by_hand(network) for name, network in layouts.items()}
    for name, centred in {"non-centred": False, "located": (False, False, "location")}.items():
        model = models.hierarchical_mlp_classifier(data.X_train, data.y_train, centred=centred)
        density = compile_log_density(model)
        runs[f"bnnbook, {name}"] = lambda theta, d=density: (
            d.log_prior(theta, tuple(jnp.asarray(a) for a in d.data))
            + d.log_likelihood(theta, tuple(jnp.asarray(a) for a in d.data))
        )

    start = jnp.asarray(np.random.default_rng(0).normal(size=int(ends[-1])) * 0.5, jnp.float32)
    loops = {}
    for name, log_density in runs.items():
        gradient = jax.value_and_grad(log_density)

        def loop(theta: Any, gradient: Any = gradient) -> Any:
            def body(_: Any, state: Any) -> Any:
                value, slope = gradient(state[0])
                return state[0] + 1e-9 * slope, state[1] + value  # so that no step is left out

            return jax.lax.fori_loop(0, EVALUATIONS, body, (theta, jnp.float32(0)))

        loops[name] = jax.jit(loop).lower(start).compile()
        jax.block_until_ready(loops[name](start))
    best = dict.fromkeys(loops, np.inf)
    for _ in range(REPEATS):
        for name, compiled in loops.items():
            clock = time.process_time()
            jax.block_until_ready(compiled(start))
            best[name] = min(best[name], 1e6 * (time.process_time() - clock) / EVALUATIONS)
    return {name: float(value) for name, value in best.items()}


def _summary(logits: np.ndarray, seconds: float, leapfrogs: float, divergences: int) -> dict:
    import xarray as xr

    from bnnbook import diagnostics

    flat = xr.DataArray(logits.reshape(*logits.shape[:2], -1), dims=("chain", "draw", "obs"))
    check = diagnostics.function_space(flat).attrs
    return {
        "seconds": seconds,
        "min_ess": check["min_ess_bulk"],
        "max_rhat": check["max_rhat"],
        "ess_per_second": check["min_ess_bulk"] / seconds,
        "leapfrogs": leapfrogs,
        "divergences": divergences,
    }


def sample_bnnbook(draws: int, tune: int) -> dict:
    """``sample_nuts`` on chapter 2's model, as chapter 2 calls it."""
    from bnnbook import datasets, inference, models, predict

    data = datasets.grouped_moons(seed=31)
    clock = time.perf_counter()
    model = models.hierarchical_mlp_classifier(
        data.X_train, data.y_train, centred=(False, False, "location")
    )
    fit = inference.sample_nuts(
        model, draws=draws, tune=tune, chains=CHAINS, target_accept=0.9, seed=0, dtype="float32",
        exchangeable=("hidden_1", "hidden_2"), progressbar=False,
    )  # fmt: skip
    seconds = time.perf_counter() - clock
    p = predict.compile_predictor(model, "p")(fit["posterior"], data.X_train)["p"].to_numpy()
    stats = fit["sample_stats"]
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return _summary(
        np.log(p / (1 - p)), seconds, float(stats["n_steps"].mean()), int(stats["diverging"].sum())
    )


def sample_numpyro(draws: int, tune: int) -> dict:
    """NumPyro's NUTS on the source's model: batched products, all layers non-centred."""
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    import numpyro.infer as infer

    from bnnbook import datasets

    data = datasets.grouped_moons(seed=31)
    widths = (2, 5, 5, 1)

    def network(X: Any, y: Any) -> None:
        h, shared = X, []
        for i, shape in enumerate(itertools.pairwise(widths)):
            mean = numpyro.sample(f"w{i}_mean", dist.Normal(jnp.zeros(shape), 1.0))
            sd = numpyro.sample(f"w{i}_sd", dist.HalfNormal(1.0))
            shared.append((mean, sd, shape))
        with numpyro.plate("groups", len(X), dim=-3):
            for i, (mean, sd, shape) in enumerate(shared):
                offset = numpyro.sample(f"w{i}_offset", dist.Normal(jnp.zeros((1, *shape)), 1.0))
                h = h @ (mean + sd * offset)
                h = jnp.tanh(h) if i < len(shared) - 1 else h
        f = numpyro.deterministic("f", h[..., 0])
        numpyro.sample("obs", dist.Bernoulli(logits=f), obs=y)

    clock = time.perf_counter()
    sampler = infer.MCMC(
        infer.NUTS(network), num_warmup=tune, num_samples=draws, num_chains=CHAINS,
        chain_method="parallel", progress_bar=False,
    )  # fmt: skip
    inputs = jnp.asarray(data.X_train), jnp.asarray(data.y_train)
    sampler.run(jax.random.key(0), *inputs, extra_fields=("num_steps", "diverging"))
    logits = np.asarray(sampler.get_samples(group_by_chain=True)["f"])
    seconds = time.perf_counter() - clock
    extra = sampler.get_extra_fields()
    return _summary(
        logits, seconds, float(extra["num_steps"].mean()), int(extra["diverging"].sum())
    )


def _in_a_process(what: str, draws: int, tune: int) -> dict:
    environment = os.environ | {"XLA_FLAGS": FLAGS[what]}
    command = [sys.executable, "-m", "benchmarks.bench_hierarchical", what, str(draws), str(tune)]
    out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(out.stdout.splitlines()[-1])


def main(draws: int = 1000, tune: int = 1000) -> None:
    """Print both tables."""
    microseconds = _in_a_process("gradients", draws, tune)
    best = min(v for k, v in microseconds.items() if k.startswith("JAX"))
    print("\nHierarchical 2-5-5-1, 18 groups of 50 rows: log density and gradient, one thread")
    print(f"{'':28}{'us':>8}{'to the best by hand':>22}")
    for name, value in microseconds.items():
        print(f"{name:28}{value:8.1f}{value / best:21.2f}x")
    runs = {name: _in_a_process(name, draws, tune) for name in ("bnnbook", "numpyro")}
    reference = runs["numpyro"]["ess_per_second"]
    print(f"\nNUTS, {CHAINS} x ({tune:,} + {draws:,}); ESS over the 900 training logits")
    print(f"{'':10}{'seconds':>9}{'min ESS':>9}{'R-hat':>8}{'ESS/s':>8}{'ratio':>8}"
          f"{'leapfrogs':>11}{'divergences':>13}")  # fmt: skip
    for name, run in runs.items():
        print(f"{name:10}{run['seconds']:9.0f}{run['min_ess']:9.0f}{run['max_rhat']:8.3f}"
              f"{run['ess_per_second']:8.2f}{run['ess_per_second'] / reference:7.1f}x"
              f"{run['leapfrogs']:11.0f}{run['divergences']:13d}")  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        what, draws, tune = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
        samplers = {"bnnbook": sample_bnnbook, "numpyro": sample_numpyro}
        print(json.dumps(samplers[what](draws, tune) if what in samplers else gradients()))
