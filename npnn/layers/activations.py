"""The activation functions: elementwise ones, and Softmax over the last axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from npnn import checked
from npnn.arrays import Array, Shape, array_namespace, as_array_shape
from npnn.layers.layer import Layer


class Activation(Layer, abstract=True):
    """Base of the activations: the shape goes through unchanged.

    Parameters
    ----------
    shape : int or tuple of int, optional
        Shape of one sample; inferred from the layer before if None.
    """

    default_initializer = "GlorotUniform"
    operations = 1

    def __init__(self, shape: int | Shape | None = None) -> None:
        self.shape = self.shape_in = None if shape is None else as_array_shape(shape, "shape")

    @property
    def flops(self) -> int:
        """Floating-point operations of one sample's forward pass, a function counted as one."""
        return self.operations * math.prod(self.shape_in or ())


class Linear(Activation):
    r"""The identity, :math:`y = x` with :math:`dy/dx = 1`: the output of a regression.

    Parameters
    ----------
    shape : int or tuple of int, optional
        Shape of one sample; inferred if None.
    """

    gives = "inputs"
    operations = 0

    @classmethod
    def _look_at(cls, args: Sequence[Any], options: dict[str, Any]) -> None:
        """Raise the error for what would be a layer with weights."""
        if len(args) > 1:
            shown = ", ".join(map(repr, args[:2]))
            raise TypeError(f"Linear is the identity: the layer with weights is Dense({shown})")

    def forward(self, x: Array) -> Array:
        return x

    def backward(self, grad_y: Array) -> Array:
        return grad_y


class ReLU(Activation):
    r"""The rectifier.

    .. math::

        y = \max(x, 0), \qquad \frac{dy}{dx} = \begin{cases} 1 & x > 0 \\ 0 & x \le 0 \end{cases}

    Parameters
    ----------
    shape : int or tuple of int, optional
        Shape of one sample; inferred if None.

    References
    ----------
    Nair and Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".
    """

    gives = "numbers"
    default_initializer = "HeNormal"

    def forward(self, x: Array) -> Array:
        xp = array_namespace(x)
        self.y = xp.maximum(x, 0.0)
        return self.y

    def backward(self, grad_y: Array) -> Array:
        xp = array_namespace(grad_y)
        return xp.where(self.y > 0.0, grad_y, 0.0)


class LeakyReLU(Activation):
    r"""The rectifier with a small slope on the negative side.

    .. math::

        y = \max(x, a x), \qquad \frac{dy}{dx} = \begin{cases} 1 & x > 0 \\ a & x \le 0 \end{cases}

    Parameters
    ----------
    shape : int or tuple of int, optional
        Shape of one sample; inferred if None.
    slope : float, default 0.1
        The slope a, at least 0 and below 1.

    References
    ----------
    Maas, Hannun and Ng 2013, "Rectifier nonlinearities improve neural network acoustic models".
    """

    gives = "numbers"
    default_initializer = "HeNormal"
    operations = 2

    @classmethod
    def _look_at(cls, args: Sequence[Any], options: dict[str, Any]) -> None:
        """Raise the error for a slope where the shape is."""
        if args and isinstance(args[0], float):
            raise TypeError(f"{cls.__name__}: write slope={args[0]} by name; the shape comes first")

    def __init__(self, shape: int | Shape | None = None, slope: float = 0.1) -> None:
        super().__init__(shape)
        self.slope = checked.fraction(slope, "slope")

    def forward(self, x: Array) -> Array:
        xp = array_namespace(x)
        self.y = xp.maximum(x, self.slope * x)
        return self.y

    def backward(self, grad_y: Array) -> Array:
        xp = array_namespace(grad_y)
        return xp.where(self.y > 0.0, grad_y, self.slope * grad_y)


class Tanh(Activation):
    r"""The hyperbolic tangent, :math:`y = \tanh x` with :math:`dy/dx = 1 - y^2`.

    The derivative is 0 where y rounds to 1, beyond 9 in float32 and 19 in float64.

    Parameters
    ----------
    shape : int or tuple of int, optional
        Shape of one sample; inferred if None.
    """

    gives = "numbers"

    def forward(self, x: Array) -> Array:
        xp = array_namespace(x)
        self.y = xp.tanh(x)
        return self.y

    def backward(self, grad_y: Array) -> Array:
        return grad_y * (1.0 - self.y * self.y)


class Sigmoid(Activation):
    r"""The logistic function.

    .. math::

        y = \frac{1}{1 + e^{-x}} = \frac{e^{\min(x, 0)}}{1 + e^{-|x|}}, \qquad
        \frac{dy}{dx} = y (1 - y) = \frac{e^{-|x|}}{(1 + e^{-|x|})^2}

    The second forms never raise e to a positive power, so no finite x overflows, and lose no digits
    where y is near 1.

    Parameters
    ----------
    shape : int or tuple of int, optional
        Shape of one sample; inferred if None.
    """

    gives = "fractions"
    operations = 5

    def forward(self, x: Array) -> Array:
        xp = array_namespace(x)
        self.e = xp.exp(-xp.abs(x))
        self.y = xp.where(x < 0.0, self.e, 1.0) / (1.0 + self.e)
        return self.y

    def backward(self, grad_y: Array) -> Array:
        return grad_y * (self.e / (1.0 + self.e) ** 2)


class Swish(Activation):
    r"""The input times its own logistic function, also called SiLU.

    .. math::

        y = x \, \sigma(x), \qquad \frac{dy}{dx} = \sigma(x) + y \, (1 - \sigma(x))

    Parameters
    ----------
    shape : int or tuple of int, optional
        Shape of one sample; inferred if None.

    References
    ----------
    Ramachandran, Zoph and Le 2017, "Searching for activation functions".
    """

    gives = "numbers"
    default_initializer = "HeNormal"
    operations = 6

    def forward(self, x: Array) -> Array:
        self.sigmoid = _sigmoid(x)
        self.y = x * self.sigmoid
        return self.y

    def backward(self, grad_y: Array) -> Array:
        return grad_y * (self.sigmoid + self.y * (1.0 - self.sigmoid))


class Softplus(Activation):
    r"""The smooth rectifier; always positive.

    .. math::

        y = \ln(1 + e^x) = \max(x, 0) + \ln(1 + e^{-|x|}), \qquad \frac{dy}{dx} = \sigma(x)

    Parameters
    ----------
    shape : int or tuple of int, optional
        Shape of one sample; inferred if None.

    References
    ----------
    Dugas et al. 2001, "Incorporating second-order functional knowledge for better option pricing".
    """

    gives = "positives"
    default_initializer = "HeNormal"
    operations = 5

    def forward(self, x: Array) -> Array:
        xp = array_namespace(x)
        self.x = x
        return xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))

    def backward(self, grad_y: Array) -> Array:
        return grad_y * _sigmoid(self.x)


class Softmax(Activation):
    r"""The inputs as probabilities that sum to 1 over the last axis.

    .. math::

        y_n = \frac{e^{x_n}}{\sum_k e^{x_k}}, \qquad
        \frac{\partial y_n}{\partial x_k} =
            \begin{cases} y_n (1 - y_k) & n = k \\ y_n (0 - y_k) & n \ne k \end{cases}

    The largest input is subtracted first, which changes no output and lets nothing overflow.
    :meth:`backward` is the product of the incoming gradient with that matrix, without building
    it:

    .. math::

        \frac{\partial L}{\partial x_k}
        = y_k \Big( \frac{\partial L}{\partial y_k} - \sum_n \frac{\partial L}{\partial y_n} y_n
          \Big)

    Parameters
    ----------
    shape : int or tuple of int, optional
        Shape of one sample; inferred if None.

    References
    ----------
    Bridle 1990, "Probabilistic interpretation of feedforward classification network outputs".
    """

    gives = "probabilities"
    operations = 5

    def forward(self, x: Array) -> Array:
        xp = array_namespace(x)
        e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
        self.y = e / xp.sum(e, axis=-1, keepdims=True)
        return self.y

    def backward(self, grad_y: Array) -> Array:
        xp = array_namespace(grad_y)
        return self.y * (grad_y - xp.sum(grad_y * self.y, axis=-1, keepdims=True))

    def jacobian(self, x: Array) -> Array:
        """Return the derivative of each output n with respect to each input k.

        Parameters
        ----------
        x : array, shape (..., inputs)

        Returns
        -------
        array, shape (..., inputs, inputs)
            ``y[n] * ((n == k) - y[k])`` at index ``[..., n, k]``.
        """
        xp = array_namespace(x)
        y = self.forward(x)
        same = xp.eye(x.shape[-1], dtype=x.dtype, device=x.device)
        return y[..., :, None] * (same - y[..., None, :])


def _sigmoid(x: Array) -> Array:
    xp = array_namespace(x)
    e = xp.exp(-xp.abs(x))
    return xp.where(x < 0.0, e, 1.0) / (1.0 + e)
