"""A Bayesian network for real targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pymc as pm
import xarray as xr
from sklearn.base import RegressorMixin

from bnnbook import metrics, models
from bnnbook.estimators.base import BayesianNetwork

__all__ = ["BNNRegressor"]


class BNNRegressor(RegressorMixin, BayesianNetwork):
    """Normal regression by a Bayesian neural network, :func:`bnnbook.models.mlp_regression`.

    Inputs and targets are standardised inside.

    Parameters
    ----------
    hidden : sequence of int
        Units per hidden layer; none gives linear regression.
    heteroskedastic : bool
        Whether the noise depends on the inputs too.
    activation : {"tanh", "relu", "gelu", "sigmoid"}
    prior_sd : float, sequence of float, or "1/sqrt(fan_in)", optional
        Prior sd of weights and biases; by default that of the model, 1 / sqrt(fan_in) for weights.
    category_dims : dict of str to int, optional
        Columns of a frame that hold categories, and the lengths of their embeddings, as in the
        model. A category that is new at prediction is predicted, with a warning.
    category_sd : float or "learned"
        Prior sd of the embeddings, as in the model.
    method : {"ensemble", "laplace", "advi", "nuts", "sgmcmc"}
        How to fit: see :data:`FITS`. "ensemble" takes seconds; "nuts" is the most exact. Laplace's
        approximation predicts with the linearised network.
    options : dict, optional
        Arguments of the function that fits, as ``{"n_members": 10}``. Without a ``"kernel"``,
        "sgmcmc" takes 10,000 small steps of SGHMC with all rows.
    random_state : int, NumPy generator or None
        The seed; None takes a new one each time.

    Attributes
    ----------
    model_ : pymc.Model
    fit_ : xarray.DataTree
        What the method returned, with ``converged`` and ``problems`` in its attributes.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : array of str
        Their names, if X was a frame.
    """

    outputs = ("mu", "sigma")
    numeric_targets = True

    def __init__(
        self,
        hidden: Sequence[int] = (20,),
        *,
        heteroskedastic: bool = False,
        activation: str = "tanh",
        prior_sd: float | Sequence[float] | str | None = None,
        category_dims: Mapping[str, int] | None = None,
        category_sd: float | str = 1.0,
        method: str = "ensemble",
        options: Mapping[str, Any] | None = None,
        random_state: Any = None,
    ) -> None:
        self.hidden = hidden
        self.heteroskedastic = heteroskedastic
        self.activation = activation
        self.prior_sd = prior_sd
        self.category_dims = category_dims
        self.category_sd = category_sd
        self.method = method
        self.options = options
        self.random_state = random_state

    def predict(self, X: Any) -> np.ndarray:
        """Mean of the posterior predictive distribution, (n,)."""
        return self._outputs(X, reduce="mean")["mu"].to_numpy()

    def predict_interval(self, X: Any, level: float = 0.9) -> metrics.Interval:
        """Central interval of the predictive distribution, noise included; exact for the draws.

        Parameters
        ----------
        X : array or frame (n, d)
        level : float
            Probability of the interval, in (0, 1).

        Returns
        -------
        Interval
            ``lower, upper``, each (n,).

        Raises
        ------
        ValueError
            If ``level`` is not in (0, 1).
        """
        found = self._outputs(X)
        return metrics.predictive_interval(found["mu"], found["sigma"], level=level)

    def score(self, X: Any, y: Any) -> float:
        """Mean log predictive density of y, nats per row in the units of y; higher is better."""
        X, y = self._checked(X, y, reset=False)
        found = self._outputs(X)
        return -metrics.gaussian_mixture_nll(y, found["mu"], found["sigma"])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True  # scikit-learn asks for R^2, and score is a log score
        return tags

    def _targets(self, y: np.ndarray) -> np.ndarray:
        return np.asarray(y, dtype=np.float64)

    def _build(self, X: Any, y: np.ndarray) -> pm.Model:
        return models.mlp_regression(
            X, y, self.hidden, heteroskedastic=self.heteroskedastic, activation=self.activation,
            prior_sd=self.prior_sd, category_dims=self.category_dims,
            category_sd=self.category_sd,
        )  # fmt: skip

    def _drawn(self, outputs: xr.Dataset, rng: np.random.Generator) -> xr.DataArray:
        return outputs["mu"] + outputs["sigma"] * rng.standard_normal(outputs["mu"].shape)
