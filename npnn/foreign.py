"""Weights of other libraries: which layer each array is of, and how it lies here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from npnn import layers as of
from npnn.layers.layer import Layer
from npnn.layers.row import Row

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


def weighty(model: Sequential) -> list[Weighty]:
    """Return each layer with arrays once, in the order a batch meets them."""
    if model.shape_in is None:
        model.build_at(None)
    found: dict[int, Weighty] = {}
    _follow(model, "", None, found)
    return list(found.values())


def _follow(layer: Layer, place: str, image: Any, found: dict[int, Weighty]) -> Any:
    """Find the layers with arrays; return the image whose values come out in a row, if they do.

    Parameters
    ----------
    layer : Layer
        What is looked at, with its parts.
    place : str
        Where it is.
    image : Shape or None
        The image whose values come in in a row, if they do.
    found : dict
        The layers that there are, by their identities.
    """
    shape: Any = layer.shape_in
    flattened = len(shape or ()) == 3 and all(isinstance(size, int) for size in shape)
    if isinstance(layer, of.Flatten) and flattened:
        return shape
    if layer.parameter_names or layer.state_names:
        own = image if not flattened else shape if isinstance(layer, of.Dense) else None
        found.setdefault(id(layer), Weighty(place, layer, own))
    parts = list(layer.children())
    if isinstance(layer, of.Dense) or (not parts and layer.shape_out != shape):
        return None
    given = image
    for name, part in parts:
        left = _follow(part, f"{place}.{name}" if place else name, given, found)
        if isinstance(layer, Row):
            given = left
        elif isinstance(layer, of.Parallel) or left != given:
            image = None  # what comes out is no row of an image's values
    return given if isinstance(layer, Row) else image


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
