"""Which kind a column is of, and which columns are no use."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from npnn.datasets import moments, numerals
from npnn.datasets.cells import Cells
from npnn.datasets.columns.category import CategoryColumn
from npnn.datasets.columns.column import Column
from npnn.datasets.columns.date import DateColumn
from npnn.datasets.columns.number import NumberColumn
from npnn.datasets.columns.text import TextColumn
from npnn.datasets.given import NDArray

FEW_ROWS = 10  # of which nothing is told by how many are different
FEW_VALUES = 12  # of which some are no numbers: categories rather than numbers with mistakes
NEARLY_ALL = 0.95
MANY_WORDS = 2.5  # in the mean cell of a text
IDENTIFIER = re.compile(
    r"(?:^|[\W_])(?i:ids?|idx|index|key|uuid|guid|rownames?|row|nr|no|number|#)[\W_]*$"
    r"|[a-z](?:ID|Id|Key|Nr|No)$|^(?i:unnamed.*|column 0|row.?(?:number|id|no)|obs|case)?$"
)


class Recognised(NamedTuple):
    """What a column was taken for.

    Attributes
    ----------
    reason : str
        Why it is left out; empty if it is not.
    fit : callable
        Makes the column of the cells that are trained on.
    """

    reason: str
    fit: Callable[[Cells], Column]


def recognised(name: str, cells: Cells, *, kind: str | None, decimal: str, most: int) -> Recognised:
    """Return what a column is taken for.

    Parameters
    ----------
    name : str
        Its name.
    cells : Cells
        All that it holds.
    kind : str or None
        What a person said that it is.
    decimal : str
        The decimal mark, where a column's own numbers do not say it.
    most : int
        How many different values of text are categories.
    """

    def number(**options: object) -> Callable[[Cells], Column]:
        return lambda part: NumberColumn.fitted(name, part, **options)

    def date(form: moments.Moments) -> Callable[[Cells], Column]:
        return lambda part: DateColumn.fitted(name, part, **form._asdict())

    def category(part: Cells) -> Column:
        return CategoryColumn.fitted(name, part)

    def text(part: Cells) -> Column:
        return TextColumn.fitted(name, part, most=most)

    if kind == "category":
        return Recognised("", category)
    if kind == "text":
        return Recognised("", text)
    missing = cells.missing
    if missing.all():
        return Recognised("empty", category)
    given = cells.given
    if isinstance(given, np.ndarray) and given.dtype.kind == "M":
        return Recognised("", date(moments.Moments()))
    if isinstance(given, np.ndarray) and given.dtype.kind == "b":
        return Recognised(_constant(len(np.unique(given)), missing), category)
    floats = cells.floats
    if floats is not None and kind != "date":
        reason = _useless_numbers(name, floats, missing) if kind is None else ""
        digits = None if reason or kind else _dates_of_digits(floats, cells)
        return Recognised(reason, number() if digits is None else date(digits))
    texts = cells.present
    counts = [int(n) for n, gone in zip(cells.counts, cells.gone, strict=True) if not gone]
    reason = _constant(len(texts), missing)
    when = moments.understood(texts, counts) or moments.of_digits(texts)
    if when is not None and kind in (None, "date"):
        return Recognised(reason, date(when))
    if kind == "date":
        raise ValueError(f"the column {name!r} holds no dates, but for example {texts[0]!r}")
    mark = cells.decimal or numerals.mark_of(texts) or decimal
    how = numerals.understood(texts, counts, mark)
    if how is not None:
        form, found = how
        exact = found == sum(counts)
        if kind == "number" or exact or len(texts) > FEW_VALUES:
            return Recognised(reason, number(decimal=form.decimal, multiples=form.multiples))
    if kind == "number":
        raise ValueError(f"the column {name!r} holds no numbers, but for example {texts[0]!r}")
    total = sum(counts)
    wordy = sum(len(t.split()) * n for t, n in zip(texts, counts, strict=True)) / total
    if not reason and total >= FEW_ROWS and len(texts) >= NEARLY_ALL * total:
        tells = wordy >= MANY_WORDS and TextColumn.fitted(name, cells, most=most).words
        return Recognised("" if tells else "identifier", text)
    return Recognised(reason, category if len(texts) <= most else text)


def _constant(count: int, missing: NDArray) -> str:
    return "constant" if count == 1 and not missing.any() else ""


def _useless_numbers(name: str, values: NDArray, missing: NDArray) -> str:
    """Return why a column of numbers tells nothing, if it does not."""
    good = values[np.isfinite(values)]
    if (good == good[0]).all():
        return _constant(1, missing)
    if missing.any() or len(values) < FEW_ROWS or not IDENTIFIER.search(name):
        return ""
    steps = np.diff(values)
    if (steps == 1.0).all():
        return "row number"
    whole = (values == np.floor(values)).all()
    return "identifier" if whole and len(np.unique(values)) == len(values) else ""


def _dates_of_digits(values: NDArray, cells: Cells) -> moments.Moments | None:
    """Return how numbers such as 20240301 are dates, if all of a column are."""
    good = values[np.isfinite(values)]
    if len(good) < FEW_ROWS or good.min() < 1e6 or good.max() >= 1e8 or (good % 1.0).any():
        return None
    return moments.of_digits(cells.present)
