"""The loss of a model that was given none."""

from __future__ import annotations

from npnn.layers.layer import Layer, given_by
from npnn.layers.row import Row
from npnn.losses.distances import RMSLoss
from npnn.losses.loss import LossLayer


def default_loss(model: Layer) -> LossLayer:
    """Return a loss of the last layer's canonical kind; half the squared distance for the rest.

    The last layer is the one whose outputs come to the loss, perhaps in another shape.
    """
    last = model
    while isinstance(last, Row) and last.layers:
        made = [layer for layer in last.layers if given_by(layer) != "inputs"]
        last = (made or last.layers)[-1]
    for kind in LossLayer.__subclasses__():
        if kind.canonical_activation is type(last):
            return kind(model.shape_out)
    return RMSLoss(model.shape_out)
