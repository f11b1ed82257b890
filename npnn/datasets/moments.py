"""Dates and times as people write them, as seconds since 1970."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date
from math import isnan, nan
from typing import NamedTuple

import numpy as np

MONTHS = {
    name: number
    for number, names in enumerate(
        ("jan januar january", "feb februar february", "mar mär märz march", "apr april",
         "may mai", "jun juni june", "jul juli july", "aug august",
         "sep sept september", "oct okt oktober october", "nov november",
         "dec dez dezember december"),
        start=1,
    )
    for name in names.split()
}  # fmt: skip
CLOCK = (
    r"(?P<hour>\d{1,2})(?P<by>[:.])(?P<minute>\d{2})(?:(?P=by)(?P<second>\d{2})(?:[.,]\d+)?)?"
    r"\s?(?P<half>[AaPp]\.?[Mm]\.?)?\s?(?:Z|UTC|GMT|[+-]\d{2}:?\d{2})?"
)
DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?\.?"
WORD = r"(?P<word>[^\W\d]{3,9})\.?"
YEAR = r"(?P<year>\d{4}|\d{2})"
FULL = r"(?P<year>1[5-9]\d\d|20\d\d|21\d\d)"
DATES = tuple(
    rf"(?:[^\W\d]{{3,9}}\.?,?\s+)?{form}(?:[T ,]+{CLOCK})?"
    for form in (
        rf"{FULL}(?P<mark>[-/.])(?P<month>\d{{1,2}})(?P=mark)(?P<day>\d{{1,2}})",
        rf"(?P<first>\d{{1,2}})(?P<mark>[-/.])(?P<then>\d{{1,2}})(?P=mark){YEAR}",
        rf"{DAY}[- /]?{WORD}[- /,]*{YEAR}",
        rf"{WORD}[- ]*{DAY},?\s+{FULL}",
        rf"{FULL}[- /]{WORD}[- /]{DAY}",
    )
)
MONTHLY = (
    rf"{FULL}[-/M](?P<month>\d{{1,2}})",
    rf"(?P<month>\d{{1,2}})[-/]{FULL}",
    rf"{WORD}[- ,/]*{FULL}",
    rf"{WORD}[-' /](?P<year>\d{{2}})",
    rf"{FULL}[- ]?Q(?P<quarter>[1-4])",
    rf"Q(?P<quarter>[1-4])[- /]?{FULL}",
)
DIGITS = (
    rf"{FULL}(?P<month>\d{{2}})(?P<day>\d{{2}})",
    rf"(?P<month>\d{{1,2}})(?P<day>\d{{2}}){FULL}",
)
DAY_SECONDS = 86400.0
ENOUGH = 0.8  # of the cells must be dates


class Moments(NamedTuple):
    """How the dates or times of a column are written.

    Attributes
    ----------
    form : {"day", "month", "clock", "digits"}
        Whether they are days (with a time of day, perhaps), months, times of a day, or dates of
        eight digits.
    month_first : bool
        Whether 1/2/2024 is in January.
    """

    form: str = "day"
    month_first: bool = False

    def __call__(self, text: str) -> float | None:
        """Return the seconds since 1970, or since midnight; None if a cell is no such moment."""
        if self.form == "clock":
            match = re.fullmatch(CLOCK, text)
            if match is None or (match["by"] == "." and match["second"] is None):
                return None
            return _clock(match)
        patterns = {"day": DATES, "month": MONTHLY, "digits": DIGITS}[self.form]
        for pattern in patterns:
            match = re.fullmatch(pattern, text)
            if match is not None:
                found = self._moment(match)
                if found is not None:
                    return found
        return None

    def read(self, texts: Iterable[str]) -> list[float | None]:
        """Return the same of many cells, among which days, and times of the day, come again."""
        if self.form != "day":
            return [self(text) for text in texts]
        days, clocks = _Known(self), _Known(Moments("clock"))
        found: list[float | None] = []
        for text in texts:
            colon = text.find(":")
            cut = text.rfind(" ", 0, colon) if colon > 0 else -1
            if cut < 0 < colon:
                cut = text.rfind("T", 0, colon)
            value = days[text[:cut]] + clocks[text[cut + 1 :]] if cut > 0 else nan
            found.append(self(text) if isnan(value) else value)
        return found

    def _moment(self, match: re.Match[str]) -> float | None:
        parts = match.groupdict()
        if parts.get("first"):
            order = ("month", "day") if self.month_first else ("day", "month")
            parts |= dict(zip(order, (parts["first"], parts["then"]), strict=True))
        if parts.get("quarter"):
            parts["month"] = str(3 * int(parts["quarter"]) - 2)
        word = parts.get("word")
        month = MONTHS.get(word.lower(), 0) if word else int(parts["month"])
        year = int(parts["year"])
        if len(parts["year"]) == 2:
            year += 2000 if year < 70 else 1900
        try:
            days = date(year, month, int(parts.get("day") or 1)).toordinal() - EPOCH
        except ValueError:
            return None
        if not parts.get("hour"):
            return days * DAY_SECONDS
        seconds = _clock(match)
        return None if seconds is None else days * DAY_SECONDS + seconds


class _Known(dict[str, float]):
    """The seconds of texts that were met, NaN where one is no moment."""

    def __init__(self, form: Moments) -> None:
        self.form = form

    def __missing__(self, text: str) -> float:
        value = self.form(text.rstrip(" ,"))
        self[text] = nan if value is None else value
        return self[text]


EPOCH = date(1970, 1, 1).toordinal()


def _clock(match: re.Match[str]) -> float | None:
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    half = (match["half"] or "").lower()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + 12 * (half[0] == "p")
    if hour > 24 or minute > 59 or second > 60:
        return None
    return 3600.0 * hour + 60.0 * minute + second


def understood(texts: Sequence[str], counts: Sequence[int]) -> Moments | None:
    """Return how a column's dates or times are written; None if it holds none, or too few.

    Parameters
    ----------
    texts, counts : sequences
        The different values of the column, and how often each comes.
    """
    if not any(character.isdigit() for character in texts[0]):
        return None
    best, most, total = None, 0, sum(counts)
    # Where both could be meant, the order of the United States goes with their mark, the slash.
    for form in FORMS if "/" in texts[0] else (FORMS[1], FORMS[0], *FORMS[2:]):
        if all(form(text) is None for text in texts[:20]):
            continue
        values = np.asarray(form.read(texts), np.float64)
        found = int(np.isfinite(values) @ np.asarray(counts))
        if found > most:
            best, most = form, found
        if found == total:
            break
    return best if most and most >= ENOUGH * total else None


def of_digits(texts: Sequence[str]) -> Moments | None:
    """Return how dates of eight digits are written, if all of a column's numbers are some."""
    form = Moments("digits")
    return form if all(form(text) is not None for text in texts) else None


FORMS = (Moments("day", True), Moments("day", False), Moments("month"), Moments("clock"))
