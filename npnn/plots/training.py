"""Pictures of a training: its metrics over the epochs, and where the time of a step goes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.plots.style import (
    FIRST,
    PALETTE,
    QUIET,
    SECOND,
    finish,
    new_figure,
    one_panel,
    plain,
    set_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from npnn.backends.planning.inspection import Row

DECADES = 1.2
"""A loss that spans more powers of ten than this is drawn on a logarithmic scale."""


def curves(
    history: Mapping[str, Sequence[float]],
    path: str | os.PathLike[str] | None = None,
) -> Figure:
    """Draw loss and accuracy against the epoch, for training and validation.

    Parameters
    ----------
    history : History or dict
        ``loss`` and, where there are any, ``val_loss``, ``accuracy`` and ``val_accuracy``.
    path : path_like, optional
        The PNG file to write.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If no epoch was recorded.
    npnn.MissingError
        If matplotlib is not installed.
    """
    if not history.get("loss"):
        raise ValueError("there is nothing to draw: the history has no epoch")
    figure = new_figure(5.2 * len(_panels(history)), 3.7)
    draw_curves(figure, history)
    return finish(figure, path)


def draw_curves(figure: Figure, history: Mapping[str, Sequence[float]]) -> None:
    """Draw the curves into a figure that is empty."""
    panels = _panels(history)
    for number, name in enumerate(panels, start=1):
        lines = {"training": history[name], "validation": history.get(f"val_{name}") or ()}
        _draw_curves(
            figure.add_subplot(1, len(panels), number),
            name,
            {label: np.asarray(values) for label, values in lines.items() if len(values)},
        )


def _panels(history: Mapping[str, Sequence[float]]) -> list[str]:
    return [name for name in ("loss", "accuracy") if history.get(name)]


def spans_decades(lines: Sequence[Any]) -> bool:
    """Return whether lines are better drawn on a logarithmic scale."""
    return _decades(lines) > DECADES


def _decades(lines: Sequence[Any]) -> float:
    every = np.concatenate([np.asarray(line, np.float64) for line in lines])
    every = every[np.isfinite(every)]
    if not every.size or every.min() <= 0.0:
        return 0.0
    return float(np.log10(every.max() / every.min()))


def _draw_curves(axes: Axes, name: str, lines: dict[str, Any]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    decades = _decades(list(lines.values()))
    logarithmic = name == "loss" and decades > DECADES
    if logarithmic:
        axes.set_yscale("log")
        steps = (1.0, 2.0, 5.0) if decades < 3.5 else (1.0,)
        axes.yaxis.set_major_locator(LogLocator(subs=steps))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    colours = {"training": FIRST, "validation": SECOND}
    for label, values in lines.items():
        epochs = np.arange(1, len(values) + 1)
        axes.plot(
            epochs,
            values,
            color=colours[label],
            linewidth=2,
            solid_capstyle="round",
            clip_on=name != "accuracy",
        )
        axes.plot(
            epochs[-1], values[-1], "o", color=colours[label], markersize=5, clip_on=False, zorder=3
        )
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=1))
    if name == "accuracy":
        axes.set_ylim(top=min(1.0, axes.get_ylim()[1]))
    plain(axes, "epoch", f"{name} (logarithmic)" if logarithmic else name)
    longest = max(len(values) for values in lines.values())
    axes.set_xlim((1, longest) if longest > 1 else (0.5, 1.0))
    _label_ends(axes, lines, colours)
    kind, last = list(lines.items())[-1]
    set_title(axes, f"{kind.capitalize()} {name} {last[-1]:.4g}", pad=24)
    if np.isfinite(last).any():
        best = int(np.nanargmin(last) if name == "loss" else np.nanargmax(last))
        word = "lowest" if name == "loss" else "highest"
        text = f"{word} {last[best]:.4g} in epoch {best + 1} of {longest}"
        _subtitle(axes, text)


def _label_ends(axes: Axes, lines: dict[str, Any], colours: dict[str, str]) -> None:
    """Write each line's name behind its end, moved apart where the ends are close."""
    ends = {label: float(values[-1]) for label, values in lines.items()}
    to_axes = axes.transScale + axes.transLimits
    heights = {label: to_axes.transform((1.0, end))[1] for label, end in ends.items()}
    order = sorted(heights, key=lambda label: heights[label])
    if len(order) == 2 and heights[order[1]] - heights[order[0]] < (gap := 0.07):
        middle = min(max(sum(heights.values()) / 2, gap / 2), 1.0 - gap / 2)
        heights = {order[0]: middle - gap / 2, order[1]: middle + gap / 2}
    for label, height in heights.items():
        axes.annotate(
            label,
            (1.0, height),
            xycoords="axes fraction",
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            color=colours[label],
            fontsize=9.5,
            annotation_clip=False,
        )


def _subtitle(axes: Axes, text: str) -> None:
    axes.annotate(
        text,
        (0.0, 1.0),
        xycoords="axes fraction",
        xytext=(0, 10),
        textcoords="offset points",
        fontsize=9,
        color=QUIET,
    )


def profile(rows: Sequence[Row], path: str | os.PathLike[str] | None = None) -> Figure:
    """Draw the time of each call of a training step as a bar, in the order of the step.

    Parameters
    ----------
    rows : sequence of npnn.backends.planning.inspection.Row
        What :func:`npnn.profiling.profile` returns.
    path : path_like, optional
        A PNG file to write.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if not rows:
        raise ValueError("there are no rows to draw")
    total = sum(row.seconds for row in rows)
    figure, axes = one_panel(8.0, 1.6 + 0.24 * len(rows))
    kinds = {"matrix products": FIRST, "all else in the layers": SECOND, "optimizer": PALETTE[2]}
    seen: dict[str, float] = dict.fromkeys(kinds, 0.0)
    for position, row in enumerate(rows):
        optimizer = not row.layer and row.operation != "matmul"
        kind = list(kinds)[0 if row.operation == "matmul" else 2 if optimizer else 1]
        seen[kind] += row.seconds
        axes.barh(position, row.seconds * 1e6, color=kinds[kind], height=0.72)
    for kind, seconds in seen.items():
        axes.barh(0, 0, color=kinds[kind], label=f"{kind}, {seconds / total:.0%}")
    names = [f"{row.layer} {row.origin.split('+')[0]}: {row.operation}".strip() for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    plain(axes, "microseconds", "", grid=False)
    axes.legend(frameon=False, loc="best", fontsize=9)
    set_title(axes, f"A training step takes {total * 1e6:,.0f} us in {len(rows)} operations")
    return finish(figure, path)
