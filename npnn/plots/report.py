"""A page that reports on a training: one file, which opens in any browser without a network."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from math import prod
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn import checked, reports
from npnn.io import replacing
from npnn.plots.answers import outputs_of, predicted_against_true
from npnn.plots.chosen import chosen, classes_of, targets_of
from npnn.plots.confusion import confusion_matrix
from npnn.plots.samples import images
from npnn.plots.training import curves
from npnn.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from npnn.history import History
    from npnn.model import Sequential

WORST, COLUMNS = 24, 12
"""So many mistakes are shown; of rows, so many columns."""


def report(
    path: str | os.PathLike[str],
    model: Sequential,
    history: History,
    x: Any,
    t: Any,
    *,
    frames: Sequence[tuple[int, bytes]] = (),
    title: str = "Training report",
    settings: Mapping[str, Any] | None = None,
    image_shape: tuple[int, int] | None = None,
    feature_names: Sequence[str] | None = None,
) -> None:
    """Write an HTML page: configuration, curves, what was taken for what, and the worst mistakes.

    Parameters
    ----------
    path : path_like
        The file to write, which needs no other.
    model : Sequential
        As training left it.
    history : History
        What training recorded.
    x, t : array_like
        Raw inputs and targets that were not trained on.
    frames : sequence of tuple of int and bytes, optional
        Epochs and PNG files, as :class:`npnn.callbacks.Frames` takes them; shown under a slider.
    title : str, default "Training report"
        The heading.
    settings : mapping, optional
        What else is to be said of how the model was trained.
    image_shape : tuple of int, optional
        Height and width, where inputs are images that lie flat.
    feature_names : sequence of str, optional
        What the columns of `x` are called.

    Raises
    ------
    ValueError
        If `t` does not go with the outputs, or `image_shape` or `feature_names` not with `x`.
    npnn.MissingError
        If matplotlib is not installed.

    Examples
    --------
    >>> import npnn
    >>> data = npnn.datasets.NoisySine(seed=0)
    >>> model = npnn.Sequential([npnn.Dense(1, 8), npnn.Tanh(), npnn.Dense(8, 1)], seed=0)
    >>> history = model.fit(data, epochs=2)
    >>> parts = data.x_validation_data, data.y_validation_data
    >>> npnn.plots.report("sine.html", model, history, *parts)  # doctest: +SKIP
    """
    x, classes = np.asarray(x), classes_of(model, t)
    if image_shape is not None and prod(image_shape) != prod(x.shape[1:]):
        raise ValueError(f"image_shape={image_shape} does not go with inputs of {x.shape[1:]}")
    names = _feature_names(model, x, feature_names)
    y = outputs_of(model, x)
    sections = [_configuration(model, settings or {})]
    if history.num_epochs:
        sections.insert(0, _section("Curves", _figure(curves(history), "loss and accuracy")))
    if len(frames) > 1:
        sections.insert(0, _section("Over the epochs", _slider(frames, history)))
    if classes is not None:
        told = [str(name) for name in model.class_names or range(max(2, y.shape[1]))]
        worst, table = _of_classes(classes, y, told)
        sections.append(table)
    else:
        worst, table = _of_numbers(targets_of(t), y)
        sections.append(table)
    sections.append(_mistakes(x, worst, names, image_shape))
    page = Template(files("npnn.plots").joinpath("report.html").read_text(encoding="utf-8"))
    text = page.substitute(
        title=escape(title),
        summary=escape(_summary(history, len(x))),
        numbers="".join(
            f"<div><b>{value:.4g}</b><span>{escape(_in_words(name))}</span></div>"
            for name, value in history.last().items()
        ),
        sections="\n".join(sections),
        version=__version__,
    )
    with replacing(path) as file:
        file.write(text.encode())


def _in_words(name: str) -> str:
    return name.replace("val_", "validation ").replace("_", " ")


def _section(heading: str, inner: str) -> str:
    return f"<section><h2>{escape(heading)}</h2>\n{inner}\n</section>"


def _figure(figure: Figure, what: str) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<figure><img alt="{escape(what)}" src="data:image/png;base64,{data}"></figure>'


def _table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(str(name))}</th>" for name in headings)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>\n{body}</table></div>'


def _summary(history: History, samples: int) -> str:
    parts = [f"{history.num_epochs} epochs in {history.seconds:.1f} s"]
    if history.stopped:
        parts.append(f"stopped: {history.stopped}")
    if history.interrupted:
        parts.append("interrupted")
    return f"{'; '.join(parts)}. Judged by {samples:,} samples that stand apart."


def _configuration(model: Sequential, settings: Mapping[str, Any]) -> str:
    rows = [("backend", f"{model.backend.name}, {model.dtype}"), ("loss", repr(model.chain))]
    rows += [(str(name), str(value)) for name, value in settings.items()]
    return _section(
        "Configuration",
        f"{_table(('', ''), rows)}\n<pre>{escape(model.summary())}</pre>",
    )


def _slider(frames: Sequence[tuple[int, bytes]], history: History) -> str:
    parts = []
    for epoch, png in frames:
        said = "before training" if epoch == 0 else f"epoch {epoch}"
        if 0 < epoch <= history.num_epochs:
            metrics = (
                f"{_in_words(name)} {values[epoch - 1]:.4g}" for name, values in history.items()
            )
            said = ", ".join([said, *metrics])
        parts.append({"said": said, "png": base64.b64encode(png).decode()})
    return (
        '<div class="slider"><button id="play" type="button">Play</button>'
        f'<input id="epoch" type="range" min="0" max="{len(parts) - 1}" step="1" '
        f'value="{len(parts) - 1}" aria-label="epoch"></div>\n<output id="said"></output>\n'
        '<figure><img id="frame" alt=""></figure>\n'
        f'<script type="application/json" id="frames">{json.dumps(parts)}</script>'
    )


def _of_classes(
    classes: np.ndarray, y: np.ndarray, names: Sequence[str]
) -> tuple[list[tuple[int, str, str, str]], str]:
    """Return the worst mistakes, and the section of what was taken for what."""
    told = chosen(y)
    shares = np.concatenate([1.0 - y, y], axis=1) if y.shape[1] == 1 else y
    right = shares[np.arange(len(y)), classes]
    wrong = np.flatnonzero(told != classes)
    worst = [
        (int(i), names[classes[i]], names[told[i]], f"{shares[i, told[i]]:.0%} sure")
        for i in wrong[np.argsort(right[wrong])][:WORST]
    ]
    counts = reports.confusion_counts(classes, told, len(names))
    rows = [
        (
            r.name,
            *("" if v is None else f"{v:.3f}" for v in (r.precision, r.recall, r.f1)),
            r.support,
        )
        for r in reports.class_reports(counts, names)
    ]
    picture = _figure(confusion_matrix(counts, names), "which class was taken for which")
    table = _table(("class", "precision", "recall", "f1", "samples"), rows)
    return worst, _section("What was taken for what", f"{picture}\n{table}")


def _of_numbers(t: np.ndarray, y: np.ndarray) -> tuple[list[tuple[int, str, str, str]], str]:
    """Return the largest misses, and the section of how large they are."""
    if t.shape != y.shape:
        raise ValueError(f"targets of shape {t.shape} do not go with outputs of shape {y.shape}")
    miss = np.abs(y - t).max(axis=1)
    show = "; ".join
    worst = [
        (
            int(i),
            show(f"{v:.5g}" for v in t[i]),
            show(f"{v:.5g}" for v in y[i]),
            f"off by {miss[i]:.4g}",
        )
        for i in np.argsort(-miss)[:WORST]
    ]
    found = reports.regression_metrics(y, t)
    rows = [(name, f"{value:.5g}") for name, value in found.items()]
    picture = _figure(predicted_against_true(y, t), "predicted against true values")
    return worst, _section("How far it misses", f"{picture}\n{_table(('', ''), rows)}")


def _mistakes(
    x: np.ndarray,
    worst: list[tuple[int, str, str, str]],
    names: Sequence[str],
    image_shape: tuple[int, int] | None,
) -> str:
    """Return the section of the worst mistakes: pictures of images, else rows."""
    if not worst:
        return _section("The worst mistakes", "<p>There is none.</p>")
    chosen_rows = x[[i for i, *_ in worst]]
    is_image = chosen_rows.ndim == 4 and chosen_rows.shape[-1] in (1, 3)
    if image_shape is not None or is_image:
        if image_shape is not None:
            chosen_rows = chosen_rows.reshape(len(worst), *image_shape)
        titles = [f"{true}, not {told}\n{how}" for _, true, told, how in worst]
        picture = _figure(images(chosen_rows, titles), "the worst mistakes")
        return _section(
            "The worst mistakes", f"<p>What each is, and what it was taken for.</p>{picture}"
        )
    flat = chosen_rows.reshape(len(worst), -1)[:, :COLUMNS]
    rows = [
        (number, true, told, how, *(f"{v:.5g}" for v in row))
        for (number, true, told, how), row in zip(worst, flat, strict=True)
    ]
    headings = ("row", "true", "predicted", "", *names[:COLUMNS])
    more = len(names) - COLUMNS
    note = f"<p>{more} more columns are not shown.</p>" if more > 0 else ""
    return _section("The worst mistakes", f"{_table(headings, rows)}{note}")


def _feature_names(model: Sequential, x: np.ndarray, given: Sequence[str] | None) -> list[str]:
    count = prod(x.shape[1:])
    known = given if given is not None else model.details.get("columns")
    if given is not None and len(checked.sequence(given, "feature_names", "names")) != count:
        raise ValueError(f"{len(given)} feature_names do not go with {count} columns")
    if known is None or len(known) != count:
        return [f"x{i + 1}" for i in range(count)]
    return [str(name) for name in known]
