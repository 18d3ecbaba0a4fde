"""Ctrl-C, checkpoints and stores: nothing is lost, and nothing of others is taken or harmed."""

import shutil
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from sgmcmc_help import positive_regression, short, stop_at

from bnnbook import inference

SGLD = inference.sgld(1e-3)


def test_interrupted_run_returns_what_it_has(line):
    options = {"draws": 100_000, "thin": 2}
    whole = short(line[0], **options)["posterior"]["beta"]
    tree = short(line[0], callbacks=[stop_at(200)], **options)
    got = tree["posterior"]["beta"]
    assert tree.attrs["interrupted"] == 1
    assert tree.attrs["stopped"] == "interrupted"
    assert 0 < got.sizes["draw"] < 100_000
    np.testing.assert_array_equal(got, whole[:, : got.sizes["draw"]])
    for group in ("sample_stats", "posterior"):
        assert tree[group].sizes["draw"] == got.sizes["draw"]
    assert np.isfinite(tree["history"]["lp"]).all()


def test_interrupted_before_the_first_draw_is_an_interrupt(line):
    with pytest.raises(KeyboardInterrupt, match="before every chain had its first draw"):
        short(line[0], tune=10**7, callbacks=[stop_at(10)])


@pytest.mark.parametrize(
    ("kernel", "draws"),  # so many that no chain is done before it is told to stop
    [
        (inference.sgld(1e-3, preconditioner="rms"), 50_000),
        (inference.sghmc(1e-3, friction=0.1, control_variates=7), 10_000),
    ],
    ids=["rms", "sghmc, control variates"],
)
def test_resumed_run_draws_the_same(line, tmp_path, kernel, draws):
    options = {"draws": draws, "thin": 2, "tune": 50, "batch_size": 7}
    whole = short(line[0], kernel, **options)
    part = short(line[0], kernel, checkpoint=tmp_path, callbacks=[stop_at(200)], **options)
    assert part.attrs["interrupted"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["chain_0.npz", "chain_1.npz"]
    resumed = short(line[0], kernel, checkpoint=tmp_path, **options)
    assert not resumed.attrs["interrupted"]
    for group in ("posterior", "sample_stats", "history"):
        xr.testing.assert_equal(resumed[group].to_dataset(), whole[group].to_dataset())


def test_vectorized_run_goes_on_in_parallel_and_back(line, tmp_path):
    """Checkpoints are of chains, not of how they are run together."""
    options = {"draws": 20_000, "batch_size": 7}
    whole = short(line[0], chain_method="vectorized", **options)["posterior"]["beta"]
    for first, then in (("vectorized", "parallel"), ("parallel", "parallel")):
        folder = tmp_path / first
        short(
            line[0], checkpoint=folder, callbacks=[stop_at(200)], chain_method=first, **options
        )  # fmt: skip
        tree = short(line[0], checkpoint=folder, chain_method=then, **options)
        np.testing.assert_allclose(tree["posterior"]["beta"], whole, rtol=1e-9)


def test_checkpoints_of_others_and_broken_ones_are_refused_and_kept(line, tmp_path, monkeypatch):
    short(line[0], checkpoint=tmp_path)
    path = tmp_path / "chain_0.npz"
    good = path.read_bytes()

    def drifting(position, memory, gradient, noise, step):
        moved, memory = SGLD.update(position, memory, gradient, noise, step)
        return tuple(p + 1e-3 for p in moved), memory

    for other in (
        {"seed": 1}, {"draws": 11}, {"batch_size": 7}, {"dtype": "float32"},
        {"kernel": inference.sgld(2e-3)}, {"kernel": replace(SGLD, update=drifting)},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="belongs to another model, data, seed, kernel, sett"):
            short(line[0], checkpoint=tmp_path, **other)
    with pytest.raises(ValueError, match="belongs to another model"):
        short(positive_regression(), checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"holds chain_1\.npz, which belongs to another number of"):
        short(line[0], checkpoint=tmp_path, chains=1)
    with monkeypatch.context() as patch:
        patch.setattr("bnnbook.inference.sgmcmc.checkpoint.version", lambda _: "0")
        with pytest.raises(ValueError, match="belongs to another model"):
            short(line[0], checkpoint=tmp_path)
    assert path.read_bytes() == good
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(ValueError, match="truncated or not a checkpoint"):
        short(line[0], checkpoint=tmp_path)
    assert path.read_bytes() == good[: len(good) // 2]


def test_failed_write_keeps_the_last_checkpoint(line, tmp_path, monkeypatch):
    options = {"draws": 500_000, "checkpoint": tmp_path, "callbacks": [stop_at(200)]}
    assert short(line[0], **options).attrs["interrupted"]
    good = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*args, **kwargs):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("bnnbook.inference.sgmcmc.checkpoint.np.savez", full)
        with pytest.raises(OSError, match="no space left"):
            short(line[0], **options)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == good


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_store_holds_the_draws_and_the_statistics(tmp_path, dtype):
    options = {"batch_size": 7, "draws": 300, "thin": 2, "dtype": dtype}
    memory = short(positive_regression(), **options)
    stored = short(positive_regression(), store=tmp_path / "draws", max_bytes=1, **options)
    xr.testing.assert_allclose(
        stored["posterior"].to_dataset(), memory["posterior"].to_dataset(), rtol=1e-6
    )
    reopened = xr.open_datatree(tmp_path / "draws", engine="zarr", consolidated=False)
    assert reopened["posterior"].sizes == {"chain": 2, "draw": 300, "output": 2}
    assert list(reopened["posterior"]["output"].to_numpy()) == ["a", "b"]
    np.testing.assert_array_equal(reopened["sample_stats"]["lp"], memory["sample_stats"]["lp"])
    assert reopened["posterior"].attrs == memory["posterior"].attrs, "what predictions need"
    assert reopened.attrs["convention"] == memory.attrs["convention"]


def test_store_and_checkpoint_resume_together(line, tmp_path):
    options = {"draws": 10_000, "thin": 2, "batch_size": 7}
    places = {"checkpoint": tmp_path / "state", "store": tmp_path / "draws"}
    whole = short(line[0], **options)["posterior"]["beta"]
    part = short(line[0], callbacks=[stop_at(200)], **places, **options)["posterior"]["beta"]
    assert part.sizes["draw"] < 10_000
    np.testing.assert_array_equal(part, whole[:, : part.sizes["draw"]])
    resumed = short(line[0], **places, **options)["posterior"]["beta"]
    np.testing.assert_array_equal(resumed, whole)
    shutil.rmtree(tmp_path / "draws")
    with pytest.raises(ValueError, match="has none of the draws that checkpoint"):
        short(line[0], **places, **options)
    assert not (tmp_path / "draws").exists()


def test_store_of_another_run_or_none_is_refused_and_kept(line, tmp_path, monkeypatch):
    first = short(line[0], store=tmp_path / "draws")["posterior"]["beta"].to_numpy()
    with pytest.raises(ValueError, match="holds draws of another model, data, seed, kernel"):
        short(line[0], store=tmp_path / "draws", seed=1)
    kept = xr.open_datatree(tmp_path / "draws", engine="zarr", consolidated=False)
    np.testing.assert_array_equal(kept["posterior"]["beta"], first)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not a finished store of draws"):
        short(line[0], store=tmp_path / "notes")
    assert (tmp_path / "notes" / "mine.txt").read_text() == "mine"
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ImportError, match=r"store needs zarr: pip install 'bnnbook\[zarr\]'"):
        short(line[0], store=tmp_path / "new")


def test_killed_run_resumes_to_the_same_draws(tmp_path):
    """The process dies without a chance to save."""
    draws = 150_000
    script = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from sgmcmc_help import positive_regression, short
        short(
            positive_regression(), draws={draws}, checkpoint={str(tmp_path)!r},
            checkpoint_every=0.05,
        )
    """)
    process = subprocess.Popen([sys.executable, "-c", script])
    try:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob("chain_*.npz"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    files = sorted(tmp_path.glob("chain_*.npz"))
    steps = [int(np.load(path)["step"]) for path in files]
    assert len(files) == 2
    assert 0 < max(steps) < draws
    resumed = short(positive_regression(), draws=draws, checkpoint=tmp_path)["posterior"]["mu"]
    whole = short(positive_regression(), draws=draws)["posterior"]["mu"]
    np.testing.assert_array_equal(resumed, whole)
