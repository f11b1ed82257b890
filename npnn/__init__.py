"""Neural networks written once against the Python Array API, trained on the array library you use.

>>> import npnn
>>> model = npnn.Sequential([npnn.Dense(2, 4), npnn.Tanh(), npnn.Dense(4, 1)], backend="numpy")
"""

from npnn import (
    backends,
    callbacks,
    datasets,
    initializers,
    layers,
    loss_layer,
    optimizer,
    schedules,
)
from npnn.callbacks import (
    Callback,
    Checkpoint,
    CSVLog,
    EarlyStopping,
    LearningRateSchedule,
    ProgressBar,
    TerminateOnNaN,
)
from npnn.errors import DivergedError, MissingError
from npnn.files import load
from npnn.history import History
from npnn.layers import (
    Dense,
    Layer,
    LeakyReLU,
    Linear,
    ReLU,
    Sigmoid,
    Softmax,
    Softplus,
    Swish,
    Tanh,
)
from npnn.loss_layer import (
    BinaryCrossEntropyLoss,
    CrossEntropyLoss,
    L1Loss,
    LossLayer,
    RMSLoss,
)
from npnn.normalization import Normalization
from npnn.optimizer import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    GradientDescent,
    Optimizer,
    RMSprop,
)
from npnn.schedules import (
    ConstantRate,
    Cosine,
    ExponentialDecay,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
)
from npnn.sequential import Sequential

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "BinaryCrossEntropyLoss",
    "CSVLog",
    "Callback",
    "Checkpoint",
    "ConstantRate",
    "Cosine",
    "CrossEntropyLoss",
    "Dense",
    "DivergedError",
    "EarlyStopping",
    "ExponentialDecay",
    "GradientDescent",
    "History",
    "L1Loss",
    "Layer",
    "LeakyReLU",
    "LearningRateSchedule",
    "Linear",
    "LossLayer",
    "MissingError",
    "Normalization",
    "Optimizer",
    "ProgressBar",
    "RMSLoss",
    "RMSprop",
    "ReLU",
    "ReduceOnPlateau",
    "Schedule",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "StepDecay",
    "Swish",
    "Tanh",
    "TerminateOnNaN",
    "__version__",
    "backends",
    "callbacks",
    "datasets",
    "initializers",
    "layers",
    "load",
    "loss_layer",
    "optimizer",
    "schedules",
]
