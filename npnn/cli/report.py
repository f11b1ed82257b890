"""What a training tells: what it trains on what, how good it became, and the pictures of that."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

import npnn
from npnn.cli.arguments import say_aside, sentence
from npnn.cli.models import outputs_of
from npnn.cli.tables import described_table
from npnn.errors import MissingError

if TYPE_CHECKING:
    from npnn.datasets import Dataset, Table
    from npnn.history import History


def described(data: Dataset) -> str:
    """Say what is trained on."""
    classes = "" if data.class_names is None else f", {len(data.class_names)} classes"
    count = math.prod(data.shape_in)
    lines = [
        f"{data.name}: {data.num_train_data:,} training and {data.num_validation_data:,} "
        f"validation samples, {count:,} input{'s' * (count != 1)}{classes}"
    ]
    if getattr(data, "schema", None) is not None:
        lines += described_table(cast("Table", data))
    return "\n".join(lines)


def described_model(model: npnn.Sequential, run: dict[str, Any]) -> str:
    """Say what is trained."""
    sizes = (math.prod(model.shape_in or ()), *run["hidden"], math.prod(model.shape_out or ()))
    activation = f" with {run['activation']}" if run["hidden"] else ""
    count = sum(math.prod(array.shape) for array in model.parameters().values())
    return (
        f"network {' → '.join(map(str, sizes))}{activation}: {count:,} parameters, "
        f"on {model.backend.name} in {model.dtype}"
    )


def report(
    data: Dataset,
    y: np.ndarray,
    history: History,
    metrics: dict[str, dict[str, float]],
) -> str:
    """Return the tables of how good the model became, and the time it took."""
    from npnn import reports

    tables = [reports.metrics_table(metrics)]
    if data.c_validation_data is not None:
        tables.append(reports.class_table(_counts(data, y), data.class_names))
    return "\n\n".join([*tables, reports.time_line(history)])


def with_regression_metrics(
    model: npnn.Sequential, data: Dataset, y: np.ndarray, metrics: dict[str, dict[str, float]]
) -> None:
    """Add to the metrics of each part those of a regression, in the units of the targets."""
    from npnn import reports

    for name, (x, t) in parts_of(data).items():
        outputs = y if name == "validation" else outputs_of(model, x)
        metrics[name] |= reports.regression_metrics(outputs, t)


def parts_of(data: Dataset) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the inputs and targets of each part, by its name."""
    return {
        "training": (data.x_train_data, data.y_train_data),
        "validation": (data.x_validation_data, data.y_validation_data),
    }


def _counts(data: Dataset, y: np.ndarray) -> np.ndarray:
    from npnn import reports

    predicted = y.argmax(axis=1) if y.shape[1] > 1 else (y[:, 0] > 0.5).astype(np.int64)
    return reports.confusion_counts(data.c_validation_data, predicted, max(2, y.shape[1]))


def draw(
    model: npnn.Sequential,
    data: Dataset,
    y: np.ndarray,
    history: History,
    folder: Path,
) -> list[tuple[str, str]]:
    """Draw what there is to see and return names and files; without matplotlib, say so."""
    from npnn import plots

    x, t, inputs = data.x_validation_data, data.y_validation_data, math.prod(data.shape_in)
    classes = data.c_validation_data
    if classes is None and t.shape[1] == 1 and np.isin(t, (0.0, 1.0)).all():
        classes = t[:, 0].astype(np.int64)
    drawn = []
    try:
        if history.num_epochs:
            plots.curves(history, folder / "curves.png")
            drawn.append(("curves", "curves.png"))
        if data.c_validation_data is not None:
            plots.confusion_matrix(_counts(data, y), data.class_names, folder / "confusion.png")
            drawn.append(("confusion", "confusion.png"))
        if inputs == 2 and classes is not None:
            plots.decision_boundary(
                model, x.reshape(-1, 2), classes, folder / "boundary.png", data.class_names
            )
            drawn.append(("boundary", "boundary.png"))
        if inputs == 1 and data.task == "regression":
            plots.regression(model, x.reshape(-1, 1), t, folder / "regression.png")
            drawn.append(("regression", "regression.png"))
        elif data.task == "regression" and (inputs != 2 or classes is None):
            name = str(model.details.get("target_name", "target"))
            plots.predicted_against_true(y, t, folder / "predicted.png", name)
            drawn.append(("predicted", "predicted.png"))
    except (MissingError, OSError) as error:
        say_aside(f"no {'more ' if drawn else ''}pictures: {sentence(error)}")
    return drawn
