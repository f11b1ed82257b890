"""The callback that shows the curves while training goes on: in a terminal, notebook or window."""

from __future__ import annotations

import shutil
import sys
import time
from typing import IO, TYPE_CHECKING, Any

from npnn import checked
from npnn.callbacks.callback import Callback

if TYPE_CHECKING:
    from npnn.training import Training

PLACES = ("terminal", "notebook", "window")


class LivePlot(Callback):
    """Show loss and accuracy as they come.

    Parameters
    ----------
    where : {"terminal", "notebook", "window"}, optional
        A plot of characters, a figure below the cell that is replaced, or a window of matplotlib;
        by default the notebook where the program runs in one, else the terminal.
    seconds : float, default 0.5
        The least time between two pictures; the last is always shown.
    file : text file, optional
        What the terminal's plot is written to; the standard error if None. Where that is no
        terminal, only the last plot is.

    Raises
    ------
    ValueError
        If there is no such place.
    RuntimeError
        When training begins, if no window can be opened here.
    npnn.MissingError
        When training begins, if what draws there is not installed.

    Examples
    --------
    >>> import npnn
    >>> live = npnn.callbacks.LivePlot("terminal", seconds=1)
    """

    def __init__(
        self, where: str | None = None, *, seconds: float = 0.5, file: IO[str] | None = None
    ) -> None:
        if where not in (None, *PLACES):
            raise ValueError(f"where must be one of {', '.join(PLACES)}, or None, not {where!r}")
        self.where, self.file = where, file
        self.seconds = checked.not_negative(seconds, "seconds")
        self._last = -float("inf")

    def on_train_begin(self, training: Training) -> None:
        from npnn.plots import live

        where = self.where or ("notebook" if live.in_notebook() else "terminal")
        if where == "notebook":
            self.show: Any = live.Notebook()
        elif where == "window":
            self.show = live.Window()
        else:
            width = max(30, min(72, shutil.get_terminal_size().columns - 12))
            self.show = live.Terminal(sys.stderr if self.file is None else self.file, width)
        self._last = -float("inf")

    def on_epoch_end(self, training: Training, metrics: dict[str, float]) -> None:
        now = time.monotonic()
        if now - self._last >= self.seconds:
            self._show(training, False)
            self._last = time.monotonic()

    def on_train_end(self, training: Training) -> None:
        if training.history.num_epochs:
            self._show(training, True)
        del self.show

    def _show(self, training: Training, last: bool) -> None:
        self.show(training.history, training.epochs, last)
