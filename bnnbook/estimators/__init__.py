"""Bayesian networks as scikit-learn estimators, for pipelines, cross-validation and grid search.

An estimator builds a model of :mod:`bnnbook.models`, fits it by a function of
:mod:`bnnbook.inference` and predicts with :mod:`bnnbook.predict`; it has no inference of its own,
and ``model_`` and ``fit_`` give what those returned.

.. code-block:: python

    model = BNNRegressor(hidden=(20,), random_state=0).fit(X_train, y_train)
    mean = model.predict(X_test)
    lower, upper = model.predict_interval(X_test, level=0.9)
    model.score(X_test, y_test)  # mean log predictive density, higher is better
"""

from bnnbook.estimators.base import BayesianNetwork
from bnnbook.estimators.classifier import BNNClassifier
from bnnbook.estimators.methods import FITS
from bnnbook.estimators.regressor import BNNRegressor

__all__ = ["FITS", "BNNClassifier", "BNNRegressor", "BayesianNetwork"]
