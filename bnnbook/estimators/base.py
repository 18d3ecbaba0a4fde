"""What the estimators share: checked data, a fit, predictions from it, files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pymc as pm
import xarray as xr
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, check_X_y, validate_data

from bnnbook import predict
from bnnbook.checks import same_rows
from bnnbook.estimators.files import read, write
from bnnbook.estimators.methods import fit_by, seed_of
from bnnbook.frames import is_frame

__all__ = ["BayesianNetwork"]


class BayesianNetwork(BaseEstimator, ABC):
    """What :class:`BNNRegressor` and :class:`BNNClassifier` share; it is not used by itself."""

    outputs: ClassVar[tuple[str, ...]]
    """Deterministics of the model that predictions are made of."""

    numeric_targets: ClassVar[bool]

    # set by the constructors of the two
    hidden: Sequence[int]
    category_dims: Mapping[str, int] | None
    method: str
    options: Mapping[str, Any] | None
    random_state: Any

    # set by fit
    fit_: xr.DataTree
    model_: pm.Model
    predictor_: predict.Predictor
    seed_: int

    def fit(self, X: Any, y: Any) -> Self:
        """Fit the network to the rows of X.

        Parameters
        ----------
        X : array or frame (n, d)
            Real and finite. The columns of a frame are known by their names from then on.
        y : array (n,)

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If shapes disagree, a value is missing, no number or not finite, or a parameter of the
            estimator is out of range.
        """
        X, y = self._checked(X, y, reset=True)
        seed = seed_of(self.random_state)
        self._set_classes(y)
        self._set_data(X, self._targets(y))
        self.fit_ = fit_by(self.method, self.model_, len(y), self.options, seed)
        self.seed_ = seed
        self._set_predictor()
        return self

    def predict_draws(self, X: Any) -> xr.Dataset:
        """Draws from the posterior predictive distribution, and what they are drawn from.

        Parameters
        ----------
        X : array or frame (n, d)

        Returns
        -------
        xarray.Dataset
            Dims (chain, draw, obs[, class]): the outputs of the network for each posterior draw
            (``mu`` and ``sigma``, or ``p``), and ``y``, one target for each draw and row. The same
            X has the same draws.
        """
        found = self._outputs(X)
        return found.assign(y=self._drawn(found, np.random.default_rng(self.seed_)))

    def save(self, path: str | Path) -> None:
        """Write the fitted estimator into one file, by :func:`bnnbook.predict.save`.

        The file has what predictions need and not the training data. Options that are no plain
        values, as a kernel, are left out: they belong to the fit that is done.

        Raises
        ------
        ValueError
            If there is no fit: scikit-learn's ``NotFittedError``.
        TypeError
            If the estimator itself was loaded from a file, and so has no model.
        """
        check_is_fitted(self, "fit_")
        self._check_model("saved again; copy the file")
        write(path, self, linearised=self._mode())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read an estimator that :meth:`save` wrote: it predicts, and has ``fit_``, not ``model_``.

        Raises
        ------
        ValueError
            If the file is none of these, holds another estimator, was cut or altered, or is of an
            incompatible version.
        """
        found = read(path, cls.__name__)
        estimator = cls(**found.parameters)
        for name, value in found.attributes.items():
            setattr(estimator, name, value)
        return estimator

    def __getstate__(self) -> dict[str, Any]:
        """Without compiled code: a copy builds the model again, of the data it was fitted to."""
        state = dict(super().__getstate__())
        if "predictor_" in state:
            self._check_model("pickled; load the file where it is needed")
        return {k: v for k, v in state.items() if k not in ("model_", "predictor_")}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__(state)
        if hasattr(self, "fit_"):
            self._set_data(*self._data)
            self._set_predictor()

    def _outputs(self, X: Any, *, reduce: str | None = None) -> xr.Dataset:
        X = self._checked(X, reset=False)
        return self.predictor_(self.fit_, X, reduce=reduce)

    def _checked(self, X: Any, y: Any = "no_validation", *, reset: bool) -> Any:
        """X in float64, and y, as scikit-learn checks them.

        Of a frame only the names: its columns are checked by the model or the predictor.
        """
        if not reset:
            check_is_fitted(self, "fit_")
        least = {"ensure_min_samples": 2} if reset else {}
        checks = {"dtype": np.float64, "y_numeric": self.numeric_targets, **least}
        given = not (isinstance(y, str) and y == "no_validation")
        if not is_frame(X):
            if self.category_dims and not reset:
                raise TypeError(
                    "X must be a frame with the columns of the fit, since some are categories, "
                    f"got {type(X).__name__}"
                )
            checks = checks if given else {"dtype": np.float64}
            return validate_data(self, X, y, reset=reset, **checks)
        validate_data(self, X, y, reset=reset, skip_check_array=True)
        same_rows(X, y, "y")
        rows = np.zeros((len(X), 1))
        return (X, check_X_y(rows, y, estimator=self, **checks)[1]) if given else X

    def _set_data(self, X: Any, y: np.ndarray) -> None:
        self._data = X, y
        self.model_ = self._build(X, y)

    def _set_predictor(self) -> None:
        self.predictor_ = predict.compile_predictor(
            self.model_, self.outputs, linearised=self._mode()
        )

    def _mode(self) -> xr.DataTree | None:
        """Where the network is linearised: sampled, Laplace's draws predict badly."""
        return self.fit_ if self.method == "laplace" else None

    def _check_model(self, what: str) -> None:
        if not hasattr(self, "model_"):
            raise TypeError(
                f"this {type(self).__name__} was loaded from a file and has no model, so it cannot "
                f"be {what}"
            )

    def _set_classes(self, y: np.ndarray) -> None:
        """Keep the labels, if there are any."""

    @abstractmethod
    def _targets(self, y: np.ndarray) -> np.ndarray:
        """Targets as the model takes them."""

    @abstractmethod
    def _build(self, X: Any, y: np.ndarray) -> pm.Model:
        """The model of these rows."""

    @abstractmethod
    def _drawn(self, outputs: xr.Dataset, rng: np.random.Generator) -> xr.DataArray:
        """Draws of the predictive distribution, one for each draw of the posterior."""
