"""Dropout as variational inference (Gal and Ghahramani 2016), for any model with named dims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pymc as pm
import xarray as xr

from bnnbook.checks import float_dtype, positive_int, positive_number, seed_int
from bnnbook.density import LogDensity, compile_log_density, cut, first_points
from bnnbook.inference.callbacks import Callback
from bnnbook.inference.descent import compile_descent, descend, descent_tree
from bnnbook.inference.docs import with_shared_docs

__all__ = ["fit_dropout"]

BLOCK = 100


@with_shared_docs
def fit_dropout(
    model: pm.Model,
    dims: str | Sequence[str],
    rate: float | Mapping[str, float],
    *,
    batch_size: int | None = None,
    steps: int = 20_000,
    learning_rate: float = 0.01,
    draws: int = 1000,
    start: Any = None,
    dtype: str = "float64",
    callbacks: Sequence[Callback] = (),
    seed: int,
    progressbar: bool = True,
) -> xr.DataTree:
    r"""Fit networks whose hidden units are dropped at random, and draw from them.

    The approximation is a fixed set of weights M times random masks: each label of each dim in
    ``dims`` (each hidden unit) is dropped with probability ``rate``, and all weights along it are
    then zero. Its parameters maximise

    .. math:: \mathbb{E}_z [\log p(D \mid M \circ z) + \log p(M \circ z)],

    where for normal priors with mean zero the second term is weight decay: minus the
    Kullback-Leibler divergence up to what does not depend on M (Gal and Ghahramani 2016, appendix,
    sec. 3 and 4.2). Each step draws one mask; Adam's step size falls along a cosine. The draws are
    draws of masked weights, so that predictions need nothing special.

    Parameters
    ----------
    model : pymc.Model
        Any model without discrete free variables.
    dims : str or sequence of str
        Dims of hidden units, such as ``"hidden_1"``: those that at least two free variables have
        and neither the data nor a deterministic has.
    rate : float in (0, 1), or one for each dim
        Probability with which a unit is dropped. It is not learnt: choose it on validation data.
    batch_size : int, optional
        Rows per step, drawn with replacement; all rows by default.
    steps : int
    learning_rate : float
        Adam's step size at the start.
    draws : int
    {start}
    dtype : {"float64", "float32"}
    {callbacks}
    {seed}
    {progressbar}

    Returns
    -------
    xarray.DataTree
        ``posterior`` (chain, draw, ...) of masked weights; ``history`` (step) of the ``loss``:
        minus the objective above, in nats.

    Raises
    ------
    ValueError, TypeError
        If a dim does not exist or is none of hidden units, a rate lies outside (0, 1), a variable
        along a dim has a transform, or an argument is out of range.
    DivergedError
        If the loss stops being finite.
    """
    steps, draws = positive_int("steps", steps), positive_int("draws", draws)
    learning_rate = positive_number("learning_rate", learning_rate)
    seed, dtype = seed_int(seed), float_dtype(dtype)
    density = compile_log_density(model)
    rates = _rates(density, dims, rate)
    widths = {dim: len(density.coords[dim]) for dim in rates}
    batches = cut(density, batch_size)
    (point,) = first_points(density, start, 1, seed=seed, dtype=dtype)

    def loss(theta: jax.Array, key: jax.Array, batch: tuple) -> jax.Array:
        keys = dict(zip(rates, jax.random.split(key, len(rates)), strict=True))
        kept = {d: jax.random.bernoulli(keys[d], 1.0 - p, (widths[d],)) for d, p in rates.items()}
        masked = theta * _mask(density, kept, jnp).astype(theta.dtype)
        return -density.log_prior(masked, batch) - batches.log_likelihood(masked, batch)

    def masks(n: int, rng: np.random.Generator) -> np.ndarray:
        kept = [{d: rng.random(widths[d]) >= p for d, p in rates.items()} for _ in range(n)]
        return np.array([_mask(density, units, np) for units in kept])

    settings = {
        "dims": list(rates), "rate": list(rates.values()), "batch_size": batches.sizes[0],
        "steps": steps, "learning_rate": learning_rate, "draws": draws, "dtype": dtype,
    }  # fmt: skip
    compiled = compile_descent(
        loss, density, batches, every=BLOCK, dtype=dtype,
        optimizer=optax.adam(optax.cosine_decay_schedule(learning_rate, steps)),
        key=("dropout", *rates.items(), *density.dims.items(), learning_rate, steps),
    )  # fmt: skip
    during = np.random.default_rng([seed, 1])
    run = descend(
        compiled, point, steps=steps, seed=seed, method="dropout", label="dropout",
        settings=settings, callbacks=callbacks, progressbar=progressbar,
        sample=lambda theta, n: theta * masks(n, during),
    )  # fmt: skip
    thetas = run.theta * masks(draws, np.random.default_rng([seed, 2]))
    history = xr.Dataset(
        {"loss": ("step", run.losses)}, coords={"step": np.arange(1, len(run.losses) + 1)}
    )
    return descent_tree(
        density, thetas[None], [run], history=history, remedy="more steps may help",
        method="dropout", settings=settings, seed=seed, n=batches.sizes[0],
        seconds=run.seconds, compile_seconds=compiled.seconds,
    )  # fmt: skip


def _hidden_dims(density: LogDensity) -> list[str]:
    """Dims that only weights have, at least two of them, and not all."""
    model = density.model
    seen = {
        dim
        for name, dims in model.named_vars_to_dims.items()
        if name not in density.dims
        for dim in dims
    }
    carried = [set(dims) for dims in density.dims.values()]
    candidates = dict.fromkeys(d for dims in density.dims.values() for d in dims if d is not None)
    return [d for d in candidates if d not in seen and sum(d in dims for dims in carried) >= 2]


def _rates(
    density: LogDensity, dims: str | Sequence[str], rate: float | Mapping[str, float]
) -> dict[str, float]:
    """Dropout rate by dim, checked."""
    names = [dims] if isinstance(dims, str) else list(dims)
    hidden = _hidden_dims(density)
    wrong = [dim for dim in names if dim not in hidden]
    if wrong or not names:
        raise ValueError(f"dims must be dims of hidden units, {hidden}; got {wrong or names}")
    rates = dict(rate) if isinstance(rate, Mapping) else dict.fromkeys(names, rate)
    if set(rates) != set(names):
        raise ValueError(f"rate must have one number for each of {names}, got {sorted(rates)}")
    for dim, p in rates.items():
        if not 0 < positive_number(f"rate of {dim}", p) < 1:
            raise ValueError(f"rate must lie in (0, 1), got {p} for {dim}")
    for name, own in density.dims.items():
        if set(own) & set(names) and name not in density.names:
            raise ValueError(
                f"dropout sets weights to zero, but {name} has a transform and no zero; leave out "
                f"{sorted(set(own) & set(names))}"
            )
    return {dim: float(rates[dim]) for dim in names}


def _mask(density: LogDensity, kept: Mapping[str, Any], xp: Any) -> Any:
    """Product of the units' masks for each of the D parameters, (D,)."""
    parts = []
    for name, shape in zip(density.names, density.shapes, strict=True):
        mask = xp.ones(shape, bool)
        for axis, dim in enumerate(density.dims.get(name, ())):
            if dim in kept:
                along = [1] * len(shape)
                along[axis] = shape[axis]
                mask = mask & xp.reshape(kept[dim], along)
        parts.append(xp.ravel(mask))
    return xp.concatenate(parts)
