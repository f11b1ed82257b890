"""Numbers as people write them: with separators, signs of currencies, units and percent signs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

from npnn.datasets.cells import to_number

SPACE = "\u00a0\u202f "
CURRENCY = (
    r"(?:[A-Z]{0,2}[$\u20ac\u00a3\u00a5\u20b9\u20bd\u20a9]|~|#"
    r"|\u2248|[<>]=?|\u2264|\u2265"  # about, or beyond what could be measured
    r"|(?:USD|EUR|GBP|CHF|JPY|CNY|INR|CAD|AUD|NZD|SEK|NOK|DKK|BRL|MXN|ZAR|PLN)(?=[ \d])"
    r"|Rs\.?|kr\.?|Fr\.?)"
)
NUMERAL = (  # compiled when the first cell is read
    rf"(?P<open>\()?(?P<sign>[+\-\u2212\u2013])?[{SPACE}]?"
    rf"(?P<before>{CURRENCY})?[{SPACE}]?(?P<inner>[+\-\u2212])?"
    rf"(?P<body>(?:\d[\d.,'\u2019{SPACE}]*|[.,]\d+))(?P<power>[eE][+-]?\d+)?"
    rf"(?P<after>[{SPACE}]?[^\d\s()][^\d()]{{0,14}})?(?P<close>\))?"
)
GROUPS = {
    mark: (
        rf"\d{{1,3}}(?:(?P<by>[{other}'\u2019{SPACE}])\d{{3}})(?:(?P=by)\d{{3}})*(?:[{mark}]\d*)?"
        rf"|\d{{1,2}}(?:[{other}]\d{{2}})+[{other}]\d{{3}}(?:[{mark}]\d*)?"
    )
    for mark, other in ((".", ","), (",", "."))
}
PLAIN = {mark: rf"\d+(?:[{mark}]\d*)?|[{mark}]\d+" for mark in ".,"}
SURE = {
    # A mark with three digits behind may stand between thousands; with any other number it is none.
    mark: (
        rf".*(?<![\d.,])(?:\d*[{mark}](?:\d{{1,2}}|\d{{4,}})|0[{mark}]\d+|\d{{4,}}[{mark}]\d+"
        rf"|\d{{1,3}}(?:[{other}]\d{{3}})+[{mark}]\d+)(?![\d.,]).*"
    )
    for mark, other in ((".", ","), (",", "."))
}
MULTIPLES = {"k": 1e3, "K": 1e3, "M": 1e6, "m": 1e6, "B": 1e9, "bn": 1e9, "T": 1e12, "G": 1e9}
ORDINALS = frozenset(["st", "nd", "rd", "th"])
MOST_UNITS = 2  # of one word: "year" and "years"


class Numerals(NamedTuple):
    """How the numbers of a column are written.

    Attributes
    ----------
    decimal : {".", ","}
        The decimal mark.
    multiples : bool
        Whether k, M and B behind a number stand for thousands, millions and billions.
    """

    decimal: str = "."
    multiples: bool = False

    def __call__(self, text: str) -> float | None:
        """Return the number that a cell says; None if it says none."""
        plain = to_number(text)
        if plain is not None and (self.decimal == "." or "." not in text):
            return plain
        parts = _parts(text, self.decimal)
        if parts is None:
            return None
        value, _, after = parts
        return value * MULTIPLES.get(after, 1.0) if self.multiples else value


def understood(
    texts: Sequence[str], counts: Sequence[int], decimal: str
) -> tuple[Numerals, int] | None:
    """Return how a column's numbers are written, and how many cells are some; None if few are.

    Parameters
    ----------
    texts, counts : sequences
        The different values of the column, and how often each comes.
    decimal : {".", ","}
        The decimal mark.
    """
    found = [(_parts(text, decimal), count) for text, count in zip(texts, counts, strict=True)]
    good = [(parts, count) for parts, count in found if parts is not None]
    numbers = sum(count for _, count in good)
    if 2 * numbers <= sum(counts):
        return None
    before = {parts[1] for parts, _ in good} - {""}
    after = {parts[2] for parts, _ in good} - {""}
    multiples = bool(after) and after <= set(MULTIPLES)
    stems = {unit.lower().rstrip("s.") for unit in after}
    alike = multiples or after <= ORDINALS or (len(stems) == 1 and len(after) <= MOST_UNITS)
    if len(before) > 1 or (after and not alike):
        return None
    return Numerals(decimal, multiples), numbers


def mark_of(texts: Sequence[str]) -> str | None:
    """Return the decimal mark that the numbers among a column's values surely have, if any."""
    sure = {mark: 0 for mark in ".,"}
    for text in texts:
        if "," in text or "." in text:
            if not re.fullmatch(NUMERAL, text):
                return None
            for mark in sure:
                sure[mark] += re.fullmatch(SURE[mark], text) is not None
    if sure[","] and not sure["."]:
        return ","
    return "." if sure["."] else None


def _parts(text: str, decimal: str) -> tuple[float, str, str] | None:
    """Return the number of a cell, and what stands before and behind it."""
    match = re.fullmatch(NUMERAL, text)
    if match is None or bool(match["open"]) != bool(match["close"]):
        return None
    body = match["body"].strip()
    if re.fullmatch(GROUPS[decimal], body):
        body = re.sub(rf"[^\d{decimal}]", "", body)
    elif not re.fullmatch(PLAIN[decimal], body):
        return None
    value = float(body.replace(",", ".") + (match["power"] or ""))
    if not isfinite(value):
        return None
    if match["open"] or "".join(filter(None, (match["sign"], match["inner"]))).strip("+"):
        value = -value
    return value, (match["before"] or "").strip(), (match["after"] or "").strip()
