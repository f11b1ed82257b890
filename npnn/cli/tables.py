"""What is said of a table: what its columns became, and what would help next."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from npnn.datasets import Table

WIDTH = 80
SHOWN = 4  # names of each kind
PLURALS = {"number": "numbers", "category": "categories", "date": "dates", "text": "text"}


def described_table(data: Table) -> list[str]:
    """Return lines that say what became of a table."""
    from npnn.datasets.cells import quoted

    schema = data.schema
    kind = data.task
    if data.class_names is not None:
        kind = f"{data.task} into {quoted(data.class_names, 6)}"
    if data.has_header is None:
        return wrapped([f"target {schema.target!r}: {kind}"])
    place = f"column {schema.target_position}"
    place = "" if schema.target == place else f", {place} counted from 0"
    lines = [f"target {schema.target!r}{place}: {kind}"]
    for name, plural in PLURALS.items():
        columns = [column for column in schema.columns if column.kind == name]
        if columns:
            each = [_with(column.name, column.remark) for column in columns]
            lines.append(f"{plural}: {_listed(each)}")
    if schema.left_out:
        each = [_with(out.name, out.reason) for out in schema.left_out]
        lines.append(f"left out: {_listed(each)}")
    if data.filled:
        most = sorted(data.filled.items(), key=lambda pair: -pair[1])
        each = [_with(name, f"{count:,}") for name, count in most]
        total = sum(data.filled.values())
        lines.append(f"filled {total:,} cell{'s' * (total != 1)} without a value: {_listed(each)}")
    lines += [f"note: {note}" for note in data.notes]
    if not data.has_header:
        lines.append("no header: line 1 is read as data (--header yes if it holds names)")
    return wrapped(lines)


def _with(name: str, remark: str) -> str:
    return f"{name} ({remark})" if remark else name


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(textwrap.shorten(name, 40, placeholder="...") for name in names[:SHOWN])
    more = len(names) - SHOWN
    return f"{len(names)}: {shown} and {more} more" if more > 0 else shown


def wrapped(lines: Iterable[str]) -> list[str]:
    """Return lines of which none is wider than a terminal."""
    return [
        part
        for line in lines
        for part in textwrap.wrap(line, WIDTH, subsequent_indent="  ") or [""]
    ]
