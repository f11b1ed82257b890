"""What has names: classes that targets call by words, and the columns of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from npnn.backends.host import host_array
from npnn.losses import LossLayer


def are_words(t: Any, loss: LossLayer) -> bool:
    """Return whether targets are names of classes that a loss asks for."""
    if type(t) is np.ndarray and t.dtype.kind in "fiub":  # at each step
        return False
    if _classes_of(loss) < 2 or not is_text(t):
        return False
    shape, outputs = np.shape(np.asarray(t)), loss.shape_in or ()
    return len(shape) == len(outputs) or (len(shape) == len(outputs) + 1 and shape[-1] == 1)


def is_text(x: Any) -> bool:
    """Return whether an array, a list or a column holds words and nothing else."""
    kind = getattr(getattr(x, "dtype", None), "kind", "O")
    if kind not in "OU":
        return False
    try:
        array = np.asarray(x)
    except (TypeError, ValueError, RuntimeError):  # on a GPU, say, where there are no words
        return False
    if array.dtype.kind == "O":
        return array.size > 0 and all(isinstance(item, str) for item in array.flat)
    # Beside a word NumPy turns numbers into words too.
    return array.dtype.kind == "U" and (hasattr(x, "dtype") or all(map(_is_word, _flat(x))))


def _is_word(value: object) -> bool:
    return isinstance(value, str)


def _flat(x: Any) -> Iterator[Any]:
    """Yield what stands in nested lists."""
    for part in x if isinstance(x, (list, tuple)) else (x,):
        if isinstance(part, (list, tuple)):
            yield from _flat(part)
        elif isinstance(part, np.ndarray):
            yield from part.flat
        else:
            yield part


def class_names_of(t: Any, loss: LossLayer) -> list[str] | None:
    """Return the names of the classes that targets call by words, sorted; None if they do not."""
    return sorted({str(name) for name in np.asarray(t).flat}) if are_words(t, loss) else None


def _classes_of(loss: LossLayer) -> int:
    """Return how many classes a loss tells apart; 0 if it compares with numbers."""
    outputs = (loss.shape_in or (0,))[-1]
    if loss.takes_classes and outputs > 1:
        return outputs
    return 2 if outputs == 1 and loss.needs == "fractions" else 0


def check_names(names: Sequence[str], shape_out: Sequence[int] | None, what: str) -> None:
    """Raise the error for class names that are not as many as the classes of outputs.

    One output tells two classes apart; of outputs that are not known yet any number may be right.
    """
    outputs = shape_out[-1] if shape_out else 0
    count = 2 if outputs == 1 else outputs
    if count and len(names) != count:
        raise ValueError(
            f"{what}: there are {len(names)} classes, {_quoted(names)}, and outputs for {count}"
            + (": model.class_names must name all of them" if len(names) < count else "")
        )


def hole_among_words(t: Any) -> str:
    """Return where a label is missing among words, as an error says it; nothing if none is."""
    try:
        array = np.asarray(t, object)
    except (TypeError, ValueError, RuntimeError):
        return ""
    is_column = array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)
    holes = [item for item in np.ndenumerate(array) if is_column and is_missing(item[1])]
    if not holes or not any(isinstance(value, str) for value in array.flat):
        return ""
    place, value = holes[0]
    return (
        f"there is a {value!r} ({type(value).__name__}) at {place} (counted from 0) among words: "
        "leave out the samples that have no label"
    )


def is_missing(value: Any) -> bool:
    """Return whether a value stands for one that is not there."""
    # pandas' NA is equal to nothing, and says so with itself.
    return (
        value is None
        or type(value).__name__ in ("NAType", "NaTType")
        or (isinstance(value, float) and value != value)
    )


def as_classes(t: Any, names: Sequence[str] | None, loss: LossLayer) -> np.ndarray:
    """Return the integer classes that words stand for, or say what is wrong with them."""
    words = np.asarray(t)
    if names is None:
        raise ValueError(
            "targets t: words are names of classes, and the model has no class_names yet: fit "
            f"finds them, or set them: model.class_names = {sorted({str(w) for w in words.flat})!r}"
        )
    check_names(names, loss.shape_in, "targets t")
    return numbered(words, names, "targets t")


def numbered(words: np.ndarray, names: Sequence[str], what: str) -> np.ndarray:
    """Return the place of each word among `names`, or say which is none of them."""
    known = {name: number for number, name in enumerate(names)}
    for place, word in np.ndenumerate(words):
        if str(word) not in known:
            raise ValueError(
                f"{what}: there is a {str(word)!r} at sample {place[0]} (counted from 0), which "
                f"is none of the classes {_quoted(names)}"
            )
    classes = [known[str(word)] for word in words.flat]
    return np.asarray(classes, dtype=np.int64).reshape(words.shape)


def columns_of(x: Any) -> list[str] | None:
    """Return the names of a table's columns; None if it has none, or one twice."""
    names = list(getattr(x, "column_names", getattr(x, "columns", ())))
    named = bool(names) and all(isinstance(name, str) for name in names)
    return names if named and len(set(names)) == len(names) else None


def strange_columns(value: Any) -> str:
    """Return what columns of a table are no numbers, and what to do, for the end of an error."""
    bad = []
    for column in getattr(value, "columns", ()):
        try:
            # A column alone may have a number for what is missing.
            is_bad = bool(np.isnan(host_array(value[column])).any())
        except (TypeError, ValueError):
            is_bad = True
        if is_bad:
            bad.append(f"{column!r} ({getattr(value[column], 'dtype', 'of no dtype')})")
    if not bad:
        return ""
    return (
        f"; look at column{'s' * (len(bad) > 1)} {', '.join(bad)}: fill or drop missing values, "
        "and turn words and categories into numbers; npnn.datasets.Table(frame, target) does that"
    )


def in_order(x: Any, names: Sequence[str] | None) -> Any:
    """Return a table with its columns in the order of `names`, or say which there are not."""
    given = columns_of(x)
    if names is None or given is None or given == list(names):
        return x
    missing = [name for name in names if name not in given]
    extra = [name for name in given if name not in names]
    if missing:
        raise ValueError(
            f"inputs x lack the columns {_quoted(missing)}; the model was trained on "
            f"{_quoted(names)} (model.details['columns'])"
        )
    if extra:
        raise ValueError(
            f"inputs x have the columns {_quoted(extra)} beside those that the model was trained "
            "on: give x[model.details['columns']]"
        )
    return x.select(names) if hasattr(x, "column_names") else x[list(names)]


def _quoted(names: Sequence[str], most: int = 10) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
