"""The benchmarks' runner and report, on contestants that cost nothing."""

import json
import re
import subprocess
import sys

import equinox as eqx
import jax
import numpy as np
import pytest
import xarray as xr
from numpyro.infer.util import log_density

from benchmarks import gpu, growth, report, scaling
from benchmarks.references.page import filled
from benchmarks.task import Run, Task
from benchmarks.tasks import convolution, crossval, laplace, swag
from benchmarks.tasks import growth as points
from benchmarks.timing import measure, ratios, spread
from bnnbook import inference, predict
from bnnbook.datasets import Dataset


def contestant(path, letter, seconds, *, work=1.0, fails_at=None):
    """Write a letter at every run, which claims to have taken some seconds."""

    def prepare(quick):
        def run(seed):
            if seed == fails_at:
                raise ValueError("no such thing (/home/reader/module.py) here")
            with path.open("a") as file:
                file.write(letter)
            return Run(seconds * (1 + seed), work=work, quality={"quick": float(quick)})

        return run

    return prepare


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "order"
    task = Task(
        "fake", "fakes", "nothing", "step", "none", contestant(path, "a", 1.0),
        {
            "slow": contestant(path, "b", 6.0, work=2.0),
            "late": contestant(path, "c", 1.0, fails_at=2),
            "broken": lambda _: __import__("no_such_package"),
        },
    )  # fmt: skip
    return path, measure(task, repeats=2, quick=True, limit=60)


def test_contestants_take_turns(measured):
    assert measured[0].read_text() == "abcabcab"  # the first turn is for compiling


def test_ratios_are_of_equal_work_in_one_turn(measured):
    ours, slow, *_ = measured[1]
    assert ours["ratio"] is None
    assert [run["seconds"] for run in ours["runs"]] == [2.0, 3.0]
    assert slow["ratio"] == {"min": 3.0, "median": 3.0, "max": 3.0}
    assert slow["peak_mb"] >= 0
    assert slow["quality"] == {"quick": 1.0}


def test_compiling_counts_once_however_much_work_a_run_does():
    ours = {"runs": [{"seconds": 8.0, "work": 4.0, "compile_seconds": 2.0}]}
    peer = {"runs": [{"seconds": 7.0, "work": 1.0, "compile_seconds": 12.0}]}
    found = ratios(peer, ours)
    assert found["ratio"]["median"] == 3.5
    assert found["ratio_with_compiling"]["median"] == (12 + 4 * 7) / (2 + 8)


def test_a_peer_that_fails_is_named_with_its_error(measured):
    late, broken = measured[1][2:]
    assert late["error"].startswith("ValueError: no such thing here")  # without the path
    assert broken["error"].startswith("ModuleNotFoundError: No module named 'no_such_package'")
    assert late["ratio"] is broken["ratio"] is None


def test_a_spread_has_its_ends():
    assert spread([3.0, 1.0, 2.0, 10.0]) == {"min": 1.0, "median": 2.5, "max": 10.0}


def test_runs_with_their_own_process_compile_in_each():
    def prepare(_):
        state = {"runs": 0}

        def run(seed):
            state["runs"] += 1
            return Run(1.0, 0.5 * (1 + seed), quality={"runs": state["runs"]})

        return run

    task = Task("fresh", "fakes", "nothing", "step", "none", prepare, {}, fresh=True)
    (ours,) = measure(task, repeats=2)
    assert [run["compile_seconds"] for run in ours["runs"]] == [0.5, 1.0]
    assert ours["quality"] == {"runs": 1}


def row(contestants, *, quick):
    return {
        "name": "fake", "group": "fakes", "what": "nothing", "unit": "step", "goal": "none",
        "quick": quick, "date": "2030-01-02T03:04:05+00:00", "machine": report.machine(),
        "versions": report.versions(), "seconds": 3.0, "contestants": contestants,
    }  # fmt: skip


def test_a_quick_row_is_stored_and_never_replaces_a_full_one(measured, tmp_path):
    path = tmp_path / "results.json"
    report.save(row(measured[1], quick=True), path)
    assert json.loads(path.read_text())["tasks"]["fake"]["quick"]
    report.save(row(measured[1], quick=False), path)
    report.save(row([], quick=True), path)
    stored = report.load(path)["tasks"]["fake"]
    assert not stored["quick"]
    assert stored["contestants"] == measured[1]


def test_the_page_has_ratios_with_spreads_errors_and_a_word_on_quick_runs(measured):
    template = f"before\n{report.BEGIN}\nold\n{report.END}\nafter"
    full = report.page({"tasks": {"fake": row(measured[1], quick=False)}}, template)
    assert "| 3.00 (3.00-3.00) |" in full
    assert "failed: ModuleNotFoundError" in full
    assert "2030-01-02T03:04" in full
    assert "old" not in full
    assert full.startswith("before")
    assert full.endswith("after")
    assert "quick run" not in full
    assert "from a quick run" in report.page(
        {"tasks": {"fake": row(measured[1], quick=True)}}, template
    )
    assert "Nothing has been measured" in report.page({"tasks": {}}, template)


def test_the_figure_has_a_line_for_each_ratio(measured):
    figure = report.draw([row(measured[1], quick=True)])
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["fake: slow (quick)"]


def test_the_books_page_shows_what_is_stored():
    page = report.PAGE.read_text(encoding="utf-8")
    assert page == report.page(report.load(), page)
    for task in report.load()["tasks"].values():
        assert re.match(r"\d{4}-\d\d-\d\dT", task["date"])
        assert task["contestants"][0]["name"] == "bnnbook"
        repeats = 1 if task["quick"] else 5
        runs = [one["runs"] for one in task["contestants"] if not one["error"]]
        assert all(len(found) >= repeats for found in runs)


def test_what_only_names_is_checked():
    from benchmarks.catalogue import TASKS, chosen, groups_first

    assert [task.name for task in chosen(TASKS, ["predict"])] == ["predict-10000", "predict-1"]
    assert [task.name for task in chosen(TASKS, ["MAP"])] == ["MAP"]
    with pytest.raises(ValueError, match=r"ONLY names nuts2; name some of .*nuts"):
        chosen(TASKS, ["nuts2"])
    assert len({task.name for task in TASKS}) == len(TASKS)
    groups = [task.group for task in groups_first(TASKS)]
    assert len(set(groups)) == len(set(groups[: len(set(groups))]))
    assert len(groups) == len(TASKS)


def test_a_childs_peak_has_no_part_of_its_parents_memory():
    held = np.ones(50_000_000)  # 400 MB
    code = "from benchmarks.timing import peak_mb; print(peak_mb())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) < held.nbytes / 2**20


def grown(sizes, seconds, peak, *, name="SG-MCMC, on disk", axis="rows"):
    """A series as it is stored; a point without seconds has failed."""
    found = [
        {
            "name": f"{size:,}", "error": None if s else "MemoryError", "peak_mb": mb,
            "runs": [{"seconds": 10 * s, "work": 10.0}] if s else [],
            "quality": {"size": float(size), "before": 1.5, "resident_mb": mb + 400},
        }
        for size, s, mb in zip(sizes, seconds, peak, strict=True)
    ]  # fmt: skip
    return row(found, quick=False) | {"name": name, "axis": axis}


def test_a_slope_is_that_of_the_large_sizes():
    sizes = [1, 10, 100, 1_000]
    assert growth.slope(sizes, [5.0, 3.0, 300.0, 30_000.0]) == pytest.approx(2)
    assert growth.slope(sizes, [1.0, 7.0, 7.0, 7.0]) == pytest.approx(0, abs=1e-12)
    assert np.isnan(growth.slope([10], [1.0]))


def test_the_section_has_costs_slopes_memory_a_row_and_failures():
    series = grown([10**3, 10**5, 10**6], [2e-5, 2e-5, 2e-5], [100.0, 110.0, 196.0])
    broken = grown([10, 100], [1e-3, None], [50.0, 60.0], name="ADVI", axis="groups")
    template = f"before\n{growth.BEGIN}\nstale\n{growth.END}\nafter"
    stored = {"tasks": {"a": series, "b": broken}}
    page = growth.section(stored, template)
    assert "| rows, 1,000 to 1,000,000 | SG-MCMC, on disk | 20 us to 20 us a step | 0.00 |" in page
    assert "at most 596 MB were resident" in page
    assert "a further row took 100 bytes" in page
    assert "ADVI (failed at 100)" in page
    assert "one size" in page
    assert "_static/growth.png" in page
    assert "stale" not in page
    empty = growth.section({"tasks": {}}, template)
    assert "Not measured yet" in empty
    assert "growth.png" not in empty  # it is not there to be shown


def test_the_growth_figure_has_a_line_of_panels_for_what_was_measured():
    rows = [
        grown([10, 100], [1e-3, 1e-2], [50.0, 60.0], axis="groups"),
        grown([10, 100], [None, None], [50.0, 60.0], axis="draws"),
    ]
    figure = growth.draw(rows)
    assert [ax.get_xlabel() for ax in figure.axes] == ["draws", "draws", "groups", "groups"]
    labels = [text.get_text() for text in figure.axes[2].get_legend().get_texts()]
    assert labels == ["SG-MCMC, on disk: 1.00"]


def test_the_books_section_on_growth_shows_what_is_stored():
    page = report.PAGE.read_text(encoding="utf-8")
    assert page == growth.section(report.load(growth.GROWTH), page)


def test_a_point_of_growth_is_measured_from_files(tmp_path, monkeypatch):
    monkeypatch.setattr(points, "CHUNK", 400)
    points.write_rows(1_000, tmp_path)
    X, y = (np.load(tmp_path / f"{name}-1000.npy") for name in "Xy")
    assert X.shape == (1_000, 2)
    assert ((X.prod(axis=1) > 0) == y).all()
    monkeypatch.setattr(points, "QUICK_STEPS", 3_000)
    run = points.rows(True, 1_000, tmp_path, method="ADVI", mapped=True)(0)
    assert run.work == 2_700
    assert run.seconds > 0
    assert run.quality["size"] == 1_000
    assert run.quality["resident_mb"] > 100


def test_series_have_names_of_their_own_and_axes_that_are_drawn():
    assert len({series.name for series in points.SERIES}) == len(points.SERIES)
    assert {series.axis for series in points.SERIES} == set(growth.AXES)
    for series in points.SERIES:
        assert len(series.task("", quick=False).contestants()) == len(series.sizes)
        assert len(series.task("", quick=True).contestants()) == 1


def test_the_script_for_a_gpu_runs_and_names_its_device(capsys):
    assert gpu.main(["--quick"]) == 0
    device, *lines = capsys.readouterr().out.strip().splitlines()
    assert device == f"{gpu.device()} A quick run: its ratios are no result."
    found = [line.split(" | ") for line in lines[2:]]
    assert [cells[0].removeprefix("| ") for cells in found] == list(gpu.TASKS)
    for _, ours, by_hand, *_ in found:
        assert float(re.match(r"[\d,]+", ours)[0].replace(",", "")) > 0
        assert float(re.match(r"[\d,]+", by_hand)[0].replace(",", "")) > 0
    with pytest.raises(SystemExit):
        gpu.main(["--quick", "nothing"])


def test_the_section_on_workers_has_speeds_bytes_and_what_one_scheduler_can_feed():
    runs = [
        {
            "workers": workers, "cold": 30.0, "warm": warm, "task": 2e-3, "task_data": 0.1,
            "sent": 20_000_000, "back": 5_000_000,
        }
        for workers, warm in ((1, [15.0, 16.0, 17.0]), (2, [8.0, 8.5, 7.5]))
    ]  # fmt: skip
    stored = {"tasks": {"scaling": report.described(scaling.TASK, quick=False) | {"runs": runs}}}
    stored["tasks"]["scaling"]["seconds"] = 100.0
    found = "\n".join(scaling.lines(stored))
    assert "| 1 | 16.0 s (15.0-17.0) | 1.00x | 30.0 s | 2.0 ms | 100 ms |" in found
    assert "| 2 | 8.0 s (7.5-8.5) | 2.00x |" in found
    assert "at least 3 runs of each" in found
    assert "sent 20.0 MB" in found
    assert "about 20 workers" in found  # 16 s / 8 chains / .1 s
    assert "Not measured yet" in scaling.lines({"tasks": {}})[0]


def test_the_books_section_on_workers_shows_what_is_stored():
    page = report.PAGE.read_text(encoding="utf-8")
    parts = {"scaling": scaling.lines(report.load(scaling.SCALING))}
    assert page == filled(report.PAGE, parts)


def our_log_density(model, theta):
    """Of a vector in the model's own order."""
    density = inference.compile_log_density(model)
    data = density.data
    return float(density.log_prior(theta, data) + density.log_likelihood(theta, data))


def vectors(shapes):
    """Two draws of weights, by name and as vectors."""
    rng = np.random.default_rng(0)
    for _ in range(2):
        w = {name: rng.normal(size=shape) for name, shape in shapes.items()}
        yield w, np.concatenate([value.ravel() for value in w.values()])


def test_cross_validation_has_one_model_for_all():
    rng = np.random.default_rng(0)
    X = rng.normal(2.0, 3.0, (30, crossval.INPUTS))
    data = Dataset(X[:20], X[:20, 0] ** 2, X[20:], X[20:, 0] ** 2, name="", description="")
    model = crossval.network(data)
    assert [v.name for v in model.free_RVs] == list(crossval.SHAPES)
    inputs, y, test, centre, sd = crossval.standardised(data)
    noise = crossval.NOISE_SD / sd
    constants = []
    for w, theta in vectors(crossval.SHAPES):
        ours = our_log_density(model, theta)
        with jax.enable_x64(True):
            numpyro = log_density(crossval.priors_and_rows, (inputs, y, noise), {}, w)[0]
            by_hand = crossval.negative(theta, inputs, y, noise)
            mu = centre + sd * crossval.apply(w, test)
        assert ours == pytest.approx(float(numpyro) - len(y) * np.log(sd), rel=1e-9)
        constants.append(ours + float(by_hand))
        dims = {name: ("chain", "draw", *model.named_vars_to_dims.get(name, ())) for name in w}
        draw = xr.Dataset({name: (dims[name], value[None, None]) for name, value in w.items()})
        found = predict.compile_predictor(model, "mu")(draw, data.X_test)["mu"]
        np.testing.assert_allclose(found.to_numpy().ravel(), mu, rtol=1e-6)
    assert constants[0] == pytest.approx(constants[1], rel=1e-9)


def test_scores_of_splits_are_those_of_a_mixture_of_normals():
    y = np.array([0.0, 4.0])
    one = crossval.scores(np.zeros((1, 1, 2)), y)
    sd = crossval.NOISE_SD
    assert one["RMSE"] == pytest.approx(np.sqrt(8))
    assert one["NLL"] == pytest.approx(0.5 * np.log(2 * np.pi * sd**2) + 4 / sd**2)
    assert crossval.scores(np.zeros((1, 5, 2)), y) == pytest.approx(one)


def test_the_convolution_has_one_model_for_all(monkeypatch):
    monkeypatch.setattr(convolution, "N", 12)
    with jax.enable_x64(True):
        X, y = convolution.data()
        model = convolution.build(X, y)
        net = convolution.LeNet()
        arrays, rest = eqx.partition(net, eqx.is_inexact_array)
        shapes = {str(i): leaf.shape for i, leaf in enumerate(jax.tree.leaves(arrays))}
        found = [tuple(model.initial_point()[variable.name].shape) for variable in model.free_RVs]
        assert found == list(shapes.values())
        constants = []
        for w, theta in vectors(shapes):
            leaves = [0.1 * value for value in w.values()]
            module = eqx.combine(jax.tree.unflatten(jax.tree.structure(arrays), leaves), rest)
            expected = jax.vmap(module)(X.astype(float))
            for convolve in (convolution.plain, convolution.shifted):
                logits = convolution.logits(leaves, X.astype(float), convolve)
                np.testing.assert_allclose(logits, expected, rtol=1e-8)
            by_hand = convolution.log_posterior(leaves, X, y, convolution.shifted)
            constants.append(our_log_density(model, 0.1 * theta) - float(by_hand))
    assert constants[0] == pytest.approx(constants[1], rel=1e-7)


@pytest.mark.parametrize("build", [laplace.moons, laplace.waves])
def test_laplace_has_one_model_and_one_curvature_for_all(build):
    problem = build()
    assert [v.name for v in problem.model.free_RVs] == list(problem.shapes)
    with jax.enable_x64(True):
        constants = [
            our_log_density(problem.model, theta) + float(problem.negative(theta))
            for _, theta in vectors(problem.shapes)
        ]
        assert constants[0] == pytest.approx(constants[1], rel=1e-9)
        fit = inference.fit_laplace(
            problem.model, n_starts=1, draws=10, seed=0, progressbar=False
        )  # fmt: skip
        variational = fit["variational"]
        mean = variational.sel(stat="mean").to_dataset()[list(problem.shapes)]
        theta = np.concatenate([mean[name].to_numpy().ravel() for name in problem.shapes])
        every = problem.chosen(last_layer=False)
        by_hand = np.linalg.inv(laplace.gauss_newton(problem, every, theta))
    np.testing.assert_allclose(variational["covariance"], by_hand, rtol=1e-5, atol=1e-8)
    assert problem.chosen(last_layer=True).sum() == sum(
        int(np.prod(problem.shapes[name])) for name in problem.last
    )


def test_swag_by_hand_does_the_same_work():
    problem = laplace.moons()
    with jax.enable_x64(True):
        rows = len(problem.y)
        constants = [
            our_log_density(problem.model, theta) / rows
            + float(swag.loss(theta, problem.X, problem.y, rows))
            for _, theta in vectors(problem.shapes)
        ]
    assert constants[0] == pytest.approx(constants[1], rel=1e-9)
    ours, by_hand = (contestant(True)(0) for contestant in (swag.ours, swag.by_hand))
    assert ours.work == by_hand.work == 2 * swag.QUICK_STEPS
    assert ours.quality["NLL"] == pytest.approx(by_hand.quality["NLL"], abs=0.05)
