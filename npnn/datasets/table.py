"""A user's own table: a CSV or NPZ file as a dataset, and the schema to read more like it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from npnn import checked
from npnn.datasets.cells import (
    LEAVE_OUT,
    Cells,
    Header,
    RawTable,
    check_header,
    existing,
    is_missing,
    missing_in,
    quoted,
    read_table,
    refuse_near_numbers,
    to_number,
    to_numbers,
)
from npnn.datasets.dataset import TASKS, Dataset, one_hot

NDArray = npt.NDArray[Any]
Columns = str | int | Sequence[str | int]

MAX_CATEGORIES = 32
MAX_INTEGER_CLASSES = 20


class TableColumn(NamedTuple):
    """A feature column of a table.

    Attributes
    ----------
    name : str
        Its name.
    categories : tuple of str or None
        The values of a column of text, in sorted order ("b2" before "b10"): each becomes a
        feature "name=value" that is 1 where the cell holds that value and 0 elsewhere. None for a
        column of numbers.
    """

    name: str
    categories: tuple[str, ...] | None = None

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features that the column becomes."""
        if self.categories is None:
            return (self.name,)
        return tuple(f"{self.name}={category}" for category in self.categories)


class TableSchema(NamedTuple):
    """How the columns of a table become inputs and targets; it can be kept with a model.

    Attributes
    ----------
    columns : tuple of TableColumn
        The feature columns, in the order of the inputs.
    task : {"classification", "binary", "regression"}
        The kind of the targets.
    target : str
        The name of the target column (of the target array, for an NPZ file).
    target_position : int
        Which of the file's columns is the target, counted from 0.
    class_names : tuple of str or None
        The label of each class; None for regression.
    num_outputs : int
        The number of columns of the targets.
    shape_in : tuple of int
        The shape of one sample's inputs.
    has_header : bool
        Whether the columns' names come from a file, so that another file is matched by name.
    ignored : tuple of int
        Which of the file's columns were left out, counted from 0.
    """

    columns: tuple[TableColumn, ...]
    task: str
    target: str
    target_position: int
    class_names: tuple[str, ...] | None
    num_outputs: int
    shape_in: tuple[int, ...]
    has_header: bool
    ignored: tuple[int, ...] = ()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features, with those of the one-hot columns."""
        return tuple(name for column in self.columns for name in column.feature_names)

    def read(
        self,
        path: str | os.PathLike[str],
        *,
        header: Header = "auto",
        delimiter: str = "auto",
        decimal: str = "auto",
        encoding: str = "auto",
    ) -> tuple[NDArray, NDArray | None]:
        """Read another file with the same feature columns.

        Parameters
        ----------
        path : path-like
            A CSV or NPZ file. The columns of a CSV file are matched by name where both files have
            a header (others are ignored) and by position otherwise; then the target column may be
            left out, and so may all the ignored ones together with it, but no other.
        header : bool or "auto"
            Whether the first row holds names. By default it does if it holds the names of all
            feature columns, or if none of its cells fits its column.
        delimiter, decimal, encoding : str
            What separates the cells, the decimal mark, and the encoding; see `Table`.

        Returns
        -------
        x : ndarray
            The inputs, float32.
        t : ndarray or None
            The targets, float32, in the form of the dataset's `y_data`; None if the file has no
            target column, or one in which every cell is missing.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If a column is absent, a value is missing or does not fit its column, or a category or
            label is none of those the schema knows.
        """
        where = existing(path)
        if is_npz(where):
            return self._read_npz(where)
        return self.encode(
            self.read_table(
                where, header=header, delimiter=delimiter, decimal=decimal, encoding=encoding
            )
        )

    def read_table(
        self,
        path: str | os.PathLike[str],
        *,
        header: Header = "auto",
        delimiter: str = "auto",
        decimal: str = "auto",
        encoding: str = "auto",
    ) -> RawTable:
        """Return the cells of a CSV file, for `encode`; parameters as for `read`."""
        header = check_header(header)
        cells = Cells(existing(path), delimiter, decimal, encoding)
        if header == "auto":
            named = self.has_header and {column.name for column in self.columns} <= set(
                cells.rows[0]
            )
            header = named or not self._fits(cells.rows[0])
        return cells.table(header)

    def to_config(self) -> dict[str, Any]:
        """Return the schema as plain values, for a file."""
        return {
            "columns": [
                {"name": column.name, "categories": _listed(column.categories)}
                for column in self.columns
            ],
            "task": self.task,
            "target": self.target,
            "target_position": self.target_position,
            "class_names": _listed(self.class_names),
            "num_outputs": self.num_outputs,
            "shape_in": list(self.shape_in),
            "has_header": self.has_header,
            **({"ignored": list(self.ignored)} if self.ignored else {}),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TableSchema:
        """Return the schema that `to_config` described, or raise a ValueError."""
        try:
            names = config["class_names"]
            schema = cls(
                columns=tuple(
                    TableColumn(str(entry["name"]), _strings(entry["categories"]))
                    for entry in config["columns"]
                ),
                task=str(config["task"]),
                target=str(config["target"]),
                target_position=checked.integer(config["target_position"], "target_position"),
                class_names=_strings(names),
                num_outputs=checked.integer(config["num_outputs"], "num_outputs"),
                shape_in=tuple(checked.integer(size, "shape_in") for size in config["shape_in"]),
                has_header=bool(config["has_header"]),
                ignored=tuple(checked.integer(at, "ignored") for at in config.get("ignored", ())),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"config is not that of a table's schema: {error!r}") from None
        outputs = len(names) if schema.task == "classification" and names else schema.num_outputs
        if (
            schema.task not in TASKS
            or (names is None) != (schema.task == "regression")
            or (schema.task == "binary" and (len(names) != 2 or schema.num_outputs != 1))
            or schema.num_outputs != outputs
            or outputs < 1
            or prod(schema.shape_in) != len(schema.feature_names)
            or not 0 <= schema.target_position <= len(schema.columns) + len(schema.ignored)
        ):
            raise ValueError("config is not that of a table's schema: its entries do not agree")
        return schema

    def encode(self, table: RawTable) -> tuple[NDArray, NDArray | None]:
        """Return inputs and targets (or None) of a table, as `read` does."""
        path = table.path
        if table.has_header and self.has_header:
            names = [column.name for column in self.columns]
            absent = [name for name in names if name not in table.columns]
            if absent:
                raise ValueError(
                    f"{path} lacks the feature column(s) {quoted(absent)}; its columns are "
                    f"{quoted(table.columns)}"
                )
            at = [table.columns.index(name) for name in names]
            target = table.columns.index(self.target) if self.target in table.columns else None
        else:
            places = self._places(len(table.columns))
            if places is None:
                count = len(self.columns) + len(self.ignored)
                ignored = f" (with the {len(self.ignored)} ignored)" if self.ignored else ""
                raise ValueError(
                    f"{path} must have {count} columns, or {count + 1} with the target{ignored}, "
                    f"and it has {len(table.columns)}"
                )
            at, target = places
        values = [[row[index] for row in table.rows] for index in at]
        x, problems = _encode(path, self.columns, values, table.lines)
        t = None
        if target is not None:
            labels = [row[target] for row in table.rows]
            known = self.class_names or ()
            missing = [is_missing(label) and label not in known for label in labels]
            if not all(missing):
                lines = zip(table.lines, missing, strict=True)
                problems += [(line, self.target) for line, gone in lines if gone]
                _report_missing(path, problems)
                t = self._csv_targets(path, labels, table.lines)
        _report_missing(path, problems)
        return x.reshape(-1, *self.shape_in), t

    def _places(self, width: int) -> tuple[list[int], int | None] | None:
        """Return where features and target are in a file that goes by position, if it is clear."""
        count = len(self.columns)
        whole = count + 1 + len(self.ignored)
        at = [i for i in range(whole) if i != self.target_position and i not in self.ignored]
        if width == whole:
            return at, self.target_position
        if width == whole - 1:
            return [index - (index > self.target_position) for index in at], None
        return (list(range(count)), None) if width == count else None

    def _fits(self, row: Sequence[str]) -> bool:
        """Whether a cell of `row` is a value of its column, so that the row is no header."""
        places = self._places(len(row))
        if places is None:
            return any(to_number(cell) is not None for cell in row)
        return any(
            to_number(row[index]) is not None
            if column.categories is None
            else row[index] in column.categories
            for index, column in zip(places[0], self.columns, strict=True)
        )

    def _csv_targets(self, path: Path, labels: list[str], lines: list[int]) -> NDArray:
        if self.class_names is None:
            if self.num_outputs != 1:
                raise ValueError(
                    f"{path} has one target column, and the targets have {self.num_outputs}"
                )
            numbers, text = to_numbers(labels)
            if text is not None:
                raise ValueError(
                    f"{path}, line {lines[text]}: the target {self.target!r} must be a number, "
                    f"not {labels[text]!r}"
                )
            return _as_float32(path, self.target, numbers)[:, None]
        known = {name: index for index, name in enumerate(self.class_names)}
        classes = []
        for label, line in zip(labels, lines, strict=True):
            index = known.get(label)
            if index is None:
                index = known.get(_integer_name(label))
            if index is None:
                raise ValueError(
                    f"{path}, line {line}: the target {self.target!r} must be one of "
                    f"{quoted(self.class_names)}, not {label!r}"
                )
            classes.append(index)
        return self._class_targets(np.asarray(classes, dtype=np.int64))

    def _class_targets(self, classes: NDArray) -> NDArray:
        if self.task == "binary":
            return classes.astype(np.float32)[:, None]
        return one_hot(classes, self.num_outputs)

    def _read_npz(self, path: Path) -> tuple[NDArray, NDArray | None]:
        textual = [column.name for column in self.columns if column.categories is not None]
        if textual:
            raise ValueError(f"{path}: the column(s) {quoted(textual)} hold text; use a CSV file")
        arrays = _load_npz(path)
        x = _npz_inputs(path, arrays)
        if x.shape[1:] != self.shape_in:
            raise ValueError(
                f"{path}: the array 'x' must have the shape (n, "
                f"{', '.join(map(str, self.shape_in))}), not {x.shape}"
            )
        name = next((key for key in (self.target, "t", "y") if key in arrays and key != "x"), None)
        if name is None:
            return x, None
        return x, self._npz_targets(path, name, _npz_target(path, name, arrays[name], len(x)))

    def _npz_targets(self, path: Path, name: str, values: NDArray) -> NDArray:
        if values.ndim == 1 and self.class_names is not None:
            labels = [_label(value) for value in values.tolist()]
            known = {label: index for index, label in enumerate(self.class_names)}
            unknown = [label for label in labels if label not in known]
            if unknown:
                raise ValueError(
                    f"{path}: the array {name!r} must hold {quoted(self.class_names)}, "
                    f"not {unknown[0]!r}"
                )
            return self._class_targets(np.asarray([known[label] for label in labels]))
        if values.dtype.kind not in "fiub":
            raise ValueError(f"{path}: the array {name!r} must hold numbers, not text")
        t = _as_float32(path, name, values if values.ndim == 2 else values[:, None])
        if t.shape[1] != self.num_outputs:
            raise ValueError(
                f"{path}: the array {name!r} must have {self.num_outputs} column(s), "
                f"not {t.shape[1]}"
            )
        if self.task == "classification" and not _is_one_hot(t):
            raise ValueError(f"{path}: the array {name!r} must hold one-hot rows")
        return t


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
        ignored = [ignore] if isinstance(ignore, (str, int)) else list(ignore)
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


def _integer_name(label: str) -> str:
    value = to_number(label)
    return label if value is None else _label(value)


def _label(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def _listed(names: tuple[str, ...] | None) -> list[str] | None:
    return None if names is None else list(names)


def _strings(names: Any) -> tuple[str, ...] | None:
    if names is None:
        return None
    if not isinstance(names, (list, tuple)) or not names:
        raise TypeError(f"expected a list of strings, not {names!r}")
    return tuple(str(name) for name in names)


def _as_float32(path: Path, name: str, values: NDArray) -> NDArray:
    with np.errstate(over="ignore"):
        floats = values.astype(np.float32)
    large = np.isfinite(values) & ~np.isfinite(floats)
    if large.any():
        raise ValueError(
            f"{path}: {name!r} holds {values[large][0]}, which is beyond what a float32 can hold"
        )
    return floats


def _report_missing(path: Path, problems: list[tuple[int, str]]) -> None:
    if not problems:
        return
    problems.sort(key=lambda problem: problem[0])
    first = ", ".join(f"line {line} column {name!r}" for line, name in problems[:5])
    more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
    raise ValueError(
        f"{path} has {len(problems)} missing or infinite value(s): {first}{more}; "
        f"fill them in, leave these rows out, or {LEAVE_OUT}"
    )


def _encode(
    path: Path, columns: Sequence[TableColumn], values: list[list[str]], lines: list[int]
) -> tuple[NDArray, list[tuple[int, str]]]:
    """Return the features, and the line and column of every missing value."""
    problems: list[tuple[int, str]] = []
    blocks = []
    for column, cells in zip(columns, values, strict=True):
        if column.categories is None:
            numbers, text = to_numbers(cells)
            if text is not None:
                raise ValueError(
                    f"{path}, line {lines[text]}: the column {column.name!r} must hold numbers, "
                    f"not {cells[text]!r}"
                )
            problems += [(lines[row], column.name) for row in np.flatnonzero(np.isnan(numbers))]
            blocks.append(_as_float32(path, column.name, numbers)[:, None])
            continue
        known = {category: index for index, category in enumerate(column.categories)}
        block = np.zeros((len(cells), len(known)), dtype=np.float32)
        for row, cell in enumerate(cells):
            if cell in known:
                block[row, known[cell]] = 1.0
            elif is_missing(cell):
                problems.append((lines[row], column.name))
            else:
                raise ValueError(
                    f"{path}, line {lines[row]}: the column {column.name!r} must hold one of "
                    f"{quoted(column.categories)}, not {cell!r}"
                )
        blocks.append(block)
    return np.concatenate(blocks, axis=1), problems


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
    x, problems = _encode(path, columns, [cells[index] for index in at], lines)
    labels = cells[position]
    missing = missing_in(labels)
    problems += [(line, name) for line, gone in zip(lines, missing, strict=True) if gone]
    _report_missing(path, problems)
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


def _refuse_empty(table: RawTable, index: int, cells: list[str]) -> None:
    if any(cells):
        return
    name, last = table.columns[index], index == len(table.columns) - 1
    ends = f"; if every line ends with {table.delimiter!r}, take it away there" if last else ""
    raise ValueError(f"{table.path}: the column {name!r} is empty on every line{ends}; {LEAVE_OUT}")


def _natural(label: str) -> tuple[Any, ...]:
    """Return a key that sorts the numbers within labels by size: c1, c2, c10."""
    parts = re.split(r"(\d+)", label)
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), label


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
        return _as_float32(path, name, values)[:, None], task, None
    if len(distinct) < 2:
        raise ValueError(
            f"{path}: the target {name!r} must have two or more different values for {task}, and "
            f"every row has {_label(distinct.tolist()[0])!r}"
        )
    if len(distinct) == len(values) and len(values) > 2:
        raise ValueError(
            f"{path}: the target {name!r} cannot be a class: each of the {len(values)} rows has a "
            "different value"
        )
    class_names = tuple(_label(value) for value in distinct.tolist())
    if task == "classification":
        return one_hot(classes, len(distinct)), task, class_names
    if len(distinct) != 2:
        raise ValueError(
            f"{path}: the target {name!r} must have two different values for a binary task, and "
            f"it has {len(distinct)}"
        )
    return classes.astype(np.float32)[:, None], task, class_names


def is_npz(path: Path) -> bool:
    """Whether a file is of NumPy's format NPZ, by its name or its first bytes."""
    if path.suffix.lower() == ".npz":
        return True
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _load_npz(path: Path) -> dict[str, NDArray]:
    import zipfile
    import zlib

    try:
        # Opened here: np.load leaves a file that it opened itself open when it fails.
        with path.open("rb") as file:
            data = np.load(file, allow_pickle=False)
            if isinstance(data, np.ndarray):
                raise ValueError("it holds a single array without a name (NPY)")
            arrays = {name: data[name] for name in data.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} cannot be read as an NPZ file of plain arrays: {error}") from None
    wrong = [name for name, values in arrays.items() if not isinstance(values, np.ndarray)]
    if wrong:
        raise ValueError(f"{path} is not an NPZ file: it holds {quoted(wrong)}")
    return arrays


def _npz_inputs(path: Path, arrays: dict[str, NDArray]) -> NDArray:
    if "x" not in arrays:
        raise ValueError(f"{path} must hold an array 'x'; it holds {quoted(list(arrays))}")
    x = arrays["x"]
    if x.dtype.kind not in "fiub":
        raise ValueError(f"{path}: the array 'x' must hold real numbers, not {x.dtype}")
    if x.ndim == 1:
        x = x[:, None]
    if x.size == 0:
        raise ValueError(f"{path}: the array 'x' must not be empty; its shape is {x.shape}")
    _report_rows(path, "x", x)
    return _as_float32(path, "x", x)


def _npz_target(path: Path, name: str, t: NDArray, num: int) -> NDArray:
    if t.dtype.kind not in "fiubU":
        raise ValueError(f"{path}: the array {name!r} must hold numbers or text, not {t.dtype}")
    if t.ndim not in (1, 2) or len(t) != num or t.size == 0:
        raise ValueError(
            f"{path}: the array {name!r} must have the shape ({num},) or ({num}, outputs) to go "
            f"with 'x', not {t.shape}"
        )
    if t.dtype.kind != "U":
        _report_rows(path, name, t)
    return t[:, 0] if t.ndim == 2 and t.shape[1] == 1 else t


def _report_rows(path: Path, name: str, values: NDArray) -> None:
    rows = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
    if rows.size:
        first = ", ".join(map(str, rows[:5].tolist())) + (", ..." if rows.size > 5 else "")
        raise ValueError(
            f"{path}: the array {name!r} has missing or infinite values in {rows.size} row(s): "
            f"{first} (counted from 0)"
        )


def _is_one_hot(t: NDArray) -> bool:
    return bool(((t == 0) | (t == 1)).all() and (t.sum(axis=1) == 1).all())


def _from_npz(
    path: Path, target: str | int | None, task: str | None
) -> tuple[NDArray, NDArray, TableSchema]:
    if target is not None and not isinstance(target, str):
        raise TypeError(f"target must be an array's name for an NPZ file, not {target!r}")
    arrays = _load_npz(path)
    x = _npz_inputs(path, arrays)
    wanted = ("t", "y") if target is None else (target,)
    name = next((key for key in wanted if key in arrays and key != "x"), None)
    if name is None:
        raise ValueError(
            f"target must be an array of {path}: expected {' or '.join(map(repr, wanted))}, and "
            f"it holds {quoted(list(arrays))}"
        )
    values = _npz_target(path, name, arrays[name], len(x))
    class_names: tuple[str, ...] | None
    if values.ndim == 1:
        t, task, class_names = _targets(path, name, values, task)
    else:
        if values.dtype.kind == "U":
            raise ValueError(f"{path}: the array {name!r} must be one-dimensional to hold labels")
        t = _as_float32(path, name, values)
        if task is None:
            task = "classification" if _is_one_hot(t) else "regression"
        if task == "binary" or (task == "classification" and not _is_one_hot(t)):
            kind = "one column" if task == "binary" else "labels or one-hot rows"
            raise ValueError(
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
