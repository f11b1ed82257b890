"""What those ask of a model that write it down for where npnn is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from npnn import checked
from npnn.datasets.columns import NumberColumn
from npnn.datasets.rows import Rows
from npnn.datasets.schema import TableSchema
from npnn.layers.layer import Layer
from npnn.layers.row import Row
from npnn.model import Sequential


def check_shape(model: Sequential, where: str) -> None:
    """Raise the error for a model of which it is not known what comes in, or not one array."""
    example = "npnn.Sequential([npnn.Dense(2, 3)])"
    checked.instance(model, Sequential, "model", example)
    if model.shape_in is None:
        raise ValueError(
            "the input shape is not known: give the first layer its shape_in, or train the model"
        )
    if not all(isinstance(n, int) for n in model.shape_in):
        raise ValueError(f"a model of several inputs, or of any length, is not written {where}")


def table_of(model: Sequential, inputs: str) -> TableSchema | None:
    """Return the table that a model was trained on, if a file of it is to take raw columns.

    Parameters
    ----------
    model : Sequential
        A model that knows its table, or none.
    inputs : {"columns", "features"}
        What the file takes: a table's columns, or what they become.
    """
    checked.word(inputs, "inputs", ("columns", "features"))
    config = model.details.get("schema")
    if config is None or inputs == "features":
        return None
    schema = TableSchema.from_config(config)
    if schema.shape_in != model.shape_in:
        raise ValueError(
            f"the model's table has inputs of shape {schema.shape_in}, and the model takes "
            f"{model.shape_in}: write inputs='features'"
        )
    plain = all(column == NumberColumn(column.name) for column in schema.columns)
    return None if plain and not schema.has_header else schema  # as of an array


def rows_of(model: Sequential, schema: TableSchema) -> Rows:
    """Return what makes inputs of a table's raw cells, which are written as those trained on."""
    run = model.details.get("run")
    run = run if isinstance(run, dict) else {}
    return Rows(
        schema.layout,
        tuple(column.encoding for column in schema.columns),
        schema.missing,
        *(str(run.get(name) or "auto") for name in ("delimiter", "decimal", "encoding")),
    )


def input_names(model: Sequential) -> list[str] | None:
    """Return what the inputs of a model are called, as a table's columns come in; None if unknown.

    A category has an input for each of its values, a date one for each of its parts.
    """
    schema, names = model.details.get("schema"), model.details.get("feature_names")
    if schema is not None:
        return list(TableSchema.from_config(schema).feature_names)
    return list(names) if names else None


def check_known(layer: Layer, known: Mapping[Any, object], what: str, register: str) -> None:
    """Raise the error for a layer that computes what is not known, of its own or another's.

    Parameters
    ----------
    layer : Layer
        What is to be written.
    known : mapping
        Whose keys are the classes that can be; a class that computes as they do can be, too.
    what : str
        What is written for each of them, for the error.
    register : str
        Where a function for another class is registered, and what it takes.
    """
    if isinstance(layer, Row):
        return  # whose layers are
    kind: Any = next(base for base in type(layer).__mro__ if base in known)
    if kind is object or type(layer).forward is not kind.forward:
        raise TypeError(
            f"no {what} are known for {layer!r}: register a function {register} for "
            f"{type(layer).__name__}"
        )
