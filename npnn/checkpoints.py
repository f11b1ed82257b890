"""What a training needs to go on later: written beside the model, and put back."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn import files, tensors
from npnn.callbacks import EarlyStopping
from npnn.errors import FileError
from npnn.files import NONE, check_fields
from npnn.history import History
from npnn.io import Place, called
from npnn.optimizers import Optimizer
from npnn.values import check_numbers

if TYPE_CHECKING:
    from npnn.callbacks import Callback
    from npnn.model import Sequential
    from npnn.network import Network
    from npnn.training import Training

FIELDS: dict[str, tuple[type, ...]] = {
    "epoch": (int,),
    "seed": (int,),
    "steps": (int,),
    "scaling": (list,),
    "optimizer": (dict,),
    "samples": (int,),
    "seconds": (int, float),
    "metrics": (list,),
    "scores": (list,),
    "stopped": (str, NONE),
    "num_samples": (int,),
    "num_validation": (int,),
    "epochs_before": (int,),
    "callbacks": (list,),
}


def save(training: Training, path: Place) -> None:
    """Write a model file that also holds what :func:`npnn.training.fit` needs to go on."""
    runner, optimizer = training.runner, training.optimizer
    arrays = {f"chain/{name}": array for name, array in training.get_arrays().items()}
    for name, packed in zip(optimizer.moments, optimizer.state, strict=True):
        for slot, array in runner.packing.unpack(packed):
            arrays[f"optimizer/{name}/{slot}"] = np.array(runner.backend.to_numpy(array))
    for number, callback in enumerate(training.callbacks):
        for name, array in _arrays_of(callback).items():
            arrays[f"callback/{number}/{name}"] = array
    for name, values in training.history.items():
        arrays[f"history/{name}"] = np.asarray(values, np.float64)
    files.save(training.model, path, extra_arrays=arrays, extra=_progress(training))


def check(training: Training) -> None:
    """Raise the error for a training that could not be saved, before it has cost any time."""
    for callback in training.callbacks:
        _arrays_of(callback)
    files.described(training.model, _progress(training))


def _arrays_of(callback: Callback) -> dict[str, np.ndarray]:
    """Return the arrays that a callback goes on from, or say that a file cannot hold them."""
    given = callback.get_arrays()
    who = f"{type(callback).__name__}.get_arrays"
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        raise FileError(f"{who} must return a dict of names and arrays, not {given!r:.100}")
    found = {name: np.asarray(array) for name, array in given.items()}
    for name, array in found.items():
        if array.dtype.newbyteorder("<") not in tensors.NAMES:
            raise FileError(
                f"{who} returns as {name!r} an array of {array.dtype}, which no file holds"
            )
    return found


def _progress(training: Training) -> dict[str, Any]:
    with files.unsaved("the optimizer"):
        optimizer = training.optimizer.to_config()
    return {
        "epoch": training.epoch,
        "seed": training.seed,
        "steps": training.optimizer.steps,
        "scaling": [float(a) for a in training.runner.scaling],
        "optimizer": optimizer,
        "samples": training.history.samples,
        "seconds": training.elapsed,
        "metrics": list(training.history),
        "stopped": training.history.stopped,
        "scores": training.scores.names,
        "num_samples": training.num_samples,
        "num_validation": training.num_validation,
        "epochs_before": training.epochs_before,
        "callbacks": [[*_arguments(c), c.get_state()] for c in training.callbacks],
    }


class Saved:
    """What a checkpoint holds, looked at before anything is changed by it.

    Parameters
    ----------
    place : path_like or binary file
        What :func:`save` wrote.

    Attributes
    ----------
    seed : int
        Of the training.
    """

    def __init__(self, place: Place) -> None:
        self.path = called(place)
        _, self.tensors, state = files.read(place)
        if state is None:
            raise FileError(f"{self.path} holds a model, but no training to resume")
        self.state = state
        with files.blamed(place):
            check_fields(state, FIELDS, "the training")
            for name in ("epoch", "seed", "steps", "samples", "num_samples", "epochs_before"):
                if not 0 <= state[name] < (2**256 if name == "seed" else 2**53):
                    raise FileError(f"its {name} cannot be {state[name]!r:.100}")
            for entry in state["callbacks"]:
                if [type(part) for part in entry] != [str, dict, dict]:
                    raise FileError(f"it has no callback such as {entry!r:.100}")
            self.history = self._history()
        self.seed: int = state["seed"]

    def _history(self) -> History:
        columns, names = self._folder("history"), self.state["metrics"]
        if not all(type(name) is str for name in names) or sorted(names) != sorted(columns):
            raise FileError(f"its history has {', '.join(columns)}, and not {names!r:.100}")
        for name, array in columns.items():
            if array.dtype.kind != "f" or array.ndim != 1 or len(array) > self.state["epoch"]:
                raise FileError(f"its history has no {name!r} of {self.state['epoch']} epochs")
        history = History({name: columns[name].tolist() for name in names})
        history.samples, history.seconds = self.state["samples"], self.state["seconds"]
        return history

    def optimizer(self) -> Optimizer:
        """Return an optimizer of the settings that the training had."""
        with files.blamed(self.path):
            return Optimizer.from_config(self.state["optimizer"])

    def check(
        self,
        model: Sequential,
        optimizer: Optimizer,
        epochs: int,
        sizes: tuple[int, int],
        scores: list[str],
    ) -> None:
        """Raise the error for a training that cannot go on from here."""
        path, state = self.path, self.state
        given = state["optimizer"].get("type")
        if given != Optimizer.registry.name_of(type(optimizer)):
            raise FileError(f"{path} was trained by {given}, not {type(optimizer).__name__}")
        names = ("num_samples", "trained"), ("num_validation", "validated")
        for (name, what), now in zip(names, sizes, strict=True):
            if state[name] != now:
                raise FileError(
                    f"{path} was {what} on {state[name]} samples, but resume is given {now} for "
                    "it: go on with the same data and validation_split"
                )
        if state["scores"] != scores:
            raise FileError(
                f"{path} has recorded the metrics {state['scores']!r:.100}, but resume is given "
                f"{scores}: go on with the same metrics"
            )
        if epochs < state["epoch"]:
            raise FileError(
                f"{path} has done {state['epoch']} epochs already, and epochs={epochs} counts "
                "those: ask for more"
            )
        network = model.runner.network
        needed = {slot.name: tuple(slot.get().shape) for slot in network.trained}
        for name in optimizer.moments:
            self._check_arrays(f"optimizer/{name}", needed)
        self._check_chain("chain", network)
        scaling = state["scaling"]
        if not all(type(n) is float for n in scaling) or len(scaling) not in (0, 2):
            raise FileError(f"{path}: its scaling cannot be {scaling!r:.100}")

    def _check_chain(self, folder: str, network: Network) -> None:
        """Raise the error for arrays that cannot be those of the layers."""
        slots = (*network.parameters, *network.state)
        self._check_arrays(folder, {slot.name: tuple(slot.get().shape) for slot in slots})
        with files.blamed(self.path):
            arrays = self._folder(folder)
            for slot in slots:
                what = f"{folder + files.FOLDER + slot.name!r}"
                slot.layer.check_array(slot.attribute, arrays[slot.name], what)

    def _check_arrays(self, folder: str, needed: dict[str, tuple[int, ...]]) -> None:
        start = f"{self.path} does not fit this model"
        arrays = self._folder(folder)
        for name in sorted(arrays.keys() ^ needed.keys()):
            which = "missing" if name in needed else "not in the model"
            raise FileError(f"{start}: {folder + files.FOLDER + name!r} is {which}")
        for name, shape in needed.items():
            if arrays[name].shape != shape:
                raise FileError(
                    f"{start}: {folder + files.FOLDER + name!r} has shape {arrays[name].shape}, "
                    f"not {shape}"
                )
            with files.blamed(self.path):
                what = f"{folder + files.FOLDER + name!r}"
                check_numbers(arrays[name], what, "no NaN", infinite=True)

    def give_back(self, callbacks: Sequence[Callback], model: Sequential) -> None:
        """Give callbacks what they had."""
        saved = self.state["callbacks"]
        with files.blamed(self.path):
            for callback, number in _pairs(callbacks, saved):
                arrays = self._folder(f"callback/{number}")
                if isinstance(callback, EarlyStopping) and arrays:
                    self._check_chain(f"callback/{number}", model.runner.network)
                callback.set_state(saved[number][2], arrays)

    def give_to(self, training: Training) -> None:
        """Have a training go on from here; it was looked at before."""
        runner, optimizer, state = training.runner, training.optimizer, self.state
        training.set_arrays(self._folder("chain"))
        optimizer.state = [
            runner.packing.pack(self._folder(f"optimizer/{name}")) for name in optimizer.moments
        ]
        if runner.scaling and state["scaling"]:
            runner.scaling = runner.numbers(*state["scaling"])
        optimizer.steps, training.epoch = state["steps"], state["epoch"]
        training.epochs_before = state["epochs_before"]
        runner.epochs = training.epochs_before + training.epoch
        training.history = self.history
        if training.epoch == training.epochs:
            training.history.stopped = state["stopped"] or (
                f"all {training.epochs} epochs were done before: a larger epochs goes on"
            )

    def _folder(self, name: str) -> dict[str, np.ndarray]:
        start = name + files.FOLDER
        found = self.tensors.items()
        return {name[len(start) :]: a for name, a in found if name.startswith(start)}


@contextlib.contextmanager
def undone(callbacks: Sequence[Callback]) -> Iterator[None]:
    """Give callbacks the attributes back that they had, if something goes wrong."""
    before = [dict(vars(callback)) for callback in callbacks]
    try:
        yield
    except BaseException:
        for callback, attributes in zip(callbacks, before, strict=True):
            vars(callback).clear()
            vars(callback).update(attributes)
        raise


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
