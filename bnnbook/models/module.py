"""Any network in JAX as a PyMC model: Equinox, Flax NNX, or a function and its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import pymc as pm
from pytensor.tensor import TensorVariable

from bnnbook.models.head import Head, Observed
from bnnbook.models.inputs import any_inputs, open_data
from bnnbook.models.leaf_priors import add_leaf, check_patterns, matching, prior_of
from bnnbook.models.leaves import Leaf, Network, open_network
from bnnbook.models.likelihoods import LIKELIHOODS, Likelihood
from bnnbook.models.wrapped import (
    check_levels,
    check_rows_alone,
    network_function,
    network_outputs,
    traced_width,
)

__all__ = ["from_module"]


def from_module(
    module: Any,
    X: Any,
    y: Any,
    *,
    likelihood: str,
    prior_sd: Any = "1/sqrt(fan_in)",
    centre: str | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    fixed: str | Sequence[str] = (),
    per_row: bool | None = None,
    total_size: int | None = None,
    **options: Any,
) -> pm.Model:
    r"""Make a Bayesian model of a network that is written in JAX.

    Each floating leaf of the module becomes a random variable, named by its path, such as
    ``layers.0.weight``; a path that is a name of the model's own, such as ``weight`` or ``X``, has
    ``module.`` before it. Of Equinox modules these are arrays of JAX, of Flax modules ``nnx.Param``
    alone, and one that several layers share is one variable. The other leaves stay as they are. The
    outputs mean what ``likelihood`` says, in the units of y: nothing is standardised unless asked
    for.

    The network is computed in double precision, or in that of the method. Convolutions are
    rewritten as products of matrices, since XLA's own are slow in the compiled loops of samplers.

    Parameters
    ----------
    module : equinox.Module, flax.nnx.Module, or pair (function, parameters)
        An Equinox module is called with one row, ``module(x)``, a Flax module with many,
        ``module(X)``, and a function with its parameters, any tree of arrays, as
        ``function(parameters, X)``. They return one array.
    X : array (n, ...), frame, or a tensor of ``pm.Minibatch``
        Inputs, with any number of axes. Integers stay integers, as embeddings need.
    y : array (n,) or (n, D), or a tensor of the same ``pm.Minibatch`` call
        Targets, as the likelihood takes them.
    likelihood : str
        What the outputs of a row are, in this order, and the options that go with it:

        - "bernoulli": one logit. "categorical" (``n_classes``, by default as many as in y): K
          logits. "multilabel": a logit for each label.
        - "ordinal" (``grades``): one number, as in :func:`mlp_ordinal`.
        - "normal", "student_t" (``heteroskedastic=False``, ``scale_link``, ``scale_floor``,
          ``noise_sd``, ``standardise_targets=False``): D means, and then D scales before their
          link if heteroskedastic; else the scale is ``noise``, as in :func:`mlp_regression`.
        - "mixture" (``n_components=3`` and the same): K means, K scales if heteroskedastic, K
          logits of the weights.
        - "poisson", "negative_binomial" (``exposure``, ``standardise_targets=False``): the log of
          the rate; "zero_inflated_poisson", "zero_inflated_negative_binomial": and the logit of
          psi, as in :func:`mlp_counts`.
    prior_sd : number, "1/sqrt(fan_in)", function, or mapping
        Sd of the normal priors: one number; 1 / sqrt(fan_in), with a bias that of its layer's
        weights, and 1 for leaves without a layer of weights; or a function of path and shape that
        returns a number. A mapping gives one of these for each pattern of paths, such as
        ``{"*.bias": 1.0, "*": "1/sqrt(fan_in)"}``, or a distribution, such as
        ``pm.Laplace.dist(0, 0.1)``; the first that matches counts.
    centre : "module", optional
        Centre the normal priors on the module's own weights, for instance those of a network that
        was trained on related data, and start there; by default on 0.
    dims : mapping of path pattern to names, optional
        Names of a leaf's axes; "feature" and "class" are those of the data. By default
        ``<name>_dim_0`` and so on.
    fixed : str or sequence of str
        Patterns of paths of leaves that keep the module's values.
    per_row : bool, optional
        Whether the module takes one row; by default Equinox modules do and no others.
    total_size : int, optional
        Rows in the full data, with minibatch tensors, as in :func:`mlp_classifier`.
    **options
        Of the likelihood, as above.

    Returns
    -------
    pymc.Model
        Data ``X`` (obs_id, ...) and ``y`` (obs_id, ...); a variable for each leaf; deterministic
        ``f``, the outputs themselves, (obs_id,) or (obs_id, unit); the deterministics of the
        likelihood, such as ``p``, ``mu``, ``sigma`` or ``rate``; likelihood ``obs``.

    Raises
    ------
    TypeError
        If ``module`` is none of the three, has complex parameters or asks for a random key, or an
        option is not one of the likelihood.
    ValueError
        If the module has no floating leaves, has dropout, batch statistics, other state or random
        numbers, cannot be called with X, returns not one row of outputs a row of X, or one that
        changes with the other rows, or another number of outputs than the likelihood takes; if an
        Equinox module has one array at two paths, which its ``nn.Shared`` ties; if a pattern
        matches no leaf, two leaves have one name or that of another's centre or axis, dims have
        other lengths than a leaf; and as :func:`mlp_regression`, :func:`mlp_counts` and
        :func:`mlp_ordinal` do.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import numpy as np
    >>> def network(parameters, X):
    ...     return jnp.tanh(X @ parameters["w1"]) @ parameters["w2"]
    >>> parameters = {"w1": np.zeros((2, 8)), "w2": np.zeros(8)}
    >>> X = np.random.default_rng(0).normal(size=(20, 2))
    >>> model = from_module((network, parameters), X, X[:, 0] > 0, likelihood="bernoulli")
    >>> [variable.name for variable in model.free_RVs]
    ['w1', 'w2']
    """
    made = _likelihood(likelihood, options)
    network = open_network(module)
    if per_row is not None:
        network = network._replace(per_row=bool(per_row))
    free = _free_leaves(network, fixed)
    paths = [leaf.path for leaf in free]
    check_patterns("dims", dims or {}, paths)
    if isinstance(prior_sd, Mapping):
        check_patterns("prior_sd", prior_sd, paths)
    if centre not in (None, "module"):
        raise ValueError(f"centre must be 'module' or None, got {centre!r}")
    data = open_data(X, y, total_size, made.check, check_X=any_inputs)
    call = network_function(network, free)
    width = traced_width(call, free, data.full_X)
    check_levels(network, data.full_X)
    if not network.per_row:
        check_rows_alone(call, free, data.full_X)
    coords = data.coords() | made.all_coords(data)
    if width is not None:
        coords["unit"] = np.arange(width)
    axes = {leaf.path: _leaf_dims(leaf, dims or {}, coords) for leaf in free}
    _check_names(free, axes, centred=centre == "module")

    with pm.Model(coords=coords) as model:
        inputs, observed = data.containers(*made.y_dims(data))
        head = made.head(data)
        _check_width(likelihood, head, coords, width)
        values = [
            add_leaf(leaf, prior_of(prior_sd, leaf), axes[leaf.path], centred=centre == "module")
            for leaf in free
        ]
        rows = Observed(observed, (None if data.minibatch else "obs_id",), data.total_size)
        f = network_outputs(call, inputs, values, network, free, data.full_X.shape[1:], width)
        f = pm.Deterministic("f", f, dims=rows.dims(*([] if width is None else ["unit"])))
        head.observe(_parts(f, head, coords, width), rows)
    return model


def _likelihood(name: str, options: Mapping[str, Any]) -> Likelihood:
    if name not in LIKELIHOODS:
        raise ValueError(f"likelihood must be one of {sorted(LIKELIHOODS)}, got {name!r}")
    known = _options(LIKELIHOODS[name])
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(f"likelihood={name!r} takes the options {known}, got {', '.join(unknown)}")
    return LIKELIHOODS[name](**options)


def _options(make: Callable[..., Likelihood]) -> list[str]:
    kinds = inspect.signature(make).parameters.values()
    found = [p.name for p in kinds if p.kind is inspect.Parameter.KEYWORD_ONLY]
    more = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in kinds)
    return found + (_options(LIKELIHOODS["normal"]) if more else [])


def _free_leaves(network: Network, fixed: str | Sequence[str]) -> list[Leaf]:
    if not network.leaves:
        raise ValueError("module must have floating leaves, which are its weights, got none")
    patterns = [fixed] if isinstance(fixed, str) else list(fixed)
    check_patterns("fixed", patterns, [leaf.path for leaf in network.leaves])
    free = [leaf for leaf in network.leaves if matching(patterns, leaf.path) is None]
    if not free:
        raise ValueError(f"module must have floating leaves that are not fixed, got {patterns}")
    names = [leaf.name for leaf in free]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"module must have leaves of different paths, got {twice[0]} twice")
    return free


def _check_names(free: list[Leaf], axes: Mapping[str, tuple[str, ...]], *, centred: bool) -> None:
    """Raise ValueError if a leaf has the name that another's axis or centre gets, or no centre."""
    names = {leaf.name for leaf in free}
    for leaf in free:
        made = [*axes[leaf.path], *([f"{leaf.name}_centre"] if centred else [])]
        clash = [name for name in made if name in names]
        if clash:
            raise ValueError(
                f"module must have no leaf called {clash[0]}, which is what the model calls the "
                f"{'centre' if clash[0].endswith('_centre') else 'axis'} of its leaf {leaf.path}"
            )
        if centred and not np.isfinite(leaf.value).all():
            raise ValueError(
                f"module must have finite weights for centre='module', got "
                f"{leaf.value[~np.isfinite(leaf.value)][0]} in {leaf.path}"
            )


def _leaf_dims(
    leaf: Leaf, dims: Mapping[str, Sequence[str]], coords: dict[str, Any]
) -> tuple[str, ...]:
    """Dims of a leaf; what they add to the labels goes into ``coords``."""
    shape = leaf.value.shape
    pattern = matching(dims, leaf.path)
    names = [f"{leaf.name}_dim_{i}" for i in range(len(shape))]
    if pattern is not None:
        given = dims[pattern]
        names = [given] if isinstance(given, str) else list(given)
        if len(names) != len(shape) or len(set(names)) < len(names):
            raise ValueError(f"dims of {leaf.path} must name its {len(shape)} axes, got {names}")
    for name, length in zip(names, shape, strict=True):
        known = coords.setdefault(name, np.arange(length))
        if len(known) != length:
            raise ValueError(
                f"dims of {leaf.path} must fit its shape {shape}, but {name!r} has length "
                f"{len(known)}"
            )
    return tuple(names)


def _widths(head: Head, coords: Mapping[str, Any]) -> dict[str, int]:
    return {suffix: prod(len(coords[dim]) for dim in dims) for suffix, dims in head.parts.items()}


def _check_width(name: str, head: Head, coords: Mapping[str, Any], width: int | None) -> None:
    needed, got = sum(_widths(head, coords).values()), 1 if width is None else width
    if needed != got:
        hints = {"bernoulli": "; 'categorical' takes one a class",
                 "normal": "; heteroskedastic=True takes two a target",
                 "student_t": "; heteroskedastic=True takes two a target",
                 "categorical": "; n_classes says how many classes there are, if not all occur",
                 "mixture": "; n_components says how many normals there are"}  # fmt: skip
        raise ValueError(
            f"module must have {needed} outputs a row for likelihood={name!r}, got {got}"
            f"{hints.get(name, '')}"
        )


def _parts(
    f: TensorVariable, head: Head, coords: Mapping[str, Any], width: int | None
) -> dict[str, TensorVariable]:
    """The outputs of a row, one after another, by the suffix of their part."""
    found, start = {}, 0
    for suffix, size in _widths(head, coords).items():
        part = f[:, None] if width is None else f[:, start : start + size]
        found[suffix] = part if head.parts[suffix] else part[:, 0]
        start += size
    return found
