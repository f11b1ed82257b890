"""What training recorded: a number for each metric and epoch."""

from __future__ import annotations

import csv
import io
import math
import os
from typing import TYPE_CHECKING, Any

from npnn import words
from npnn.io import counted, replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class History(dict[str, list[float]]):
    """Metrics by name, each a list with one number for each epoch.

    Attributes
    ----------
    interrupted : bool
        Whether training was stopped by Ctrl-C.
    stopped : str or None
        Why training ended early: what a callback said; or, where a resumed training had nothing
        left to do, that.
    seconds : float
        Time spent in training, validation included.
    samples : int
        Training samples seen.
    """

    def __init__(self, columns: dict[str, list[float]] | None = None) -> None:
        super().__init__({name: list(values) for name, values in (columns or {}).items()})
        self.interrupted = False
        self.stopped: str | None = None
        self.seconds = 0.0
        self.samples = 0

    def __missing__(self, name: str) -> list[float]:
        hint = f"there are {', '.join(self) or 'none yet'}"
        if name.startswith("val_") and name.removeprefix("val_") in self:
            hint = "give fit validation_data or validation_split"
        elif words.closest(name, self):
            hint = f"did you mean {words.closest(name, self)!r}? {hint}"
        raise KeyError(f"no {name!r} was recorded: {hint}")

    def __getattr__(self, name: str) -> Any:
        hint = ": it is a dict itself, history['loss']" if name in (*self, "history") else ""
        raise AttributeError(f"History has no attribute {name!r}{hint}")

    @property
    def num_epochs(self) -> int:
        """The number of epochs recorded."""
        return len(self.get("loss", []))

    @property
    def samples_per_second(self) -> float:
        """Training samples seen in a second."""
        return self.samples / self.seconds if self.seconds else 0.0

    def append(self, metrics: dict[str, float]) -> None:
        """Record the metrics of one more epoch; NaN stands where one was not measured."""
        epochs = self.num_epochs
        for name in {**self, **metrics}:
            self.setdefault(name, [math.nan] * epochs).append(metrics.get(name, math.nan))

    def last(self) -> dict[str, float]:
        """Return the metrics of the last epoch."""
        return {name: values[-1] for name, values in self.items() if values}

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one line for each epoch, the metrics as columns."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["epoch", *self])
        for number, row in enumerate(zip(*self.values(), strict=True), start=1):
            writer.writerow([number, *row])
        with replacing(path) as file:
            file.write(text.getvalue().encode())

    def plot(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """Draw the curves of loss and accuracy, as :func:`npnn.plots.curves` does."""
        from npnn.plots import curves

        if path is not None and os.path.splitext(path)[1].lower() != ".png":
            raise ValueError(f"path must end in .png, the format it is written in, not {path!r}")
        return curves(self, path)

    def _repr_html_(self) -> str:
        """Return the last metrics, and the curves where matplotlib is there, for a notebook."""
        from npnn.plots.shown import history_html

        return history_html(self)

    def __repr__(self) -> str:
        last = ", ".join(f"{name}={value:.4g}" for name, value in self.last().items())
        stopped = f"; stopped: {self.stopped}" if self.stopped else ""
        return f"<History: {counted(self.num_epochs, 'epoch')}, {last}{stopped}>"
