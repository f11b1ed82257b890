"""The layers: each one class, its formula and the derivative of that formula."""

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
from npnn.layers.dense import Dense
from npnn.layers.layer import Layer

__all__ = [
    "Activation",
    "Dense",
    "Layer",
    "LeakyReLU",
    "Linear",
    "ReLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Swish",
    "Tanh",
]
