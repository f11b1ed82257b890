"""The layers that make one number of many pixels: the largest, or the mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from npnn import checked
from npnn.arrays import Array, Shape, add_at, array_namespace, as_array_shape, device, set_at
from npnn.guided import ANEW
from npnn.layers.layer import Layer
from npnn.layers.window import Pair, Window, as_image, check_outputs

if TYPE_CHECKING:
    import numpy as np


class _Pool(Layer):
    """What both kinds of pooling have in common: a window, and how gradients go back into it."""

    window: Window | None = None
    fixed = dict.fromkeys(("kernel_size", "stride"), ANEW)

    @classmethod
    def _look_at(cls, args: Sequence[Any], options: dict[str, Any]) -> None:
        """Raise the error for sizes of windows where shapes are, unless their sense is plain."""
        name, first = cls.__name__, args[0] if args else options.get("shape_in")
        if _is_size(first) and (len(args) != 1 or options.keys() & {"shape_out", "kernel_size"}):
            raise TypeError(
                f"{name}: write kernel_size and stride by name, as in {name}(kernel_size=2, "
                f"stride=2), or {name}(2) for windows side by side"
            )

    def __init__(
        self,
        shape_in: int | Shape | None = None,
        shape_out: Shape | None = None,
        kernel_size: int | Pair = 2,
        stride: int | Pair | None = None,
    ) -> None:
        if _is_size(shape_in):
            shape_in, kernel_size = None, shape_in  # type: ignore[assignment]
        self.shape_in = None if shape_in is None else as_image(as_array_shape(shape_in, "shape_in"))
        self.shape_out = (
            None if shape_out is None else as_image(as_array_shape(shape_out, "shape_out"))
        )
        self.kernel_size, self.stride = kernel_size, stride
        self.kernel = checked.pair(kernel_size, "kernel_size")
        self.strides = self.kernel if stride is None else checked.pair(stride, "stride")

    @property
    def is_built(self) -> bool:
        return self.window is not None

    def build(self, shape_in: Shape | int, rng: np.random.Generator | None = None) -> Shape:
        shape = as_image(self.accept(shape_in))
        window = Window.over((shape[0], shape[1]), self.kernel, self.strides)
        self.shape_out = check_outputs((*window.steps, shape[2]), self.shape_out)
        self.shape_in, self.window = shape, window
        return self.shape_out

    @property
    def flops(self) -> int:
        return math.prod(self.kernel) * math.prod(self.shape_out or ())

    @property
    def taps(self) -> list[tuple[object, ...]]:
        """The part of the images that each place of the window sees."""
        assert self.window is not None
        return self.window.taps

    def put(self, x: Array, tap: tuple[object, ...], part: Array) -> Array:
        """Return `x` with a part of the gradient brought in, where windows overlap by adding."""
        assert self.window is not None
        return (add_at if self.window.overlaps else set_at)(x, tap, part)


def _is_size(value: object) -> bool:
    """Return whether a shape is none of images, but what windows are sized by."""
    return type(value) is int or (isinstance(value, (tuple, list)) and len(value) == 2)


class MaxPool(_Pool):
    r"""The largest pixel under a window, for each channel.

    .. math::

        y_{h, w} = \max_{i, j} x_{s h + i,\, s w + j}, \qquad
        \frac{\partial L}{\partial x_{s h + i,\, s w + j}}
            \mathrel{+}= \frac{\partial L}{\partial y_{h, w}}
            \text{ at the largest, } 0 \text{ elsewhere}

    with stride s. Of several that are equally large, the first one in the order of reading has
    the gradient.

    Parameters
    ----------
    shape_in : tuple of int, optional
        ``(height, width, channels)``; inferred if None.
    shape_out : tuple of int, optional
        Checked if given.
    kernel_size : int or pair of int, default 2
        Rows and columns of the window; ``MaxPool(2)`` is ``MaxPool(kernel_size=2)``.
    stride : int or pair of int, optional
        How far apart windows are; by default side by side.

    Raises
    ------
    ValueError
        If the window is larger than the image, the stride leaves rows or columns over, or the
        shape that comes out is not `shape_out`. The message names numbers that would do.

    References
    ----------
    Ranzato et al. 2007, "Unsupervised learning of invariant feature hierarchies".
    """

    def forward(self, x: Array) -> Array:
        xp = array_namespace(x)
        first, *others = self.taps
        y = x[first]
        for tap in others:
            y = xp.maximum(y, x[tap])
        self.x, self.y = x, y
        return y

    def backward(self, grad_y: Array) -> Array:
        xp = array_namespace(grad_y)
        grad_x = xp.zeros(self.x.shape, dtype=grad_y.dtype, device=device(grad_y))
        left = grad_y  # what no pixel has had yet
        for tap in self.taps:
            part = xp.where(self.x[tap] == self.y, left, 0.0)
            grad_x = self.put(grad_x, tap, part)
            left = left - part
        return grad_x


class AvgPool(_Pool):
    r"""The mean of the n pixels under a window, for each channel.

    .. math::

        y_{h, w} = \frac{1}{n} \sum_{i, j} x_{s h + i,\, s w + j}, \qquad
        \frac{\partial L}{\partial x_{s h + i,\, s w + j}}
            \mathrel{+}= \frac{1}{n} \frac{\partial L}{\partial y_{h, w}}

    with stride s.

    Parameters
    ----------
    shape_in : tuple of int, optional
        ``(height, width, channels)``; inferred if None.
    shape_out : tuple of int, optional
        Checked if given.
    kernel_size : int or pair of int, default 2
        Rows and columns of the window; ``AvgPool(2)`` is ``AvgPool(kernel_size=2)``.
    stride : int or pair of int, optional
        How far apart windows are; by default side by side.

    Raises
    ------
    ValueError
        If the window is larger than the image, the stride leaves rows or columns over, or the
        shape that comes out is not `shape_out`. The message names numbers that would do.

    References
    ----------
    LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.
    """

    def forward(self, x: Array) -> Array:
        x = x * (1.0 / len(self.taps))  # before the sum, which may be too large for the dtype
        first, *others = self.taps
        y = x[first]
        for tap in others:
            y = y + x[tap]
        return y

    def backward(self, grad_y: Array) -> Array:
        xp = array_namespace(grad_y)
        assert self.shape_in is not None
        shape = (grad_y.shape[0], *self.shape_in)
        grad_x = xp.zeros(shape, dtype=grad_y.dtype, device=device(grad_y))
        part = grad_y * (1.0 / len(self.taps))
        for tap in self.taps:
            grad_x = self.put(grad_x, tap, part)
        return grad_x


class GlobalAvgPool(Layer):
    r"""The mean of each channel over the whole image of n pixels.

    .. math::

        y_c = \frac{1}{n} \sum_{h, w} x_{h, w, c}, \qquad
        \frac{\partial L}{\partial x_{h, w, c}} = \frac{1}{n} \frac{\partial L}{\partial y_c}

    Parameters
    ----------
    shape_in : tuple of int, optional
        ``(height, width, channels)``; inferred if None.

    References
    ----------
    Lin, Chen and Yan 2013, "Network in network", section 3.2.
    """

    def __init__(self, shape_in: Shape | None = None) -> None:
        self.shape_in = None if shape_in is None else as_image(as_array_shape(shape_in, "shape_in"))

    def build(self, shape_in: Shape | int, rng: np.random.Generator | None = None) -> Shape:
        self.shape_in = as_image(self.accept(shape_in))
        self.shape_out = self.shape_in[2:]
        return self.shape_out

    def forward(self, x: Array) -> Array:
        # Shares are summed: the sum of the pixels may be too large for the dtype.
        return array_namespace(x).sum(x * (1.0 / math.prod(x.shape[1:3])), axis=(1, 2))

    def backward(self, grad_y: Array) -> Array:
        xp = array_namespace(grad_y)
        assert self.shape_in is not None
        height, width, channels = self.shape_in
        part = grad_y[:, None, None, :] * (1.0 / (height * width))
        return xp.broadcast_to(part, (grad_y.shape[0], height, width, channels))

    @property
    def flops(self) -> int:
        return math.prod(self.shape_in or ())
