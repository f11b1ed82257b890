"""Columns of categories: a feature for each value."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from npnn.datasets.cells import Cells
from npnn.datasets.columns.column import Column, numbers, strings, tells, with_missing
from npnn.datasets.columns.encodings import OneOf


class CategoryColumn(Column):
    """A column of few different values.

    Parameters
    ----------
    name : str
        Its name.
    categories : sequence of str
        The values, in sorted order ("b2" before "b10"): each becomes a feature "name=value" that is
        1 where the cell holds that value and 0 elsewhere.
    shares : sequence of float
        The share of each: what the features are where a value is unknown, or missing without a
        feature of its own, so that it counts as an average one.
    missing : bool
        Whether one more feature is 1 where a value is missing.
    """

    kind = "category"
    arguments = ("name", "categories", "shares", "missing")

    def __init__(
        self, name: str, categories: Sequence[str], shares: Sequence[float], missing: bool = False
    ) -> None:
        super().__init__(str(name))
        self.categories = strings(categories)
        self.shares = numbers(shares, len(self.categories))
        self.missing = bool(missing)

    @classmethod
    def fitted(cls, name: str, cells: Cells, **options: Any) -> CategoryColumn:
        if isinstance(cells.given, np.ndarray) and cells.given.dtype.kind == "b":
            counts = {"False": int((~cells.given).sum()), "True": int(cells.given.sum())}
        else:
            found = zip(cells.distinct, cells.counts.tolist(), cells.gone, strict=True)
            counts = _merged({text: count for text, count, gone in found if not gone})
        categories = sorted(counts, key=natural)
        total = max(1, sum(counts.values()))
        shares = [round(counts[category] / total, 6) for category in categories]
        return cls(name, categories, shares, tells(cells.missing))

    @property
    def encoding(self) -> OneOf:
        return OneOf(self.categories, self.shares, self.missing)

    @property
    def feature_names(self) -> tuple[str, ...]:
        names = tuple(f"{self.name}={category}" for category in self.categories)
        return (*names, *with_missing(self.name, self.missing))

    @property
    def scales(self) -> tuple[float | None, ...]:
        return (1.0,) * len(self.feature_names)

    @property
    def remark(self) -> str:
        return str(len(self.categories))


def _merged(counts: dict[str, int]) -> dict[str, int]:
    """Return how often each value comes, where words that differ in capitals alone are one."""
    forms: dict[str, dict[str, int]] = {}
    for text, count in counts.items():
        forms.setdefault(text.casefold() if len(text) > 1 else text, {})[text] = count
    return {max(alike, key=alike.__getitem__): sum(alike.values()) for alike in forms.values()}


def natural(label: str) -> tuple[tuple[int | str, ...], str]:
    """Return a key that sorts the numbers within labels by size: c1, c2, c10."""
    parts = re.split(r"(\d+)", label)
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), label
