"""A worker process that dies, in a module that it imports quickly."""

import os
from pathlib import Path


def die_once(path):
    """End this process at once, unless another has done so and left this file."""
    if not Path(path).exists():
        Path(path).touch()
        os._exit(1)
