"""Results as files: netCDF by both libraries and Zarr give back what was written."""

import warnings
from contextlib import nullcontext

import arviz as az
import numpy as np
import pytest
import xarray as xr

from bnnbook import inference

QUIET = {"seed": 0, "progressbar": False}
SHORT = {
    "fit_map": {},
    "fit_ensemble": {"n_members": 2, "max_steps": 5},
    "fit_laplace": {"draws": 30},
    "fit_advi": {"n": 50, "learning_rate": 0.1, "draws": 30},
    "sample_nuts": {"draws": 20, "tune": 20, "chains": 2},
    "sample_sgmcmc": {"draws": 20, "tune": 5, "chains": 2, "batch_size": 10},
}


@pytest.fixture(scope="module", params=SHORT)
def fit(request, line):
    model, *_ = line
    arguments = [model]
    if request.param == "sample_sgmcmc":
        arguments.append(inference.sgld(1e-4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", inference.ConvergenceWarning)  # they are short
        return getattr(inference, request.param)(*arguments, **SHORT[request.param], **QUIET)


@pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf", "zarr"])
def test_a_file_gives_back_the_result(fit, engine, tmp_path):
    path = tmp_path / "fit"
    if engine == "zarr":
        fit.to_zarr(path)
    else:
        fit.to_netcdf(path, engine=engine)
    with xr.open_datatree(path, engine=engine) as read:
        assert set(read.children) == set(fit.children)
        for group, tree in fit.children.items():
            xr.testing.assert_equal(read[group].to_dataset(), tree.to_dataset())
        for name, value in fit.attrs.items():
            np.testing.assert_array_equal(read.attrs[name], value)


def test_leave_one_out_takes_every_method(fit, line):
    few = fit["posterior"].sizes["chain"] * fit["posterior"].sizes["draw"] < 25
    with pytest.warns(UserWarning, match="at least 25 draws") if few else nullcontext():
        tree = inference.log_likelihood(fit, line[0])
    if not few:
        assert np.isfinite(az.loo(tree).elpd)
