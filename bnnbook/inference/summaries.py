"""What was run, and whether it converged, in a few lines."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

__all__ = ["summary"]


class Summary(str):
    """Text that shows itself as it is printed, at a prompt and in a notebook."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def summary(fit: xr.DataTree) -> Summary:
    """Say in a few lines what was run and whether there is reason to doubt it.

    Parameters
    ----------
    fit : DataTree
        From any function of :mod:`bnnbook.inference`, or read back from a file.

    Returns
    -------
    str
        Method, size, time; whether it converged, and if not, why and what may help; R-hat and
        effective sample sizes of what was judged.

    Raises
    ------
    TypeError, ValueError
        If ``fit`` is not such a result.
    """
    if not isinstance(fit, xr.DataTree):
        raise TypeError(f"fit must be a DataTree, got {type(fit).__name__}")
    missing = [name for name in ("method", "converged", "problems") if name not in fit.attrs]
    if missing or "posterior" not in fit.children:
        raise ValueError(
            "fit must come from bnnbook.inference, with a posterior and the attributes method, "
            f"converged and problems; got groups {sorted(fit.children)}, attributes "
            f"{sorted(map(str, fit.attrs))}"
        )
    posterior = fit["posterior"].to_dataset()
    chains, draws = posterior.sizes["chain"], posterior.sizes["draw"]
    size = sum(int(np.prod(v.shape[2:])) for v in posterior.data_vars.values())
    counts = (f"{chains:,} x " if chains > 1 else "") + f"{draws:,} draw{'s' * (draws > 1)}"
    lines = [
        f"{fit.attrs['method']}: {counts} of {size:,} parameters, {fit.attrs['N']:,} rows, "
        f"{fit.attrs['seconds']:.1f} s (and {fit.attrs['compile_seconds']:.1f} s to compile)"
    ]
    if str(fit.attrs.get("stopped", "finished")) != "finished":
        lines.append(str(fit.attrs["stopped"]))
    problems = json.loads(fit.attrs["problems"])
    lines.append("no sign that it has not converged" if fit.attrs["converged"] else "not converged")
    lines += [f"- {problem}" for problem in problems]
    return Summary("\n".join(lines + _table(json.loads(fit.attrs.get("judged", "{}")))))


def _table(judged: dict) -> list[str]:
    """R-hat and ESS of what was judged, and what was not."""
    variables = judged.get("variables", {})
    if not variables:
        return []
    wide = max(len("judged"), *map(len, variables))
    lines = [f"{'judged':{wide}}  numbers  R-hat  ESS bulk  ESS tail"]
    for name, found in variables.items():
        rhat = "    -" if found["rhat"] is None else f"{min(found['rhat'], 99.9):5.3f}"
        bulk, tail = (
            "-" if found[key] is None else f"{found[key]:,.0f}" for key in ("ess_bulk", "ess_tail")
        )
        lines.append(f"{name:{wide}}  {found['quantities']:7,}  {rhat}  {bulk:>8}  {tail:>8}")
    if judged.get("skipped"):
        lines.append(f"too large to judge: {', '.join(judged['skipped'])}")
    return lines
