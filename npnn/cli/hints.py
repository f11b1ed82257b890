"""What would help next: one sentence about a training, found in its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from npnn.datasets import Dataset
    from npnn.history import History

DECIDES = 0.995  # of the rows are told right, or of the variance explained, by one column
RARE = 0.5  # of the share that a class would have if all had the same
MISSED = 0.7  # of the recall of the others
FALLING = 0.005  # relative, over the last quarter of the epochs
ENOUGH_EPOCHS = 4  # to see whether the loss is still falling
FEW_ROWS = 60
MOST_ROWS = 20_000  # that are looked at for a column that decides all
APART = 0.05  # between the parts
GOOD = 0.97


def hint(
    data: Dataset,
    y: np.ndarray,
    history: History,
    metrics: dict[str, dict[str, float]],
    run: dict[str, Any],
) -> str:
    """Return the sentence.

    Parameters
    ----------
    data : Dataset
        What was trained on.
    y : ndarray
        The outputs for the validation part, in the units of its targets.
    history : History
        The losses of the epochs.
    metrics : dict of dict
        The metrics of the parts "training" and "validation"; of a regression, with "R²".
    run : dict
        The settings.
    """
    found = [
        _deciding_column(data),
        _few_epochs(history, metrics, run),
        _rare_class(data, y, run),
        _more_epochs(history, run),
        _few_rows(data, metrics),
        _gap(metrics, run),
    ]
    return next(filter(None, found), None) or _neither(data, metrics)


def _score(values: dict[str, float]) -> tuple[str, float]:
    """Return what tells how good a part is: its accuracy, or its R²."""
    for name in ("accuracy", "R²"):
        if name in values:
            return name, values[name]
    return "", math.nan


# A column that decides all -----------------------------------------------------------------------


def _deciding_column(data: Dataset) -> str | None:
    """Name a column that tells the target by itself, where others are there too."""
    schema = getattr(data, "schema", None)
    if schema is None or len(schema.columns) < 2 or data.x_train_data.ndim != 2:
        return None
    for name, x in _blocks(data):
        share = _told_by(x, data)
        if share >= DECIDES:
            what = "of the rows" if data.c_train_data is not None else "of the variance"
            return (
                f"The column {name!r} alone tells {schema.target!r} in {100 * share:.3g} % "
                f"{what}: if it is known only when the answer is, leave it out (--ignore "
                f"{_as_option(name)})."
            )
    return None


def _as_option(name: str) -> str:
    return name if name.isidentifier() else f"'{name}'" if '"' in name else f'"{name}"'


def _blocks(data: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the features of each column."""
    start = 0
    for column in data.schema.columns:
        stop = start + len(column.feature_names)
        if column.kind != "text":
            yield column.name, data.x_train_data[:MOST_ROWS, start:stop]
        start = stop


def _told_by(x: np.ndarray, data: Dataset) -> float:
    """Return what share of the target some features tell: by their values, or by a threshold."""
    if data.c_train_data is None:
        return _explained(x, data.y_train_data[: len(x), 0].astype(np.float64))
    classes = data.c_train_data[: len(x)]
    counts = np.bincount(classes)
    if counts.max() >= DECIDES * len(classes):
        return 0.0
    _, groups = np.unique(x, axis=0, return_inverse=True)
    groups = groups.reshape(-1)
    number = int(groups.max()) + 1
    if number <= max(2, min(100, len(classes) // 10)):
        table = np.zeros((number, len(counts)), np.int64)
        np.add.at(table, (groups, classes), 1)
        return float(table.max(axis=1).sum() / len(classes))
    if len(counts) != 2:
        return 0.0
    # The best threshold of the first feature, with either class above it.
    order = np.argsort(x[:, 0], kind="stable")
    ones = np.cumsum(classes[order])
    below = np.arange(1, len(classes) + 1)
    right = (below - ones) + (ones[-1] - ones)
    ends = np.append(np.diff(x[order, 0]) != 0, True)
    return float(max(right[ends].max(), (len(classes) - right[ends]).max()) / len(classes))


def _explained(x: np.ndarray, t: np.ndarray) -> float:
    """Return the share of the variance that a straight line, or the mean of each value, leaves."""
    spread = float(np.sum((t - t.mean()) ** 2))
    if spread == 0.0 or len(t) < FEW_ROWS // 2:
        return 0.0
    first = x[:, 0].astype(np.float64) - x[:, 0].mean()
    size = float(np.sum(first**2))
    line = float(np.sum(first * (t - t.mean()))) ** 2 / (size * spread) if size else 0.0
    _, groups = np.unique(x, axis=0, return_inverse=True)
    groups = groups.reshape(-1)
    counts = np.bincount(groups)
    if len(counts) > len(t) // 10:
        return line
    means = np.bincount(groups, weights=t) / counts
    return max(line, 1.0 - float(np.sum((t - means[groups]) ** 2)) / spread)


# The rest ----------------------------------------------------------------------------------------


def _rare_class(data: Dataset, y: np.ndarray, run: dict[str, Any]) -> str | None:
    """Name a rare class that is mostly taken for others."""
    classes = data.c_validation_data
    if classes is None or data.class_names is None or run.get("balance"):
        return None
    predicted = y.argmax(axis=1) if y.shape[1] > 1 else (y[:, 0] > 0.5).astype(np.int64)
    counts = np.bincount(classes, minlength=len(data.class_names))
    hits = np.bincount(classes[classes == predicted], minlength=len(counts))
    accuracy = hits.sum() / len(classes)
    recall = np.divide(hits, counts, out=np.ones(len(counts)), where=counts > 0)
    rare = (counts >= 5) & (counts < RARE * len(classes) / len(counts)) & (
        recall < MISSED * accuracy
    )  # fmt: skip
    if not rare.any():
        return None
    worst = int(np.argmin(np.where(rare, recall, np.inf)))
    return (
        f"Of the rare class {data.class_names[worst]!r} ({counts[worst]} of {len(classes)} "
        f"validation rows) only {100 * recall[worst]:.0f} % are found: a weight for rare classes "
        "would find more of them (--balance)."
    )


def _few_epochs(
    history: History, metrics: dict[str, dict[str, float]], run: dict[str, Any]
) -> str | None:
    """Say that the epochs were too few to tell what else would help."""
    count = len(history.get("val_loss", []))
    if not 0 < count < ENOUGH_EPOCHS or run.get("falls") or history.interrupted:
        return None
    if _score(metrics["validation"])[1] >= GOOD:
        return None
    said = "One epoch tells" if count == 1 else f"{count} epochs tell"
    return (
        f"{said} little of what would help, other than more of them (--resume --epochs "
        f"{10 * count})."
    )


def _more_epochs(history: History, run: dict[str, Any]) -> str | None:
    """Say that the loss of the validation part was still falling."""
    losses = history.get("val_loss", [])
    quarter = max(2, len(losses) // 4)
    if len(losses) < ENOUGH_EPOCHS or run.get("falls") or history.interrupted:
        return None
    before, last = min(losses[:-quarter]), float(np.mean(losses[-2:]))
    if last > before * (1.0 - FALLING):
        return None
    return (
        f"The loss of the validation part was still falling, by {100 * (1 - last / before):.2g} % "
        f"in the last {quarter} epochs: more of them would help (--resume --epochs "
        f"{2 * run['epochs']})."
    )


def _few_rows(data: Dataset, metrics: dict[str, dict[str, float]]) -> str | None:
    """Say how sure a score of few rows is."""
    count = data.num_validation_data
    name, share = _score(metrics["validation"])
    if count >= FEW_ROWS or name != "accuracy":
        return None
    # Half the width of Wilson's interval, in which 95 % of such shares lie.
    z = 1.96
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return (
        f"The accuracy is that of {count} validation rows, and so known to about "
        f"{100 * half:.0f} %: more rows would tell more than other settings."
    )


def _gap(metrics: dict[str, dict[str, float]], run: dict[str, Any]) -> str | None:
    """Say that the training part is fitted better than the validation part."""
    name, trained = _score(metrics["training"])
    validated = _score(metrics["validation"])[1]
    if not trained - validated > APART:
        return None
    dropout = run.get("dropout") or 0.0
    more = f" or --dropout {min(0.5, dropout + 0.2):.1f}" if run["hidden"] else ""
    return (
        f"{name} is {trained:.3f} for the training rows and {validated:.3f} for the others: more "
        f"rows would help, and perhaps fewer columns (--ignore){more}."
    )


def _neither(data: Dataset, metrics: dict[str, dict[str, float]]) -> str:
    """Say that both parts are alike, at a score that is good, or is not."""
    name, validated = _score(metrics["validation"])
    if not name or validated != validated:
        return "Nothing that was measured says what would help."
    if validated >= GOOD:
        return (
            f"{name} is {validated:.3f} for rows that were not trained on: little is left to gain."
        )
    return (
        f"{name} is {validated:.3f}, and about the same for the rows that were trained on: columns "
        "that tell more would help, or a larger network (--hidden 256,256)."
    )
