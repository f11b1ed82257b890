"""Training a model over epochs: batches, validation, callbacks, checkpoints."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn import files
from npnn.arrays import Array
from npnn.callbacks import Callback, ProgressBar, TerminateOnNaN
from npnn.chain import Chain, check_inputs, parts
from npnn.errors import DivergedError
from npnn.history import History
from npnn.loss_layer import LossLayer, RMSLoss
from npnn.optimizer import Adam, Optimizer

if TYPE_CHECKING:
    from npnn.sequential import Sequential

VALIDATION_BATCH = 1024


def fit(
    model: Sequential,
    x: Any,
    t: Any = None,
    *,
    epochs: int = 10,
    batch_size: int = 32,
    validation_data: tuple[Any, Any] | None = None,
    validation_split: float = 0.0,
    loss: LossLayer | None = None,
    optimizer: Optimizer | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = False,
    resume: str | os.PathLike[str] | None = None,
) -> History:
    """Train a model and return what was recorded.

    Parameters
    ----------
    model : Sequential
        Changed in place.
    x : array_like or Dataset
        Raw inputs, of shape ``(samples, inputs)``; or a dataset, which brings its targets, its
        validation part, and its normalisation and class names if the model has none.
    t : array_like, optional
        Targets: of the shape of the outputs, or integer classes.
    epochs : int, default 10
        Passes over the data; when training is resumed, those done before count.
    batch_size : int, default 32
        Samples of one step; the last batch of an epoch may be smaller.
    validation_data : tuple of array_like, optional
        Inputs and targets that are not trained on.
    validation_split : float, default 0
        Share of the samples, drawn by `seed`, that is validated on instead of trained on.
    loss : LossLayer, optional
        Becomes the model's `chain`; by default that, or the canonical one of the last layer.
    optimizer : Optimizer, optional
        Adam with its defaults if None. One that was used before goes on from its moments.
    shuffle : bool, default True
        Whether each epoch has its own order.
    seed : int, optional
        Of the order, the split and the noise; the model's own seed if None.
    callbacks : sequence of Callback
        Called in this order.
    progress : bool, default False
        Whether to show a progress bar.
    resume : path_like, optional
        A file of the Checkpoint callback: go on from there, with the same numbers as if training
        had never stopped.

    Returns
    -------
    History
        ``loss``, ``accuracy`` and, with validation, ``val_loss``, ``val_accuracy``: a number for
        each epoch. After Ctrl-C it holds the epochs that were completed.

    Raises
    ------
    ValueError
        If shapes do not fit, data are empty or not finite (the message says where), or a number
        is out of range; nothing was changed then.
    npnn.DivergedError
        If the loss became NaN or infinite; the model holds the parameters from before that step.
    """
    for name, number in (("epochs", epochs), ("batch_size", batch_size)):
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
            raise TypeError(f"{name} must be an int, not {number!r}")
        if number < 1:
            raise ValueError(f"{name} must be at least 1, not {number}")
    if hasattr(x, "x_train_data"):
        dataset, x, t = x, x.x_train_data, x.y_train_data
        if validation_data is None:
            validation_data = (dataset.x_validation_data, dataset.y_validation_data)
        model.norm = dataset.norm if model.norm is None else model.norm
        model.class_names = model.class_names or dataset.class_names
    if t is None:
        raise ValueError("fit needs targets t beside the inputs x, or a dataset")
    if model.shape_in is None:
        check_inputs(model.backend.asarray(x), model)
    if seed is None:
        seed = model.seed
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
    if loss is not None:
        model.chain = loss
    elif model.chain is None:
        model.chain = default_loss(model)

    tensors: dict[str, np.ndarray] = {}
    state = None
    if resume is not None:
        _, tensors, state = files.read(resume)
        if state is None:
            raise ValueError(f"{resume} holds a model, but no training to resume")
        seed = int(state["seed"])
        optimizer = optimizer or Optimizer.from_config(state["optimizer"])
    chain = Chain(model)
    data = _prepare(chain, x, t, "the training data")
    validation = None
    if validation_data is not None:
        validation = _prepare(chain, *validation_data, "the validation data")
    elif validation_split:
        data, validation = _split(chain, data, validation_split, seed)

    callbacks = [*callbacks, ProgressBar()] if progress else list(callbacks)
    training = Training(chain, optimizer or Adam(), callbacks, epochs, batch_size, seed)
    if state is not None:
        training.restore(tensors, state, str(resume))
    training.run(data, validation, shuffle)
    return training.history


class Training:
    """One run of :func:`fit`, as the callbacks see it.

    Attributes
    ----------
    chain, model, optimizer, history
        What is being trained, by what, and what was recorded.
    epochs, batch_size, seed : int
        As given to fit.
    epoch, step : int
        Where training is, counted from 1.
    """

    def __init__(
        self,
        chain: Chain,
        optimizer: Optimizer,
        callbacks: Sequence[Callback],
        epochs: int,
        batch_size: int,
        seed: int,
    ) -> None:
        self.chain, self.model, self.optimizer = chain, chain.model, optimizer
        self.callbacks, self.epochs, self.batch_size = callbacks, epochs, batch_size
        self.seed, self.epoch, self.step = seed, 0, 0
        self.history = History()
        self._stopping = False
        self._started = time.perf_counter()
        self._later: list[Callable[[], None]] = []
        chain.attach(optimizer)

    def stop(self, reason: str) -> None:
        """End training after this epoch."""
        self._stopping = True
        self.history.stopped = reason

    def when_epoch_is_complete(self, action: Callable[[], None]) -> None:
        """Do `action` once every callback has seen the epoch and the history holds it."""
        self._later.append(action)

    def run(self, data: Data, validation: Data | None, shuffle: bool) -> None:
        """Do the epochs that are left."""
        self._started = time.perf_counter()
        self._call("on_train_begin")
        try:
            with _interruptions() as interrupted:
                while self.epoch < self.epochs and not self._stopping:
                    self._run_epoch(data, validation, shuffle, interrupted)
                    if interrupted():
                        self.history.interrupted = self._stopping = True
        finally:
            self.history.seconds += time.perf_counter() - self._started
            self._call("on_train_end")

    def _run_epoch(
        self, data: Data, validation: Data | None, shuffle: bool, interrupted: Callable[[], bool]
    ) -> None:
        before = self._snapshot()
        self.epoch += 1
        self._call("on_epoch_begin")
        batches = self._batches(len(data), shuffle)
        noise = np.random.default_rng([self.seed, self.epoch, 1])
        for loss in self.chain.losses:
            loss.reset()
        for self.step, index in enumerate(batches, start=1):
            self._train_batch(data, index, noise)
            self._call("on_batch_end")
            if interrupted():
                self.epoch -= 1
                return
        metrics = self.chain.metrics()
        if not (math.isfinite(metrics["loss"]) and self._parameters_are_finite()):
            self._go_back_to_last_good_step(before, data, batches)
            return
        if validation is not None:
            metrics |= {f"val_{name}": value for name, value in self.evaluate(validation).items()}
        self.history.append(metrics)
        self.history.samples += len(data)
        for callback in self.callbacks:
            callback.on_epoch_end(self, metrics)
        while self._later:
            self._later.pop(0)()

    def _train_batch(self, data: Data, index: Array, noise: np.random.Generator) -> None:
        self.chain.run_training(
            self.optimizer, data.arrays, {"index": index}, index.shape[0], noise
        )

    def _batches(self, num_samples: int, shuffle: bool) -> list[Array]:
        order = np.arange(num_samples)
        if shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(num_samples)
        asarray, size = self.chain.backend.asarray, self.batch_size
        return [
            asarray(order[start : start + size], keep_integers=True)
            for start in range(0, num_samples, size)
        ]

    def evaluate(self, data: Data) -> dict[str, float]:
        """Return the metrics over prepared data, without training on it."""
        for loss in self.chain.losses:
            loss.reset()
        for rows in parts(len(data), VALIDATION_BATCH):
            part = {key: array[rows, ...] for key, array in data.arrays.items()}
            self.chain.run_prediction({}, part, part["x"].shape[0])
        return self.chain.metrics()

    # A loss that is no number any more ---------------------------------------------------------

    def _parameters_are_finite(self) -> bool:
        # A sum is not finite if a term is not; one number comes to the host instead of all.
        xp = self.chain.backend.xp
        return all(math.isfinite(float(xp.sum(a))) for a in self.chain.packed)

    def _go_back_to_last_good_step(
        self, before: dict[str, Any], data: Data, batches: list[Array]
    ) -> None:
        """Repeat the epoch, looking at each step, and stop before the one that diverges."""
        self._return_to(before)
        self.epoch += 1
        noise = np.random.default_rng([self.seed, self.epoch, 1])
        for self.step, index in enumerate(batches, start=1):
            good = self._snapshot()
            for loss in self.chain.losses:
                loss.reset()
            self._train_batch(data, index, noise)
            value = self.chain.metrics()["loss"]
            if not (math.isfinite(value) and self._parameters_are_finite()):
                self._return_to(good)
                break
        error = DivergedError(value, self.epoch, self.step)
        self.epoch -= 1
        if not any(isinstance(callback, TerminateOnNaN) for callback in self.callbacks):
            raise error
        self.stop(str(error))

    def _snapshot(self) -> dict[str, Any]:
        copy, chain = self.chain.backend.copy, self.chain
        return {
            "parameters": [copy(a) for a in chain.packed],
            "moments": [[copy(a) for a in moment] for moment in self.optimizer.state],
            "state": [copy(a) for a in chain.state],
            "steps": self.optimizer.steps,
            "epoch": self.epoch,
        }

    def _return_to(self, snapshot: dict[str, Any]) -> None:
        store = self.chain.backend.store
        self.chain.set_packed(snapshot["parameters"], snapshot["state"])
        self.optimizer.state = [
            store(*pair) for pair in zip(self.optimizer.state, snapshot["moments"], strict=True)
        ]
        self.optimizer.steps, self.epoch = snapshot["steps"], snapshot["epoch"]

    # Files -------------------------------------------------------------------------------------

    def get_arrays(self) -> dict[str, np.ndarray]:
        """Return copies, on the host, of all parameters and states of the chain, by name."""
        return {name: np.array(self.chain.backend.to_numpy(a)) for name, a in self.chain.arrays()}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Put back what :meth:`get_arrays` gave."""
        self.chain.set_arrays(arrays)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint: a model file that also holds what :func:`fit` needs to go on."""
        arrays = {f"chain/{name}": array for name, array in self.get_arrays().items()}
        for name, packed in zip(self.optimizer.moments, self.optimizer.state, strict=True):
            for slot, array in self.chain.unpack(packed):
                arrays[f"optimizer/{name}/{slot}"] = np.array(self.chain.backend.to_numpy(array))
        for number, callback in enumerate(self.callbacks):
            for name, array in callback.get_arrays().items():
                arrays[f"callback/{number}/{name}"] = array
        extra = {
            "epoch": self.epoch,
            "seed": self.seed,
            "steps": self.optimizer.steps,
            "optimizer": self.optimizer.to_config(),
            "history": self.history,
            "samples": self.history.samples,
            "seconds": self.history.seconds + time.perf_counter() - self._started,
            "stopped": self.history.stopped,
            "callbacks": [[type(c).__name__, c.get_state()] for c in self.callbacks],
        }
        files.save(self.model, path, extra_arrays=arrays, extra=extra)

    def restore(self, tensors: dict[str, np.ndarray], extra: dict[str, Any], path: str) -> None:
        """Go on from what :meth:`save` wrote."""
        given = extra["optimizer"]["type"]
        if given != type(self.optimizer).__name__:
            raise ValueError(f"{path} was trained by {given}, not {type(self.optimizer).__name__}")
        try:
            self.set_arrays(_folder(tensors, "chain"))
            self.optimizer.state = [
                self.chain.pack(_folder(tensors, f"optimizer/{name}"))
                for name in self.optimizer.moments
            ]
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path} does not fit this model: {error}") from None
        self.optimizer.steps, self.epoch = extra["steps"], extra["epoch"]
        self.history = History(extra["history"])
        self.history.samples, self.history.seconds = extra["samples"], extra["seconds"]
        if extra["stopped"]:
            self.stop(extra["stopped"])
        for number, ((name, state), callback) in enumerate(
            zip(extra["callbacks"], self.callbacks, strict=False)
        ):
            if name == type(callback).__name__:
                callback.set_state(state, _folder(tensors, f"callback/{number}"))

    def _call(self, moment: str) -> None:
        for callback in self.callbacks:
            getattr(callback, moment)(self)


class Data:
    """Prepared inputs and targets on the model's device."""

    def __init__(self, x: Array, t: Array) -> None:
        self.arrays = {"x": x, "t": t}

    def __len__(self) -> int:
        return int(self.arrays["x"].shape[0])


def default_loss(model: Sequential) -> LossLayer:
    """Return a loss of the last layer's canonical kind; half the squared distance for the rest."""
    if model.shape_out is None:
        model.build_at(None)
    for kind in LossLayer.__subclasses__():
        if kind.canonical_activation is type(model.layers[-1]):
            return kind(model.shape_out)
    return RMSLoss(model.shape_out)


def _prepare(chain: Chain, x: Any, t: Any, name: str) -> Data:
    x, t = chain.prepare(x, t)
    xp = chain.backend.xp
    for array, what in ((x, "inputs"), (t, "targets")):
        if not bool(xp.all(xp.isfinite(array))):
            host = chain.backend.to_numpy(array)
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(host))[0])
            raise ValueError(
                f"{name}: {what} must be finite numbers, but there is a {host[place]} at sample "
                f"{place[0]}, position {place[1:]} (counted from 0)"
            )
    return Data(x, t)


def _split(chain: Chain, data: Data, share: float, seed: int) -> tuple[Data, Data]:
    count = round(share * len(data))
    if not 0 < count < len(data):
        raise ValueError(
            f"validation_split={share} of {len(data)} samples leaves none to train on or to "
            "validate on"
        )
    order = np.random.default_rng([seed, 0]).permutation(len(data))
    backend = chain.backend
    split = []
    for rows in (np.sort(order[count:]), np.sort(order[:count])):
        index = backend.asarray(rows, keep_integers=True)
        split.append(
            Data(*(backend.xp.take(array, index, axis=0) for array in data.arrays.values()))
        )
    return split[0], split[1]


def _folder(tensors: dict[str, np.ndarray], folder: str) -> dict[str, np.ndarray]:
    start = folder + files.FOLDER
    return {name[len(start) :]: a for name, a in tensors.items() if name.startswith(start)}


@contextlib.contextmanager
def _interruptions() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag that is looked at between steps; a second one is real."""
    seen = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if seen.is_set():
            raise KeyboardInterrupt
        seen.set()

    if threading.current_thread() is not threading.main_thread():
        yield seen.is_set
        return
    previous = signal.signal(signal.SIGINT, note)
    try:
        yield seen.is_set
    finally:
        signal.signal(signal.SIGINT, previous)
