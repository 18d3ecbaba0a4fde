"""Runs behind chapter 4 on many data sets: ``python tools/study_regression.py NAME ...``.

Each study writes ``book/chapters/data/regression_NAME.csv``: a table, under a comment that says
how long it took and with which versions. The chapter reads the tables; a test repeats a part.

gaps
    Twenty data sets one by one: what each method admits in the gaps between clusters, and its
    scores. Half an hour; data sets that are stored are kept, so an interrupted run goes on.
mean_field
    Mean field on the weights, by number of steps and by starting sd, on the chapter's data set.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from study_tables import run

from bnnbook import datasets, diagnostics, inference, metrics, models, predict

GRID = np.linspace(-6, 8, 281)
GAPS = datasets.wave_gaps()
IN_GAP = np.any([(a < GRID) & (b > GRID) for a, b in GAPS], axis=0)
NOISE = {(c.start, c.start + c.width): c.noise for c in datasets.CLUSTERS["four"]}
QUIET: dict[str, Any] = {"progressbar": False}
STOPS = (250, 500, 750, 1000)  # of the ensemble
LAST = f"ensemble, {STOPS[-1]}"  # the row of a data set that comes last


class Problem:
    """One data set of the chapter, its model in both coordinates, and its predictors."""

    def __init__(self, seed: int, *, n: int = 400, noise_scale: float = 1, hidden_sd: float = 3):
        self.data = datasets.wave_clusters(n=n, noise_scale=noise_scale, n_test=1000, seed=seed)
        x, y = self.data.X_train, self.data.y_train
        self.centre, self.spread = float(x.mean()), float(x.std())
        prior: dict[str, Any] = {
            "prior_sd": [hidden_sd, 2 / np.sqrt(50)],
            "scale_prior_sd": 0.5,
            "standardise_inputs": False,  # done here, as in the chapter
        }
        z = self.inputs(x)
        self.plain = models.mlp_regression(z, y, (50,), **prior)
        self.marginal = models.mlp_regression(z, y, (50,), marginal_output=True, **prior)

    def inputs(self, x: np.ndarray) -> np.ndarray:
        """As the chapter standardises them."""
        return (np.reshape(x, (-1, 1)) - self.centre) / self.spread

    def predictor(self, model: pm.Model) -> Callable[[Any, np.ndarray], xr.Dataset]:
        """Function of a fit and raw inputs."""
        compiled = predict.compile_predictor(model, ["mu", "sigma"])
        return lambda fit, x: compiled(fit["posterior"], self.inputs(x))


def falling(rate: float = 0.01) -> Callable[[float], float]:
    """The chapter's step size: to a hundredth, in a straight line."""
    return lambda fraction: rate * (1 - fraction) + rate / 100


def sd_in_gaps(mu: xr.DataArray) -> dict[str, float]:
    """Root mean epistemic variance in each gap."""
    variance = mu.var(["chain", "draw"]).to_numpy()
    sds = [np.sqrt(variance[(a < GRID) & (b > GRID)].mean()) for a, b in GAPS]
    return {f"gap_{i + 1}": float(sd) for i, sd in enumerate(sds)}


def judged(problem: Problem, predictor: Any, fit: Any) -> dict[str, float]:
    """Epistemic sd in the gaps; f against the cosine there; scores at the held-out points."""
    on_grid = predictor(fit, GRID)["mu"]
    f, truth = on_grid.sel(obs=IN_GAP), np.cos(GRID[IN_GAP])
    band = metrics.predictive_interval(f, level=0.9)
    y = problem.data.y_test
    out = predictor(fit, problem.data.X_test)
    every = max(out.sizes["draw"] * out.sizes["chain"] // 200, 1)
    mu, sigma = (out[v].isel(draw=slice(None, None, every)) for v in ("mu", "sigma"))
    interval = metrics.predictive_interval(mu, sigma, level=0.9)
    return {
        **sd_in_gaps(on_grid),
        "inside": metrics.coverage(truth, *band),
        "band": metrics.interval_width(*band),
        "crps_gap": metrics.crps(truth, f),
        "coverage": metrics.coverage(y, *interval),
        "width": metrics.interval_width(*interval),
        "NLL": metrics.gaussian_mixture_nll(y, mu, sigma),
        "CRPS": metrics.crps(y, mu, sigma),
    }


def oracle(problem: Problem) -> dict[str, float]:
    """Scores of the cosine with the true noise."""
    x, y = problem.data.X_test.ravel(), problem.data.y_test
    sigma = np.array([next(s for (a, b), s in NOISE.items() if a <= v <= b) for v in x])
    mu = np.cos(x)
    interval = metrics.predictive_interval(mu[None], sigma[None], level=0.9)
    return {
        "coverage": metrics.coverage(y, *interval),
        "width": metrics.interval_width(*interval),
        "NLL": metrics.gaussian_mixture_nll(y, mu[None], sigma[None]),
        "CRPS": metrics.crps(y, mu[None], sigma[None]),
    }


def gaps(
    *,
    seeds: Sequence[int] = range(20),
    scale: float = 1.0,
    done: Sequence[Mapping[str, Any]] = (),
) -> Iterator[dict]:
    """Rows of the data sets of which ``done`` does not hold all; ``scale`` shortens every run."""
    held = {(row["data"], row["method"]) for row in done}
    for seed in seeds:
        if (seed, LAST) not in held:
            rows = one_data_set(seed, lambda n: max(int(scale * n), 20))
            yield from (row for row in rows if (seed, row["method"]) not in held)


def one_data_set(seed: int, many: Callable[[int], int]) -> Iterator[dict]:
    """One row for each method, of runs as long as ``many`` makes them."""
    problem = Problem(seed)
    plain, marginal = (problem.predictor(m) for m in (problem.plain, problem.marginal))
    yield {"data": seed, "method": "oracle"} | oracle(problem)
    nuts = inference.sample_nuts(
        problem.marginal, draws=many(500), tune=many(300), chains=2, target_accept=0.7,
        exchangeable=["hidden_1"], max_depth=7, seed=seed, **QUIET,
    )  # fmt: skip
    rhat = diagnostics.function_space(marginal(nuts, GRID[::5])["mu"]).attrs["max_rhat"]
    yield {"data": seed, "method": "NUTS", "rhat": rhat} | judged(problem, marginal, nuts)
    fit = inference.fit_map(problem.plain, max_steps=many(1000), seed=seed, **QUIET)
    yield {"data": seed, "method": "MAP"} | judged(problem, plain, fit)
    fit = inference.fit_advi(
        problem.plain, many(30_000), learning_rate=falling(), seed=seed, **QUIET
    )
    yield _with_elbo(seed, "mean field", fit) | judged(problem, plain, fit)
    fit = inference.fit_advi(
        problem.marginal, many(15_000), learning_rate=falling(), initial_sd=0.01, seed=seed,
        **QUIET,
    )  # fmt: skip
    yield _with_elbo(seed, "mean field, marginal", fit) | judged(problem, marginal, fit)
    fit = inference.fit_advi(
        problem.marginal, many(15_000), method="fullrank_advi", start=fit,
        learning_rate=falling(1e-4), seed=seed, **QUIET,
    )  # fmt: skip
    yield _with_elbo(seed, "full rank, marginal", fit) | judged(problem, marginal, fit)
    yield from ensemble(seed, problem, plain, [many(s) for s in STOPS])


def ensemble(
    seed: int, problem: Problem, predictor: Any, stops: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Fifteen members, kept at four stops; ``chosen`` has the best CRPS on new points."""
    on_the_way: dict[int, list] = {stop: [] for stop in stops}

    def keep_member(state: Any, _: Any, step: int) -> None:
        if step in on_the_way:
            on_the_way[step].append(state.posterior(1))

    inference.fit_ensemble(
        problem.plain, n_members=15, max_steps=stops[-1], callbacks=[keep_member], seed=seed,
        **QUIET,
    )  # fmt: skip
    new = datasets.wave_clusters(n=400, n_test=1000, seed=seed + 10_000)
    rows, crps = {}, {}
    for stop, members in on_the_way.items():
        fit = {"posterior": xr.concat(members, "chain")}
        out = predictor(fit, new.X_test)
        crps[stop] = metrics.crps(new.y_test, out["mu"], out["sigma"])
        rows[stop] = judged(problem, predictor, fit)
    best = min(crps, key=lambda stop: crps[stop])
    for stop, row in rows.items():
        yield {"data": seed, "method": f"ensemble, {stop}", "chosen": stop == best} | row


def _with_elbo(seed: int, method: str, fit: xr.DataTree) -> dict[str, Any]:
    elbo = fit["history"]["elbo"].to_numpy()
    return {"data": seed, "method": method, "elbo": elbo[-max(len(elbo) // 10, 1) :].mean()}


def mean_field(
    *,
    seeds: Sequence[int] = (906,),
    steps: Sequence[int] = (30_000, 150_000),
    done: Sequence[Mapping[str, Any]] = (),
) -> Iterator[dict]:
    """One row for each run that ``done`` does not hold; NUTS's sd in the gaps stands beside it."""
    for seed in seeds:
        runs = [(n, None) for n in steps] + [(steps[0], 0.01)]
        runs = runs[sum(row["data"] == seed for row in done) :]
        if not runs:
            continue
        problem = Problem(seed)
        plain = problem.predictor(problem.plain)
        nuts = inference.sample_nuts(
            problem.marginal, draws=500, tune=300, chains=2, target_accept=0.7,
            exchangeable=["hidden_1"], max_depth=7, seed=seed, **QUIET,
        )  # fmt: skip
        mu = problem.predictor(problem.marginal)(nuts, GRID)["mu"]
        reference = {f"nuts_{k}": v for k, v in sd_in_gaps(mu).items()}
        for n, initial_sd in runs:
            start = {} if initial_sd is None else {"initial_sd": initial_sd}
            fit = inference.fit_advi(
                problem.plain, n, learning_rate=falling(), seed=seed, **start, **QUIET
            )
            elbo = fit["history"]["elbo"].to_numpy()
            tenth = len(elbo) // 10
            yield {
                "data": seed, "steps": n, "initial_sd": initial_sd or np.nan,
                "elbo": elbo[-tenth:].mean(),
                "gain": elbo[-tenth:].mean() - elbo[-2 * tenth : -tenth].mean(),
                **sd_in_gaps(plain(fit, GRID)["mu"]), **reference,
            }  # fmt: skip


STUDIES: Mapping[str, Callable[..., Iterator[dict]]] = {
    "gaps": gaps, "mean_field": mean_field,
}  # fmt: skip


if __name__ == "__main__":
    warnings.simplefilter(
        "ignore", inference.ConvergenceWarning
    )  # what they would say is in the tables
    run("regression", __doc__, STUDIES, resume=True)
