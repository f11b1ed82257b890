"""Dates and times as people write them, as seconds since 1970."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

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
    re.compile(rf"(?:[^\W\d]{{3,9}}\.?,?\s+)?{form}(?:[T ,]+{CLOCK})?")
    for form in (
        rf"{FULL}(?P<mark>[-/.])(?P<month>\d{{1,2}})(?P=mark)(?P<day>\d{{1,2}})",
        rf"(?P<first>\d{{1,2}})(?P<mark>[-/.])(?P<then>\d{{1,2}})(?P=mark){YEAR}",
        rf"{DAY}[- /]?{WORD}[- /,]*{YEAR}",
        rf"{WORD}[- ]*{DAY},?\s+{FULL}",
        rf"{FULL}[- /]{WORD}[- /]{DAY}",
    )
)
MONTHLY = (
    re.compile(rf"{FULL}[-/M](?P<month>\d{{1,2}})"),
    re.compile(rf"(?P<month>\d{{1,2}})[-/]{FULL}"),
    re.compile(rf"{WORD}[- ,/]*{FULL}"),
    re.compile(rf"{WORD}[-' /](?P<year>\d{{2}})"),
    re.compile(rf"{FULL}[- ]?Q(?P<quarter>[1-4])"),
    re.compile(rf"Q(?P<quarter>[1-4])[- /]?{FULL}"),
)
TIME = re.compile(CLOCK)
DIGITS = (
    re.compile(rf"{FULL}(?P<month>\d{{2}})(?P<day>\d{{2}})"),
    re.compile(rf"(?P<month>\d{{1,2}})(?P<day>\d{{2}}){FULL}"),
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
            match = TIME.fullmatch(text)
            if match is None or (match["by"] == "." and match["second"] is None):
                return None
            return _clock(match)
        patterns = {"day": DATES, "month": MONTHLY, "digits": DIGITS}[self.form]
        for pattern in patterns:
            match = pattern.fullmatch(text)
            if match is not None:
                found = self._moment(match)
                if found is not None:
                    return found
        return None

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
    best, most = None, 0
    # Where both could be meant, the order of the United States goes with their mark, the slash.
    for form in FORMS if "/" in texts[0] else (FORMS[1], FORMS[0], *FORMS[2:]):
        if all(form(text) is None for text in texts[:20]):
            continue
        found = sum(c for t, c in zip(texts, counts, strict=True) if form(t) is not None)
        if found > most:
            best, most = form, found
    return best if most and most >= ENOUGH * sum(counts) else None


def of_digits(texts: Sequence[str]) -> Moments | None:
    """Return how dates of eight digits are written, if all of a column's numbers are some."""
    form = Moments("digits")
    return form if all(form(text) is not None for text in texts) else None


FORMS = (Moments("day", True), Moments("day", False), Moments("month"), Moments("clock"))
