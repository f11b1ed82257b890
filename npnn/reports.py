"""What a trained model got right and wrong, counted on the host, and tables to read it in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from npnn import checked

if TYPE_CHECKING:
    from npnn.history import History

NOTHING = "–"
WIDEST = 80


@dataclass(frozen=True)
class ClassReport:
    """How well one class is recognised; a quotient of zero by zero is None.

    Attributes
    ----------
    name : str
        The class.
    precision : float or None
        The share of the samples taken for this class that are of it.
    recall : float or None
        The share of the samples of this class that were taken for it.
    f1 : float or None
        The harmonic mean of the two: twice the hits over all that are, or were taken for, it.
    support : int
        The number of samples of this class.
    """

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


def confusion_counts(
    classes: Any, predicted: Any, num_classes: int | None = None
) -> npt.NDArray[np.int64]:
    """Return how many samples of each class were taken for each class.

    Parameters
    ----------
    classes, predicted : array_like of int, shape (samples,)
        The true classes and the predicted ones, from 0 up.
    num_classes : int, optional
        By default one more than the largest class in either.

    Returns
    -------
    ndarray, shape (num_classes, num_classes)
        The count of true class i taken for class j at ``[i, j]``.

    Raises
    ------
    ValueError
        If the two do not have the same length, or a class is out of range.

    Examples
    --------
    >>> confusion_counts([0, 0, 1], [0, 1, 1])
    array([[1, 1],
           [0, 1]])
    """
    pair = _classes("classes", classes), _classes("predicted", predicted)
    if len(pair[0]) != len(pair[1]):
        raise ValueError(f"{len(pair[0])} classes do not go with {len(pair[1])} predicted ones")
    if num_classes is not None:
        checked.integer(num_classes, "num_classes", 1)
    else:
        num_classes = 1 + max((int(a.max()) for a in pair if a.size), default=-1)
    for name, values in zip(("classes", "predicted"), pair, strict=True):
        if values.size and (values.min() < 0 or values.max() >= num_classes):
            wrong = values.min() if values.min() < 0 else values.max()
            raise ValueError(f"{name} must be from 0 to {num_classes - 1}, but there is a {wrong}")
    flat = np.bincount(pair[0] * num_classes + pair[1], minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)


def class_reports(counts: Any, class_names: Sequence[str] | None = None) -> list[ClassReport]:
    """Return precision, recall, F1 and support of each class.

    Parameters
    ----------
    counts : array_like, shape (classes, classes)
        What :func:`confusion_counts` gives.
    class_names : sequence of str, optional
        By default the classes' numbers.
    """
    counts, names = check_counts(counts, class_names)
    hits, support, taken = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    return [
        ClassReport(
            name,
            _share(hits[i], taken[i]),
            _share(hits[i], support[i]),
            _share(2 * hits[i], taken[i] + support[i]),
            int(support[i]),
        )
        for i, name in enumerate(names)
    ]


def class_table(counts: Any, class_names: Sequence[str] | None = None) -> str:
    """Return the table of :func:`class_reports`, and below the means over the classes.

    The means are unweighted: each class counts the same, whatever its number of samples.
    """
    from tabulate import tabulate

    reports = class_reports(counts, class_names)
    columns = [[getattr(r, name) for r in reports] for name in ("precision", "recall", "f1")]
    means = [_mean([value for value in column if value is not None]) for column in columns]
    rows = [(r.name, *map(_shown, (r.precision, r.recall, r.f1)), r.support) for r in reports]
    rows.append(("unweighted mean", *map(_shown, means), sum(r.support for r in reports)))
    return tabulate(
        rows,
        headers=["class", "precision", "recall", "F1", "support"],
        colalign=("left", "right", "right", "right", "right"),
        disable_numparse=True,
    )


def metrics_table(metrics: dict[str, dict[str, float]]) -> str:
    """Return a table with a row for each part of the data and a column for each metric.

    One that would be wider than a terminal of 80 columns is turned: a row for each metric.

    Parameters
    ----------
    metrics : dict of dict
        The metrics of each part, such as ``{"training": {"loss": 0.1, "accuracy": 0.98}, ...}``.
    """
    from tabulate import tabulate

    names = list(dict.fromkeys(name for part in metrics.values() for name in part))
    rows = [
        ("", *names),
        *(
            (part, *(_number(values[n]) if n in values else NOTHING for n in names))
            for part, values in metrics.items()
        ),
    ]
    for turned in (rows, list(zip(*rows, strict=True))):
        table: str = tabulate(
            turned[1:],
            headers=turned[0],
            colalign=("left", *("right" for _ in turned[0][1:])),
            disable_numparse=True,
        )
        if table.index("\n") <= WIDEST:
            break
    return table


def regression_metrics(y: Any, t: Any) -> dict[str, float]:
    r"""Return the root mean square error, and the share of the variance that is explained.

    .. math::

        \mathrm{rms} = \sqrt{\overline{(y - t)^2}}, \qquad
        R^2 = 1 - \frac{\overline{(y - t)^2}}{\overline{(t - \bar t)^2}}

    Parameters
    ----------
    y, t : array_like, shape (samples, outputs)
        Outputs and targets; the mean of the targets is that of each output.

    Returns
    -------
    dict
        ``"rms error"`` and, unless the targets are all the same, ``"R²"``.
    """
    y, t = np.asarray(y, dtype=np.float64), np.asarray(t, dtype=np.float64)
    if y.shape != t.shape:
        raise ValueError(f"outputs of shape {y.shape} do not go with targets of shape {t.shape}")
    error = float(np.mean((y - t) ** 2))
    spread = float(np.mean((t - t.mean(axis=0)) ** 2))
    result = {"rms error": error**0.5}
    return {**result, "R²": 1.0 - error / spread} if spread else result


def time_line(history: History) -> str:
    """Return how many epochs were done, in what time, and at what rate."""
    epochs = f"{history.num_epochs} epoch{'s' * (history.num_epochs != 1)}"
    rate = f", {history.samples_per_second:,.0f} samples per second" if history.samples else ""
    return f"{epochs} in {history.seconds:.2f} s{rate}"


def check_counts(
    counts: Any, class_names: Sequence[str] | None
) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Return confusion counts as an array, and a name for each class, or say what is wrong."""
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.size == 0:
        raise ValueError(f"counts must be a square matrix, not of shape {counts.shape}")
    names = [str(i) for i in range(len(counts))]
    if class_names is not None:
        names = list(map(str, checked.sequence(class_names, "class_names", "names")))
    if len(names) != len(counts):
        raise ValueError(f"{len(names)} class names do not go with {len(counts)} classes")
    return counts, names


def _classes(name: str, values: Any) -> npt.NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(
            f"{name} must be integers of shape (samples,), not {array.dtype} of shape {array.shape}"
        )
    return array.astype(np.int64)


def _share(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _shown(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4f}"


def _number(value: float) -> str:
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3e}"
