"""The layers: each one class, its formula and the derivative of that formula."""

from npnn import words
from npnn.layers.activations import (
    Activation,
    LeakyReLU,
    Linear,
    ReLU,
    Sigmoid,
    Softmax,
    Softplus,
    Swish,
    Tanh,
)
from npnn.layers.composite import Inception, Parallel, Residual
from npnn.layers.convolution import Conv2D, UpConv2D
from npnn.layers.dense import Dense
from npnn.layers.latent import Latent, Sample
from npnn.layers.layer import Layer
from npnn.layers.normalizing import BatchNorm, LayerNorm
from npnn.layers.pooling import AvgPool, GlobalAvgPool, MaxPool
from npnn.layers.regularizing import Dropout
from npnn.layers.shaping import Flatten, Pad2D, Shape

__all__ = [
    "Activation",
    "AvgPool",
    "BatchNorm",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAvgPool",
    "Inception",
    "Latent",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MaxPool",
    "Pad2D",
    "Parallel",
    "ReLU",
    "Residual",
    "Sample",
    "Shape",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Swish",
    "Tanh",
    "UpConv2D",
]


def __getattr__(name: str) -> None:
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}{words.name_instead(name, __all__)}"
    )
