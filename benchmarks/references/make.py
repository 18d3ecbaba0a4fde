"""Sample a reference posterior by two exact methods, compare them, and write what is kept."""

from __future__ import annotations

import hashlib
import io
import json
import time
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import arviz_stats as azs
import numpy as np
import pymc as pm
import xarray as xr
from scipy import stats

from benchmarks.references import networks
from benchmarks.references.posteriors import POSTERIORS, Posterior, Sampler
from bnnbook import datasets, diagnostics, inference, models, predict
from bnnbook.datasets import references
from bnnbook.datasets.reference_data import ReferenceData, load_data

__all__ = ["FOLDER", "build", "differences", "make", "moments", "sample", "seconds_needed", "short"]

FOLDER = Path(str(files("bnnbook.datasets") / "reference_draws"))
SAMPLES = ["chain", "draw"]
KEPT = 1000
ROUNDING = 256  # an sd holds so many steps of the stored numbers, which then compress well
RHAT, ESS = 1.01, 400  # what converged means, over every input and output
FALSE_ALARM = 0.01  # that samplers of the same posterior are said to disagree


class Sampled(NamedTuple):
    """A sampler's run and its functions (chain, draw, ...) at the inputs."""

    fit: xr.DataTree
    functions: xr.Dataset
    cpu_seconds: float


def data_of(posterior: Posterior, data_dir: Path | None = None) -> ReferenceData:
    """Training rows and inputs."""
    return load_data(posterior.data._asdict(), posterior.inputs, data_dir)


def build(posterior: Posterior, data: ReferenceData, **changes: Any) -> pm.Model:
    """The model; ``changes`` are to how it is written, such as its parameterisation."""
    name = posterior.model.function
    function = getattr(networks if name in networks.__all__ else models, name)
    return function(data.X_train, data.y_train, **posterior.model.arguments | changes)


def sample(
    posterior: Posterior, data: ReferenceData, sampler: Sampler, *, seed: int, scale: float = 1.0
) -> Sampled:
    """Run one of the samplers; ``scale`` shortens its warm-up and its chains."""
    clock = time.process_time()
    model = build(posterior, data, **sampler.model)
    lengths = {k: max(100, int(scale * sampler.arguments[k])) for k in ("draws", "tune")}
    with warnings.catch_warnings():  # convergence is judged here, at the inputs
        warnings.simplefilter("ignore", inference.ConvergenceWarning)
        run = getattr(inference, sampler.function)
        fit = run(model, seed=seed, progressbar=False, **sampler.arguments | lengths)
    out = predict.compile_predictor(model, list(posterior.outputs))(fit, data.X)
    return Sampled(fit, out, time.process_time() - clock)


def moments(functions: xr.Dataset) -> dict[str, np.ndarray]:
    """Mean and sd of each output at each input, and their Monte Carlo standard errors."""
    found = {}
    for name in functions.data_vars:
        one = functions[[name]]
        found[f"{name}_mean"] = one[name].mean(SAMPLES).to_numpy()
        found[f"{name}_sd"] = one[name].std(SAMPLES).to_numpy()
        for stat in ("mean", "sd"):
            error = azs.mcse(one, sample_dims=SAMPLES, method=stat)
            found[f"{name}_{stat}_mcse"] = error[name].to_numpy()
    return found


def differences(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> dict[str, Any]:
    """Two samplers' means and sds, in standard errors of their difference.

    ``bound`` is what the largest of as many normal variables stays below, but for a false alarm.
    """
    z = {
        name: (value - second[name]) / np.hypot(first[f"{name}_mcse"], second[f"{name}_mcse"])
        for name, value in first.items()
        if not name.endswith("mcse")
    }
    count = sum(value.size for value in z.values())
    return {
        "largest": {name: float(np.abs(value).max()) for name, value in z.items()},
        "root_mean_square": {name: float(np.sqrt((value**2).mean())) for name, value in z.items()},
        "bound": float(stats.norm.isf(FALSE_ALARM / 2 / count)),
    }


def make(
    name: str, *, seed: int = 0, scale: float = 1.0, folder: Path = FOLDER,
    data_dir: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Sample, compare, and write ``NAME.npz`` and its record ``NAME.json`` to ``folder``."""
    posterior = POSTERIORS[name]
    data = data_of(posterior, data_dir)
    runs = [
        sample(posterior, data, sampler, seed=seed + k, scale=scale)
        for k, sampler in enumerate(posterior.samplers)
    ]
    found = [moments(run.functions) for run in runs]
    agreement = differences(*found) | {"rhat_of_both": _rhat_of_both(runs)}
    first = runs[0].functions
    dims = {n: [d for d in map(str, first[n].dims) if d not in SAMPLES] for n in posterior.outputs}
    arrays = {n: _rounded(_kept(first[n]), "class" in dims[n]) for n in posterior.outputs}
    content = _compressed(
        arrays
        | {key: np.stack([m[key] for m in found]).astype(np.float32) for key in found[0]}
        | {"gap": data.gap}
    )
    reports = [_report(run, sampler) for run, sampler in zip(runs, posterior.samplers, strict=True)]
    record: dict[str, Any] = {
        "description": posterior.description,
        "data": posterior.data._asdict(),
        "inputs": posterior.inputs,
        "model": posterior.model._asdict(),
        "outputs": list(posterior.outputs),
        "dims": dims,
        "labels": {
            d: first.indexes[d].tolist()
            for d in {d for own in dims.values() for d in own}
            if d != "obs" and d in first.indexes
        },
        "samplers": reports,
        "agreement": agreement,
        "converged": all(report["converged"] for report in reports),
        "confirmed": _confirmed(agreement),
        **_evidence(runs),
        "seed": seed,
        "versions": json.loads(runs[0].fit.attrs["versions"]),
    }
    known = datasets.Reference(name, posterior.description, arrays, data.gap, {}, record)
    of_second = {n: _kept(runs[1].functions[n]) for n in posterior.outputs}
    record["second_scores"] = diagnostics.against_reference(of_second, known)
    text = json.dumps(short(record), indent=1) + "\n"
    write(folder, {f"{name}.npz": content, f"{name}.json": text.encode()})
    return record


def write(folder: Path, contents: dict[str, bytes]) -> None:
    """Write files, and their checksums among those of the others."""
    folder.mkdir(parents=True, exist_ok=True)
    sums = folder / references.CHECKSUMS
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    noted = {line[66:]: line[:64] for line in lines}
    for file, content in contents.items():
        (folder / file).write_bytes(content)
        noted[file] = hashlib.sha256(content).hexdigest()
    sums.write_text("".join(f"{noted[f]}  {f}\n" for f in sorted(noted)), encoding="utf-8")


def seconds_needed(name: str) -> float | None:
    """Processor time that the stored one took, both samplers; None if there is none."""
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        return None
    return sum(s["cpu_seconds"] for s in json.loads(path.read_text())["samplers"])


def _report(run: Sampled, sampler: Sampler) -> dict[str, Any]:
    judged = [diagnostics.function_space(f).attrs for f in run.functions.data_vars.values()]
    sample_stats = run.fit["sample_stats"]
    rhat = max(j["max_rhat"] for j in judged)
    bulk, tail = (min(j[f"min_ess_{kind}"] for j in judged) for kind in ("bulk", "tail"))
    return {
        "function": sampler.function,
        "arguments": sampler.arguments,
        "model": sampler.model,
        "rhat": rhat,
        "ess_bulk": bulk,
        "ess_tail": tail,
        "converged": bool(rhat <= RHAT and min(bulk, tail) >= ESS),
        "draws": int(sample_stats["diverging"].size),
        "divergences": int(sample_stats["diverging"].sum()),
        "seconds": run.fit.attrs["seconds"],
        "cpu_seconds": run.cpu_seconds,
    }


def _rhat_of_both(runs: list[Sampled]) -> float:
    """R-hat over the chains of both samplers, as many draws of each."""
    parts = []
    shortest = min(run.functions.sizes["draw"] for run in runs)
    for run in runs:
        every = np.linspace(0, run.functions.sizes["draw"] - 1, shortest).astype(int)
        parts.append(run.functions.isel(draw=every).drop_vars(SAMPLES, errors="ignore"))
    both = xr.concat(parts, "chain")
    return max(diagnostics.function_space(f).attrs["max_rhat"] for f in both.data_vars.values())


def _confirmed(agreement: dict[str, Any]) -> bool:
    largest = max(agreement["largest"].values())
    return bool(largest <= agreement["bound"] and agreement["rhat_of_both"] <= RHAT)


def _evidence(runs: list[Sampled]) -> dict[str, float]:
    """Log evidence and its standard error, of the first run that has them."""
    for run in runs:
        if "log_evidence_se" in run.fit.attrs:
            return {key: float(run.fit.attrs[key]) for key in ("log_evidence", "log_evidence_se")}
    return {}


def _kept(values: xr.DataArray) -> np.ndarray:
    """About KEPT draws, (draws, ...), as many of each chain, evenly spaced."""
    each = min(KEPT // values.sizes["chain"], values.sizes["draw"])
    every = np.linspace(0, values.sizes["draw"] - 1, each).astype(int)
    array = values.isel(draw=every).transpose(*SAMPLES, ...).to_numpy()
    return array.reshape(-1, *array.shape[2:])


def _rounded(draws: np.ndarray, by_class: bool) -> np.ndarray:
    """Float32, rounded to a power of two that is small beside the sd of each quantity.

    Probabilities by class, which have to sum to 1, stay as they are.
    """
    if by_class:
        return draws.astype(np.float32)
    sd = draws.std(axis=0)
    step = 2.0 ** np.floor(np.log2(np.where(sd > 0, sd, 1.0) / ROUNDING))
    rounded = np.round(draws / step) * step
    return np.where(rounded == 0, draws, rounded).astype(np.float32)  # a scale stays positive


def _compressed(arrays: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def short(value: Any) -> Any:
    """Six digits of every number."""
    if isinstance(value, dict):
        return {key: short(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [short(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
