"""Pictures of training and of what a model does, drawn without pyplot, windows or global state.

Each function returns a ``matplotlib.figure.Figure``, which a notebook shows by itself, and writes
a PNG file if it is given a path.
"""

from npnn.plots.answers import decision_boundary, predicted_against_true, regression
from npnn.plots.confusion import confusion_matrix
from npnn.plots.inside import draw, histograms, landscape
from npnn.plots.style import shortened
from npnn.plots.training import curves, profile

__all__ = [
    "confusion_matrix",
    "curves",
    "decision_boundary",
    "draw",
    "histograms",
    "landscape",
    "predicted_against_true",
    "profile",
    "regression",
    "shortened",
]
