"""What a dataset is made of: inputs, targets and names, each looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from npnn import checked, labels
from npnn.backends.host import host_array
from npnn.values import merges

NDArray = npt.NDArray[Any]

TASKS = ("classification", "binary", "regression")
MAX_INTEGER_CLASSES = 20


def one_hot(classes: NDArray, num_classes: int) -> NDArray:
    """Return float32 rows with a single 1 at each class."""
    rows = np.zeros((len(classes), num_classes), dtype=np.float32)
    rows[np.arange(len(classes)), classes] = 1.0
    return rows


def as_inputs(x: Any, copy: bool = True) -> NDArray:
    """Return inputs as an array of samples, whose numbers a dataset may hold as they are.

    Without a copy they may share their memory with what is given.
    """
    values = _array("x", x)
    if values.ndim == 0:
        raise ValueError("x must hold one sample per row, not a single number")
    if values.ndim == 1:
        values = values[:, None]
    if values.size == 0:
        raise ValueError(f"x must hold samples and features, and its shape is {values.shape}")
    # Images stay bytes: as float32 the 70,000 of MNIST would take 220 MB in place of 55.
    if values.dtype == np.uint8:
        return values.copy() if copy else values
    return _floats("x", values, copy)


def as_targets(
    t: Any, c: Any, task: str | None, class_names: Sequence[str] | None, num: int
) -> tuple[NDArray, NDArray | None, str, list[str] | None]:
    """Return targets, their classes, the task, and the names of classes that were words."""
    names: list[str] | None = None
    if labels.is_text(t) and task != "regression":
        t, names = _of_words(t, class_names)
        task = task or "classification"
    values = _array("t", t)
    if values.ndim not in (1, 2) or len(values) != num:
        raise ValueError(
            f"t must have the shape ({num},) or ({num}, outputs), one row for each row of x, "
            f"not {values.shape}"
        )
    if task is None and _are_classes(values):
        task = "classification"
    if task == "classification" and (values.ndim == 1 or values.shape[1] == 1):
        classes = as_integers("t", values.reshape(-1), num)
        given = names or class_names or ()
        count = max(int(classes.max()) + 1, len(given), 2)
        if classes.min() < 0:
            raise ValueError(f"t must hold classes from 0 up, not {classes.min()}")
        values = one_hot(classes, count)
    y = _floats("t", values if values.ndim == 2 else values[:, None])
    if y.shape[1] == 0:
        raise ValueError("t must have at least one column")

    binary = bool(((y == 0.0) | (y == 1.0)).all())
    single = binary and bool((y.sum(axis=1) == 1.0).all())
    if task is None:
        if y.shape[1] == 1:
            task = "binary" if binary else "regression"
        else:
            task = "classification" if single else "regression"
    if task == "regression":
        if c is not None:
            raise ValueError("c must be None for regression")
        return y, None, task, None
    if task == "binary":
        if y.shape[1] != 1 or not binary:
            raise ValueError(
                f"t must be one column of zeros and ones for a binary task; it has "
                f"{y.shape[1]} column(s)" + ("" if binary else " and other values")
            )
        derived = y[:, 0].astype(np.int64)
    else:
        if y.shape[1] < 2 or not single:
            raise ValueError(
                f"t must be one-hot rows of two or more columns for classification (or integer "
                f"classes of shape ({num},)); its shape is {values.shape}"
                + ("" if single else " and not every row has a single 1")
            )
        derived = np.argmax(y, axis=1).astype(np.int64)
    if c is not None:
        _check_same(as_integers("c", c, num), derived)
    return y, derived, task, names


def _are_classes(values: NDArray) -> bool:
    """Return whether integers are surely the numbers of classes: not many, and none left out."""
    if values.dtype.kind not in "iu" or values.size == 0 or values[0].size != 1:
        return False
    different = np.unique(values)
    count = len(different)
    few = 2 < count <= min(MAX_INTEGER_CLASSES, len(values) // 2)
    return few and bool((different == np.arange(count)).all())


def _of_words(t: Any, class_names: Sequence[str] | None) -> tuple[NDArray, list[str]]:
    """Return the numbers of classes that are called by words, and their names."""
    words = np.asarray(t).astype(str)
    names = sorted(set(words.ravel().tolist())) if class_names is None else list(class_names)
    if class_names is None and len(names) == words.size > 2:
        raise TypeError("t must hold real numbers, or words that name classes: all are different")
    return labels.numbered(words, names, "t"), names


def _check_same(given: NDArray, derived: NDArray) -> None:
    if (given != derived).any():
        row = int(np.argmax(given != derived))
        raise ValueError(
            f"c must agree with t: row {row} has the class {given[row]}, and its target says "
            f"{derived[row]}"
        )


def as_integers(argument: str, values: Any, num: int) -> NDArray:
    """Return an integer for each sample."""
    array = _array(argument, values)
    if array.shape != (num,):
        raise ValueError(f"{argument} must have the shape ({num},), not {array.shape}")
    if array.dtype.kind not in "iub":
        raise TypeError(f"{argument} must hold integers, not {array.dtype}")
    return array.astype(np.int64)


def rows_of_parts(parts: Any, num: int) -> tuple[NDArray, NDArray]:
    """Return the rows of both parts, which have none in common, and some each."""
    found = checked.sequence(parts, "parts", "rows")
    if len(found) != 2:
        raise ValueError(f"parts must be two, of training and of validation, not {len(found)}")
    rows = []
    for name, part in zip(("training", "validation"), found, strict=True):
        array = _array("parts", part)
        if array.dtype == bool and array.shape == (num,):
            array = np.flatnonzero(array)
        if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
            raise ValueError(
                f"parts must hold the numbers of some rows for {name}, not {array.dtype} of shape "
                f"{array.shape}"
            )
        strange = array[(array < -num) | (array >= num)]
        if strange.size:
            raise ValueError(f"parts must hold rows from 0 to {num - 1}, not {strange[0]}")
        rows.append(array % num)
    trains = np.zeros(num, bool)
    trains[rows[0]] = True
    both = rows[1][trains[rows[1]]]
    if both.size:
        raise ValueError(f"parts must have no row in common, but row {both.min()} is in both")
    return rows[0], rows[1]


def as_class_names(names: Sequence[str] | None, task: str, outputs: int) -> tuple[str, ...] | None:
    """Return the names of the classes, which are their numbers where none are given."""
    if task == "regression":
        if names is not None:
            raise ValueError("class_names must be None for regression")
        return None
    count = 2 if task == "binary" else outputs
    default = tuple(str(index) for index in range(count))
    return _names("class_names", names, count, "class") or default


def feature_names_of(x: Any, names: Sequence[str] | None, count: int) -> tuple[str, ...] | None:
    """Return the names of the features: those given, or those of a table's columns."""
    return _names(
        "feature_names", labels.columns_of(x) if names is None else names, count, "feature"
    )


def _names(
    argument: str, names: Sequence[str] | None, count: int, kind: str
) -> tuple[str, ...] | None:
    if names is None:
        return None
    found = checked.strings(names, argument)
    if len(found) != count:
        raise ValueError(
            f"{argument} must hold {count} name(s), one for each {kind}, not {len(found)}"
        )
    return found


def _array(argument: str, values: Any) -> NDArray:
    try:
        return host_array(values)
    except TypeError as error:
        hole = labels.hole_among_words(values) if argument == "t" else ""
        if hole:
            raise TypeError(f"{argument}: {hole}") from None
        remedy = labels.strange_columns(values)
        raise TypeError(f"{argument} must hold real numbers: {error}{remedy}") from None
    except ValueError as error:
        raise ValueError(f"{argument}: {error}") from None


def _floats(argument: str, values: NDArray, copy: bool = True) -> NDArray:
    """Return numbers as float32; of 64 bits still, where others would make numbers the same."""
    # A copy, since writing into a dataset must not reach back into the caller's array.
    with np.errstate(over="ignore"):
        floats = values.astype(np.float32, copy=copy)
    if not np.isfinite(floats).all():
        bad = tuple(int(i) for i in np.argwhere(~np.isfinite(floats))[0])
        raise ValueError(
            f"{argument} must hold finite float32 numbers, but row {bad[0]} has one that is not: "
            f"{values[bad]} at position {bad[1:]} (counted from 0)"
        )
    if merges(values).any():
        return values.astype(values.dtype, copy=copy)
    return floats
