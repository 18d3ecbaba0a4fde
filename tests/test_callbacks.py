"""Callbacks in every fit: what they see, how they end a fit, the live figure, the metric log."""

import sys
import types

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from bnnbook import inference
from bnnbook.inference import live as module
from bnnbook.inference.progress import note, progress_bar

QUIET = {"seed": 1, "progressbar": False}
FITS = {
    "advi": lambda model, calls: inference.fit_advi(model, 400, callbacks=calls, **QUIET),
    "mle": lambda model, calls: inference.fit_mle(model, callbacks=calls, **QUIET),
    "map": lambda model, calls: inference.fit_map(model, callbacks=calls, **QUIET),
    "ensemble": lambda model, calls: inference.fit_ensemble(
        model, n_members=2, callbacks=calls, **QUIET
    ),
    "nuts": lambda model, calls: inference.sample_nuts(
        model, draws=300, tune=100, chains=2, cores=2, callbacks=calls, **QUIET
    ),
    "hmc": lambda model, calls: inference.sample_hmc(
        model, step_size=0.05, n_steps=4, draws=200, tune=100, chains=2, cores=2,
        callbacks=calls, **QUIET,
    ),
    "tempered": lambda model, calls: inference.sample_tempered(
        model, draws=100, tune=100, thin=1, chains=2, n_temperatures=3, callbacks=calls, **QUIET
    ),
    "sgld": lambda model, calls: inference.sample_sgmcmc(
        model, inference.sgld(1e-3), draws=200, tune=100, chains=2, callbacks=calls, **QUIET
    ),
}  # fmt: skip


class Watcher:
    """Remembers every call."""

    def __init__(self, every=1):
        self.every, self.events = every, []

    def start(self, method, _):
        self.events.append(("start", method))

    def __call__(self, state, losses, step):
        self.events.append((step, state.objective, len(losses), state.posterior(3)))

    def finish(self, status):
        self.events.append(("finish", status))


@pytest.mark.parametrize("name", FITS)
def test_every_fit_reports_its_progress(line, name):
    watcher = Watcher(every=20 if name == "advi" else 1)
    fit = FITS[name](line[0], [watcher])
    runs = 2 if name == "ensemble" else 1
    starts = [e for e in watcher.events if e[0] == "start"]
    ends = [e for e in watcher.events if e[0] == "finish"]
    assert starts == [("start", name)] * runs
    assert ends == [("finish", "FINISHED")] * runs
    calls = [e for e in watcher.events if len(e) == 4]
    assert all(np.isfinite(objective) and step == n for step, objective, n, _ in calls)
    assert all(draws["beta"].shape == (1, 3, 2) for *_, draws in calls)
    if name in ("map", "mle"):  # the last point reported is the one returned
        np.testing.assert_allclose(
            calls[-1][3]["beta"][0, 0], fit["posterior"]["beta"][0, 0], rtol=1e-12
        )
        history = fit["history"]["log_density"].to_numpy()
        np.testing.assert_allclose([c[1] for c in calls], history)
    if name == "advi":
        assert [c[0] for c in calls] == list(range(20, 401, 20))
    if name in ("nuts", "hmc", "sgld"):
        assert calls[-1][0] == 300


@pytest.mark.parametrize("name", FITS)
def test_failing_callback_ends_any_fit_and_is_named(line, name):
    def broken(state, losses, step):
        raise ValueError("no such thing")

    watcher = Watcher()
    with pytest.raises(RuntimeError, match="callback broken raised ValueError at step") as info:
        FITS[name](line[0], [watcher, broken])
    assert isinstance(info.value.__cause__, ValueError)
    assert watcher.events[-1] == ("finish", "FAILED")
    assert watcher.events.count(("finish", "FAILED")) == 1


def test_failing_start_is_named_too(line):
    watcher = Watcher()
    watcher.start = lambda *_: 1 / 0
    with pytest.raises(RuntimeError, match="callback Watcher raised ZeroDivisionError at step 0"):
        FITS["map"](line[0], [watcher])


def test_callback_can_stop_a_sampler(line):
    def enough(state, losses, step):
        raise StopIteration("enough")

    fit = inference.sample_nuts(
        line[0], draws=5_000_000, tune=50, chains=2, cores=2, callbacks=[enough], **QUIET
    )
    assert fit.attrs["stopped"].startswith("stopped at draw ")
    assert not fit.attrs["interrupted"]
    assert 100 <= fit["posterior"].sizes["draw"] < 5_000_000


def test_ctrl_c_in_a_callback_is_told_to_the_others(line):
    def pressed(state, losses, step):
        raise KeyboardInterrupt

    watcher = Watcher()
    fit = FITS["advi"](line[0], [watcher, pressed])
    assert fit.attrs["interrupted"]
    assert watcher.events[-1] == ("finish", "KILLED")


def test_each_callback_is_called_at_its_own_interval(line):
    class At:
        def __init__(self, every):
            self.every, self.steps = every, []

        def __call__(self, _, __, step):
            self.steps.append(step)

    often, seldom = At(20), At(150)
    plain = []
    inference.fit_advi(
        line[0], 300, callbacks=[often, seldom, lambda *a: plain.append(a[2])], **QUIET
    )
    assert often.steps == list(range(20, 301, 20))
    assert seldom.steps == [150, 300]
    assert plain == [100, 200, 300]  # callback_every


def test_callbacks_do_not_change_the_fit(line):
    plain = inference.fit_map(line[0], **QUIET)
    watched = inference.fit_map(line[0], callbacks=[Watcher()], **QUIET)
    np.testing.assert_array_equal(plain["posterior"]["beta"], watched["posterior"]["beta"])


class Shell:
    kernel = None


class Handle:
    """What IPython's display gives back: remembers what is put in its place."""

    def __init__(self, shown):
        self.shown = shown

    def update(self, picture, **_):
        self.shown[-1].append(picture)


@pytest.fixture
def notebook(monkeypatch):
    """Pretend to be a Jupyter kernel; what it shows, as a list of versions for each output."""
    import IPython
    import IPython.display

    shown = []

    def display(picture, display_id, **_):
        assert display_id
        shown.append([picture])
        return Handle(shown)

    monkeypatch.setattr(IPython, "get_ipython", Shell)
    monkeypatch.setattr(IPython.display, "display", display)
    return shown


def test_live_plot_redraws_one_figure_in_place(line, notebook):
    shown, seen = notebook, []
    plot = inference.LivePlot(every=100, draw=lambda state, ax: seen.append((state.step, ax)))
    FITS["advi"](line[0], [plot])
    assert len(shown) == 1  # one figure,
    assert len(shown[0]) == 4  # drawn four times
    assert [step for step, _ in seen] == list(range(100, 401, 100))
    assert all(p.data.startswith(b"\x89PNG") for p in shown[0])
    assert len({p.data for p in shown[0]}) == 4
    left = seen[-1][1].figure.axes[0]
    assert left.get_ylabel() == "ELBO (nats)"
    assert len(left.lines[0].get_xdata()) == 400
    FITS["ensemble"](line[0], [inference.LivePlot(every=1)])
    assert len(shown) == 3  # one figure for each member


@pytest.mark.parametrize("name", FITS)
def test_live_plot_draws_where_the_run_ended_however_short(line, notebook, name):
    seen = []
    watcher = Watcher()
    plot = inference.LivePlot(every=1_000_000, draw=lambda state, _: seen.append(state.step))
    FITS[name](line[0], [plot, watcher])
    runs = 2 if name == "ensemble" else 1
    assert len(seen) == len(notebook) == runs
    assert seen[-1] == [event[0] for event in watcher.events if len(event) == 4][-1]


@pytest.mark.parametrize("error", [StopIteration, KeyboardInterrupt])
def test_live_plot_draws_where_a_run_was_ended(line, notebook, error):
    def end(state, losses, step):
        if step == 300:
            raise error

    seen = []
    plot = inference.LivePlot(every=200, draw=lambda state, _: seen.append(state.step))
    FITS["advi"](line[0], [end, plot])
    assert seen == [200, 300]
    assert len(notebook) == 1


def test_live_plot_that_fails_at_the_end_fails_the_fit(line, notebook):
    watcher = Watcher()
    plot = inference.LivePlot(every=1000, draw=lambda *_: 1 / 0)
    with pytest.raises(RuntimeError, match="callback LivePlot raised ZeroDivisionError at step 4"):
        FITS["advi"](line[0], [plot, watcher])
    assert watcher.events[-1] == ("finish", "FAILED")


def test_live_plot_leaves_a_terminal_to_the_progress_bar(line, monkeypatch, capsys):
    monkeypatch.setattr(inference.LivePlot, "_picture", None)  # would fail if it were called
    inference.fit_advi(line[0], 100, seed=1, callbacks=[inference.LivePlot(every=50)])
    assert "ELBO" in capsys.readouterr().out


def test_bad_live_plot():
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        inference.LivePlot(every=0)
    with pytest.raises(TypeError, match=r"draw must be a function of \(state, ax\), got 3"):
        inference.LivePlot(draw=3)


@pytest.mark.parametrize("name", ["advi", "map", "nuts"])
def test_mlflow_log_holds_the_history(line, name, tmp_path):
    pytest.importorskip("mlflow")
    log = inference.MLflowLog(
        tmp_path / "runs", every=100 if name != "map" else 1,
        metrics=lambda state: {"first_beta": state.posterior(1)["beta"][0, 0, 0]},
    )  # fmt: skip
    fit = FITS[name](line[0], [log])
    (run_id,) = log.run_ids
    logged = log.client.get_metric_history(run_id, "objective")
    values = {entry.step: entry.value for entry in logged}
    if name == "nuts":
        assert max(values) == 300
    else:
        key = "elbo" if name == "advi" else "log_density"
        expected = fit["history"][key].sel(step=sorted(values))
        np.testing.assert_allclose([values[s] for s in sorted(values)], expected)
    run = log.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["method"] == name
    assert len(log.client.get_metric_history(run_id, "first_beta")) == len(values)
    assert module.os.environ.get("MLFLOW_ALLOW_FILE_STORE") is None


def test_mlflow_log_opened_again_goes_on_in_its_experiment(line, tmp_path):
    pytest.importorskip("mlflow")
    first, second = (inference.MLflowLog(tmp_path, every=1) for _ in range(2))
    for log in (first, second):
        FITS["map"](line[0], [log])

    def broken(state, losses, step):
        raise ValueError("no")

    with pytest.raises(RuntimeError, match="callback broken"):
        FITS["map"](line[0], [second, broken])
    experiment = second.client.get_experiment_by_name("bnnbook")
    runs = second.client.search_runs([experiment.experiment_id])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED", "FINISHED"]


def test_mlflow_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ImportError, match="MLflowLog needs MLflow: pip install mlflow-skinny"):
        inference.MLflowLog(tmp_path)


def test_mlflow_directory_not_writable(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mlflow", types.SimpleNamespace(MlflowClient=None))
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(PermissionError, match=r"directory must be writable, got .*file/runs: Not"):
        inference.MLflowLog(blocked / "runs")

    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.tempfile, "TemporaryFile", refuse)
    with pytest.raises(PermissionError, match=r"directory must be writable.*: Permission denied"):
        inference.MLflowLog(tmp_path)


def alone(model, calls):
    return inference.sample_nuts(model, draws=50, tune=50, chains=1, callbacks=calls, **QUIET)


@pytest.mark.parametrize("fit", [alone, FITS["nuts"], FITS["sgld"]])
def test_linear_algebra_of_chains_has_one_thread(line, fit):
    """With one a core, two chains were thirty times slower, and one that factorizes ten times."""
    seen = []

    def watch(state, losses, step):
        seen.extend(p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas")

    fit(line[0], [watch])
    assert set(seen) == {1}


def bar_in_terminal(monkeypatch, capsys, value, **total):
    monkeypatch.setattr("rich._console", None)  # a new one, as wide as COLUMNS
    monkeypatch.setenv("COLUMNS", "150")
    with progress_bar("NUTS", 200, show=True, value_name="log density") as update:
        update(100, value, **total)
    return capsys.readouterr().out


def bar_in_notebook(shown, value, **total):
    with progress_bar("NUTS", 200, show=True, value_name="log density") as update:
        update(100, value, **total)
    return shown[-1][-1]["text/plain"]


def test_progress_bar_shows_steps_and_value_and_leaves_out_a_value_that_is_not_there(
    monkeypatch, capsys
):
    assert "log density -1,234.5" in bar_in_terminal(monkeypatch, capsys, -1234.5)
    warming_up = bar_in_terminal(monkeypatch, capsys, float("nan"))
    assert "100/200" in warming_up
    assert "nan" not in warming_up
    assert "log density" not in warming_up


def test_progress_bar_in_jupyter_is_text_that_ends_in_its_last_state(notebook):
    text = bar_in_notebook(notebook, -1234.5)
    assert len(notebook) == 1
    assert all(set(version) == {"text/plain"} for version in notebook[0])  # no widget
    assert text.startswith("NUTS ████████████░░░░░░░░░░░░ 100/200, 0:00:0")
    assert "log density -1,234.5" in text
    assert "log density" not in bar_in_notebook(notebook, float("nan"))


def test_progress_bar_of_a_run_that_needs_fewer_steps_is_full(notebook, monkeypatch, capsys):
    text = bar_in_notebook(notebook, 1.0, total=100)
    assert "█" * 24 + " 100/100" in text
    assert "left" not in text
    monkeypatch.undo()
    assert "100/100" in bar_in_terminal(monkeypatch, capsys, 1.0, total=100)


def test_progress_bar_shows_its_last_state_after_an_error(notebook):
    def fail():
        with progress_bar("NUTS", 200, show=True, value_name="log density") as update:
            update(50, 1.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert "50/200" in notebook[-1][-1]["text/plain"]


def test_hidden_progress_bar_prints_nothing(notebook, capsys):
    with progress_bar("NUTS", 200, show=False, value_name="log density") as update:
        update(100, 1.0)
    assert not notebook
    assert not capsys.readouterr().out


def test_note_is_one_line(capsys):
    note("fit_advi was interrupted at step 20 of 100")
    assert capsys.readouterr().out == "fit_advi was interrupted at step 20 of 100\n"


def test_saved_notebook_holds_the_last_state_as_text():
    """In a real kernel: what a reader, or the page built from the notebook, sees afterwards."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    source = """
import numpy as np, pymc as pm
from bnnbook import inference
with pm.Model() as model:
    pm.Normal("obs", pm.Normal("mu"), 1, observed=pm.Data("y", np.zeros(5)))
fit = inference.sample_hmc(
    model, step_size=0.1, n_steps=2, draws=100, tune=50, chains=2, seed=1,
    callbacks=[inference.LivePlot(every=10_000)],
)
"""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    nbclient.NotebookClient(book, timeout=300).execute()
    outputs = book.cells[0].outputs
    shown = [output["data"] for output in outputs if output.output_type == "display_data"]
    kinds = [set(data) for data in shown]
    assert {"text/plain"} in kinds
    assert any("image/png" in kind for kind in kinds)
    assert not any("widget" in name for kind in kinds for name in kind)
    (bar,) = [data["text/plain"] for data in shown if "/" in data.get("text/plain", "")]
    assert "█" * 24 + " 300/300" in bar
