"""Pictures of what is inside a model: the network, its histograms, the loss around it."""

from __future__ import annotations

import os
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from npnn import checked
from npnn.inside.distributions import OF, distributions
from npnn.inside.landscape import loss_around
from npnn.layers import Activation, Dense, Dropout
from npnn.layers.row import Row
from npnn.plots.style import (
    FIRST,
    INK,
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

    from npnn.model import Sequential

Path = str | os.PathLike[str] | None
COLOURS = dict(zip(OF, (FIRST, PALETTE[2], SECOND), strict=True))


class Column(NamedTuple):
    """What is drawn of a layer: its units, or a box where they are too many or no row."""

    title: str
    lines: list[str]
    units: int
    weights: np.ndarray | None = None  # from the units before


def draw(model: Sequential, path: Path = None, *, most_units: int = 12) -> Figure:
    """Draw the network: its units, and each weight as a line of its width and sign.

    Parameters
    ----------
    model : Sequential
        Layers other than Dense and activations are boxes with their shapes and parameters.
    path : path_like, optional
        The PNG file to write.
    most_units : int, default 12
        Of a layer with more, the first and the last are drawn.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the model's shapes are not known yet.
    npnn.MissingError
        If matplotlib is not installed.

    Examples
    --------
    >>> import npnn
    >>> figure = npnn.draw(npnn.Sequential([npnn.Dense(2, 4), npnn.Tanh(), npnn.Dense(4, 1)]))
    """
    checked.integer(most_units, "most_units", 2)
    parameters = model.parameters()  # which draws them, if that can be done
    columns = _columns(model)
    tallest = max(min(column.units, most_units) for column in columns)
    figure, axes = one_panel(max(4.0, 1.9 * len(columns)), max(2.6, 1.5 + 0.42 * tallest))
    before: dict[int, float] = {}
    for number, column in enumerate(columns):
        heights = _heights(column.units, most_units)
        if column.weights is not None and before:
            _draw_weights(axes, number, before, heights, column.weights)
        before = heights
    for number, column in enumerate(columns):
        _draw_column(axes, number, column, _heights(column.units, most_units))
    top = max(1.5, min(most_units, tallest) / 2 + 0.4)
    axes.set_xlim(-0.6, len(columns) - 0.4)
    axes.set_ylim(-top - 0.2, top + 0.2)
    axes.axis("off")
    count = sum(int(np.prod(array.shape)) for array in parameters.values())
    set_title(
        axes, pad=22, text=f"{count:,} parameters, backend {model.backend.name}, {model.dtype}"
    )
    if any(column.weights is not None for column in columns):
        for colour, style, label in ((FIRST, "-", "positive"), (SECOND, "--", "negative")):
            axes.plot([], [], color=colour, linestyle=style, linewidth=2, label=f"{label} weight")
        axes.legend(loc="lower center", ncols=2, frameon=False, fontsize=9, labelcolor=INK,
                    bbox_to_anchor=(0.5, -0.08))  # fmt: skip
    return finish(figure, path)


def _columns(model: Sequential) -> list[Column]:
    """Return the columns of a picture: the inputs, and each layer that makes something new."""
    shape: Any = model.shape_in
    columns = [Column("inputs", [_shape(shape)], _units(shape))]
    for number, layer in enumerate(model.layers):
        if isinstance(layer, (Activation, Dropout)) and columns[-1].title != "inputs":
            columns[-1].lines.append(_name(layer))
            continue
        count = sum(
            int(np.prod(getattr(part, name).shape))
            for _, part in layer.walk()
            for name in part.parameter_names
        )
        lines = [f"{_shape(layer.shape_out)}, θ {count:,}" if count else _shape(layer.shape_out)]
        weights, units = None, _units(layer.shape_out)
        if type(layer) is Dense and columns[-1].units == _units(layer.shape_in):
            weights = np.asarray(model.backend.to_numpy(layer.w))
        parts = [] if type(layer) is Dense else [part for _, part in layer.walk()][1:]
        lines += [textwrap.shorten(repr(p), 26) for p in parts if not isinstance(p, Row)][:6]
        columns.append(Column(f"{number}: {type(layer).__name__}", lines, units, weights))
    return columns


def _name(layer: Any) -> str:
    return textwrap.shorten(repr(layer), 24) if isinstance(layer, Dropout) else type(layer).__name__


def _units(shape: Any) -> int:
    """Return how many units a shape has, if they are a row; else 0."""
    is_row = isinstance(shape, tuple) and len(shape) == 1 and isinstance(shape[0], int)
    return shape[0] if is_row else 0


def _shape(shape: Any) -> str:
    return "×".join(map(str, shape)) if isinstance(shape, tuple) else str(shape)


def _heights(units: int, most: int) -> dict[int, float]:
    """Return the heights at which units are drawn, by their numbers."""
    shown = list(range(units))
    if units > most:
        half = most // 2
        shown = [*range(half), *range(units - half, units)]
    gap = 0.8 if units > most else 0.0
    middle = (len(shown) - 1) / 2
    return {
        unit: middle - at + (gap / 2 if at < len(shown) / 2 else -gap / 2)
        for at, unit in enumerate(shown)
    }


def _draw_weights(
    axes: Axes, number: int, before: dict[int, float], after: dict[int, float], weights: np.ndarray
) -> None:
    from matplotlib.collections import LineCollection

    largest = float(np.abs(weights).max()) or 1.0
    for positive, colour, style in ((True, FIRST, "-"), (False, SECOND, (0, (4, 2)))):
        chosen = [
            (((number - 1, before[i]), (number, after[j])), abs(float(weights[i, j])) / largest)
            for i in before
            for j in after
            if bool(weights[i, j] >= 0.0) is positive
        ]
        if not chosen:
            continue
        lines, sizes = [line for line, _ in chosen], [size for _, size in chosen]
        axes.add_collection(
            LineCollection(
                lines,
                linewidths=[0.3 + 3.2 * size for size in sizes],
                colors=colour,
                alpha=[0.15 + 0.75 * size for size in sizes],
                linestyles=[style],
                zorder=1,
            )
        )


def _draw_column(axes: Axes, number: int, column: Column, heights: dict[int, float]) -> None:
    if heights:
        size = 190 if len(heights) < 9 else 110
        axes.scatter([number] * len(heights), [*heights.values()], s=size, color="white",
                     edgecolors=INK, linewidths=1.3, zorder=3)  # fmt: skip
        if len(heights) < column.units:
            axes.text(number, 0.0, "⋮", ha="center", va="center", color=INK, fontsize=13, zorder=3)
    else:
        text = "\n".join(column.lines[1:]) or column.title.partition(" ")[2] or "image"
        box = {"boxstyle": "round,pad=0.6", "facecolor": "white", "edgecolor": INK}
        axes.text(number, 0.0, text, ha="center", va="center", fontsize=8, bbox=box, zorder=3)
    lines = column.lines if heights else column.lines[:1]
    top = max(heights.values(), default=0.9) + 0.55
    axes.text(number, top, "\n".join([column.title, *lines]), ha="center", va="bottom", fontsize=9,
              color=INK if number else QUIET, zorder=4, linespacing=1.25)  # fmt: skip


def histograms(
    model: Sequential, x: Any, t: Any = None, path: Path = None, *, bins: int = 30
) -> Figure:
    """Draw how weights, activations and gradients of each layer are distributed.

    Parameters
    ----------
    model : Sequential
        Nothing of it is changed.
    x, t : array_like
        Raw inputs and targets.
    path : path_like, optional
        The PNG file to write.
    bins : int, default 30
        Of each histogram.

    Returns
    -------
    matplotlib.figure.Figure
        A row for each layer; what is wrong with it, such as dead units, stands there.

    Examples
    --------
    >>> import npnn
    >>> model = npnn.Sequential([npnn.Dense(1, 3), npnn.ReLU(), npnn.Dense(3, 1)], seed=0)
    >>> figure = npnn.plots.histograms(model, [[0.0], [1.0]], [0.0, 1.0])
    """
    found = distributions(model, x, t, bins)
    places = list(dict.fromkeys(d.place for d in found if d.of == "activations"))
    figure = new_figure(8.4, 1.0 + 1.25 * len(places))
    axes = figure.subplots(len(places), len(OF), squeeze=False)
    by_key = {(d.place, d.of): d for d in found}
    for row, place in enumerate(places):
        for column, of in enumerate(OF):
            panel, one = axes[row, column], by_key.get((place, of))
            if one is None:
                panel.axis("off")
            else:
                panel.stairs(one.counts, one.edges, fill=True, color=COLOURS[of], alpha=0.85)
                panel.set_yticks([])
                panel.locator_params(axis="x", nbins=4)
                panel.ticklabel_format(axis="x", scilimits=(-2, 3))
                plain(panel, "", "", grid=False)
                if one.remark:
                    panel.set_xlabel(textwrap.fill(one.remark, 38), color=SECOND, fontsize=8)
            if column == 0:
                name = textwrap.fill(by_key[place, "activations"].layer, 18)
                panel.text(-0.06, 0.5, f"{place}: {name}", transform=panel.transAxes, ha="right",
                           va="center", fontsize=9, color=INK)  # fmt: skip
            if row == 0:
                set_title(panel, of)
    return finish(figure, path)


def landscape(
    model: Sequential, x: Any, t: Any = None, path: Path = None, **options: Any
) -> Figure:
    """Draw the loss around the model's parameters, in two directions.

    Parameters
    ----------
    model : Sequential
        Nothing of it is changed.
    x, t : array_like
        Raw inputs and targets.
    path : path_like, optional
        The PNG file to write.
    **options
        Those of :func:`npnn.inside.loss_around`.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import npnn
    >>> model = npnn.Sequential([npnn.Dense(1, 1)], seed=0)
    >>> figure = npnn.plots.landscape(model, [[0.0], [1.0]], [0.0, 1.0], points=5)
    """
    found = loss_around(model, x, t, **options)
    finite = np.isfinite(found.loss)
    if not finite.any():
        raise ValueError("the loss is finite nowhere around these parameters")
    loss = np.where(finite, found.loss, found.loss[finite].max())
    low, high = float(loss.min()), float(loss.max())
    is_wide = low > 0.0 and high / low > 20.0
    shown = np.log10(loss) if is_wide else loss
    figure, axes = one_panel(5.8, 4.8)
    filled = axes.contourf(found.b, found.a, shown, levels=24, cmap="cividis")
    axes.contour(found.b, found.a, shown, levels=24, colors="white", linewidths=0.4, alpha=0.5)
    axes.plot(0.0, 0.0, "o", color="white", markeredgecolor=INK, markersize=8)
    bar = figure.colorbar(filled, ax=axes)
    bar.set_label("log10 of the loss" if is_wide else "loss", color=QUIET)
    plain(axes, "second direction", "first direction", grid=False)
    middle = found.loss[len(found.a) // 2, len(found.b) // 2]
    set_title(axes, f"Loss {middle:.4g} at the parameters, {low:.4g} at the lowest point seen")
    return finish(figure, path)
