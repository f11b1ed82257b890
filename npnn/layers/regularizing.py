"""Layers that keep a model from learning its samples by heart."""

from __future__ import annotations

from npnn import checked
from npnn.arrays import Array, Shape, array_namespace, as_array_shape
from npnn.layers.layer import Layer


class Dropout(Layer):
    r"""In training, each value is left out with probability p; nothing happens otherwise.

    .. math::

        y = \frac{m}{1 - p} \, x, \qquad \frac{dy}{dx} = \frac{m}{1 - p}, \qquad
        m = \begin{cases} 0 & \text{with probability } p \\ 1 & \text{else} \end{cases}

    What is left is scaled up, so that y has the same mean in training and outside it.

    Parameters
    ----------
    probability : float, default 0.5
        The probability p, at least 0 and below 1.
    shape : int or tuple of int, optional
        Shape of one sample; inferred if None.

    Raises
    ------
    ValueError
        If the probability is out of range.

    References
    ----------
    Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting".
    """

    noise = "uniform"

    def __init__(self, probability: float = 0.5, shape: int | Shape | None = None) -> None:
        self.probability = checked.fraction(probability, "probability")
        self.shape = self.shape_in = None if shape is None else as_array_shape(shape, "shape")

    def forward(self, x: Array) -> Array:
        if not self.training:
            self.factor = None
            return x
        kept = array_namespace(x).astype(self.random >= self.probability, x.dtype)
        self.factor = kept * (1.0 / (1.0 - self.probability))
        return x * self.factor

    def backward(self, grad_y: Array) -> Array:
        return grad_y if self.factor is None else grad_y * self.factor

    def __repr__(self) -> str:
        return f"Dropout({self.probability})"
