"""The cells of a CSV file: how they are divided, what the first row is, and which are numbers."""

from __future__ import annotations

import codecs
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from npnn import checked
from npnn.datasets.given import NDArray
from npnn.values import merges

Header = bool | Literal["auto"]

LARGE = 2.0**20  # from here on, float32 has few digits behind the point
DELIMITERS = "\t;|,"
# What spreadsheets, R, SQL and people write where there is no value.
MISSING = frozenset(
    {"", "na", "n/a", "#n/a", "#na", "<na>", "nan", "null", "?"}
    | {"#div/0!", "#name?", "#null!", "#num!", "#ref!", "#value!"}
)
# These too, except where "+" is a value as well: then "-" is its opposite.
DASHES = frozenset(["-", "--", "---", "\N{EN DASH}", "\N{EM DASH}", ".", ".."])
SNIFFED_ROWS = 50
HEADER_ROWS = 1000

DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
PERCENT = re.compile(r"[+-]?\d+([.,]\d+)?\s*%")
DATE = re.compile(
    r"(\d{4}([-/.])\d{1,2}\2\d{1,2}|\d{1,2}([-/.])\d{1,2}\3(\d{4}|\d{2}))([T ]+\d{1,2}:\d{2}.*)?"
    r"|\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?"
)
LEAVE_OUT = "leave the column out with ignore (--ignore)"


class RawTable(NamedTuple):
    """The cells of a CSV file, as text.

    Attributes
    ----------
    path : Path
        The file.
    columns : tuple of str
        The names in the header; without one, "column 0", "column 1", ..., by their index.
    rows : list of list of str
        The cells below the header, without surrounding white space; numbers with a decimal comma
        have a point here.
    lines : list of int
        The line of the file, counted from 1, on which each row ends.
    has_header : bool
        Whether the first row was taken as a header.
    delimiter, decimal, encoding : str
        What separates the cells, the decimal mark, and the encoding of the text.
    """

    path: Path
    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]
    has_header: bool
    delimiter: str
    decimal: str
    encoding: str


def read_table(
    path: str | os.PathLike[str],
    *,
    header: Header = "auto",
    delimiter: str = "auto",
    decimal: str = "auto",
    encoding: str = "auto",
) -> RawTable:
    """Read the cells of a CSV file as text, with the same rules as `Table`.

    Parameters
    ----------
    path : path-like
        The file.
    header : bool or "auto"
        Whether the first row holds the columns' names.
    delimiter, decimal, encoding : str
        What separates the cells, the decimal mark, and the encoding; by default found out.

    Returns
    -------
    RawTable
        The names, the rows, and where they are in the file.
    """
    header = check_header(header)
    cells = Cells(existing(path), delimiter, decimal, encoding)
    return cells.table(looks_like_header(cells.rows) if header == "auto" else header)


class Cells:
    """The rows of a CSV file, before it is known whether the first is a header."""

    def __init__(self, path: Path, delimiter: str, decimal: str, encoding: str) -> None:
        plain = isinstance(delimiter, str) and len(delimiter) == 1 and delimiter not in '\r\n"'
        if not plain and delimiter != "auto":
            raise ValueError(
                "delimiter must be 'auto' or a single character other than a quote or a line end, "
                f"not {delimiter!r}"
            )
        if decimal not in ("auto", ".", ","):
            raise ValueError(f"decimal must be 'auto', '.' or ',', not {decimal!r}")
        self.path = path
        text, self.encoding = _decoded(path, encoding)
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
                    f"{self._why(row)}"
                )
            self.rows.append(row)
            self.lines.append(line)
        self.decimal = self._decimal_mark() if decimal == "auto" else decimal
        if self.decimal == ",":
            self._with_points()

    def table(self, has_header: bool) -> RawTable:
        """Return the table, its first row as its header or as data."""
        start = int(has_header)
        if len(self.rows) == start:
            raise ValueError(f"{self.path} has a header and no rows")
        names = [f"column {index}" for index in range(len(self.rows[0]))]
        if has_header:
            names = [cell or name for cell, name in zip(self.rows[0], names, strict=True)]
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise ValueError(
                    f"{self.path}: the columns' names must differ, and {quoted(twice)} "
                    "occur(s) more than once; if line 1 is data, say header=False (--header no)"
                )
        return RawTable(
            self.path,
            tuple(names),
            self.rows[start:],
            self.lines[start:],
            has_header,
            self.delimiter,
            self.decimal,
            self.encoding,
        )

    def _why(self, row: list[str]) -> str:
        """Return a guess why a row has another number of cells than the first one."""
        width = len(self.rows[0])
        if len(self.rows) == 1 and (width == 1 or self.rows[0][0].startswith("#")):
            return (
                f"; if line {self.lines[0]} is a comment or a title, take it away, and if the "
                "delimiter is another one, give it (--delimiter)"
            )
        if len(row) == width + 1 and not row[-1]:
            return f"; the line ends with {self.delimiter!r}"
        if len(row) > width:
            return f'; a cell that holds {self.delimiter!r} must stand in quotes ("...")'
        return ""

    def _decimal_mark(self) -> str:
        """Return a comma only if nothing else can be meant by the commas within the cells."""
        commas = [cell for row in self.rows for cell in row if "," in cell]
        if not commas or not all(map(has_decimal_comma, commas)):
            return "."
        thousands = all(map(THOUSANDS.fullmatch, commas))
        points = any("." in cell and to_number(cell) is not None for r in self.rows for cell in r)
        return "." if thousands or points else ","

    def _with_points(self) -> None:
        for line, row in zip(self.lines, self.rows, strict=True):
            for index, cell in enumerate(row):
                if has_decimal_comma(cell):
                    row[index] = cell.replace(",", ".")
                elif "." in cell and to_number(cell) is not None:
                    raise ValueError(
                        f"{self.path}, line {line}: {cell!r} has a point, and the decimal mark is "
                        "a comma (decimal=',', --decimal ,)"
                    )


def existing(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file, or raise an error that says what is there in its place."""
    where = Path(checked.path(path, "path"))
    if where.is_dir():
        raise ValueError(f"path must be a file, and {where} is a folder")
    if not where.exists():
        raise FileNotFoundError(f"there is no file {where}")
    return where


def check_header(header: Any) -> Header:
    """Return `header`, or raise a ValueError."""
    if header is True or header is False or header == "auto":
        return header  # type: ignore[no-any-return]
    raise ValueError(f"header must be True, False or 'auto', not {header!r}")


def _decoded(path: Path, encoding: str) -> tuple[str, str]:
    """Return the text of a file and its encoding; only what a mark tells is found out."""
    data = path.read_bytes()
    name = encoding
    if encoding == "auto":
        utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        name = "utf-16" if utf_16 else "utf-8-sig"
    try:
        return data.decode(name), name
    except UnicodeDecodeError as error:
        shown, hint = name, ""
        if encoding == "auto":
            shown = "UTF-16" if name == "utf-16" else "UTF-8"
            hint = "; if it was written in another encoding, give it (--encoding), such as cp1252"
        raise ValueError(
            f"{path} must be {shown} text: byte {data[error.start]:#04x} at position "
            f"{error.start} is not{hint}"
        ) from None
    except (LookupError, TypeError, UnicodeError):
        raise ValueError(
            f"encoding must be 'auto' or one that Python knows, such as 'cp1252', not {encoding!r}"
        ) from None


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
        numbers = sum(to_number(cell) is not None or has_decimal_comma(cell) for cell in cells)
        score = (rows / len(sample), numbers / len(cells), width)
        if score > best:
            best, chosen = score, delimiter
    return chosen


def looks_like_header(rows: list[list[str]]) -> bool:
    """Whether the first row is told from those below by what its cells are."""
    first, below = rows[0], rows[1:HEADER_ROWS]
    if not below:
        return all(to_number(cell) is None for cell in first)
    columns = [[row[index] for row in below] for index in range(len(first))]
    numeric = [_mostly_numbers(cells) for cells in columns]
    if any(numeric):
        # A placeholder among numbers, such as "unknown", is no name where it occurs again.
        return any(
            is_numeric and to_number(cell) is None and not is_missing(cell) and cell not in cells
            for cell, is_numeric, cells in zip(first, numeric, columns, strict=True)
        )
    return all(to_number(cell) is None for cell in first) and not any(
        row[index] == cell for row in below for index, cell in enumerate(first)
    )


def to_number(cell: str) -> float | None:
    """Return the finite number that `cell` says, if it does."""
    if "_" in cell:
        return None
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if isfinite(value) else None


def to_numbers(cells: list[str]) -> tuple[NDArray, int | None]:
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
        value = to_number(cell)
        if value is not None:
            values[index] = value
        elif not is_missing(cell):
            return values, index
    return values, None


def as_floats(path: Path, name: str, values: NDArray) -> NDArray:
    """Return numbers as float32, or say which one is beyond it.

    They stay what they are where float32 would make one number of different ones: of those that are
    there, or of a large one and its neighbour.
    """
    with np.errstate(over="ignore"):
        floats = values.astype(np.float32)
    large = np.isfinite(values) & ~np.isfinite(floats)
    if large.any():
        raise ValueError(
            f"{path}: {name!r} holds {values[large][0]}, which is beyond what a float32 can hold"
        )
    inexact = np.isfinite(values) & (np.abs(values) >= LARGE) & (floats != values)
    return values if inexact.any() or merges(values).any() else floats


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is no value, or none that is finite."""
    if cell.lower() in MISSING or cell in DASHES:
        return True
    try:
        return not isfinite(float(cell))
    except ValueError:
        return False


def missing_in(cells: list[str]) -> list[bool]:
    """Return which cells of a column are missing: a minus is a value where a plus is one."""
    signs = "+" in cells
    return [is_missing(cell) and not (signs and cell in DASHES) for cell in cells]


def has_decimal_comma(cell: str) -> bool:
    """Whether a cell is a number with a comma in place of the point."""
    return DECIMAL_COMMA.fullmatch(cell) is not None


def refuse_near_numbers(
    path: Path, name: str, cells: list[str], lines: list[int], or_classes: str = ""
) -> None:
    """Raise a ValueError for a column with text in it that was surely not meant as text.

    Either more than half of its values are numbers, or more than half are so but for their
    writing: with a comma, a percent sign, or as dates.
    """
    texts = [i for i, cell in enumerate(cells) if to_number(cell) is None and not is_missing(cell)]
    numbers = sum(to_number(cell) is not None for cell in cells)
    half = (numbers + len(texts)) / 2
    for pattern, counted, what, remedy in (
        (
            THOUSANDS,
            numbers,
            "numbers with a comma between the thousands",
            "write them without it, or, if it is a decimal comma, say decimal=',' (--decimal ,)",
        ),
        (
            DECIMAL_COMMA,
            numbers,
            "numbers with a decimal comma",
            "write them with a point, or say decimal=',' (--decimal ,)",
        ),
        (PERCENT, numbers, "percent signs", "write the numbers without them"),
        (
            DATE,
            0,
            "dates or times",
            "write numbers in their place, such as the year or the days since a first day, or "
            f"{LEAVE_OUT}",
        ),
    ):
        alike = [i for i in texts if pattern.fullmatch(cells[i])]
        if len(alike) > len(texts) / 2 and len(alike) + counted > half:
            raise ValueError(
                f"{path}, line {lines[alike[0]]}: the column {name!r} has {what} "
                f"({cells[alike[0]]!r}); {remedy}"
            )
    if texts and numbers > half:
        shown = ", ".join(f"line {lines[i]} ({cells[i]!r})" for i in texts[:5])
        more = f" and {len(texts) - 5} more" if len(texts) > 5 else ""
        raise ValueError(
            f"{path}: the column {name!r} holds numbers, but not on {shown}{more}; correct these "
            f"cells, leave out their rows, or {or_classes or LEAVE_OUT}"
        )


def _mostly_numbers(cells: list[str]) -> bool:
    numbers = texts = 0
    for cell in cells:
        if to_number(cell) is not None:
            numbers += 1
        elif not is_missing(cell):
            texts += 1
    return numbers > texts


def quoted(names: Sequence[str], most: int = 20) -> str:
    """Return the first names in quotes, and how many more there are."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
