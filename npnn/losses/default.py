"""The loss of a model that was given none."""

from __future__ import annotations

from npnn.layers.layer import Layer
from npnn.losses.distances import RMSLoss
from npnn.losses.loss import LossLayer


def default_loss(model: Layer) -> LossLayer:
    """Return a loss of the last layer's canonical kind; half the squared distance for the rest.

    The last layer is the one whose outputs come to the loss, perhaps in another shape.
    """
    last = model
    while children := [child for _, child in last.children()]:
        made = [child for child in children if vars(type(child)).get("gives") != "inputs"]
        last = (made or children)[-1]
    for kind in LossLayer.__subclasses__():
        if kind.canonical_activation is type(last):
            return kind(model.shape_out)
    return RMSLoss(model.shape_out)
