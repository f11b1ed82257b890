"""The optimizers: how a gradient changes the parameters, each its formula and nothing else.

An optimizer is used in either of two ways: ``model.fit(..., optimizer=Adam())``, or by hand::

    optimizer = Adam(alpha=1e-2)
    optimizer.norm = dataset.norm
    optimizer.model = model
    optimizer.model.chain = loss_layer
    optimizer.step(*dataset.get_train_batch())
"""

from npnn import words
from npnn.optimizers.adam import Adam, AdamW
from npnn.optimizers.adaptive import Adadelta, Adagrad, RMSprop
from npnn.optimizers.descent import SGD, GradientDescent
from npnn.optimizers.optimizer import Optimizer

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "GradientDescent",
    "Optimizer",
    "RMSprop",
]


def __getattr__(name: str) -> None:
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}{words.name_instead(name, __all__)}"
    )
