"""Layers made of layers: side by side, with a way around them, and the Inception module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from npnn import checked
from npnn.arrays import Array, Shape, array_namespace, as_array_shape
from npnn.guided import ANEW
from npnn.layers.activations import ReLU
from npnn.layers.convolution import Conv2D
from npnn.layers.layer import Layer
from npnn.layers.pooling import MaxPool
from npnn.layers.row import Row
from npnn.layers.shaping import Pad2D
from npnn.layers.window import as_image

if TYPE_CHECKING:
    import numpy as np

Branch: TypeAlias = "Layer | Sequence[Layer]"
"""A layer, several in a row, or a Sequential."""


class Parallel(Layer):
    r"""Branches that all see the input, their outputs joined along the last axis.

    .. math::

        y = (f_1(x), \ldots, f_n(x)), \qquad
        \frac{\partial L}{\partial x} = \sum_i
            \Big( \frac{\partial f_i}{\partial x} \Big)^T \frac{\partial L}{\partial y_i}

    Parameters
    ----------
    branches : sequence
        Each a layer, a list of layers, or a Sequential. Their outputs have the same axes but the
        last.
    shape_in : int or tuple of int, optional
        Shape of one input sample; inferred if None.

    Raises
    ------
    ValueError
        If there is no branch, or the outputs cannot be joined.

    Examples
    --------
    >>> import numpy as np
    >>> from npnn.layers import Dense, Softplus
    >>> heads = Parallel([Dense(None, 2), [Dense(None, 3), Softplus()]])
    >>> heads.build(4, np.random.default_rng(0))
    (5,)
    """

    fixed = {"branches": ANEW}

    def __init__(self, branches: Sequence[Branch], shape_in: int | Shape | None = None) -> None:
        self.branches = [
            _row(branch) for branch in checked.sequence(branches, "branches", "layers")
        ]
        if not self.branches:
            raise ValueError("Parallel needs at least one branch")
        self.shape_in = None if shape_in is None else as_array_shape(shape_in, "shape_in")

    @property
    def is_built(self) -> bool:
        if self.shape_out is None or not all(row.is_built for row in self.branches):
            return False
        return [row.shape_out[-1] for row in self.branches if row.shape_out] == self._parts

    def children(self) -> Iterator[tuple[str, Layer]]:
        return ((str(number), branch) for number, branch in enumerate(self.branches))

    def build(self, shape_in: Shape | int, rng: np.random.Generator | None = None) -> Shape:
        shape = self.accept(shape_in)
        shapes = []
        for number, branch in enumerate(self.branches):
            try:
                shapes.append(_build_row(branch, self, shape, rng))
            except ValueError as error:
                raise ValueError(f"branch {number}, {error}") from None
        if len({outputs[:-1] for outputs in shapes}) > 1:
            raise ValueError(
                f"branches whose outputs have the shapes {', '.join(map(str, shapes))} cannot be "
                "joined: only the last axis may differ"
            )
        self._parts = [outputs[-1] for outputs in shapes]
        self.shape_in, self.shape_out = shape, (*shapes[0][:-1], sum(self._parts))
        return self.shape_out

    def forward(self, x: Array) -> Array:
        return array_namespace(x).concat([branch.forward(x) for branch in self.branches], axis=-1)

    def backward(self, grad_y: Array) -> Array:
        grad_x, start = None, 0
        for branch, size in zip(self.branches, self._parts, strict=True):
            part = branch.backward(grad_y[..., start : start + size])
            grad_x = part if grad_x is None else grad_x + part
            start += size
        return grad_x

    @property
    def flops(self) -> int:
        return sum(branch.flops for branch in self.branches)

    def __repr__(self) -> str:
        return f"Parallel([{', '.join(map(_shown, self.branches))}])"


class Residual(Layer):
    r"""Layers with a way around them.

    .. math::

        y = x + f(x), \qquad
        \frac{\partial L}{\partial x} = \frac{\partial L}{\partial y}
            + \Big( \frac{\partial f}{\partial x} \Big)^T \frac{\partial L}{\partial y}

    Parameters
    ----------
    layers : sequence of Layer
        f; the shape that comes out is the one that comes in.
    shape_in : int or tuple of int, optional
        Shape of one sample; inferred if None.

    Raises
    ------
    ValueError
        If f changes the shape.

    References
    ----------
    He et al. 2015, "Deep residual learning for image recognition".
    """

    gives = "numbers"
    fixed = {"layers": ANEW}

    def __init__(self, layers: Branch, shape_in: int | Shape | None = None) -> None:
        self.layers = _row(layers)
        self.shape_in = None if shape_in is None else as_array_shape(shape_in, "shape_in")

    @property
    def is_built(self) -> bool:
        is_built = self.shape_out is not None and self.layers.is_built
        return is_built and self.layers.shape_out == self.shape_out

    def children(self) -> Iterator[tuple[str, Layer]]:
        yield "layers", self.layers

    def build(self, shape_in: Shape | int, rng: np.random.Generator | None = None) -> Shape:
        shape = self.accept(shape_in)
        outputs = _build_row(self.layers, self, shape, rng)
        if outputs != shape:
            raise ValueError(
                f"its layers make {outputs} of inputs of shape {shape}, which cannot be added: "
                f"they must make {shape}"
            )
        self.shape_in = self.shape_out = shape
        return shape

    def forward(self, x: Array) -> Array:
        return x + self.layers.forward(x)

    def backward(self, grad_y: Array) -> Array:
        return grad_y + self.layers.backward(grad_y)

    @property
    def flops(self) -> int:
        return self.layers.flops

    def __repr__(self) -> str:
        return f"Residual({_shown(self.layers)})"


class Inception(Parallel):
    """Four views of an image side by side: kernels of 1, 3 and 5 pixels, and the largest of 3x3.

    Each view but the first is narrowed by a convolution of one pixel, before the large kernels
    and after the pooling; a rectifier follows each convolution. Height and width stay as they
    are::

        x -+- 1x1 ----------------------+
           +- 1x1 ------- 3x3 ----------+- joined along the channels
           +- 1x1 ------- 5x5 ----------+
           +- 3x3 max --- 1x1 ----------+

    Parameters
    ----------
    shape_in : tuple of int, optional
        ``(height, width, channels)``; inferred if None.
    channels_1x1, channels_3x3, channels_5x5, channels_pool : int
        What comes out of each view; by default as in the paper's module 3a.
    reduce_3x3, reduce_5x5 : int
        What the large kernels see.

    References
    ----------
    Szegedy et al. 2014, "Going deeper with convolutions", figure 2b and table 1.
    """

    fixed = dict.fromkeys(
        ("channels_1x1", "reduce_3x3", "channels_3x3", "reduce_5x5", "channels_5x5",
         "channels_pool"), ANEW,
    )  # fmt: skip

    def __init__(
        self,
        shape_in: Shape | None = None,
        channels_1x1: int = 64,
        reduce_3x3: int = 96,
        channels_3x3: int = 128,
        reduce_5x5: int = 16,
        channels_5x5: int = 32,
        channels_pool: int = 32,
    ) -> None:
        self.channels_1x1 = checked.integer(channels_1x1, "channels_1x1", 1)
        self.reduce_3x3 = checked.integer(reduce_3x3, "reduce_3x3", 1)
        self.channels_3x3 = checked.integer(channels_3x3, "channels_3x3", 1)
        self.reduce_5x5 = checked.integer(reduce_5x5, "reduce_5x5", 1)
        self.channels_5x5 = checked.integer(channels_5x5, "channels_5x5", 1)
        self.channels_pool = checked.integer(channels_pool, "channels_pool", 1)
        # No pixel is smaller than the margin, so that it is never the largest.
        largest = [Pad2D(None, 1, 1, float("-inf")), MaxPool(None, None, 3, 1)]
        super().__init__(
            [
                _rectified(channels_1x1, 1),
                [*_rectified(reduce_3x3, 1), *_rectified(channels_3x3, 3)],
                [*_rectified(reduce_5x5, 1), *_rectified(channels_5x5, 5)],
                [*largest, *_rectified(channels_pool, 1)],
            ],
            None if shape_in is None else as_image(as_array_shape(shape_in, "shape_in")),
        )

    __repr__ = Layer.__repr__


def _rectified(channels: int, kernel_size: int) -> list[Layer]:
    return [Conv2D(None, channels, kernel_size, padding="same"), ReLU()]


def _row(layers: Branch) -> Row:
    """Return layers as one layer; they are built with the model that they become part of."""
    if isinstance(layers, Row):
        return layers
    if isinstance(layers, Layer):
        return Row([layers])
    found = checked.sequence(layers, "a branch", "layers")
    for layer in found:
        if not isinstance(layer, Layer):
            raise TypeError(f"a branch must be made of layers, not of {layer!r}")
    return Row(found)


def _build_row(row: Row, parent: Layer, shape: Shape, rng: np.random.Generator | None) -> Shape:
    vars(row).update(dtype=parent.dtype, following=parent.following)
    return row.build(shape, rng)


def _shown(row: Row) -> str:
    return f"[{', '.join(map(repr, row.layers))}]" if len(row.layers) != 1 else repr(row.layers[0])
