"""Columns of text, or of more different values than make categories: the words in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from npnn import checked
from npnn.datasets.cells import Cells
from npnn.datasets.columns.column import Column, strings, tells, with_missing
from npnn.datasets.columns.encodings import Words, tokens

BUCKETS = 16
LEAST_ROWS = 3  # in which a word must stand, to be a feature
LARGEST_SHARE = 0.95


class TextColumn(Column):
    """A column of text.

    Parameters
    ----------
    name : str
        Its name.
    words : sequence of str
        Words, and whole cells, that are frequent: each becomes a feature "name~word" that is 1
        where it stands in the cell.
    buckets : int
        As many features are shared by all other words: each word's checksum says which of them.
    missing : bool
        Whether one more feature is 1 where a cell is missing.
    """

    kind = "text"
    arguments = ("name", "words", "buckets", "missing")

    def __init__(
        self, name: str, words: Sequence[str], buckets: int = BUCKETS, missing: bool = False
    ) -> None:
        super().__init__(str(name))
        self.words = strings(words)
        self.buckets = checked.integer(buckets, "buckets", 1)
        self.missing = bool(missing)

    @classmethod
    def fitted(cls, name: str, cells: Cells, **options: Any) -> TextColumn:
        most = options.get("most", 100)
        rows: Counter[str] = Counter()
        for text, count, gone in zip(cells.distinct, cells.counts, cells.gone, strict=True):
            if not gone:
                rows.update(dict.fromkeys(tokens(text), int(count)))
        total = len(cells) - int(cells.missing.sum())
        good = [
            (word, count)
            for word, count in rows.items()
            if LEAST_ROWS <= count <= LARGEST_SHARE * total
        ]
        good.sort(key=lambda pair: (-pair[1], pair[0]))
        words = sorted(word for word, _ in good[:most])
        return cls(name, words, BUCKETS, tells(cells.missing))

    @property
    def encoding(self) -> Words:
        return Words(self.words, self.buckets, self.missing)

    @property
    def feature_names(self) -> tuple[str, ...]:
        names = [f"{self.name}~{word}" for word in self.words]
        names += [f"{self.name}~other words {number}" for number in range(1, self.buckets + 1)]
        return (*names, *with_missing(self.name, self.missing))

    @property
    def scales(self) -> tuple[float | None, ...]:
        return (1.0,) * len(self.feature_names)

    @property
    def remark(self) -> str:
        return f"{len(self.words)} words"
