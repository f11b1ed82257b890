"""Targets as a loss asks for them: numbers of the shape of its outputs, or integer classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from npnn.arrays import Array
from npnn.backends.backend import Backend
from npnn.losses import LossLayer


def prepare_targets(t: Array, raw: Any, loss: LossLayer, backend: Backend) -> Array:
    """Return targets of the shape and dtype that the loss needs; or the integers of classes.

    Parameters
    ----------
    t : array
        Of the backend; integers are still integers.
    raw : array_like
        What the user gave: whether it was boolean is not seen in `t` any more.
    loss : LossLayer
        The last one of the chain.
    backend : Backend
        The chain's.
    """
    shape = loss.shape_in
    assert shape is not None
    if loss.takes_classes and shape[-1] > 1:
        is_column = t.ndim == len(shape) + 1 and t.shape[-1] == 1
        if is_column or t.ndim == len(shape):
            t = _classes(t, raw, loss, backend)
            return t[..., 0] if is_column else t
    return loss.prepare_targets(t, shape, backend.dtype)


def _classes(t: Array, raw: Any, loss: LossLayer, backend: Backend) -> Array:
    """Return class labels as integers, or say why they are none."""
    xp, number = backend.xp, (loss.shape_in or ())[-1]
    if not xp.isdtype(t.dtype, "integral"):
        is_boolean = "bool" in str(raw.dtype if hasattr(raw, "dtype") else np.asarray(raw).dtype)
        if is_boolean and number == 2:
            return xp.astype(t, xp.int32)
        if is_boolean:
            remedy = f"booleans name 2 classes, but there are {number} outputs"
        elif bool(xp.any(xp.isnan(t))):
            remedy = "the labels hold NaN: leave those samples out, then use t.astype(int)"
        else:
            remedy = "class labels must be integers: t.astype(int)"
        raise ValueError(
            f"{type(loss).__name__}: targets of shape {tuple(t.shape)} do not fit outputs of shape "
            f"(batch, {', '.join(map(str, loss.shape_in or ()))}); {remedy}"
        )
    low, high = int(xp.min(t)), int(xp.max(t))
    if low < 0 or high >= number:
        raise ValueError(
            f"class labels must be from 0 to {number - 1}, but there is a "
            f"{low if low < 0 else high}"
        )
    return t
