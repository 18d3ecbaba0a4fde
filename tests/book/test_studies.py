"""The stored tables of chapters 1, 4, 5 and 7: what made them, and a part of each made again."""

import inspect
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
import study_calibration
import study_convolution
import study_mnist
import study_moons
import study_regression

from bnnbook import datasets, inference

DATA = Path(__file__).resolve().parents[2] / "book" / "chapters" / "data"
TABLES = {
    **{f"calibration_{name}": study_calibration for name in study_calibration.STUDIES},
    **{f"moons_{name}": study_moons for name in study_moons.STUDIES},
    **{f"regression_{name}": study_regression for name in study_regression.STUDIES},
    **{f"mnist_{name}": study_mnist for name in study_mnist.STUDIES},
    **{f"convolution_{name}": study_convolution for name in study_convolution.STUDIES},
}


def stored(name):
    return pd.read_csv(DATA / f"{name}.csv", comment="#")


@pytest.mark.parametrize("name", TABLES)
def test_each_table_says_what_made_it(name):
    first = (DATA / f"{name}.csv").read_text().splitlines()[0]
    script = Path(inspect.getfile(TABLES[name])).name
    assert first.startswith(f"# tools/{script} {name.split('_', 1)[1]}: ")
    assert "jax" in first
    assert " s on a shared machine" in first


def test_every_table_has_a_study():
    assert {path.stem for path in DATA.glob("*.csv")} == set(TABLES)


def test_ranks_of_the_calibration_are_reproduced():
    table = stored("calibration_ranks").set_index(["replication", "method"])
    (again,) = study_calibration.ranks(replications=[1], which=["NUTS"])
    for place in study_calibration.PLACES:
        assert again[f"u_{place}"] == pytest.approx(
            table.loc[(1, again["method"]), f"u_{place}"], abs=0.15
        )


def test_starts_on_the_moons_are_reproduced():
    """A shorter run has other noise; start 0 of Adam is near -128 nats by then, 19 near -186."""
    table = stored("moons_starts").set_index(["optimiser", "start"])
    which = {"windowed Adagrad": (0,), "Adam, 0.01": (0, 19)}
    for again in study_moons.starts(which=which, steps=1000):
        row = table.loc[(again["optimiser"], again["start"])]
        assert again["1000"] == pytest.approx(row["1000"], rel=0.05)


@pytest.mark.parametrize("seed", [0, 19])
def test_oracle_of_the_gaps_is_reproduced(seed):
    table = stored("regression_gaps").set_index(["data", "method"])
    again = study_regression.oracle(study_regression.Problem(seed))
    for name, value in again.items():
        assert value == pytest.approx(table.loc[(seed, "oracle"), name], rel=1e-4)


def test_mode_of_the_gaps_is_reproduced():
    problem = study_regression.Problem(1)
    fit = inference.fit_map(problem.plain, max_steps=1000, seed=1, progressbar=False)
    again = study_regression.judged(problem, problem.predictor(problem.plain), fit)
    table = stored("regression_gaps").set_index(["data", "method"]).loc[(1, "MAP")]
    assert again["gap_1"] == table["gap_1"] == 0
    assert again["CRPS"] == pytest.approx(table["CRPS"], rel=0.03)
    assert again["NLL"] == pytest.approx(table["NLL"], abs=0.1)


def test_source_loss_is_a_log_posterior_over_ten_times_the_rows():
    rng = np.random.default_rng(0)
    X, y = rng.random((40, 6)), rng.integers(0, 10, 40)
    data = study_mnist.Images(X, y, X, y, X, y, X)
    model = study_mnist.network(data, float(1 / np.sqrt(1e-4 * 10 * 40)))
    density = inference.compile_log_density(model)

    def log_posterior(theta):
        return density.log_prior(theta, density.data) + density.log_likelihood(theta, density.data)

    def source_loss(theta):  # mean over rows and classes, and 1e-4 times half the squared norm
        p = dict(zip(density.names, theta, strict=True))
        h = jax.nn.relu(X @ p["w1"] + p["b1"])
        h = jax.nn.relu(h @ p["w2"] + p["b2"])
        log_p = jax.nn.log_softmax(h @ p["w_out"] + p["b_out"])
        return -(jax.nn.one_hot(y, 10) * log_p).mean() + 0.5e-4 * sum((v**2).sum() for v in theta)

    point = model.initial_point()
    theta = tuple(0.1 * rng.normal(size=point[name].shape) for name in density.names)
    ours, theirs = jax.grad(log_posterior)(theta), jax.grad(source_loss)(theta)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a / (10 * 40), -b, rtol=1e-6, atol=1e-9)


def test_a_short_run_of_the_convolution_study_learns_and_averages():
    digits = datasets.digits()
    X = np.kron(digits.X_train.reshape(-1, 8, 8), np.ones((1, 3, 3)))
    X = np.pad(X, ((0, 0), (2, 2), (2, 2))).reshape(len(X), -1).astype(np.float32)
    y, noise = digits.y_train, np.random.default_rng(0).random((50, 784), np.float32)
    data = study_mnist.Images(
        X[:600], y[:600], X[600:800], y[600:800], X[800:900], y[800:900], noise
    )
    rows = pd.DataFrame(study_convolution.cycles(data, n_cycles=2, passes=3, per_cycle=1))
    assert list(rows.columns) == list(stored("convolution_cycles").columns)
    assert list(rows["networks"]) == 2 * [1, 1, 2, 4, 4]
    # pairs of averages of the same draws, and an average no worse than its draws by much
    assert (rows["NLL"] < np.log(10)).all()
    same = rows[rows["average"].isin(["last draw of each cycle", "all draws"])]
    assert same.groupby("images")["NLL"].nunique().eq(1).all()
