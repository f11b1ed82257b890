"""What ``npnn train`` shows of how it was learnt: a film, and a page that reports on it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npnn import plots
from npnn.callbacks import Film, Frames

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    import npnn
    from npnn.datasets import Dataset
    from npnn.history import History
    from npnn.training import Training

REPORT, FRAMES = "report.html", 40
IMAGES = {"digits": (8, 8), "mnist": (28, 28), "fashion-mnist": (28, 28)}
FILMS = {"gif": "film.gif", "mp4": "film.mp4"}


def add_shown_options(add: Any) -> None:
    """Add the options of a film and of a report."""
    add(
        "--film",
        nargs="?",
        const="gif",
        choices=FILMS,
        help="leave a film of how it is learnt, as a GIF or MP4 (gif)",
    )
    add("--report", action="store_true", help="leave report.html, a page to send to somebody")


class Shown:
    """The film and the report of a training.

    Parameters
    ----------
    options : Namespace
        Those of the command line.
    data : Dataset
        What is trained on; its validation part is what is shown.
    folder : Path
        Where the files go.
    """

    def __init__(self, options: argparse.Namespace, data: Dataset, folder: Path) -> None:
        self.data, self.folder = data, folder
        self.film = FILMS[options.film] if options.film else None
        self.report = bool(options.report)
        self.frames: Frames | None = None
        if self.film is not None:
            self.frames = Film(folder / self.film, draw=self.draw, frames=FRAMES)
        elif self.report:
            self.frames = Frames(draw=self.draw, frames=FRAMES)

    @property
    def callbacks(self) -> list[Frames]:
        """What takes the pictures, if anything is to."""
        return [] if self.frames is None else [self.frames]

    def draw(self, training: Training) -> Figure:
        """Draw what the model answers, in the units of the data."""
        return plots.picture_of(training.model, *self.parts)

    @property
    def parts(self) -> tuple[Any, Any]:
        """The inputs and the targets that are shown."""
        return self.data.x_validation_data, self.data.y_validation_data

    def write(
        self, model: npnn.Sequential, history: History, run: dict[str, Any]
    ) -> list[tuple[str, str]]:
        """Write the report, and return the names and files of what there is."""
        written = []
        if self.film is not None:
            written.append(("film", self.film))
        if self.report and self.frames is not None:
            keys = ("data", "optimizer", "alpha", "batch_size", "epochs", "seed")
            plots.report(
                self.folder / REPORT,
                model,
                history,
                *self.parts,
                frames=self.frames.taken,
                title=f"Training on {Path(run['data']).name}",
                settings={key.replace("_", " "): run[key] for key in keys},
                image_shape=IMAGES.get(run["data"]),
                feature_names=self.data.feature_names,
            )
            written.append(("report", REPORT))
        return written
