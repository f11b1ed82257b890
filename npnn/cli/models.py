"""What the commands need of a model that one of them has made or read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

import npnn

if TYPE_CHECKING:
    from npnn.datasets import TableSchema


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
