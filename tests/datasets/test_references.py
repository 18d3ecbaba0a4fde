"""Reference posteriors as files of the package: whole, checked, and what their records say."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import bnnbook
from bnnbook import datasets
from bnnbook.datasets import tables

FOLDER = Path(bnnbook.__file__).parent / "datasets" / "reference_draws"
NAMES = datasets.reference_names()


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A package folder of its own, which a test may damage."""
    shutil.copytree(FOLDER, tmp_path / "reference_draws")
    monkeypatch.setattr("bnnbook.datasets.references.files", lambda _: tmp_path)
    return tmp_path / "reference_draws"


@pytest.mark.parametrize("name", NAMES)
def test_a_reference_holds_what_its_record_says(name):
    known = datasets.reference(name)
    record = known.record
    assert known.name == name
    assert list(known.draws) == record["outputs"]
    for output, draws in known.draws.items():
        assert draws.dtype == np.float32
        assert 900 <= len(draws) <= 1000
        assert np.isfinite(draws).all()
        assert not draws.flags.writeable
        # what is kept is a part of what the moments are of
        mean, sd = (known.moments[f"{output}_{stat}"][0] for stat in ("mean", "sd"))
        off = np.abs(draws.mean(axis=0, dtype=float) - mean)
        assert off.max() < 6 * (sd / 10 + 1e-6).max()
    for sampler in record["samplers"]:
        fine = sampler["rhat"] <= 1.01 and min(sampler["ess_bulk"], sampler["ess_tail"]) >= 400
        assert sampler["converged"] == fine
        assert sampler["seconds"] > 0
    assert record["converged"] == all(s["converged"] for s in record["samplers"])
    largest = max(record["agreement"]["largest"].values())
    agree = largest <= record["agreement"]["bound"] and record["agreement"]["rhat_of_both"] <= 1.01
    assert record["confirmed"] == agree
    assert record["samplers"][0]["function"] != record["samplers"][1]["function"]
    assert {"bnnbook", "pymc", "jax"} <= set(record["versions"])


def test_files_are_small_and_all_of_them_are_noted():
    files = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert max(files.values()) < 1e6
    assert sum(files.values()) < 10e6
    noted = [line.split("  ")[1] for line in (FOLDER / "SHA256SUMS").read_text().splitlines()]
    assert sorted([*noted, "SHA256SUMS"]) == sorted(files)
    assert {Path(name).stem for name in noted} == set(NAMES)


def test_data_are_those_of_the_draws():
    data = datasets.reference_data("boxes")
    boxes = datasets.boxes(n=80, seed=1234)
    np.testing.assert_array_equal(data.X_train, boxes.X_train)
    known = datasets.reference("boxes")
    assert known.draws["p"].shape[1:] == data.X.shape[:-1] == known.gap.shape
    p = known.draws["p"].mean(axis=0)[: len(data.y)]
    assert np.mean((p > 0.5) == data.y) > 0.9  # held-out rows come first


def test_gaps_are_where_there_are_no_training_rows():
    data = datasets.reference_data("boxes")
    assert 10 < data.gap.sum() < 100
    distance = np.linalg.norm(data.X[data.gap][:, None] - data.X_train, axis=-1).min(axis=1)
    assert distance.min() > 0.6
    assert not data.gap[: len(data.y)].all()


def test_rows_of_a_table_that_is_not_there_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "SPLITS", "http://127.0.0.1:9/")
    tabular = [n for n in NAMES if datasets.reference(n).record["data"]["function"] == "uci"]
    assert tabular
    with pytest.raises(datasets.DataUnavailableError, match=r"(?s)could not get data\.txt.*put"):
        datasets.reference_data(tabular[0], data_dir=tmp_path)


def test_an_unknown_name_lists_those_that_exist():
    for load in (datasets.reference, datasets.reference_data):
        with pytest.raises(ValueError, match=r"name must be one of .*'boxes'.*, got 'bxes'"):
            load("bxes")


@pytest.mark.parametrize("ending", ["npz", "json"])
def test_an_altered_file_is_refused(copy, ending):
    path = copy / f"boxes.{ending}"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        datasets.DataUnavailableError, match=rf"boxes\.{ending} .* SHA-256 .*remake"
    ):
        datasets.reference("boxes")


def test_a_cut_or_missing_file_is_refused(copy):
    path = copy / "boxes.npz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(datasets.DataUnavailableError, match="corrupt"):
        datasets.reference("boxes")
    path.unlink()
    with pytest.raises(datasets.DataUnavailableError, match=r"not whole.*boxes\.npz"):
        datasets.reference("boxes")


def test_records_hold_names_of_rows_and_no_rows_of_tables_that_may_not_be_copied():
    for name in NAMES:
        record = json.loads((FOLDER / f"{name}.json").read_text())
        assert set(record["data"]) == {"function", "arguments"}
        with np.load(FOLDER / f"{name}.npz") as archive:
            allowed = {f"{o}{end}" for o in record["outputs"] for end in (
                "", "_mean", "_sd", "_mean_mcse", "_sd_mcse",
            )}  # fmt: skip
            assert set(archive.files) == allowed | {"gap"}
