"""Columns of numbers: one feature each, and one that says where a value is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from npnn.datasets.cells import Cells
from npnn.datasets.columns.column import Column, number, numbers, tells, with_missing
from npnn.datasets.columns.encodings import Numbers, Numeric
from npnn.datasets.given import NDArray

FEW = 20  # of fewer numbers it is not known which are far from the others
MIDDLE = (0.05, 0.95)  # where most numbers of a column lie
FAR = 5.0  # times the width of that


class NumberColumn(Column):
    """A column of numbers.

    Parameters
    ----------
    name : str
        Its name.
    decimal : {".", ","}
        The decimal mark of its cells.
    multiples : bool
        Whether k, M and B behind a number multiply it.
    fill : float
        What stands for a value that is missing, or that is no number: the median of the others.
    missing : bool
        Whether a second feature is 1 where that is so.
    limits : sequence of two floats, optional
        Numbers beyond count as these: what is far from all others would decide alone how large the
        others are, and nobody knows what a network makes of what lies farther out.
    """

    kind = "number"
    arguments = ("name", "decimal", "multiples", "fill", "missing", "limits")

    def __init__(
        self,
        name: str,
        decimal: str = ".",
        multiples: bool = False,
        fill: float = 0.0,
        missing: bool = False,
        limits: Sequence[float] | None = None,
    ) -> None:
        super().__init__(str(name))
        if decimal not in (".", ","):
            raise ValueError(f"decimal must be '.' or ',', not {decimal!r}")
        self.decimal, self.multiples = decimal, bool(multiples)
        self.fill, self.missing = number(fill), bool(missing)
        self.limits = None if limits is None else numbers(limits, 2)

    @classmethod
    def fitted(cls, name: str, cells: Cells, **options: Any) -> NumberColumn:
        column = cls(name, options.get("decimal", "."), options.get("multiples", False))
        values = column.values(cells)
        good = values[np.isfinite(values)]
        if len(good):
            column.fill = float(np.median(good))
        if len(good) >= FEW:
            low, high = np.quantile(good, MIDDLE).tolist()
            far = FAR * (high - low)
            column.limits = (low - far, high + far) if far > 0.0 else None
        column.missing = tells(np.isnan(values))
        return column

    def values(self, cells: Cells) -> NDArray:
        """Return the numbers as float64, NaN where there is none that float32 holds."""
        return self.encoding.read(cells)

    @property
    def encoding(self) -> Numeric:
        how = Numbers(self.decimal, self.multiples)
        return Numeric(how, self.fill, self.limits, missing=self.missing)

    @property
    def feature_names(self) -> tuple[str, ...]:
        return (self.name, *with_missing(self.name, self.missing))
