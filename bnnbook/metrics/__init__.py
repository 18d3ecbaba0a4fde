"""Scores of predictive distributions. All losses: lower is better, unless the name says otherwise.

For classification ``y`` holds integer labels (n,) and ``p`` is the probability of class 1, (n,), or
of each class, (n, K). A DataArray with dims (chain, draw, obs[, class]) is averaged over its draws
first: probabilities are averaged, not logits and not votes.

For regression ``y`` holds real targets (n,) or (n, D), and ``mu`` and ``sigma`` the mean and the
standard deviation of a normal likelihood for each posterior draw: DataArrays with dims (chain,
draw, obs[, output]), or arrays (draws, n[, D]). The predictive distribution is the equal mixture of
these normals. There are scores of their own for Student-t likelihoods, mixture densities, counts
and several labels a row, and :func:`log_score` for any likelihood.
"""

from bnnbook.metrics.classification import (
    Kind,
    Reliability,
    accuracy,
    brier,
    expected_calibration_error,
    nll,
    nll_multilabel,
    ranked_probability_score,
    reliability,
)
from bnnbook.metrics.counts import crps_counts, nll_counts, pit_counts
from bnnbook.metrics.intervals import (
    Interval,
    coverage,
    interval_score,
    interval_width,
    predictive_interval,
)
from bnnbook.metrics.mixtures import log_score
from bnnbook.metrics.normal_mixture import crps_mixture, nll_mixture, pit_mixture
from bnnbook.metrics.regression import crps, gaussian_mixture_nll, pit, rmse
from bnnbook.metrics.selection import (
    OODScores,
    RiskCoverage,
    accuracy_vs_certainty,
    ood_scores,
    risk_coverage,
)
from bnnbook.metrics.student_t import crps_student_t, nll_student_t

__all__ = [
    "Interval",
    "Kind",
    "OODScores",
    "Reliability",
    "RiskCoverage",
    "accuracy",
    "accuracy_vs_certainty",
    "brier",
    "coverage",
    "crps",
    "crps_counts",
    "crps_mixture",
    "crps_student_t",
    "expected_calibration_error",
    "gaussian_mixture_nll",
    "interval_score",
    "interval_width",
    "log_score",
    "nll",
    "nll_counts",
    "nll_mixture",
    "nll_multilabel",
    "nll_student_t",
    "ood_scores",
    "pit",
    "pit_counts",
    "pit_mixture",
    "predictive_interval",
    "ranked_probability_score",
    "reliability",
    "risk_coverage",
    "rmse",
]
