"""What each layer gives, and how the loss and the outputs depend on it."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from npnn import checked
from npnn.arrays import Array, array_namespace, set_at
from npnn.inside.passes import Pass, looking, place_of
from npnn.trees import leaves, mapped

if TYPE_CHECKING:
    from npnn.model import Sequential

BY = ("parameters", "activations", "inputs")


def activations(model: Sequential, x: Any, *, training: bool = False) -> dict[str, Array]:
    """Return what each layer gives: see :meth:`npnn.Sequential.activations`."""
    checked.flag(training, "training")
    with looking(model, x, training=training, alone=True) as found:
        copy = model.backend.copy  # of what may be the person's own array, given on
        return {place: mapped(y, copy) for place, y in found.by_place(found.outputs).items()}


def gradients(
    model: Sequential,
    x: Any,
    t: Any = None,
    w: Any = None,
    *,
    by: str = "parameters",
    training: bool = False,
) -> Any:
    """Return the derivatives of the loss: see :meth:`npnn.Sequential.gradients`."""
    checked.flag(training, "training")
    if by not in BY:
        raise ValueError(f"by must be one of {', '.join(map(repr, BY))}, not {by!r}")
    with looking(model, x, t, w, training=training) as found:
        found.backward()
        unit = found.network.losses[-1].unit
        if by == "parameters":
            return {name: g * unit for name, g in found.grad_parameters().items()}
        if by == "inputs":
            return mapped(found.inputs_unscaled(_at_inputs(found)), lambda g: g * unit)
        return {
            place: mapped(g, lambda array: array * unit)
            for place, g in found.by_place(found.grad_outputs()).items()
        }


def jacobian(model: Sequential, x: Any, of: Any = None, by: Any = None) -> Any:
    """Return the derivatives of outputs by inputs: see :meth:`npnn.Sequential.jacobian`."""
    with looking(model, x, alone=True) as found:
        network = found.network
        of = None if of is None else place_of(of, network, "of")
        by = None if by is None else place_of(by, network, "by")
        start = network.row[-1][0] if of is None else found.stand_in(of)
        stop = None if by is None else found.stand_in(by)
        norm = network.target_norm if of is None else None
        y = found.outputs[start]
        xp, shape = array_namespace(y), tuple(y.shape[1:])
        columns = []
        for index in itertools.product(*map(range, shape)):
            found.injected = {start: set_at(xp.zeros_like(y), (slice(None), *index), 1.0)}
            found.backward()
            if stop is None:
                columns.append(found.inputs_unscaled(_at_inputs(found)))
            else:
                columns.append(found.arriving[stop])
        scale = None if norm is None else model.backend.asarray(norm.scale)
        return _stacked(columns, shape, scale)


def _stacked(columns: list[Any], shape: tuple[int, ...], scale: Array) -> Any:
    """Return derivatives of one output each as one array: (batch, *outputs, *inputs)."""
    arrays = [[array for _, array in leaves(column)] for column in columns]
    joined = iter([_joined(list(same), shape, scale) for same in zip(*arrays, strict=True)])
    return mapped(columns[0], lambda _: next(joined))


def _joined(arrays: list[Array], shape: tuple[int, ...], scale: Array) -> Array:
    xp, (count, *rest) = array_namespace(arrays[0]), arrays[0].shape
    flat = xp.reshape(xp.stack(arrays, axis=1), (count, len(arrays), math.prod(rest)))
    if scale is not None:
        each = xp.broadcast_to(scale, (1, *shape))
        flat = flat * xp.reshape(each, (1, len(arrays), 1))
    return xp.reshape(flat, (count, *shape, *rest))


def _at_inputs(found: Pass) -> Any:
    place, layer = found.network.row[0]
    gradient = found.leaving[place]
    if gradient is None:
        raise ValueError(
            f"layer {place}, {layer!r}, takes integers, by which there is no derivative: "
            f"by={place!r} asks for one by what it gives"
        )
    return gradient
