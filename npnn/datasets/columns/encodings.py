"""What the cells of a column become, said once: tables are encoded by it, and exports print it.

Each class is a description in plain values, and a function of cells. A file for NumPy holds these
classes as they stand here; a file for ONNX has operators for what they describe.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple, Protocol
from zlib import crc32

import numpy as np

from npnn.datasets.cells import Cells
from npnn.datasets.given import NDArray
from npnn.datasets.moments import Moments
from npnn.datasets.numerals import Numerals, mark_of

LARGEST = float(np.finfo(np.float32).max)
TOKEN = re.compile(r"\w+")


class Encoded(NamedTuple):
    """Features of a column's cells, and what was found in them.

    Attributes
    ----------
    features : iterable of ndarray, shape (rows,)
        An array for each: numbers with all their digits, or float32 where that holds them.
    missing : ndarray of bool, shape (rows,)
        The cells without a value.
    unknown : ndarray of bool, shape (rows,)
        The cells with a value that the column does not know.
    """

    features: Iterable[NDArray]
    missing: NDArray
    unknown: NDArray


class Encoding(Protocol):
    """What says what cells become."""

    def __call__(self, cells: Cells) -> Encoded:
        """Return the features of cells."""


class Numbers(NamedTuple):
    """Cells as numbers: float64, NaN where there is none that float32 holds.

    Attributes
    ----------
    decimal, multiples : str, bool
        How they are written; see `Numerals`.
    """

    decimal: str = "."
    multiples: bool = False

    def __call__(self, cells: Cells) -> NDArray:
        """Return the numbers."""
        values = cells.floats
        if values is None:
            mark = cells.decimal or mark_of(cells.present) or self.decimal
            numerals = Numerals(mark, self.multiples)
            values = cells.read_by(lambda texts: [numerals(text) for text in texts])
        return np.where(np.abs(values) > LARGEST, np.nan, values)


class Seconds(NamedTuple):
    """Cells as seconds since 1970 (or since midnight): float64, NaN where there is no date.

    Attributes
    ----------
    form, month_first : str, bool
        How they are written; see `Moments`.
    """

    form: str
    month_first: bool = False

    def __call__(self, cells: Cells) -> NDArray:
        """Return the seconds."""
        times = cells.times
        if times is not None:
            return times
        return cells.read_by(Moments(self.form, self.month_first).read)


class Numeric(NamedTuple):
    """Numbers, or times, as features.

    Attributes
    ----------
    read : Numbers or Seconds
        How cells become numbers, NaN where there is none.
    fill : float
        What stands there.
    limits : tuple of two floats, or None
        Numbers beyond count as these.
    unit : float or None
        What numbers are divided by to be a feature; None: they are none.
    waves : tuple of pairs of floats
        Periods, and where they begin: a sine and a cosine each.
    missing : bool
        Whether a last feature is 1 where there is no number.
    """

    read: Numbers | Seconds
    fill: float
    limits: tuple[float, ...] | None = None
    unit: float | None = 1.0
    waves: tuple[tuple[float, float], ...] = ()
    missing: bool = False

    def __call__(self, cells: Cells) -> Encoded:
        """Return the features of cells."""
        values = self.read(cells)
        gone, missing = np.isnan(values), cells.missing
        values = np.where(gone, self.fill, values)
        if self.limits is not None:
            values = np.clip(values, self.limits[0], self.limits[1])
        features = [] if self.unit is None else [values / self.unit]
        for period, begin in self.waves:
            angle = 2.0 * np.pi * ((values - begin) / period % 1.0)
            features += [np.sin(angle), np.cos(angle)]
        if self.missing:
            features.append(gone.astype(np.float32))
        return Encoded(features, missing, gone & ~missing)


class OneOf(NamedTuple):
    """Categories as features: 1 at the one that the cell holds.

    Attributes
    ----------
    categories : tuple of str
        Those that are known.
    shares : tuple of float
        The features of a category that is unknown, or missing without a feature of its own.
    missing : bool
        Whether a last feature is 1 where there is none.
    """

    categories: tuple[str, ...]
    shares: tuple[float, ...]
    missing: bool = False

    def __call__(self, cells: Cells) -> Encoded:
        """Return the features of cells."""
        known = {category: place for place, category in enumerate(self.categories)}
        alike = {category.casefold(): place for category, place in known.items()}
        count = len(self.categories)
        rows = np.zeros((len(cells.distinct), count + self.missing), dtype=np.float32)
        unknown = np.zeros(len(cells.distinct), bool)
        missing = np.zeros(len(cells.distinct), bool)
        for row, (text, gone) in enumerate(zip(cells.distinct, cells.gone, strict=True)):
            place = known.get(text)
            if place is None and not gone:
                place = alike.get(text.casefold())
            if place is not None:
                rows[row, place] = 1.0
                continue
            missing[row], unknown[row] = gone, not gone
            if gone and self.missing:
                rows[row, count] = 1.0
            else:
                rows[row, :count] = self.shares
        features = of_codes(rows, cells.codes)
        return Encoded(features, missing[cells.codes], unknown[cells.codes])


class Words(NamedTuple):
    """Words as features: 1 at those that stand in the cell.

    Attributes
    ----------
    words : tuple of str
        Words, and whole cells, with a feature each.
    buckets : int
        Features that the others share: each word's checksum says which of them.
    missing : bool
        Whether a last feature is 1 where there is no text.
    """

    words: tuple[str, ...]
    buckets: int
    missing: bool = False

    def __call__(self, cells: Cells) -> Encoded:
        """Return the features of cells."""
        known = {word: place for place, word in enumerate(self.words)}
        count = len(known) + self.buckets
        rows = np.zeros((len(cells.distinct), count + self.missing), dtype=np.float32)
        gone = np.asarray(cells.gone, bool)
        for row, text in enumerate(cells.distinct):
            if gone[row]:
                rows[row, count:] = 1.0
                continue
            for token in tokens(text):
                place = known.get(token)
                if place is None:
                    place = len(known) + crc32(token.encode()) % self.buckets
                rows[row, place] = 1.0
        missing = gone[cells.codes]
        return Encoded(of_codes(rows, cells.codes), missing, np.zeros(len(missing), bool))


def of_codes(rows: NDArray, codes: NDArray) -> Iterable[NDArray]:
    """Yield each feature of cells, of which each holds one of some values with features."""
    return (np.ascontiguousarray(feature)[codes] for feature in rows.T)


def tokens(text: str) -> set[str]:
    """Return the words of a cell, and the whole of it, in lower case."""
    whole = text.lower()
    return {whole, *TOKEN.findall(whole)}
