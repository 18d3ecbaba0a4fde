"""Runs behind chapter 5 that are too long for a page: ``python tools/study_mnist.py NAME ...``.

Each study writes ``book/chapters/data/mnist_NAME.csv``: a table, under a comment that says how
long it took and with which versions. The chapter reads the tables.

source
    The source notebook's sampler in its own setting, 5,000 steps, scored on test images as there.
samplers
    Three samplers by four schedules, runs of equal length, three seeds, on validation images.
temperature
    Prior scale by temperature, noise throughout one long cycle, three chains, on validation images.
advi
    Mean-field ADVI by learning rate; more passes than the chapter's other methods have.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from study_tables import run

from bnnbook import datasets, inference, metrics, models, predict, uncertainty

NETWORK = {"hidden": (300, 100), "n_classes": 10, "activation": "relu", "bias": True}
FAN_IN = (784, 300, 100)
STEP = 3e-6  # what the chapter's search finds for SGHMC
BATCH = 200
SEEDS = (0, 1, 2)


@dataclasses.dataclass(frozen=True)
class Images:
    """MNIST with the chapter's validation part cut out, and Fashion-MNIST as shifted inputs."""

    X: np.ndarray
    y: np.ndarray
    X_validation: np.ndarray
    y_validation: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    shifted: np.ndarray

    @property
    def epoch(self) -> int:
        """Steps in which every training image is seen once."""
        return len(self.X) // BATCH


def images() -> Images:
    """The chapter's own split."""
    digits, other = datasets.mnist(), datasets.fashion_mnist()
    order = np.random.default_rng(0).permutation(len(digits.X_train))
    held_out, used = order[:5_000], order[5_000:]
    X, y = digits.X_train, digits.y_train
    return Images(
        X[used], y[used], X[held_out], y[held_out], digits.X_test, digits.y_test, other.X_test
    )


def network(data: Images, prior_sd: float | list[float]) -> pm.Model:
    """LeNet-300-100 on the training images."""
    return models.mlp_classifier(data.X, data.y, prior_sd=prior_sd, **NETWORK)


def prior_sd(scale: float) -> list[float]:
    """Prior sd of each layer; scale 1 is the usual start of a rectifier network."""
    return [float(scale * np.sqrt(2 / n)) for n in FAN_IN]


def start(model: pm.Model, chains: int, seed: int, *, gain: float = 2.0) -> dict[str, np.ndarray]:
    """Weights as an optimiser starts them, biases zero."""
    draw = np.random.default_rng(seed).normal
    return {
        name: draw(0, np.sqrt(gain / v.shape[0]) if v.ndim > 1 else 0, (chains, *v.shape))
        for name, v in model.initial_point().items()
    }


def scores(labels: np.ndarray, p: np.ndarray) -> dict[str, float]:
    """Scores of class probabilities (rows, classes)."""
    return {
        "accuracy": metrics.accuracy(labels, p),
        "NLL": metrics.nll(labels, p),
        "Brier": metrics.brier(labels, p),
        "ECE": metrics.expected_calibration_error(labels, p),
    }


def answered(p_digits: np.ndarray, p_shifted: np.ndarray, service: float) -> float:
    """Share of shifted inputs answered at the threshold that answers ``service`` of the digits."""
    threshold = np.quantile(p_digits.max(axis=1), 1 - service)
    return float((p_shifted.max(axis=1) >= threshold).mean())


def mean_probability(draws: xr.DataArray) -> np.ndarray:
    """Average over draws, in double precision."""
    return draws.mean(["chain", "draw"], dtype=float).to_numpy()


def source_kernel(N: int, *, classes: int = 10, rate: float = 5e-3) -> inference.Kernel:
    """The source's update: ``rms_langevin_fns`` of jax-bayes with its defaults.

    Its gradient is that of a mean over rows and classes. The preconditioner adapts throughout, its
    running mean starts at zero and is not corrected for that, and its divergence is left out.
    """

    def update(position: Any, memory: Any, gradient: Any, noise: Any, step: Any) -> Any:
        moved, squares = [], []
        for i, (p, v, g) in enumerate(zip(position, memory, gradient, strict=True)):
            mean_gradient = g / (classes * N)
            v = 0.9 * v + 0.1 * mean_gradient**2
            size = step.size / (v**0.5 + 1e-9)
            moved.append(p + size * mean_gradient + (2 * size) ** 0.5 * noise(i))
            squares.append(v)
        return tuple(moved), tuple(squares)

    return inference.Kernel(
        name="source",
        schedule=inference.constant(rate),
        temperature=float(classes * N),
        init=lambda position: tuple(p * 0 for p in position),
        update=update,
        settings={"step_size": rate, "decay": 0.9, "damping": 1e-9},
    )


def source(data: Images, *, steps: tuple[int, ...] = (50, 500, 1000, 5000)) -> Iterator[dict]:
    """One row for each number of steps: ten chains from within 0.01 of one start."""
    classes, N = 10, len(data.X)
    model = network(data, float(1 / np.sqrt(1e-4 * classes * N)))
    centre = start(model, 1, 0, gain=1.0)
    rng = np.random.default_rng(1)
    near = {n: v + rng.normal(0, 0.01, (10, *v.shape[1:])) for n, v in centre.items()}
    predictor = predict.compile_predictor(model, "p", dtype="float32")
    for count in steps:
        fit = inference.sample_sgmcmc(
            model, source_kernel(N, classes=classes), batch_size=1000, draws=1, thin=count, tune=0,
            chains=10, seed=0, start=near, dtype="float32", progressbar=False,
        )  # fmt: skip
        p, q = (predictor(fit["posterior"], x)["p"] for x in (data.X_test, data.shifted))
        yield {"steps": count} | hot_row(data.y_test, p.squeeze("draw"), q.squeeze("draw"))


def hot_row(labels: np.ndarray, p: xr.DataArray, q: xr.DataArray) -> dict[str, float]:
    """What the source reports of its ten samples (chain, obs, class), and what it does not."""
    single = p.to_numpy().astype(float)
    logits = np.log(np.maximum(single, 1e-38)).mean(axis=0)
    logits = np.exp(logits - logits.max(axis=1, keepdims=True))
    votes, votes_shifted = (np.eye(10)[a.to_numpy().argmax(axis=-1)].mean(axis=0) for a in (p, q))
    mean, mean_shifted = (a.mean("chain", dtype=float).to_numpy() for a in (p, q))
    return {
        "accuracy_logits": metrics.accuracy(labels, logits / logits.sum(axis=1, keepdims=True)),
        "accuracy_votes": metrics.accuracy(labels, votes),
        **scores(labels, mean),
        "accuracy_single": float((single.argmax(axis=-1) == labels).mean()),
        "top_single": float(single.max(axis=-1).mean()),
        "top_single_shifted": float(q.to_numpy().max(axis=-1).mean(dtype=float)),
        "top_mean": float(mean.max(axis=1).mean()),
        "top_mean_shifted": float(mean_shifted.max(axis=1).mean()),
        "kept_votes": float((votes.max(axis=1) >= 0.6).mean()),
        "kept_votes_shifted": float((votes_shifted.max(axis=1) >= 0.6).mean()),
        "kept_shifted": float((mean_shifted.max(axis=1) >= 0.6).mean()),
        "answered_98": answered(mean, mean_shifted, 0.98),
        "answered_95": answered(mean, mean_shifted, 0.95),
    }


def samplers(data: Images, *, seeds: tuple[int, ...] = SEEDS, thin: int = 42) -> Iterator[dict]:
    """Two chains of 20 * ``thin`` steps each, five draws from the last quarter."""
    model = network(data, prior_sd(5))
    predictor = predict.compile_predictor(model, "p", dtype="float32")

    def kernel(name: str, schedule: Any, T: float) -> inference.Kernel:
        if name == "SGHMC":
            return inference.sghmc(schedule, friction=0.1, temperature=T)
        rms = {"preconditioner": "rms", "damping": 1e-4} if name == "pSGLD" else {}
        return inference.sgld(schedule, temperature=T, **rms)

    largest = {"SGLD": 10 * STEP / 3, "pSGLD": 2e-8, "SGHMC": STEP}
    for name, eps in largest.items():
        warm = 5 * thin if name == "pSGLD" else 0  # for the preconditioner, out of the 20
        share = 0.75 if not warm else 2 / 3
        schedules = {
            "constant, T = 1": (eps / 3, 1.0, 15 * thin),
            "constant, T = 0": (eps / 3, 0.0, 15 * thin),
            "cycle, noisy": (inference.cyclical(eps, 1, share, quiet=False), 1.0, warm),
            "cycle, quiet": (inference.cyclical(eps, 1, share), 1.0, warm),
        }
        for label, (schedule, T, tune) in schedules.items():
            for seed in seeds:
                fit = inference.sample_sgmcmc(
                    model, kernel(name, schedule, T), batch_size=BATCH, draws=5, thin=thin,
                    tune=tune, chains=2, seed=seed, start=start(model, 2, seed), dtype="float32",
                    progressbar=False,
                )  # fmt: skip
                p = mean_probability(predictor(fit["posterior"], data.X_validation)["p"])
                row = {"sampler": name, "schedule": label, "seed": seed, "steps": 20 * thin}
                yield row | scores(data.y_validation, p)


def temperature(
    data: Images,
    *,
    scales: tuple[float, ...] = (1, 2, 5),
    temperatures: tuple[float, ...] = (0.0, 0.01, 0.1, 1.0),
    epochs: int = 20,
) -> Iterator[dict]:
    """One row per chain: twelve draws from the last fifth of one cycle, noise throughout."""
    thin = max(1, epochs * data.epoch // 60)
    for scale in scales:
        model = network(data, prior_sd(scale))
        predictor = predict.compile_predictor(model, "p", dtype="float32")
        for T in temperatures:
            schedule = inference.cyclical(STEP, 1, 0.8, quiet=False)
            fit = inference.sample_sgmcmc(
                model, inference.sghmc(schedule, friction=0.1, temperature=T), batch_size=BATCH,
                draws=12, thin=thin, tune=0, chains=len(SEEDS), seed=0,
                start=start(model, len(SEEDS), 0), dtype="float32", progressbar=False,
            )  # fmt: skip
            p = predictor(fit["posterior"], data.X_validation)["p"]
            lp, w1 = fit["sample_stats"]["lp"], fit["posterior"]["w1"]
            for chain in p["chain"].to_numpy():
                single = p.sel(chain=[chain])
                parts = uncertainty.entropy_decomposition(single)
                yield {
                    "scale": scale, "T": T, "chain": chain, "epochs": epochs,
                    **scores(data.y_validation, mean_probability(single)),
                    "NLL_single": float(
                        np.mean([metrics.nll(data.y_validation, d) for d in single[0].to_numpy()])
                    ),
                    "lp": float(lp.sel(chain=chain).mean()),
                    "corner_sd": float(w1.sel(chain=chain)[:, 0].std()),
                    "corner_prior_sd": prior_sd(scale)[0],
                    "epistemic": float(parts.epistemic.mean()),
                }  # fmt: skip


def advi(
    data: Images,
    *,
    epochs: int = 80,
    rates: tuple[float, ...] = (1e-3, 3e-4),
) -> Iterator[dict]:
    """Two learning rates; the chapter quotes the one that is better on validation images."""
    model = network(data, prior_sd(5))
    predictor = predict.compile_predictor(model, "p", dtype="float32")
    for rate in rates:
        fit = inference.fit_advi(
            model, epochs * data.epoch, batch_size=BATCH, initial_sd=0.005,
            learning_rate=lambda fraction, rate=rate: rate * (1 - fraction) + rate / 100,
            start={k: v[0] for k, v in start(model, 1, 0).items()}, dtype="float32", draws=30,
            seed=0, progressbar=False,
        )  # fmt: skip
        elbo = fit["history"]["elbo"].to_numpy()
        tenth = max(len(elbo) // 10, 1)
        validation, test, shifted = (
            mean_probability(predictor(fit["posterior"], x)["p"])
            for x in (data.X_validation, data.X_test, data.shifted)
        )
        yield {
            "rate": rate, "epochs": epochs,
            "validation_NLL": metrics.nll(data.y_validation, validation),
            **scores(data.y_test, test),
            "answered_98": answered(test, shifted, 0.98),
            "answered_95": answered(test, shifted, 0.95),
            "kept_shifted": float((shifted.max(axis=1) >= 0.6).mean()),
            "ELBO": elbo[-tenth:].mean(),
            "gain_last_tenth": elbo[-tenth:].mean() - elbo[-2 * tenth : -tenth].mean(),
        }  # fmt: skip


STUDIES: Mapping[str, Callable[..., Iterator[dict]]] = {
    "source": source, "samplers": samplers, "temperature": temperature, "advi": advi,
}  # fmt: skip


if __name__ == "__main__":
    run("mnist", __doc__, STUDIES, images)
