"""Layers that bring what flows through a model to mean 0 and variance 1."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from npnn import checked, initializers
from npnn.arrays import Array, Shape, array_namespace, as_array_shape
from npnn.layers.layer import Layer
from npnn.values import check_none, check_numbers

if TYPE_CHECKING:
    import numpy as np

_ZERO, _ONE = initializers.Constant(0.0), initializers.Constant(1.0)


class _Normalizing(Layer):
    """What both have in common: the scale gamma and the shift beta of each channel."""

    parameter_names = ("gamma", "beta")
    gamma: Array
    beta: Array

    def __init__(self, shape: int | Shape | None, epsilon: float) -> None:
        self.shape = self.shape_in = None if shape is None else as_array_shape(shape, "shape")
        self.epsilon = checked.positive(epsilon, "epsilon")

    def build(self, shape_in: Shape | int, rng: np.random.Generator | None = None) -> Shape:
        self.shape_in = self.shape_out = self.accept(shape_in)
        self.draw("gamma", _ONE, rng, self.shape_in[-1:])
        self.draw("beta", _ZERO, rng, self.shape_in[-1:])
        return self.shape_out

    @property
    def flops(self) -> int:
        return 8 * math.prod(self.shape_in or ())


def _centred(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Return the mean, and what is left of `x` without it, whose own mean is 0.

    The mean of numbers far from 0 is rounded by more than they may differ; the mean of what is left
    is what it was rounded by.
    """
    xp = array_namespace(x)
    mean = xp.mean(x, axis=axes, keepdims=True)
    centred = x - mean
    rest = xp.mean(centred, axis=axes, keepdims=True)
    return mean + rest, centred - rest


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

    Outside training, and for a batch that has a single value of each channel, :math:`\mu` and
    :math:`\sigma^2` are running ones, and constants for the gradient. Those are the mean and the
    variance (without bias) of all samples so far, each batch counting momentum times as much as the
    one after it: with n values of a channel in a batch,

    .. math::

        W' = m W + n, \quad \delta = \mu - \mu_r, \quad
        \mu_r' = \mu_r + \frac{n}{W'} \delta, \quad
        (W' - 1) \, v_r' = m (W - 1) \, v_r + \sum (x - \mu)^2 + \frac{m W n}{W'} \delta^2

    Parameters
    ----------
    shape : int or tuple of int, optional
        Shape of one sample; inferred if None.
    momentum : float, optional
        What an earlier batch counts beside the next one, m: at least 0 and below 1. By default
        0.9; with None all count alike, so that the running ones are those of all that was seen.
    epsilon : float, default 1e-5
        Added to the variance.

    Attributes
    ----------
    gamma, beta : array, shape (channels,)
        They start at 1 and 0.
    running_mean, running_variance : array, shape (channels,)
        They are 0 and 1 until there is something that they can be made of.
    running_weight : array, shape (1,)
        W, how many values of a channel that was; it starts at 0.

    Raises
    ------
    ValueError
        If a number is out of range.

    References
    ----------
    Ioffe and Szegedy 2015, "Batch normalization: accelerating deep network training by reducing
    internal covariate shift". The running variance: Chan, Golub and LeVeque 1983, "Algorithms for
    computing the sample variance".
    """

    gives = "numbers"
    state_names = ("running_mean", "running_variance", "running_weight")
    running_mean: Array
    running_variance: Array
    running_weight: Array

    def __init__(
        self,
        shape: int | Shape | None = None,
        momentum: float | None = 0.9,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__(shape, epsilon)
        self.momentum = None if momentum is None else checked.fraction(momentum, "momentum")

    def build(self, shape_in: Shape | int, rng: np.random.Generator | None = None) -> Shape:
        shape = super().build(shape_in, rng)
        self.draw("running_mean", _ZERO, rng, shape[-1:])
        self.draw("running_variance", _ONE, rng, shape[-1:])
        self.draw("running_weight", _ZERO, rng, (1,))
        return shape

    def check_array(self, name: str, array: Array, what: str) -> None:
        super().check_array(name, array, what)
        if name in ("running_variance", "running_weight"):
            check_none(array < 0.0, array, what, "at least 0")
        check_numbers(array, what, "finite numbers")

    def forward(self, x: Array) -> Array:
        xp = array_namespace(x)
        count = math.prod(x.shape[:-1])
        self.of_batch = self.training and count > 1
        variance, centred = self.running_variance, x - self.running_mean
        if self.training:
            axes = tuple(range(x.ndim - 1))
            mean, within = _centred(x, axes)
            squares = xp.sum(within * within, axis=axes)
            if self.of_batch:
                variance, centred = squares / count, within
            self._follow(xp.reshape(mean, (-1,)), squares, count)
        variance = variance + self.epsilon
        self.scale = xp.sqrt(variance) / variance  # NaN, and not 0, where that is too large
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

    def _follow(self, mean: Array, squares: Array, count: int) -> None:
        """Have the running mean and variance take in a batch's."""
        xp = array_namespace(mean)
        kept = 1.0 if self.momentum is None else self.momentum
        before, squares_before = self.running_weight, xp.maximum(self.running_weight - 1.0, 0.0)
        weight = kept * before + count
        away = mean - self.running_mean
        between = (kept * before * count / weight) * away * away
        total = kept * squares_before * self.running_variance + squares + between
        # One value has no variance.
        some = weight > 1.0
        known = total / xp.where(some, weight - 1.0, 1.0)
        self._hold("running_mean", self.running_mean + count / weight * away)
        self._hold("running_variance", xp.where(some, known, self.running_variance))
        self._hold("running_weight", weight)


class LayerNorm(_Normalizing):
    r"""Each sample, and each pixel of an image, normalised over its channels.

    .. math::

        \hat x = \frac{x - \mu}{\sigma}, \qquad y = \gamma \hat x + \beta, \qquad
        \mu = \overline{x}, \qquad \sigma^2 = \overline{(x - \mu)^2} + \epsilon

    with means over the last axis, in training and outside it. Any origin and any unit give the
    same; the code takes the first channel, and how far the others are from it: so the mean of
    numbers far from 0 is not rounded by more than they differ, and no square is too large or too
    small. With sums over the other axes,

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

    gives = "numbers"

    def __init__(self, shape: int | Shape | None = None, epsilon: float = 1e-5) -> None:
        super().__init__(shape, epsilon)

    def forward(self, x: Array) -> Array:
        xp = array_namespace(x)
        least = max(math.sqrt(self.epsilon), float(xp.finfo(x.dtype).smallest_normal))
        x = x - x[..., :1]
        unit = xp.maximum(xp.mean(xp.abs(x), axis=-1, keepdims=True), least)
        x = x * (1.0 / unit)
        centred = x - xp.mean(x, axis=-1, keepdims=True)
        variance = xp.mean(centred * centred, axis=-1, keepdims=True)
        per_deviation = 1.0 / xp.sqrt(variance + (math.sqrt(self.epsilon) / unit) ** 2)
        self.normal, self.scale = centred * per_deviation, per_deviation / unit
        return self.gamma * self.normal + self.beta

    def backward(self, grad_y: Array) -> Array:
        xp = array_namespace(grad_y)
        axes = tuple(range(grad_y.ndim - 1))
        self.grad_gamma = xp.sum(grad_y * self.normal, axis=axes)
        self.grad_beta = xp.sum(grad_y, axis=axes)
        g = grad_y * self.gamma
        along = self.normal * xp.mean(g * self.normal, axis=-1, keepdims=True)
        return (g - xp.mean(g, axis=-1, keepdims=True) - along) * self.scale
