"""Predictions at new inputs for every posterior draw, from one compiled function."""

from bnnbook.predict.compiling import compile_predictor
from bnnbook.predict.groups import new_groups
from bnnbook.predict.predictor import Predictor

__all__ = ["Predictor", "compile_predictor", "new_groups"]
