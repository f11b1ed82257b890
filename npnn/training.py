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

from npnn import checked, files
from npnn.arrays import Array
from npnn.callbacks import Callback, ProgressBar, TerminateOnNaN
from npnn.chain import Chain, parts
from npnn.checks import as_array, check_inputs, quiet
from npnn.errors import DivergedError
from npnn.history import History
from npnn.loss_layer import LossLayer, RMSLoss
from npnn.metrics import Measured
from npnn.optimizer import Adam, Optimizer

if TYPE_CHECKING:
    from npnn.backends import Backend
    from npnn.sequential import Sequential

VALIDATION_BATCH = 1024
SHARE_OF_DATA = 0.5  # of the device's free memory; the rest is for a step


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
    """Train a model: what :meth:`npnn.Sequential.fit` does, and where it is described."""
    checked.integer(epochs, "epochs", 1)
    checked.integer(batch_size, "batch_size", 1)
    checked.seed(seed)
    if loss is not None and not isinstance(loss, type(model)):
        checked.instance(loss, LossLayer, "loss", "CrossEntropyLoss()")
    if optimizer is not None:
        checked.instance(optimizer, Optimizer, "optimizer", "Adam()")
    _check_callbacks(callbacks)
    _check_validation(x, t, validation_data, validation_split)
    before = model.norm, model.class_names, model.chain
    try:
        if hasattr(x, "x_train_data"):
            dataset, x, t = x, x.x_train_data, x.y_train_data
            if validation_data is None:
                validation_data = (dataset.x_validation_data, dataset.y_validation_data)
            model.norm = dataset.norm if model.norm is None else model.norm
            model.class_names = model.class_names or dataset.class_names
        if t is None:
            raise ValueError("fit needs targets t beside the inputs x, or a dataset")
        if model.shape_in is None:
            check_inputs(as_array(model.backend, x, "x"), model)
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
            if seed not in (None, state["seed"]):
                raise ValueError(
                    f"{resume} was trained with seed={state['seed']}, which training that goes on "
                    f"cannot change to {seed}: leave seed out"
                )
            seed = int(state["seed"])
            optimizer = optimizer or Optimizer.from_config(state["optimizer"])
        if seed is None:
            seed = model.seed
        if seed is None:
            seed = np.random.SeedSequence().generate_state(1)[0]
        seed = int(seed)  # a checkpoint takes no numbers of NumPy's
        chain = Chain(model)
        data = _prepare(chain, x, t, "the training data")
        validation = None
        if validation_data is not None:
            validation = _prepare(chain, *validation_data, "the validation data")
        elif validation_split:
            data, validation = _split(chain, data, validation_split, seed)

        callbacks = [*callbacks, ProgressBar()] if progress else list(callbacks)
        sizes = len(data), 0 if validation is None else len(validation)
        training = Training(chain, optimizer or Adam(), callbacks, epochs, batch_size, seed, sizes)
        training.remark = data.remark
        if state is not None:
            training.restore(tensors, state, str(resume))
    except BaseException:
        # Nothing is changed by a mistake.
        model.norm, model.class_names, model.chain = before
        raise
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
    num_samples, num_validation : int
        Samples that are trained on, and validated on.
    metric_names : list of str
        What each epoch reports, the callbacks' own metrics included.
    remark : str
        What a person should know of how it is done; often empty.
    """

    def __init__(
        self,
        chain: Chain,
        optimizer: Optimizer,
        callbacks: Sequence[Callback],
        epochs: int,
        batch_size: int,
        seed: int,
        sizes: tuple[int, int],
    ) -> None:
        self.chain, self.model, self.optimizer = chain, chain.model, optimizer
        self.callbacks, self.epochs, self.batch_size = callbacks, epochs, batch_size
        self.seed, self.epoch, self.step = seed, 0, 0
        self.num_samples, self.num_validation = sizes
        own = list(chain.metrics())
        self.metric_names = own + [f"val_{name}" for name in own if self.num_validation]
        self.metric_names += [name for callback in callbacks for name in callback.metric_names]
        self.history = History()
        self._stopping = False
        self.remark = ""
        self._started = time.perf_counter()
        self._later: list[Callable[[], None]] = []
        chain.attach(optimizer)

    def stop(self, reason: str) -> None:
        """End training after this epoch.

        A checkpoint does not keep it: in a training that is resumed each callback decides anew.
        """
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
        batches = data.split(self._order(len(data), shuffle), self.batch_size)
        noise = np.random.default_rng([self.seed, self.epoch, 1])
        for loss in self.chain.losses:
            loss.reset()
        with self._quiet():
            for self.step, inputs in enumerate(data.batches(batches), start=1):
                self._train_batch(data, inputs, noise)
                self._call("on_batch_end")
                if interrupted():
                    self.epoch -= 1
                    return
            measured = [self.chain.measured()]
            if validation is not None:
                measured.append(self._measure(validation))
            is_good, metrics, *found = self._read(*measured)
            if not is_good:
                self._go_back_to_last_good_step(before, data, batches)
                return
            for validated in found:
                metrics |= {f"val_{name}": value for name, value in validated.items()}
        self.history.append(metrics)
        self.history.samples += len(data)
        for callback in self.callbacks:
            callback.on_epoch_end(self, metrics)
        while self._later:
            self._later.pop(0)()

    def _quiet(self) -> contextlib.AbstractContextManager[Any]:
        # What NumPy would warn of in code of ours, DivergedError says better. Without capture the
        # warning comes from the layer that is to blame, which is what such a run is made to find.
        return quiet() if self.model.capture else contextlib.nullcontext()

    def _train_batch(
        self, data: Data, inputs: dict[str, Array], noise: np.random.Generator
    ) -> None:
        num_samples = next(iter(inputs.values())).shape[0]
        self.chain.run_training(self.optimizer, data.bound, inputs, num_samples, noise)

    def _order(self, num_samples: int, shuffle: bool) -> np.ndarray:
        if shuffle:
            return np.random.default_rng([self.seed, self.epoch]).permutation(num_samples)
        return np.arange(num_samples)

    def _measure(self, data: Data) -> Measured:
        """Return the metrics over prepared data, without training on it or waiting for them."""
        for loss in self.chain.losses:
            loss.reset()
        for part in data.parts(VALIDATION_BATCH):
            self.chain.run_prediction({}, part, part["x"].shape[0])
        return self.chain.measured()

    def _read(self, *measured: Measured) -> tuple[Any, ...]:
        """Return whether the loss and the parameters are finite, and metrics: one wait for all."""
        backend, packed = self.chain.backend, self.chain.packed
        with backend.current():
            # A sum is not finite if a term is not; one number comes to the host instead of all.
            sums = [backend.xp.sum(a) for a in packed]
        numbers = iter(backend.read([*sums, *(a for m in measured for a in m.sums)]))
        parameters = [next(numbers) for _ in sums]
        metrics = [m.metrics([next(numbers) for _ in m.sums]) for m in measured]
        return all(map(math.isfinite, [metrics[0]["loss"], *parameters])), *metrics

    # A loss that is no number any more ---------------------------------------------------------

    def _go_back_to_last_good_step(
        self, before: dict[str, Any], data: Data, batches: list[Array]
    ) -> None:
        """Repeat the epoch, looking at each step, and stop before the one that diverges."""
        self._return_to(before)
        self.epoch += 1
        noise = np.random.default_rng([self.seed, self.epoch, 1])
        for self.step, inputs in enumerate(data.batches(batches), start=1):
            good = self._snapshot()
            for loss in self.chain.losses:
                loss.reset()
            self._train_batch(data, inputs, noise)
            is_good, metrics = self._read(self.chain.measured())
            if not is_good:
                self._return_to(good)
                break
        error = DivergedError(metrics["loss"], self.epoch, self.step)
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
            "scaling": [copy(a) for a in chain.scaling],
            "steps": self.optimizer.steps,
            "epoch": self.epoch,
        }

    def _return_to(self, snapshot: dict[str, Any]) -> None:
        store = self.chain.backend.store
        self.chain.set_packed(snapshot["parameters"], snapshot["state"])
        self.optimizer.state = [
            store(*pair) for pair in zip(self.optimizer.state, snapshot["moments"], strict=True)
        ]
        self.chain.scaling = store(self.chain.scaling, snapshot["scaling"])
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
            "scaling": [float(a) for a in self.chain.scaling],
            "optimizer": self.optimizer.to_config(),
            "history": self.history,
            "samples": self.history.samples,
            "seconds": self.history.seconds + time.perf_counter() - self._started,
            "stopped": self.history.stopped,
            "num_samples": self.num_samples,
            "num_validation": self.num_validation,
            "callbacks": [[type(c).__name__, c.get_state()] for c in self.callbacks],
        }
        files.save(self.model, path, extra_arrays=arrays, extra=extra)

    def restore(self, tensors: dict[str, np.ndarray], extra: dict[str, Any], path: str) -> None:
        """Go on from what :meth:`save` wrote."""
        given = extra["optimizer"]["type"]
        if given != type(self.optimizer).__name__:
            raise ValueError(f"{path} was trained by {given}, not {type(self.optimizer).__name__}")
        for name, what in (("num_samples", "trained"), ("num_validation", "validated")):
            then, now = extra.get(name), getattr(self, name)
            if then not in (None, now):  # older files do not say
                raise ValueError(
                    f"{path} was {what} on {then} samples, but resume is given {now} for it: go on "
                    "with the same data and validation_split"
                )
        if self.epochs < extra["epoch"]:
            raise ValueError(
                f"{path} has done {extra['epoch']} epochs already, and epochs={self.epochs} counts "
                "those: ask for more"
            )
        try:
            self.set_arrays(_folder(tensors, "chain"))
            self.optimizer.state = [
                self.chain.pack(_folder(tensors, f"optimizer/{name}"))
                for name in self.optimizer.moments
            ]
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path} does not fit this model: {error}") from None
        if self.chain.scaling and extra.get("scaling"):
            self.chain.scaling = self.chain.numbers(*extra["scaling"])
        self.optimizer.steps, self.epoch = extra["steps"], extra["epoch"]
        self.history = History(extra["history"])
        self.history.samples, self.history.seconds = extra["samples"], extra["seconds"]
        if self.epoch == self.epochs:
            self.history.stopped = extra["stopped"] or (
                f"all {self.epochs} epochs were done before: a larger epochs goes on"
            )
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

    remark = ""

    def __init__(self, backend: Backend, x: Array, t: Array) -> None:
        self.backend = backend
        self.arrays = {"x": x, "t": t}

    def __len__(self) -> int:
        return int(self.arrays["x"].shape[0])

    @property
    def bound(self) -> dict[str, Array]:
        """What each step reads of the device, and finds there."""
        return self.arrays

    def split(self, order: np.ndarray, size: int) -> list[Array]:
        """Return the numbers of the samples of each batch."""
        return _cut(self.backend.asarray(order, keep_integers=True), size)  # one copy for all

    def batches(self, indices: list[Array]) -> Iterator[dict[str, Array]]:
        """Yield what each step is given."""
        return ({"index": index} for index in indices)

    def parts(self, size: int) -> Iterator[dict[str, Array]]:
        """Yield all samples, in order, so many at a time."""
        for rows in parts(len(self), size):
            yield {key: array[rows, ...] for key, array in self.arrays.items()}

    def chosen(self, rows: np.ndarray) -> Data:
        """Return some of the samples."""
        index = self.backend.asarray(rows, keep_integers=True)
        take = self.backend.xp.take
        return Data(self.backend, *(take(a, index, axis=0) for a in self.arrays.values()))


class StreamedData(Data):
    """Prepared inputs and targets that stay on the host: a step is given its batch."""

    def __init__(self, backend: Backend, x: np.ndarray, t: np.ndarray, remark: str) -> None:
        super().__init__(backend, x, t)
        self.remark = remark

    @property
    def bound(self) -> dict[str, Array]:
        """Nothing: a batch comes with each step."""
        return {}

    def split(self, order: np.ndarray, size: int) -> list[Array]:
        """Return the numbers of the samples of each batch, on the host."""
        return _cut(order, size)

    def batches(self, indices: list[Array]) -> Iterator[dict[str, Array]]:
        """Yield batches, while the next ones are on their way."""
        return self.backend.batches(self.arrays, indices)

    def parts(self, size: int) -> Iterator[dict[str, Array]]:
        """Yield all samples, in order, so many at a time."""
        return self.batches(_cut(np.arange(len(self)), size))

    def chosen(self, rows: np.ndarray) -> Data:
        """Return some of the samples."""
        x, t = (array[rows] for array in self.arrays.values())
        return StreamedData(self.backend, x, t, self.remark)


def _cut(order: Array, size: int) -> list[Array]:
    return [order[rows] for rows in parts(order.shape[0], size)]


def default_loss(model: Sequential) -> LossLayer:
    """Return a loss of the last layer's canonical kind; half the squared distance for the rest."""
    if model.shape_out is None:
        model.build_at(None)
    for kind in LossLayer.__subclasses__():
        if kind.canonical_activation is type(model.layers[-1]):
            return kind(model.shape_out)
    return RMSLoss(model.shape_out)


def _check_callbacks(callbacks: Any) -> None:
    if not isinstance(callbacks, (list, tuple)):
        hint = f": write [{type(callbacks).__name__}(...)]" * isinstance(callbacks, Callback)
        raise TypeError(f"callbacks must be a list of callbacks, not {callbacks!r}{hint}")
    for number, callback in enumerate(callbacks):
        checked.instance(callback, Callback, f"callbacks[{number}]", "EarlyStopping()")


def _check_validation(x: Any, t: Any, validation_data: Any, validation_split: Any) -> None:
    """Raise the error for arguments of which one would have to be dropped."""
    if validation_data is not None:
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
            raise TypeError(
                "validation_data must be a pair (x, t) of inputs and targets, not "
                f"{_described(validation_data)}"
            )
        if validation_split:
            raise ValueError("give either validation_data or validation_split, not both")
    checked.number(validation_split, "validation_split")
    if hasattr(x, "x_train_data"):
        if t is not None:
            raise ValueError(
                "a dataset brings its own targets: give fit either the dataset, or x and t"
            )
        if validation_split:
            raise ValueError(
                "a dataset brings its own validation part, so that validation_split cannot cut "
                "one: give the share to the dataset instead"
            )


def _described(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"an array of shape {tuple(shape)}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{value!r}"


def _prepare(chain: Chain, x: Any, t: Any, name: str) -> Data:
    """Return data on the device, or on the host if they would leave it too little memory."""
    backend = chain.backend
    free = backend.free_memory()
    size = 0 if free is None or backend.owns(x) else _nbytes(x, t, backend)
    if free is None or size <= SHARE_OF_DATA * free:
        return Data(backend, *chain.prepare(x, t, f"{name}: "))
    remark = (
        f"{name} ({size / 1e9:.1f} GB) stay in the host's memory and are streamed: the device has "
        f"{free / 1e9:.1f} GB free"
    )
    x, t = chain.prepare(x, t, f"{name}: ", backend.on_host())
    return StreamedData(backend, x, t, remark)


def _nbytes(x: Any, t: Any, backend: Backend) -> int:
    """Return how many bytes inputs and targets take on the device."""
    shapes = [getattr(a, "shape", None) or np.shape(a) for a in (x, t)]
    return sum(map(math.prod, shapes)) * np.dtype(backend.dtype_name).itemsize


def _split(chain: Chain, data: Data, share: float, seed: int) -> tuple[Data, Data]:
    count = round(share * len(data))
    if not 0 < count < len(data):
        raise ValueError(
            f"validation_split={share} of {len(data)} samples leaves none to train on or to "
            "validate on"
        )
    order = np.random.default_rng([seed, 0]).permutation(len(data))
    return data.chosen(np.sort(order[count:])), data.chosen(np.sort(order[:count]))


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
