"""Large texts: read by pyarrow where that is installed, and else in parts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from npnn.datasets import arrow, gathered
from npnn.datasets.cells import DASHES, MISSING, Cells
from npnn.datasets.delimited import BLANK, Lines

LARGE = 4 << 20  # bytes from which on it is worth it
HEAD = 1 << 18  # bytes by which delimiter, quotes and comments are found out
FEW = 5000  # different values, of which each is held once while the text is read
WRITTEN = (str.lower, str.upper, str.title, str)


def head_of(data: bytes) -> bytes | None:
    """Return the first lines of a large text; None if it is not large, or not plainly a text."""
    if len(data) < LARGE or data.count(0, 0, HEAD):
        return None
    end = data.rfind(b"\n", 0, HEAD)
    return data[: end + 1] if end > 0 else None


def columns_of(
    data: bytes,
    head: Lines,
    skipped: int,
    missing: frozenset[str] | None,
    decimal: str | None,
    texts: Collection[int] = (),
) -> list[Cells] | None:
    """Return the cells below the first lines of a large text, column by column.

    None where they are not to be read as plainly as this: such as lines that end early.

    Parameters
    ----------
    data : bytes
        The text.
    head : Lines
        Its first rows.
    skipped : int
        Lines above the cells.
    missing, decimal
        As for `Cells`.
    texts : collection of int
        Columns that are to be read as text, whatever they hold.
    """
    found = _by_pyarrow(data, head, skipped, missing, decimal, texts)
    if found is None:
        found = gathered.columns_of(data, head, skipped, missing, decimal, texts)
    return found


def _by_pyarrow(
    data: bytes,
    head: Lines,
    skipped: int,
    missing: frozenset[str] | None,
    decimal: str | None,
    texts: Collection[int],
) -> list[Cells] | None:
    if head.delimiter == BLANK or not head.encoding.startswith("utf-8"):
        return None
    try:
        import pyarrow as pa
        from pyarrow import csv
    except ImportError:
        return None
    names = [f"{number}" for number in range(len(head.rows[0]))]
    words = MISSING | DASHES if missing is None else missing
    try:
        table = csv.read_csv(
            pa.BufferReader(data),
            read_options=csv.ReadOptions(skip_rows=skipped, column_names=names),
            parse_options=csv.ParseOptions(delimiter=head.delimiter, quote_char=head.quote),
            convert_options=csv.ConvertOptions(
                null_values=["", *sorted({form(word) for word in words for form in WRITTEN})],
                decimal_point=decimal or ".",
                column_types={names[place]: pa.string() for place in texts},
                auto_dict_encode=True,
                auto_dict_max_cardinality=FEW,
            ),
        )
    except pa.ArrowInvalid:  # such as lines that end early
        return None
    if any("binary" in str(field.type) for field in table.schema):  # it is no UTF-8
        return None
    found = [Cells(_plain(column), missing, decimal) for column in table.columns]
    del table
    pa.default_memory_pool().release_unused()  # which it would keep for another table
    return found


def _plain(column: Any) -> Any:
    found = arrow.plain(column)
    if found is None:  # such as times of the day
        return ["" if value is None else str(value) for value in column.to_pylist()]
    return found
