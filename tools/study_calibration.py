"""Simulation-based calibration of the methods: ``python tools/study_calibration.py``.

Weights are drawn from the prior of a small network, targets from the network, and every method is
fitted to them; if its draws were the posterior's, the value of the drawn function at a fixed input
would have a uniform rank among them (Talts et al. 2018, theorem 1). Weights have no identity, so
the ranks are those of function values. NUTS is the positive control.

The study writes ``book/chapters/data/calibration_ranks.csv``: a table, under a comment that says
how long it took and with which versions. What is stored already is kept, so an interrupted run goes
on; delete the table to begin anew. A test repeats a part.

ranks
    One row for each replication and method: ``u_data``, ``u_gap`` and ``u_beyond``, the share of
    the draws below the truth at the three inputs, the place between two draws settled by chance, so
    that it is uniform on (0, 1) for exact draws; ``z_...``, the truth's distance from the draws'
    mean in their sds; ``seconds`` of processor time.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from study_tables import run

from benchmarks.references.methods import METHODS, fitted
from bnnbook import inference

REPLICATIONS = 200
UNITS, NOISE = 10, 0.1
INPUTS = np.concatenate([np.linspace(-2, -0.7, 10), np.linspace(0.7, 2, 10)])
PLACES = {"data": -1.0, "gap": 0.0, "beyond": 3.0}
PRIOR = {"w1": 2.0, "b1": 2.0, "w_out": UNITS**-0.5, "b_out": 1.0}
DIMS = {
    "w1": ("feature", "hidden_1"), "b1": ("hidden_1",), "w_out": ("hidden_1",), "b_out": (),
}  # fmt: skip
SHAPES = {"w1": (1, UNITS), "b1": (UNITS,), "w_out": (UNITS,), "b_out": ()}
CHOSEN: Mapping[str, Any] = {
    "NUTS": fitted(inference.sample_nuts, draws=250, tune=500, chains=4, target_accept=0.9),
    **{
        name: METHODS[name]
        for name in (
            "full-rank ADVI", "mean-field ADVI", "Laplace, linearised", "Laplace, sampled", "SWAG",
            "dropout", "SGLD",
        )
    },
    "ensemble of 10": fitted(inference.fit_ensemble, n_members=10),
}  # fmt: skip


def network(y: np.ndarray) -> pm.Model:
    """The model, with its data in containers."""
    coords = {"feature": ["x"], "hidden_1": np.arange(UNITS)}
    with pm.Model(coords=coords) as model:
        X = pm.Data("X", INPUTS[:, None], dims=("obs_id", "feature"))
        observed = pm.Data("y", y, dims="obs_id")
        w = {name: pm.Normal(name, 0.0, sd, dims=DIMS[name]) for name, sd in PRIOR.items()}
        f = pt.tanh(X @ w["w1"] + w["b1"]) @ w["w_out"] + w["b_out"]
        pm.Deterministic("f", f, dims="obs_id")
        pm.Normal("obs", f, NOISE, observed=observed, dims="obs_id")
    return model


def truth(rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """A function drawn from the prior."""
    w = {name: sd * rng.normal(size=SHAPES[name]) for name, sd in PRIOR.items()}
    return lambda x: np.tanh(x[:, None] @ w["w1"] + w["b1"]) @ w["w_out"] + w["b_out"]


def ranks(
    *,
    replications: Sequence[int] = range(REPLICATIONS),
    which: Sequence[str] = tuple(CHOSEN),
    done: Sequence[Mapping[str, Any]] = (),
) -> Iterator[dict[str, Any]]:
    """One row for each replication and method that is not among the rows ``done``."""
    known = {(row["replication"], row["method"]) for row in done}
    places = np.array(list(PLACES.values()))
    for number in replications:
        rng = np.random.default_rng([20, number])
        f = truth(rng)
        model = network(f(INPUTS) + NOISE * rng.normal(size=len(INPUTS)))
        for name in which:
            if (number, name) in known:
                continue
            clock = time.process_time()
            found: dict[str, Any] = {"replication": number, "method": name}
            try:
                _, functions = CHOSEN[name](model, ["f"], places[:, None], number)
            except (ValueError, inference.DivergedError) as error:
                yield found | {"failed": f"{type(error).__name__}: {error}"}
                continue
            draws = functions["f"].to_numpy().reshape(-1, len(places))
            own = np.random.default_rng([21, number])
            for k, (place, value) in enumerate(zip(PLACES, f(places), strict=True)):
                below, size = int((draws[:, k] < value).sum()), len(draws)
                found[f"u_{place}"] = (below + own.random()) / (size + 1)
                found[f"z_{place}"] = (value - draws[:, k].mean()) / draws[:, k].std()
            yield found | {"seconds": time.process_time() - clock}


STUDIES: Mapping[str, Callable[..., Iterator[dict]]] = {"ranks": ranks}


if __name__ == "__main__":
    warnings.simplefilter(
        "ignore", inference.ConvergenceWarning
    )  # what they would say shows in the ranks
    run("calibration", __doc__, STUDIES, resume=True)
