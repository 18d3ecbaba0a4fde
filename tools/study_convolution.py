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

import numpy as np
import pymc as pm
import xarray as xr
from study_mnist import Images, images, mean_probability
from study_tables import run

from benchmarks.tasks.convolution import build
from bnnbook import inference, metrics, predict, uncertainty

STEP, BATCH = 1e-6, 100


def spread(shape: tuple[int, ...]) -> float:
    """Sd of a start: sqrt(2 / inputs) for weights, zero for biases, (units,) or (units, 1, 1)."""
    inputs = math.prod(shape[1:])
    return math.sqrt(2 / inputs) if inputs > 1 else 0.0


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
    model = build(data.X, data.y)
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
