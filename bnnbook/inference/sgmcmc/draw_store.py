"""Draws put in place as they come: in memory, or in a zarr store if they are too many for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bnnbook.density import LogDensity, precision
from bnnbook.inference.results import draws_dataset

if TYPE_CHECKING:
    from bnnbook.inference.sgmcmc.job import Job

__all__ = [
    "STATS",
    "DrawStore",
    "MemoryDraws",
    "Values",
    "bytes_of_draws",
    "constrainer",
    "open_store",
]

STATS = ("lp", "grad_norm", "configurational_temperature")
CHUNK_BYTES = 16e6

Values = dict[str, np.ndarray]


class MemoryDraws:
    """Arrays (chains, draws, ...) of the free variables and the statistics, filled bit by bit.

    Parameters
    ----------
    chains : range
        Numbers of the chains whose draws these are.
    """

    def __init__(
        self, density: LogDensity, chains: range, draws: int, dtype: Any, *, variables: bool = True
    ) -> None:
        self.chains = chains
        shape = (len(chains), draws)
        shapes = variable_shapes(density) if variables else {}
        self.values = {name: np.empty((*shape, *own), dtype) for name, own in shapes.items()}
        self.stats = {name: np.empty(shape, dtype) for name in STATS}

    def write(self, chains: range, start: int, values: Values, stats: Values) -> None:
        """Put new draws (chains, new, ...) of some chains in their place."""
        rows = slice(chains.start - self.chains.start, chains.stop - self.chains.start)
        for arrays, new in ((self.values, values), (self.stats, stats)):
            for name, array in arrays.items():
                array[rows, start : start + new[name].shape[1]] = new[name]

    def of_chain(self, chain: int, count: int) -> Values:
        """The first draws of one chain, by name."""
        row = chain - self.chains.start
        return {name: a[row, :count] for name, a in (self.values | self.stats).items()}

    def restore(self, chain: int, saved: Mapping[str, np.ndarray]) -> None:
        """Put back what :meth:`of_chain` gave."""
        row = chain - self.chains.start
        for name, array in (self.values | self.stats).items():
            array[row, : len(saved[name])] = saved[name]


def variable_shapes(density: LogDensity) -> dict[str, tuple[int, ...]]:
    """Shapes of the free variables in the model's own space."""
    theta = jax.ShapeDtypeStruct((density.size,), np.float64)
    with precision(np.float64):
        shapes = jax.eval_shape(density.constrain, theta, tuple(density.data))
    return {name: shapes[name].shape for name in density.dims}


def bytes_of_draws(density: LogDensity, chains: int, draws: int, dtype: Any) -> int:
    """Memory of :class:`MemoryDraws`."""
    numbers = sum(int(np.prod(shape)) for shape in variable_shapes(density).values())
    return chains * draws * (numbers + len(STATS)) * np.dtype(dtype).itemsize


def constrainer(density: LogDensity, dtype: Any, most: int) -> Callable[[np.ndarray], Values]:
    """Function from unconstrained draws (chains, up to ``most``, D) to the free variables."""
    if all(name in density.names for name in density.dims):  # no transforms: the draws as they are
        return lambda thetas: {name: density.split(thetas)[name] for name in density.dims}
    with precision(dtype):
        data = density.arrays()

    def constrained(thetas: np.ndarray) -> Values:
        chains, new, size = thetas.shape
        padded = np.zeros((chains, most, size), dtype)  # one shape: compiled once
        padded[:, :new] = thetas
        padded[:, new:] = thetas[:, :1]
        with jax.enable_x64(np.dtype(dtype) == np.float64):  # of this thread
            flat = density.constrain_draws(jnp.asarray(padded.reshape(-1, size)), data)
            return {
                name: np.asarray(flat[name]).reshape((chains, most, *flat[name].shape[1:]))[:, :new]
                for name in density.dims
            }

    return constrained


class DrawStore:
    """A zarr store with groups ``posterior`` and ``sample_stats`` of variables (chain, draw, ...).

    Chunks hold draws of one chain, so that chains may write from several threads or processes.

    Parameters
    ----------
    path : path
        Folder of the store; made if it does not exist.
    run : str
        Fingerprint of the run. A store of another run is refused and left as it is.

    Raises
    ------
    ImportError
        If zarr is not installed.
    ValueError
        If ``path`` holds something else.
    """

    def __init__(
        self, path: Path, run: str, density: LogDensity, *, chains: int, draws: int, dtype: Any
    ) -> None:
        try:
            import zarr
        except ImportError as error:
            raise ImportError("store needs zarr: pip install 'bnnbook[zarr]'") from error
        self.path = path
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            self._root = _existing(path, run)
            return
        self._root = zarr.open_group(path, mode="w")
        self._create("posterior", _example(density, dtype), chains, draws)
        example = xr.Dataset({name: (("chain", "draw"), np.zeros((1, 1), dtype)) for name in STATS})
        self._create("sample_stats", example, chains, draws)
        self._root.attrs["run"] = run  # last: a store without it was never whole

    def _create(self, group_name: str, example: xr.Dataset, chains: int, draws: int) -> None:
        group = self._root.create_group(group_name, attributes=example.attrs)
        for name, variable in {**example.coords, **example.data_vars}.items():
            shape = tuple(
                {"chain": chains, "draw": draws}.get(str(d), n) for d, n in variable.sizes.items()
            )
            if name in example.coords:
                values = np.arange(shape[0]) if name in ("chain", "draw") else variable.to_numpy()
                group.create_array(str(name), data=values, dimension_names=variable.dims)
                continue
            row = int(np.prod(shape[2:])) * variable.dtype.itemsize
            per_chunk = int(np.clip(CHUNK_BYTES // row, 1, draws))
            group.create_array(
                str(name), shape=shape, chunks=(1, per_chunk, *shape[2:]), dtype=variable.dtype,
                dimension_names=variable.dims, attributes=variable.attrs,
                fill_value=np.nan,  # where there is no draw yet
            )  # fmt: skip

    def write(self, chains: range, start: int, values: Values, stats: Values) -> None:
        """Put new draws (chains, new, ...) of some chains in their place, statistics last."""
        rows = slice(chains.start, chains.stop)
        for group_name, arrays in (("posterior", values), ("sample_stats", stats)):
            group = self._root[group_name]
            for name, new in arrays.items():
                group[name][rows, start : start + new.shape[1]] = new

    def stats_of(self, chain: int) -> Values:
        """Statistics of the draws that a chain has in the store."""
        stats = {name: np.asarray(self._root["sample_stats"][name][chain]) for name in STATS}
        missing = np.isnan(np.stack(list(stats.values()))).any(axis=0)
        count = int(np.argmax(np.append(missing, True)))
        return {name: values[:count] for name, values in stats.items()}

    def finish(self, tree: xr.DataTree) -> None:
        """Add the statistics, the other groups and the attributes of the run.

        Of a run that was interrupted there stay the statistics of each draw, which it may go on
        with: NaN, as the draws are, where there is none yet.
        """
        whole = self._root["sample_stats"][STATS[0]].shape
        stats = tree["sample_stats"].sizes
        partial = (stats["chain"], stats["draw"]) != whole
        for name in tree.children:
            if name != "posterior" and not (partial and name == "sample_stats"):
                group = tree[name].to_dataset()
                group.to_zarr(self.path, group=name, mode="w", consolidated=False)
        self._root.attrs.update(json.loads(json.dumps(tree.attrs, default=_plain)))

    def posterior(self) -> xr.Dataset:
        """The draws, read when they are used."""
        return xr.open_zarr(self.path, group="posterior", consolidated=False, chunks=None)


def open_store(job: Job) -> DrawStore:
    """The store that a run writes to."""
    assert job.store is not None
    return DrawStore(
        job.store, job.run, job.density, chains=job.chains, draws=job.draws, dtype=job.dtype
    )


def _example(density: LogDensity, dtype: Any) -> xr.Dataset:
    shapes = variable_shapes(density)
    draws = {name: np.zeros((1, 1, *shape), dtype) for name, shape in shapes.items()}
    return draws_dataset(density, draws)


def _existing(path: Path, run: str) -> Any:
    import zarr

    try:
        root = zarr.open_group(path, mode="r+")
        owner = root.attrs["run"]
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"store {path} is not a finished store of draws; remove it or name another folder"
        ) from error
    if owner != run:
        raise ValueError(
            f"store {path} holds draws of another model, data, seed, kernel, setting or version; "
            "remove it or name another folder"
        )
    return root


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)
