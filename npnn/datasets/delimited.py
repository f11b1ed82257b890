"""Text with a row on each line: how it is encoded, and where its cells begin and end."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from npnn.datasets.cells import to_number

DELIMITERS = "\t;|,"
BLANK = " "  # stands for any blanks in a row
SNIFFED_ROWS = 50
MOST_TITLES = 20  # lines above the table
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
COMMENT = ("#", "%", "//")
SEPARATOR = re.compile(r'"?sep=(.)"?\s*')


class Lines(NamedTuple):
    """Rows of a text, and what was done to find them.

    Attributes
    ----------
    rows : list of list of str
        The cells, all rows of one length, without white space around them.
    lines : list of int
        The line, counted from 1, on which each row ends.
    delimiter, encoding : str
        What divides the cells (a blank: any number of them), and the encoding.
    notes : list of str
        What a person should know.
    quote : str
        What cells are quoted with.
    """

    rows: list[list[str]]
    lines: list[int]
    delimiter: str
    encoding: str
    notes: list[str]
    quote: str


def divided(where: object, data: bytes, delimiter: str, encoding: str) -> Lines:
    """Return the rows of a text, whose delimiter and encoding are "auto" or given."""
    plain = isinstance(delimiter, str) and len(delimiter) == 1 and delimiter not in '\r\n"'
    if not plain and delimiter != "auto":
        raise ValueError(
            "delimiter must be 'auto' or a single character other than a quote or a line end, "
            f"not {delimiter!r}"
        )
    text, encoding, notes = _decoded(where, data, encoding)
    text, skipped, comments = _without_comments(text)
    said = SEPARATOR.fullmatch(text.partition("\n")[0])
    if said:
        text = text.partition("\n")[2]
        skipped += 1
        delimiter = said[1] if delimiter == "auto" else delimiter
    if not text.strip():
        raise ValueError(f"{where} is empty")
    quote = _quote_of(text)
    mark = sniffed(text, quote) if delimiter == "auto" else delimiter
    try:
        table = list(_records(where, text, mark, quote, skipped))
    except ValueError:
        # A quote within a cell may stand alone, unless it swallows the lines behind it.
        table = list(_records(where, text, mark, quote, skipped, strict=False))
    if mark == BLANK and len({len(row) for _, row in table}) > 1:
        table = _aligned(text, skipped) or table
    rows, lines = [row for _, row in table], [line for line, _ in table]
    found = Lines(rows, lines, mark, encoding, notes, quote)
    _straighten(where, found)
    if _take_names_from(comments, found, quote):
        del comments[-1]
    if comments:
        notes.insert(0, f"{len(comments)} comment line(s) skipped")
    return found


def _decoded(where: object, data: bytes, encoding: str) -> tuple[str, str, list[str]]:
    """Return the text, its encoding, and a note if that had to be guessed."""
    names, notes = [encoding], []
    if encoding == "auto":
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            names = ["utf-16"]
        elif data[:200].count(0) > len(data[:200]) // 4:
            names = ["utf-16-le" if data[1:2] == b"\0" else "utf-16-be"]
        else:
            names = ["utf-8-sig", "cp1252", "latin-1"]
    for name in names:
        try:
            text = data.decode(name)
        except UnicodeDecodeError as error:
            if name == names[-1]:
                raise ValueError(
                    f"{where} must be {name} text: byte {data[error.start]:#04x} at position "
                    f"{error.start} is not"
                ) from None
        except (LookupError, TypeError, UnicodeError):
            raise ValueError(
                "encoding must be 'auto' or one that Python knows, such as 'cp1252', not "
                f"{encoding!r}"
            ) from None
        else:
            break
    if name != names[0]:
        notes.append(f"it is no UTF-8 and read as {name} (encoding, --encoding)")
    return text, name, notes


def _without_comments(text: str) -> tuple[str, int, list[str]]:
    """Return the text below the comments at its top, how many lines those take, and them."""
    skipped, comments = 0, []
    while text:
        line, end, rest = text.partition("\n")
        if line.strip() and not line.lstrip().startswith(COMMENT):
            break
        if line.strip():
            comments.append(line.strip())
        skipped += bool(end) or 1
        text = rest
    if not text.strip():  # all of it is: perhaps the names begin so
        return "\n".join(comments), 0, []
    return text, skipped, comments


def _quote_of(text: str) -> str:
    """Return the character that cells are quoted with."""
    head = "\n".join(text.splitlines()[:SNIFFED_ROWS])
    single = len(re.findall(r"(?:^|[,;\t|])\s*'[^'\n]*'\s*(?=[,;\t|]|$)", head, flags=re.M))
    return "'" if 2 * single > head.count("\n") and '"' not in head else '"'


def _records(
    where: object,
    text: str,
    delimiter: str,
    quote: str,
    skipped: int = 0,
    strict: bool = True,
) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not empty, and the line on which it ends."""
    source: Iterator[str] = iter(io.StringIO(text, newline=""))
    if delimiter == BLANK:
        source = (re.sub(r"[ \t]+", " ", line.strip()) + "\n" for line in source)
    reader = csv.reader(
        source, delimiter=delimiter, quotechar=quote, skipinitialspace=True, strict=strict
    )
    try:
        for row in reader:
            if not strict and any("\n" in cell for cell in row):
                raise ValueError(
                    f"{where}, line {reader.line_num + skipped}: a quote ({quote}) is not closed"
                )
            cells = [cell.strip() for cell in row]
            # A line without anything is skipped; so is one of blanks, of delimiters alone, or one
            # that is drawn below the names.
            if any(cells) and not _is_rule(cells):
                yield reader.line_num + skipped, cells
    except csv.Error as error:
        raise ValueError(f"{where}, line {reader.line_num + skipped}: {error}") from None


def _is_rule(cells: list[str]) -> bool:
    """Whether a row is a line that is drawn, such as ``|---|:---|`` or ``---- + ----``."""
    drawn = [cell for cell in cells if cell]
    return len(drawn) > 1 and all(len(c) > 2 and set(c) <= set("-=:+") for c in drawn)


def sniffed(text: str, quote: str) -> str:
    """Return the delimiter that divides the first rows most evenly, into the most numbers."""
    best, chosen = (0.0, 0.0, 0), ","
    head = "".join(text.splitlines(keepends=True)[: 4 * SNIFFED_ROWS])
    for delimiter in DELIMITERS + BLANK:
        if delimiter == BLANK and best[0] > 0.5:
            continue
        sample: list[list[str]] = []
        try:
            for _, row in _records("", head, delimiter, quote):
                sample.append(row)
                if len(sample) == SNIFFED_ROWS:
                    break
        except ValueError:
            if len(sample) < 2:
                continue
        width, rows = Counter(map(len, sample)).most_common(1)[0]
        if width < 2:
            continue
        cells = [cell for row in sample for cell in row]
        # A decimal comma counts as a number, or else 1,5;2,5 would be split at its commas.
        numbers = sum(to_number(c) is not None or bool(DECIMAL_COMMA.fullmatch(c)) for c in cells)
        score = (rows / len(sample), numbers / len(cells), width)
        if score > best:
            best, chosen = score, delimiter
    return chosen


def _aligned(text: str, skipped: int) -> list[tuple[int, list[str]]]:
    """Return the rows of a text whose columns stand below each other, if they do."""
    numbered = [
        (number, line.expandtabs().rstrip())
        for number, line in enumerate(text.splitlines(), start=1 + skipped)
        if line.strip()
    ]
    width = max(len(line) for _, line in numbered)
    taken = [False] * width
    for _, line in numbered:
        for place, character in enumerate(line):
            taken[place] |= character != " "
    starts = [i for i in range(width) if taken[i] and (i == 0 or not taken[i - 1])]
    if len(starts) < 2:
        return []
    ends = [*starts[1:], width]
    return [
        (number, [line[a:b].strip() for a, b in zip(starts, ends, strict=True)])
        for number, line in numbered
    ]


def _straighten(where: object, table: Lines) -> None:
    """Bring all rows to one length, or say which one cannot be."""
    rows, lines, mark, notes = table.rows, table.lines, table.delimiter, table.notes
    width = Counter(map(len, rows)).most_common(1)[0][0]
    width = _without_empty_end(rows, width)
    _drop(
        table, [i for i, row in enumerate(rows) if row[0].startswith("#") and len(row) != width],
        "comment line(s) skipped",
    )  # fmt: skip
    titles = 0
    while titles < min(MOST_TITLES, len(rows) - 1) and len(rows[titles]) < width:
        titles += 1
    if titles and len(rows[titles - 1]) == width - 1 >= 1 and _are_names(rows[titles - 1], rows):
        titles -= 1
        rows[titles].insert(0, "")  # as R writes the names of rows
    if titles and len(rows) > titles + 1:
        _drop(table, range(titles), "line(s) above the table skipped")
    if width > 2:
        last = next((i for i in range(1, 6) if i < len(rows) and len(rows[-i]) > 1), 1)
        _drop(table, range(len(rows) - last + 1, len(rows)), "line(s) below the table skipped")
    short = 0
    for line, row in zip(lines, rows, strict=True):
        if len(row) < width:
            short += 1
            row += [""] * (width - len(row))
        elif len(row) > width:
            if any(row[width:]):
                raise ValueError(
                    f"{where}, line {line}: expected {width} cells like most lines, found "
                    f"{len(row)} (delimiter {mark!r}); a cell that holds {mark!r} must stand in "
                    'quotes ("...")'
                )
            del row[width:]
    if short:
        notes.append(f"{short} line(s) end early: the cells that are not there count as missing")


def _without_empty_end(rows: list[list[str]], width: int) -> int:
    """Take away empty cells at the end of all rows, and return how many are left."""
    while width > 1 and not any(row[width - 1] for row in rows if len(row) == width):
        for row in rows:
            if len(row) == width:
                row.pop()
        width = Counter(map(len, rows)).most_common(1)[0][0]
    return width


def _are_names(row: list[str], rows: list[list[str]]) -> bool:
    return len(set(row)) == len(row) and not any(to_number(c) is not None for c in row)


def _drop(table: Lines, places: object, what: str) -> None:
    gone = set(places)  # type: ignore[call-overload]
    if gone:
        for kept in (table.rows, table.lines):
            kept[:] = [each for i, each in enumerate(kept) if i not in gone]  # type: ignore
        table.notes.append(f"{len(gone)} {what}")


def _take_names_from(comments: list[str], table: Lines, quote: str) -> bool:
    """Put the last comment above the rows if it is made of names, as NumPy writes them."""
    if not comments or all(to_number(c) is None for c in table.rows[0]):
        return False
    text = comments[-1].lstrip("#%/ ")
    (row,) = [row for _, row in _records("", text, table.delimiter, quote)][-1:] or [[]]
    if len(row) == len(table.rows[0]) > 1 and _are_names(row, []):
        table.rows.insert(0, row)
        table.lines.insert(0, table.lines[0])
        return True
    return False
