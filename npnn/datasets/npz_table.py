"""A table of the arrays of an NPZ file, whose meaning is found out."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np

from npnn.datasets.cells import as_floats, quoted
from npnn.datasets.columns import NumberColumn
from npnn.datasets.given import NDArray
from npnn.datasets.labels import targets_of as targets_of_labels
from npnn.datasets.npz import inputs_of, is_one_hot, load_npz, targets_of
from npnn.datasets.schema import TableSchema
from npnn.errors import FileError


def from_npz(
    path: Path, target: str | int | None, task: str | None
) -> tuple[NDArray, NDArray, TableSchema]:
    """Return inputs, targets and schema of an NPZ file."""
    if target is not None and not isinstance(target, str):
        raise TypeError(f"target must be an array's name for an NPZ file, not {target!r}")
    arrays = load_npz(path)
    x = inputs_of(path, arrays)
    wanted = ("t", "y") if target is None else (target,)
    name = next((key for key in wanted if key in arrays and key != "x"), None)
    if name is None:
        raise FileError(
            f"target must be an array of {path}: expected {' or '.join(map(repr, wanted))}, and "
            f"it holds {quoted(list(arrays))}"
        )
    values = targets_of(path, name, arrays[name], len(x))
    class_names: tuple[str, ...] | None
    if values.ndim == 1:
        distinct, classes = np.unique(values, return_inverse=True)
        t, task, class_names, _ = targets_of_labels(path, name, distinct, classes, task)
    else:
        if values.dtype.kind == "U":
            raise FileError(f"{path}: the array {name!r} must be one-dimensional to hold labels")
        t = as_floats(path, name, values)
        if task is None:
            task = "classification" if is_one_hot(t) else "regression"
        if task == "binary" or (task == "classification" and not is_one_hot(t)):
            kind = "one column" if task == "binary" else "labels or one-hot rows"
            raise FileError(
                f"{path}: the array {name!r} must hold {kind} for {task}; its shape is {t.shape}"
            )
        class_names = None if task == "regression" else tuple(map(str, range(t.shape[1])))
    count = prod(x.shape[1:])
    schema = TableSchema(
        columns=tuple(NumberColumn(f"x{number}") for number in range(1, count + 1)),
        task=task,
        target=name,
        target_position=count,
        class_names=class_names,
        num_outputs=t.shape[1],
        shape_in=x.shape[1:],
        has_header=False,
    )
    return x, t, schema
