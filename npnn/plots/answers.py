"""Pictures of what a model answers, beside what is true."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn import checked
from npnn.plots.style import (
    FIRST,
    INK,
    PALETTE,
    SECOND,
    colours_of,
    finish,
    in_legend,
    legend_rows,
    marker_of,
    one_panel,
    plain,
    rgb,
    set_title_and_legend,
    shortened,
)
from npnn.reports import regression_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from npnn.model import Sequential

GRID = 241


def decision_boundary(
    model: Sequential,
    x: Any,
    c: Any,
    path: str | os.PathLike[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> Figure:
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
    given = model.class_names if class_names is None else class_names
    names = list(map(str, range(num)))
    if given is not None:
        names = checked.sequence(given, "class_names", "names")
    if len(names) != num:
        raise ValueError(f"{len(names)} class names do not go with {num} classes")

    labels = shortened([str(name) for name in names], 20)
    rows = legend_rows([*labels, "taken for another"], 5.0)
    figure, axes = one_panel(5.6, 4.6 + 0.2 * max(rows, 2))
    palette = colours_of(num)
    colours = np.array([rgb(colour) for colour in palette])
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
            marker=marker_of(i),
            color=palette[i],
            edgecolors="white",
            linewidths=0.6,
            label=in_legend(labels[i]),
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
    plain(axes, names_of_axes[0], names_of_axes[1], grid=False)
    right = f"{len(x) - len(wrong):,} of {len(x):,} points on the right side"
    set_title_and_legend(axes, right, 5.0)
    return finish(figure, path)


def regression(
    model: Sequential, x: Any, t: Any, path: str | os.PathLike[str] | None = None
) -> Figure:
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
    y, residuals = outputs_of(model, line), outputs_of(model, x) - t
    outputs = t.shape[1]

    figure, axes = one_panel(6.4, 4.2)
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
    plain(axes, names[0], str(model.details.get("target_name", "target")))
    error = float(np.sqrt(np.mean(residuals**2)))
    misses = f"The model misses {len(x):,} targets by {error:.3g} (root mean square)"
    set_title_and_legend(axes, misses, 5.6)
    return finish(figure, path)


def predicted_against_true(
    y: Any,
    t: Any,
    path: str | os.PathLike[str] | None = None,
    name: str = "target",
) -> Figure:
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
    figure, axes = one_panel(5.4, 4.9)
    low, high = min(y.min(), t.min()), max(y.max(), t.max())
    crowded, line = t.size >= 1000, SECOND if num == 1 else INK
    edge = 0.04 * (high - low) or 1.0
    limits = (low - edge, high + edge)
    axes.plot(limits, limits, color=line, linewidth=1.6, label="predicted = true")
    for i, colour in enumerate(colours_of(num)):
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
    plain(axes, f"{short}, true", f"{short}, predicted", grid=False)
    found = regression_metrics(y, t)
    explained = f", R² {found['R²']:.4g}" if "R²" in found else ""
    title = f"Root mean square error {found['rms error']:.4g}{explained}"
    set_title_and_legend(axes, title, 4.6)
    return finish(figure, path)


def _probabilities(model: Sequential, x: Any) -> Any:
    y = outputs_of(model, x)
    if y.shape[1] == 1:
        y = np.clip(y, 0.0, 1.0)
        return np.concatenate([1.0 - y, y], axis=1)
    return y


def outputs_of(model: Sequential, x: Any) -> np.ndarray:
    """Return the outputs on the host, a row for each sample."""
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
