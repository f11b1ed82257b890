"""What a notebook shows of a model and of a history."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

from npnn.errors import MissingError
from npnn.plots.training import curves
from npnn.reports import time_line

if TYPE_CHECKING:
    from npnn.history import History
    from npnn.model import Sequential


def model_html(model: Sequential) -> str:
    """Return a model's summary as HTML; its layers where their shapes are not known yet."""
    known = bool(model.layers) and model.shape_in is not None
    text = escape(model.summary() if known else repr(model))
    return f'<pre style="font-family: monospace; line-height: 1.3">{text}</pre>'  # it has columns


def history_html(history: History) -> str:
    """Return a history as HTML: what the last epoch gave, and the curves of all."""
    head = "".join(f"<th>{escape(name)}</th>" for name in history)
    cells = "".join(f"<td>{value:.4g}</td>" for value in history.last().values())
    text = escape(time_line(history))
    if history.stopped:
        text += escape(f"; stopped: {history.stopped}")
    table = f"<table><tr>{head}</tr><tr>{cells}</tr></table>" if history.num_epochs else ""
    return f"<p>{text}</p>{table}{_curves(history)}"


def _curves(history: History) -> str:
    if not history.num_epochs:
        return ""
    file = io.BytesIO()
    try:
        curves(history).savefig(file, format="png", dpi=90)
    except MissingError:
        return ""
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="loss and accuracy" src="data:image/png;base64,{data}">'
