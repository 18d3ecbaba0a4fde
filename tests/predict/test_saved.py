"""A fit and its predictor in a file: read in a fresh process, and refused when it is damaged."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pymc as pm
import pytest
import xarray as xr

from bnnbook import models, predict

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
