"""UCI tables: rows, splits and refusals; the files themselves where they are to be had."""

import os
from pathlib import Path

import numpy as np
import pytest

from bnnbook import datasets
from bnnbook.datasets import tables

FOLDER = Path(os.environ.get("BNNBOOK_DATA_DIR", "nowhere")) / "uci"
needs_files = pytest.mark.skipif(not FOLDER.is_dir(), reason="UCI files are not on this machine")
SIZES = {  # rows and inputs, as the splits' publication has them
    "yacht": (308, 6), "energy": (768, 8), "concrete": (1030, 8), "wine-quality-red": (1599, 11),
    "kin8nm": (8192, 8), "power-plant": (9568, 4), "naval-propulsion-plant": (11934, 16),
    "protein-tertiary-structure": (45730, 9), "airfoil": (1503, 5),
    "bike-sharing-hour": (17379, 12),
}  # fmt: skip


@needs_files
@pytest.mark.parametrize("name", datasets.UCI)
def test_rows_and_inputs(name):
    data = datasets.uci(name)
    assert (len(data.X_train) + len(data.X_test), data.X_train.shape[1]) == SIZES[name]
    share = 0.2 if name in ("airfoil", "bike-sharing-hour") else 0.1
    assert len(data.X_test) == pytest.approx(share * SIZES[name][0], abs=1)
    assert data.name == f"{name}, split 0"


@needs_files
def test_splits_partition_the_rows_and_differ():
    splits = [datasets.uci("yacht", k) for k in (0, 19)]
    for data in splits:
        X = np.concatenate([data.X_train, data.X_test])
        rows = np.c_[X, np.concatenate([data.y_train, data.y_test])]
        table = np.loadtxt(FOLDER / "yacht" / "data.txt")
        assert np.array_equal(rows[np.lexsort(rows.T)], table[np.lexsort(table.T)])
    assert not np.array_equal(splits[0].y_test, splits[1].y_test)
    first = np.loadtxt(FOLDER / "yacht" / "index_test_0.txt").astype(int)
    assert np.array_equal(splits[0].y_test, np.loadtxt(FOLDER / "yacht" / "data.txt")[first, 6])


@needs_files
@pytest.mark.parametrize("column", [0, 5])
def test_gap_holds_out_the_middle_third(column):
    data = datasets.uci("yacht", f"gap:{column}")
    assert len(data.X_test) == 308 * 2 // 3 - 308 // 3
    low, high = data.X_test[:, column].min(), data.X_test[:, column].max()
    outside = data.X_train[:, column]
    assert ((outside <= low) | (outside >= high)).all()
    assert (outside <= low).sum() >= 308 // 3
    assert (outside >= high).sum() >= 308 // 3


@needs_files
def test_bike_hours_are_the_rows_of_the_table_in_order():
    hours = datasets.bike_hours()
    assert hours.shape == (17379, 17)
    assert hours["dteday"].is_monotonic_increasing
    assert str(hours["dteday"].iloc[0].date()) == "2011-01-01"
    assert (hours["casual"] + hours["registered"] == hours["cnt"]).all()
    data = datasets.uci("bike-sharing-hour")
    counts = np.sort(np.concatenate([data.y_train, data.y_test]))
    assert np.array_equal(np.sort(hours["cnt"]), counts)


@needs_files
def test_bike_inputs_have_no_part_of_the_target():
    data = datasets.uci("bike-sharing-hour")
    for column in data.X_train.T:
        assert abs(np.corrcoef(column, data.y_train)[0, 1]) < 0.5  # registered riders have .97


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        ("boston", 0, "name must be one of"),
        ("yacht", 20, "split must be 0 to 19"),
        ("yacht", -1, "split must be 0 to 19"),
        ("yacht", True, "split must be 0 to 19"),
        ("yacht", 0.5, "split must be 0 to 19"),
        ("protein-tertiary-structure", 5, "split must be 0 to 4"),
        ("yacht", "gap:6", "k from 0 to 5"),
        ("yacht", "gap", "k from 0 to 5"),
    ],
)
def test_refusals(name, split, message, tmp_path):
    folder = None if FOLDER.is_dir() else tmp_path
    if folder and name != "boston":
        pytest.skip("UCI files are not on this machine")
    with pytest.raises(ValueError, match=message):
        datasets.uci(name, split, data_dir=folder)


def test_a_damaged_file_is_not_used(tmp_path, monkeypatch):
    folder = tmp_path / "uci" / "yacht"
    folder.mkdir(parents=True)
    (folder / "data.txt").write_text("1 2 3\n")
    monkeypatch.setattr(tables, "SPLITS", "http://127.0.0.1:9/")
    with (
        pytest.warns(UserWarning, match="damaged"),
        pytest.raises(datasets.DataUnavailableError, match=r"data\.txt"),
    ):
        datasets.uci("yacht", data_dir=tmp_path)
    assert list(folder.glob("data.txt.damaged-*"))
