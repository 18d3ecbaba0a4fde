"""The compiled predictor: a plan, its compiled function, and draws to bind them to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import xarray as xr

from bnnbook.density.indices import IndexRanges
from bnnbook.predict.bound import Bound, CheckIndices, Reduce
from bnnbook.predict.draws import check_record, open_draws
from bnnbook.predict.plan import Plan

__all__ = ["Predictor"]


@dataclass(frozen=True)
class Predictor:
    """Function (posterior, X) -> :class:`xarray.Dataset`; see :func:`compile_predictor`."""

    plan: Plan = field(repr=False)
    call: Callable[..., Any] = field(repr=False)
    check_indices: CheckIndices = field(repr=False)
    ranges: IndexRanges | None = field(default=None, repr=False)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what is computed."""
        return tuple(self.plan.outputs)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Containers that new rows are needed of."""
        return tuple(self.plan.inputs)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Free variables that the posterior has to have."""
        return tuple(self.plan.parameters)

    @property
    def dtype(self) -> str:
        """Precision of the computation and of the results."""
        return self.plan.dtype

    def __call__(
        self,
        posterior: xr.DataTree | xr.Dataset | Mapping[str, Any],
        X: Any,
        *,
        reduce: str | Reduce | None = None,
    ) -> xr.Dataset:
        """Evaluate the outputs at ``X`` for every draw.

        What the fit holds besides its draws (the centre and spread of its data, say) is taken from
        the fit and not from the model: a model that is built again on other data predicts as the
        one that was fitted, or is refused. Draws without a fit are taken with the model's own.

        Parameters
        ----------
        posterior : DataTree with a ``posterior`` group, Dataset, or mapping of arrays
            Draws of the model's free variables, in the model's own (constrained) space. All dims
            that are not the model's are the draws': (chain, draw), one of them, none, or the
            ``sample`` of ``az.extract``; an array has (chain, draw) first. Dims and labels may be
            in any order.
        X : array, frame or DataArray, or dict of them by data container
            New inputs, any number of rows. A dict if the outputs depend on several containers;
            it may have new values of the other data that the outputs depend on, too. Columns of a
            frame are put into the order of the model's, where those have names.
        reduce : "mean", or function of a Dataset, optional
            Applied to blocks of at most 2,048 rows that hold every draw, for results that would
            not fit in memory: "mean" averages over the draws. A function has to keep the dim
            ``obs`` and treat each row alone.

        Returns
        -------
        xarray.Dataset
            One variable per output, dims (chain, draw, obs, ...) with the dims of the draws first,
            without them if reduced.

        Raises
        ------
        ValueError, TypeError
            If a variable is missing from the posterior or has another shape or other labels, the
            fit is of another model, a reduction drops ``obs``, or X is empty, not finite, of the
            wrong shape, name, column or dtype, or an index that is out of range.
        """
        return replace(self.bind(posterior), once=True)(X, reduce=reduce)

    def bind(self, posterior: xr.DataTree | xr.Dataset | Mapping[str, Any]) -> Bound:
        """The predictor with its draws, for many calls with few rows each.

        What a call does with the draws, such as checking and ordering them, is done once.
        The draws are not copied: do not write into them while they are in use.

        Parameters
        ----------
        posterior : DataTree with a ``posterior`` group, Dataset, or mapping of arrays
            As for a call.

        Returns
        -------
        Bound
            Function of ``X`` and ``reduce`` with the same results as a call.

        Raises
        ------
        ValueError, TypeError
            If a variable is missing from the posterior or has another shape or other labels, or
            the fit is of another model.

        Examples
        --------
        >>> predictor = compile_predictor(model, "p")  # doctest: +SKIP
        >>> at = predictor.bind(fit)  # doctest: +SKIP
        >>> at(row)["p"], at(other_row)["p"]  # doctest: +SKIP
        """
        plan = self.plan
        draws = open_draws(posterior, plan.parameters, plan.labels)
        check_record(draws.record, plan.fingerprints, plan.labels)
        return Bound(plan, self.call, self.check_indices, draws)
