"""What the full-data samplers share: starts, seeds, precision, Ctrl-C, failures, compiling once."""

import _thread
import subprocess
import sys
import time

import numpy as np
import pymc as pm
import pytest

from bnnbook import inference, models
from bnnbook.inference.chains import BLOCK, run_chains

HMC = {"step_size": 0.05, "n_steps": 3}


@pytest.mark.parametrize(
    ("name", "settings"), [("sample_hmc", HMC), ("sample_nuts", {"target_accept": 0.9})]
)
def test_chains_begin_where_they_are_told(two_modes, name, settings):
    signs = np.array([1, -1, -1, 1])
    fit = getattr(inference, name)(
        two_modes[0], start={"theta": 10.0 * signs}, draws=20, tune=20, seed=0,
        progressbar=False, **settings,
    )  # fmt: skip
    # no chain crosses from one mode to the other
    assert (np.sign(fit["posterior"]["theta"]) == signs[:, None]).all()
    again = getattr(inference, name)(
        two_modes[0], start=10.0 * signs[:, None], draws=20, tune=20, seed=0,
        progressbar=False, **settings,
    )  # fmt: skip
    np.testing.assert_array_equal(fit["posterior"]["theta"], again["posterior"]["theta"])
    with pytest.raises(ValueError, match=r"start must have shape \(4, 1\), got \(3, 1\)"):
        getattr(inference, name)(two_modes[0], start=np.zeros((3, 1)), seed=0, **settings)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("sample_hmc", HMC), ("sample_tempered", {"tune": 200, "n_temperatures": 3})],
)
def test_same_seed_same_draws(line, name, settings):
    def draws(seed):
        fit = getattr(inference, name)(
            line[0], draws=5, chains=2, seed=seed, progressbar=False, **settings
        )
        return fit["posterior"]["beta"].to_numpy()

    first = draws(4)
    np.testing.assert_array_equal(first, draws(4))
    assert not np.allclose(first[0], first[1])  # chains have seeds of their own
    if name == "sample_hmc":
        assert not np.allclose(first, draws(5))


def interrupting(_state, _losses, step):
    """Callback that presses Ctrl-C after the third block."""
    if step >= 300:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("sample_hmc", HMC),
        ("sample_nuts", {"tune": 50}),
        ("sample_tempered", {"n_temperatures": 2, "thin": 1, "tune": 100}),
    ],
)
@pytest.mark.parametrize("cores", [1, 3])
def test_ctrl_c_keeps_what_every_chain_has_and_says_so(line, capsys, name, settings, cores):
    fit = getattr(inference, name)(
        line[0], draws=50_000, chains=3, seed=0, cores=cores, progressbar=False,
        **({"tune": 0} | settings), callbacks=[interrupting],
    )  # fmt: skip
    assert fit.attrs["interrupted"] == 1
    assert fit.attrs["stopped"] == "interrupted"
    n = fit["posterior"].sizes["draw"]
    assert 300 <= n < 50_000
    kept = f"interrupted: kept {n:,} of 50,000 draws in each of 3 chains"
    assert kept in capsys.readouterr().out


def test_ctrl_c_before_the_first_draws_raises(line):
    def chain(number):
        for block in range(1000):
            if number == 0 and block == 1:
                _thread.interrupt_main()
            time.sleep(0.01)
            yield {"theta": np.zeros((BLOCK, 1)), "lp": np.zeros(BLOCK)} if block > 500 else None

    run = run_chains(
        lambda *_: chain, line[0], None, seed=0, method="test",
        settings={"chains": 2, "dtype": "float64"}, label="",
        iterations=100, cores=1, executor=None, progressbar=False,
    )  # fmt: skip
    assert run.ended == "interrupted"
    with pytest.raises(KeyboardInterrupt, match="before every chain had its first draws"):
        _ = run.complete


def test_a_chain_that_fails_is_reported_at_once(line):
    ended = []

    def chain(number):
        for block in range(300):
            if number == 0 and block == 2:
                raise ArithmeticError("broken")
            time.sleep(0.02)
            yield {"theta": np.zeros((BLOCK, 1)), "lp": np.zeros(BLOCK)}
        ended.append(number)

    with pytest.raises(ArithmeticError, match="broken"):
        run_chains(
            lambda *_: chain, line[0], None, seed=0, method="test",
            settings={"chains": 2, "dtype": "float64"}, label="", iterations=100, cores=2,
            executor=None, progressbar=False,
        )  # fmt: skip
    assert not ended


@pytest.mark.parametrize("name", ["sample_hmc", "sample_nuts", "sample_tempered"])
def test_missing_blackjax_is_named(line, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "blackjax", None)
    with pytest.raises(ImportError, match=f"{name} needs BlackJAX: pip install blackjax"):
        getattr(inference, name)(line[0], seed=0, **(HMC if name == "sample_hmc" else {}))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sample_hmc", {**HMC, "draws": 10, "tune": 0}),
        ("sample_nuts", {"draws": 10, "tune": 10}),
        ("sample_tempered", {"draws": 10, "tune": 10, "n_temperatures": 2}),
    ],
)
def test_single_chain_is_allowed_with_a_warning(line, name, arguments):
    with pytest.warns(UserWarning, match="R-hat between chains needs chains > 1, got 1"):
        fit = getattr(inference, name)(line[0], chains=1, seed=0, progressbar=False, **arguments)
    assert fit["posterior"].sizes["chain"] == 1


def test_minibatch_models_are_refused():
    X, y = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    X_batch, y_batch = pm.Minibatch(X, y, batch_size=5)
    model = models.mlp_classifier(X_batch, y_batch, (2,), total_size=20)
    with pytest.raises(ValueError, match=r"model has pm\.Minibatch data; HMC needs the full data"):
        inference.sample_hmc(model, **HMC, seed=0)
    with pytest.raises(ValueError, match="parallel tempering needs the full data"):
        inference.sample_tempered(model, seed=0)


def bernoulli(labels):
    X = np.random.default_rng(0).normal(size=(80, 2))
    with pm.Model() as model:
        w = pm.Normal("w", 0, 1, shape=2)
        pm.Bernoulli("label", logit_p=pm.Data("X", X) @ w, observed=pm.Data("y", labels))
    return model


@pytest.mark.parametrize(
    ("name", "settings"), [("sample_hmc", HMC), ("sample_nuts", {}), ("sample_tempered", {})]
)
def test_data_outside_the_support_are_refused_before_the_first_step(name, settings):
    sample = getattr(inference, name)
    labels = np.arange(80) % 2 + 1
    with pytest.raises(ValueError, match=r"40 of 80 rows of observed variable label .* row 1"):
        sample(bernoulli(labels), seed=0, progressbar=False, **settings)
    with pytest.raises(ValueError, match=r"not finite at starting point 1: \d+ of 80 rows"):
        sample(
            bernoulli(labels - 1), seed=0, progressbar=False, chains=2,
            start=np.array([[0.0, 0.0], [1e308, 1e308]]), **settings,
        )  # fmt: skip


@pytest.mark.parametrize(("name", "settings"), [("sample_hmc", HMC), ("sample_nuts", {})])
def test_random_starts_of_density_0_are_drawn_again(name, settings):
    """The uniform jitter on (-1, 1) lies in the support, (0, inf), every other time."""
    with pm.Model() as model:
        theta = pm.Normal("theta", 0, 1)
        pm.Potential("support", pm.math.switch(theta > 0, 0.0, -np.inf))
        pm.Normal("obs", theta, 1.0, observed=[1.0])
    fit = getattr(inference, name)(
        model, draws=100, tune=100, seed=1, chains=4, progressbar=False, **settings
    )
    assert (fit["posterior"]["theta"] > 0).all()
    assert np.isfinite(fit["sample_stats"]["lp"]).all()


def test_gradient_that_is_not_finite_is_named():
    with pm.Model() as model:
        a = pm.Normal("a", 0, 1)
        b = pm.Normal("b", 0, 1)
        pm.Normal("obs", pm.math.sqrt(a) + b, 1.0, observed=[1.0])
    with pytest.raises(ValueError, match=r"gradient .* not finite at starting point 0, in a$"):
        inference.sample_nuts(model, start=np.zeros((2, 2)), chains=2, seed=0)


SCRIPT = """
import jax, numpy as np, pymc as pm
from bnnbook import inference
jax.config.update("jax_enable_x64", X64)
with pm.Model() as model:
    rate = pm.Gamma("rate", 3.0, 2.0)
    pm.Normal("obs", pm.Data("x", np.arange(3.0)) * rate, 1.0, observed=pm.Data("y", np.ones(3)))
settings = {"draws": 100, "tune": 100, "chains": 2, "seed": 0, "progressbar": False}
for fit in (
    inference.sample_hmc(model, step_size=0.3, n_steps=4, **settings),
    inference.sample_nuts(model, **settings),
    inference.sample_tempered(model, n_temperatures=3, **settings),
):
    rate = fit["posterior"]["rate"].to_numpy()
    assert rate.dtype == np.float64, rate.dtype
    print(float(rate.mean()).hex(), (rate == rate.astype(np.float32)).mean())
"""


def test_samplers_compute_in_double_precision_with_x64_off():
    """In a process of its own, since x64 is a setting of the whole process."""
    runs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT.replace("X64", x64)],
            capture_output=True,
            text=True,
            check=False,
        )
        for x64 in ("False", "True")
    ]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr + runs[1].stderr
    assert runs[0].stdout == runs[1].stdout  # the same draws to the last bit
    assert all(float(line.split()[1]) < 0.01 for line in runs[0].stdout.splitlines())
