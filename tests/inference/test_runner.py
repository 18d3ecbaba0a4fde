"""The runner of all samplers: order, failures, callbacks, Ctrl-C."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from bnnbook.inference.callbacks import FitState, Reporter
from bnnbook.inference.runner import run_tasks


class Count:
    """A task of ``n`` pieces that notes who advanced when."""

    def __init__(self, n, log, *, fail_at=None, seconds=0.0):
        self.n, self.log, self.fail_at, self.seconds = n, log, fail_at, seconds
        self.steps, self.lp = 0, float("nan")

    @property
    def done(self):
        return self.steps >= self.n

    @property
    def ready(self):
        return self.steps

    def advance(self):
        time.sleep(self.seconds)
        if self.steps == self.fail_at:
            raise ArithmeticError("no further")
        self.log.append(self)
        self.steps += 1


def run(tasks, callbacks=(), cores=2):
    def state(ready):
        return FitState(ready, 0.0, 0.0, "count", None, lambda _: None), np.zeros(ready)

    return run_tasks(
        tasks, cores=cores, label="", total=sum(t.n for t in tasks), progressbar=False,
        reporter=Reporter(callbacks, method="count", settings={}), state=state,
    )  # fmt: skip


def test_tasks_advance_in_step_whatever_the_number_of_threads():
    for cores in (1, 3):
        log = []
        tasks = [Count(20, log) for _ in range(3)]
        assert run(tasks, cores=cores) == "finished"
        assert [t.steps for t in tasks] == [20, 20, 20]
    log = []
    run([Count(20, log) for _ in range(3)], cores=1)
    assert all(len(set(log[i : i + 3])) == 3 for i in range(0, 60, 3))


def test_failed_task_is_reported_before_the_others_are_done():
    log = []
    tasks = [Count(3, log, fail_at=1), Count(10_000, log, seconds=0.01)]
    ended = []

    class Told:
        def __call__(self, *_):
            pass

        def finish(self, status):
            ended.append(status)

    with pytest.raises(ArithmeticError, match="no further"):
        run(tasks, [Told()])
    assert tasks[1].steps < 500
    assert ended == ["FAILED"]


def test_callbacks_see_what_all_have_and_may_stop():
    log, seen = [], []

    def enough(state, losses, step):
        seen.append((state.step, len(losses), step))
        if step >= 5:
            raise StopIteration("seen it")

    tasks = [Count(1000, log, seconds=0.01), Count(1000, log, seconds=0.02)]
    assert run(tasks, [enough]) == f"stopped at step {seen[-1][2]}: seen it"
    assert all(a == b == c for a, b, c in seen)
    assert [s[2] for s in seen] == sorted({s[2] for s in seen})
    assert tasks[1].steps < 1000


def test_ctrl_c_ends_a_run():
    tasks = [Count(10**6, [], seconds=0.001) for _ in range(2)]
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    assert run(tasks) == "interrupted"
    assert all(0 < t.steps < 10**6 for t in tasks)


@pytest.mark.parametrize(("cores", "error"), [(0, ValueError), (1.5, TypeError), (-2, ValueError)])
def test_bad_cores(cores, error):
    with pytest.raises(error, match="cores must be"):
        run([Count(1, [])], cores=cores)
