"""Convolution over images, and its transpose.

Both are products of a kernel with what it sees of an image; they differ in which way that goes.
The kernel's places are gathered as columns, one strided slice for each place, and multiplied at
once. The other way, each place has a small product of its own, added into a strided slice, which
is faster than folding one large product back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from npnn import checked, initializers
from npnn.arrays import Array, Shape, add_at, array_namespace, as_array_shape, device
from npnn.guided import ANEW
from npnn.layers.layer import Layer
from npnn.layers.weighted import Weighted
from npnn.layers.window import (
    Pair,
    Window,
    as_image,
    as_outputs,
    check_outputs,
    crop,
    pad,
)

if TYPE_CHECKING:
    import numpy as np


class _Convolution(Weighted):
    """What both directions have in common: their arguments, and the parameters w and b."""

    window: Window
    fixed = dict.fromkeys(("kernel_size", "stride", "groups", "padding"), ANEW)

    @classmethod
    def _look_at(cls, args: Sequence[Any], options: dict[str, Any]) -> None:
        """Raise the error for numbers of channels where shapes are, unless their sense is plain."""
        name, first = cls.__name__, args[0] if args else options.get("shape_in")
        if not isinstance(first, int) or isinstance(first, bool):
            return
        rest = {"shape_in", "shape_out"} & options.keys()
        if rest or len(args) > 2 or (len(args) > 1 and "kernel_size" in options):
            raise TypeError(
                f"{name}({first}, ...): what comes in is inferred, or a whole shape: {name}(32, 3) "
                f"has 32 channels and a kernel of 3, {name}((28, 28, {first}), 32, 3) says what "
                "comes in before them; what follows the kernel goes by name, as in stride=2"
            )

    def __init__(
        self,
        shape_in: int | Shape | None = None,
        shape_out: int | Shape | None = None,
        kernel_size: int | Pair = 3,
        stride: int | Pair = 1,
        groups: int = 1,
        *,
        padding: str | int = "valid",
        bias: bool = True,
        activation: str | Layer | None = None,
        initializer: initializers.Initializer | str | None = None,
    ) -> None:
        name = type(self).__name__
        if isinstance(shape_in, int) and not isinstance(shape_in, bool):
            kernel_size = kernel_size if shape_out is None else shape_out  # type: ignore[assignment]
            shape_in, shape_out = None, shape_in
        if shape_out is None:
            raise TypeError(f"{name} needs shape_out: {name}(16, 3) for 16 channels, kernels of 3")
        self._take_bias(bias)
        self.shape_in = None if shape_in is None else as_image(as_array_shape(shape_in, "shape_in"))
        self.shape_out = as_outputs(shape_out)
        self.kernel_size, self.stride = kernel_size, stride
        self.kernel, self.strides = (
            checked.pair(kernel_size, "kernel_size"),
            checked.pair(stride, "stride"),
        )
        self.groups, self.padding = checked.integer(groups, "groups", 1), _check_padding(padding)
        self.initializer = initializers.get(initializer)

    def build(self, shape_in: Shape | int, rng: np.random.Generator | None = None) -> Shape:
        shape = as_image(self.accept(shape_in))
        assert self.shape_out is not None
        inputs, outputs = shape[-1], self.shape_out[-1]
        for channels, side in ((inputs, "input"), (outputs, "output")):
            if channels % self.groups:
                common = math.gcd(inputs, outputs)
                fitting = [n for n in range(1, min(common, 1000) + 1) if common % n == 0]
                raise ValueError(
                    f"{channels} {side} channels cannot be divided into {self.groups} groups; "
                    f"groups may be {' or '.join(map(str, fitting))}"
                )
        self.window = self.find_window((shape[0], shape[1]))
        self.shape_out = check_outputs((*self.size_out, outputs), self.shape_out)
        self.shape_in = shape
        places = math.prod(self.kernel)
        fans = places * inputs // self.groups, places * outputs // self.groups
        self.draw("w", self.initializer, rng, self.shape_of_w(inputs, outputs), *fans)
        if self.bias:
            self.draw("b", "Constant", rng, (outputs,))
        return self.shape_out

    def find_window(self, size: Pair) -> Window:
        """Return where the kernel lies, for images of `size` that come in."""
        raise NotImplementedError

    @property
    def size_out(self) -> Pair:
        """Rows and columns of what comes out."""
        raise NotImplementedError

    def shape_of_w(self, inputs: int, outputs: int) -> Shape:
        """Return the shape of the kernels."""
        raise NotImplementedError

    @property
    def flops(self) -> int:
        if not self.is_built:
            return 0
        return int(2 * math.prod(self.window.steps) * math.prod(self.w.shape))


class Conv2D(_Convolution):
    r"""A kernel slid over images: each output sees the pixels under the kernel.

    .. math::

        y_{h, w, o} = b_o + \sum_{i, j, c} w_{o, i, j, c} \; x_{s h + i,\, s w + j,\, c}

    with stride s, and x padded first. For a gradient :math:`\partial L / \partial y` that comes
    in, each sum also over the batch and the places (h, w),

    .. math::

        \frac{\partial L}{\partial w_{o, i, j, c}}
            = \sum \frac{\partial L}{\partial y_{h, w, o}} \, x_{s h + i,\, s w + j,\, c}, \qquad
        \frac{\partial L}{\partial b_o} = \sum \frac{\partial L}{\partial y_{h, w, o}}, \qquad
        \frac{\partial L}{\partial x_{s h + i,\, s w + j,\, c}}
            \mathrel{+}= \sum_o \frac{\partial L}{\partial y_{h, w, o}} \, w_{o, i, j, c}

    With groups, channels and outputs are cut into as many parts, each with kernels of its own.

    Parameters
    ----------
    shape_in : tuple of int, optional
        ``(height, width, channels)``; inferred if None.
    shape_out : int or tuple of int
        Number of channels that come out; or their whole shape, which is then checked.
        ``Conv2D(32, 3)`` is ``Conv2D(None, 32, 3)``.
    kernel_size, stride : int or pair of int, default 3 and 1
        Rows and columns of the kernel, and how far apart it is laid.
    groups : int, default 1
        Divides both numbers of channels; as many groups as channels make a depthwise convolution.
    padding : {"valid", "same"} or int, default "valid"
        Zeros around the image: none; so many that there is an output for each stride of the
        input; or this number of rows and columns at each side.
    bias : bool, default True
        Whether there is `b`.
    activation : str or Layer, optional
        What follows, such as ``"relu"``: written so, these are two layers.
    initializer : Initializer or str, optional
        Draws `w`; by default the one that suits the activation that follows. `b` starts at 0.

    Attributes
    ----------
    w : array, shape (outputs, kernel, kernel, inputs // groups)
    b : array, shape (outputs,)

    Raises
    ------
    TypeError
        If `shape_out` is missing.
    ValueError
        If the kernel is larger than the image, the stride leaves rows or columns over, the groups
        do not divide the channels, or the shape that comes out is not `shape_out`. The message
        names numbers that would do.

    References
    ----------
    LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.
    """

    gives = "numbers"

    def forward(self, x: Array) -> Array:
        self.columns = _gather(pad(x, self.window.margins), self.window, self.groups)
        y = _join(self.columns @ _matrix(self.w, self.groups).mT, self.window.steps)
        if self.bias:
            y += self.b
        return y

    def backward(self, grad_y: Array) -> Array:
        xp = array_namespace(grad_y)
        if self.bias:
            self.grad_b = xp.sum(grad_y, axis=(0, 1, 2))
        grad_y = _cut(grad_y, self.groups)
        self.grad_w = xp.reshape(grad_y.mT @ self.columns, self.w.shape)
        return crop(_spread(grad_y, self.w, self.window), self.window.margins)

    def find_window(self, size: Pair) -> Window:
        hint = "padding='same'"
        return Window.over(size, self.kernel, self.strides, self.padding, hint)

    @property
    def size_out(self) -> Pair:
        return self.window.steps

    def shape_of_w(self, inputs: int, outputs: int) -> Shape:
        return outputs, *self.kernel, inputs // self.groups


class UpConv2D(_Convolution):
    r"""The transposed convolution: each input pixel paints the kernel into a larger image.

    .. math::

        y_{s h + i,\, s w + j,\, o} \mathrel{+}= \sum_c x_{h, w, c} \, w_{c, i, j, o}, \qquad
        y_{\cdot, \cdot, o} \mathrel{+}= b_o

    with stride s, and the padding taken off y afterwards: what a convolution with the same kernels,
    from y to x, does to gradients. So the gradients are a convolution's outputs,

    .. math::

        \frac{\partial L}{\partial x_{h, w, c}} = \sum_{i, j, o}
            w_{c, i, j, o} \frac{\partial L}{\partial y_{s h + i,\, s w + j,\, o}}, \qquad
        \frac{\partial L}{\partial w_{c, i, j, o}} = \sum
            x_{h, w, c} \frac{\partial L}{\partial y_{s h + i,\, s w + j,\, o}}, \qquad
        \frac{\partial L}{\partial b_o} = \sum \frac{\partial L}{\partial y_{\cdot, \cdot, o}}

    Parameters
    ----------
    shape_in : tuple of int, optional
        ``(height, width, channels)``; inferred if None.
    shape_out : int or tuple of int
        Number of channels that come out; or their whole shape, which is then checked.
        ``UpConv2D(32, 3)`` is ``UpConv2D(None, 32, 3)``.
    kernel_size, stride : int or pair of int, default 3 and 1
        Rows and columns of the kernel, and how far apart it is painted.
    groups : int, default 1
        Divides both numbers of channels.
    padding : {"valid", "same"} or int, default "valid"
        What is cut off the painted image: nothing; so much that it is as many times larger as the
        stride says; or this number of rows and columns at each side.
    bias : bool, default True
        Whether there is `b`.
    activation : str or Layer, optional
        What follows, such as ``"relu"``: written so, these are two layers.
    initializer : Initializer or str, optional
        Draws `w`; by default the one that suits the activation that follows. `b` starts at 0.

    Attributes
    ----------
    w : array, shape (inputs, kernel, kernel, outputs // groups)
    b : array, shape (outputs,)

    Raises
    ------
    TypeError
        If `shape_out` is missing.
    ValueError
        If the padding leaves nothing, the groups do not divide the channels, or the shape that
        comes out is not `shape_out`.

    References
    ----------
    Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", chapter 4.
    """

    gives = "numbers"

    def forward(self, x: Array) -> Array:
        self.x = _cut(x, self.groups)
        y = crop(_spread(self.x, self.w, self.window), self.window.margins)
        return y + self.b if self.bias else y

    def backward(self, grad_y: Array) -> Array:
        xp = array_namespace(grad_y)
        if self.bias:
            self.grad_b = xp.sum(grad_y, axis=(0, 1, 2))
        columns = _gather(pad(grad_y, self.window.margins), self.window, self.groups)
        self.grad_w = xp.reshape(self.x.mT @ columns, self.w.shape)
        return _join(columns @ _matrix(self.w, self.groups).mT, self.window.steps)

    def find_window(self, size: Pair) -> Window:
        return Window.between(size, self.kernel, self.strides, self.padding)

    @property
    def size_out(self) -> Pair:
        return self.window.size

    def shape_of_w(self, inputs: int, outputs: int) -> Shape:
        return inputs, *self.kernel, outputs // self.groups


# Each group is a matrix product of its own: arrays of shape (groups, places, values), where the
# places are those of all samples, and the values channels or what the kernel sees.


def _cut(x: Array, groups: int) -> Array:
    """Return images as (groups, places, channels)."""
    xp = array_namespace(x)
    x = xp.reshape(x, (math.prod(x.shape[:3]), groups, x.shape[3] // groups))
    return xp.permute_dims(x, (1, 0, 2))


def _join(x: Array, size: Pair) -> Array:
    """Return (groups, places, channels) as images of `size`."""
    xp = array_namespace(x)
    groups, places, channels = x.shape
    x = xp.permute_dims(x, (1, 0, 2))
    return xp.reshape(x, (places // math.prod(size), *size, groups * channels))


def _gather(x: Array, window: Window, groups: int) -> Array:
    """Return what the kernel sees at each place: (groups, places, kernel * channels)."""
    xp = array_namespace(x)
    x = xp.reshape(x, (*x.shape[:3], groups, x.shape[3] // groups))
    columns = xp.concat([x[tap] for tap in window.taps], axis=-1)
    columns = xp.reshape(columns, (math.prod(columns.shape[:3]), groups, columns.shape[-1]))
    return xp.permute_dims(columns, (1, 0, 2))


def _spread(x: Array, w: Array, window: Window) -> Array:
    """Return padded images into which (groups, places, channels) paint the kernels."""
    xp = array_namespace(x)
    groups, places, inputs = x.shape
    outputs, batch = w.shape[3], places // math.prod(window.steps)
    kernels = xp.reshape(w, (groups, inputs, len(window.taps), outputs))
    options: dict[str, Any] = {"dtype": x.dtype, "device": device(x)}
    y = xp.zeros((batch, *window.padded, groups * outputs), **options)
    for place, tap in enumerate(window.taps):
        y = add_at(y, tap, _join(x @ kernels[:, :, place, :], window.steps))
    return y


def _matrix(w: Array, groups: int) -> Array:
    """Return kernels as (groups, outputs, kernel * channels)."""
    xp = array_namespace(w)
    return xp.reshape(w, (groups, w.shape[0] // groups, math.prod(w.shape[1:])))


def _check_padding(padding: str | int) -> str | int:
    if isinstance(padding, str):
        return checked.word(padding, "padding", ("valid", "same"), ", or an int of at least 0")
    try:
        return checked.integer(padding, "padding", 0)
    except TypeError:
        shown = checked.shown(padding)
        raise TypeError(f"padding must be 'valid', 'same' or an int, not {shown}") from None
