"""A user's own table: a CSV or NPZ file as a dataset, whose schema is found out."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np

from npnn import checked
from npnn.datasets.cells import (
    LEAVE_OUT,
    Header,
    RawTable,
    as_floats,
    check_header,
    existing,
    missing_in,
    quoted,
    read_table,
    refuse_near_numbers,
    to_number,
    to_numbers,
)
from npnn.datasets.dataset import Dataset
from npnn.datasets.given import MAX_INTEGER_CLASSES, TASKS, NDArray, one_hot
from npnn.datasets.npz import inputs_of, is_npz, is_one_hot, load_npz, targets_of
from npnn.datasets.schema import TableColumn, TableSchema, encoded, label_of, report_missing
from npnn.errors import FileError

Columns = str | int | Sequence[str | int]
MAX_CATEGORIES = 32


class Table(Dataset):
    """A dataset from a user's CSV or NPZ file.

    Parameters
    ----------
    path : path-like
        A CSV file, or an NPZ file with the inputs as an array `x` of shape ``(n, ...)`` and the
        targets as an array `t` or `y`. All that follows but `target`, `task`, `seed` and
        `train_fraction` is for CSV files.
    target : str or int, optional
        The target column, by name or by index (from 0; negative ones count from the end). A
        string that is no column's name but an integer is taken as the index; without a header the
        names are "column 0", "column 1", ... By default the last column that is not ignored. For
        an NPZ file, the name of the target array.
    ignore : str, int or sequence of them, optional
        Columns to leave out, named like the target.
    header : bool or "auto"
        Whether the first row of a CSV file holds the columns' names. By default it does if it has
        text over a column that is otherwise numbers; in a table of text only, it does if none of
        its cells occurs again further down in its column. The first 1,000 rows decide.
    delimiter : str
        What separates the cells: a single character. By default whichever of comma, semicolon,
        tab and ``|`` divides the first rows most evenly.
    decimal : {"auto", ".", ","}
        The decimal mark. By default a comma if every cell with a comma is such a number, none has
        a point, and not all of the commas can stand between thousands; otherwise a point.
    encoding : str
        Such as "cp1252". By default UTF-8, or UTF-16 if the file begins with its mark.
    task : {"classification", "binary", "regression"}, optional
        By default: labels of text are classes. Numbers are classes too if all of them are
        integers and there are few different ones: no more than 20, and no more than a quarter of
        the number of rows (but two are always few enough). Other numbers are a regression. Two
        classes also make a "classification" with two outputs; "binary" makes one output of them.
    seed : int, optional
        Makes the split and the batches repeatable.
    train_fraction : float
        The share that trains; classes are split in this proportion.

    Attributes
    ----------
    schema : TableSchema
        The columns, categories and classes; ``schema.read(path)`` reads another file like this
        one, with or without targets.
    has_header : bool or None
        Whether the first row was taken as a header; None for an NPZ file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be read as a table; the message says where, what was expected, and what
        was found.

    Notes
    -----
    A column in which more than half of the values are numbers is one of numbers, and an error names
    the cells that are not. Other columns are columns of categories, each value of which becomes one
    0/1 feature called "column=value"; there may be 32 of them. Dates, percent signs and commas
    between thousands are refused with a word on what to do. Empty cells and NA, N/A, #N/A, NaN,
    null, ? and dashes (in any case) are missing values, which are reported and never filled in; so
    is "-", unless "+" is a value of the same column. Classes are in sorted order: numbers by size,
    text alphabetically but with the numbers in it by size (c1, c2, c10).
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        target: str | int | None = None,
        *,
        ignore: Columns = (),
        header: Header = "auto",
        delimiter: str = "auto",
        decimal: str = "auto",
        encoding: str = "auto",
        task: str | None = None,
        seed: int | None = None,
        train_fraction: float = 0.7,
    ) -> None:
        if task is not None and task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}, not {task!r}")
        where = existing(path)
        ignored: list[str | int] = (
            [ignore]
            if isinstance(ignore, (str, int))
            else checked.sequence(ignore, "ignore", "columns")
        )
        self.has_header: bool | None = None
        if is_npz(where):
            given = {
                "ignore": bool(ignored),
                "header": check_header(header) != "auto",
                "delimiter": delimiter != "auto",
                "decimal": decimal != "auto",
                "encoding": encoding != "auto",
            }
            for name in (name for name, is_given in given.items() if is_given):
                raise ValueError(f"{name} is for CSV files, and {where} is an NPZ file")
            x, t, schema = _from_npz(where, target, task)
        else:
            table = read_table(
                where, header=header, delimiter=delimiter, decimal=decimal, encoding=encoding
            )
            x, t, schema = _from_csv(table, target, ignored, task)
            self.has_header = table.has_header
        self.path = where
        self.schema = schema
        super().__init__(
            x,
            t,
            train_fraction=train_fraction,
            seed=seed,
            class_names=schema.class_names,
            feature_names=schema.feature_names,
            name=where.stem,
            task=schema.task,
        )


def _from_csv(
    table: RawTable, target: str | int | None, ignore: Sequence[str | int], task: str | None
) -> tuple[NDArray, NDArray, TableSchema]:
    path, lines = table.path, table.lines
    ignored = sorted({_column_index("ignore", path, column, table.columns) for column in ignore})
    kept = [index for index in range(len(table.columns)) if index not in ignored]
    if not kept:
        raise ValueError(f"ignore must leave columns of {path}, and it names all of them")
    position = kept[-1] if target is None else _column_index("target", path, target, table.columns)
    if position in ignored:
        raise ValueError(f"ignore must not hold the target, {table.columns[position]!r}")
    at = [index for index in kept if index != position]
    name = table.columns[position]
    if not at:
        raise ValueError(
            f"{path} has the single column {name!r}, and so no feature beside the target "
            f"(delimiter {table.delimiter!r}; if it is another one, give it: --delimiter)"
        )
    cells = {index: [row[index] for row in table.rows] for index in kept}
    for index in kept:
        _refuse_empty(table, index, cells[index])
    columns = tuple(_column(path, table.columns[index], cells[index], lines) for index in at)
    x, problems = encoded(path, columns, [cells[index] for index in at], lines)
    labels = cells[position]
    missing = missing_in(labels)
    problems += [(line, name) for line, gone in zip(lines, missing, strict=True) if gone]
    report_missing(path, problems)
    numbers, text = to_numbers(labels)
    if text is not None and task in (None, "regression"):
        classes = "say that they are classes with task='classification' (--task classification)"
        refuse_near_numbers(path, name, labels, lines, classes)
    found: NDArray = np.asarray(labels) if text is not None else numbers
    t, task, class_names = _targets(path, name, found, task)
    schema = TableSchema(
        columns=columns,
        task=task,
        target=name,
        target_position=position,
        class_names=class_names,
        num_outputs=t.shape[1],
        shape_in=x.shape[1:],
        has_header=table.has_header,
        ignored=tuple(ignored),
    )
    return x, t, schema


def _column_index(argument: str, path: Path, column: str | int, columns: tuple[str, ...]) -> int:
    if isinstance(column, str):
        if column in columns:
            return columns.index(column)
        try:
            index = int(column)
        except ValueError:
            raise ValueError(
                f"{argument} must be a column of {path}, not {column!r}; its columns are "
                f"{quoted(columns)}"
            ) from None
    else:
        index = checked.integer(column, argument)
    if not -len(columns) <= index < len(columns):
        raise ValueError(
            f"{argument} must be a column's index from {-len(columns)} to {len(columns) - 1} for "
            f"{path}, not {index}; its columns are {quoted(columns)}"
        )
    return index % len(columns)


def _refuse_empty(table: RawTable, index: int, cells: list[str]) -> None:
    if any(cells):
        return
    name, last = table.columns[index], index == len(table.columns) - 1
    ends = f"; if every line ends with {table.delimiter!r}, take it away there" if last else ""
    raise ValueError(f"{table.path}: the column {name!r} is empty on every line{ends}; {LEAVE_OUT}")


def _column(path: Path, name: str, cells: list[str], lines: list[int]) -> TableColumn:
    _, text = to_numbers(cells)
    if text is None:
        return TableColumn(name)
    refuse_near_numbers(path, name, cells, lines)
    missing = missing_in(cells)
    values = {cell for cell, gone in zip(cells, missing, strict=True) if not gone}
    categories = sorted(values, key=_natural)
    if len(categories) > MAX_CATEGORIES:
        raise ValueError(
            f"{path}, line {lines[text]}: the column {name!r} holds {cells[text]!r}, which is no "
            f"number, and as a column of categories it has {len(categories)} different values; "
            f"at most {MAX_CATEGORIES} are possible; {LEAVE_OUT} if it is a name or a number"
        )
    return TableColumn(name, tuple(categories))


def _targets(
    path: Path, name: str, values: NDArray, task: str | None
) -> tuple[NDArray, str, tuple[str, ...] | None]:
    """Return the targets, the task and the labels that a single column of values means."""
    numeric = values.dtype.kind in "fiu"
    if not numeric and task == "regression":
        shown = [str(value) for value in values.tolist()]
        text = next((value for value in shown if to_number(value) is None), shown[0])
        raise ValueError(
            f"{path}: the target {name!r} must hold numbers for regression, not {text!r}"
        )
    distinct, classes = np.unique(values, return_inverse=True)
    if not numeric:
        order = sorted(range(len(distinct)), key=lambda i: _natural(str(distinct[i])))
        distinct, classes = distinct[order], np.argsort(order)[classes]
    if task is None:
        few = len(distinct) <= max(2, min(MAX_INTEGER_CLASSES, len(values) // 4))
        integers = numeric and bool((distinct == np.floor(distinct)).all())
        task = "classification" if not numeric or (integers and few) else "regression"
    if task == "regression":
        return as_floats(path, name, values)[:, None], task, None
    if len(distinct) < 2:
        raise ValueError(
            f"{path}: the target {name!r} must have two or more different values for {task}, and "
            f"every row has {label_of(distinct.tolist()[0])!r}"
        )
    if len(distinct) == len(values) and len(values) > 2:
        raise ValueError(
            f"{path}: the target {name!r} cannot be a class: each of the {len(values)} rows has a "
            "different value"
        )
    class_names = tuple(label_of(value) for value in distinct.tolist())
    if task == "classification":
        return one_hot(classes, len(distinct)), task, class_names
    if len(distinct) != 2:
        raise ValueError(
            f"{path}: the target {name!r} must have two different values for a binary task, and "
            f"it has {len(distinct)}"
        )
    return classes.astype(np.float32)[:, None], task, class_names


def _natural(label: str) -> tuple[tuple[int | str, ...], str]:
    """Return a key that sorts the numbers within labels by size: c1, c2, c10."""
    parts = re.split(r"(\d+)", label)
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), label


def _from_npz(
    path: Path, target: str | int | None, task: str | None
) -> tuple[NDArray, NDArray, TableSchema]:
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
        t, task, class_names = _targets(path, name, values, task)
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
        columns=tuple(TableColumn(f"x{number}") for number in range(1, count + 1)),
        task=task,
        target=name,
        target_position=count,
        class_names=class_names,
        num_outputs=t.shape[1],
        shape_in=x.shape[1:],
        has_header=False,
    )
    return x, t, schema
