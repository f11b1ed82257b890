"""Training a model over epochs: batches, validation, callbacks, checkpoints."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn import batches, checked, checkpoints, doubts, interrupts, named, target_scale, words
from npnn.acceptance import check_inputs, raw_inputs
from npnn.arrays import Array
from npnn.batches import Data
from npnn.callbacks import AnyCallback, Callback, ProgressBar, TerminateOnNaN
from npnn.callbacks.asked import as_callbacks
from npnn.errors import DivergedError, FileError
from npnn.history import History
from npnn.io import Place
from npnn.labels import check_names, class_names_of, columns_of
from npnn.layers.layer import Layer, Link
from npnn.losses import LossLayer, default_loss
from npnn.metrics import Measured, metric_names
from npnn.optimizers import Adam, Optimizer
from npnn.scores import Metric, Scores, scored
from npnn.trees import len_of
from npnn.values import quiet

if TYPE_CHECKING:
    from npnn.model import Sequential
    from npnn.runner import Runner

VALIDATION_BATCH = 1024


def fit(
    model: Sequential,
    x: Any,
    t: Any = None,
    *,
    w: Any = None,
    epochs: int = 10,
    batch_size: int = 32,
    validation_data: tuple[Any, Any] | None = None,
    validation_split: float = 0.0,
    loss: LossLayer | str | None = None,
    optimizer: Optimizer | str | None = None,
    metrics: Sequence[Metric] = (),
    shuffle: bool = True,
    seed: int | None = None,
    callbacks: Sequence[AnyCallback] = (),
    progress: bool = False,
    resume: Place | None = None,
) -> History:
    """Train a model: what :meth:`npnn.Sequential.fit` does, and where it is described."""
    checked.integer(epochs, "epochs", 1)
    if batch_size is None:
        raise TypeError("batch_size must be an int, not None: len(x) takes all samples at once")
    checked.integer(batch_size, "batch_size", 1)
    checked.seed(seed)
    shuffle, progress = checked.flag(shuffle, "shuffle"), checked.flag(progress, "progress")
    if resume is not None and not hasattr(resume, "read"):
        resume = checked.path(resume, "resume")
    if loss is not None and not (isinstance(loss, Link) and not loss.is_loss):
        kinds = (kind for kind in Layer.registry.values() if issubclass(kind, LossLayer))
        loss = named.called(loss, LossLayer, "loss", kinds, words.LOSSES)
    if optimizer is not None:
        optimizer = named.called(optimizer, Optimizer, "optimizer", Optimizer.registry.values())
    called = as_callbacks(callbacks)
    _check_validation(x, t, validation_data, validation_split)
    with model.runner.training(optimizer, loss) as locks:
        called = [*called, ProgressBar()] if progress else called
        with _undone(model), checkpoints.undone(called):
            with locks.step:
                training, data, validation, saved = _begun(
                    model, x, t, w, epochs, batch_size, validation_data, validation_split, loss,
                    optimizer, metrics, seed, called, resume,
                )  # fmt: skip
            with _fitting(model.runner):
                training.begin(saved)
        with model.runner.lasting(data.bound) as bound:
            if bound:
                data = Data(data.backend, bound)
            training.run(data, validation, shuffle)
    return training.history


def _begun(
    model: Sequential,
    x: Any,
    t: Any,
    w: Any,
    epochs: int,
    batch_size: int,
    validation_data: tuple[Any, Any] | None,
    validation_split: float,
    loss: LossLayer | None,
    optimizer: Optimizer | None,
    metrics: Sequence[Metric],
    seed: int | None,
    called: list[Callback],
    resume: Place | None,
) -> tuple[Training, Data, Data | None, checkpoints.Saved | None]:
    """Return a training that can begin, the data for it, and what it goes on from."""
    columns = None
    if hasattr(x, "x_train_data"):
        dataset, x, t = x, x.x_train_data, x.y_train_data
        columns = getattr(dataset, "columns", None)
        if validation_data is None:
            validation_data = (dataset.x_validation_data, dataset.y_validation_data)
        if model.norm is None and not model.takes_integers:
            model.norm = dataset.norm
        model.class_names = model.class_names or dataset.class_names
        if getattr(dataset, "schema", None) is not None:
            model.details["schema"] = dataset.schema.to_config()
    if t is None:
        raise ValueError("fit needs targets t beside the inputs x, or a dataset")
    columns = columns or columns_of(x)
    if columns is not None:
        model.details.setdefault("columns", columns)
    if model.shape_in is None:
        check_inputs(raw_inputs(model.backend, x, model), model)
    if loss is not None:
        model.chain = loss
    elif model.chain is None:
        model.chain = default_loss(model)
    last = model.runner.network.losses
    names = model.class_names or (class_names_of(t, last[-1]) if last else None)
    if last and names:
        check_names(names, last[-1].shape_in, "class_names" if model.class_names else "targets t")
        model.class_names = names

    saved = None
    if resume is not None:
        saved = checkpoints.Saved(resume)
        if seed not in (None, saved.seed):
            raise FileError(
                f"{saved.path} was trained with seed={saved.seed}, which training that goes on "
                f"cannot change to {seed}: leave seed out"
            )
        seed = saved.seed
        optimizer = optimizer or saved.optimizer()
    # Without a seed of its own, a training goes on in the order where the last one ended.
    epochs_before = model.runner.epochs if seed is None else 0
    if seed is None:
        seed = model.seed
    if seed is None:
        seed = np.random.SeedSequence().generate_state(1)[0]
    seed = int(seed)  # a checkpoint takes no numbers of NumPy's
    side = model.runner.side()
    data = batches.prepared(side.accept, x, t, w, "the training data", training=True)
    validation = None
    if validation_data is not None:
        weights = validation_data[2] if len(validation_data) > 2 else None
        validation = batches.prepared(
            side.accept, *validation_data[:2], weights, "the validation data"
        )
    elif validation_split:
        data, validation = batches.split(data, validation_split, seed)
    if "t" in data.arrays:
        with data.backend.current():
            target_scale.find(model, data, validation)
            model.runner.tell(doubts.of_targets(model.runner.network, data.arrays["t"]))
            for each in side.network.losses:
                each.look_at(data.arrays["t"])

    sizes = len(data), 0 if validation is None else len(validation)
    scores, optimizer = Scores(metrics, model.runner.network), optimizer or Adam()
    if saved is not None:
        saved.check(model, optimizer, epochs, sizes, scores.names)
        saved.give_back(called, model)
    training = Training(model, optimizer, called, epochs, batch_size, seed, sizes, scores)
    training.remark, training.epochs_before = data.remark, epochs_before
    return training, data, validation, saved


@contextlib.contextmanager
def _fitting(runner: Runner) -> Iterator[None]:
    """Have nothing changed meanwhile that the data were made for."""
    before, runner.is_fitting = runner.is_fitting, True  # a callback may train the model, too
    try:
        yield
    finally:
        runner.is_fitting = before


@contextlib.contextmanager
def _undone(model: Sequential) -> Iterator[None]:
    """Give a model back what it had, if something goes wrong before it is trained."""
    before = model.norm, model.class_names, model.chain, dict(model.details), model.target_norm
    try:
        yield
    except BaseException:
        model.norm, model.class_names, model.chain, model.details, model.target_norm = before
        raise


class Training:
    """One run of :func:`fit`, as the callbacks see it.

    Attributes
    ----------
    runner, model, optimizer, history
        What is being trained, by what, and what was recorded.
    epochs, batch_size, seed : int
        As given to fit.
    epoch, step : int
        Where training is, counted from 1.
    epochs_before : int
        Epochs that the model was trained for before; order and noise go on from there.
    num_samples, num_validation : int
        Samples that are trained on, and validated on.
    metric_names : list of str
        What each epoch reports, the callbacks' own metrics included.
    functions : list of str
        Those of them that are functions of a person's own.
    remark : str
        What a person should know of how it is done; often empty.
    """

    def __init__(
        self,
        model: Sequential,
        optimizer: Optimizer,
        callbacks: Sequence[Callback],
        epochs: int,
        batch_size: int,
        seed: int,
        sizes: tuple[int, int],
        scores: Scores,
    ) -> None:
        self.runner: Runner = model.runner
        self.model, self.optimizer = model, optimizer
        self.callbacks, self.epochs, self.batch_size = callbacks, epochs, batch_size
        self.seed, self.epochs_before, self.epoch, self.step = seed, 0, 0, 0
        self.num_samples, self.num_validation = sizes
        self.scores, self.functions = scores, scores.functions
        own = metric_names(self.runner.network.losses) + scores.names
        self.metric_names = own + [f"val_{name}" for name in own if self.num_validation]
        self.metric_names += [name for callback in callbacks for name in callback.metric_names]
        self.history = History()
        self._stopping = False
        self.remark = ""
        self._started = time.perf_counter()
        self._later: list[Callable[[], None]] = []
        self._locks = self.runner.locks()
        self._losses = self.runner.attach(optimizer).network.losses  # that measured the last batch

    def stop(self, reason: str) -> None:
        """End training after this epoch.

        A checkpoint does not keep it: in a training that is resumed each callback decides anew.
        """
        self._stopping = True
        self.history.stopped = reason

    def when_epoch_is_complete(self, action: Callable[[], None]) -> None:
        """Do `action` once every callback has seen the epoch and the history holds it."""
        self._later.append(action)

    def begin(self, saved: checkpoints.Saved | None) -> None:
        """Go on from what was saved, and tell the callbacks; or change nothing."""
        if saved is None:
            self.call("on_train_begin")
            return
        before, epochs = self._snapshot(), self.runner.epochs
        try:
            with self._locks.step:
                saved.give_to(self)
            self.call("on_train_begin")
        except BaseException:
            self._return_to(before)
            self.runner.epochs = epochs
            raise

    def run(self, data: Data, validation: Data | None, shuffle: bool) -> None:
        """Do the epochs that are left."""
        self._started = time.perf_counter()
        try:
            with _fitting(self.runner), interrupts.noted() as interrupted:
                while self.epoch < self.epochs and not self._stopping:
                    self._run_epoch(data, validation, shuffle, interrupted)
                    if interrupted():
                        self.history.interrupted = self._stopping = True
        finally:
            self.history.seconds += time.perf_counter() - self._started
            self.call("on_train_end")

    def _run_epoch(
        self, data: Data, validation: Data | None, shuffle: bool, interrupted: Callable[[], bool]
    ) -> None:
        before = self._snapshot()
        self.epoch += 1
        self.call("on_epoch_begin")
        self._locks = self.runner.locks()
        number = self.epochs_before + self.epoch
        indices = data.split(batches.order(self.seed, number, len(data), shuffle), self.batch_size)
        noise = np.random.default_rng([self.seed, number, 1])
        self._reset()
        with self._quiet():
            for self.step, inputs in enumerate(data.batches(indices), start=1):
                self._train_batch(data, inputs, noise)
                self.call("on_batch_end")
                if interrupted():
                    self.epoch -= 1
                    return
            with self._locks.step:
                measured = [self.runner.measured(self._losses)]
                if validation is not None:
                    measured.append(self._measure(validation))
            is_good, (metrics, *found) = self._read(*measured)
            if not is_good:
                self._go_back_to_last_good_step(metrics["loss"], before, data, indices)
                return
            metrics |= self._scored(data)
            for validated in found:
                validated |= self._scored(validation)
                metrics |= {f"val_{name}": value for name, value in validated.items()}
        self.runner.epochs = number
        self.history.append(metrics)
        self.history.samples += len(data)
        for callback in self.callbacks:
            callback.on_epoch_end(self, metrics)
        while self._later:
            self._later.pop(0)()

    def _quiet(self) -> contextlib.AbstractContextManager[object]:
        # What NumPy would warn of in code of ours, DivergedError says better. Without capture the
        # warning comes from the layer that is to blame, which is what such a run is made to find.
        return quiet() if self.model.capture else contextlib.nullcontext()

    def _train_batch(
        self, data: Data, inputs: dict[str, Array], noise: np.random.Generator
    ) -> None:
        num_samples = len_of(inputs["index"] if "index" in inputs else inputs["x"])
        with self._locks.step:
            ready = self.runner.attach(self.optimizer)
            self._losses = ready.network.losses
            ready(self.optimizer, data.bound, inputs, num_samples, noise)

    def _reset(self) -> None:
        with self._locks.step:
            for loss in self.runner.network.losses:
                loss.reset()

    def _measure(self, data: Data) -> Measured:
        """Return the metrics over prepared data, without training on it or waiting for them."""
        if not self.runner.network.losses:
            self.runner.network.check_trains()
        self._reset()
        for part in data.rows(VALIDATION_BATCH):
            self.runner.run_prediction({}, part, len_of(part["x"]))
        return self.runner.measured()

    def _scored(self, data: Data | None) -> dict[str, float]:
        """Return what else was asked for, of the model as it is now."""
        if not self.scores or data is None:
            return {}
        outputs = []
        with self._locks.step:
            for part in data.rows(VALIDATION_BATCH):
                y = self.runner.run_prediction({}, {"x": part["x"]}, len_of(part["x"]))
                outputs.append(self.runner.backend.to_numpy(y))
        return scored(self.scores, outputs, data.arrays, self.runner.backend)

    def _read(self, *measured: Measured) -> tuple[bool, list[dict[str, float]]]:
        """Return whether the loss and the parameters are finite, and metrics: one wait for all."""
        backend, packed = self.runner.backend, self.runner.packing.arrays
        with backend.current():
            # A sum is not finite if a term is not; one number comes to the host instead of all.
            sums = [backend.xp.sum(a) for a in packed]
        numbers = iter(backend.read([*sums, *(a for m in measured for a in m.sums)]))
        parameters = [next(numbers) for _ in sums]
        metrics = [m.metrics([next(numbers) for _ in m.sums]) for m in measured]
        return all(map(math.isfinite, [metrics[0]["loss"], *parameters])), metrics

    # A loss that is no number any more ---------------------------------------------------------

    def _go_back_to_last_good_step(
        self, loss: float, before: dict[str, Any], data: Data, indices: list[Array]
    ) -> None:
        """Repeat the epoch, looking at each step, and stop before the one that diverges."""
        self._return_to(before)
        self.epoch += 1
        noise = np.random.default_rng([self.seed, self.epochs_before + self.epoch, 1])
        for self.step, inputs in enumerate(data.batches(indices), start=1):
            good = self._snapshot()
            self._reset()
            self._train_batch(data, inputs, noise)
            is_good, (metrics,) = self._read(self.runner.measured(self._losses))
            if not is_good:
                loss = metrics["loss"]
                self._return_to(good)
                break
        else:  # a callback had changed something meanwhile
            self.step = 1
            self._return_to(before)
            self.epoch += 1
        error = DivergedError(loss, self.epoch, self.step)
        self.epoch -= 1
        if not any(isinstance(callback, TerminateOnNaN) for callback in self.callbacks):
            raise error
        self.stop(str(error))

    def _snapshot(self) -> dict[str, Any]:
        copy, runner = self.runner.backend.copy, self.runner
        with self._locks.step:
            runner.attach(self.optimizer)
            return {
                "parameters": [copy(a) for a in runner.packing.arrays],
                "moments": [[copy(a) for a in moment] for moment in self.optimizer.state],
                "state": [copy(a) for a in runner.state()],
                "scaling": [copy(a) for a in runner.scaling],
                "steps": self.optimizer.steps,
                "epoch": self.epoch,
            }

    def _return_to(self, snapshot: dict[str, Any]) -> None:
        store = self.runner.backend.store
        self.runner.set_packed(snapshot["parameters"], snapshot["state"])
        self.optimizer.state = [
            store(*pair) for pair in zip(self.optimizer.state, snapshot["moments"], strict=True)
        ]
        self.runner.scaling = store(self.runner.scaling, snapshot["scaling"])
        self.optimizer.steps, self.epoch = snapshot["steps"], snapshot["epoch"]

    # What a checkpoint holds -------------------------------------------------------------------

    def get_arrays(self) -> dict[str, np.ndarray]:
        """Return copies, on the host, of all parameters and states of the chain, by name."""
        to_numpy = self.runner.backend.to_numpy
        return {name: np.array(to_numpy(array)) for name, array in self.runner.arrays()}

    def set_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Put back what :meth:`get_arrays` gave."""
        self.runner.set_arrays(arrays)

    def check_saving(self) -> None:
        """Raise the error for a training that :meth:`save` cannot write to a file."""
        checkpoints.check(self)

    def save(self, path: Place) -> None:
        """Write a checkpoint: a model file that also holds what :func:`fit` needs to go on."""
        checkpoints.save(self, path)

    @property
    def elapsed(self) -> float:
        """The seconds that training took, until now."""
        return self.history.seconds + time.perf_counter() - self._started

    def call(self, moment: str) -> None:
        """Have each callback do what it does at a moment."""
        for callback in self.callbacks:
            getattr(callback, moment)(self)


def _check_validation(x: Any, t: Any, validation_data: Any, validation_split: Any) -> None:
    """Raise the error for arguments of which one would have to be dropped."""
    if validation_data is not None:
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
            raise TypeError(
                "validation_data must be a pair (x, t) of inputs and targets, or (x, t, w), not "
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


def _described(value: object) -> str:
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"an array of shape {tuple(shape)}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return checked.shown(value)
