"""What the commands need of a model that one of them has made or read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

import npnn
from npnn.errors import FileError

if TYPE_CHECKING:
    from npnn.datasets import TableSchema


def target_units(model: npnn.Sequential) -> tuple[Any, Any]:
    """Return the offset and the scale of the targets that the model was trained on."""
    units = model.details.get("target_units")
    if units is None:
        return np.float32(0.0), np.float32(1.0)
    try:
        pair = [np.asarray(units[name], np.float64) for name in ("offset", "scale")]
        if model.shape_out is None or any(a.shape not in ((), model.shape_out) for a in pair):
            raise ValueError(f"they are for other outputs: {units}")
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"the model's details hold no target_units: {error!r:.200}") from None
    return pair[0], pair[1]


def fold_target_units(model: npnn.Sequential) -> None:
    """Let the last layer do the way back from scaled targets, exactly: it is affine."""
    if "target_units" not in model.details:
        return
    offset, scale = target_units(model)
    to_numpy = model.backend.to_numpy
    arrays = {**model.parameters(), **model.state()}
    host = {name: np.array(to_numpy(a)) for name, a in arrays.items()}
    last = str(len(model.layers) - 1)
    host[f"{last}.w"] = (host[f"{last}.w"] * scale).astype(model.dtype)
    host[f"{last}.b"] = (host[f"{last}.b"] * scale + offset).astype(model.dtype)
    model.set_arrays(host)
    del model.details["target_units"]


def schema_of(model: npnn.Sequential) -> TableSchema:
    """Return the schema of the model's table, or one of plain numbers for other models."""
    from npnn.datasets import NumberColumn, TableSchema

    config = model.details.get("schema")
    if config is not None:
        return TableSchema.from_config(config)
    assert model.shape_in is not None
    assert model.shape_out is not None
    inputs, outputs = math.prod(model.shape_in), math.prod(model.shape_out)
    last = type(model.layers[-1])
    task, names = "regression", None
    if last is npnn.Softmax or (last is npnn.Sigmoid and outputs == 1):
        task = "classification" if last is npnn.Softmax else "binary"
        names = tuple(model.class_names or map(str, range(max(2, outputs))))
    return TableSchema(
        columns=tuple(NumberColumn(f"x{i + 1}") for i in range(inputs)),
        task=task,
        target="target",
        target_position=inputs,
        class_names=names,
        num_outputs=outputs,
        shape_in=model.shape_in,
        has_header=False,
    )


def outputs_of(model: npnn.Sequential, x: Any) -> np.ndarray:
    """Return the outputs on the host, as rows."""
    y = model.backend.to_numpy(model.predict(x, batch_size=4096))
    return np.asarray(y, dtype=np.float64).reshape(len(x), -1)
