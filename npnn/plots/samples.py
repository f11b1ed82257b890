"""Pictures of samples: images side by side, and codes in the plane."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.plots.style import (
    INK,
    PALETTE,
    QUIET,
    finish,
    marker_of,
    new_figure,
    one_panel,
    plain,
    set_title,
    set_title_and_legend,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def images(
    pictures: Any,
    titles: Sequence[str] | None = None,
    path: str | os.PathLike[str] | None = None,
    *,
    columns: int | None = None,
    heading: str | None = None,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Draw images side by side.

    Parameters
    ----------
    pictures : array_like, shape (samples, height, width) or (samples, height, width, channels)
        Of one channel, or of three.
    titles : sequence of str, optional
        What stands above each.
    path : path_like, optional
        The PNG file to write.
    columns : int, optional
        Images in a row; about a square of them by default.
    heading : str, optional
        What stands above all.
    limits : tuple of float, optional
        What is white and what is black; by default the smallest and the largest number there are.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If they are no images, or there is not a title for each.
    """
    pictures = np.asarray(pictures, dtype=np.float64)
    if pictures.ndim == 4 and pictures.shape[-1] == 1:
        pictures = pictures[..., 0]
    if pictures.ndim not in (3, 4) or not len(pictures) or pictures.shape[3:] not in ((), (3,)):
        raise ValueError(
            "pictures must have the shape (samples, height, width), with 1 or 3 channels perhaps, "
            f"not {pictures.shape}"
        )
    count = len(pictures)
    if titles is not None and len(titles) != count:
        raise ValueError(f"{len(titles)} titles do not go with {count} pictures")
    columns = columns or int(np.ceil(np.sqrt(1.6 * count)))
    rows = -(-count // columns)
    low, high = limits or (float(pictures.min()), float(pictures.max()))
    side, label = (0.9, 0.0) if titles is None else (1.2, 0.4)
    figure = new_figure(columns * side, rows * (side + label) + (0.35 if heading else 0.0))
    for number, picture in enumerate(pictures):
        axes = figure.add_subplot(rows, columns, number + 1)
        if picture.ndim == 3:
            picture = np.clip((picture - low) / ((high - low) or 1.0), 0.0, 1.0)
        axes.imshow(picture, cmap="gray_r", vmin=low, vmax=high, interpolation="nearest")
        axes.set_axis_off()
        if titles is not None:
            axes.set_title(titles[number], fontsize=8, color=INK, pad=3)
    if heading:
        figure.suptitle(heading, x=0.02, ha="left", fontsize=11, fontweight="bold", color=INK)
    return finish(figure, path)


def codes(
    points: Any,
    classes: Any = None,
    path: str | os.PathLike[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> Figure:
    """Draw where an encoder puts samples: their codes in the plane, coloured by class.

    Codes of more than two numbers are seen along the two directions in which they spread the most.

    Parameters
    ----------
    points : array_like, shape (samples, numbers)
        The codes, such as what ``encoder.predict(x)`` gives; at least two numbers each.
    classes : array_like of int, shape (samples,), optional
        What they are codes of.
    path : path_like, optional
        The PNG file to write.
    class_names : sequence of str, optional
        By default the classes' numbers.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the codes have another shape, or there are as many classes not.
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] < 2 or not len(points):
        raise ValueError(f"points must have the shape (samples, 2 or more), not {points.shape}")
    c = np.zeros(len(points), np.int64) if classes is None else np.asarray(classes, np.int64)
    if c.shape != (len(points),):
        raise ValueError(f"{len(points)} codes do not go with classes of shape {c.shape}")
    num, wide = int(c.max()) + 1, points.shape[1] > 2
    if wide:
        points = _most_spread(points)
    figure, axes = one_panel(5.4, 5.2)
    for i in range(num):
        label = str(i) if class_names is None else str(class_names[i])
        x, y = points[c == i].T
        colour, marker = PALETTE[i % len(PALETTE)], marker_of(i)
        axes.scatter(x, y, s=20, marker=marker, color=colour, linewidths=0, alpha=0.8, label=label)
    names = ("first", "second")
    plain(axes, *(f"{n} direction" if wide else f"{n} number" for n in names), grid=False)
    axes.tick_params(colors=QUIET)
    if classes is None:
        set_title(axes, "Codes")
    else:
        set_title_and_legend(axes, "Codes", 5.0)
    return finish(figure, path)


def _most_spread(points: Any) -> Any:
    """Return the coordinates along the two directions of the largest variance."""
    centred = points - points.mean(axis=0)
    directions = np.linalg.svd(centred, full_matrices=False)[2][:2]
    # A direction has no sign of its own: the larger part of each points to the right.
    peaks = directions[[0, 1], np.abs(directions).argmax(axis=1)]
    return centred @ (directions * np.sign(peaks)[:, None]).T
