"""Neural networks written once against the Python Array API, trained on the array library you use.

>>> import npnn
>>> model = npnn.Sequential([npnn.Dense(2, 4), npnn.Tanh(), npnn.Dense(4, 1)], backend="numpy")
"""

import importlib
import importlib.util
from typing import Any

if importlib.util.find_spec("npnn.backends") is None:
    raise ImportError(
        f"{__path__[0]} is the folder of the sources, whose backends lie beside it: "
        "install them with pip install -e . in the project's folder, or run from another folder"
    )

from npnn import (
    backends,
    callbacks,
    datasets,
    files,
    initializers,
    inside,
    layers,
    loss_layer,
    losses,
    optimizer,
    optimizers,
    schedules,
    training,
    words,
)
from npnn.callbacks import (
    Callback,
    Checkpoint,
    CSVLog,
    EarlyStopping,
    Film,
    JSONLines,
    LearningRateSchedule,
    LivePlot,
    MLflow,
    ProgressBar,
    Report,
    TensorBoard,
    TerminateOnNaN,
)
from npnn.errors import DivergedError, FileError, GradientError, MissingError
from npnn.gradient_check import check_gradients
from npnn.history import History
from npnn.layers import (
    AvgPool,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Inception,
    Latent,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    MaxPool,
    Pad2D,
    Parallel,
    ReLU,
    Residual,
    Sample,
    Shape,
    Sigmoid,
    Softmax,
    Softplus,
    Swish,
    Tanh,
    UpConv2D,
)
from npnn.loading import load
from npnn.losses import (
    BinaryCrossEntropyLoss,
    CrossEntropyLoss,
    HuberLoss,
    KullbackLeiblerLoss,
    L1Loss,
    LossLayer,
    RMSLoss,
)
from npnn.model import Sequential
from npnn.normalization import Normalization
from npnn.optimizers import (
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
from npnn.version import __version__

# Not needed by everyone, and so imported when first asked for.
_LATER = ("draw", "plots", "profiling", "reports")


def __getattr__(name: str) -> Any:
    if name == "draw":
        return importlib.import_module("npnn.plots").draw
    if name in _LATER:
        return importlib.import_module(f"npnn.{name}")
    hint = words.name_instead(name, __all__)
    raise AttributeError(f"module 'npnn' has no attribute {name!r}{hint}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})


__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "AvgPool",
    "BatchNorm",
    "BinaryCrossEntropyLoss",
    "CSVLog",
    "Callback",
    "Checkpoint",
    "ConstantRate",
    "Conv2D",
    "Cosine",
    "CrossEntropyLoss",
    "Dense",
    "DivergedError",
    "Dropout",
    "EarlyStopping",
    "ExponentialDecay",
    "FileError",
    "Film",
    "Flatten",
    "GlobalAvgPool",
    "GradientDescent",
    "GradientError",
    "History",
    "HuberLoss",
    "Inception",
    "JSONLines",
    "KullbackLeiblerLoss",
    "L1Loss",
    "Latent",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "LearningRateSchedule",
    "Linear",
    "LivePlot",
    "LossLayer",
    "MLflow",
    "MaxPool",
    "MissingError",
    "Normalization",
    "Optimizer",
    "Pad2D",
    "Parallel",
    "ProgressBar",
    "RMSLoss",
    "RMSprop",
    "ReLU",
    "ReduceOnPlateau",
    "Report",
    "Residual",
    "Sample",
    "Schedule",
    "Sequential",
    "Shape",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "StepDecay",
    "Swish",
    "Tanh",
    "TensorBoard",
    "TerminateOnNaN",
    "UpConv2D",
    "__version__",
    "backends",
    "callbacks",
    "check_gradients",
    "datasets",
    "files",
    "initializers",
    "inside",
    "layers",
    "load",
    "loss_layer",
    "losses",
    "optimizer",
    "optimizers",
    "schedules",
    "training",
]
