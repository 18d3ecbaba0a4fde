"""Memory of predictions that are reduced: a block at a time, however many points there are."""

import re
from pathlib import Path

import numpy as np
import pytest

from bnnbook import models, predict

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
DRAWS, FEW, MANY = 400, 4_096, 65_536


def resident(key):
    return 1024 * int(re.search(rf"{key}:\s+(\d+)", STATUS.read_text())[1])


def peak(call):
    """What a call adds to this process's resident memory at most, JAX's buffers included."""
    CLEAR.write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    call()
    return resident("VmHWM") - before


@pytest.mark.skipif(not CLEAR.exists(), reason="needs Linux")
def test_a_reduced_prediction_takes_no_more_for_more_points():
    """All draws at the points that are more would take 197 MB, and do where nothing is reduced."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(MANY, 2))
    model = models.mlp_classifier(X[:50], X[:50, 0] > 0, (5,))
    shapes = {"w1": (2, 5), "w_out": (5,)}
    draws = {name: rng.normal(size=(1, DRAWS, *shape)) for name, shape in shapes.items()}
    at = predict.compile_predictor(model, "p").bind(draws)
    at(X[:FEW], reduce="mean")  # compiled
    more = 8 * DRAWS * (MANY - FEW)
    few = peak(lambda: at(X[:FEW], reduce="mean"))
    assert peak(lambda: at(X, reduce="mean")) < few + 0.1 * more
    assert peak(lambda: at(X)) > 0.8 * more
