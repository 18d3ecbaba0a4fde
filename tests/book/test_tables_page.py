"""The page of UCI tables shows what is stored, and a part of it is found again."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.tables import methods, page, run, settings
from benchmarks.tables.methods import METHODS
from bnnbook import datasets, metrics

ROWS = run.table()


def test_the_page_shows_what_is_stored():
    assert page.PAGE.read_text(encoding="utf-8") == page.text()


def test_every_row_is_a_split_and_a_method():
    assert len(ROWS) > 100
    assert set(ROWS["method"]) <= set(METHODS)
    assert not ROWS.duplicated(run.KEYS).any()
    for name, split in set(zip(ROWS["table"], ROWS["split"], strict=True)):
        assert int(split.removeprefix("gap:")) < (run.GAPS if ":" in split else run.STANDARD)[name]
    assert ROWS.loc[ROWS["nll"].isna(), "problems"].str.len().gt(0).all()
    assert ROWS["versions"].str.contains("jax").all()


def test_means_are_over_splits_with_their_standard_errors():
    own = ROWS[(ROWS["table"] == "concrete") & ~ROWS["split"].str.startswith("gap")]
    values = own.loc[own["method"] == "ensemble of 5", "nll"].to_numpy()
    found = page.means(ROWS, "concrete", gap=False).set_index("method").loc["ensemble of 5"]
    assert found["n"] == len(values) == 20
    assert found["nll"] == pytest.approx(values.sum() / 20)
    assert found["nll_error"] ** 2 == pytest.approx(((values - values.mean()) ** 2).sum() / 380)
    broken = ROWS.copy()
    broken.loc[own.index[own["method"] == "ensemble of 5"][0], "nll"] = np.nan
    cells = page.means(broken, "concrete", gap=False).set_index("method").loc["ensemble of 5"]
    assert cells["failed"] == 1
    assert np.isnan(cells["nll"])


def test_chains_are_shown_with_their_diagnosis():
    rows = ROWS[(ROWS["table"] == "yacht") & (ROWS["method"] == "ensemble of 5")].copy()
    assert "R-hat" not in "".join(page.sections(rows, gap=False))
    chains = rows.assign(method="NUTS", rhat=np.where(rows["split"] == "3", 1.4, 1.0), ess=50.0)
    shown = "\n".join(page.sections(pd.concat([rows, chains]), gap=False))
    assert "R-hat" in shown
    assert "**1.40**, 50 |" in shown


def test_a_goal_is_met_only_by_the_lower_loss():
    goals = page.goals(ROWS)
    published = pd.read_csv(page.PUBLISHED)
    for _, row in goals.iterrows():
        name, _, gap = row["table"].partition(", ")
        rows = published[(published["table"] == name) & (published["splits"] == (
            "gap" if gap else "standard"
        ))]  # fmt: skip
        assert row["met"] == (row["nll"] < rows["nll"].min())


def test_settings_are_the_best_on_training_rows():
    tried = pd.read_csv(settings.TABLE)
    tried["nll"] = tried["nll"].fillna(np.inf)
    mean = tried.groupby(["method", "setting"])["nll"].mean()
    assert mean["SWAG"].idxmin() == f"learning rate {methods.SWAG_STEP:g}"
    assert mean["dropout"].idxmin() == f"rate {methods.DROPOUT_RATE:g}"
    assert mean["SGLD, preconditioned"].idxmin() == f"step size {methods.SGLD_STEP:g}"
    rmse = tried.pivot(index=["table", "method"], columns="setting", values="rmse").loc["yacht"]
    both = rmse[["noise sd of x", "one noise sd"]].dropna()
    assert len(both) == 3
    assert (both["noise sd of x"] > 5 * both["one noise sd"]).all()


@pytest.mark.parametrize("method", ["ensemble of 5", "dropout"])
def test_a_split_is_scored_again(method):
    try:
        datasets.uci("concrete", 0)
    except datasets.DataUnavailableError as missing:
        pytest.skip(str(missing))
    stored = ROWS.set_index(run.KEYS).loc[("concrete", "0", method)]
    again = run.unit("concrete", "0", method)
    for key in ("rmse", "nll", "crps"):
        assert again[key] == pytest.approx(stored[key], rel=0.1)
    assert again["coverage_90%"] == pytest.approx(stored["coverage_90%"], abs=0.1)


def test_scores_are_those_of_the_mixture_of_draws():
    rng = np.random.default_rng(0)
    y = rng.normal(size=30)
    draws = run.xr.Dataset({
        "mu": (("chain", "draw", "obs_id"), rng.normal(size=(1, 8, 30))),
        "sigma": (("chain", "draw", "obs_id"), np.full((1, 8, 30), 0.7)),
    })  # fmt: skip
    found = run.scores(y, draws)
    density = np.exp(-0.5 * ((y - draws["mu"][0].to_numpy()) / 0.7) ** 2) / 0.7 / np.sqrt(2 * np.pi)
    assert found["nll"] == pytest.approx(-np.log(density.mean(axis=0)).mean())
    assert found["rmse"] == pytest.approx(metrics.rmse(y, draws["mu"]))
    assert found["width_95%"] > found["width_90%"]
