"""What a column of a table becomes: the base of the kinds of columns."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from npnn.datasets.cells import Cells
from npnn.datasets.columns.encodings import Encoding
from npnn.datasets.given import NDArray

KINDS: dict[str, type[Column]] = {}


class Column:
    """A feature column of a table.

    A kind of columns is a subclass in a file of its own. It says how its parameters are found in
    the cells of those rows that are trained on (`fitted`), and what features cells become
    (`encoding`); whatever a cell holds, it has features.

    Parameters
    ----------
    name : str
        The column's name.

    Attributes
    ----------
    kind : str
        What a person, and a file, calls such a column.
    """

    kind: ClassVar[str]
    arguments: ClassVar[tuple[str, ...]] = ("name",)
    """What describes a column in a file, by the constructor's names."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __init_subclass__(cls) -> None:
        KINDS[cls.kind] = cls

    @classmethod
    def fitted(cls, name: str, cells: Cells, **options: Any) -> Column:
        """Return the column that suits these cells."""
        raise NotImplementedError

    @property
    def encoding(self) -> Encoding:
        """What cells become; exports print it if it is one of `npnn.datasets.columns.encodings`."""
        raise NotImplementedError

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features that the column becomes."""
        return (self.name,)

    @property
    def scales(self) -> tuple[float | None, ...]:
        """What each feature is divided by before it is trained on; None: its deviation."""
        return (None,) * len(self.feature_names)

    @property
    def remark(self) -> str:
        """What a summary says of the column beside its name; often empty."""
        return ""

    def to_config(self) -> dict[str, Any]:
        """Return the column as plain values, for a file."""
        config = {name: getattr(self, name) for name in self.arguments}
        return {"kind": self.kind} | {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in config.items()
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Column) and self.to_config() == other.to_config()

    def __hash__(self) -> int:
        return hash((self.kind, self.name))

    def __repr__(self) -> str:
        given = ", ".join(f"{key}={getattr(self, key)!r}" for key in self.arguments)
        return f"{type(self).__name__}({given})"


def from_config(config: Any) -> Column:
    """Return the column that `to_config` described, or raise a ValueError."""
    if not isinstance(config, dict) or config.get("kind") not in KINDS:
        raise ValueError(f"no column is described by {config!r:.100}")
    kind = KINDS[config["kind"]]
    if set(config) != {"kind", *kind.arguments}:
        raise ValueError(f"a column of kind {kind.kind} is not described by {config!r:.100}")
    try:
        return kind(**{name: config[name] for name in kind.arguments})
    except (TypeError, ValueError) as error:
        raise ValueError(f"a column is not described by {config!r:.100}: {error}") from None


def strings(values: Any) -> tuple[str, ...]:
    """Return names of a file as a tuple, or raise a TypeError."""
    if not isinstance(values, (list, tuple)) or not all(isinstance(v, str) for v in values):
        raise TypeError(f"expected a list of strings, not {values!r:.100}")
    return tuple(values)


def numbers(values: Any, count: int) -> tuple[float, ...]:
    """Return so many finite numbers of a file as a tuple, or raise an error."""
    found = np.asarray(values, np.float64)
    if found.shape != (count,) or not np.isfinite(found).all():
        raise ValueError(f"expected {count} finite numbers, not {values!r:.100}")
    return tuple(found.tolist())


def number(value: Any) -> float:
    """Return a finite number of a file, or raise an error."""
    return numbers([value], 1)[0]


def with_missing(name: str, missing: bool) -> tuple[str, ...]:
    """Return the name of the feature that says that a value is missing, if there is one."""
    return (f"{name} is missing",) if missing else ()


def tells(missing: NDArray) -> bool:
    """Return whether missing values are so many that their absence may tell something."""
    count = int(missing.sum())
    return LEAST_MISSING <= count <= len(missing) - LEAST_MISSING


LEAST_MISSING = 3
