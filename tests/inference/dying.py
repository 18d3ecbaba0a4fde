"""Workers that die, in a module that a process imports quickly."""

import os
from concurrent.futures import BrokenExecutor, Executor, Future
from pathlib import Path


def die_once(path):
    """End this process at once, unless another has done so and left this file."""
    if not Path(path).exists():
        Path(path).touch()
        os._exit(1)


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
