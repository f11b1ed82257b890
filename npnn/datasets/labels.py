"""What the cells of a target column mean: classes or numbers, and which rows have none."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from npnn.datasets import numerals
from npnn.datasets.cells import Cells, Factors, as_floats, label_of, quoted
from npnn.datasets.columns import natural
from npnn.datasets.given import NDArray, one_hot

MOST_CLASSES = 10  # that integers are taken for
FEW_VALUES = 12  # of which some are no numbers: classes rather than numbers with mistakes


class Labels(NamedTuple):
    """Targets, and what they mean.

    Attributes
    ----------
    t : ndarray
        Those of the rows that have one.
    rows : ndarray of int
        Those rows.
    task : {"classification", "binary", "regression"}
        What they are.
    class_names : tuple of str or None
        The labels of the classes.
    notes : list of str
        What a person should know.
    numerals : Numerals
        How those of a regression are written.
    """

    t: NDArray
    rows: NDArray
    task: str
    class_names: tuple[str, ...] | None
    notes: list[str]
    numerals: numerals.Numerals


def labels_of(where: object, name: str, cells: Cells, task: str | None, decimal: str) -> Labels:
    """Return what a target column means."""
    numbers, form, notes = _numbers(cells, task, decimal)
    missing = cells.missing if numbers is None else np.isnan(numbers)
    if task == "regression" and numbers is None:
        shown = next(text for text in cells.present if numerals.Numerals(decimal)(text) is None)
        raise ValueError(
            f"{where}: the target {name!r} must hold numbers for regression, not {shown!r}"
        )
    rows = np.flatnonzero(~missing)
    if not len(rows):
        raise ValueError(f"{where}: the target {name!r} is empty on every line")
    text = cells.take(rows).factors if numbers is None else None
    if text is not None and missing.any() and len(text.distinct) == 1:
        # A box that was ticked, or was not.
        notes.append(f"it holds {text.distinct[0]!r} or nothing, which is a class of its own, ''")
        text = Factors(["", *text.distinct], (~missing).astype(np.int64))
        rows = np.arange(len(missing))
    elif missing.any():
        notes.append(f"{int(missing.sum())} row(s) without a target left out")
    if text is None:
        distinct, classes = np.unique(numbers[rows], return_inverse=True)  # type: ignore[index]
    else:
        distinct, classes = np.asarray(text.distinct), text.codes
    t, task, names, more = targets_of(where, name, distinct, classes, task)
    return Labels(t, rows, task, names, notes + more, form)


def _numbers(
    cells: Cells, task: str | None, decimal: str
) -> tuple[NDArray | None, numerals.Numerals, list[str]]:
    """Return the numbers of a target column, if it holds some, NaN where one is missing."""
    notes: list[str] = []
    floats, form = cells.floats, numerals.Numerals()
    if floats is None and cells.present and task in (None, "regression"):
        counts = [int(n) for n, gone in zip(cells.counts, cells.gone, strict=True) if not gone]
        mark = cells.decimal or numerals.mark_of(cells.present) or decimal
        how = numerals.understood(cells.present, counts, mark)
        if how is not None:
            found = how[1]
            if found == sum(counts) or len(counts) > FEW_VALUES or task == "regression":
                form = how[0]
                floats = cells.read(lambda text: _or_nan(form(text)))
                strange = [text for text in cells.present if form(text) is None]
                if strange:
                    notes.append(f"no number among the targets: {quoted(strange, 3)}")
    return floats, form, notes


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def targets_of(
    where: object, name: str, distinct: NDArray, classes: NDArray, task: str | None
) -> tuple[NDArray, str, tuple[str, ...] | None, list[str]]:
    """Return the targets, the task and the labels that a single column means.

    `distinct` are its different values, and `classes` say which of them each row has.
    """
    numeric, notes = distinct.dtype.kind in "fiu", []
    if not numeric and task == "regression":
        shown = str(distinct[classes[0]])
        raise ValueError(
            f"{where}: the target {name!r} must hold numbers for regression, not {shown!r}"
        )
    if not numeric:
        order = sorted(range(len(distinct)), key=lambda i: natural(str(distinct[i])))
        distinct, classes = distinct[order], np.argsort(order)[classes]
    if task is None:
        few = len(distinct) <= max(2, min(MOST_CLASSES, len(classes) // 4))
        whole = numeric and bool((distinct == np.floor(distinct)).all())
        task = "classification" if not numeric or (whole and few) else "regression"
        if whole and task == "regression" and len(distinct) <= 50:
            notes.append(
                f"its {len(distinct)} whole numbers are taken as amounts "
                "(--task classification if they are classes)"
            )
        elif whole and task == "classification" and len(distinct) > 2:
            notes.append(
                f"its {len(distinct)} whole numbers are taken as classes "
                "(--task regression if they are amounts)"
            )
    if task == "regression":
        return as_floats(where, name, distinct[classes])[:, None], task, None, notes
    if len(distinct) < 2:
        raise ValueError(
            f"{where}: the target {name!r} must have two or more different values for {task}, and "
            f"every row has {label_of(distinct.tolist()[0])!r}"
        )
    if len(distinct) == len(classes) and len(classes) > 2:
        raise ValueError(
            f"{where}: the target {name!r} cannot be a class: each of the {len(classes)} rows has "
            "a different value"
        )
    names = tuple(label_of(value) for value in distinct.tolist())
    if task == "classification":
        return one_hot(classes, len(distinct)), task, names, notes
    if len(distinct) != 2:
        raise ValueError(
            f"{where}: the target {name!r} must have two different values for a binary task, and "
            f"it has {len(distinct)}"
        )
    return classes.astype(np.float32)[:, None], task, names, notes
