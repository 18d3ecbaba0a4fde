"""Figures of the book. Each function takes data and an optional ``ax`` and returns the Axes.

Functions of several panels take ``axes``, or make a figure that fits the page (:func:`panels`).
One colour has one meaning everywhere: class 0 is blue and a circle, class 1 is orange and a
triangle (Okabe and Ito's colour-blind-safe palette); uncertainty is drawn in a sequential map; a
method has the colour, line and marker of :func:`method_style` wherever it appears.
"""

from bnnbook.plots.animation import Animation, animate_surface
from bnnbook.plots.chains import (
    chain_traces,
    elbo_trace,
    running_means,
    scale_posteriors,
    symmetry,
    tempering_ladder,
    variational_traces,
)
from bnnbook.plots.classification import (
    Grid,
    classification_data,
    grid,
    group_panels,
    probability_surface,
    reliability,
    surface_panels,
    uncertainty_surface,
)
from bnnbook.plots.comparison import (
    certainty_curves,
    curves,
    densities,
    paired,
    risk_coverage,
    spread,
)
from bnnbook.plots.dependence import ice, partial_dependence
from bnnbook.plots.images import class_bars, images
from bnnbook.plots.regression import pit_histogram, prior_functions, profiles, regression_bands
from bnnbook.plots.style import (
    CLASS_COLOURS,
    CLASS_MARKERS,
    LINE_STYLES,
    LINES,
    METHODS,
    PAGE_WIDTH,
    PROBABILITY,
    MethodStyle,
    method_style,
    method_styles,
    panels,
    use_style,
)

__all__ = [
    "CLASS_COLOURS",
    "CLASS_MARKERS",
    "LINES",
    "LINE_STYLES",
    "METHODS",
    "PAGE_WIDTH",
    "PROBABILITY",
    "Animation",
    "Grid",
    "MethodStyle",
    "animate_surface",
    "certainty_curves",
    "chain_traces",
    "class_bars",
    "classification_data",
    "curves",
    "densities",
    "elbo_trace",
    "grid",
    "group_panels",
    "ice",
    "images",
    "method_style",
    "method_styles",
    "paired",
    "panels",
    "partial_dependence",
    "pit_histogram",
    "prior_functions",
    "probability_surface",
    "profiles",
    "regression_bands",
    "reliability",
    "risk_coverage",
    "running_means",
    "scale_posteriors",
    "spread",
    "surface_panels",
    "symmetry",
    "tempering_ladder",
    "uncertainty_surface",
    "use_style",
    "variational_traces",
]
