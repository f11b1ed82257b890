"""Tables for people to read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npnn.sequential import Sequential


def summary(model: Sequential) -> str:
    """Return a table of the model's layers, with totals."""
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


def human_bytes(count: int) -> str:
    """Return a number of bytes in the unit that a person would use."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError
