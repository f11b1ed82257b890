"""Pictures of training and of what a model does, drawn without pyplot, windows or global state.

Each function returns a ``matplotlib.figure.Figure``, which a notebook shows by itself, and writes
a PNG file if it is given a path.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.errors import extra
from npnn.io import replacing
from npnn.reports import check_counts, regression_metrics

if TYPE_CHECKING:
    from npnn.backends.planning.inspection import Row
    from npnn.model import Sequential

# The colours of Okabe and Ito, which people with any kind of colour blindness can tell apart.
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#8C6D1F",
    "#444444",
)
MARKERS = "osD^vPX*"
FIRST, SECOND = PALETTE[0], PALETTE[1]
INK, QUIET, RULE = "#222222", "#6B6B6B", "#E4E4E4"
DPI = 150
GRID = 241
LARGEST = 9.0
"""The matrix of confusions grows no larger than this many inches."""
MOST_ZEROS, MOST_NUMBERED, MOST_NAMED = 10, 50, 100
"""Up to so many classes zeros, counts and every name are written beside or into the matrix."""
DECADES = 1.2
"""A loss that spans more powers of ten than this is drawn on a logarithmic scale."""


def curves(
    history: Mapping[str, Sequence[float]],
    path: str | os.PathLike[str] | None = None,
    loss_name: str = "loss",
) -> Any:
    """Draw loss and accuracy against the epoch, for training and validation.

    Parameters
    ----------
    history : History or dict
        ``loss`` and, where there are any, ``val_loss``, ``accuracy`` and ``val_accuracy``.
    path : path_like, optional
        The PNG file to write.
    loss_name : str, optional
        What the loss is called, such as "scaled loss" where it is not in the target's units.

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
    panels = [name for name in ("loss", "accuracy") if history.get(name)]
    figure = _figure(5.2 * len(panels), 3.7)
    for number, name in enumerate(panels, start=1):
        lines = {"training": history[name], "validation": history.get(f"val_{name}") or ()}
        _draw_curves(
            figure.add_subplot(1, len(panels), number),
            name,
            {label: np.asarray(values) for label, values in lines.items() if len(values)},
            loss_name if name == "loss" else name,
        )
    return _finish(figure, path)


def confusion_matrix(
    counts: Any,
    class_names: Sequence[str] | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Any:
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
    figure = _figure(side + 1.9 + margin, side + 1.3 + (0.7 * margin if slanted else 0))
    axes = figure.add_subplot()
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
    rotation = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    shown = range(0, num, -(-num // MOST_NAMED))
    axes.set_xticks(shown, [labels[i] for i in shown], fontsize=size, **rotation)
    axes.set_yticks(shown, [labels[i] for i in shown], fontsize=size)
    for row in shown:
        recall = f"{shares[row, row]:.3f}" if support[row] else "–"  # noqa: RUF001
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
    _title(axes, f"{hits:,} of {total:,} right{accuracy}", pad=26)
    return _finish(figure, path)


def decision_boundary(
    model: Sequential,
    x: Any,
    c: Any,
    path: str | os.PathLike[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> Any:
    """Draw what a classifier of two inputs answers over the plane, and points on it.

    Parameters
    ----------
    model : Sequential
        Has two inputs, and one output (the probability of class 1) or one for each class.
    x : array_like, shape (samples, 2)
        Raw inputs.
    c : array_like
        Their classes, as integers or one-hot.
    path : path_like, optional
        The PNG file to write.
    class_names : sequence of str, optional
        By default the model's, or the classes' numbers.

    Returns
    -------
    matplotlib.figure.Figure
    """
    x, classes = _points(x, 2), _as_classes(c)
    if len(x) != len(classes):
        raise ValueError(f"{len(x)} points do not go with {len(classes)} classes")
    low, high = x.min(axis=0), x.max(axis=0)
    spread = np.where(high > low, high - low, 1.0)
    low, high = low - 0.1 * spread, high + 0.1 * spread
    first, second = (np.linspace(low[i], high[i], GRID) for i in (0, 1))
    grid = np.stack(np.meshgrid(first, second), axis=-1)
    shares = _probabilities(model, grid.reshape(-1, 2)).reshape(GRID, GRID, -1)
    num = shares.shape[-1]
    answers = _probabilities(model, x).argmax(axis=1)
    if len(classes) and not 0 <= classes.min() <= classes.max() < num:
        raise ValueError(f"classes must be from 0 to {num - 1}")
    names = class_names or model.class_names or [str(i) for i in range(num)]
    if len(names) != num:
        raise ValueError(f"{len(names)} class names do not go with {num} classes")

    labels = shortened([str(name) for name in names], 20)
    rows = _legend_rows([*labels, "taken for another"], 5.0)
    figure = _figure(5.6, 4.6 + 0.2 * max(rows, 2))
    axes = figure.add_subplot()
    palette = _colours(num)
    colours = np.array([_rgb(colour) for colour in palette])
    axes.imshow(
        1.0 - 0.42 * (shares @ (1.0 - colours)),
        extent=(low[0], high[0], low[1], high[1]),
        origin="lower",
        aspect="auto",
        interpolation="bilinear",
    )
    for i in range(1 if num == 2 else 0, num):
        lead = shares[..., i] - np.delete(shares, i, axis=-1).max(axis=-1)
        if lead.min() < 0.0 < lead.max():
            axes.contour(first, second, lead, levels=[0.0], colors=INK, linewidths=1.3)
    crowd = 34 if len(x) < 500 else 12
    for i in range(num):
        part = x[classes == i]
        axes.scatter(
            part[:, 0],
            part[:, 1],
            s=crowd,
            marker=MARKERS[(i + i // len(MARKERS)) % len(MARKERS)],
            color=palette[i],
            edgecolors="white",
            linewidths=0.6,
            label=labels[i],
            zorder=3,
        )
    wrong = x[answers != classes]
    if len(wrong):
        axes.scatter(
            wrong[:, 0],
            wrong[:, 1],
            s=3.2 * crowd,
            facecolors="none",
            edgecolors=INK,
            linewidths=1.1,
            label="taken for another",
            zorder=4,
        )
    axes.set_xlim(low[0], high[0])
    axes.set_ylim(low[1], high[1])
    names_of_axes = _feature_names(model, ("x1", "x2"))
    _plain(axes, names_of_axes[0], names_of_axes[1], grid=False)
    rows = _legend_above(axes, 5.0)
    right = f"{len(x) - len(wrong):,} of {len(x):,} points on the right side"
    _title(axes, right, pad=15 + 13.6 * rows)
    return _finish(figure, path)


def regression(
    model: Sequential, x: Any, t: Any, path: str | os.PathLike[str] | None = None
) -> Any:
    """Draw targets against a single input, and what the model makes of it.

    Parameters
    ----------
    model : Sequential
        Has one input; each of its outputs becomes a curve.
    x : array_like, shape (samples,) or (samples, 1)
        Raw inputs.
    t : array_like, shape (samples,) or (samples, outputs)
        Targets.
    path : path_like, optional
        The PNG file to write.

    Returns
    -------
    matplotlib.figure.Figure
    """
    x, t = _points(x, 1), np.asarray(t, dtype=np.float64)
    t = t[:, None] if t.ndim == 1 else t
    if len(x) != len(t):
        raise ValueError(f"{len(x)} points do not go with {len(t)} targets")
    line = np.linspace(x.min(), x.max(), 500)[:, None]
    y, residuals = _outputs(model, line), _outputs(model, x) - t
    outputs = t.shape[1]

    figure = _figure(6.4, 4.2)
    axes = figure.add_subplot()
    single = outputs == 1
    for i in range(outputs):
        suffix = "" if single else f" {i + 1}"
        points, fitted = (FIRST, SECOND) if single else (PALETTE[i % len(PALETTE)],) * 2
        axes.plot(
            line[:, 0],
            y[:, i],
            color=fitted,
            linewidth=2.4,
            solid_capstyle="round",
            label=f"model{suffix}",
        )
        # Over the curve, so that what it fits well is seen too.
        axes.scatter(
            x[:, 0],
            t[:, i],
            s=18 if len(x) < 1000 else 5,
            color=points,
            alpha=0.75 if len(x) < 1000 else 0.35,
            edgecolors="white",
            linewidths=0.4 if len(x) < 1000 else 0,
            label=f"targets{suffix}",
            zorder=3,
        )
    names = _feature_names(model, ("x",))
    _plain(axes, names[0], str(model.details.get("target_name", "target")))
    error = float(np.sqrt(np.mean(residuals**2)))
    rows = _legend_above(axes, 5.6)
    misses = f"The model misses {len(x):,} targets by {error:.3g} (root mean square)"
    _title(axes, misses, pad=15 + 13.6 * rows)
    return _finish(figure, path)


def predicted_against_true(
    y: Any,
    t: Any,
    path: str | os.PathLike[str] | None = None,
    name: str = "target",
) -> Any:
    """Draw what a model answers against the targets: on the diagonal the two are the same.

    Parameters
    ----------
    y, t : array_like, shape (samples,) or (samples, outputs)
        Outputs and targets.
    path : path_like, optional
        The PNG file to write.
    name : str, optional
        Of the target, for the axes.

    Returns
    -------
    matplotlib.figure.Figure
    """
    y, t = (np.asarray(values, dtype=np.float64) for values in (y, t))
    if y.shape != t.shape or y.ndim not in (1, 2) or not y.size:
        raise ValueError(
            f"y and t must be of one shape, (samples,) or (samples, outputs), not {y.shape} and "
            f"{t.shape}"
        )
    y, t = y.reshape(len(y), -1), t.reshape(len(t), -1)
    num = t.shape[1]
    figure = _figure(5.4, 4.9)
    axes = figure.add_subplot()
    low, high = min(y.min(), t.min()), max(y.max(), t.max())
    crowded, line = t.size >= 1000, SECOND if num == 1 else INK
    edge = 0.04 * (high - low) or 1.0
    limits = (low - edge, high + edge)
    axes.plot(limits, limits, color=line, linewidth=1.6, label="predicted = true")
    for i, colour in enumerate(_colours(num)):
        axes.scatter(
            t[:, i],
            y[:, i],
            s=6 if crowded else 20,
            color=FIRST if num == 1 else colour,
            alpha=0.4 if crowded else 0.75,
            edgecolors="white",
            linewidths=0 if crowded else 0.4,
            label=f"output {i + 1}" if 1 < num <= len(PALETTE) else None,
            zorder=3,
        )
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    axes.set_aspect("equal")
    short = shortened([name], 40)[0]
    _plain(axes, f"{short}, true", f"{short}, predicted", grid=False)
    rows = _legend_above(axes, 4.6)
    found = regression_metrics(y, t)
    explained = f", R² {found['R²']:.4g}" if "R²" in found else ""
    _title(axes, f"Root mean square error {found['rms error']:.4g}{explained}", 15 + 13.6 * rows)
    return _finish(figure, path)


def shortened(names: Sequence[str], most: int = 24) -> list[str]:
    """Return the names in at most `most` characters each, different ones still different.

    What is left out is the end, the middle or the beginning, whichever keeps them apart; where
    none does, their numbers, counted from 0, end them.
    """
    half = (most - 1) // 2
    ways: tuple[Callable[[str], str], ...] = (
        lambda name: f"{name[: most - 1]}…",
        lambda name: f"{name[: most - 1 - half]}…{name[-half:]}",
        lambda name: f"…{name[1 - most :]}",
    )
    for way in ways:
        found = [name if len(name) <= most else way(name) for name in names]
        if len(set(found)) == len(set(names)):
            return found
    digits = len(str(len(names) - 1))
    return [
        name if len(name) <= most else f"{name[: most - 2 - digits]}… {i}"
        for i, name in enumerate(names)
    ]


def profile(rows: Sequence[Row], path: str | os.PathLike[str] | None = None) -> Any:
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
    figure = _figure(8.0, 1.6 + 0.24 * len(rows))
    axes = figure.add_subplot()
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
    _plain(axes, "microseconds", "", grid=False)
    axes.legend(frameon=False, loc="best", fontsize=9)
    _title(axes, f"A training step takes {total * 1e6:,.0f} us in {len(rows)} operations")
    return _finish(figure, path)


def _draw_curves(axes: Any, name: str, lines: dict[str, Any], full_name: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    every = np.concatenate(list(lines.values()))
    every = every[np.isfinite(every)]
    decades = np.log10(every.max() / every.min()) if every.size and every.min() > 0.0 else 0.0
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
    _plain(axes, "epoch", f"{full_name} (logarithmic)" if logarithmic else full_name)
    longest = max(len(values) for values in lines.values())
    axes.set_xlim((1, longest) if longest > 1 else (0.5, 1.0))
    _label_ends(axes, lines, colours)
    kind, last = list(lines.items())[-1]
    _title(axes, f"{kind.capitalize()} {full_name} {last[-1]:.4g}", pad=24)
    if np.isfinite(last).any():
        best = int(np.nanargmin(last) if name == "loss" else np.nanargmax(last))
        word = "lowest" if name == "loss" else "highest"
        text = f"{word} {last[best]:.4g} in epoch {best + 1} of {longest}"
        _subtitle(axes, text)


def _label_ends(axes: Any, lines: dict[str, Any], colours: dict[str, str]) -> None:
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


def _shade(shares: Any) -> Any:
    """Return the colour of each cell: of hits and of mistakes, by their share of the class."""
    colour = np.broadcast_to(_rgb(SECOND), (*shares.shape, 3)).copy()
    colour[np.eye(len(shares), dtype=bool)] = _rgb(FIRST)
    # The root makes the few mistakes of a good model visible.
    strength = np.sqrt(shares)[..., None]
    ground = np.array(_rgb("#F6F6F6"))
    return ground + strength * (colour - ground)


def _probabilities(model: Sequential, x: Any) -> Any:
    y = _outputs(model, x)
    if y.shape[1] == 1:
        y = np.clip(y, 0.0, 1.0)
        return np.concatenate([1.0 - y, y], axis=1)
    return y


def _outputs(model: Sequential, x: Any) -> Any:
    y = model.backend.to_numpy(model.predict(x, batch_size=8192))
    return np.asarray(y, dtype=np.float64).reshape(len(x), -1)


def _points(x: Any, inputs: int) -> Any:
    x = np.asarray(x, dtype=np.float64)
    x = x[:, None] if x.ndim == 1 and inputs == 1 else x
    if x.ndim != 2 or x.shape[1] != inputs or not len(x):
        raise ValueError(
            f"x must have the shape (samples, {inputs}) to be drawn, not {tuple(x.shape)}"
        )
    return x


def _as_classes(c: Any) -> Any:
    c = np.asarray(c)
    if c.ndim == 2:
        return c.argmax(axis=1) if c.shape[1] > 1 else (c[:, 0] > 0.5).astype(np.int64)
    return c.astype(np.int64)


def _feature_names(model: Sequential, default: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(model.details.get("feature_names") or ())
    return names if len(names) == len(default) else default


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise extra("matplotlib", "plot") from None
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


def _plain(axes: Any, x_label: str, y_label: str, *, grid: bool = True) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#B5B5B5")
    axes.tick_params(which="both", colors=QUIET, labelsize=9, length=3)
    axes.set_xlabel(x_label, color=QUIET)
    axes.set_ylabel(y_label, color=QUIET)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis="y", color=RULE, linewidth=0.8)


def _title(axes: Any, text: str, pad: float = 12) -> None:
    axes.set_title(text, loc="left", fontsize=11, fontweight="bold", color=INK, pad=pad)


def _subtitle(axes: Any, text: str) -> None:
    axes.annotate(
        text,
        (0.0, 1.0),
        xycoords="axes fraction",
        xytext=(0, 10),
        textcoords="offset points",
        fontsize=9,
        color=QUIET,
    )


def _beside(axes: Any, row: float, text: str, size: float, lift: float = 0.0) -> None:
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


def _legend_above(axes: Any, width: float) -> int:
    """Put the legend between title and axes, in as many rows as `width` inches make needful."""
    labels = axes.get_legend_handles_labels()[1]
    columns = _legend_columns(labels, width)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=columns,
        frameon=False,
        fontsize=9,
        handlelength=1.4,
        handletextpad=0.4,
        columnspacing=1.2,
        labelcolor=INK,
    )
    return _legend_rows(labels, width)


def _legend_columns(labels: Sequence[str], width: float) -> int:
    widths = [0.4 + 0.068 * len(label) for label in labels]
    for columns in range(len(labels), 1, -1):
        # Filled from above to below, the first ones with one more, as matplotlib does it.
        if sum(part.max() for part in np.array_split(widths, columns)) <= width:
            return columns
    return 1


def _legend_rows(labels: Sequence[str], width: float) -> int:
    return -(-len(labels) // _legend_columns(labels, width))


def _colours(num: int) -> list[str]:
    """Return as many different colours: the palette, or where it ends, hues in three shades."""
    from colorsys import hls_to_rgb

    if num <= len(PALETTE):
        return list(PALETTE[:num])
    found = []
    for i in range(num):
        rgb = hls_to_rgb(i / num, (0.3, 0.45, 0.58)[i % 3], 0.75)
        found.append("#" + "".join(f"{round(255 * part):02X}" for part in rgb))
    return found


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def _finish(figure: Any, path: str | os.PathLike[str] | None) -> Any:
    if path is not None:
        with replacing(path) as file:
            figure.savefig(file, format="png")
    return figure
