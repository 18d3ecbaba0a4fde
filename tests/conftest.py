"""Models with known answers, shared by the tests, and numbers that depend on no order."""

import contextlib
import gc
import zlib

import numpy as np
import pymc as pm
import pytest
from hypothesis import settings

# graphs are many small objects that live: looking for garbage among them takes a tenth of the time
gc.set_threshold(20_000, 20, 50)

# a busy machine is slow, not wrong; and the same examples are tried everywhere
settings.register_profile("bnnbook", deadline=None, derandomize=True)
settings.load_profile("bnnbook")


@contextlib.contextmanager
def numbers_of(module, name):
    """Give a module's ``RNG`` a start of its own while the test or fixture ``name`` runs.

    The data of a test are then the same when it runs alone, first, or in another process.
    """
    before = getattr(module, "RNG", None)
    if before is None:
        yield
        return
    module.RNG = np.random.default_rng(zlib.crc32(name.encode()))
    try:
        yield
    finally:
        module.RNG = before


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef, request):
    module = (
        None if request.scope in ("package", "session") else request.node.getparent(pytest.Module)
    )
    with numbers_of(getattr(module, "obj", None), fixturedef.argname):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    module = item.getparent(pytest.Module)
    name = getattr(item, "originalname", None) or item.name
    with numbers_of(getattr(module, "obj", None), name):
        return (yield)


@pytest.fixture(scope="session")
def line():
    """Conjugate linear regression: model, closed-form mean and covariance, log evidence."""
    rng = np.random.default_rng(0)
    X = np.stack([np.ones(40), rng.normal(size=40)], axis=1)
    y = X @ [0.5, -1.0] + 0.5 * rng.normal(size=40)
    with pm.Model(coords={"term": ["intercept", "slope"]}) as model:
        inputs = pm.Data("X", X)
        beta = pm.Normal("beta", 0, 1, dims="term")
        mu = pm.Deterministic("mu", inputs @ beta)
        pm.Normal("obs", mu, 0.5, observed=pm.Data("y", y))
    precision = np.eye(2) + X.T @ X / 0.25
    covariance = np.linalg.inv(precision)
    mean = covariance @ X.T @ y / 0.25
    marginal = X @ X.T + 0.25 * np.eye(40)
    _, log_det = np.linalg.slogdet(marginal)
    evidence = -0.5 * (y @ np.linalg.solve(marginal, y) + log_det + 40 * np.log(2 * np.pi))
    return model, mean, covariance, evidence
