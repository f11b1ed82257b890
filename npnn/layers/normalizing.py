"""Layers that bring what flows through a model to mean 0 and variance 1."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from npnn import initializers
from npnn.arrays import Array, Shape, array_namespace, as_shape
from npnn.layers.layer import Layer

if TYPE_CHECKING:
    import numpy as np

_ZERO, _ONE = initializers.Constant(0.0), initializers.Constant(1.0)


class _Normalizing(Layer):
    """What both have in common: the scale gamma and the shift beta of each channel."""

    parameter_names = ("gamma", "beta")
    gamma: Array
    beta: Array

    def __init__(self, shape: int | Shape | None, epsilon: float) -> None:
        if not epsilon > 0.0:
            raise ValueError(f"epsilon must be positive, such as 1e-5, not {epsilon}")
        self.shape = self.shape_in = None if shape is None else as_shape(shape, "shape")
        self.epsilon = epsilon

    def build(self, shape_in: Shape | int, rng: np.random.Generator | None = None) -> Shape:
        self.shape_in = self.shape_out = self.accept(shape_in)
        self.draw("gamma", _ONE, rng, self.shape_in[-1:])
        self.draw("beta", _ZERO, rng, self.shape_in[-1:])
        return self.shape_out

    @property
    def flops(self) -> int:
        return 8 * math.prod(self.shape_in or ())


class BatchNorm(_Normalizing):
    r"""Each channel normalised over the batch, and over the pixels of images.

    .. math::

        \hat x = \frac{x - \mu}{\sigma}, \qquad y = \gamma \hat x + \beta, \qquad
        \mu = \overline{x}, \qquad \sigma^2 = \overline{(x - \mu)^2} + \epsilon

    with means over all axes but the last. Every output depends on all inputs of its channel:

    .. math::

        \frac{\partial L}{\partial x} = \frac{\gamma}{\sigma} \Big( g - \overline{g}
            - \hat x \, \overline{g \hat x} \Big), \qquad
        \frac{\partial L}{\partial \gamma} = \sum g \hat x, \qquad
        \frac{\partial L}{\partial \beta} = \sum g, \qquad g = \frac{\partial L}{\partial y}

    Outside training :math:`\mu` and :math:`\sigma^2` are running means of those of the batches,
    that of the variance without bias, and constants for the gradient.

    Parameters
    ----------
    shape : int or tuple of int, optional
        Shape of one sample; inferred if None.
    momentum : float, default 0.9
        Share of the old value in the running means, at least 0 and below 1.
    epsilon : float, default 1e-5
        Added to the variance.

    Attributes
    ----------
    gamma, beta : array, shape (channels,)
        They start at 1 and 0.
    running_mean, running_variance : array, shape (channels,)
        They start at 0 and 1.

    Raises
    ------
    ValueError
        If a number is out of range.

    References
    ----------
    Ioffe and Szegedy 2015, "Batch normalization: accelerating deep network training by reducing
    internal covariate shift".
    """

    state_names = ("running_mean", "running_variance")
    running_mean: Array
    running_variance: Array

    def __init__(
        self, shape: int | Shape | None = None, momentum: float = 0.9, epsilon: float = 1e-5
    ) -> None:
        super().__init__(shape, epsilon)
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum must be at least 0 and below 1, not {momentum}")
        self.momentum = momentum

    def build(self, shape_in: Shape | int, rng: np.random.Generator | None = None) -> Shape:
        shape = super().build(shape_in, rng)
        self.draw("running_mean", _ZERO, rng, shape[-1:])
        self.draw("running_variance", _ONE, rng, shape[-1:])
        return shape

    def forward(self, x: Array) -> Array:
        xp = array_namespace(x)
        self.of_batch = self.training
        if self.of_batch:
            axes = tuple(range(x.ndim - 1))
            mean = xp.mean(x, axis=axes)
            centred = x - mean
            variance = xp.mean(centred * centred, axis=axes)
            self._follow(mean, variance, math.prod(x.shape[:-1]))
        else:
            mean, variance = self.running_mean, self.running_variance
            centred = x - mean
        self.scale = 1.0 / xp.sqrt(variance + self.epsilon)
        self.normal = centred * self.scale
        return self.gamma * self.normal + self.beta

    def backward(self, grad_y: Array) -> Array:
        xp = array_namespace(grad_y)
        axes = tuple(range(grad_y.ndim - 1))
        self.grad_gamma = xp.sum(grad_y * self.normal, axis=axes)
        self.grad_beta = xp.sum(grad_y, axis=axes)
        factor = self.gamma * self.scale
        if not self.of_batch:
            return grad_y * factor
        share = 1.0 / math.prod(grad_y.shape[:-1])
        along = self.normal * (self.grad_gamma * share)
        return (grad_y - self.grad_beta * share - along) * factor

    def _follow(self, mean: Array, variance: Array, count: int) -> None:
        old, new = self.momentum, 1.0 - self.momentum
        unbiased = new * count / max(count - 1, 1)
        self.running_mean = old * self.running_mean + new * mean
        self.running_variance = old * self.running_variance + unbiased * variance


class LayerNorm(_Normalizing):
    r"""Each sample, and each pixel of an image, normalised over its channels.

    .. math::

        \hat x = \frac{x - \mu}{\sigma}, \qquad y = \gamma \hat x + \beta, \qquad
        \mu = \overline{x}, \qquad \sigma^2 = \overline{(x - \mu)^2} + \epsilon

    with means over the last axis, in training and outside it. With sums over the other axes,

    .. math::

        \frac{\partial L}{\partial x} = \frac{1}{\sigma} \Big( g - \overline{g}
            - \hat x \, \overline{g \hat x} \Big), \quad
        g = \gamma \frac{\partial L}{\partial y}, \qquad
        \frac{\partial L}{\partial \gamma} = \sum \frac{\partial L}{\partial y} \hat x, \qquad
        \frac{\partial L}{\partial \beta} = \sum \frac{\partial L}{\partial y}

    Parameters
    ----------
    shape : int or tuple of int, optional
        Shape of one sample; inferred if None.
    epsilon : float, default 1e-5
        Added to the variance.

    Attributes
    ----------
    gamma, beta : array, shape (channels,)
        They start at 1 and 0.

    Raises
    ------
    ValueError
        If `epsilon` is not positive.

    References
    ----------
    Ba, Kiros and Hinton 2016, "Layer normalization".
    """

    def __init__(self, shape: int | Shape | None = None, epsilon: float = 1e-5) -> None:
        super().__init__(shape, epsilon)

    def forward(self, x: Array) -> Array:
        xp = array_namespace(x)
        centred = x - xp.mean(x, axis=-1, keepdims=True)
        variance = xp.mean(centred * centred, axis=-1, keepdims=True)
        self.scale = 1.0 / xp.sqrt(variance + self.epsilon)
        self.normal = centred * self.scale
        return self.gamma * self.normal + self.beta

    def backward(self, grad_y: Array) -> Array:
        xp = array_namespace(grad_y)
        axes = tuple(range(grad_y.ndim - 1))
        self.grad_gamma = xp.sum(grad_y * self.normal, axis=axes)
        self.grad_beta = xp.sum(grad_y, axis=axes)
        g = grad_y * self.gamma
        along = self.normal * xp.mean(g * self.normal, axis=-1, keepdims=True)
        return (g - xp.mean(g, axis=-1, keepdims=True) - along) * self.scale
