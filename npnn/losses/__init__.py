"""The losses: what training makes small, and the gradient that training starts from.

A loss is a link of a chain: ``model.chain = loss``. A loss that only looks at what passes, such
as a penalty on a code, may itself be followed by a model: ``loss.chain = decoder``.
"""

from npnn import words
from npnn.losses.cross_entropy import BinaryCrossEntropyLoss, CrossEntropyLoss
from npnn.losses.default import default_loss
from npnn.losses.distances import HuberLoss, L1Loss, RMSLoss
from npnn.losses.kullback_leibler import KullbackLeiblerLoss
from npnn.losses.loss import LossLayer

__all__ = [
    "BinaryCrossEntropyLoss",
    "CrossEntropyLoss",
    "HuberLoss",
    "KullbackLeiblerLoss",
    "L1Loss",
    "LossLayer",
    "RMSLoss",
    "default_loss",
]


def __getattr__(name: str) -> None:
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}{words.name_instead(name, __all__)}"
    )
