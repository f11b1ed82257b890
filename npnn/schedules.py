"""Learning-rate schedules: the factor that alpha is multiplied by, as time goes on.

A schedule is a function of a count from 0. Given to an optimizer it counts steps, one for each
batch; given to ``fit`` by way of :class:`npnn.callbacks.LearningRateSchedule` it counts epochs::

    steps_per_epoch = math.ceil(num_samples / batch_size)
    optimizer = Adam(schedule=Cosine(30 * steps_per_epoch))  # falls for 30 epochs
    callbacks = [LearningRateSchedule(Cosine(30))]  # the same, in 30 stairs
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from npnn import checked
from npnn.errors import FileError
from npnn.guided import Guided
from npnn.plain import Named, Reader, Writer, arguments, scalar

Rate: TypeAlias = "float | Callable[[int], float]"
"""A learning rate: a number, or a function that gives it for the number of steps taken."""


class Schedule(Named, Guided):
    """Base of the schedules: ``schedule(count)`` is the factor for alpha.

    In ``Adam(schedule=...)`` the counts are training steps, ``ceil(samples / batch_size)`` to an
    epoch; in ``LearningRateSchedule(...)`` they are epochs.
    """

    file_kind = "schedule"

    def __init__(self) -> None:
        """Take no arguments, where a subclass takes none."""

    def __call__(self, count: int) -> float:
        """Return the factor for the step (or epoch) number `count`, counted from 0."""
        raise NotImplementedError(f"{type(self).__name__} gives no factor")

    def observe(self, value: float) -> None:
        """Take in the loss that is watched; only schedules that react to it care."""

    def forget(self) -> None:
        """Forget what was observed: another training begins."""

    def to_config(self) -> dict[str, Any]:
        """Return the arguments, and what was learnt so far, as plain values."""
        return self._described(Writer())

    @staticmethod
    def from_config(config: dict[str, Any]) -> Schedule:
        """Return the schedule that :meth:`to_config` described."""
        schedule: Schedule = Reader().named("schedule", config)
        return schedule

    def _described(self, writer: Writer) -> dict[str, Any]:
        config = super()._described(writer)
        learnt = {name: value for name, value in vars(self).items() if name not in config}
        return {**config, **{name: scalar(value, name) for name, value in learnt.items()}}

    @classmethod
    def _restored(cls, config: dict[str, Any], reader: Reader) -> Any:
        known = {"type", *arguments(cls)}
        schedule = super()._restored({k: v for k, v in config.items() if k in known}, reader)
        for name, value in config.items():
            if name not in known:
                if type(vars(schedule).get(name)) is not type(value):
                    raise FileError(f"it has learnt no {name} such as {value!r:.100}")
                vars(schedule)[name] = value
        return schedule

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in vars(self).items())
        return f"{type(self).__name__}({arguments})"


class FunctionSchedule(Schedule):
    """What a function says.

    Parameters
    ----------
    function : callable
        Gives a number of at least 0 for a count.
    """

    def __init__(self, function: Callable[[int], float]) -> None:
        self.function = checked.function(function, "a schedule", ("count",))

    def __call__(self, count: int) -> float:
        return checked.not_negative(self.function(count), f"what a schedule gives for {count}")

    def _described(self, writer: Writer) -> dict[str, Any]:
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return {"type": self.registry.name_of(type(self)), "function": name}

    @classmethod
    def _restored(cls, config: dict[str, Any], reader: Reader) -> Any:
        raise FileError(
            f"a schedule of it is a function, {config.get('function')!s:.100}, which no file "
            "holds: give fit the optimizer with it again"
        )


def factor_of(schedule: Schedule, count: int) -> float:
    """Return what a schedule gives for a count, which must be a number of at least 0."""
    found = schedule(count)
    if type(found) is float and 0.0 <= found < math.inf:
        return found
    return checked.not_negative(found, f"what {schedule!r} gives for {count}")


def as_schedule(schedule: Any, name: str, example: str) -> Schedule:
    """Return a schedule as it is, and a function as one; `name` is the argument's."""
    if isinstance(schedule, (Schedule, type)) or not callable(schedule):
        checked.instance(schedule, Schedule, name, f"{example}, or a function of the count")
        return schedule  # type: ignore[no-any-return]
    return FunctionSchedule(schedule)


class ConstantRate(Schedule):
    """Always 1."""

    def __call__(self, count: int) -> float:
        return 1.0


class StepDecay(Schedule):
    r"""A fall by `factor` f every `every` N counts: :math:`f^{\lfloor n / N \rfloor}`.

    Parameters
    ----------
    every : int
        Counts between two falls: steps in an optimizer, where N epochs are
        ``N * ceil(samples / batch_size)``; epochs in a LearningRateSchedule.
    factor : float, default 0.1
        What each fall multiplies by.
    """

    def __init__(self, every: int, factor: float = 0.1) -> None:
        self.every = checked.integer(every, "every", 1)
        self.factor = checked.factor(factor, "factor")

    def __call__(self, count: int) -> float:
        return float(self.factor ** (count // self.every))


class ExponentialDecay(Schedule):
    r"""A steady fall: :math:`\mathrm{factor}^n`.

    Parameters
    ----------
    factor : float
        What each count multiplies by, above 0 and at most 1. A count is a step in an optimizer,
        where a factor of f for each epoch is ``f ** (1 / ceil(samples / batch_size))``; it is an
        epoch in a LearningRateSchedule.
    """

    def __init__(self, factor: float) -> None:
        self.factor = checked.factor(factor, "factor")

    def __call__(self, count: int) -> float:
        return float(self.factor**count)


class Cosine(Schedule):
    r"""A linear warm-up to 1, then half a cosine down to `final`.

    .. math::

        \frac{n + 1}{w} \quad (n < w), \qquad
        f + (1 - f) \, \tfrac{1}{2} \Big(1 + \cos \pi \frac{n - w}{N - w} \Big)
        = f + (1 - f) \sin^2 \Big( \frac{\pi}{2} \frac{N - n}{N - w} \Big)
        \quad (w \le n \le N)

    of which the second form keeps its digits to the end.

    Parameters
    ----------
    length : int
        N, the number of counts until `final` is reached; it stays there. Counts are steps in an
        optimizer, where N epochs are ``N * ceil(samples / batch_size)``, and epochs in a
        LearningRateSchedule.
    warm_up : int, default 0
        w, the counts of the warm-up, fewer than `length`.
    final : float, default 0
        f, the factor at the end.

    References
    ----------
    Loshchilov and Hutter 2017, "SGDR: stochastic gradient descent with warm restarts", eq. 5;
    Goyal et al. 2017 for the warm-up.
    """

    def __init__(self, length: int, warm_up: int = 0, final: float = 0.0) -> None:
        self.length = checked.integer(length, "length", 1)
        self.warm_up = checked.integer(warm_up, "warm_up")
        if not 0 <= self.warm_up < self.length:
            raise ValueError(f"warm_up must be at least 0 and below length={length}, not {warm_up}")
        self.final = checked.share(final, "final")

    def __call__(self, count: int) -> float:
        if count < self.warm_up:
            return (count + 1) / self.warm_up
        left = max(self.length - count, 0) / (self.length - self.warm_up)
        return self.final + (1.0 - self.final) * math.sin(0.5 * math.pi * left) ** 2


class ReduceOnPlateau(Schedule):
    """A fall by `factor` whenever the watched loss has not improved for `patience` observations.

    It observes an epoch at a time, and only in a LearningRateSchedule: an optimizer tells it
    nothing, so that ``Adam(schedule=ReduceOnPlateau())`` never falls.

    Parameters
    ----------
    factor : float, default 0.1
        What each fall multiplies by.
    patience : int, default 10
        Observations (epochs) without improvement that are waited for.
    threshold : float, default 1e-4
        Relative improvement that counts as one.
    smallest : float, default 0
        The factor never goes below this.
    """

    def __init__(
        self,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        smallest: float = 0.0,
    ) -> None:
        self.factor = checked.factor(factor, "factor")
        self.patience = checked.integer(patience, "patience", 1)
        self.threshold = checked.not_negative(threshold, "threshold")
        self.smallest = checked.share(smallest, "smallest")
        self.forget()

    def forget(self) -> None:
        self.best, self.waited, self.current = math.inf, 0, 1.0

    @classmethod
    def _restored(cls, config: dict[str, Any], reader: Reader) -> Any:
        schedule = super()._restored(config, reader)
        checked.share(schedule.current, "current")
        checked.integer(schedule.waited, "waited", 0)
        if math.isnan(schedule.best):
            raise FileError("the best loss that it has seen is no number")
        return schedule

    def observe(self, value: float) -> None:
        if value < self.best - self.threshold * abs(self.best if math.isfinite(self.best) else 0.0):
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.current = max(self.current * self.factor, self.smallest)
            self.waited = 0

    def __call__(self, count: int) -> float:
        return self.current
