"""Compiled code is shared by models that differ in their data, and by no others."""

import os
import subprocess
import sys

import jax
import numpy as np
import pymc as pm
import pytest

from bnnbook import inference
from bnnbook.density import compile_log_density


def build(seed=0, *, n=8, name="w", sd=1.0, size=2, upper=None):
    rng = np.random.default_rng(seed)
    with pm.Model() as model:
        w = pm.Normal(name, 0, sd, shape=size)
        pm.Normal("obs", pm.Data("X", rng.normal(size=(n, size))) @ w, 1.0,
                  observed=pm.Data("y", rng.normal(size=n)))  # fmt: skip
        if upper is not None:
            pm.Uniform("u", 0, pm.Data("upper", upper))
    return model


@pytest.fixture(scope="module")
def key():
    return compile_log_density(build()).key


def test_models_that_differ_in_their_data_have_one_key(key):
    other = compile_log_density(build(seed=1)).key
    assert key == other
    assert hash(key) == hash(other)


@pytest.mark.parametrize("change", [{"name": "v"}, {"sd": 2.0}, {"size": 3}, {"upper": 1.0}])
def test_other_models_have_other_keys(change, key):
    assert key != compile_log_density(build(**change)).key


def test_a_sampler_compiles_once_for_data_of_a_shape():
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None
    )
    settings = {"draws": 5, "step_size": 0.1, "n_steps": 2, "chains": 2, "progressbar": False}
    inference.sample_hmc(build(), seed=1, **settings)
    assert compiled
    compiled.clear()
    first = inference.sample_hmc(build(seed=1), seed=1, **settings)
    second = inference.sample_hmc(build(seed=2), seed=1, **settings)
    assert not compiled
    assert (first["posterior"]["w"] != second["posterior"]["w"]).any()  # each from its own data


def test_values_in_a_transform_are_not_shared():
    """The bound of a uniform is data: the log likelihood of a fit must not keep the first's."""
    for upper in (1.0, 5.0):
        model = build(upper=upper)
        density = compile_log_density(model)
        fit = inference.sample_hmc(
            model, draws=5, step_size=0.01, n_steps=2, chains=2, seed=1, progressbar=False
        )
        terms = inference.log_likelihood(fit, model)["log_likelihood"]["obs"]
        w = fit["posterior"]["w"].to_numpy()[0, 0]
        x, y = (dict(zip(density.data_names, density.data, strict=True))[k] for k in ("X", "y"))
        expected = -0.5 * np.log(2 * np.pi) - 0.5 * (y - x @ w) ** 2
        np.testing.assert_allclose(terms[0, 0], expected, rtol=1e-6)
        assert np.isfinite(terms).all()


ALONE = """
import sys, warnings
import numpy as np, pymc as pm
from bnnbook import inference, predict
warnings.simplefilter("error")
with pm.Model() as model:
    w = pm.Normal("w", shape=2)
    mu = pm.Deterministic("mu", pm.Data("X", np.eye(2)[[0, 1, 0, 1]]) @ w)
    pm.Normal("obs", mu, pm.HalfNormal("sigma"), observed=pm.Data("y", np.arange(4.0)))
fit = inference.fit_map(model, seed=0, progressbar=False)
predict.compile_predictor(model, "mu")(fit["posterior"], np.eye(2))
print("numba" in sys.modules)
"""


def test_nothing_is_compiled_by_pytensor_for_itself(tmp_path):
    """Its own mode would import Numba and compile for more than a second."""
    env = {**os.environ, "PYTENSOR_FLAGS": f"base_compiledir={tmp_path}"}
    found = subprocess.run([sys.executable, "-c", ALONE], env=env, capture_output=True, text=True)
    assert found.stdout.split() == ["False"], found.stderr
