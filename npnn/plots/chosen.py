"""The picture that suits a model and its data, whichever they are."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.labels import numbered
from npnn.layers.layer import given_by
from npnn.plots.answers import decision_boundary, outputs_of, predicted_against_true, regression
from npnn.plots.confusion import confusion_matrix
from npnn.reports import confusion_counts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from npnn.model import Sequential


def picture_of(model: Sequential, x: Any, t: Any) -> Figure:
    """Draw what a model answers, in the way that its inputs and outputs ask for.

    Two inputs and classes make the decision boundary, a single input of a regression the fitted
    curve; other classes make the matrix of what is taken for what, and other numbers the predicted
    ones against the true ones. The limits of the axes come from the data, so that pictures of one
    model at different times can be compared.

    Parameters
    ----------
    model : Sequential
        Has inputs of a known shape.
    x, t : array_like
        Raw inputs and targets: numbers, integer or one-hot classes, or words.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If `t` is of another shape than the outputs.
    """
    x, classes = np.asarray(x), classes_of(model, t)
    inputs = prod(x.shape[1:])
    if classes is not None:
        if inputs == 2:
            return decision_boundary(model, x.reshape(-1, 2), classes)
        y = outputs_of(model, x)
        num = max(2, y.shape[1])
        return confusion_matrix(confusion_counts(classes, chosen(y), num), model.class_names)
    t = targets_of(t)
    name = str(model.details.get("target_name", "target"))
    if inputs == 1:
        figure = regression(model, x.reshape(-1, 1), t)
        figure.axes[0].set_ylim(*_around(t))
        return figure
    figure = predicted_against_true(outputs_of(model, x), t, name=name)
    figure.axes[0].set(xlim=_around(t), ylim=_around(t))
    return figure


def classes_of(model: Sequential, t: Any) -> np.ndarray | None:
    """Return targets as integer classes; None where the model tells no classes apart."""
    gives, outputs = given_by(model.layers[-1]), prod(model.shape_out or ())
    if gives != "probabilities" and (gives != "fractions" or outputs > 1):
        return None
    t = np.asarray(t)
    if t.dtype.kind in "OUS":
        return numbered(t.reshape(len(t)), model.class_names or (), "targets t")
    if t.ndim > 1 and t.shape[-1] > 1:
        return np.asarray(t.argmax(axis=-1))
    return np.asarray(t.reshape(len(t)) > 0.5 if outputs == 1 else t.reshape(len(t)), np.int64)


def targets_of(t: Any) -> np.ndarray:
    """Return targets of a regression, a row for each sample."""
    return np.asarray(t, dtype=np.float64).reshape(len(t), -1)


def chosen(y: np.ndarray) -> np.ndarray:
    """Return the class that each row of outputs stands for."""
    return y.argmax(axis=1) if y.shape[1] > 1 else (y[:, 0] > 0.5).astype(np.int64)


def _around(t: np.ndarray) -> tuple[float, float]:
    low, high = float(t.min()), float(t.max())
    edge = 0.2 * (high - low) or 1.0
    return low - edge, high + edge
