"""What a predictor takes and gives, in plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bnnbook.predict.draws import Held, Parameter
from bnnbook.predict.inputs import Input

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """What a predictor takes and gives, in plain data: everything but the compiled code.

    Attributes
    ----------
    outputs : dict
        Dims of each output, its rows called ``obs``.
    parameters, inputs, held : dict
        The free variables, the containers of rows, and the other data that the outputs depend on.
    labels : dict
        Labels of the model's dims, but of its rows.
    whole : bool
        Whether an output's row depends on other rows, as one that is centred by their mean: all
        rows are then computed at once.
    fingerprints : dict
        Of each output, as a fit has it.
    dtype : {"float64", "float32"}
    """

    outputs: Mapping[str, tuple[str | None, ...]]
    parameters: Mapping[str, Parameter]
    inputs: Mapping[str, Input]
    held: Mapping[str, Held]
    labels: Mapping[str, np.ndarray]
    whole: bool
    fingerprints: Mapping[str, str | None]
    dtype: str = "float64"
