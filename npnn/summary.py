"""Tables for people to read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from npnn.backends.planning import inspection
from npnn.io import human_bytes
from npnn.losses import default_loss
from npnn.optimizers import Adam

if TYPE_CHECKING:
    from npnn.backends.planning.plan import Plan
    from npnn.model import Sequential
    from npnn.optimizers import Optimizer


def table(model: Sequential) -> str:
    """Return a table of the model's layers, with totals, and the memory of training."""
    return f"{layers(model)}\n{training_memory(model)}"


def layers(model: Sequential) -> str:
    """Return the table alone, for a model that was trained, in batches of another size perhaps."""
    from tabulate import tabulate

    if model.shape_in is None:
        model.build_at(None)
    itemsize = 8 if model.dtype == "float64" else 4
    rows = []
    for number, layer in enumerate(model.layers):
        count = sum(
            math.prod(getattr(part, name).shape)
            for _, part in layer.walk()
            for name in (*part.parameter_names, *part.state_names)
        )
        rows.append((number, repr(layer), layer.shape_out, count, count * itemsize, layer.flops))
    counts, sizes, flops = (sum(row[i] for row in rows) for i in (3, 4, 5))  # type: ignore[misc]
    table = tabulate(
        [
            (place, name, shape, f"{count:,}", human_bytes(size), f"{work:,}")
            for place, name, shape, count, size, work in (
                *rows,
                ("", "total", model.shape_out, counts, sizes, flops),
            )
        ],
        headers=["", "layer", "output shape", "parameters", "memory", "FLOPs per sample"],
        colalign=("right", "left", "left", "right", "right", "right"),
    )
    return f"{table}\n\nbackend {model.backend.name}, {model.dtype}, inputs {model.shape_in}"


def training_memory(model: Sequential, batch_size: int = 32) -> str:
    """Return a sentence: the memory of training with Adam, known before it starts.

    Parameters, two moments, and, where the backend plans its steps, the plan's arena, in which
    gradients and activations lie; the data come on top.
    """
    plan = recorded(model, batch_size)
    if plan is None:
        return f"backend {model.backend.name} runs the step as {model.backend.execution}"
    lasting = sum(array.nbytes for _, array, _ in plan.draft.carry)
    return (
        f"training with Adam on batches of {batch_size}: {human_bytes(lasting + plan.nbytes)} "
        f"({human_bytes(lasting)} parameters and moments, {human_bytes(plan.nbytes)} plan)"
    )


def training_plan(model: Sequential, batch_size: int, optimizer: Optimizer | None) -> str:
    """Return the table of a training step's plan, or a sentence where there is none."""
    plan = recorded(model, batch_size, optimizer)
    if plan is None:
        return f"backend {model.backend.name} runs the step as {model.backend.execution}"
    return (
        f"{inspection.table(inspection.rows(plan))}\n\n"
        f"working memory {human_bytes(plan.nbytes)}, batch of {batch_size}, "
        f"backend {model.backend.name}, {model.dtype}"
    )


def recorded(model: Sequential, batch_size: int, optimizer: Optimizer | None = None) -> Plan | None:
    """Return the plan of a training step, or None."""
    loss = model.chain
    if loss is None:
        model._follow(default_loss(model))
    try:
        optimizer = optimizer or Adam()
        ready = model.runner.attach(optimizer)
        inputs = {"x": _zeros(model, batch_size, ready.network.shape_in)}
        inputs["t"] = _zeros(model, batch_size, ready.network.shape_out)
        return ready.plan(optimizer, inputs)
    finally:
        if loss is None:
            model._follow(None)


def _zeros(model: Sequential, batch_size: int, shape: Any) -> Any:
    """Return inputs of zeros; an axis of any length has length 1."""
    if isinstance(shape, dict):
        return {key: _zeros(model, batch_size, part) for key, part in shape.items()}
    if any(isinstance(part, (tuple, dict)) for part in shape):
        return tuple(_zeros(model, batch_size, part) for part in shape)
    return model.backend.zeros((batch_size, *(n or 1 for n in shape)))
