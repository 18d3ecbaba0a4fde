"""The table of the methods' calibration marks what is off, and nothing else."""

import numpy as np
import pandas as pd
import pytest
import study_calibration

from benchmarks.tables import calibration

WRONG = ["90% off", "50% off", "not_uniform"]


def ranks(u):
    return pd.DataFrame({"method": "one"} | {f"u_{place}": u for place in calibration.PLACES})


def test_exact_ranks_are_not_marked():
    found = calibration.summary(ranks(np.random.default_rng(0).random(200)))
    assert not found[WRONG].any(axis=None)
    assert found["90%"].to_numpy() == pytest.approx(0.9, abs=0.07)
    assert found["50%"].to_numpy() == pytest.approx(0.5, abs=0.11)


@pytest.mark.parametrize("wrong", ["too sure", "too wide", "shifted"])
def test_wrong_ranks_are_marked(wrong):
    u = np.random.default_rng(1).random(200)
    u = {"too sure": u**3 * (u < 0.5) + (1 - (1 - u) ** 3) * (u >= 0.5), "too wide": 0.25 + u / 2,
         "shifted": np.sqrt(u)}[wrong]  # fmt: skip
    found = calibration.summary(ranks(u))
    assert found[WRONG].any(axis=1).all()


def test_the_exact_sampler_is_calibrated_and_the_rest_have_their_rows():
    rows = calibration.ranks()
    assert set(rows["method"]) == set(study_calibration.CHOSEN)
    assert set(calibration.PLACES) == set(study_calibration.PLACES)
    found = calibration.summary(rows)
    exact = found[found["method"] == "NUTS"]
    assert not exact[WRONG].any(axis=None)
    assert (found["n"] >= 50).all()
