"""A Bayesian network for classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets

from bnnbook import metrics, models
from bnnbook.estimators.base import BayesianNetwork

__all__ = ["BNNClassifier"]


class BNNClassifier(ClassifierMixin, BayesianNetwork):
    """Classification by a Bayesian neural network, :func:`bnnbook.models.mlp_classifier`.

    Inputs are standardised inside. Targets may have any labels.

    Parameters
    ----------
    hidden : sequence of int
        Units per hidden layer, at least one layer.
    activation : {"tanh", "relu", "gelu", "sigmoid"}
    prior_sd : float, sequence of float, or "1/sqrt(fan_in)"
        Prior sd of weights and biases.
    category_dims : dict of str to int, optional
        Columns of a frame that hold categories, and the lengths of their embeddings, as in the
        model. A category that is new at prediction is predicted, with a warning.
    category_sd : float or "learned"
        Prior sd of the embeddings, as in the model.
    method : {"ensemble", "laplace", "advi", "nuts", "sgmcmc"}
        How to fit, as in :class:`BNNRegressor`.
    options : dict, optional
        Arguments of the function that fits.
    random_state : int, NumPy generator or None
        The seed; None takes a new one each time.

    Attributes
    ----------
    classes_ : array (K,)
        Labels, sorted: the order of the columns of :meth:`predict_proba`.
    model_ : pymc.Model
    fit_ : xarray.DataTree
        What the method returned, with ``converged`` and ``problems`` in its attributes.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : array of str
        Their names, if X was a frame.
    """

    outputs = ("p",)
    numeric_targets = False
    classes_: np.ndarray

    def __init__(
        self,
        hidden: Sequence[int] = (20,),
        *,
        activation: str = "tanh",
        prior_sd: float | Sequence[float] | str = 1.0,
        category_dims: Mapping[str, int] | None = None,
        category_sd: float | str = 1.0,
        method: str = "ensemble",
        options: Mapping[str, Any] | None = None,
        random_state: Any = None,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.prior_sd = prior_sd
        self.category_dims = category_dims
        self.category_sd = category_sd
        self.method = method
        self.options = options
        self.random_state = random_state

    def predict(self, X: Any) -> np.ndarray:
        """The most probable label of each row, (n,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities (n, K) of the labels in ``classes_``: the mean over posterior draws."""
        p = self._outputs(X, reduce="mean")["p"].to_numpy()
        return np.column_stack([1 - p, p]) if p.ndim == 1 else p / p.sum(axis=1, keepdims=True)

    def score(self, X: Any, y: Any) -> float:
        """Mean log probability of the labels y, nats per row; higher is better.

        Raises
        ------
        ValueError
            If there is a label that the training data had not: its probability is zero.
        """
        X, y = self._checked(X, y, reset=False)
        return -metrics.nll(self._targets(y), self.predict_proba(X))

    def _set_classes(self, y: np.ndarray) -> None:
        try:
            check_classification_targets(y)
            classes = np.unique(y)
        except TypeError:
            kinds = sorted({type(label).__name__ for label in y})
            raise TypeError(
                f"y must hold labels of one kind, got {', '.join(kinds)}; leave out rows that have "
                "none, or name them"
            ) from None
        if len(classes) < 2:
            raise ValueError(f"y must have at least two classes, got one class, {classes[0]!r}")
        self.classes_ = classes

    def _targets(self, y: np.ndarray) -> np.ndarray:
        """Labels as 0, ..., K - 1."""
        new = np.setdiff1d(y, self.classes_)
        if new.size:
            raise ValueError(
                f"y must hold the classes of the training data, {self.classes_.tolist()[:10]}, "
                f"got {new.tolist()[:10]}"
            )
        return np.searchsorted(self.classes_, y)

    def _build(self, X: Any, y: np.ndarray) -> pm.Model:
        return models.mlp_classifier(
            X, y, self.hidden, n_classes=len(self.classes_), activation=self.activation, bias=True,
            prior_sd=self.prior_sd, standardise_inputs=True, category_dims=self.category_dims,
            category_sd=self.category_sd,
        )  # fmt: skip

    def _outputs(self, X: Any, *, reduce: str | None = None) -> xr.Dataset:
        found = super()._outputs(X, reduce=reduce)
        return found.assign_coords({"class": self.classes_}) if "class" in found.dims else found

    def _drawn(self, outputs: xr.Dataset, rng: np.random.Generator) -> xr.DataArray:
        p = outputs["p"]
        if "class" not in p.dims:
            second = rng.random(p.shape) < p.to_numpy()
            return p.copy(data=self.classes_[second.astype(np.int64)])
        below = p.cumsum("class").to_numpy()[..., :-1]  # the last is 1, but for rounding
        codes = (rng.random((*below.shape[:-1], 1)) >= below).sum(axis=-1)
        return p.isel({"class": 0}, drop=True).copy(data=self.classes_[codes])
