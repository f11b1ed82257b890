"""The callbacks that leave a film of a training, or a page that reports on it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from npnn import checked
from npnn.callbacks.frames import Frames
from npnn.io import check_place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from npnn.training import Training


class Film(Frames):
    """Write a film of the model as it learns: a boundary, a curve, or whatever is drawn.

    Parameters
    ----------
    path : path_like
        A ``.gif``; or an ``.mp4``, for which ffmpeg is needed.
    x, t, draw, frames
        Those of :class:`Frames`.
    seconds : float, default 6
        How long the film is; it stands still for another two.

    Raises
    ------
    ValueError
        If the path ends in something else.
    npnn.MissingError
        If there is no ffmpeg for an ``.mp4``, or, when training begins, no matplotlib.

    Examples
    --------
    >>> import npnn
    >>> data = npnn.datasets.XORTwoClasses(seed=0)
    >>> film = npnn.callbacks.Film("xor.gif", data, frames=30)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        x: Any = None,
        t: Any = None,
        *,
        draw: Callable[[Training], Figure] | None = None,
        frames: int = 60,
        seconds: float = 6.0,
    ) -> None:
        super().__init__(x, t, draw=draw, frames=frames)
        self.path = _path_in(path, ".gif", ".mp4")
        self.seconds = checked.positive(seconds, "seconds")

    def on_train_begin(self, training: Training) -> None:
        from npnn.plots.film import check_writer

        check_place(self.path)
        check_writer(self.path)
        super().on_train_begin(training)

    def on_train_end(self, training: Training) -> None:
        from npnn.plots.film import write

        super().on_train_end(training)
        write(self.path, [png for _, png in self.taken], self.seconds)


class Report(Frames):
    """Write a page that reports on the training, and opens in any browser, without a network.

    It holds the configuration, the curves, what was taken for what, the worst mistakes, and the
    pictures of :class:`Frames` under a slider. As the last of the callbacks, it reports on the
    weights that the others leave.

    Parameters
    ----------
    path : path_like
        An ``.html`` file.
    x, t : array_like
        Raw inputs and targets that were not trained on; or a dataset, whose validation part it is.
    draw, frames
        Those of :class:`Frames`, which here may go beside `x`.
    title : str, default "Training report"
        The heading.
    image_shape : tuple of int, optional
        Height and width, where inputs are images that lie flat.
    feature_names : sequence of str, optional
        What the columns of `x` are called; by default what the model or the dataset knows.

    Examples
    --------
    >>> import npnn
    >>> data = npnn.datasets.Digits(seed=0)
    >>> report = npnn.callbacks.Report("digits.html", data, image_shape=(8, 8))
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        x: Any,
        t: Any = None,
        *,
        draw: Callable[[Training], Figure] | None = None,
        frames: int = 30,
        title: str = "Training report",
        image_shape: tuple[int, int] | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(x, t, frames=frames)
        self.draw = draw if draw is None else checked.function(draw, "draw", ("training",))
        self.path, self.title = _path_in(path, ".html", ".htm"), title
        self.image_shape = None if image_shape is None else checked.pair(image_shape, "image_shape")
        names = getattr(x, "feature_names", None) if feature_names is None else feature_names
        self.feature_names = None if names is None else list(names)

    def on_train_begin(self, training: Training) -> None:
        check_place(self.path)
        super().on_train_begin(training)

    def on_train_end(self, training: Training) -> None:
        from npnn import plots

        super().on_train_end(training)
        plots.report(
            self.path,
            training.model,
            training.history,
            self.x,
            self.t,
            frames=self.taken,
            title=self.title,
            settings={
                "optimizer": repr(training.optimizer),
                "batch size": training.batch_size,
                "epochs": f"{training.epoch} of {training.epochs}",
                "samples": f"{training.num_samples:,} trained on, "
                f"{training.num_validation:,} validated on",
                "seed": training.seed,
            },
            image_shape=self.image_shape,
            feature_names=self.feature_names,
        )


def _path_in(path: str | os.PathLike[str], *endings: str) -> str:
    """Return a path, if its ending says what will be written."""
    found = checked.path(path, "path")
    if not found.lower().endswith(endings):
        raise ValueError(f"path must end in {' or '.join(endings)}, not {found!r}")
    return found
