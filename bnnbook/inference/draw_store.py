"""Posterior draws written to a zarr store as they come, for posteriors larger than memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bnnbook.density import LogDensity
from bnnbook.inference.results import posterior_dataset

__all__ = ["DrawStore"]

CHUNK_BYTES = 16e6


class DrawStore:
    """A zarr store with the group ``posterior`` of variables (chain, draw, ...).

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
        self.path, self._density = path, density
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            self._root = _existing(path, run)
            return
        self._root = zarr.open_group(path, mode="w")
        group = self._root.create_group("posterior")
        theta = density.initial_points(1, jitter=0.5, seed=0)[None].astype(dtype)
        example = self._constrained(theta)
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
                dimension_names=variable.dims,
            )  # fmt: skip
        self._root.attrs["run"] = run  # last: a store without it was never whole

    def write(self, chains: range, start: int, thetas: np.ndarray) -> None:
        """Put unconstrained draws (chains, new, D) in their place."""
        group = self._root["posterior"]
        new = slice(start, start + thetas.shape[1])
        for name, variable in self._constrained(thetas).data_vars.items():
            group[str(name)][chains.start : chains.stop, new] = variable.to_numpy()

    def finish(self, tree: xr.DataTree) -> None:
        """Add the statistics and attributes of the whole run."""
        stats = tree["sample_stats"].to_dataset()
        stats.to_zarr(self.path, group="sample_stats", mode="w", consolidated=False)
        self._root.attrs.update(json.loads(json.dumps(tree.attrs, default=_plain)))

    def posterior(self) -> xr.Dataset:
        """The draws, read when they are used."""
        return xr.open_zarr(self.path, group="posterior", consolidated=False, chunks=None)

    def _constrained(self, thetas: np.ndarray) -> xr.Dataset:
        return posterior_dataset(self._density, thetas, self._density.data)


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
            f"store {path} holds draws of another model, data, seed, setting or version; "
            "remove it or name another folder"
        )
    return root


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)
