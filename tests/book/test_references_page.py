"""The references and the scoreboard are what their scripts make; the page shows them."""

import numpy as np
import pytest

from benchmarks.references import make, page, scoreboard
from benchmarks.references.methods import METHODS
from benchmarks.references.posteriors import POSTERIORS
from bnnbook import datasets

NAME = "boxes"  # the quickest to sample
SCORED = "moons"
TABLE = scoreboard.table()


def test_the_page_shows_what_is_stored():
    assert page.PAGE.read_text(encoding="utf-8") == page.text()


def test_every_reference_has_a_recipe_and_the_record_of_it():
    for name in datasets.reference_names():
        posterior, record = POSTERIORS[name], datasets.reference(name).record
        assert record["model"] == make.short(posterior.model._asdict())
        assert record["data"] == posterior.data._asdict()
        assert record["inputs"] == posterior.inputs
        for stored, sampler in zip(record["samplers"], posterior.samplers, strict=True):
            assert stored["function"] == sampler.function
            assert stored["arguments"] == sampler.arguments


def test_a_reference_is_found_again_at_reduced_length():
    posterior = POSTERIORS[NAME]
    data = make.data_of(posterior)
    run = make.sample(posterior, data, posterior.samplers[0], seed=5, scale=0.4)
    again = make.moments(run.functions)
    stored = {key: value[0] for key, value in datasets.reference(NAME).moments.items()}
    found = make.differences(again, stored)
    assert found["largest"]["p_mean"] < found["bound"]
    assert found["root_mean_square"]["p_sd"] < 2  # short chains know the error of an sd badly
    # and would not be, were the posterior another one
    wrong = stored | {"p_mean": 1 - stored["p_mean"], "p_sd": 1.2 * stored["p_sd"]}
    missed = make.differences(again, wrong)
    assert missed["largest"]["p_mean"] > 3 * found["bound"]
    assert missed["root_mean_square"]["p_sd"] > 4


def test_every_row_of_the_scoreboard_is_of_a_reference_and_a_method():
    assert set(TABLE["posterior"]) <= set(datasets.reference_names())
    assert set(TABLE["method"]) <= set(METHODS)
    assert not TABLE.duplicated(["posterior", "method"]).any()
    assert TABLE["versions"].str.contains("jax").all()
    assert (TABLE["seconds"] > 0).all()


def test_a_row_of_the_scoreboard_is_found_again():
    method = "Pathfinder"
    again = scoreboard.row(SCORED, method)
    stored = TABLE.set_index(["posterior", "method"]).loc[SCORED, method]
    for key in ("total_variation", "sd_bias"):
        assert again[key] == pytest.approx(stored[key], abs=0.05)
    assert np.isfinite(again["wasserstein"])
