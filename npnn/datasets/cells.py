"""One column of a table as it was read: its cells as text, numbers or times; what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import compress
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from npnn.datasets.given import NDArray
from npnn.values import merges

LARGE = 2.0**20  # from here on, float32 has few digits behind the point
# What spreadsheets, R, SQL and people write where there is no value; an empty cell always is none.
MISSING = frozenset(
    {"na", "n/a", "#n/a", "#na", "<na>", "nan", "nat", "null", "?"}
    | {"\\n", "-nan", "#div/0!", "#name?", "#null!", "#num!", "#ref!", "#value!"}
)
DASHES = frozenset(["-", "--", "---", "\N{EN DASH}", "\N{EM DASH}", ".", ".."])
BOOLEANS = {True: "True", False: "False"}


class Factors(NamedTuple):
    """Text of which each value is held once.

    Attributes
    ----------
    distinct : list of str
        The different values.
    codes : ndarray of int
        Which of them each cell holds.
    """

    distinct: list[str]
    codes: NDArray


class Cells:
    """The cells of one column.

    Parameters
    ----------
    given : list of str, Factors or ndarray
        Text without white space around it; or numbers, truth values or times, of which NaN and NaT
        are missing.
    missing : frozenset of str, optional
        Words, in lower case, that say that there is no value; by default `MISSING`, and dashes
        (but a minus is a value where a plus is one). An empty cell always is missing.
    decimal : {".", ","}, optional
        The decimal mark, where a person said it.
    """

    def __init__(
        self,
        given: list[str] | Factors | NDArray,
        missing: frozenset[str] | None = None,
        decimal: str | None = None,
    ) -> None:
        self.given = given
        self.words = missing
        self.decimal = decimal

    def __len__(self) -> int:
        return len(self.given.codes if isinstance(self.given, Factors) else self.given)

    def take(self, rows: NDArray) -> Cells:
        """Return the cells of some rows."""
        given = self.given
        if isinstance(given, np.ndarray):
            return Cells(given[rows], self.words, self.decimal)
        if isinstance(given, Factors):
            part = occurring(Factors(given.distinct, given.codes[rows]))
            return Cells(part, self.words, self.decimal)
        return Cells([given[row] for row in rows.tolist()], self.words, self.decimal)

    @property
    def is_text(self) -> bool:
        """Whether the cells are text."""
        return not isinstance(self.given, np.ndarray)

    @property
    def times(self) -> NDArray | None:
        """Seconds since 1970, NaN where there are none, of a column that holds times; else None."""
        given = self.given
        if not isinstance(given, np.ndarray) or given.dtype.kind != "M":
            return None
        micro = given.astype("datetime64[us]")
        seconds = micro.astype(np.int64) / 1e6
        return np.where(np.isnat(micro), np.nan, seconds)

    @cached_property
    def texts(self) -> list[str]:
        """The cells as text; that of a missing number is empty."""
        given = self.given
        if isinstance(given, Factors):
            return [given.distinct[code] for code in given.codes.tolist()]
        if not isinstance(given, np.ndarray):
            return given
        if given.dtype.kind == "b":
            return [BOOLEANS[value] for value in given.tolist()]
        if given.dtype.kind in "Mm":
            return ["" if text == "NaT" else text for text in given.astype(str).tolist()]
        return [label_of(v) if v == v else "" for v in given.tolist()]

    @cached_property
    def factors(self) -> Factors:
        """The texts, each once, and which of them each cell holds."""
        if isinstance(self.given, Factors):
            return self.given
        index: dict[str, int] = {}
        codes = [index.setdefault(text, len(index)) for text in self.texts]
        return Factors(list(index), np.asarray(codes, dtype=np.int64))

    @property
    def distinct(self) -> list[str]:
        """The different texts, each once, in the order in which they come."""
        return self.factors.distinct

    @property
    def codes(self) -> NDArray:
        """Which of the different texts each cell holds."""
        return self.factors.codes

    @cached_property
    def counts(self) -> NDArray:
        """How often each of the different texts comes."""
        return np.bincount(self.codes, minlength=len(self.distinct))

    def read_by(self, numbers_of: Callable[[list[str]], Iterable[float | None]]) -> NDArray:
        """Return the numbers that a function finds in the cells, NaN where there is none."""
        known = np.full(len(self.distinct), np.nan)
        known[~np.asarray(self.gone, bool)] = list(numbers_of(self.present))
        return known[self.codes]

    @cached_property
    def gone(self) -> list[bool]:
        """Which of the different texts are missing values."""
        words = MISSING if self.words is None else self.words
        dashes = DASHES if self.words is None and "+" not in self.distinct else frozenset()
        longest = max(map(len, {"-infinity", *words}))
        return [
            len(text) <= longest
            and (not text or text.lower() in words or text in dashes or _is_infinite(text))
            for text in self.distinct
        ]

    @property
    def missing(self) -> NDArray:
        """Which cells hold no value."""
        given = self.given
        if isinstance(given, np.ndarray):
            if given.dtype.kind == "f":
                return ~np.isfinite(given)
            return np.isnat(given) if given.dtype.kind in "Mm" else np.zeros(len(given), bool)
        return np.asarray(self.gone, bool)[self.codes]

    @cached_property
    def present(self) -> list[str]:
        """The different texts that are values."""
        return [text for text, gone in zip(self.distinct, self.gone, strict=True) if not gone]

    @cached_property
    def floats(self) -> NDArray | None:
        """The cells as float64, NaN where a value is missing; None if one is no plain number."""
        given = self.given
        if isinstance(given, np.ndarray):
            if given.dtype.kind == "m":
                return given.astype("timedelta64[us]").astype(np.float64) / 1e6
            if given.dtype.kind not in "fiu":
                return None
            values = given.astype(np.float64)
            return np.where(np.isfinite(values), values, np.nan)
        if self.decimal == "," and any("." in text for text in self.distinct):
            return None
        if isinstance(given, Factors):
            return self.read(to_number)
        if "_" not in "".join(given):
            try:
                each = map(float, [text or "nan" for text in given])
                values = np.fromiter(each, np.float64, len(given))
            except ValueError:
                pass
            else:
                return np.where(np.isfinite(values), values, np.nan)
        return self.read(to_number)

    def read(self, number: Any) -> NDArray | None:
        """Return what a function makes of each cell, NaN where a value is missing.

        None if it knows no number for a cell that is not missing.
        """
        found = []
        for text, gone in zip(self.distinct, self.gone, strict=True):
            value = np.nan if gone else number(text)
            if value is None:
                return None
            found.append(value)
        return np.asarray(found, np.float64)[self.codes]


def factors_of(texts: Iterable[str], codes: NDArray) -> Factors:
    """Return text that is held once, of such that has white space around it, or comes twice."""
    places: dict[str, int] = {}
    same = [places.setdefault(text.strip(), len(places)) for text in texts]
    if len(places) < len(same):
        codes = np.asarray(same, dtype=np.int64)[codes]
    return occurring(Factors(list(places), codes))


def occurring(text: Factors) -> Factors:
    """Return the same text without values that no cell holds."""
    there = np.bincount(text.codes, minlength=len(text.distinct)) > 0
    if there.all():
        return text
    distinct = list(compress(text.distinct, there.tolist()))
    return Factors(distinct, (np.cumsum(there) - 1)[text.codes])


def _is_infinite(text: str) -> bool:
    if text[-1:] not in "fyFYnN":
        return False
    try:
        return not isfinite(float(text))
    except ValueError:
        return False


def to_number(text: str) -> float | None:
    """Return the finite number that a text plainly is, if it is one."""
    if "_" in text:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None


def label_of(value: Any) -> str:
    """Return a value as text, such as the name of a class: an integer without a point."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def as_floats(where: object, name: str, values: NDArray) -> NDArray:
    """Return numbers as float32, or say which one is beyond it.

    They stay what they are where float32 would make one number of different ones: of those that are
    there, or of a large one and its neighbour.
    """
    with np.errstate(over="ignore"):
        floats = values.astype(np.float32)
    large = np.isfinite(values) & ~np.isfinite(floats)
    if large.any():
        raise ValueError(
            f"{where}: {name!r} holds {values[large][0]}, which is beyond what a float32 can hold"
        )
    inexact = np.isfinite(values) & (np.abs(values) >= LARGE) & (floats != values)
    return values if inexact.any() or merges(values).any() else floats


def quoted(names: Sequence[str], most: int = 20) -> str:
    """Return the first names in quotes, and how many more there are."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def missing_words(given: Iterable[str] | str | None) -> frozenset[str] | None:
    """Return the words that say that there is no value, looked at; None is the default."""
    if given is None or given == "auto":
        return None
    words = [given] if isinstance(given, str) else list(given)
    if not all(isinstance(word, str) for word in words):
        raise TypeError(f"missing must be words, not {given!r}")
    return frozenset(word.strip().lower() for word in words)
