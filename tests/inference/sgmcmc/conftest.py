"""Models with known answers."""

import numpy as np
import pymc as pm
import pytest
from sgmcmc_help import LAMBDAS


@pytest.fixture(scope="session")
def gaussian():
    """Three independent normal means with posterior precisions LAMBDAS and posterior mean 0."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(10, 3))
    y -= y.mean(axis=0)
    sd = np.sqrt(10 / (LAMBDAS - 1))
    with pm.Model() as model:
        theta = pm.Normal("theta", 0, 1, shape=3)
        pm.Normal("obs", theta, sd, observed=pm.Data("y", y))
    return model
