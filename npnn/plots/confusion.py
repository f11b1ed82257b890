"""The picture of which classes were taken for which."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.plots.style import (
    FIRST,
    INK,
    QUIET,
    SECOND,
    finish,
    one_panel,
    rgb,
    set_title,
    shortened,
)
from npnn.reports import NOTHING, check_counts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LARGEST = 9.0
"""The matrix of confusions grows no larger than this many inches."""
MOST_ZEROS, MOST_NUMBERED, MOST_NAMED = 10, 50, 100
"""Up to so many classes zeros, counts and every name are written beside or into the matrix."""


def confusion_matrix(
    counts: Any,
    class_names: Sequence[str] | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw how many samples of each class were taken for each class.

    Hits are blue and mistakes orange, the stronger the larger their share of the true class is.
    With more than ten classes, a count of zero is an empty cell; with more than 50, no counts stand
    in the cells. Long names are shortened, and stay distinct.

    Parameters
    ----------
    counts : array_like, shape (classes, classes)
        What :func:`npnn.reports.confusion_counts` gives: true classes in rows.
    class_names : sequence of str, optional
        By default the classes' numbers.
    path : path_like, optional
        The PNG file to write.

    Returns
    -------
    matplotlib.figure.Figure
    """
    counts, names = check_counts(counts, class_names)
    num = len(counts)
    labels = shortened(names)
    side = min(max(2.2, 0.42 * num), LARGEST)
    # Of a cell's width, in points, three digits take about this share.
    size = min(9.0, max(4.5, 0.4 * 72 * side / num))
    margin = 0.085 * size / 9 * max(map(len, labels))
    slanted = margin > 0.9 * side / num
    figure, axes = one_panel(side + 1.9 + margin, side + 1.3 + (0.7 * margin if slanted else 0))
    support = counts.sum(axis=1)
    shares = counts / np.maximum(support, 1)[:, None]
    axes.imshow(_shade(shares), aspect="equal", interpolation="nearest")

    numbered = num <= MOST_NUMBERED
    for row, column in np.argwhere(counts) if num > MOST_ZEROS else np.ndindex(num, num):
        strong = shares[row, column] > (0.3 if row == column else 0.45)
        quiet = counts[row, column] == 0
        if numbered:
            axes.text(
                column,
                row,
                f"{counts[row, column]}",
                ha="center",
                va="center",
                fontsize=size,
                color="#C4C4C4" if quiet else "white" if strong else INK,
            )
    rotation: dict[str, Any] = (
        {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    )
    shown = range(0, num, -(-num // MOST_NAMED))
    axes.set_xticks(shown, [labels[i] for i in shown], fontsize=size, **rotation)
    axes.set_yticks(shown, [labels[i] for i in shown], fontsize=size)
    for row in shown:
        recall = f"{shares[row, row]:.3f}" if support[row] else NOTHING
        _beside(axes, row, recall, size)
    _beside(axes, -0.5, "recall", size, lift=9)
    axes.set_xlabel("predicted class", color=QUIET)
    axes.set_ylabel("true class", color=QUIET)
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(num + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(num + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=min(1.5, 20 * side / num / 6))
    axes.tick_params(which="minor", length=0)
    hits, total = int(np.trace(counts)), int(counts.sum())
    accuracy = f": accuracy {hits / total:.4f}" if total else ""
    set_title(axes, f"{hits:,} of {total:,} right{accuracy}", pad=26)
    return finish(figure, path)


def _shade(shares: Any) -> Any:
    """Return the colour of each cell: of hits and of mistakes, by their share of the class."""
    colour = np.broadcast_to(rgb(SECOND), (*shares.shape, 3)).copy()
    colour[np.eye(len(shares), dtype=bool)] = rgb(FIRST)
    # The root makes the few mistakes of a good model visible.
    strength = np.sqrt(shares)[..., None]
    ground = np.array(rgb("#F6F6F6"))
    return ground + strength * (colour - ground)


def _beside(axes: Axes, row: float, text: str, size: float, lift: float = 0.0) -> None:
    """Write `text` to the right of a row of the matrix."""
    axes.annotate(
        text,
        (1.0, row),
        xycoords=("axes fraction", "data"),
        xytext=(8, lift),
        textcoords="offset points",
        va="center",
        fontsize=size,
        color=QUIET,
        annotation_clip=False,
    )
