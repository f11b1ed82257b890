"""What a training needs to go on later: written beside the model, and put back."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn import files
from npnn.files import read
from npnn.history import History

if TYPE_CHECKING:
    from npnn.callbacks import Callback
    from npnn.training import Training

__all__ = ["read", "restore", "save"]


def save(training: Training, path: str | os.PathLike[str]) -> None:
    """Write a model file that also holds what :func:`npnn.training.fit` needs to go on."""
    runner = training.runner
    arrays = {f"chain/{name}": array for name, array in training.get_arrays().items()}
    for name, packed in zip(training.optimizer.moments, training.optimizer.state, strict=True):
        for slot, array in runner.packing.unpack(packed):
            arrays[f"optimizer/{name}/{slot}"] = np.array(runner.backend.to_numpy(array))
    for number, callback in enumerate(training.callbacks):
        for name, array in callback.get_arrays().items():
            arrays[f"callback/{number}/{name}"] = array
    extra = {
        "epoch": training.epoch,
        "seed": training.seed,
        "steps": training.optimizer.steps,
        "scaling": [float(a) for a in runner.scaling],
        "optimizer": training.optimizer.to_config(),
        "history": training.history,
        "samples": training.history.samples,
        "seconds": training.elapsed,
        "stopped": training.history.stopped,
        "metrics": training.scores.names,
        "num_samples": training.num_samples,
        "num_validation": training.num_validation,
        "epochs_before": training.epochs_before,
        "callbacks": [[*_arguments(c), c.get_state()] for c in training.callbacks],
    }
    files.save(training.model, path, extra_arrays=arrays, extra=extra)


def restore(
    training: Training, tensors: dict[str, np.ndarray], extra: dict[str, Any], path: str
) -> None:
    """Go on from what :meth:`save` wrote."""
    runner = training.runner
    given = extra["optimizer"]["type"]
    if given != type(training.optimizer).__name__:
        raise ValueError(f"{path} was trained by {given}, not {type(training.optimizer).__name__}")
    for name, what in (("num_samples", "trained"), ("num_validation", "validated")):
        then, now = extra.get(name), getattr(training, name)
        if then not in (None, now):  # older files do not say
            raise ValueError(
                f"{path} was {what} on {then} samples, but resume is given {now} for it: go on "
                "with the same data and validation_split"
            )
    if extra.get("metrics", []) != training.scores.names:
        raise ValueError(
            f"{path} has recorded the metrics {extra.get('metrics', [])}, but resume is given "
            f"{training.scores.names}: go on with the same metrics"
        )
    if training.epochs < extra["epoch"]:
        raise ValueError(
            f"{path} has done {extra['epoch']} epochs already, and epochs={training.epochs} counts "
            "those: ask for more"
        )
    try:
        training.set_arrays(_folder(tensors, "chain"))
        training.optimizer.state = [
            runner.packing.pack(_folder(tensors, f"optimizer/{name}"))
            for name in training.optimizer.moments
        ]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} does not fit this model: {error}") from None
    if runner.scaling and extra.get("scaling"):
        runner.scaling = runner.numbers(*extra["scaling"])
    training.optimizer.steps, training.epoch = extra["steps"], extra["epoch"]
    training.epochs_before = extra["epochs_before"]
    runner.epochs = training.epochs_before + training.epoch
    training.history = History(extra["history"])
    training.history.samples, training.history.seconds = extra["samples"], extra["seconds"]
    if training.epoch == training.epochs:
        training.history.stopped = extra["stopped"] or (
            f"all {training.epochs} epochs were done before: a larger epochs goes on"
        )
    for callback, number in _pairs(training.callbacks, extra["callbacks"]):
        callback.set_state(extra["callbacks"][number][2], _folder(tensors, f"callback/{number}"))


def _arguments(callback: Callback) -> tuple[str, dict[str, Any]]:
    """Return what a callback is known by: its class, and those arguments that are plain values."""
    names = inspect.signature(type(callback)).parameters
    values = {name: getattr(callback, name, None) for name in names}
    plain = (str, bool, int, float)
    return type(callback).__name__, {n: v for n, v in values.items() if type(v) in plain}


def _pairs(callbacks: Sequence[Callback], saved: list[Any]) -> Iterator[tuple[Callback, int]]:
    """Yield each callback with the number of what was saved of it, whatever their order.

    The same arguments say which it was; so does being the only one left of its class.
    """
    left = list(range(len(saved)))
    others = []
    for callback in callbacks:
        found = [n for n in left if tuple(saved[n][:2]) == _arguments(callback)]
        if found:
            left.remove(found[0])
            yield callback, found[0]
        else:
            others.append(callback)
    for callback in others:
        kind = type(callback)
        found = [n for n in left if saved[n][0] == kind.__name__]
        if len(found) == 1 and sum(type(other) is kind for other in others) == 1:
            yield callback, found[0]


def _folder(tensors: dict[str, np.ndarray], folder: str) -> dict[str, np.ndarray]:
    start = folder + files.FOLDER
    return {name[len(start) :]: a for name, a in tensors.items() if name.startswith(start)}
