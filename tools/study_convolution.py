"""The run behind chapter 7 that is too long for a page: ``python tools/study_convolution.py``.

cycles
    LeNet under quiet cycles of SGHMC, two chains. The step size is a third of chapter 5's and the
    prior's scale is chapter 5's; both were fixed before the run, and the test images are scored
    once, at its end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping

import equinox as eqx
import jax
import numpy as np
import pymc as pm
import xarray as xr
from study_mnist import Images, images, mean_probability
from study_tables import run

from bnnbook import inference, metrics, models, predict, uncertainty

STEP, BATCH, SCALE = 1e-6, 100, 2


class LeNet(eqx.Module):
    """The chapter's network."""

    convolutions: list
    dense: list

    def __init__(self, key: jax.Array) -> None:
        k = jax.random.split(key, 5)
        self.convolutions = [eqx.nn.Conv2d(1, 6, 5, key=k[0]), eqx.nn.Conv2d(6, 16, 5, key=k[1])]
        widths = (256, 120, 84, 10)
        self.dense = [eqx.nn.Linear(*widths[i : i + 2], key=k[2 + i]) for i in range(3)]

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.reshape(1, 28, 28)
        for convolution in self.convolutions:
            x = jax.nn.relu(convolution(x))
            x = x.reshape(len(x), x.shape[1] // 2, 2, -1, 2).max((2, 4))
        x = x.ravel()
        for layer in self.dense[:-1]:
            x = jax.nn.relu(layer(x))
        return self.dense[-1](x)


def spread(shape: tuple[int, ...]) -> float:
    """Sd of a start: sqrt(2 / inputs) for weights, zero for biases, (units,) or (units, 1, 1)."""
    inputs = math.prod(shape[1:])
    return math.sqrt(2 / inputs) if inputs > 1 else 0.0


def network(data: Images) -> pm.Model:
    """LeNet on the training images; a bias has sd 1."""
    module = LeNet(jax.random.key(0))
    return models.from_module(
        module, data.X, data.y, likelihood="categorical", n_classes=10,
        prior_sd=lambda _, shape: SCALE * spread(shape) or 1.0,
    )  # fmt: skip


def start(model: pm.Model, chains: int, seed: int) -> dict[str, np.ndarray]:
    """Weights as an optimiser starts them."""
    draw = np.random.default_rng(seed).normal
    return {
        name: draw(0, spread(v.shape), (chains, *v.shape))
        for name, v in model.initial_point().items()
    }


def scores(labels: np.ndarray, p: xr.DataArray, shifted: xr.DataArray) -> dict[str, float]:
    """Scores of averages over draws; AUROC of their entropy, clothes against digits."""
    mean = mean_probability(p)
    entropy = [uncertainty.entropy_decomposition(q).total for q in (p, shifted)]
    return {
        "accuracy": metrics.accuracy(labels, mean),
        "NLL": metrics.nll(labels, mean),
        "ECE": metrics.expected_calibration_error(labels, mean),
        "AUROC": metrics.ood_scores(*entropy).auroc,
    }


def cycles(
    data: Images, *, chains: int = 2, n_cycles: int = 3, passes: int = 3, per_cycle: int = 3
) -> Iterator[dict]:
    """One row for each average, on validation and on test images; CPU seconds of the sampling."""
    model = network(data)
    steps = passes * (len(data.X) // BATCH)
    clock = time.process_time()
    fit = inference.sample_sgmcmc(
        model, inference.sghmc(inference.cyclical(STEP, n_cycles, 0.8), friction=0.1),
        batch_size=BATCH, draws=n_cycles * per_cycle, thin=max(1, steps // (5 * per_cycle)), tune=0,
        chains=chains, seed=0, start=start(model, chains, 0), dtype="float32", progressbar=False,
    )  # fmt: skip
    seconds = time.process_time() - clock
    print(f"{seconds:.0f} s of CPU", flush=True)
    predictor = predict.compile_predictor(model, "p", dtype="float32")
    shifted = predictor(fit["posterior"], data.shifted)["p"]
    averages: dict[str, dict] = {
        "last draw of one chain": {"chain": [0], "draw": [-1]},
        "last cycle of one chain": {"chain": [0], "draw": slice(-per_cycle, None)},
        "one chain": {"chain": [0]},
        "last draw of each cycle": {"draw": slice(per_cycle - 1, None, per_cycle)},
        "all draws": {},
    }
    for part, X, y in (
        ("validation", data.X_validation, data.y_validation), ("test", data.X_test, data.y_test),
    ):  # fmt: skip
        p = predictor(fit["posterior"], X)["p"]
        for name, which in averages.items():
            q = p.isel(which)
            yield {
                "images": part, "average": name, "networks": q.sizes["chain"] * q.sizes["draw"],
                **scores(y, q, shifted.isel(which)), "passes": chains * n_cycles * passes,
                "cpu_seconds": seconds, "lp": float(fit["sample_stats"]["lp"][:, -1].min()),
            }  # fmt: skip


STUDIES: Mapping[str, Callable[..., Iterator[dict]]] = {"cycles": cycles}


if __name__ == "__main__":
    run("convolution", __doc__, STUDIES, images)
