"""Starts of point fits on an executor: the same result as in process, clear errors."""

import multiprocessing
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)

import numpy as np
import pymc as pm
import pytest
from dying import die_once

from bnnbook import inference


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    x = rng.normal(size=40)
    with pm.Model() as model:
        b = pm.Normal("b", 0, 1, shape=2)
        s = pm.HalfNormal("s", 1)
        pm.Normal("y", b[0] + b[1] * x, s, observed=1 + 2 * x + 0.3 * rng.normal(size=40))
    return model


FITS = [
    (inference.fit_ensemble, {"n_members": 3}),
    (inference.fit_map, {"n_starts": 3}),
    (inference.fit_mle, {"n_starts": 3}),
]


def assert_same(tree, other):
    for name in ("b", "s"):
        np.testing.assert_array_equal(tree["posterior"][name], other["posterior"][name])
    np.testing.assert_array_equal(tree["history"]["log_density"], other["history"]["log_density"])


@pytest.mark.parametrize(("fit", "options"), FITS)
def test_threads_find_the_same(model, fit, options):
    options = {"seed": 1, "progressbar": False, **options}
    with ThreadPoolExecutor(2) as pool:
        assert_same(fit(model, executor=pool, **options), fit(model, **options))


def test_processes_find_the_same_though_the_first_dies(model, tmp_path):
    context = multiprocessing.get_context("spawn")
    options = {"n_members": 2, "seed": 1, "progressbar": False}
    with ProcessPoolExecutor(1, context, die_once, (str(tmp_path / "died"),)) as pool:
        there = inference.fit_ensemble(model, executor=pool, **options)
    assert (tmp_path / "died").exists()
    assert_same(there, inference.fit_ensemble(model, **options))


class Here(Executor):
    """Runs parts at once, but those whose call is among ``dies`` with a worker that dies."""

    def __init__(self, *dies):
        self.calls, self.dies = 0, dies

    def submit(self, function, *arguments):
        future = Future()
        self.calls += 1
        if self.calls in self.dies:
            future.set_exception(BrokenExecutor("a worker is gone"))
        else:
            future.set_result(function(*arguments))
        return future


def test_a_part_lost_with_its_worker_is_run_once_more_then_named(model):
    options = {"n_members": 3, "seed": 1, "progressbar": False}
    executor = Here(2)
    fit = inference.fit_ensemble(model, executor=executor, **options)
    assert executor.calls == 4
    assert_same(fit, inference.fit_ensemble(model, **options))
    with pytest.raises(RuntimeError, match=r"once more .* before part 1 of 3 was done"):
        inference.fit_ensemble(model, executor=Here(2, 4), **options)


def test_ctrl_c_keeps_what_is_done(model):
    class Interrupted(Here):
        def submit(self, function, *arguments):
            if self.calls == 2:
                raise KeyboardInterrupt
            return super().submit(function, *arguments)

    options = {"n_members": 3, "seed": 1, "progressbar": False}
    fit = inference.fit_ensemble(model, executor=Interrupted(), **options)
    whole = inference.fit_ensemble(model, **options)
    assert fit.attrs["interrupted"] == 1
    np.testing.assert_array_equal(fit["posterior"]["b"], whole["posterior"]["b"][:2])


def test_what_an_executor_cannot_do(model):
    with pytest.raises(TypeError, match=r"must be a concurrent\.futures\.Executor, got 4"):
        inference.fit_map(model, executor=4, seed=0)
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="callbacks need the fit"):
        inference.fit_map(model, executor=pool, callbacks=[print], seed=0)


def test_a_part_that_fails_is_named(model):
    class Failing(Executor):
        def submit(self, *_):
            future = Future()
            future.set_exception(OSError("out of luck"))
            return future

    with pytest.raises(OSError, match="out of luck") as caught:
        inference.fit_map(model, executor=Failing(), seed=0, progressbar=False)
    assert caught.value.__notes__ == ["map: in part 0 of 1 on the executor"]
