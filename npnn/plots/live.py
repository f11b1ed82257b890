"""The places in which the curves of a training that goes on are shown."""

from __future__ import annotations

import sys
from typing import IO, Any

import numpy as np

from npnn.errors import extra
from npnn.history import History
from npnn.plots.training import curves, draw_curves, spans_decades

HEIGHT = 11


class Terminal:
    """Characters, each plot in the place of the one before it where it is a terminal.

    Parameters
    ----------
    file : text file
        Where to.
    width : int
        Characters of a line.
    """

    def __init__(self, file: IO[str], width: int) -> None:
        try:
            import uniplot  # noqa: F401
        except ImportError:
            raise extra("uniplot", "plot") from None
        self.file, self.width, self.lines = file, width, 0
        self.colour = bool(getattr(file, "isatty", lambda: False)())

    def __call__(self, history: History, epochs: int, last: bool) -> None:
        if not (self.colour or last):
            return
        text = text_plot(history, epochs, self.width, self.colour)
        back = f"\x1b[{self.lines}F\x1b[0J" if self.lines else ""
        self.file.write(f"{back}{text}\n")
        self.file.flush()
        self.lines = text.count("\n") + 1 if self.colour else 0


class Notebook:
    """A figure below the cell."""

    def __init__(self) -> None:
        try:
            from IPython.display import display
        except ImportError:
            raise extra("IPython", "notebook") from None
        self.display, self.handle = display, None

    def __call__(self, history: History, epochs: int, last: bool) -> None:
        figure = curves(history)
        if self.handle is None:
            self.handle = self.display(figure, display_id=True)
        else:
            self.handle.update(figure)


class Window:
    """A window of matplotlib's, which stays open at the end."""

    def __init__(self) -> None:
        try:
            from matplotlib import backends, pyplot
        except ImportError:
            raise extra("matplotlib", "plot") from None
        name = pyplot.get_backend()
        _, framework = backends.backend_registry.resolve_backend(name)
        if framework in (None, "headless"):
            raise RuntimeError(
                f"no window can be opened: matplotlib draws with {name!r}; use LivePlot('terminal')"
                ", or where there is a screen pip install pyqt6 and matplotlib.use('qtagg')"
            )
        self.pyplot, self.figure = pyplot, pyplot.figure(layout="constrained", figsize=(10, 3.7))
        pyplot.show(block=False)

    def __call__(self, history: History, epochs: int, last: bool) -> None:
        self.figure.clear()
        draw_curves(self.figure, history)
        self.figure.canvas.draw_idle()
        self.figure.canvas.flush_events()


def text_plot(history: History, epochs: int, width: int = 64, colour: bool = False) -> str:
    """Return the loss over the epochs in characters, and the metrics of the last one above it.

    Parameters
    ----------
    history : History
        Of at least one epoch.
    epochs : int
        How many there are to be.
    width : int, default 64
        Characters of a line, the numbers beside it not counted.
    colour : bool, default False
        Whether to write a terminal's codes for colours.
    """
    from uniplot import plot_to_string

    done = history.num_epochs
    names = [name for name in ("loss", "val_loss") if history.get(name)]
    lines = [np.asarray(history[name], float) for name in names]
    logarithmic = spans_decades(lines)
    points = [_between(line, width, logarithmic) for line in lines]
    shown = " ".join(f"{name} {value:.4g}" for name, value in history.last().items())
    text = plot_to_string(
        [y for _, y in points],
        [x for x, _ in points],
        width=width,
        height=HEIGHT,
        legend_labels=names,
        x_min=1,
        x_max=max(2, done),
        y_as_log=logarithmic,
        y_gridlines=[],
        x_gridlines=[],
        character_set="braille",
        color=["blue", "yellow"][: len(lines)] if colour else False,
    )
    return f"epoch {done} of {epochs}: {shown}\n{text}"


def _between(line: np.ndarray, width: int, logarithmic: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return epochs and values close enough to each other that they look like a line.

    Numba, where it is installed, would compile uniplot's own lines for seconds.
    """
    epochs = np.arange(1.0, len(line) + 1.0)
    each = max(1, -(-2 * width * 4 * HEIGHT // len(line)))  # a character has 2 x 4 dots
    x = np.union1d(epochs, np.linspace(1.0, len(line), each * len(line)))
    if not logarithmic:
        return x, np.interp(x, epochs, line)
    with np.errstate(divide="ignore", invalid="ignore"):
        return x, np.exp(np.interp(x, epochs, np.log(line)))


def in_notebook() -> bool:
    """Return whether the program runs in the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell: Any = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")
