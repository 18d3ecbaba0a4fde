"""Has the sampler converged, and is it the posterior? Asked of functions, not of weights."""

from bnnbook.diagnostics.functions import agreement, canonicalise, function_space, total_variation
from bnnbook.diagnostics.references import against_reference

__all__ = [
    "against_reference",
    "agreement",
    "canonicalise",
    "function_space",
    "total_variation",
]
