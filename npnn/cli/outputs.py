"""The files that a training leaves in its folder, and those of an earlier one."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from npnn.callbacks import Callback
from npnn.cli.arguments import say_aside, sentence

if TYPE_CHECKING:
    from npnn.model import Sequential
    from npnn.training import Training

MODEL, CHECKPOINT, HISTORY = "model.safetensors", "checkpoint.safetensors", "history.csv"
PICTURES = (
    "curves.png",
    "confusion.png",
    "boundary.png",
    "regression.png",
    "predicted.png",
    "film.gif",
    "film.mp4",
    "report.html",
)


class SaveNowAndThen(Callback):
    """Save a checkpoint after the last epoch, and before that no oftener than each second.

    Parameters
    ----------
    path : path_like
        The checkpoint.
    seconds : float, default 1
        Time between two saves.
    """

    def __init__(self, path: str | os.PathLike[str], seconds: float = 1.0) -> None:
        self.path, self.seconds = path, seconds
        self.saved, self.failed = 0, False
        self.last = time.monotonic()

    def on_train_begin(self, training: Training) -> None:
        training.check_saving()

    def on_epoch_end(self, training: Training, metrics: dict[str, float]) -> None:
        done = training.epoch >= training.epochs
        if done or not self.saved or time.monotonic() - self.last >= self.seconds:
            training.when_epoch_is_complete(lambda: self._save(training))

    def _save(self, training: Training) -> None:
        self.last = time.monotonic()
        try:
            training.save(self.path)
            self.saved += 1
        except OSError as error:  # a full disk ends no training
            if not self.failed:
                say_aside(f"no checkpoint: {sentence(error)}")
            self.failed = True


def save_somewhere(model: Sequential, path: Path) -> Path:
    """Save a model, which may have taken hours, elsewhere if need be; return where."""
    try:
        model.save(path)
        return path
    except OSError as error:
        say_aside(f"cannot save to {path}: {sentence(error)}")
        for folder in (Path(tempfile.gettempdir()), Path.home(), Path.cwd()):
            other = folder / f"npnn-{os.getpid()}-{path.name}"
            try:
                model.save(other)
            except OSError:
                continue
            say_aside(f"the model is saved to {other}")
            return other
        raise


def check_writable(folder: Path) -> None:
    """Raise an OSError unless files can be written to the folder, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"argument --output: cannot write to {str(folder)!r}: {error.strerror}"
        ) from None


def check_outputs(folder: Path, data: str) -> None:
    """Raise a ValueError if a result would be written over the data."""
    for name in (MODEL, CHECKPOINT, HISTORY, *PICTURES):
        if (folder / name).exists() and os.path.exists(data) and (folder / name).samefile(data):
            raise ValueError(f"argument --output: the data, {data}, would be overwritten by {name}")


def earlier_outputs(folder: Path, resume: str | None) -> list[str]:
    """Return the results in the folder of a training that this one does not go on with."""
    mine = [file for file in (MODEL, CHECKPOINT) if (folder / file).exists()]
    goes_on = resume is not None and any(Path(resume).samefile(folder / file) for file in mine)
    # Without a model, a picture of that name is not known to be ours.
    if not mine or goes_on:
        return []
    return [file for file in (MODEL, CHECKPOINT, HISTORY, *PICTURES) if (folder / file).exists()]
