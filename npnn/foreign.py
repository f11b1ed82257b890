"""Weights of other libraries: which layer each array is of, and how it lies here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from npnn import layers as of
from npnn.layers.layer import Layer

if TYPE_CHECKING:
    from npnn.arrays import Shape
    from npnn.model import Sequential

BATCH = 32  # samples of the batches that running statistics are taken to come from


class Weighty(NamedTuple):
    """A layer that has arrays, and the image whose values it is given in a row, if it is."""

    place: str
    layer: Layer
    image: Shape | None

    def __str__(self) -> str:
        return f"layer {self.place}, {self.layer!r}"


def weighty(model: Sequential) -> Iterator[Weighty]:
    """Yield each layer with arrays once, in the order a batch meets them."""
    if model.shape_in is None:
        model.build_at(None)
    image: Any = None
    seen: set[int] = set()
    for place, layer in model.walk():
        shape: Any = layer.shape_in
        is_image = isinstance(shape, tuple) and len(shape) == 3
        if isinstance(layer, of.Flatten) and is_image:
            image = shape
        if (layer.parameter_names or layer.state_names) and id(layer) not in seen:
            seen.add(id(layer))
            if isinstance(layer, of.Dense):
                yield Weighty(place, layer, shape if is_image else image)
                image = None
            else:
                yield Weighty(place, layer, None if is_image else image)


def channels_last(array: np.ndarray, image: Shape | None) -> np.ndarray:
    """Return rows of (channels, rows, columns) as those of (rows, columns, channels)."""
    if image is None:
        return array
    height, width, channels = image
    rows = array.reshape(channels, height, width, *array.shape[1:])
    return np.moveaxis(rows, 0, 2).reshape(array.shape)


def channels_first(array: np.ndarray, image: Shape | None) -> np.ndarray:
    """Return rows of (rows, columns, channels) as those of (channels, rows, columns)."""
    if image is None:
        return array
    rows = array.reshape(*image, *array.shape[1:])
    return np.moveaxis(rows, 2, 0).reshape(array.shape)


def running_weight(layer: of.BatchNorm, batches: int) -> np.ndarray:
    """Return what running statistics of so many batches weigh, were those of 32 samples."""
    values = BATCH * math.prod((layer.shape_in or ())[:-1])
    momentum = layer.momentum
    count = batches if momentum is None else (1 - momentum**batches) / (1 - momentum)
    return np.asarray([values * count])


def check_shape(at: Weighty, name: str, given: Any, needed: tuple[int, ...]) -> None:
    """Raise the error for an array that is of another shape than its layer needs."""
    if tuple(given.shape) != needed:
        raise ValueError(f"{at}: {name} has shape {tuple(given.shape)}, but needs {needed}")
