"""Columns of dates and times: a trend, and where in the year, the week and the day each falls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from npnn.datasets.cells import Cells
from npnn.datasets.columns.column import Column, number, strings, tells, with_missing
from npnn.datasets.columns.encodings import Numeric, Seconds
from npnn.datasets.given import NDArray
from npnn.datasets.moments import DAY_SECONDS

YEAR_SECONDS = 365.2425 * DAY_SECONDS
# The period of each cycle, when it begins (the epoch was a Thursday), and in how many of its parts
# the dates must fall to make it a feature.
CYCLES = {
    "year": (YEAR_SECONDS, 0.0, 12),
    "week": (7 * DAY_SECONDS, -3 * DAY_SECONDS, 7),
    "day": (DAY_SECONDS, 0.0, 24),
}
PARTS = ("trend", *CYCLES)


class DateColumn(Column):
    """A column of dates or times.

    Parameters
    ----------
    name : str
        Its name.
    form, month_first : str, bool
        How its cells are written; see `Moments`.
    parts : sequence of str
        What becomes of them: "trend", the days since 1970 (or since midnight); "year", "week" and
        "day", a sine and a cosine that go round once in each.
    fill : float
        Seconds since 1970 that stand for a value that is missing, or is no date.
    missing : bool
        Whether one more feature is 1 where that is so.
    """

    kind = "date"
    arguments = ("name", "form", "month_first", "parts", "fill", "missing")

    def __init__(
        self,
        name: str,
        form: str,
        month_first: bool = False,
        parts: Sequence[str] = PARTS,
        fill: float = 0.0,
        missing: bool = False,
    ) -> None:
        super().__init__(str(name))
        if form not in ("day", "month", "clock", "digits"):
            raise ValueError(f"form must be that of a date, not {form!r}")
        self.form, self.month_first = form, bool(month_first)
        self.parts = strings(parts)
        if not self.parts or not set(self.parts) <= set(PARTS):
            raise ValueError(f"parts must be some of {', '.join(PARTS)}, not {parts!r}")
        self.fill, self.missing = number(fill), bool(missing)

    @classmethod
    def fitted(cls, name: str, cells: Cells, **options: Any) -> DateColumn:
        column = cls(name, options.get("form", "day"), options.get("month_first", False))
        seconds = column.seconds(cells)
        good = seconds[np.isfinite(seconds)]
        column.fill = float(np.median(good)) if len(good) else 0.0
        column.missing = tells(np.isnan(seconds))
        # A cycle is one only where the dates go round in it, and fall into different parts of it.
        cycles = [
            part
            for part, (period, begin, pieces) in CYCLES.items()
            if len(np.unique(np.floor(((good - begin) % period) / period * pieces))) > 2
            and not (part == "week" and column.form == "month")
        ]
        column.parts = ("trend", *cycles)
        return column

    def seconds(self, cells: Cells) -> NDArray:
        """Return the seconds since 1970 (or since midnight), NaN where there is no date."""
        return self.encoding.read(cells)

    @property
    def encoding(self) -> Numeric:
        unit = DAY_SECONDS if "trend" in self.parts else None
        waves = tuple(CYCLES[part][:2] for part in CYCLES if part in self.parts)
        how = Seconds(self.form, self.month_first)
        return Numeric(how, self.fill, None, unit, waves, self.missing)

    @property
    def feature_names(self) -> tuple[str, ...]:
        names = [self.name] if "trend" in self.parts else []
        for part in CYCLES:
            if part in self.parts:
                names += [f"{self.name}, sine of the {part}", f"{self.name}, cosine of the {part}"]
        return (*names, *with_missing(self.name, self.missing))

    @property
    def remark(self) -> str:
        return ", ".join(self.parts)
