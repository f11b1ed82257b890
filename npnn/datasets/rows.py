"""Rows of raw cells, however they are given, as the inputs of a table's model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from npnn.datasets.cells import Cells, label_of
from npnn.datasets.columns.encodings import Encoding
from npnn.datasets.delimited import divided
from npnn.datasets.given import NDArray
from npnn.datasets.headers import names_of
from npnn.datasets.layout import Layout


class Rows(NamedTuple):
    """Makes inputs of raw cells; it needs NumPy alone, so that a file for NumPy holds it.

    Attributes
    ----------
    layout : Layout
        Where the columns are.
    encodings : tuple of callables
        What the cells of each become.
    words : tuple of str, or None
        Those that say that there is no value; None for the usual ones.
    delimiter, decimal, encoding : str
        How a file is written; "auto" if that is to be found out.
    """

    layout: Layout
    encodings: tuple[Encoding, ...]
    words: tuple[str, ...] | None = None
    delimiter: str = "auto"
    decimal: str = "auto"
    encoding: str = "auto"

    def __call__(self, rows: Any) -> NDArray:
        """Return the features of rows.

        Rows are the path of a text such as CSV; dicts by the columns' names; lists of cells, in the
        order of the file, with or without what is no input; or columns by name, as in a frame.
        Empty cells, None and NaN are missing values.
        """
        words = None if self.words is None else frozenset(self.words)
        decimal = None if self.decimal == "auto" else self.decimal
        cells = self._of_file(rows) if isinstance(rows, (str, os.PathLike)) else self._given(rows)
        each = zip(self.encodings, cells, strict=True)
        found = [encoding(Cells(texts, words, decimal)).features for encoding, texts in each]
        return np.stack([feature for features in found for feature in features], axis=1)

    def _of_file(self, path: Any) -> list[list[str]]:
        """Return the cells of each feature column of a file."""
        with open(path, "rb") as file:
            rows = divided(path, file.read(), self.delimiter, self.encoding).rows
        words = None if self.words is None else frozenset(self.words)
        count = self.layout.names_above(rows, self.encodings, words)
        if len(rows) <= count:
            raise ValueError(f"{path} has a header and no rows")
        at, _ = self.layout.find(path, names_of(rows, count, []), bool(count))
        return [[row[index] for row in rows[count:]] for index in at]

    def _given(self, rows: Any) -> list[list[str]]:
        """Return the cells of each feature column of rows or columns."""
        layout, names = self.layout._replace(has_header=True), None
        if hasattr(rows, "columns"):  # a frame
            rows = {name: list(rows[name]) for name in rows.columns}
        if isinstance(rows, Mapping):
            names = tuple(rows)
            plain = [isinstance(cells, str) or np.ndim(cells) == 0 for cells in rows.values()]
            given = [rows.values()] if all(plain) else zip(*rows.values(), strict=True)
            rows = [tuple(row) for row in given]
        rows = list(rows)
        if names is None and rows and isinstance(rows[0], Mapping):
            names = tuple(dict.fromkeys(name for row in rows for name in row))
            rows = [[row.get(name) for name in names] for row in rows]
        width = len(names or (rows[0] if rows else layout.names))
        for row in rows:
            if isinstance(row, str) or len(row) != width:
                raise ValueError(f"expected rows of {width} cells, not {row!r:.100}")
        at, _ = layout.find("the table", names or ("",) * width, names is not None)
        return [[text_of(row[index]) for row in rows] for index in at]


def text_of(value: Any) -> str:
    """Return a cell as a text holds it; that of no value is empty."""
    if isinstance(value, np.generic) and value.dtype.kind in "fiub":
        value = value.item()
    if value is None or (isinstance(value, float) and value != value):
        return ""
    return label_of(value).strip()
