"""What the tests of samplers share."""

import arviz_stats as azs
import jax
import numpy as np
import pymc as pm
import pytest


@pytest.fixture(scope="session")
def two_modes():
    """Posterior with modes of weight 0.3 at +9.9 and 0.7 at -9.9, forty sds apart.

    The prior is symmetric, so that the weights are the mixture's; returns the log evidence too.
    """
    with pm.Model() as model:
        theta = pm.Normal("theta", 0, 5)
        pm.NormalMixture(
            "obs", w=np.array([0.3, 0.7]), mu=theta + np.array([-10.0, 10.0]),
            sigma=np.array([0.5, 0.5]), observed=np.array(0.0),
        )  # fmt: skip
    variance = 5.0**2 + 0.5**2
    return model, -0.5 * (100 / variance + np.log(2 * np.pi * variance))


@pytest.fixture(scope="session")
def z_scores():
    """Function: error of the mean in Monte Carlo standard errors, and these, by variable."""

    def scores(draws, truth):
        mcse = azs.mcse(draws.to_dataset(name="x"))["x"].to_numpy()
        return (draws.mean(["chain", "draw"]).to_numpy() - truth) / mcse, mcse

    return scores


@pytest.fixture
def compilations():
    """List that grows with every function that XLA compiles, or takes from the cache on disk."""
    seen = []

    def listen(event, _seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seen
    jax.monitoring.unregister_event_duration_listener(listen)
