"""The layers that move values and compute nothing: padding, reshaping, flattening."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from npnn import arrays, checked
from npnn.arrays import Array, array_namespace, as_array_shape
from npnn.guided import ANEW
from npnn.layers.layer import Layer
from npnn.layers.weighted import both_shapes, look_at_shapes
from npnn.layers.window import Pair, as_image, crop, pad

if TYPE_CHECKING:
    import numpy as np


class Pad2D(Layer):
    r"""A margin around images.

    .. math::

        y_{h + \mathrm{top},\, w + \mathrm{left}} = x_{h, w}, \qquad
        \frac{\partial L}{\partial x_{h, w}}
            = \frac{\partial L}{\partial y_{h + \mathrm{top},\, w + \mathrm{left}}},

    and y is `pad_value` in the margin.

    Parameters
    ----------
    shape_in : tuple of int, optional
        ``(height, width, channels)``; inferred if None.
    pad_axis0, pad_axis1 : int or pair of int, default 0
        Rows above and below, and columns left and right; one number is for both sides.
    pad_value : float, default 0
        What the margin holds.

    Raises
    ------
    ValueError
        If a margin is negative, or what comes in is no image.
    """

    fixed = dict.fromkeys(("pad_axis0", "pad_axis1"), ANEW)

    def __init__(
        self,
        shape_in: arrays.Shape | None = None,
        pad_axis0: int | Pair = 0,
        pad_axis1: int | Pair = 0,
        pad_value: float = 0.0,
    ) -> None:
        self.shape_in = None if shape_in is None else as_image(as_array_shape(shape_in, "shape_in"))
        self.pad_axis0, self.pad_axis1 = pad_axis0, pad_axis1
        # Nothing is greater than what surrounds an image with -inf, for a maximum.
        is_infinite = isinstance(pad_value, float) and math.isinf(pad_value)
        self.pad_value = pad_value if is_infinite else checked.number(pad_value, "pad_value")
        self.margins = (
            checked.pair(pad_axis0, "pad_axis0", 0),
            checked.pair(pad_axis1, "pad_axis1", 0),
        )

    def build(
        self, shape_in: arrays.Shape | int, rng: np.random.Generator | None = None
    ) -> arrays.Shape:
        height, width, channels = self.shape_in = as_image(self.accept(shape_in))
        rows, columns = self.margins
        self.shape_out = height + sum(rows), width + sum(columns), channels
        return self.shape_out

    def forward(self, x: Array) -> Array:
        return pad(x, self.margins, self.pad_value)

    def backward(self, grad_y: Array) -> Array:
        return crop(grad_y, self.margins)


class Shape(Layer):
    """The same values in another shape; the gradient goes back into the old one.

    Parameters
    ----------
    shape_in : int or tuple of int, optional
        Shape of one input sample; inferred if None.
    shape_out : int or tuple of int
        Shape of one output sample, of as many values; ``Shape(12)`` is ``Shape(None, 12)``.

    Raises
    ------
    TypeError
        If `shape_out` is missing.
    ValueError
        If the shapes do not hold the same number of values.
    """

    gives = "inputs"
    _look_at: ClassVar[Any] = classmethod(look_at_shapes)

    def __init__(
        self,
        shape_in: int | arrays.Shape | None = None,
        shape_out: int | arrays.Shape | None = None,
    ) -> None:
        shape_in, shape_out = both_shapes(type(self).__name__, shape_in, shape_out)
        self.shape_in = None if shape_in is None else as_array_shape(shape_in, "shape_in")
        self.shape_out = as_array_shape(shape_out, "shape_out")
        if self.shape_in is not None:
            self.build(self.shape_in)

    @property
    def is_built(self) -> bool:
        return self.shape_in is not None

    def build(
        self, shape_in: arrays.Shape | int, rng: np.random.Generator | None = None
    ) -> arrays.Shape:
        shape, size = self.accept(shape_in), math.prod(self.shape_out or ())
        if math.prod(shape) != size:
            raise ValueError(
                f"inputs of shape {shape} hold {math.prod(shape)} values, which do not make the "
                f"{size} of shape_out={self.shape_out}"
            )
        assert self.shape_out is not None
        self.shape_in = shape
        return self.shape_out

    def forward(self, x: Array) -> Array:
        assert self.shape_out is not None
        return array_namespace(x).reshape(x, (x.shape[0], *self.shape_out))

    def backward(self, grad_y: Array) -> Array:
        assert self.shape_in is not None
        return array_namespace(grad_y).reshape(grad_y, (grad_y.shape[0], *self.shape_in))


class Flatten(Layer):
    """The values of a sample in one row, the last axis varying fastest.

    Parameters
    ----------
    shape_in : int or tuple of int, optional
        Shape of one input sample; inferred if None.
    """

    gives = "inputs"

    def __init__(self, shape_in: int | arrays.Shape | None = None) -> None:
        self.shape_in = None if shape_in is None else as_array_shape(shape_in, "shape_in")

    def build(
        self, shape_in: arrays.Shape | int, rng: np.random.Generator | None = None
    ) -> arrays.Shape:
        self.shape_in = self.accept(shape_in)
        self.shape_out = (math.prod(self.shape_in),)
        return self.shape_out

    def forward(self, x: Array) -> Array:
        return array_namespace(x).reshape(x, (x.shape[0], math.prod(x.shape[1:])))

    def backward(self, grad_y: Array) -> Array:
        assert self.shape_in is not None
        return array_namespace(grad_y).reshape(grad_y, (grad_y.shape[0], *self.shape_in))
