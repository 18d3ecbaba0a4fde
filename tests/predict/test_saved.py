"""A fit and its predictor in a file: read in a fresh process, and refused when it is damaged."""

import datetime
import os
import stat
import subprocess
import sys

import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr

from bnnbook import inference, models, predict

RNG = np.random.default_rng(2)
FRAME = pd.DataFrame({"a": RNG.normal(size=12), "b": RNG.normal(size=12)})
Y = 50 + 9 * FRAME.a


def leveled():
    with pm.Model(coords={"group": ["u", "v", "w"]}) as model:
        x, i = pm.Data("x", FRAME.a.to_numpy()), pm.Data("i", np.arange(12) % 3)
        pm.Deterministic("mu", pm.Normal("level", dims="group")[i] * pm.HalfNormal("s") + x)
        pm.Normal("obs", model["mu"], 1.0, observed=Y)
    return model, {"x": np.linspace(-1, 1, 5), "i": np.array([0, 1, 2, 1, 0])}


def network():
    model = models.mlp_regression(FRAME, Y, (3,))
    return model, FRAME.iloc[:5]


def draws(model):
    rng = np.random.default_rng(0)
    shapes = model.eval_rv_shapes()
    variables = {
        rv.name: (
            ("chain", "draw", *model.named_vars_to_dims.get(rv.name, ())),
            rng.normal(size=(2, 6, *shapes[rv.name])),
        )
        for rv in model.free_RVs
    }
    coords = {d: np.asarray(v) for d, v in model.coords.items() if d != "obs_id"}
    return xr.DataTree.from_dict({"posterior": xr.Dataset(variables, coords)})


SCRIPT = """
import sys, numpy as np
import bnnbook
from bnnbook import predict
predictor, fit = predict.load(sys.argv[1])
new = dict(np.load(sys.argv[2]))
new = new if len(new) > 1 else next(iter(new.values()))
found = predictor(fit, new)
np.savez(sys.argv[3], **{k: v.to_numpy() for k, v in found.data_vars.items()})
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "fit.bnn"
    model, new = leveled()
    fit = draws(model)
    predict.save(path, model, fit)
    return path, model, fit, new


def test_equal_in_a_fresh_process(saved, tmp_path):
    path, model, fit, new = saved
    np.savez(tmp_path / "new.npz", **new)
    args = [sys.executable, "-c", SCRIPT, path, tmp_path / "new.npz", tmp_path / "found.npz"]
    subprocess.run(list(map(str, args)), check=True, cwd=tmp_path)
    right = predict.compile_predictor(model, "mu")(fit, new)["mu"]
    np.testing.assert_allclose(np.load(tmp_path / "found.npz")["mu"], right, rtol=1e-12)


def test_checks_are_saved_too(saved):
    path, _, fit, new = saved
    predictor, kept = predict.load(path)
    xr.testing.assert_equal(kept["posterior"].to_dataset(), fit["posterior"].to_dataset())
    for bad in (3, -1):
        with pytest.raises(ValueError, match=f"i must index .* got {bad} in row 0"):
            predictor(kept, new | {"i": np.full(5, bad)})
    with pytest.raises(ValueError, match="labels of group"):
        predictor(kept["posterior"].to_dataset().assign_coords(group=list("xyz")), new)


def test_a_network_without_its_data(tmp_path):
    model, new = network()
    fit = draws(model)
    predict.save(tmp_path / "net", model, fit, thin=4)
    predictor, kept = predict.load(tmp_path / "net")
    assert predictor.outputs == ("mu", "sigma")
    assert kept["posterior"].sizes["draw"] == 2
    right = predict.compile_predictor(model, ["mu", "sigma"])(fit, new)
    for data in (new, new[["b", "a"]]):
        found = predictor(kept, data)
        for name in ("mu", "sigma"):
            np.testing.assert_allclose(found[name], right[name][:, ::4], rtol=1e-12)
    with pytest.raises(ValueError, match=r"missing \['b'\]"):
        predictor(kept, new.rename(columns={"b": "c"}))
    long = RNG.normal(size=(2100, 2))
    again = predict.compile_predictor(model, "mu")(kept, long)["mu"]
    np.testing.assert_allclose(predictor(kept, long)["mu"], again, rtol=1e-12)


def test_damaged_files_are_refused(saved, tmp_path):
    content = saved[0].read_bytes()
    middle = len(content) // 2
    for bad, message in [
        (content[:-1], "was cut or altered"),
        (content[:middle], "was cut or altered"),
        (content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :], "cut or altered"),
        (b"", "is not a file of predict.save"),
        (b"PK" + content, "is not a file of predict.save"),
        (content.replace(b"predictor 2 ", b"predictor 7 ", 1), "incompatible version: format 7"),
    ]:
        (tmp_path / "bad").write_bytes(bad)
        with pytest.raises(ValueError, match=message):
            predict.load(tmp_path / "bad")


def test_a_failure_leaves_the_file_and_nothing_else(saved):
    path, model, fit, _ = saved
    before = path.read_bytes()
    with pytest.raises(ValueError, match="posterior lacks s"):
        predict.save(path, model, fit["posterior"].to_dataset().drop_vars("s"))
    with pytest.raises(ValueError, match="thin must be at least 1"):
        predict.save(path, model, fit, thin=0)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


DAYS = pd.date_range("2020", periods=3)
LABELS = {
    "times": list(DAYS + pd.Timedelta("90min")),
    "nanoseconds": DAYS.to_numpy().astype("datetime64[ns]"),
    "days": [datetime.date(2020, 1, k) for k in (1, 2, 3)],
    "bytes": [b"a", b"b", b"c"],
    "mixed": ["a", 1, 2.5],
}


def labelled(labels):
    """A variable with labels, and data with labels of the same kind that no variable has."""
    with pm.Model(coords={"group": labels, "knot": labels}) as model:
        x = pm.Data("x", FRAME.a.to_numpy(), dims="obs_id")
        knots = pm.Data("knots", np.arange(3.0), dims="knot")
        level = pm.Normal("level", dims="group")
        pm.Deterministic("mu", x[:, None] * level, dims=("obs_id", "group"))
        pm.Deterministic("basis", x[:, None] * level.sum() - knots, dims=("obs_id", "knot"))
        pm.Normal("obs", model["mu"].sum(1), 1.0, observed=Y, dims="obs_id")
    return model


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_kind_are_compared_before_and_after(kind, tmp_path):
    model = labelled(LABELS[kind])
    fit = inference.fit_map(model, n_starts=1, seed=1, progressbar=False)
    new = np.linspace(-1, 1, 5)
    own = predict.compile_predictor(model, ["mu", "basis"])
    predict.save(tmp_path / "fit", model, fit)
    read, kept = predict.load(tmp_path / "fit")
    turned = fit["posterior"].to_dataset().isel(group=[2, 0, 1])
    right = own(fit, new)
    for predictor, given in ((own, turned), (read, kept), (read, fit), (read, turned)):
        found = predictor(given, new)
        np.testing.assert_allclose(found["mu"], right["mu"], rtol=1e-12)
        np.testing.assert_allclose(found["basis"], right["basis"], rtol=1e-12)
        assert len(found["group"]) == 3
    with pytest.raises(ValueError, match="labels of group in posterior variable level"):
        read(turned.assign_coords(group=["x", "y", "z"]), new)


def test_what_a_file_cannot_hold_is_named(saved, tmp_path):
    _, model, fit, _ = saved
    odd = labelled(list(pd.period_range("2020", periods=3, freq="D")))
    with pytest.raises(
        ValueError, match=r"labels of .* must be numbers, strings or dates .*Period"
    ):
        predict.save(tmp_path / "odd", odd, draws(odd))
    dated = fit.copy()
    dated.attrs["when"] = datetime.date(2020, 1, 1)
    with pytest.raises(
        TypeError, match=r"attribute 'when' of the fit must be what JSON can .*date"
    ):
        predict.save(tmp_path / "odd", model, dated)
    with pytest.raises(
        FileNotFoundError, match=r"path must be in a folder that exists, got .*none"
    ):
        predict.save(tmp_path / "none" / "fit", model, fit)
    renamed = fit["posterior"].to_dataset().isel(chain=0, drop=True).rename(draw="particle")
    with pytest.raises(ValueError, match=r"thin needs .* 'draw' or 'sample', got \['particle'\]"):
        predict.save(tmp_path / "odd", model, renamed, thin=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="who may read a file is told otherwise elsewhere")
def test_others_may_read_it_as_any_new_file_or_as_before(saved, tmp_path):
    _, model, fit, _ = saved
    path, plain = tmp_path / "fit", tmp_path / "plain"
    plain.touch()
    predict.save(path, model, fit)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    path.chmod(0o640)
    predict.save(path, model, fit)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_an_interruption_leaves_what_was_there(saved, monkeypatch):
    path, model, fit, new = saved
    before = path.read_bytes()

    def stopped(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stopped)
    with pytest.raises(KeyboardInterrupt):
        predict.save(path, model, fit)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    predictor, kept = predict.load(path)
    assert predictor(kept, new)["mu"].sizes["obs"] == 5
