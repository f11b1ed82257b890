"""Metrics over all samples at once, as fit and evaluate report them where they are asked for.

They are computed on the host, and defined as scikit-learn defines them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from npnn import checked, words
from npnn.metrics import metric_names

if TYPE_CHECKING:
    from npnn.backends import Backend
    from npnn.backends.backend import Tree
    from npnn.network import Network


Metric: TypeAlias = "str | Callable[[np.ndarray, np.ndarray], Any]"


class Answers(NamedTuple):
    """What a model gave for some samples, and what is right.

    Attributes
    ----------
    y, t : ndarray
        Outputs and targets: of one shape, or classes as targets for the last axis of the outputs.
    w : ndarray, shape (samples,)
        How much each sample counts.
    kind : str
        ``"classes"`` of which one is right, ``"labels"`` that are right or not each by itself, or
        ``"numbers"``.
    """

    y: np.ndarray
    t: np.ndarray
    w: np.ndarray
    kind: str


# Of classes --------------------------------------------------------------------------------------


def accuracy(a: Answers) -> float:
    """Return the share of answers that are correct."""
    true, given, w = _decided(a)
    return _mean((true == given).mean(axis=1) if a.kind == "labels" else _agree(true, given), w)


def precision(a: Answers) -> float:
    """Return the share of what was answered positive that is; the mean over several classes."""
    return float(np.mean(_precision(*_counts(a))))


def recall(a: Answers) -> float:
    """Return the share of what is positive that was answered so; the mean over several classes."""
    return float(np.mean(_recall(*_counts(a))))


def f1(a: Answers) -> float:
    """Return the harmonic mean of precision and recall; its mean over several classes."""
    return float(np.mean(_f1(*_counts(a))))


def balanced_accuracy(a: Answers) -> float:
    """Return the mean of the recall over the classes that occur; its mean over several labels."""
    true, given, w = _decided(a)
    if a.kind == "labels":
        both = np.array(
            [[w @ (t & g), w @ (~t & ~g)] for t, g in zip(true.T, given.T, strict=True)]
        )
        whole = np.array([[w @ t, w @ ~t] for t in true.T])
    else:
        both, whole = (w @ (true & given))[None], (w @ true)[None]
    shares = _quotient(both, whole).sum(axis=1) / (whole > 0.0).sum(axis=1)
    return float(np.mean(shares))


def averaged(share: Callable[..., np.ndarray], average: str) -> Callable[[Answers], float]:
    """Return the metric: a share of each class, two classes and yes and no included, as one number.

    ``"macro"`` counts each class the same, ``"weighted"`` by how often it occurs, and ``"micro"``
    takes the share of all classes' counts together.
    """

    def measure(a: Answers) -> float:
        counts = _counts(a, every=True)
        if average == "micro":
            return float(share(*(np.sum(count, keepdims=True) for count in counts))[0])
        true = counts[-1]
        if average == "weighted":
            return float(_quotient(share(*counts) @ true, np.asarray(true.sum())))
        return float(np.mean(share(*counts)))

    return measure


def _precision(hits: np.ndarray, given: np.ndarray, true: np.ndarray) -> np.ndarray:
    return _quotient(hits, given)


def _recall(hits: np.ndarray, given: np.ndarray, true: np.ndarray) -> np.ndarray:
    return _quotient(hits, true)


def _f1(hits: np.ndarray, given: np.ndarray, true: np.ndarray) -> np.ndarray:
    return _quotient(2.0 * hits, given + true)


def roc_auc(a: Answers) -> float:
    """Return how likely a positive sample has the larger output than a negative one.

    Of several classes it is the mean over each against the rest; NaN where one never occurs.
    """
    return _mean_of_curves(a, _area)


def average_precision(a: Answers) -> float:
    """Return the mean of the precision at each threshold, weighted by the recall it adds.

    Of several classes it is the mean over each against the rest; 0 where one never occurs.
    """
    return _mean_of_curves(a, _steps_of_precision)


def log_loss(a: Answers) -> float:
    """Return the mean of minus the logarithm of the probability that was given to what is right."""
    true, outputs, w = _by_class(a)
    least = np.finfo(a.y.dtype).eps
    outputs = np.clip(outputs, least, 1.0 - least)
    if a.kind == "classes":
        return _mean(-np.log(outputs[true]), w)
    return _mean(-np.log(np.where(true, outputs, 1.0 - outputs)).mean(axis=1), w)


def top(k: int) -> Callable[[Answers], float]:
    """Return the metric: the share of samples whose class is among the k largest outputs."""

    def top_k(a: Answers) -> float:
        true, outputs, w = _by_class(a)
        order = np.argsort(outputs, axis=1, kind="stable")[:, ::-1][:, :k]
        return _mean((order == true.argmax(axis=1)[:, None]).any(axis=1), w)

    return top_k


def _by_class(a: Answers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what is true, the outputs, and the weights: a row for each answer."""
    outputs = a.y.reshape(-1, a.y.shape[-1]).astype(np.float64)
    w = np.repeat(a.w, len(outputs) // len(a.w))
    if a.t.ndim == a.y.ndim:
        given = a.t.reshape(outputs.shape)
        if a.kind == "labels":
            return given > 0.5, outputs, w
        classes = given.argmax(axis=1)
    else:
        classes = a.t.reshape(-1)
    return classes[:, None] == np.arange(outputs.shape[1]), outputs, w


def _decided(a: Answers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each class what is true, what was answered, and the weights."""
    true, outputs, w = _by_class(a)
    if a.kind == "labels":
        return true, outputs > 0.5, w
    return true, outputs.argmax(axis=1)[:, None] == np.arange(outputs.shape[1]), w


def _counts(a: Answers, every: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of each class that occurs how much was hit, answered, and true.

    Of two classes only the second, the positive one, is looked at, unless `every` is to be.
    """
    true, given, w = _decided(a)
    if a.kind == "classes":
        one = true.shape[1] == 2 and not every
        occurs = np.array([False, True]) if one else (true | given).any(axis=0)
        true, given = true[:, occurs], given[:, occurs]
    elif every and true.shape[1] == 1:
        true, given = np.hstack([~true, true]), np.hstack([~given, given])
        occurs = (true | given).any(axis=0)
        true, given = true[:, occurs], given[:, occurs]
    return w @ (true & given), w @ given, w @ true


def _agree(true: np.ndarray, given: np.ndarray) -> np.ndarray:
    return np.asarray((true == given).all(axis=1))


def _quotient(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return quotients, 0 where there is nothing to divide by."""
    return np.where(whole > 0.0, part / np.where(whole > 0.0, whole, 1.0), 0.0)


def _mean_of_curves(a: Answers, under: Callable[[np.ndarray, np.ndarray], float]) -> float:
    """Return the mean over the classes of a number that hits and false alarms make."""
    true, outputs, w = _by_class(a)
    if a.kind == "classes" and outputs.shape[1] == 2:
        true, outputs = true[:, 1:], outputs[:, 1:]
    curves = (_curve(outputs[:, n], true[:, n], w) for n in range(outputs.shape[1]))
    return float(np.mean([under(*curve) for curve in curves]))


def _curve(outputs: np.ndarray, true: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return hits and false alarms as the threshold falls, from none of both on."""
    order = np.argsort(-outputs, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(outputs[order])), len(order) - 1)
    hits = np.append(0.0, np.cumsum(w[order] * true[order])[ends])
    return hits, np.append(0.0, np.cumsum(w[order] * ~true[order])[ends])


def _area(hits: np.ndarray, alarms: np.ndarray) -> float:
    if hits[-1] == 0.0 or alarms[-1] == 0.0:
        return math.nan
    return float(np.trapezoid(hits, alarms) / (hits[-1] * alarms[-1]))


def _steps_of_precision(hits: np.ndarray, alarms: np.ndarray) -> float:
    if hits[-1] == 0.0:
        return 0.0
    return float(np.diff(hits) @ _quotient(hits, hits + alarms)[1:] / hits[-1])


# Of numbers --------------------------------------------------------------------------------------


def mae(a: Answers) -> float:
    """Return the mean absolute error."""
    return float(np.mean(_means(np.abs(_errors(a)), a.w)))


def mse(a: Answers) -> float:
    """Return the mean squared error."""
    return float(np.mean(_means(_errors(a) ** 2, a.w)))


def rmse(a: Answers) -> float:
    """Return the root of the mean squared error; its mean over several outputs."""
    return float(np.mean(np.sqrt(_means(_errors(a) ** 2, a.w))))


def r2(a: Answers) -> float:
    """Return the share of the variance of the targets that is explained; its mean over outputs."""
    t = _columns(a.t)
    if len(t) < 2:
        return math.nan
    left, all_of_it = _means(_errors(a) ** 2, a.w), _means((t - _means(t, a.w)) ** 2, a.w)
    constant = np.where(left == 0.0, 1.0, 0.0)
    return float(np.mean(np.where(all_of_it > 0.0, 1.0 - _quotient(left, all_of_it), constant)))


def median_absolute_error(a: Answers) -> float:
    """Return the median of the absolute errors; its mean over several outputs."""
    return float(np.mean([_median(error, a.w) for error in np.abs(_errors(a)).T]))


def _median(x: np.ndarray, w: np.ndarray) -> float:
    """Return the median where each value counts `w`: between two, where the half lies between."""
    x, w = x[w > 0.0], w[w > 0.0]
    order = np.argsort(x)
    x, sums = x[order], np.cumsum(w[order])
    half = sums[-1] / 2.0
    first = int(np.searchsorted(sums, half * (1.0 - 1e-12)))
    between = math.isclose(sums[first], half, rel_tol=1e-12) and first + 1 < len(x)
    return float((x[first] + x[first + 1]) / 2.0 if between else x[first])


def _columns(x: np.ndarray) -> np.ndarray:
    return np.asarray(x.reshape(len(x), -1), dtype=np.float64)


def _errors(a: Answers) -> np.ndarray:
    return np.asarray(_columns(a.y) - _columns(a.t))


def _means(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.asarray(w @ x / w.sum())


def _mean(x: np.ndarray, w: np.ndarray) -> float:
    return float(w @ x / w.sum())


# Which there are ---------------------------------------------------------------------------------

AVERAGES = {
    f"{share.__name__[1:]}_{average}": averaged(share, average)
    for share in (_f1, _precision, _recall)
    for average in ("macro", "micro", "weighted")
}
OF_CLASSES = {
    function.__name__: function
    for function in (
        accuracy, f1, precision, recall, balanced_accuracy, roc_auc, average_precision, log_loss
    )
} | AVERAGES  # fmt: skip
OF_NUMBERS = {function.__name__: function for function in (mae, mse, rmse, r2)}
OF_NUMBERS["median_absolute_error"] = median_absolute_error
LARGE_IS_GOOD = {*OF_CLASSES, "r2"} - {"log_loss"}
_TOP = re.compile(r"top_?(\d+)")


def large_is_good(name: str) -> bool:
    """Return whether a metric of that name, with or without ``val_``, is better if it is larger."""
    name = name.removeprefix("val_")
    return name in LARGE_IS_GOOD or "accuracy" in name or _TOP.fullmatch(name) is not None


class Scores:
    """The metrics that were asked for beside those that a loss reports.

    Parameters
    ----------
    asked : sequence of str or callable
        Names, and functions of ``(predictions, targets)``.
    network : Network
        What they are to be measured of.

    Attributes
    ----------
    names : list of str
        What they are called in a history.
    functions : list of str
        Those of them that are functions of a person's own.
    """

    def __init__(self, asked: Any, network: Network) -> None:
        if isinstance(asked, str) or callable(asked):
            shown = repr(asked) if isinstance(asked, str) else _name_of(asked)
            raise TypeError(f"metrics must be a list: write metrics=[{shown}]")
        self.kind, self.target_norm = _kind(network), network.target_norm
        self._reported = metric_names(network.losses)
        self._outputs = network.shape_out[-1]
        self._takes_classes = network.losses[-1].takes_classes and network.shape_out[-1] > 1
        self._measures: dict[str, Callable[[Answers], float]] = {}
        self.functions: list[str] = []
        for each in checked.sequence(asked, "metrics", "names and functions"):
            self._add(each)
        self.names = list(self._measures)

    def _add(self, asked: Any) -> None:
        if not isinstance(asked, str):
            checked.function(asked, "a metric", ("predictions", "targets"))
            name = self._free_name(_name_of(asked))
            self.functions.append(name)
            self._measures[name] = _of_function(asked, name)
            return
        name = re.sub(r"[^a-z0-9]+", "_", asked.strip().lower())
        number = _TOP.fullmatch(name)
        known = {**OF_CLASSES, **OF_NUMBERS}
        if name in self._reported:
            return  # by the loss
        if number and int(number[1]):
            name, measure = f"top_{number[1]}", top(int(number[1]))
        elif name in known:
            measure = known[name]
        else:
            closest = words.closest(name, known)
            hint = f": did you mean {closest!r}?" if closest else ""
            raise ValueError(
                f"metrics: there is no {asked!r}{hint}; there are {', '.join(known)}, top_5 (or "
                "any other number), and functions of (predictions, targets)"
            )
        self._check_kind(name)
        self._measures[name] = measure

    def _check_kind(self, name: str) -> None:
        if name in OF_NUMBERS and self._takes_classes:
            raise ValueError(
                f"metrics: {name!r} compares numbers, and the targets are classes; there are "
                f"{', '.join(OF_CLASSES)}"
            )
        if name not in OF_NUMBERS and self.kind == "numbers":
            raise ValueError(
                f"metrics: {name!r} is of classes, and the model gives numbers; there are "
                f"{', '.join(OF_NUMBERS)}"
            )
        if name.startswith("top_") and self.kind != "classes":
            raise ValueError(f"metrics: {name!r} needs a model that tells one of several classes")
        if name.startswith("top_") and int(name.removeprefix("top_")) >= self._outputs:
            raise ValueError(
                f"metrics: {name!r} is always 1 where there are {self._outputs} classes"
            )

    def _free_name(self, name: str) -> str:
        taken, number, free = {*self._measures, *self._reported}, 1, name
        while free in taken:
            number += 1
            free = f"{name}_{number}"
        return free

    def __bool__(self) -> bool:
        return bool(self._measures)

    def measure(
        self, y: np.ndarray, t: np.ndarray, w: np.ndarray | None = None
    ) -> dict[str, float]:
        """Return the metrics of outputs `y`, by name."""
        w = np.ones(len(y)) if w is None else w.astype(np.float64)
        answers = Answers(y, t, w, self.kind)
        return {name: measure(answers) for name, measure in self._measures.items()}


def scored(
    scores: Scores, outputs: Sequence[np.ndarray], data: Tree, backend: Backend
) -> dict[str, float]:
    """Return the metrics of outputs, which are parts of a whole, for data of a backend."""
    if not scores:
        return {}
    t, w = (_on_host(data.get(name), backend) for name in ("t", "w"))
    assert t is not None
    t = t.copy() if scores.target_norm is None else scores.target_norm.inverse(t)
    return scores.measure(np.concatenate(outputs), t, w)


def _on_host(x: Any, backend: Backend) -> np.ndarray | None:
    return x if x is None or isinstance(x, np.ndarray) else backend.to_numpy(x)


def _name_of(function: Any) -> str:
    name = str(getattr(function, "__name__", type(function).__name__))
    return name.strip("<>")


def _of_function(function: Callable[[np.ndarray, np.ndarray], Any], name: str) -> Any:
    def measure(a: Answers) -> float:
        value = function(a.y.copy(), a.t.copy())  # others are measured by them, too
        try:
            return float(value)
        except (TypeError, ValueError):
            raise TypeError(
                f"the metric {name!r} must give a number, not {checked.shown(value)}"
            ) from None

    return measure


def _kind(network: Network) -> str:
    """Return what a network's answers are, as :class:`Answers` says it."""
    loss, outputs = network.losses[-1], network.shape_out[-1]
    try:
        given = network.answers()
    except ValueError:
        given = "numbers"
    if outputs > 1 and (loss.takes_classes or given == "probabilities"):
        return "classes"
    return "labels" if "fractions" in (loss.needs, given) else "numbers"
