"""Large texts without another library: read in parts, of which only arrays are kept."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Iterator
from itertools import islice

import numpy as np

from npnn.datasets.cells import Cells, factors_of
from npnn.datasets.delimited import Lines

ROWS = 1 << 14  # of a part


class _Uneven(ValueError):
    """A row has more or fewer cells than the first ones."""


class _Column:
    """A column of which the cells come part by part.

    It is one of numbers as long as all parts are, and nothing else is kept of those.
    """

    def __init__(self, missing: frozenset[str] | None) -> None:
        self.missing = missing
        self.parts: list[np.ndarray] = []
        self.places: dict[str, int] | None = None  # of each different text
        self.is_whole = True

    def add(self, cells: tuple[str, ...]) -> None:
        if self.places is None and self.is_whole:
            numbers = Cells(list(cells), self.missing).floats
            if numbers is None:  # but numbers may have white space around them, and words not
                numbers = Cells([cell.strip() for cell in cells], self.missing).floats
            if numbers is not None:
                self.parts.append(numbers)
                return
            # It is text; where its first cells were kept as numbers, it has to be read again.
            self.is_whole = not self.parts
            self.begin()
        if self.is_whole:
            self.parts.append(np.fromiter(self.codes(cells), np.int32, len(cells)))

    def codes(self, cells: tuple[str, ...]) -> Iterable[int]:
        """Return which of the different texts each cell holds."""
        places = self.places
        assert places is not None
        try:
            return list(map(places.__getitem__, cells))
        except KeyError:  # there are new ones
            return [places.setdefault(cell, len(places)) for cell in cells]

    def begin(self) -> None:
        """Begin a column of text."""
        self.parts, self.places = [], {}

    def cells(self, decimal: str | None) -> Cells:
        whole = np.concatenate(self.parts)
        if self.places is None:
            return Cells(whole, self.missing, decimal)
        return Cells(factors_of(self.places, whole), self.missing, decimal)


def columns_of(
    data: bytes,
    head: Lines,
    skipped: int,
    missing: frozenset[str] | None,
    decimal: str | None,
    texts: Collection[int],
) -> list[Cells] | None:
    """Return the cells below the first lines of a large text, column by column.

    None where a line has more or fewer cells than the first ones, or is not encoded as those are.
    Parameters are those of `big.columns_of`.
    """
    columns = unread = [_Column(missing) for _ in head.rows[0]]
    for place, column in enumerate(columns):
        if decimal == "," or place in texts:
            column.begin()
    try:
        while unread:
            for part in _parts(data, head, skipped):
                for column, cells in zip(columns, part, strict=True):
                    if column in unread:
                        column.add(cells)
            unread = [column for column in columns if not column.is_whole]
            for column in unread:
                column.is_whole = True
    except (csv.Error, UnicodeError, _Uneven):
        return None
    return [column.cells(decimal) for column in columns] if columns[0].parts else None


def _parts(data: bytes, head: Lines, skipped: int) -> Iterator[list[tuple[str, ...]]]:
    """Yield the columns of some rows, and of the next ones."""
    lines = islice(io.TextIOWrapper(io.BytesIO(data), head.encoding, newline=""), skipped, None)
    reader = csv.reader(
        lines, delimiter=head.delimiter, quotechar=head.quote, skipinitialspace=True, strict=True
    )
    while rows := list(islice(reader, ROWS)):
        rows = [row for row in rows if any(map(str.strip, row))]
        if any(len(row) != len(head.rows[0]) for row in rows):
            raise _Uneven
        if rows:
            yield list(zip(*rows, strict=True))
