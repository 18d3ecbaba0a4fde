"""Splits of one data set are fitted and predicted with code that is compiled once."""

import numpy as np
import pytest
import xarray as xr

from bnnbook import inference, models, predict

QUIET = {"seed": 0, "progressbar": False}
CHAINS = {"draws": 5, "tune": 5, "chains": 2}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(25, 2))
Y = X @ [1.0, -2.0] + RNG.normal(size=25)
SPLITS = 3

WAYS = {
    "fit_advi": lambda model: inference.fit_advi(model, 60, draws=5, **QUIET),
    "fit_advi, batches": lambda model: inference.fit_advi(
        model, 60, batch_size=4, draws=5, learning_rate=0.01, **QUIET
    ),
    "fit_map": lambda model: inference.fit_map(model, max_steps=20, **QUIET),
    "sample_nuts": lambda model: inference.sample_nuts(model, **CHAINS, **QUIET),
    "sample_sgmcmc": lambda model: inference.sample_sgmcmc(
        model, inference.sgld(1e-4), batch_size=4, **CHAINS, **QUIET
    ),
    "fit_laplace": lambda model: inference.fit_laplace(model, max_steps=200, draws=5, **QUIET),
    "fit_ensemble": lambda model: inference.fit_ensemble(model, n_members=2, max_steps=20, **QUIET),
    "fit_swag": lambda model: inference.fit_swag(
        model, learning_rate=1e-4, tune=20, steps=60, collect_every=10, rank=3, draws=5, **QUIET
    ),
    "predictor": lambda model: predict.compile_predictor(model, ["mu", "sigma"])(drawn(model), X),
}


def drawn(model):
    return xr.Dataset({
        name: (("chain", "draw", *model.named_vars_to_dims.get(name, ())), RNG.normal(size=shape))
        for name, shape in (
            (rv.name, (1, 3, *model.eval_rv_shapes()[rv.name])) for rv in model.free_RVs
        )
    })  # fmt: skip


def split(number, n, **options):
    """Some of the rows, standardised by moments of their own."""
    rows = np.random.default_rng(number).permutation(len(X))[:n]
    return models.mlp_regression(X[rows], Y[rows], (), heteroskedastic=False, **options)


@pytest.mark.filterwarnings("ignore::bnnbook.inference.ConvergenceWarning")
@pytest.mark.parametrize(("n", "way"), list(enumerate(WAYS, start=12)))
def test_a_split_compiles_nothing_again(compilations, n, way):
    WAYS[way](split(0, n))
    first = len(compilations)
    assert first
    for number in range(1, SPLITS):
        WAYS[way](split(number, n))
    assert len(compilations) == first


WITH_BATCHES = ("fit_advi, batches", "sample_sgmcmc")
MARGINAL = [w for w in WAYS if w not in (*WITH_BATCHES, "fit_laplace", "fit_swag")]


@pytest.mark.filterwarnings("ignore::bnnbook.inference.ConvergenceWarning")
@pytest.mark.parametrize(("n", "way"), list(enumerate(MARGINAL, start=12)))
def test_so_do_splits_with_the_output_layer_integrated_out(compilations, n, way):
    WAYS[way](split(0, n, marginal_output=True))
    first = len(compilations)
    assert first
    for number in range(1, SPLITS):
        WAYS[way](split(number, n, marginal_output=True))
    assert len(compilations) == first
