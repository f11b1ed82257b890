"""Large texts, read by pyarrow where that is installed: in a fraction of the time and memory."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from npnn.datasets.cells import DASHES, MISSING, Cells, Factors
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
    data: bytes, head: Lines, skipped: int, missing: frozenset[str] | None, decimal: str | None
) -> list[Cells] | None:
    """Return the cells below the first lines of a large text, column by column.

    None where pyarrow is not installed, or does not read it as the rules of smaller texts say.

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
    """
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
            io.BytesIO(data),
            read_options=csv.ReadOptions(skip_rows=skipped, column_names=names),
            parse_options=csv.ParseOptions(delimiter=head.delimiter),
            convert_options=csv.ConvertOptions(
                null_values=["", *sorted({form(word) for word in words for form in WRITTEN})],
                decimal_point=decimal or ".",
                auto_dict_encode=True,
                auto_dict_max_cardinality=FEW,
            ),
        )
    except pa.ArrowInvalid:  # such as lines that end early
        return None
    if any("binary" in str(field.type) for field in table.schema):  # it is no UTF-8
        return None
    return [_cells(table.column(name), missing, decimal) for name in names]


def _cells(column: Any, missing: frozenset[str] | None, decimal: str | None) -> Cells:
    kind = str(column.type)
    if kind.startswith(("int", "uint", "float", "double")):
        values = column.to_numpy()
        if values.dtype == object:  # integers, of which some are missing
            values = np.asarray([np.nan if value is None else value for value in values.tolist()])
        return Cells(values, missing, decimal)
    if kind.startswith(("date", "timestamp")):
        return Cells(column.to_numpy().astype("datetime64[us]"), missing, decimal)
    if kind == "string":
        column = column.dictionary_encode()
    elif not kind.startswith("dictionary"):
        texts = ["" if value is None else str(value) for value in column.to_pylist()]
        return Cells(texts, missing, decimal)
    whole = column.unify_dictionaries().combine_chunks()
    distinct = [text.strip() for text in whole.dictionary.to_pylist()]
    codes = whole.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    if len(set(distinct)) < len(distinct):  # but for white space
        places: dict[str, int] = {}
        same = [places.setdefault(text, len(places)) for text in distinct]
        distinct, codes = list(places), np.asarray(same)[codes]
    return Cells(Factors(distinct, codes), missing, decimal)
