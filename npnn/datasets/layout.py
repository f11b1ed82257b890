"""Where the columns of a known table are in another file: by their names, or by position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from npnn.datasets.cells import Cells, quoted, to_number
from npnn.datasets.columns.encodings import Encoding, Words
from npnn.datasets.headers import looks_like_names, names_of


class Layout(NamedTuple):
    """How the columns of a table lie in its file.

    Attributes
    ----------
    names : tuple of str
        Those of the feature columns.
    target : str
        That of the target column.
    target_position : int
        Which of the file's columns is the target, counted from 0.
    left_out : tuple of int
        Which of them are no inputs.
    has_header : bool
        Whether the names come from a file.
    """

    names: tuple[str, ...]
    target: str
    target_position: int
    left_out: tuple[int, ...]
    has_header: bool

    def find(
        self, where: object, columns: Sequence[str], has_header: bool
    ) -> tuple[list[int], int | None]:
        """Return where the features and the target are among the columns of a file."""
        if has_header and self.has_header:
            found = [place_of(name, columns) for name in self.names]
            absent = [name for name, at in zip(self.names, found, strict=True) if at is None]
            if absent:
                raise ValueError(
                    f"{where} lacks the feature column(s) {quoted(absent)}; its columns are "
                    f"{quoted(columns)}"
                )
            return [at for at in found if at is not None], place_of(self.target, columns)
        places = self.places(len(columns))
        if places is None:
            count, more = len(self.names) + len(self.left_out), len(self.left_out)
            out = f" (with the {more} left out)" if more else ""
            raise ValueError(
                f"{where} must have {count} columns, or {count + 1} with the target{out}, "
                f"and it has {len(columns)}"
            )
        return places

    def places(self, width: int) -> tuple[list[int], int | None] | None:
        """Return where features and target are in a file that goes by position, if it is clear."""
        count = len(self.names)
        whole = count + 1 + len(self.left_out)
        out = {self.target_position, *self.left_out}
        at = [index for index in range(whole) if index not in out]
        if width == whole:
            return at, self.target_position
        if width == whole - 1:
            return [index - (index > self.target_position) for index in at], None
        return (list(range(count)), None) if width == count else None

    def names_above(
        self,
        rows: list[list[str]],
        encodings: Sequence[Encoding],
        words: frozenset[str] | None,
    ) -> int:
        """Return how many of the first rows hold names, and not values that fit their columns.

        The `words` are those that say that there is no value.
        """
        if self.has_header:
            for count in (1, 2):
                if len(rows) > count:
                    names = names_of(rows, count, [])
                    if all(place_of(name, names) is not None for name in self.names):
                        return count
        places = self.places(len(rows[0]))
        if places is None:
            return int(not any(to_number(cell) is not None for cell in rows[0]))
        fits = [
            encoding(Cells([rows[0][index]], words))
            for index, encoding in zip(places[0], encodings, strict=True)
            if not isinstance(encoding, Words)
        ]
        if not fits:
            return int(looks_like_names(rows))
        return int(all(each.unknown[0] or each.missing[0] for each in fits))


def place_of(name: str, names: Sequence[str]) -> int | None:
    """Return where a column is, by its name or one that differs in capitals and blanks alone."""
    if name in names:
        return list(names).index(name)
    plain = " ".join(name.casefold().split())
    alike = [i for i, each in enumerate(names) if " ".join(each.casefold().split()) == plain]
    return alike[0] if len(alike) == 1 else None
