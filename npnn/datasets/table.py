"""A user's own table: a CSV or NPZ file as a dataset, and the schema to read more like it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from math import isfinite, prod
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from npnn.datasets.dataset import TASKS, Dataset, check_integer, one_hot

NDArray = npt.NDArray[Any]
Header = bool | Literal["auto"]

DELIMITERS = "\t;|,"
MISSING = frozenset({"", "na", "n/a", "nan", "null", "?"})
MAX_CATEGORIES = 32
MAX_INTEGER_CLASSES = 20
SNIFFED_ROWS = 50
HEADER_ROWS = 1000


class RawTable(NamedTuple):
    """The cells of a CSV file, as text.

    Attributes
    ----------
    path : Path
        The file.
    columns : tuple of str
        The names in the header; without one, "column 1", "column 2", ...
    rows : list of list of str
        The cells below the header, without surrounding white space.
    lines : list of int
        The line of the file, counted from 1, on which each row ends.
    has_header : bool
        Whether the first row was taken as a header.
    delimiter : str
        What separates the cells.
    """

    path: Path
    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]
    has_header: bool
    delimiter: str


class TableColumn(NamedTuple):
    """A feature column of a table.

    Attributes
    ----------
    name : str
        Its name.
    categories : tuple of str or None
        The values of a column of text, in sorted order: each becomes a feature "name=value" that
        is 1 where the cell holds that value and 0 elsewhere. None for a column of numbers.
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
    """

    columns: tuple[TableColumn, ...]
    task: str
    target: str
    target_position: int
    class_names: tuple[str, ...] | None
    num_outputs: int
    shape_in: tuple[int, ...]
    has_header: bool

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
    ) -> tuple[NDArray, NDArray | None]:
        """Read another file with the same feature columns.

        Parameters
        ----------
        path : path-like
            A CSV or NPZ file. The columns of a CSV file are matched by name where both files have
            a header (others are ignored) and by position otherwise; then the target column may be
            left out, but no other.
        header : bool or "auto"
            Whether the first row holds names. By default it does if it holds the names of all
            feature columns, or if none of its cells fits its column.
        delimiter : str
            What separates the cells; by default found out.

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
        where = _existing(path)
        if _is_npz(where):
            return self._read_npz(where)
        return self._read_csv(where, header, delimiter)

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
                target_position=check_integer("target_position", config["target_position"]),
                class_names=_strings(names),
                num_outputs=check_integer("num_outputs", config["num_outputs"]),
                shape_in=tuple(check_integer("shape_in", size) for size in config["shape_in"]),
                has_header=bool(config["has_header"]),
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
            or not 0 <= schema.target_position <= len(schema.columns)
        ):
            raise ValueError("config is not that of a table's schema: its entries do not agree")
        return schema

    def _read_csv(
        self, path: Path, header: Header, delimiter: str
    ) -> tuple[NDArray, NDArray | None]:
        cells = _Cells(path, delimiter)
        names = [column.name for column in self.columns]
        named = self.has_header and set(names) <= set(cells.rows[0])
        header = _check_header(header)
        titled = named or not self._fits(cells.rows[0]) if header == "auto" else header
        table = cells.table(titled)
        if titled and self.has_header:
            absent = [name for name in names if name not in table.columns]
            if absent:
                raise ValueError(
                    f"{path} lacks the feature column(s) {_quoted(absent)}; its columns are "
                    f"{_quoted(table.columns)}"
                )
            at = [table.columns.index(name) for name in names]
            target = table.columns.index(self.target) if self.target in table.columns else None
        else:
            at, target = self._positions(path, len(table.columns))
        values = [[row[index] for row in table.rows] for index in at]
        x, problems = _encode(path, self.columns, values, table.lines)
        t = None
        if target is not None:
            labels = [row[target] for row in table.rows]
            missing = [_is_missing(label) for label in labels]
            if not all(missing):
                lines = zip(table.lines, missing, strict=True)
                problems += [(line, self.target) for line, gone in lines if gone]
                _report_missing(path, problems)
                t = self._csv_targets(path, labels, table.lines)
        _report_missing(path, problems)
        return x.reshape(-1, *self.shape_in), t

    def _positions(self, path: Path, width: int) -> tuple[list[int], int | None]:
        count = len(self.columns)
        if width == count:
            return list(range(count)), None
        if width == count + 1:
            rest = [index for index in range(width) if index != self.target_position]
            return rest, self.target_position
        raise ValueError(
            f"{path} must have {count} columns, or {count + 1} with the target, and it has {width}"
        )

    def _fits(self, row: Sequence[str]) -> bool:
        """Whether a cell of `row` is a value of its column, so that the row is no header."""
        count = len(self.columns)
        at = list(range(len(row)))
        if len(row) == count + 1:
            at.pop(self.target_position)
        elif len(row) != count:
            return any(_number(cell) is not None for cell in row)
        return any(
            _number(row[index]) is not None
            if column.categories is None
            else row[index] in column.categories
            for index, column in zip(at, self.columns, strict=True)
        )

    def _csv_targets(self, path: Path, labels: list[str], lines: list[int]) -> NDArray:
        if self.class_names is None:
            if self.num_outputs != 1:
                raise ValueError(
                    f"{path} has one target column, and the targets have {self.num_outputs}"
                )
            numbers, text = _numbers(labels)
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
                    f"{_quoted(self.class_names)}, not {label!r}"
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
            raise ValueError(f"{path}: the column(s) {_quoted(textual)} hold text; use a CSV file")
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
                    f"{path}: the array {name!r} must hold {_quoted(self.class_names)}, "
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
        A CSV file (UTF-8, with or without a byte order mark), or an NPZ file with the inputs as
        an array `x` of shape ``(n, ...)`` and the targets as an array `t` or `y`.
    target : str or int, optional
        The target column, by name or by index (from 0; negative ones count from the end). A
        string that is no column's name but an integer is taken as the index. By default the last
        column. For an NPZ file, the name of the target array.
    header : bool or "auto"
        Whether the first row of a CSV file holds the columns' names. By default it does if it has
        text over a column that is otherwise numbers; in a table of text only, it does if none of
        its cells occurs again further down in its column. The first 1,000 rows decide.
    delimiter : str
        What separates the cells: a single character. By default whichever of comma, semicolon,
        tab and ``|`` divides the first rows most evenly.
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

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be read as a table; the message says where, what was expected, and what
        was found.

    Notes
    -----
    A column with a cell that is no number is a column of categories, and becomes one 0/1 feature
    for each of its values, called "column=value"; it may have 32 different values. Empty cells and
    NA, N/A, NaN, null and ? (in any case) are missing values, which are reported and never filled
    in. Classes are in sorted order: text alphabetically, numbers by size.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        target: str | int | None = None,
        *,
        header: Header = "auto",
        delimiter: str = "auto",
        task: str | None = None,
        seed: int | None = None,
        train_fraction: float = 0.7,
    ) -> None:
        if task is not None and task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}, not {task!r}")
        where = _existing(path)
        if _is_npz(where):
            x, t, schema = _from_npz(where, target, task)
        else:
            x, t, schema = _from_csv(where, target, _check_header(header), delimiter, task)
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


def read_table(
    path: str | os.PathLike[str], *, header: Header = "auto", delimiter: str = "auto"
) -> RawTable:
    """Read the cells of a CSV file as text, with the same rules as `Table`.

    Parameters
    ----------
    path : path-like
        The file.
    header : bool or "auto"
        Whether the first row holds the columns' names.
    delimiter : str
        What separates the cells; by default found out.

    Returns
    -------
    RawTable
        The names, the rows, and where they are in the file.
    """
    cells = _Cells(_existing(path), delimiter)
    header = _check_header(header)
    return cells.table(_looks_like_header(cells.rows) if header == "auto" else header)


class _Cells:
    """The rows of a CSV file, before it is known whether the first is a header."""

    def __init__(self, path: Path, delimiter: str) -> None:
        plain = isinstance(delimiter, str) and len(delimiter) == 1 and delimiter not in '\r\n"'
        if not plain and delimiter != "auto":
            raise ValueError(
                "delimiter must be 'auto' or a single character other than a quote or a line end, "
                f"not {delimiter!r}"
            )
        self.path = path
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} must be UTF-8 text: byte {error.object[error.start]:#04x} at position "
                f"{error.start} is not"
            ) from None
        if not text.strip():
            raise ValueError(f"{path} is empty")
        self.delimiter = _sniff(text) if delimiter == "auto" else delimiter
        self.rows: list[list[str]] = []
        self.lines: list[int] = []
        for line, row in _records(text, self.delimiter, path):
            if self.rows and len(row) != len(self.rows[0]):
                raise ValueError(
                    f"{path}, line {line}: expected {len(self.rows[0])} cells like line "
                    f"{self.lines[0]}, found {len(row)} (delimiter {self.delimiter!r})"
                )
            self.rows.append(row)
            self.lines.append(line)

    def table(self, has_header: bool) -> RawTable:
        start = int(has_header)
        if len(self.rows) == start:
            raise ValueError(f"{self.path} has a header and no rows")
        names = [f"column {number}" for number in range(1, len(self.rows[0]) + 1)]
        if has_header:
            names = [cell or name for cell, name in zip(self.rows[0], names, strict=True)]
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise ValueError(
                    f"{self.path}: the columns' names must differ, and {_quoted(twice)} "
                    "occur(s) more than once"
                )
        rows, lines = self.rows[start:], self.lines[start:]
        return RawTable(self.path, tuple(names), rows, lines, has_header, self.delimiter)


def _existing(path: str | os.PathLike[str]) -> Path:
    where = Path(path)
    if where.is_dir():
        raise ValueError(f"path must be a file, and {where} is a folder")
    if not where.exists():
        raise FileNotFoundError(f"there is no file {where}")
    return where


def _check_header(header: Any) -> Header:
    if header is True or header is False or header == "auto":
        return header  # type: ignore[no-any-return]
    raise ValueError(f"header must be True, False or 'auto', not {header!r}")


def _records(text: str, delimiter: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    import csv
    import io

    lines = io.StringIO(text, newline="")
    try:
        reader = csv.reader(
            lines, delimiter=delimiter, skipinitialspace=delimiter != " ", strict=True
        )
        for row in reader:
            cells = [cell.strip() for cell in row]
            # A line without anything is skipped; so is one of blanks, which csv gives as a cell.
            if cells and cells != [""]:
                yield reader.line_num, cells
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from None


def _sniff(text: str) -> str:
    """Return the delimiter that divides the first rows most evenly, into the most numbers."""
    best, chosen = (0.0, 0.0, 0), ","
    for delimiter in DELIMITERS:
        sample: list[list[str]] = []
        try:
            for _, row in _records(text, delimiter, Path()):
                sample.append(row)
                if len(sample) == SNIFFED_ROWS:
                    break
        except ValueError:
            continue
        width, rows = Counter(map(len, sample)).most_common(1)[0]
        if width < 2:
            continue
        cells = [cell for row in sample for cell in row]
        # A decimal comma counts as a number, or else 1,5;2,5 would be split at its commas.
        numbers = sum(_number(cell) is not None or _has_decimal_comma(cell) for cell in cells)
        score = (rows / len(sample), numbers / len(cells), width)
        if score > best:
            best, chosen = score, delimiter
    return chosen


def _looks_like_header(rows: list[list[str]]) -> bool:
    first, below = rows[0], rows[1:HEADER_ROWS]
    if not below:
        return all(_number(cell) is None for cell in first)
    numeric = [
        any(_number(row[index]) is not None for row in below)
        and all(_number(row[index]) is not None or _is_missing(row[index]) for row in below)
        for index in range(len(first))
    ]
    if any(numeric):
        return any(
            is_numeric and _number(cell) is None and not _is_missing(cell)
            for cell, is_numeric in zip(first, numeric, strict=True)
        )
    return all(_number(cell) is None for cell in first) and not any(
        row[index] == cell for row in below for index, cell in enumerate(first)
    )


def _number(cell: str) -> float | None:
    """Return the finite number that `cell` says, if it does."""
    if "_" in cell:
        return None
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if isfinite(value) else None


def _numbers(cells: list[str]) -> tuple[NDArray, int | None]:
    """Return the numbers, and where the first cell is that is text (neither number nor missing).

    The number of a missing cell is NaN.
    """
    if not any("_" in cell for cell in cells):
        try:
            values = np.array([float(cell) for cell in cells])
        except ValueError:
            pass
        else:
            return np.where(np.isfinite(values), values, np.nan), None
    values = np.full(len(cells), np.nan)
    for index, cell in enumerate(cells):
        value = _number(cell)
        if value is not None:
            values[index] = value
        elif not _is_missing(cell):
            return values, index
    return values, None


def _is_missing(cell: str) -> bool:
    if cell.lower() in MISSING:
        return True
    try:
        return not isfinite(float(cell))
    except ValueError:
        return False


def _has_decimal_comma(cell: str) -> bool:
    whole, comma, fraction = cell.partition(",")
    return bool(comma) and fraction.isdecimal() and whole.lstrip("+-").isdecimal()


def _integer_name(label: str) -> str:
    value = _number(label)
    return label if value is None else _label(value)


def _label(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def _quoted(names: Sequence[str], most: int = 20) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


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
        "fill them in or leave these rows out"
    )


def _encode(
    path: Path, columns: Sequence[TableColumn], values: list[list[str]], lines: list[int]
) -> tuple[NDArray, list[tuple[int, str]]]:
    """Return the features, and the line and column of every missing value."""
    problems: list[tuple[int, str]] = []
    blocks = []
    for column, cells in zip(columns, values, strict=True):
        if column.categories is None:
            numbers, text = _numbers(cells)
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
            elif _is_missing(cell):
                problems.append((lines[row], column.name))
            else:
                raise ValueError(
                    f"{path}, line {lines[row]}: the column {column.name!r} must hold one of "
                    f"{_quoted(column.categories)}, not {cell!r}"
                )
        blocks.append(block)
    return np.concatenate(blocks, axis=1), problems


def _column(path: Path, name: str, cells: list[str], lines: list[int]) -> TableColumn:
    _, text = _numbers(cells)
    if text is None:
        return TableColumn(name)
    if all(_has_decimal_comma(c) or _number(c) is not None or _is_missing(c) for c in cells):
        raise ValueError(
            f"{path}, line {lines[text]}: the column {name!r} has numbers with a decimal comma "
            f"({cells[text]!r}); write them with a point"
        )
    categories = sorted({cell for cell in cells if not _is_missing(cell)})
    if len(categories) > MAX_CATEGORIES:
        raise ValueError(
            f"{path}, line {lines[text]}: the column {name!r} holds {cells[text]!r}, which is no "
            f"number, and as a column of categories it has {len(categories)} different values; "
            f"at most {MAX_CATEGORIES} are possible"
        )
    return TableColumn(name, tuple(categories))


def _target_index(path: Path, target: str | int | None, columns: tuple[str, ...]) -> int:
    if target is None:
        return len(columns) - 1
    if isinstance(target, str):
        if target in columns:
            return columns.index(target)
        try:
            index = int(target)
        except ValueError:
            raise ValueError(
                f"target must be a column of {path}, not {target!r}; its columns are "
                f"{_quoted(columns)}"
            ) from None
    else:
        index = check_integer("target", target)
    if not -len(columns) <= index < len(columns):
        raise ValueError(
            f"target must be a column's index from {-len(columns)} to {len(columns) - 1} for "
            f"{path}, not {index}; its columns are {_quoted(columns)}"
        )
    return index % len(columns)


def _from_csv(
    path: Path, target: str | int | None, header: Header, delimiter: str, task: str | None
) -> tuple[NDArray, NDArray, TableSchema]:
    table = read_table(path, header=header, delimiter=delimiter)
    position = _target_index(path, target, table.columns)
    at = [index for index in range(len(table.columns)) if index != position]
    if not at:
        raise ValueError(
            f"{path} has the single column {table.columns[0]!r}, and so no feature beside the "
            f"target (delimiter {table.delimiter!r})"
        )
    values = [[row[index] for row in table.rows] for index in at]
    labels = [row[position] for row in table.rows]
    name = table.columns[position]
    columns = tuple(
        _column(path, table.columns[index], cells, table.lines)
        for index, cells in zip(at, values, strict=True)
    )
    x, problems = _encode(path, columns, values, table.lines)
    for label, line in zip(labels, table.lines, strict=True):
        if _is_missing(label):
            problems.append((line, name))
    _report_missing(path, problems)
    numbers, text = _numbers(labels)
    if text is not None and all(_has_decimal_comma(c) or _number(c) is not None for c in labels):
        _column(path, name, labels, table.lines)
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
    )
    return x, t, schema


def _targets(
    path: Path, name: str, values: NDArray, task: str | None
) -> tuple[NDArray, str, tuple[str, ...] | None]:
    """Return the targets, the task and the labels that a single column of values means."""
    numeric = values.dtype.kind in "fiu"
    if not numeric and task == "regression":
        shown = [str(value) for value in values.tolist()]
        text = next((value for value in shown if _number(value) is None), shown[0])
        raise ValueError(
            f"{path}: the target {name!r} must hold numbers for regression, not {text!r}"
        )
    distinct, classes = np.unique(values, return_inverse=True)
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


def _is_npz(path: Path) -> bool:
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
        raise ValueError(f"{path} is not an NPZ file: it holds {_quoted(wrong)}")
    return arrays


def _npz_inputs(path: Path, arrays: dict[str, NDArray]) -> NDArray:
    if "x" not in arrays:
        raise ValueError(f"{path} must hold an array 'x'; it holds {_quoted(list(arrays))}")
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
            f"it holds {_quoted(list(arrays))}"
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
