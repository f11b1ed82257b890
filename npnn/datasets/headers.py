"""Which of the first rows of a table hold the names of its columns, and those names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from npnn.datasets.cells import MISSING, to_number
from npnn.datasets.numerals import Numerals

HEADER_ROWS = 1000  # that are looked at
YEARS = range(1800, 2200)


def names_above(rows: list[list[str]], named: Sequence[str] = ()) -> int:
    """Return how many of the first rows hold names: 0, 1 or 2.

    Parameters
    ----------
    rows : list of list of str
        The cells.
    named : sequence of str
        Names that a person said are columns'.
    """
    found = {cell for cell in rows[0] if to_number(cell) is None}
    if len(rows) == 1:
        return int(len(found) == len(rows[0]))
    if any(name in found for name in named) or looks_like_names(rows):
        return 2 if _goes_on(rows) else 1
    return 0


def looks_like_names(rows: list[list[str]]) -> bool:
    """Whether the first row is told from those below by what its cells are."""
    first, below = rows[0], rows[1:HEADER_ROWS]
    columns = [[row[index] for row in below] for index in range(len(first))]
    numeric = [_mostly_numbers(cells) for cells in columns]
    if any(numeric):
        above = [
            (cell, cells)
            for cell, is_numeric, cells in zip(first, numeric, columns, strict=True)
            if is_numeric
        ]
        # A placeholder among numbers, such as "unknown", is no name where it occurs again.
        return _are_years(above) or any(
            _number(cell) is None and not _is_missing(cell) and cell not in cells
            for cell, cells in above
        )
    if any(to_number(cell) is not None for cell in first):
        return False
    # A value of text mostly comes again, and a name does not.
    pairs = [(cell, cells) for cell, cells in zip(first, columns, strict=True) if cell]
    alone = sum(cell not in cells for cell, cells in pairs)
    return 2 * alone > len(pairs)


def _number(cell: str) -> float | None:
    value = Numerals(".")(cell)
    return Numerals(",")(cell) if value is None else value


def _is_missing(cell: str) -> bool:
    return not cell or cell.lower() in MISSING


def _mostly_numbers(cells: list[str]) -> bool:
    numbers = texts = 0
    for cell, count in Counter(cells).items():
        if _number(cell) is not None:
            numbers += count
        elif not _is_missing(cell):
            texts += count
    return numbers > texts


def _are_years(above: list[tuple[str, list[str]]]) -> bool:
    """Whether the cells above numbers are years that go on, and the numbers are none."""
    years = [int(cell) for cell, _ in above if cell.isdigit() and int(cell) in YEARS]
    if len(years) < max(2, len(above)):
        return False
    steps = {b - a for a, b in pairwise(years)}
    alike = sum(cell.isdigit() and int(cell) in YEARS for _, cells in above for cell in cells)
    return len(steps) == 1 and steps != {0} and 2 * alike < sum(len(cells) for _, cells in above)


def _goes_on(rows: list[list[str]]) -> bool:
    """Whether the second row holds names too: of what the first leaves empty, or units."""
    first, second, below = rows[0], rows[1], rows[2:]
    if not below or any(_number(cell) is not None for cell in second):
        return False
    blanks = [index for index, cell in enumerate(first) if not cell]
    if blanks and sum(bool(second[index]) for index in blanks) > len(blanks) / 2:
        return any(not cell for cell in second) or looks_like_names(rows[1:])
    columns = list(zip(*below[:HEADER_ROWS], strict=True))
    numeric = [index for index, cells in enumerate(columns) if _mostly_numbers(list(cells))]
    return bool(numeric) and all(
        second[index] and not _is_missing(second[index]) and second[index] not in columns[index]
        for index in numeric
    )


def names_of(rows: list[list[str]], count: int, notes: list[str]) -> tuple[str, ...]:
    """Return the columns' names, no two of them alike, and note what was done to them."""
    width = len(rows[0])
    names = [f"column {index}" for index in range(width)]
    if count:
        above = [rows[0], rows[1]] if count == 2 else [rows[0]]
        joined, last = [], ""
        for index in range(width):
            last = above[0][index] or (last if count == 2 else "")
            parts = [last] + [row[index] for row in above[1:] if row[index] not in ("", last)]
            joined.append(": ".join(part for part in parts if part))
        names = [joined[index] or names[index] for index in range(width)]
    if count == 2:
        notes.append("2 lines hold the names")
    taken: set[str] = set(names)
    seen: set[str] = set()
    twice = []
    for index, name in enumerate(names):
        if name in seen:
            twice.append(name)
            number = 1
            while f"{name}.{number}" in taken:
                number += 1
            names[index] = f"{name}.{number}"
            taken.add(names[index])
        seen.add(names[index])
    if twice:
        shown = ", ".join(map(repr, dict.fromkeys(twice)))
        notes.append(f"columns of one name have numbers behind it: {shown:.200}")
    return tuple(names)
