"""Image data: the real files where they are at hand, and every way a download can go wrong."""

import gzip
import hashlib
import os
import struct
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from bnnbook import datasets
from bnnbook.datasets import idx_files, images

DATA = os.environ.get("BNNBOOK_DATA_DIR")


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def source(tmp_path):
    """Four small files on a local server, and a source whose second mirror has them."""
    rng = np.random.default_rng(0)
    served = tmp_path / "served"
    served.mkdir()
    files = {}
    for part, n in {"train": 6, "t10k": 4}.items():
        for kind, array in {
            "images-idx3": rng.integers(0, 256, (n, 28, 28)),
            "labels-idx1": rng.integers(0, 10, n),
        }.items():
            name = f"{part}-{kind}-ubyte.gz"
            (served / name).write_bytes(idx(array))
            files[name] = hashlib.sha256((served / name).read_bytes()).hexdigest()
    handler = partial(SimpleHTTPRequestHandler, directory=str(served))
    handler.func.log_message = lambda *_: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    yield replace(idx_files.MNIST, mirrors=(address + "nothing/", address), files=files)
    server.shutdown()


def offline(source):
    return replace(source, mirrors=("http://127.0.0.1:9/a/", "http://127.0.0.1:9/b/"))


def test_second_mirror_serves_and_the_files_are_used_again(source, tmp_path):
    paths = idx_files.fetch(source, tmp_path / "data")
    assert set(paths) == set(source.files)
    assert idx_files.fetch(offline(source), tmp_path / "data") == paths
    assert not list((tmp_path / "data").rglob("*.part"))


def test_environment_names_the_folder(source, tmp_path, monkeypatch):
    monkeypatch.setenv("BNNBOOK_DATA_DIR", str(tmp_path / "here"))
    paths = idx_files.fetch(source)
    assert all(path.parent == tmp_path / "here" / "mnist" for path in paths.values())


def test_dataset_from_files(source, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MNIST", source)
    data = datasets.mnist(tmp_path / "data")
    assert data.X_train.shape == (6, 784)
    assert data.X_train.dtype == np.float32
    assert 0 <= data.X_train.min() <= data.X_train.max() <= 1
    assert data.y_test.dtype == np.int64
    raw = idx_files.read_idx(tmp_path / "data" / "mnist" / "t10k-images-idx3-ubyte.gz")
    np.testing.assert_array_equal((data.X_test.reshape(-1, 28, 28) * 255).round(), raw)


def test_offline_says_why_and_the_two_ways_out(source, tmp_path):
    with pytest.raises(datasets.DataUnavailableError) as caught:
        idx_files.fetch(offline(source), tmp_path)
    message = str(caught.value)
    assert "MNIST: could not get train-images-idx3-ubyte.gz" in message
    assert "http://127.0.0.1:9/a/: ConnectionError" in message
    assert "http://127.0.0.1:9/b/: ConnectionError" in message
    assert "connect to the network" in message
    assert "BNNBOOK_DATA_DIR" in message


@pytest.mark.parametrize("damage", ["corrupt", "truncated"])
def test_damaged_file_is_named_kept_aside_and_replaced(source, tmp_path, damage):
    path = idx_files.fetch(source, tmp_path)["train-labels-idx1-ubyte.gz"]
    good = path.read_bytes()
    bad = good[:-4] if damage == "truncated" else good[:-1] + b"!"
    path.write_bytes(bad)
    with pytest.warns(UserWarning, match=r"train-labels-idx1-ubyte.gz is damaged .* kept aside as"):
        idx_files.fetch(source, tmp_path)
    assert path.read_bytes() == good
    (aside,) = path.parent.glob("*.damaged-*")
    assert aside.read_bytes() == bad


def test_corrupt_download_is_not_kept(source, tmp_path):
    wrong = replace(source, files=dict.fromkeys(source.files, "0" * 64))
    with pytest.raises(datasets.DataUnavailableError, match="ValueError: SHA256 hash"):
        idx_files.fetch(wrong, tmp_path / "data")
    assert not [p for p in (tmp_path / "data").rglob("*") if p.is_file()]


def test_read_only_folder_works_if_the_files_are_there(source, tmp_path, monkeypatch):
    idx_files.fetch(source, tmp_path)
    monkeypatch.setattr(idx_files.os, "access", lambda *_: False)
    assert len(idx_files.fetch(offline(source), tmp_path)) == 4
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(datasets.DataUnavailableError, match="no permission to write in"):
        idx_files.fetch(source, tmp_path)


def test_data_dir_that_is_a_file(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(datasets.DataUnavailableError, match="could not get"):
        idx_files.fetch(source, tmp_path / "file")


def test_many_threads_at_once(source, tmp_path):
    results, errors = [], []

    def work():
        try:
            results.append(idx_files.fetch(source, tmp_path))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(results) == 4
    assert len(list((tmp_path / "mnist").iterdir())) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip at all", "is truncated or not gzip"),
        (idx(np.zeros((3, 2, 2)))[:-5], "is truncated or not gzip"),
        (gzip.compress(b"\x00\x00\x0d\x03" + bytes(20)), "must start with the IDX magic number"),
        (gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x05abc"), r"must hold \(5,\) bytes, got 3"),
    ],
    ids=["no gzip", "cut short", "other magic number", "too few bytes"],  # gzip holds the time
)
def test_files_that_are_not_idx(tmp_path, content, message):
    path = tmp_path / "bad-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad-idx3-ubyte.gz " + message):
        idx_files.read_idx(path)


@pytest.mark.skipif(not DATA, reason="BNNBOOK_DATA_DIR is not set")
@pytest.mark.parametrize("load", [datasets.mnist, datasets.fashion_mnist])
def test_real_files(load):
    data = load()
    assert data.X_train.shape == (60_000, 784)
    assert data.X_test.shape == (10_000, 784)
    assert data.X_train.max() == 1
    assert set(np.unique(data.y_train)) == set(range(10))
    assert str(Path(DATA).name) not in data.description


def test_digits_and_patches():
    data = datasets.digits()
    assert data.X_train.shape == (1347, 64)
    assert data.X_test.shape == (450, 64)
    assert data.X_train.dtype == np.float32
    assert data.X_train.max() == 1
    share = np.bincount(data.y_test) / 450
    np.testing.assert_allclose(share, np.bincount(data.y_train) / 1347, atol=0.01)
    two = datasets.digits([8, 3])
    np.testing.assert_array_equal(two.X_train[two.y_train == 1], data.X_train[data.y_train == 3])
    np.testing.assert_array_equal(two.X_test[two.y_test == 0], data.X_test[data.y_test == 8])
    assert set(two.y_train) == {0, 1}
    for wrong in ([3], [3, 3], [3, 10]):
        with pytest.raises(ValueError, match=r"classes must be two or more different digits"):
            datasets.digits(wrong)
    patches = datasets.photo_patches(seed=0)
    assert patches.X_test.shape == (450, 64)
    np.testing.assert_array_equal(patches.X_test.max(axis=1), 1)
    assert patches.X_test.std(axis=1).min() > 0.05
    np.testing.assert_array_equal(patches.X_test, datasets.photo_patches(seed=0).X_test)
    assert datasets.photo_patches(20, 28, seed=1).X_test.shape == (10, 784)
    with pytest.raises(ValueError, match="n must be an integer of at least 2, got 1"):
        datasets.photo_patches(1, seed=0)
    with pytest.raises(ValueError, match="size must be an integer from 1 to 427, got 500"):
        datasets.photo_patches(10, 500, seed=0)


def test_rotation():
    corner = np.zeros((1, 9))
    corner[0, 0] = 1.0  # upper left
    turned = datasets.rotate_images(corner, 90).reshape(3, 3)
    assert np.unravel_index(turned.argmax(), (3, 3)) == (2, 0)  # lower left: counter-clockwise
    X = datasets.digits().X_test
    np.testing.assert_allclose(datasets.rotate_images(X, 360), X, atol=1e-4)
    with pytest.raises(ValueError, match=r"X must hold square images.*got shape \(2, 3\)"):
        datasets.rotate_images(np.zeros((2, 3)), 10)
