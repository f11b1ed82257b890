"""How the columns of a table become inputs and targets, and other files are read by that."""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from npnn import checked
from npnn.datasets.cells import (
    LEAVE_OUT,
    Cells,
    Header,
    RawTable,
    as_floats,
    check_header,
    existing,
    is_missing,
    quoted,
    to_number,
    to_numbers,
)
from npnn.datasets.given import TASKS, NDArray, one_hot
from npnn.datasets.npz import inputs_of, is_npz, is_one_hot, load_npz, targets_of
from npnn.errors import FileError


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
            The inputs, float32; or float64 where that would make numbers the same (see `Dataset`).
        t : ndarray or None
            The targets, in the form of the dataset's `y_data`; None if the file has no
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
        x, problems = encoded(path, self.columns, values, table.lines)
        t = None
        if target is not None:
            labels = [row[target] for row in table.rows]
            known = self.class_names or ()
            missing = [is_missing(label) and label not in known for label in labels]
            if not all(missing):
                lines = zip(table.lines, missing, strict=True)
                problems += [(line, self.target) for line, gone in lines if gone]
                report_missing(path, problems)
                t = self._csv_targets(path, labels, table.lines)
        report_missing(path, problems)
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
            return as_floats(path, self.target, numbers)[:, None]
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
            raise FileError(f"{path}: the column(s) {quoted(textual)} hold text; use a CSV file")
        arrays = load_npz(path)
        x = inputs_of(path, arrays)
        if x.shape[1:] != self.shape_in:
            raise FileError(
                f"{path}: the array 'x' must have the shape (n, "
                f"{', '.join(map(str, self.shape_in))}), not {x.shape}"
            )
        name = next((key for key in (self.target, "t", "y") if key in arrays and key != "x"), None)
        if name is None:
            return x, None
        return x, self._npz_targets(path, name, targets_of(path, name, arrays[name], len(x)))

    def _npz_targets(self, path: Path, name: str, values: NDArray) -> NDArray:
        if values.ndim == 1 and self.class_names is not None:
            labels = [label_of(value) for value in values.tolist()]
            known = {label: index for index, label in enumerate(self.class_names)}
            unknown = [label for label in labels if label not in known]
            if unknown:
                raise FileError(
                    f"{path}: the array {name!r} must hold {quoted(self.class_names)}, "
                    f"not {unknown[0]!r}"
                )
            return self._class_targets(np.asarray([known[label] for label in labels]))
        if values.dtype.kind not in "fiub":
            raise FileError(f"{path}: the array {name!r} must hold numbers, not text")
        t = as_floats(path, name, values if values.ndim == 2 else values[:, None])
        if t.shape[1] != self.num_outputs:
            raise FileError(
                f"{path}: the array {name!r} must have {self.num_outputs} column(s), "
                f"not {t.shape[1]}"
            )
        if self.task == "classification" and not is_one_hot(t):
            raise FileError(f"{path}: the array {name!r} must hold one-hot rows")
        return t


def encoded(
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
            blocks.append(as_floats(path, column.name, numbers)[:, None])
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


def report_missing(path: Path, problems: list[tuple[int, str]]) -> None:
    """Raise the error that names missing values by line and column, if there are any."""
    if not problems:
        return
    problems.sort(key=lambda problem: problem[0])
    first = ", ".join(f"line {line} column {name!r}" for line, name in problems[:5])
    more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
    raise ValueError(
        f"{path} has {len(problems)} missing or infinite value(s): {first}{more}; "
        f"fill them in, leave these rows out, or {LEAVE_OUT}"
    )


def _integer_name(label: str) -> str:
    value = to_number(label)
    return label if value is None else label_of(value)


def label_of(value: Any) -> str:
    """Return the name of a class: an integer without a point."""
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
