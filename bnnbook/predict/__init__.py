"""Predictions at new inputs for every posterior draw, from one compiled function."""

from bnnbook.predict.bound import Bound
from bnnbook.predict.compiling import compile_predictor
from bnnbook.predict.groups import new_groups
from bnnbook.predict.predictor import Predictor
from bnnbook.predict.saved import Saved, load, save

__all__ = ["Bound", "Predictor", "Saved", "compile_predictor", "load", "new_groups", "save"]
