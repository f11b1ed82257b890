"""Where a kernel lies on an image: the geometry that convolution and pooling share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from npnn.arrays import Array, Shape, array_namespace, as_array_shape, device, set_at

Pair: TypeAlias = tuple[int, int]
Margins: TypeAlias = tuple[Pair, Pair]
"""Rows above and below, columns to the left and to the right."""
NO_MARGINS: Margins = ((0, 0), (0, 0))
AXES = ("rows", "columns")


@dataclass(frozen=True)
class Window:
    """A kernel that is laid on an image again and again, a stride further each time.

    Attributes
    ----------
    size : pair of int
        Rows and columns of the image, without its margins.
    kernel, stride : pair of int
        Rows and columns of the kernel; and how far apart it is laid.
    margins : pair of pairs of int
        Rows and columns that are put around the image first.
    steps : pair of int
        How often the kernel is laid, downwards and to the right.
    """

    size: Pair
    kernel: Pair
    stride: Pair
    margins: Margins
    steps: Pair

    @classmethod
    def over(
        cls, size: Pair, kernel: Pair, stride: Pair, padding: str | int = "valid", hint: str = ""
    ) -> Window:
        """Return the window over an image of `size`, or say which sizes would fit."""
        if padding == "same":
            # As many outputs as the stride allows; what is missing at the end is put around.
            steps = tuple(-(-n // s) for n, s in zip(size, stride, strict=True))
            return cls._of_steps(size, kernel, stride, (steps[0], steps[1]))
        assert not isinstance(padding, str) or padding == "valid"
        around = 0 if padding == "valid" else int(padding)
        steps = tuple(
            _count_steps(*numbers, around, hint)
            for numbers in zip(AXES, size, kernel, stride, strict=True)
        )
        return cls(size, kernel, stride, ((around, around),) * 2, (steps[0], steps[1]))

    @classmethod
    def between(cls, steps: Pair, kernel: Pair, stride: Pair, padding: str | int) -> Window:
        """Return the window that is laid `steps` often, on an image just large enough."""
        if padding == "same":
            size = steps[0] * stride[0], steps[1] * stride[1]
            return cls._of_steps(size, kernel, stride, steps)
        around = 0 if padding == "valid" else int(padding)
        seen = [(n - 1) * s + k for n, s, k in zip(steps, stride, kernel, strict=True)]
        for axis, number in zip(AXES, seen, strict=True):
            if number <= 2 * around:
                raise ValueError(
                    f"padding={around} takes away all {number} {axis}: at most "
                    f"{(number - 1) // 2} leave one"
                )
        size = seen[0] - 2 * around, seen[1] - 2 * around
        return cls(size, kernel, stride, ((around, around),) * 2, steps)

    @classmethod
    def _of_steps(cls, size: Pair, kernel: Pair, stride: Pair, steps: Pair) -> Window:
        missing = [
            max((count - 1) * s + k - n, 0)
            for n, k, s, count in zip(size, kernel, stride, steps, strict=True)
        ]
        top, left = missing[0] // 2, missing[1] // 2
        margins = (top, missing[0] - top), (left, missing[1] - left)
        return cls(size, kernel, stride, margins, steps)

    @cached_property
    def down(self) -> list[slice]:
        """The rows of a padded image that each row of the kernel sees."""
        return _slices(self.kernel[0], self.stride[0], self.steps[0])

    @cached_property
    def across(self) -> list[slice]:
        """The columns of a padded image that each column of the kernel sees."""
        return _slices(self.kernel[1], self.stride[1], self.steps[1])

    @cached_property
    def taps(self) -> list[tuple[Any, ...]]:
        """What each place of the kernel sees of padded images: an index each, row by row."""
        return [(slice(None), rows, columns, ...) for rows in self.down for columns in self.across]

    @property
    def overlaps(self) -> bool:
        """Whether a pixel is seen more than once."""
        return any(k > s for k, s in zip(self.kernel, self.stride, strict=True))

    @property
    def padded(self) -> Pair:
        """Rows and columns of the image with its margins."""
        rows, columns = self.margins
        return self.size[0] + sum(rows), self.size[1] + sum(columns)


def pad(x: Array, margins: Margins, value: float = 0.0) -> Array:
    """Return images, of shape (batch, height, width, channels), with a margin of `value`."""
    if margins == NO_MARGINS:
        return x
    batch, height, width, channels = x.shape
    (top, bottom), (left, right) = margins
    shape = batch, height + top + bottom, width + left + right, channels
    y = array_namespace(x).full(shape, value, dtype=x.dtype, device=device(x))
    inside = slice(top, top + height), slice(left, left + width)
    return set_at(y, (slice(None), *inside, slice(None)), x)


def crop(y: Array, margins: Margins) -> Array:
    """Return images without their margin, the opposite of :func:`pad`."""
    if margins == NO_MARGINS:
        return y
    (top, bottom), (left, right) = margins
    return y[:, top : y.shape[1] - bottom, left : y.shape[2] - right, :]


def as_image(shape: Shape) -> Shape:
    """Return the shape of an image, or say how to make one."""
    if len(shape) != 3:
        raise ValueError(
            f"takes images of shape (height, width, channels), not {shape}: a layer like "
            f"Shape({shape}, ({_factors(shape)})) before it gives such a shape"
        )
    return shape


def as_outputs(shape_out: int | Shape) -> Shape:
    """Return a number of channels as a shape of one axis, and a whole shape as it is."""
    shape: Shape = as_array_shape(shape_out, "shape_out")
    if len(shape) not in (1, 3):
        raise ValueError(
            f"shape_out must be a number of channels or (height, width, channels), not {shape_out}"
        )
    return shape


def check_outputs(shape: Shape, expected: Shape | None) -> Shape:
    """Return the shape that comes out, or say that another was asked for."""
    if expected is not None and len(expected) == 3 and expected != shape:
        raise ValueError(f"gives outputs of shape {shape}, but shape_out says {expected}")
    return shape


def _slices(kernel: int, stride: int, steps: int) -> list[slice]:
    return [slice(i, i + (steps - 1) * stride + 1, stride) for i in range(kernel)]


def _count_steps(axis: str, size: int, kernel: int, stride: int, around: int, hint: str) -> int:
    whole = size + 2 * around
    padded = f" and {2 * around} of padding" if around else ""
    if kernel > whole:
        raise ValueError(
            f"a kernel of {kernel} {axis} is larger than its input of {size} {axis}{padded}: "
            f"kernel_size may be at most {whole}{hint and f', or {hint}'}"
        )
    rest = (whole - kernel) % stride
    if rest:
        which = f"{whole - rest}" if rest == 1 else f"{whole - rest} to {whole - 1}"
        fitting = [n for n in (size - rest, size - rest + stride) if n >= 1]
        raise ValueError(
            f"a kernel of {kernel} and a stride of {stride} leave a rest of the {size} "
            f"{axis}{padded}: {axis} {which} (counted from 0) would be dropped; "
            f"{' or '.join(map(str, fitting))} {axis} fit{hint and f', or {hint}'}"
        )
    return (whole - kernel) // stride + 1


def _factors(shape: Shape) -> str:
    size = math.prod(shape)
    # Not further: it is an example in an error, and the size may be a large prime.
    height = next(n for n in range(min(math.isqrt(size), 10_000), 0, -1) if size % n == 0)
    return f"{height}, {size // height}, 1"
