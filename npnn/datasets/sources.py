"""Where a table comes from: a file of one of many formats, or a frame of another library."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from npnn import checked
from npnn.datasets import big, formats
from npnn.datasets.cells import Cells
from npnn.datasets.delimited import Lines, divided
from npnn.datasets.frames import frame_columns, is_frame, plain
from npnn.datasets.headers import names_above, names_of

Header = bool | Literal["auto"]


@dataclass(frozen=True)
class RawTable:
    """The cells of a table, column by column, as they were read.

    Attributes
    ----------
    path : Path
        The file, or what a frame is called.
    columns : tuple of str
        The names; without a header, "column 0", "column 1", ..., by their index.
    cells : tuple of Cells
        The cells of each column.
    lines : sequence of int
        The line of the file, counted from 1, on which each row ends.
    has_header : bool
        Whether the names come from the file.
    delimiter, encoding : str
        What separates the cells of a text (a blank stands for any number of them), and its
        encoding; empty for other files.
    notes : tuple of str
        What a person should know of how it was read.
    """

    path: Path
    columns: tuple[str, ...]
    cells: tuple[Cells, ...]
    lines: Sequence[int]
    has_header: bool
    delimiter: str = ""
    encoding: str = ""
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> list[list[str]]:
        """The cells as text, row by row."""
        return [list(row) for row in zip(*(cells.texts for cells in self.cells), strict=True)]


def read_table(
    path: Any,
    *,
    header: Header = "auto",
    delimiter: str = "auto",
    decimal: str = "auto",
    encoding: str = "auto",
    missing: frozenset[str] | None = None,
    named: Sequence[str] = (),
    fits: Callable[[list[list[str]]], int] | None = None,
    texts: Callable[[tuple[str, ...]], Collection[int]] | None = None,
) -> RawTable:
    """Read the cells of a table, with the same rules as `Table`.

    Parameters
    ----------
    path : path-like or frame
        The file, or a frame of pandas, Polars or pyarrow.
    header : bool or "auto"
        Whether the first row of a text holds the columns' names.
    delimiter, decimal, encoding : str
        What separates the cells, the decimal mark, and the encoding; by default found out.
    missing : frozenset of str, optional
        Words that say that there is no value; see `Cells`.
    named : sequence of str
        Names that are said to be columns', by which a header is known.
    fits : callable, optional
        Tells how many of the first rows hold names, if header is "auto".
    texts : callable, optional
        Tells by the columns' names which of them are text, whatever they hold.

    Returns
    -------
    RawTable
        The names, the cells, and where they are in the file.
    """
    if header is not True and header is not False and header != "auto":
        raise ValueError(f"header must be True, False or 'auto', not {header!r}")
    if decimal not in ("auto", ".", ","):
        raise ValueError(f"decimal must be 'auto', '.' or ',', not {decimal!r}")
    if is_frame(path):
        return _of_columns(Path("frame"), frame_columns(path), missing)
    where = existing(path)
    data = contents(where)
    kind = formats.of(where, data)
    if kind != "text":
        return _of_columns(where, formats.READERS[kind](where, data), missing)
    data = formats.unpacked(where, data)
    mark = None if decimal == "auto" else decimal
    head = big.head_of(data)
    text = divided(where, data if head is None else head, delimiter, encoding)
    count = _names_above(text, header, named, fits)
    cells = None
    if head is not None and len(text.rows) > count:
        wanted = () if texts is None else texts(names_of(text.rows, count, []))
        cells = big.columns_of(data, text, text.lines[count] - 1, missing, mark, wanted)
        if cells is None:
            text = divided(where, data, delimiter, encoding)
            count = _names_above(text, header, named, fits)
    if len(text.rows) <= count:
        raise ValueError(f"{where} has a header and no rows")
    names = names_of(text.rows, count, text.notes)
    if header == "auto" and fits is None and count and all(cell.isdigit() for cell in text.rows[0]):
        text.notes.append(
            "line 1 holds numbers, and is taken for names (--header no if it is data)"
        )
    lines: Sequence[int] = text.lines[count:]
    if cells is None:
        columns = zip(*text.rows[count:], strict=True)
        cells = [Cells(list(column), missing, mark) for column in columns]
    else:
        lines = range(lines[0], lines[0] + len(cells[0]))
    return RawTable(
        where,
        names,
        tuple(cells),
        lines,
        bool(count),
        text.delimiter,
        text.encoding,
        tuple(text.notes),
    )


def _names_above(
    text: Lines,
    header: Header,
    named: Sequence[str],
    fits: Callable[[list[list[str]]], int] | None,
) -> int:
    """Return how many of the first rows hold names."""
    if header != "auto":
        return int(header)
    return names_above(text.rows, named) if fits is None else fits(text.rows)


def existing(path: Any) -> Path:
    """Return the path of a file, or raise an error that says what is there in its place.

    A minus is the standard input.
    """
    try:
        where = Path(checked.path(path, "path"))
    except TypeError as error:
        raise TypeError(f"{error}; or a frame, such as pandas.DataFrame(data)") from None
    if str(where) == "-":
        return where
    if where.is_dir():
        raise ValueError(f"path must be a file, and {where} is a folder")
    if not where.exists():
        raise FileNotFoundError(f"there is no file {where}")
    return where


def contents(path: Path) -> bytes:
    """Return the bytes of a file, which may be a pipe, and so is read once."""
    if str(path) == "-":
        return sys.stdin.buffer.read()
    return path.read_bytes()


def _of_columns(where: Path, columns: dict[str, Any], missing: frozenset[str] | None) -> RawTable:
    """Return the table of columns that have types already."""
    cells = tuple(Cells(plain(values), missing) for values in columns.values())
    count = len(cells[0]) if cells else 0
    if not count:
        raise ValueError(f"{where} has no rows")
    return RawTable(where, tuple(columns), cells, range(1, count + 1), True)
