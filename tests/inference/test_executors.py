"""Starts and chains on an executor: the same result as in process, clear errors."""

import json
import multiprocessing
from concurrent.futures import (
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)

import numpy as np
import optax
import pymc as pm
import pytest
import xarray as xr
from dying import Here, die_once

from bnnbook import inference


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    with pm.Model() as model:
        b = pm.Normal("b", 0, 1, shape=2)
        s = pm.HalfNormal("s", 1)
        y = pm.Data("y", 1 + 2 * x + 0.3 * rng.normal(size=40))
        pm.Normal("obs", b[0] + b[1] * pm.Data("x", x), s, observed=y)
    return model


QUIET = {"seed": 1, "progressbar": False}
CHAINS = {"chains": 3, "draws": 20, "tune": 30, **QUIET}
ENSEMBLE = (inference.fit_ensemble, {"n_members": 3, **QUIET})
NUTS = (inference.sample_nuts, {"start": np.array([[1.0, 2, -1], [1, 2, 0], [2, 1, 0]]), **CHAINS})
HMC = (inference.sample_hmc, {"step_size": 0.02, "n_steps": 3, **CHAINS})
SWAG = (
    inference.fit_swag,
    {
        "learning_rate": 0.002, "n_starts": 3, "tune": 50, "steps": 100, "collect_every": 10,
        "rank": 5, "draws": 10, **QUIET,
    },
)  # fmt: skip
ADVI = (inference.fit_advi, {"n_starts": 3, "n": 200, "draws": 10, **QUIET})
IN_THREADS = [
    ENSEMBLE,
    NUTS,
    HMC,
    SWAG,
    ADVI,
    (inference.fit_advi, {**ADVI[1], "batch_size": 10, "optimizer": optax.sgd(1e-3)}),
    (inference.fit_map, {"n_starts": 3, **QUIET}),
    (inference.fit_mle, {"n_starts": 3, **QUIET}),
    (inference.sample_mclmc, {"thin": 2, **CHAINS}),
    (inference.sample_tempered, {"n_temperatures": 2, "thin": 2, **CHAINS}),
]


def assert_same(tree, other):
    assert set(tree.children) == set(other.children)
    assert json.loads(tree.attrs["settings"]) == json.loads(other.attrs["settings"])
    for group in tree.children:
        one, two = (
            t[group].to_dataset().drop_vars("seconds", errors="ignore") for t in (tree, other)
        )
        xr.testing.assert_equal(one, two)


@pytest.mark.parametrize(("fit", "options"), IN_THREADS)
def test_threads_find_the_same(model, fit, options):
    with ThreadPoolExecutor(2) as pool:
        assert_same(fit(model, executor=pool, **options), fit(model, **options))


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize(("fit", "options"), [NUTS, HMC, SWAG, ADVI])
def test_processes_find_the_same(model, processes, fit, options):
    there = fit(model, executor=processes, **options)
    assert_same(there, fit(model, **options))
    assert there.attrs["seconds"] > 0
    assert there.attrs["compile_seconds"] > 0


def test_processes_find_the_same_though_the_first_dies(model, tmp_path):
    context = multiprocessing.get_context("spawn")
    options = {"n_members": 2, "seed": 1, "progressbar": False}
    with ProcessPoolExecutor(1, context, die_once, (str(tmp_path / "died"),)) as pool:
        there = inference.fit_ensemble(model, executor=pool, **options)
    assert (tmp_path / "died").exists()
    assert_same(there, inference.fit_ensemble(model, **options))


@pytest.mark.parametrize(("fit", "options"), [ENSEMBLE, HMC, SWAG, ADVI])
def test_a_part_lost_with_its_worker_is_run_once_more_then_named(model, fit, options):
    executor = Here(2)
    assert_same(fit(model, executor=executor, **options), fit(model, **options))
    assert executor.calls == 4
    with pytest.raises(RuntimeError, match=r"once more .* before part 1 of 3 was done"):
        fit(model, executor=Here(2, 4), **options)


class Interrupted(Here):
    """Ctrl-C after some calls."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def submit(self, function, *arguments):
        if self.calls == self.after:
            raise KeyboardInterrupt
        return super().submit(function, *arguments)


@pytest.mark.parametrize(("fit", "options"), [ENSEMBLE, HMC, SWAG])
def test_ctrl_c_keeps_what_is_done(model, fit, options):
    some, whole = fit(model, executor=Interrupted(2), **options), fit(model, **options)
    assert some.attrs["interrupted"] == 1
    np.testing.assert_array_equal(some["posterior"]["b"], whole["posterior"]["b"][:2])
    with pytest.raises(KeyboardInterrupt):
        fit(model, executor=Interrupted(0), **options)


def test_ctrl_c_keeps_the_best_start_that_is_done(model):
    fit, options = ADVI
    some, whole = fit(model, executor=Interrupted(2), **options), fit(model, **options)
    assert (some.attrs["interrupted"], some.attrs["stopped"]) == (1, "interrupted")
    assert some.attrs["final_elbo_by_start"] == whole.attrs["final_elbo_by_start"][:2]
    with pytest.raises(KeyboardInterrupt):
        fit(model, executor=Interrupted(0), **options)


@pytest.mark.parametrize(("fit", "options"), IN_THREADS)
def test_what_an_executor_cannot_do(model, fit, options):
    with pytest.raises(TypeError, match=r"must be a concurrent\.futures\.Executor, got 4"):
        fit(model, executor=4, **options)
    with pytest.raises(ValueError, match="callbacks need the fit"):
        fit(model, executor=Here(), callbacks=[print], **options)


def test_workers_take_the_place_of_cores(model):
    with pytest.raises(ValueError, match="an executor has workers of its own: leave out cores"):
        inference.sample_hmc(model, executor=Here(), cores=2, **HMC[1])


def test_a_bad_start_is_named_before_anything_is_sent(model):
    executor = Here()
    with pytest.raises(ValueError, match=r"start must have shape \(3, 3\), got \(3, 1\)"):
        inference.sample_nuts(model, executor=executor, **{**NUTS[1], "start": np.zeros((3, 1))})
    assert not executor.calls


def test_a_part_that_fails_is_named(model):
    class Failing(Executor):
        def submit(self, *_):
            future = Future()
            future.set_exception(OSError("out of luck"))
            return future

    with pytest.raises(OSError, match="out of luck") as caught:
        inference.fit_map(model, executor=Failing(), seed=0, progressbar=False)
    assert caught.value.__notes__ == ["map: in part 0 of 1 on the executor"]
