"""A process in single precision, and JAX too: the same results, and no warning of a cast."""

import json
import subprocess
import sys

import numpy as np
import pytest

CODE = """
import numpy as np
from bnnbook import inference, models, predict


def results():
    quiet = {"seed": 1, "progressbar": False}
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 2))
    y = X @ [1.0, 2.0] + rng.normal(size=30)
    model = models.mlp_regression(X, y, (), heteroskedastic=False)
    mode = inference.fit_map(model, jacobian=True, **quiet)
    fits = {
        "map": mode,
        "laplace": inference.fit_laplace(model, mode=mode, **quiet),
        "advi": inference.fit_advi(model, 60, batch_size=10, learning_rate=0.01, **quiet),
    }
    predictor = predict.compile_predictor(model, "mu")
    values = {name: predictor(fit, X)["mu"] for name, fit in fits.items()}
    values["single"] = predict.compile_predictor(model, "mu", dtype="float32")(mode, X)["mu"]
    values["terms"] = inference.log_likelihood(fits["laplace"], model)["log_likelihood"]["obs"]
    return {name: value.to_numpy().mean(axis=(0, 1)).tolist() for name, value in values.items()}
"""
ALONE = """
import json, warnings
import pytensor
pytensor.config.floatX = "float32"
import jax
jax.config.update("jax_enable_x64", False)
warnings.simplefilter("ignore")
warnings.filterwarnings("error", ".*dtype")
"""


@pytest.mark.filterwarnings("ignore::bnnbook.inference.ConvergenceWarning")
def test_single_precision_of_the_process_changes_nothing():
    script = f"{ALONE}{CODE}print(json.dumps(results()))"
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    narrow = json.loads(run.stdout.splitlines()[-1])
    namespace = {}
    exec(CODE, namespace)
    for name, expected in namespace["results"]().items():
        # the inputs of one are rounded to single precision
        np.testing.assert_allclose(narrow[name], expected, rtol=1e-4, atol=1e-4, err_msg=name)
