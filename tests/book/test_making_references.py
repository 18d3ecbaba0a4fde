"""What is written after sampling, from draws that are made up: read back, judged, compared."""

import json

import numpy as np
import pytest
import xarray as xr

from benchmarks.references import make
from bnnbook import datasets


def draws_of(seed, shape, shift):
    """Logit-normal draws (chain, draw, input) with a fit's statistics."""
    z = 0.5 * np.random.default_rng(seed).normal(size=(*shape, 201))
    p = 1 / (1 + np.exp(-np.linspace(-3, 3, 201) - shift - z))
    dims = ("chain", "draw")
    coords = {"chain": range(shape[0]), "draw": range(shape[1])}
    stats = xr.Dataset({"diverging": (dims, np.zeros(shape, bool))})
    fit = xr.DataTree.from_dict({"sample_stats": stats})
    versions = json.dumps({"bnnbook": "0", "pymc": "6", "jax": "0"})
    fit.attrs = {"seconds": 1.0, "versions": versions, "log_evidence": -3.0, "log_evidence_se": 0.1}
    functions = xr.Dataset({"p": ((*dims, "obs"), p)}, coords=coords)
    return make.Sampled(fit, functions, cpu_seconds=2.0)


@pytest.mark.parametrize(("shift", "confirmed"), [(0.0, True), (0.1, False)])
def test_samplers_that_agree_are_confirmed_and_others_are_not(
    tmp_path, monkeypatch, shift, confirmed
):
    def sample(_posterior, _data, sampler, *, seed, scale):
        first = sampler.function == "sample_tempered"
        return draws_of(seed, (4, 400) if first else (6, 500), 0.0 if first else shift)

    monkeypatch.setattr(make, "sample", sample)
    record = make.make("boxes", folder=tmp_path / "reference_draws")
    assert record["converged"]
    assert record["confirmed"] == confirmed
    monkeypatch.setattr("bnnbook.datasets.references.files", lambda _: tmp_path)
    assert datasets.reference_names() == ["boxes"]
    known = datasets.reference("boxes")
    assert known.draws["p"].shape == (1000, 201)
    assert known.record["log_evidence"] == -3.0
    exact = draws_of(0, (4, 400), 0.0).functions["p"]
    kept = exact.isel(draw=np.linspace(0, 399, 250).astype(int)).to_numpy().reshape(1000, 201)
    off = np.abs(known.draws["p"] - kept)
    assert (off <= kept.std(axis=0) / 512 * 1.01).all()  # half a step of rounding
    assert known.record["second_scores"]["wasserstein_sds"] < 0.1 + 2 * shift
    bias = known.moments["p_mean"][1] - known.moments["p_mean"][0]
    assert (bias.mean() > 0.01) != confirmed
