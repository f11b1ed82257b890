"""How the columns of a table become inputs and targets, and other files are read by that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from npnn import checked, labels
from npnn.datasets.cells import Cells, as_floats, label_of, missing_words, quoted, to_number
from npnn.datasets.columns import Column, NumberColumn, from_config
from npnn.datasets.columns.column import strings
from npnn.datasets.frames import is_frame
from npnn.datasets.given import TASKS, NDArray, one_hot
from npnn.datasets.layout import Layout, place_of
from npnn.datasets.npz import inputs_of, is_npz, is_one_hot, load_npz, targets_of
from npnn.datasets.numerals import Numerals
from npnn.datasets.sources import Header, RawTable, existing, read_table
from npnn.errors import FileError


class LeftOut(NamedTuple):
    """A column that is no input.

    Attributes
    ----------
    position : int
        Which of the file's columns it is, counted from 0.
    name : str
        Its name.
    reason : str
        "ignored" if a person said so; else "empty", "constant", "identifier" or "row number".
    """

    position: int
    name: str
    reason: str


class Answerable(NamedTuple):
    """Inputs and targets of a table that is read by a schema.

    Attributes
    ----------
    x : ndarray
        The inputs, a row for each of the table's: float64 if there are numbers among the columns,
        so that what a row becomes does not depend on the other rows.
    t : ndarray or None
        The targets; a row of NaN where a label is missing, or one that the schema does not know.
        None if there is no target column, or it is empty.
    unknown_labels : dict of str to int
        Labels that are none of the schema's, and how many rows have each.
    remarks : list of str
        For each row, which of its categories are unknown; often empty.
    missing : dict of str to int
        How many cells of each column were filled.
    """

    x: NDArray
    t: NDArray | None
    unknown_labels: dict[str, int]
    remarks: list[str]
    missing: dict[str, int]


class TableSchema(NamedTuple):
    """How the columns of a table become inputs and targets; it can be kept with a model.

    Attributes
    ----------
    columns : tuple of Column
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
    left_out : tuple of LeftOut
        Which of the file's columns are no inputs, and why.
    missing : tuple of str or None
        The words that say that there is no value; None for the usual ones.
    numerals : Numerals
        How the targets of a regression are written.
    """

    columns: tuple[Column, ...]
    task: str
    target: str
    target_position: int
    class_names: tuple[str, ...] | None
    num_outputs: int
    shape_in: tuple[int, ...]
    has_header: bool
    left_out: tuple[LeftOut, ...] = ()
    missing: tuple[str, ...] | None = None
    numerals: Numerals = Numerals()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features, with those of the one-hot columns."""
        return tuple(name for column in self.columns for name in column.feature_names)

    @property
    def layout(self) -> Layout:
        """Where the columns are in a file."""
        names = tuple(column.name for column in self.columns)
        out = tuple(each.position for each in self.left_out)
        return Layout(names, self.target, self.target_position, out, self.has_header)

    def read(
        self,
        path: Any,
        *,
        header: Header = "auto",
        delimiter: str = "auto",
        decimal: str = "auto",
        encoding: str = "auto",
    ) -> tuple[NDArray, NDArray | None]:
        """Read another file with the same feature columns.

        Parameters
        ----------
        path : path-like or frame
            A file as `Table` reads it. Its columns are matched by name where both have names
            (others are ignored) and by position otherwise; then the target column may be left out,
            and so may all the columns that are no inputs together with it, but no other.
        header : bool or "auto"
            Whether the first row holds names. By default it does if it holds the names of all
            feature columns, or if none of its cells fits its column.
        delimiter, decimal, encoding : str
            What separates the cells, the decimal mark, and the encoding; see `Table`.

        Returns
        -------
        x : ndarray
            The inputs, a row for each of the file's, float32; or float64 where that would make
            numbers the same (see `Dataset`). Values that are missing, or unknown, have their place.
        t : ndarray or None
            The targets, in the form of the dataset's `y_data`, with rows of NaN where a label is
            missing or unknown; None if the file has no target column, or an empty one.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If a column is absent, or the file cannot be read.
        """
        if not is_frame(path):
            where = existing(path)
            if is_npz(where):
                return self._read_npz(where)
        table = self.read_table(
            path, header=header, delimiter=delimiter, decimal=decimal, encoding=encoding
        )
        found = self.encode(table, rounded=True)
        return found.x, found.t

    def read_table(
        self,
        path: Any,
        *,
        header: Header = "auto",
        delimiter: str = "auto",
        decimal: str = "auto",
        encoding: str = "auto",
    ) -> RawTable:
        """Return the cells of a file, for `encode`; parameters as for `read`."""
        words = missing_words(self.missing)
        encodings = [column.encoding for column in self.columns]
        return read_table(
            path,
            header=header,
            delimiter=delimiter,
            decimal=decimal,
            encoding=encoding,
            missing=words,
            fits=lambda rows: self.layout.names_above(rows, encodings, words),
            texts=self._texts,
        )

    def to_config(self) -> dict[str, Any]:
        """Return the schema as plain values, for a file."""
        return {
            "columns": [column.to_config() for column in self.columns],
            "task": self.task,
            "target": self.target,
            "target_position": self.target_position,
            "class_names": None if self.class_names is None else list(self.class_names),
            "num_outputs": self.num_outputs,
            "shape_in": list(self.shape_in),
            "has_header": self.has_header,
            "left_out": [list(each) for each in self.left_out],
            "missing": None if self.missing is None else list(self.missing),
            "numerals": list(self.numerals),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TableSchema:
        """Return the schema that `to_config` described, or raise a ValueError."""
        try:
            names, missing = config["class_names"], config["missing"]
            schema = cls(
                columns=tuple(from_config(entry) for entry in config["columns"]),
                task=str(config["task"]),
                target=str(config["target"]),
                target_position=checked.integer(config["target_position"], "target_position"),
                class_names=None if names is None else strings(names),
                num_outputs=checked.integer(config["num_outputs"], "num_outputs"),
                shape_in=tuple(checked.integer(size, "shape_in") for size in config["shape_in"]),
                has_header=bool(config["has_header"]),
                left_out=tuple(
                    LeftOut(checked.integer(position, "left_out"), *strings(rest))
                    for position, *rest in config["left_out"]
                ),
                missing=None if missing is None else strings(missing),
                numerals=Numerals(*config["numerals"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"config is not that of a table's schema: {error!r}") from None
        outputs = len(names) if schema.task == "classification" and names else schema.num_outputs
        if (
            schema.task not in TASKS
            or (names is None) != (schema.task == "regression")
            or (schema.task == "binary" and (len(names) != 2 or schema.num_outputs != 1))
            or schema.num_outputs != outputs
            or outputs < 1
            or schema.numerals
            not in [Numerals(mark, more) for mark in ".," for more in (False, True)]
            or prod(schema.shape_in) != len(schema.feature_names)
            or not 0 <= schema.target_position <= len(schema.columns) + len(schema.left_out)
        ):
            raise ValueError("config is not that of a table's schema: its entries do not agree")
        return schema

    def encode(self, table: RawTable, *, rounded: bool = False) -> Answerable:
        """Return inputs and targets of a table, and what was found in it.

        Parameters
        ----------
        table : RawTable
            What `read_table` returned.
        rounded : bool, default False
            Whether inputs are rounded as those that were trained on.
        """
        at, target = self.layout.find(table.path, table.columns, table.has_header)
        x, missing, unknown = encoded(
            table.path, self.columns, [table.cells[index] for index in at], rounded
        )
        remarks = [""] * len(x)
        for column, index, rows in zip(self.columns, at, unknown, strict=True):
            for row in np.flatnonzero(rows).tolist():
                text = f"unknown {column.name} {table.cells[index].texts[row]!r}"
                remarks[row] += ("; " if remarks[row] else "") + text
        filled = {
            column.name: int(gone.sum())
            for column, gone in zip(self.columns, missing, strict=True)
            if gone.any()
        }
        t, strange = (None, {}) if target is None else self._targets(table, table.cells[target])
        return Answerable(x.reshape(-1, *self.shape_in), t, strange, remarks, filled)

    def _texts(self, names: tuple[str, ...]) -> list[int]:
        """Return which columns of a table with such names hold text, whatever is in it."""
        at: Sequence[int | None] = [place_of(column.name, names) for column in self.columns]
        if not self.has_header or None in at:
            places = self.layout.places(len(names))
            at = [] if places is None else places[0]
        pairs = zip(at, self.columns, strict=False)
        return [i for i, column in pairs if i is not None and column.kind in ("category", "text")]

    def _targets(self, table: RawTable, cells: Cells) -> tuple[NDArray | None, dict[str, int]]:
        """Return the targets, and labels that are none of the schema's."""
        if self.class_names is None:
            if self.num_outputs != 1:
                raise ValueError(
                    f"{table.path} has one target column, and the targets have {self.num_outputs}"
                )
            values = NumberColumn(self.target, *self.numerals).values(cells)
            gone = np.isnan(values)
            if gone.all() and cells.missing.all():
                return None, {}
            strange = Counter(cells.texts[row] for row in np.flatnonzero(gone & ~cells.missing))
            return as_floats(table.path, self.target, values)[:, None], dict(strange)
        known = {name: index for index, name in enumerate(self.class_names)}
        places = []
        for text in cells.distinct:
            place = known.get(text)
            number = to_number(text) if place is None else None
            places.append(known.get(label_of(number)) if number is not None else place)
        missing = [gone and place is None for gone, place in zip(cells.gone, places, strict=True)]
        if all(missing):
            return None, {}
        classes = np.asarray([-1 if place is None else place for place in places])
        t = self._class_targets(np.maximum(classes, 0)[cells.codes])
        t[(classes < 0)[cells.codes]] = np.nan
        each = zip(cells.distinct, cells.counts.tolist(), places, missing, strict=True)
        return t, {text: n for text, n, place, gone in each if place is None and not gone}

    def _class_targets(self, classes: NDArray) -> NDArray:
        if self.task == "binary":
            return classes.astype(np.float32)[:, None]
        return one_hot(classes, self.num_outputs)

    def _read_npz(self, path: Any) -> tuple[NDArray, NDArray | None]:
        textual = [column.name for column in self.columns if column.kind != "number"]
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

    def _npz_targets(self, path: Any, name: str, values: NDArray) -> NDArray:
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


def read_inputs(x: Any, details: dict[str, Any]) -> Any:
    """Return the inputs that a table means to a model that was trained on one."""
    names, config = labels.columns_of(x), details.get("schema")
    if names is None or not isinstance(config, dict):
        return labels.in_order(x, details.get("columns"))
    schema = TableSchema.from_config(config)
    columns, features = [column.name for column in schema.columns], schema.feature_names
    if not schema.has_header:  # nor have its columns names
        return x
    if not set(columns) <= set(names) and set(names) == set(features):  # made of them before
        return labels.in_order(x, features)
    return schema.read(x)[0]


def encoded(
    where: object, columns: Sequence[Column], cells: Sequence[Cells], rounded: bool = True
) -> tuple[NDArray, list[NDArray], list[NDArray]]:
    """Return the features, and for each column which cells are missing, and which unknown."""
    count = sum(len(column.feature_names) for column in columns)
    x = np.zeros((len(cells[0]), count), np.float32)
    missing, unknown, place = [], [], 0
    for column, each in zip(columns, cells, strict=True):
        found = column.encoding(each)
        missing.append(found.missing)
        unknown.append(found.unknown)
        for feature in found.features:
            if rounded:
                feature = as_floats(where, column.name, feature)
            if feature.dtype == np.float64:
                x = x.astype(np.float64, copy=False)
            x[:, place] = feature
            place += 1
    return x, missing, unknown
