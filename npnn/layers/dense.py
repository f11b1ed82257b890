"""The fully connected layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from npnn import initializers
from npnn.arrays import Array, Shape, array_namespace, as_array_shape
from npnn.layers.layer import Layer
from npnn.layers.weighted import Weighted, both_shapes, look_at_shapes

if TYPE_CHECKING:
    import numpy as np


class Dense(Weighted):
    r"""An affine map of the features, a weight for each pair of input and output.

    .. math::

        y = x w + b

    and, for a gradient :math:`\partial L / \partial y` that comes in,

    .. math::

        \frac{\partial L}{\partial w} = x^T \frac{\partial L}{\partial y}, \qquad
        \frac{\partial L}{\partial b} = \sum_{\mathrm{batch}} \frac{\partial L}{\partial y}, \qquad
        \frac{\partial L}{\partial x} = \frac{\partial L}{\partial y} w^T

    Parameters
    ----------
    shape_in : int or tuple of int, optional
        Shape of one input sample, flattened if it has several axes; inferred if None.
    shape_out : int or tuple of int
        Shape of one output sample; ``Dense(64)`` is ``Dense(None, 64)``.
    bias : bool, default True
        Whether there is `b`.
    activation : str or Layer, optional
        What follows, such as ``"relu"``: written so, these are two layers.
    initializer : Initializer or str, optional
        Draws `w`; by default the one that suits the activation that follows. `b` starts at 0.

    Attributes
    ----------
    w : array, shape (inputs, outputs)
    b : array, shape (outputs,)

    Raises
    ------
    TypeError
        If `shape_out` is missing, or a shape is not made of ints.
    ValueError
        If a shape is not positive, or does not fit what comes in.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Dense(3, 2, initializer="Constant")
    >>> layer.build(3, np.random.default_rng(0))
    (2,)
    >>> layer.forward(np.ones((1, 3), dtype="float32"))
    array([[0., 0.]], dtype=float32)

    References
    ----------
    Rumelhart, Hinton and Williams 1986, "Learning representations by back-propagating errors".
    """

    gives = "numbers"
    shape_out: Shape
    _look_at: ClassVar[Any] = classmethod(look_at_shapes)

    def __init__(
        self,
        shape_in: int | Shape | None = None,
        shape_out: int | Shape | None = None,
        *,
        bias: bool = True,
        activation: str | Layer | None = None,
        initializer: initializers.Initializer | str | None = None,
    ) -> None:
        shape_in, shape_out = both_shapes(type(self).__name__, shape_in, shape_out)
        self._take_bias(bias)
        self.shape_in = None if shape_in is None else as_array_shape(shape_in, "shape_in")
        self.shape_out = as_array_shape(shape_out, "shape_out")
        self.initializer = initializers.get(initializer)

    def build(self, shape_in: Shape | int, rng: np.random.Generator | None = None) -> Shape:
        self.shape_in = self.accept(shape_in)
        inputs, outputs = math.prod(self.shape_in), math.prod(self.shape_out)
        self.draw("w", self.initializer, rng, (inputs, outputs), inputs, outputs)
        if self.bias:
            self.draw("b", "Constant", rng, (outputs,))
        return self.shape_out

    def forward(self, x: Array) -> Array:
        self.x = _merge_features(x, self.shape_in)
        y = self.x @ self.w
        if self.bias:
            y += self.b[..., None, :]
        return _split_features(y, self.shape_out)

    def backward(self, grad_y: Array) -> Array:
        xp = array_namespace(grad_y)
        grad_y = _merge_features(grad_y, self.shape_out)
        self.grad_w = self.x.mT @ grad_y
        if self.bias:
            self.grad_b = xp.sum(grad_y, axis=-2)
        return _split_features(grad_y @ self.w.mT, self.shape_in)

    @property
    def flops(self) -> int:
        return 2 * math.prod(self.shape_in or ()) * math.prod(self.shape_out)


def _merge_features(x: Array, shape: Shape | None) -> Array:
    if shape is None or len(shape) == 1:
        return x
    xp = array_namespace(x)
    return xp.reshape(x, (*x.shape[: -len(shape)], math.prod(shape)))


def _split_features(x: Array, shape: Shape | None) -> Array:
    if shape is None or len(shape) == 1:
        return x
    xp = array_namespace(x)
    return xp.reshape(x, (*x.shape[:-1], *shape))
