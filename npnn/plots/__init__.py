"""Pictures of training and of what a model does, drawn without pyplot, windows or global state.

Each function returns a ``matplotlib.figure.Figure``, which a notebook shows by itself, and writes
a PNG file if it is given a path; :func:`report` writes a page of them.
"""

from npnn.plots.answers import decision_boundary, predicted_against_true, regression
from npnn.plots.chosen import picture_of
from npnn.plots.confusion import confusion_matrix
from npnn.plots.inside import draw, histograms, landscape
from npnn.plots.report import report
from npnn.plots.samples import codes, images
from npnn.plots.style import hold_still, shortened
from npnn.plots.training import curves, profile

__all__ = [
    "codes",
    "confusion_matrix",
    "curves",
    "decision_boundary",
    "draw",
    "histograms",
    "hold_still",
    "images",
    "landscape",
    "picture_of",
    "predicted_against_true",
    "profile",
    "regression",
    "report",
    "shortened",
]
