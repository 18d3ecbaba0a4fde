"""Bayesian neural networks as :class:`pymc.Model` objects.

Every builder returns a model with the inputs in ``pm.Data`` containers ``X`` and ``y``,
labelled ``coords``, one deterministic with the network's output and one likelihood ``obs``.

A network of :math:`L` hidden layers computes, for one input row :math:`x`,

.. math::
    h^0 = x, \\qquad h^l = g(h^{l-1} W^l + b^l), \\qquad f = h^L W^{out} + b^{out},

with the weights named ``w1, ..., wL, w_out`` and the biases ``b1, ..., bL, b_out``.
"""

from bnnbook.models.classifier import mlp_classifier
from bnnbook.models.counts import mlp_counts
from bnnbook.models.heads import HEADS, SCALE_LINKS
from bnnbook.models.hierarchical import hierarchical_mlp_classifier
from bnnbook.models.layers import ACTIVATIONS
from bnnbook.models.module import from_module
from bnnbook.models.multilabel import mlp_multilabel
from bnnbook.models.ordinal import mlp_ordinal
from bnnbook.models.regression import mlp_regression

__all__ = [
    "ACTIVATIONS",
    "HEADS",
    "SCALE_LINKS",
    "from_module",
    "hierarchical_mlp_classifier",
    "mlp_classifier",
    "mlp_counts",
    "mlp_multilabel",
    "mlp_ordinal",
    "mlp_regression",
]
