"""The callbacks that watch, stop, save, and change the rate."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from npnn import checked
from npnn.guided import Guided
from npnn.io import check_place
from npnn.plain import field
from npnn.schedules import FunctionSchedule, Schedule, as_schedule, factor_of
from npnn.scores import large_is_good

if TYPE_CHECKING:
    from npnn.training import Training


class Callback(Guided):
    """Base of the callbacks; each method is called by :func:`npnn.training.fit` at its moment.

    A callback may be used again: :meth:`on_train_begin` forgets another training, where
    ``training.epoch`` is 0. One that must survive a checkpoint returns plain values from
    :meth:`get_state` and arrays from :meth:`get_arrays`, and takes both back in :meth:`set_state`.

    Attributes
    ----------
    metric_names : tuple of str
        What :meth:`on_epoch_end` adds to the metrics for the callbacks after it to watch.
    """

    metric_names: tuple[str, ...] = ()

    def __init__(self) -> None:
        """Take no arguments, where a subclass takes none."""

    def on_train_begin(self, training: Training) -> None:
        """Do something before the first epoch."""

    def on_epoch_begin(self, training: Training) -> None:
        """Do something before epoch ``training.epoch``, counted from 1."""

    def on_batch_end(self, training: Training) -> None:
        """Do something after step ``training.step`` of the epoch, counted from 1."""

    def on_epoch_end(self, training: Training, metrics: dict[str, float]) -> None:
        """Do something with the epoch's metrics; ``training.stop(reason)`` ends training."""

    def on_train_end(self, training: Training) -> None:
        """Do something after the last epoch, however training ended."""

    def get_state(self) -> dict[str, Any]:
        """Return the plain values to go on from."""
        return {}

    def get_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to go on from."""
        return {}

    def set_state(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Take back what :meth:`get_state` and :meth:`get_arrays` gave."""


AnyCallback: TypeAlias = "Callback | Callable[[Training, dict[str, float]], object]"
"""A callback, or a function of the training and the epoch's metrics."""


class FunctionCallback(Callback):
    """Call a function at the end of each epoch.

    Parameters
    ----------
    function : callable
        Of the training, and the epoch's metrics by name.
    """

    def __init__(self, function: Callable[[Training, dict[str, float]], object]) -> None:
        self.function = checked.function(function, "function", ("training", "metrics"))

    def on_epoch_end(self, training: Training, metrics: dict[str, float]) -> None:
        self.function(training, metrics)


class Monitor(Callback):
    """Base of the callbacks that watch one metric.

    Parameters
    ----------
    monitor : str, optional
        The metric, such as ``"val_f1"``; by default the validation loss, or the loss where
        nothing is validated.
    mode : str, optional
        ``"min"`` or ``"max"``; by default what is good of a metric that has a name here. A function
        needs it.
    """

    def __init__(self, monitor: str | None = None, mode: str | None = None) -> None:
        if mode is not None:
            checked.word(mode, "mode", ("min", "max"), " or None")
        if monitor is not None and not isinstance(monitor, str):
            raise TypeError(f"monitor must be the name of a metric, not {checked.shown(monitor)}")
        if monitor is not None and monitor.startswith("validation "):
            monitor = f"val_{monitor.removeprefix('validation ')}"
        self.monitor, self.mode = monitor, mode
        self.best = math.inf

    def on_train_begin(self, training: Training) -> None:
        """Look whether training will report the metric; what it was in another one is nothing."""
        self.check(training, type(self).__name__)
        if not training.epoch:
            self.best = math.inf

    def check(self, training: Training, who: str) -> None:
        """Raise the error for a metric that is not reported, or that is better who knows where."""
        self.check_name(training.metric_names, who)
        if self.mode is None and (self.monitor or "").removeprefix("val_") in training.functions:
            raise ValueError(
                f"{who} watches {self.monitor!r}, a function: say mode='max' if it is better when "
                "it is larger, else mode='min'"
            )

    def check_name(self, names: Iterable[str], who: str) -> None:
        """Raise the error for a metric that is not among `names`; `who` watches it."""
        if self.monitor is not None and self.monitor not in names:
            raise ValueError(
                f"{who} watches {self.monitor!r}, but training reports {', '.join(names)}"
            )

    def improved(self, metrics: dict[str, float], min_delta: float = 0.0) -> bool:
        """Return whether the metric is better than ever, and remember it if so."""
        value = self.cost(metrics)
        if value < self.best - min_delta:
            self.best = value
            return True
        return False

    def cost(self, metrics: dict[str, float]) -> float:
        """Return the metric, with its sign turned where more is better."""
        self.check_name(metrics, type(self).__name__)
        name = self.monitor or ("val_loss" if "val_loss" in metrics else "loss")
        mode = self.mode or ("max" if large_is_good(name) else "min")
        return -metrics[name] if mode == "max" else metrics[name]


class EarlyStopping(Monitor):
    """Stop when a metric has not improved for some epochs, and go back to the best weights.

    Parameters
    ----------
    patience : int, default 10
        Epochs without improvement that are waited for.
    monitor, mode : str, optional
        See :class:`Monitor`.
    min_delta : float, default 0
        Improvement that counts as one.
    restore_best : bool, default True
        Whether the model ends with the weights of its best epoch.
    """

    def __init__(
        self,
        patience: int = 10,
        monitor: str | None = None,
        mode: str | None = None,
        *,
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        super().__init__(monitor, mode)
        self.patience = checked.integer(patience, "patience", 1)
        self.min_delta = checked.not_negative(min_delta, "min_delta")
        self.restore_best = checked.flag(restore_best, "restore_best")
        self.waited = 0
        self.best_epoch = 0
        self.best_arrays: dict[str, np.ndarray] = {}

    def on_train_begin(self, training: Training) -> None:
        super().on_train_begin(training)
        if not training.epoch:
            self.waited, self.best_epoch, self.best_arrays = 0, 0, {}
        elif self.waited >= self.patience:
            self._stop(training)

    def on_epoch_end(self, training: Training, metrics: dict[str, float]) -> None:
        if self.improved(metrics, self.min_delta):
            self.waited, self.best_epoch = 0, training.epoch
            if self.restore_best:
                self.best_arrays = training.get_arrays()
            return
        self.waited += 1
        if self.waited >= self.patience:
            self._stop(training)

    def _stop(self, training: Training) -> None:
        epochs = "epoch" if self.waited == 1 else "epochs"
        training.stop(
            f"no improvement for {self.waited} {epochs}; best was epoch {self.best_epoch}"
        )

    def on_train_end(self, training: Training) -> None:
        if self.best_arrays:
            training.set_arrays(self.best_arrays)

    def get_state(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited, "best_epoch": self.best_epoch}

    def get_arrays(self) -> dict[str, np.ndarray]:
        return self.best_arrays

    def set_state(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        best = field(state, "best", float, int)
        waited = checked.integer(field(state, "waited", int), "waited", 0)
        best_epoch = checked.integer(field(state, "best_epoch", int), "best_epoch", 0)
        self.best, self.waited, self.best_epoch = best, waited, best_epoch
        self.best_arrays = arrays


class Checkpoint(Monitor):
    """Save what is needed to go on: ``fit(..., resume=path)``. The file is a model file too.

    Parameters
    ----------
    path : path_like
        Replaced, whole or not at all, each time.
    every : int, default 1
        Epochs between two saves.
    best_only : bool, default False
        Whether to save only when the metric is better than at any save before.
    monitor, mode : str, optional
        See :class:`Monitor`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every: int = 1,
        best_only: bool = False,
        monitor: str | None = None,
        mode: str | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        self.path, self.every = checked.path(path, "path"), checked.integer(every, "every", 1)
        if "{" in self.path:
            raise ValueError(
                "path must be that of one file, which each save writes anew, without anything to "
                f"be filled in: not {checked.shown(self.path)}"
            )
        self.best_only = checked.flag(best_only, "best_only")

    def on_train_begin(self, training: Training) -> None:
        super().on_train_begin(training)
        check_place(self.path)
        training.check_saving()

    def on_epoch_end(self, training: Training, metrics: dict[str, float]) -> None:
        if training.epoch % self.every == 0 and (not self.best_only or self.improved(metrics)):
            training.when_epoch_is_complete(lambda: training.save(self.path))

    def get_state(self) -> dict[str, Any]:
        return {"best": self.best}

    def set_state(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.best = field(state, "best", float, int)


class TerminateOnNaN(Callback):
    """End training quietly when the loss becomes NaN or infinite, instead of with an error.

    Either way the model is left as it was before the step that did it.
    """


class LearningRateSchedule(Callback):
    """Multiply the optimizer's alpha by a factor that depends on the epoch, or on a metric.

    Parameters
    ----------
    schedule : Schedule or callable
        Counts epochs, from 0.
    monitor, mode : str, optional
        The metric that a schedule such as ReduceOnPlateau watches; see :class:`Monitor`.
    """

    def __init__(
        self,
        schedule: Schedule | Callable[[int], float],
        monitor: str | None = None,
        mode: str | None = None,
    ) -> None:
        self.schedule = as_schedule(schedule, "schedule", "Cosine(100)")
        self.watch = Monitor(monitor, mode)

    @property
    def monitor(self) -> str | None:
        """The metric that the schedule watches."""
        return self.watch.monitor

    @monitor.setter
    def monitor(self, monitor: str | None) -> None:
        self.watch.monitor = monitor

    @property
    def mode(self) -> str | None:
        """Whether it is good when it is small, or large."""
        return self.watch.mode

    @mode.setter
    def mode(self, mode: str | None) -> None:
        self.watch.mode = mode

    def on_train_begin(self, training: Training) -> None:
        self.watch.check(training, type(self).__name__)
        if not training.epoch:
            self.schedule.forget()

    def on_epoch_begin(self, training: Training) -> None:
        factor = factor_of(self.schedule, training.epoch - 1)
        first = next(c for c in training.callbacks if isinstance(c, LearningRateSchedule))
        training.optimizer.factor = factor * (1.0 if first is self else training.optimizer.factor)

    def on_epoch_end(self, training: Training, metrics: dict[str, float]) -> None:
        self.schedule.observe(self.watch.cost(metrics))

    def on_train_end(self, training: Training) -> None:
        training.optimizer.factor = 1.0

    def get_state(self) -> dict[str, Any]:
        return self.schedule.to_config()

    def set_state(self, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        if not isinstance(self.schedule, FunctionSchedule):
            self.schedule = Schedule.from_config(state)


class ProgressBar(Callback):
    """A progress bar over the epochs, with the metrics behind it that its line has room for."""

    line = "{n_fmt}/{total_fmt} |{bar}| {elapsed}<{remaining}{postfix}"
    least = 4  # characters of the bar

    def on_train_begin(self, training: Training) -> None:
        from tqdm.auto import tqdm

        if training.remark:
            tqdm.write(training.remark, file=sys.stderr)
        self.bar = tqdm(total=training.epochs, initial=training.epoch, bar_format=self.line)

    def on_epoch_end(self, training: Training, metrics: dict[str, float]) -> None:
        width = self.bar.ncols
        room = width - self._taken() if isinstance(width, int) else math.inf  # a page has no end
        shown = ""
        for part in self._parts(metrics):
            if len(shown) + len(part) > room:
                break
            shown += part
        self.bar.set_postfix_str(shown.removeprefix(", "), refresh=False)
        self.bar.update()

    def _taken(self) -> int:
        """Return how many characters of the line are not for metrics."""
        said = {**self.bar.format_dict, "bar_format": self.line.replace("{bar}", "")}
        return self.least + len(self.bar.format_meter(**{**said, "postfix": None}))

    @staticmethod
    def _parts(metrics: dict[str, float]) -> Iterator[str]:
        """Yield each metric as it stands in the line, what is validated behind what is trained."""
        for name, value in metrics.items():
            if name.removeprefix("val_") == name or name.removeprefix("val_") not in metrics:
                yield f", {name} {value:#.4g}"
                if (validated := metrics.get(f"val_{name}")) is not None:
                    yield f" val {validated:#.4g}"

    def on_train_end(self, training: Training) -> None:
        self.bar.close()
        del self.bar
