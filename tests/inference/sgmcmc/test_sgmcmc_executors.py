"""Chains on executors: the same draws, one compilation, the first failure heard, nothing lost."""

import multiprocessing
import time
from collections import Counter
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import jax
import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster
from dying import Here
from sgmcmc_help import short

OPTIONS = {"batch_size": 7, "draws": 30, "chains": 3}


@pytest.fixture(scope="module")
def here(line):
    return short(line[0], **OPTIONS)


def assert_same(tree, other):
    for group in ("posterior", "sample_stats", "history"):
        xr.testing.assert_equal(tree[group].to_dataset(), other[group].to_dataset())


def test_processes_draw_the_same(line, here):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert_same(short(line[0], executor=pool, **OPTIONS), here)


def test_forked_processes_are_refused(line, here):
    """JAX has started: its threads are not in the child, which would wait for them for ever."""
    context = multiprocessing.get_context("fork")
    with (
        ProcessPoolExecutor(1, mp_context=context) as pool,
        pytest.raises(RuntimeError, match=r"forked after JAX had started.*get_context\('spawn'\)"),
    ):
        short(line[0], executor=pool, **OPTIONS)


def test_threads_compile_once_and_draw_the_same(line, caplog):
    options = OPTIONS | {"batch_size": 9}  # which nothing has compiled yet

    def in_threads(value):
        jax.config.update("jax_log_compiles", value)  # of all threads

    in_threads(True)
    try:
        with caplog.at_level("WARNING", logger="jax"), ThreadPoolExecutor(3) as pool:
            tree = short(line[0], executor=pool, **options)
    finally:
        in_threads(False)
    assert_same(tree, short(line[0], **options))
    compiled = Counter(r.getMessage().split(" with")[0] for r in caplog.records)
    assert compiled["Compiling jit(advance_one)"] == 1, compiled


def test_dask_draws_the_same(line, here):
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        assert_same(short(line[0], executor=client.get_executor(), **OPTIONS), here)


def test_a_chain_lost_with_its_worker_is_run_once_more_then_named(line, here):
    executor = Here(2)
    assert_same(short(line[0], executor=executor, **OPTIONS), here)
    assert executor.calls == 4
    with pytest.raises(RuntimeError, match=r"SGLD chains: .* before part 1 of 3 was done"):
        short(line[0], executor=Here(2, 4), **OPTIONS)


def test_the_first_failure_is_heard_before_the_others_are_done(line):
    class Failing(Executor):
        """The second chain fails at once; the others never end."""

        def __init__(self):
            self.futures = []

        def submit(self, *_):
            future = Future()
            if len(self.futures) == 1:
                future.set_exception(ValueError("out of luck"))
            self.futures.append(future)
            return future

    failing = Failing()
    clock = time.perf_counter()
    with pytest.raises(ValueError, match="out of luck"):
        short(line[0], executor=failing, **OPTIONS)
    assert time.perf_counter() - clock < 30
    assert all(f.cancelled() for i, f in enumerate(failing.futures) if i != 1)


@pytest.mark.parametrize("place", ["memory", "store"])
def test_interrupted_executor_gives_the_chains_that_are_done(line, here, tmp_path, place):
    class Interrupting(Executor):
        """Ctrl-C once the first chain is done; the others have not begun."""

        def __init__(self):
            self.first = None

        def submit(self, function, *arguments):
            future = Future()
            if self.first is None:
                self.first = future
                future.set_result(function(*arguments))
            return future

    options = {} if place == "memory" else {"store": tmp_path / "draws"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bnnbook.inference.executors.as_completed", interrupted_after_one)
        tree = short(line[0], executor=Interrupting(), **options, **OPTIONS)
    assert tree.attrs["interrupted"] == 1
    assert list(tree["posterior"]["chain"].to_numpy()) == [0]
    np.testing.assert_array_equal(tree["posterior"]["beta"], here["posterior"]["beta"][:1])


def interrupted_after_one(futures):
    yield next(iter(futures))
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"callbacks": [print]}, "callbacks need the fit in this process"),
        ({"cores": 2}, "leave out cores, got 2"),
        ({"chain_method": "vectorized"}, "leave out chain_method"),
    ],
)
def test_what_an_executor_cannot_do(line, options, message):
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match=message):
        short(line[0], executor=pool, **options, **OPTIONS)
