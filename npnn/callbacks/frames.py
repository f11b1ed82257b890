"""The callback that draws a picture of the model now and then, while it learns."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from npnn import checked
from npnn.callbacks.callback import Callback

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from npnn.training import Training

INK = "#6B6B6B"


class Frames(Callback):
    """Keep pictures of the model as it learns: before the first epoch, and after some of them.

    Pictures are taken oftener at first, when most is learnt. All are of one size, with their axes
    in one place, and say their epoch.

    Parameters
    ----------
    x, t : array_like, optional
        Raw inputs and targets, of which the picture is made that
        :func:`npnn.plots.picture_of` finds for them; or a dataset, whose validation part it is.
    draw : callable, optional
        Instead of `x`: a function of the training that returns a figure, such as
        ``lambda training: plots.regression(training.model, x, t)``.
    frames : int, default 60
        The most pictures that are taken.

    Attributes
    ----------
    taken : list of tuple of int and bytes
        The epoch of each picture, 0 before the first, and its PNG file.

    Raises
    ------
    TypeError
        If there are both `x` and `draw`, or neither.
    npnn.MissingError
        When training begins, if matplotlib is not installed.

    Examples
    --------
    >>> import npnn
    >>> data = npnn.datasets.NoisyLinear(seed=0)
    >>> frames = npnn.callbacks.Frames(data, frames=3)
    >>> _ = npnn.Sequential([npnn.Dense(1, 1)]).fit(data, epochs=8, callbacks=[frames])
    >>> [epoch for epoch, _ in frames.taken]
    [0, 2, 8]
    """

    dpi = 90

    def __init__(
        self,
        x: Any = None,
        t: Any = None,
        *,
        draw: Callable[[Training], Figure] | None = None,
        frames: int = 60,
    ) -> None:
        if (x is None) == (draw is None):
            raise TypeError(f"{type(self).__name__}: give either x and t, or draw")
        if hasattr(x, "x_validation_data"):
            x, t = x.x_validation_data, x.y_validation_data
        elif x is not None and t is None:
            raise TypeError(f"{type(self).__name__}: x needs its targets t, or give a dataset")
        self.x, self.t = x, t
        self.draw = draw if draw is None else checked.function(draw, "draw", ("training",))
        self.frames = checked.integer(frames, "frames", 2)
        self.taken: list[tuple[int, bytes]] = []
        self._places: list[Any] = []
        self._due: set[int] = set()

    def on_train_begin(self, training: Training) -> None:
        self.taken, self._places = [], []
        self._due = moments(training.epochs - training.epoch, self.frames)
        self._due = {training.epoch + epoch for epoch in self._due}
        self.take(training)

    def on_epoch_end(self, training: Training, metrics: dict[str, float]) -> None:
        if training.epoch in self._due:
            self.take(training)

    def on_train_end(self, training: Training) -> None:
        if self.taken[-1][0] != training.epoch:  # it ended before it was to
            self.take(training)

    def take(self, training: Training) -> None:
        """Draw a picture, and keep it."""
        from npnn import plots
        from npnn.plots.style import leave_room

        if self.draw is None:
            figure = plots.picture_of(training.model, self.x, self.t)
        else:
            figure = self.draw(training)
            leave_room(figure)
        plots.hold_still(figure, self._places)
        caption = f"epoch {training.epoch}" if training.epoch else "before training"
        figure.text(0.985, 0.012, caption, ha="right", va="bottom", fontsize=10, color=INK)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=self.dpi)
        self.taken.append((training.epoch, file.getvalue()))


def moments(epochs: int, frames: int) -> set[int]:
    """Return the epochs after which a picture is taken, beside the one before the first."""
    count = frames - 1
    return {math.ceil(epochs * (k / count) ** 2) for k in range(1, count + 1)}
