"""A user's own table: a file or a frame as a dataset, whose schema is found out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from npnn import checked
from npnn.datasets import numerals
from npnn.datasets.cells import missing_words, quoted
from npnn.datasets.columns import KINDS, Column, recognised
from npnn.datasets.dataset import Dataset, generators, split
from npnn.datasets.frames import is_frame, named
from npnn.datasets.given import TASKS, NDArray
from npnn.datasets.labels import Labels, labels_of
from npnn.datasets.npz import is_npz
from npnn.datasets.npz_table import from_npz
from npnn.datasets.schema import LeftOut, TableSchema, encoded
from npnn.datasets.sources import Header, RawTable, existing, read_table
from npnn.guided import guided
from npnn.normalization import Normalization

Columns = str | int | Sequence[str | int]
MAX_CATEGORIES = 50
WORDS = ("category", "text")  # kinds of columns whose numbers are words


class Table(Dataset):
    """A dataset from a user's table: a file, or a frame of another library.

    Parameters
    ----------
    path : path-like or frame
        A text with a row on each line, plain or packed (gzip, bzip2, xz, zip; "-" is the standard
        input); JSON with a record on each line, or SQLite; with the extra ``table`` also Parquet,
        Feather and Excel; or a frame of pandas, Polars or pyarrow. Or an NPZ file with the inputs
        as an array `x` of shape ``(n, ...)`` and the targets as an array `t` or `y`, for which all
        that follows but `target`, `task`, `seed` and `train_fraction` has no meaning.
    target : str or int, optional
        The target column, by name or by index (from 0; negative ones count from the end). A
        string that is no column's name but an integer is taken as the index; without a header the
        names are "column 0", "column 1", ... What is a name in a frame, such as a number or a
        tuple, is that column. By default the last column that is not ignored. For
        an NPZ file, the name of the target array.
    ignore : str, int or sequence of them, optional
        Columns to leave out, named like the target. They decide nothing.
    header : bool or "auto"
        Whether the first row of a text holds the columns' names. By default it does if `target`,
        `ignore` or `kinds` name one of its cells, if it has text over a column that is otherwise
        numbers, or years over numbers that are none; in a table of text only, if most of its cells
        do not occur again further down in their columns. Names may go on in a second row.
    delimiter : str
        What separates the cells: a single character, where a blank stands for any number of them.
        By default whichever of comma, semicolon, tab, ``|`` and blanks divides the first rows most
        evenly; columns that stand below each other may hold blanks.
    decimal : {"auto", ".", ","}
        The decimal mark. By default found out for each column, and where its numbers do not say
        it, by the others.
    encoding : str
        Such as "cp1252". By default UTF-8 or UTF-16, and Windows' Western one for what is neither.
    missing : str or sequence of str, optional
        The words that say that there is no value, in any case. By default NA, N/A, NaN, null, ?,
        spreadsheets' errors, and dashes (but a minus is a value where a plus is one). An empty cell
        never is a value.
    kinds : dict, optional
        What columns are, by name or index, where that should not be found out: "number",
        "category", "date" or "text".
    max_categories : int, default 50
        How many different values of a column of text are categories; more are words.
    task : {"classification", "binary", "regression"}, optional
        By default: labels of text are classes. Numbers are classes too if all of them are
        integers and there are few different ones: no more than 10, and no more than a quarter of
        the number of rows (but two are always few enough). Other numbers are a regression. Two
        classes also make a "classification" with two outputs; "binary" makes one output of them.
    seed : int, optional
        Makes the split and the batches repeatable.
    train_fraction : float
        The share that trains; classes are split in this proportion.

    Attributes
    ----------
    schema : TableSchema
        The columns and classes; ``schema.read(path)`` reads another file like this one, with or
        without targets.
    has_header : bool or None
        Whether names came from the file; None for an NPZ file.
    notes : tuple of str
        What was done to read the file.
    filled : dict of str to int
        How many missing cells, and ones that are no value of their column, were filled.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be read as a table; the message says where, what was expected, and what
        was found.
    npnn.MissingError
        If a library that reads such a file is not installed.

    Notes
    -----
    A column in which more than half of the values are numbers is one of numbers, with or without
    separators between thousands, signs of currencies, one unit, or percent signs; what is none
    counts as missing. Dates and times become a trend, and sines and cosines of the year, the week
    and the day. Up to `max_categories` values of text become a 0/1 feature each, called
    "column=value"; more of them, and longer text, a feature for each frequent word, and 16 shared
    by the others. A number that is missing becomes the median; a category that is missing or
    unknown counts as an average one; and where missing values are some, one more feature says so.
    All this is found in the rows that are trained on. Columns that are empty or constant, count the
    rows, or tell them apart by a name or number of their own are left out, and so are rows without
    a target. Classes are in sorted order: numbers by size, text alphabetically but with the numbers
    in it by size (c1, c2, c10).
    """

    _made_here = True

    @guided
    def __init__(
        self,
        path: Any,
        target: str | int | None = None,
        *,
        ignore: Columns = (),
        header: Header = "auto",
        delimiter: str = "auto",
        decimal: str = "auto",
        encoding: str = "auto",
        missing: str | Sequence[str] | None = None,
        kinds: Mapping[str | int, str] | None = None,
        max_categories: int = MAX_CATEGORIES,
        task: str | None = None,
        seed: int | None = None,
        train_fraction: float = 0.7,
    ) -> None:
        if task is not None and task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}, not {task!r}")
        words, kinds = missing_words(missing), _checked_kinds(kinds)
        most = checked.integer(max_categories, "max_categories", 1)
        ignored: list[str | int] = (
            [ignore]
            if isinstance(ignore, (str, int))
            else checked.sequence(ignore, "ignore", "columns")
        )
        self.has_header: bool | None = None
        self.notes: tuple[str, ...] = ()
        self.filled: dict[str, int] = {}
        parts: tuple[NDArray, NDArray] | None = None
        if is_frame(path):
            where = Path("frame")
            target = named(target, path)
            ignored = [named(column, path) for column in ignored]
            kinds = {named(column, path): kind for column, kind in kinds.items()}
        else:
            where = existing(path)
        if not is_frame(path) and is_npz(where):
            given = {
                "ignore": bool(ignored),
                "header": header != "auto",
                "delimiter": delimiter != "auto",
                "decimal": decimal != "auto",
                "encoding": encoding != "auto",
                "missing": missing is not None,
                "kinds": bool(kinds),
            }
            for name in (name for name, is_given in given.items() if is_given):
                raise ValueError(f"{name} is for CSV files, and {where} is an NPZ file")
            x, t, schema = from_npz(where, target, task)
        else:
            names = [c for c in (target, *ignored, *kinds) if isinstance(c, str)]
            table = read_table(
                path,
                header=header,
                delimiter=delimiter,
                decimal=decimal,
                encoding=encoding,
                missing=words,
                named=names,
                texts=lambda names: [
                    _column_index("kinds", where, column, names)
                    for column, kind in kinds.items()
                    if kind in WORDS
                ],
            )
            reading = _Reading(table, target, ignored, kinds, most, task)
            labels = reading.labels
            groups = None
            if labels.class_names is not None:
                groups = labels.t.argmax(axis=1) if labels.t.shape[1] > 1 else labels.t[:, 0]
            rng = generators(seed)[0]
            parts = split(len(labels.t), train_fraction, groups, rng)
            x, t, schema = reading.fitted(parts[0], words)
            self.filled = reading.filled
            self.notes = (*table.notes, *labels.notes, *reading.missing_notes())
            self.has_header = table.has_header
            del table, reading  # and with them the cells
        self.path = where
        self.schema = schema
        super().__init__(
            x,
            t,
            train_fraction=train_fraction,
            seed=seed,
            class_names=schema.class_names,
            feature_names=schema.feature_names,
            name=where.stem if str(where) != "-" else "standard input",
            task=schema.task,
            parts=parts,
        )

    def _standard(self) -> Normalization:
        scales = [scale for column in self.schema.columns for scale in column.scales]
        if len(self.shape_in) != 1:  # of an NPZ file
            return super()._standard()
        return norm_of(self.x_train_data, scales)


def norm_of(x: NDArray, scales: Sequence[float | None]) -> Normalization:
    """Return the map to mean 0, and to deviation 1 where nothing else is said of a feature."""
    found = [Normalization.standard(feature) for feature in x.T]
    given = zip(found, scales, strict=True)
    return Normalization(
        np.stack([norm.offset for norm in found]),
        np.stack([norm.scale if scale is None else scale for norm, scale in given]),
    )


class _Reading:
    """What each column of a table is taken for, before its parameters are found."""

    def __init__(
        self,
        table: RawTable,
        target: str | int | None,
        ignore: Sequence[str | int],
        kinds: Mapping[str | int, str],
        most: int,
        task: str | None,
    ) -> None:
        path, names = table.path, table.columns
        ignored = sorted({_column_index("ignore", path, column, names) for column in ignore})
        kept = [index for index in range(len(names)) if index not in ignored]
        if not kept:
            raise ValueError(f"ignore must leave columns of {path}, and it names all of them")
        position = kept[-1] if target is None else _column_index("target", path, target, names)
        if position in ignored:
            raise ValueError(f"ignore must not hold the target, {names[position]!r}")
        at = [index for index in kept if index != position]
        if not at:
            hint = f" (delimiter {table.delimiter!r}; if it is another one, give it: --delimiter)"
            raise ValueError(
                f"{path} has the single column {names[position]!r}, and so no feature beside the "
                f"target{hint if table.delimiter else ''}"
            )
        self.table, self.position = table, position
        said = {_column_index("kinds", path, column, names): k for column, k in kinds.items()}
        marks = [
            numerals.mark_of(table.cells[index].present)
            for index in kept
            if table.cells[index].is_text and table.cells[index].floats is None
        ]
        decimal = "," if "," in marks else "."
        self.labels: Labels = labels_of(path, names[position], table.cells[position], task, decimal)
        rows = self.labels.rows
        whole = len(rows) == len(table.cells[position])
        self.cells = {
            index: table.cells[index] if whole else table.cells[index].take(rows) for index in at
        }
        found = {
            index: recognised(
                names[index], self.cells[index], kind=said.get(index), decimal=decimal, most=most
            )
            for index in at
        }
        if all(each.reason for each in found.values()):
            # What would be left out tells little, but nothing else tells anything.
            useful = ("identifier", "row number")
            found = {i: each._replace(reason="") if each.reason in useful else each
                     for i, each in found.items()}  # fmt: skip
        self.used = {index: each for index, each in found.items() if not each.reason}
        out = {index: "ignored" for index in ignored}
        out |= {index: each.reason for index, each in found.items() if each.reason}
        if not self.used:
            reasons = ", ".join(f"{names[i]!r} ({reason})" for i, reason in sorted(out.items()))
            raise ValueError(
                f"{path} has no feature beside the target {names[position]!r} that tells anything: "
                f"{reasons:.300}"
            )
        self.left_out = tuple(LeftOut(i, names[i], reason) for i, reason in sorted(out.items()))
        self.filled: dict[str, int] = {}

    def missing_notes(self) -> list[str]:
        """Return what is said of the words that counted as missing."""
        used = [self.table.cells[self.position], *(self.cells[index] for index in self.used)]
        words = {
            text
            for cells in used
            if cells.is_text
            for text, gone in zip(cells.distinct, cells.gone, strict=True)
            if gone and text
        }
        if not words:
            return []
        shown = quoted(sorted(words), 5)
        verb, what = (
            ("counts", "it is a value") if len(words) == 1 else ("count", "they are values")
        )
        return [f"{shown} {verb} as missing (--missing none if {what})"]

    def fitted(
        self, train: NDArray, words: frozenset[str] | None
    ) -> tuple[NDArray, NDArray, TableSchema]:
        """Return inputs, targets and schema, whose parameters are those of the rows that train."""
        table, labels = self.table, self.labels
        columns: list[Column] = [
            each.fit(self.cells[index].take(train)) for index, each in self.used.items()
        ]
        cells = [self.cells[index] for index in self.used]
        x, missing, unknown = encoded(table.path, columns, cells)
        for column, gone, strange in zip(columns, missing, unknown, strict=True):
            # A category that no training row has is no gap.
            count = int((gone if column.kind == "category" else gone | strange).sum())
            if count:
                self.filled[column.name] = count
        schema = TableSchema(
            columns=tuple(columns),
            task=labels.task,
            target=table.columns[self.position],
            target_position=self.position,
            class_names=labels.class_names,
            num_outputs=labels.t.shape[1],
            shape_in=x.shape[1:],
            has_header=table.has_header,
            left_out=self.left_out,
            missing=None if words is None else tuple(sorted(words)),
            numerals=labels.numerals,
        )
        return x, labels.t, schema


def _checked_kinds(kinds: Any) -> dict[str | int, str]:
    if kinds is None:
        return {}
    if not isinstance(kinds, Mapping):
        raise TypeError(f"kinds must be a dict of columns to kinds, not {kinds!r}")
    for column, kind in kinds.items():
        if kind not in KINDS:
            raise ValueError(
                f"kinds must be some of {', '.join(KINDS)}, not {kind!r} for column {column!r}"
            )
    return dict(kinds)


def _column_index(argument: str, path: Path, column: str | int, columns: tuple[str, ...]) -> int:
    if isinstance(column, str):
        if column in columns:
            return columns.index(column)
        plain = column.strip().casefold()
        # The first line of names that go on in a second one is enough.
        for alike in (str.casefold, lambda name: name.casefold().partition(": ")[0]):
            found = [i for i, name in enumerate(columns) if alike(name) == plain]
            if found:
                return found[0]
        try:
            index = int(column)
        except ValueError:
            raise ValueError(
                f"{argument} must be a column of {path}, not {column!r}; its columns are "
                f"{quoted(columns)}"
            ) from None
    else:
        try:
            index = checked.integer(column, argument)
        except TypeError:
            raise TypeError(
                f"{argument} must be a column's name or index, not {checked.shown(column)}; the "
                f"columns of {path} are {quoted(columns)}"
            ) from None
    if not -len(columns) <= index < len(columns):
        raise ValueError(
            f"{argument} must be a column's index from {-len(columns)} to {len(columns) - 1} for "
            f"{path}, not {index}; its columns are {quoted(columns)}"
        )
    return index % len(columns)
