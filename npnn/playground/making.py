"""From what was chosen to data, a model and an optimizer; and the program that makes the same."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

import npnn
from npnn.datasets import Dataset, Table
from npnn.normalization import Normalization
from npnn.playground.chosen import PROBLEMS, Chosen

RUNNING = {"alpha", "penalty", "penalty_weight"}
OF_DATA = {"noise", "validation", "batch_size"}
"""Choices that a training goes on with: of the optimizer, and of the data, which are made anew."""


def table_of(path: str | os.PathLike[str], seed: int, train_fraction: float) -> Table:
    """Return a person's table."""
    return Table(path, seed=seed, train_fraction=train_fraction)


def data_of(chosen: Chosen, path: str | None) -> Dataset:
    """Return the data; `path` is the file of a table."""
    share = _share(chosen)
    if chosen.problem == "table":
        if path is None:
            raise ValueError("there is no table yet: open a CSV file")
        data: Dataset = _two_columns(table_of(path, chosen.seed, share), chosen, share)
    else:
        name = PROBLEMS[chosen.problem].dataset
        data = getattr(npnn.datasets, name)(**_options(chosen, share))
    if chosen.noise and not PROBLEMS[chosen.problem].is_made:
        data = _with_noise(data, chosen, share)
    data.train_batch_size = min(chosen.batch_size, data.num_train_data)
    return data


def _share(chosen: Chosen) -> float:
    return round(1.0 - chosen.validation, 6)


def _options(chosen: Chosen, share: float) -> dict[str, Any]:
    """Return the arguments of a data set's constructor."""
    options: dict[str, Any] = {"seed": chosen.seed, "train_fraction": share}
    if PROBLEMS[chosen.problem].is_made:
        options["noise"] = chosen.noise
    if chosen.filters:
        options["flat"] = False
    return options


def _with_noise(data: Dataset, chosen: Chosen, share: float) -> Dataset:
    """Return data with noise in units of their own deviation: of each column, of all pixels."""
    x = data.x_data
    deviation = x.std() if chosen.problem == "digits" else x.std(axis=0)
    noise = np.random.default_rng(chosen.seed).standard_normal(x.shape)
    return Dataset(
        x + chosen.noise * deviation * noise, data.y_data, data.c_data, share, chosen.seed,
        norm=data.norm, class_names=data.class_names, feature_names=data.feature_names,
        task=data.task,
    )  # fmt: skip


def _two_columns(table: Table, chosen: Chosen, share: float) -> Dataset:
    """Return a table as a problem in the plane: of two of its columns, or of all, projected."""
    names = list(table.feature_names or ())
    if chosen.columns:
        for name in chosen.columns:
            if name not in names:
                raise ValueError(f"columns: there is no {name!r}; there are {', '.join(names)}")
        x = table.x_data[:, [names.index(name) for name in chosen.columns]]
        shown: tuple[str, ...] = chosen.columns
    elif len(names) > 2:
        x, shown = projected(table.x_data), ("component 1", "component 2")
    else:
        x, shown = table.x_data, tuple(names)
    return Dataset(
        x, table.y_data, table.c_data, share, chosen.seed, class_names=table.class_names,
        feature_names=shown, task=table.task,
    )  # fmt: skip


def projected(x: Any) -> Any:
    """Return rows in the two directions in which they, each column at unit scale, differ most."""
    scaled = np.asarray(Normalization.standard(x)(x), np.float64)
    directions = np.linalg.svd(scaled, full_matrices=False)[2][:2]
    return scaled @ directions.T


def model_of(chosen: Chosen, data: Dataset) -> npnn.Sequential:
    """Return a fresh model with its loss."""
    layers = [getattr(npnn, name)(*given, **options) for name, given, options in _row(chosen, data)]
    model = npnn.Sequential(layers, backend=chosen.backend, seed=chosen.seed)
    model.norm = data.norm
    model.class_names = None if data.class_names is None else list(data.class_names)
    model.chain = getattr(npnn, ENDS[data.task][1])()
    return model


def _row(chosen: Chosen, data: Dataset) -> list[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """Return the layers: the class of each, and what its constructor is given."""
    shape, row = data.shape_in, []
    for channels, activation in chosen.filters:
        row += [("Conv2D", (shape, channels, 3), {"padding": "same"}), (activation, (), {})]
        shape = (*shape[:2], channels)
    if chosen.filters:
        row.append(("Flatten", (shape,), {}))
    size = math.prod(shape)
    for units, activation in chosen.hidden:
        row += [("Dense", (size, units), {}), (activation, (), {})]
        size = units
    row.append(("Dense", (size, math.prod(data.shape_out)), {}))
    last = ENDS[data.task][0]
    return row if last is None else [*row, (last, (), {})]


ENDS: dict[str, tuple[str | None, str]] = {
    "classification": ("Softmax", "CrossEntropyLoss"),
    "binary": ("Sigmoid", "BinaryCrossEntropyLoss"),
    "regression": (None, "RMSLoss"),
}
"""The last layer and the loss of each kind of task."""


def optimizer_of(chosen: Chosen, model: npnn.Sequential) -> npnn.Optimizer:
    """Return a fresh optimizer for a model."""
    optimizer: npnn.Optimizer = getattr(npnn, chosen.optimizer)(alpha=chosen.alpha)
    set_running(optimizer, chosen)
    optimizer.model = model
    return optimizer


def set_running(optimizer: npnn.Optimizer, chosen: Chosen) -> None:
    """Set what may change while the optimizer trains, where it is not so already."""
    for name, value in _running(chosen).items():
        if getattr(optimizer, name) != value:
            setattr(optimizer, name, value)


def _running(chosen: Chosen) -> dict[str, float]:
    """Return the attributes of the optimizer that may change while it trains."""
    weight = {"none": (0.0, 0.0), "l2": (chosen.penalty_weight, 0.0),
              "l1": (0.0, chosen.penalty_weight)}[chosen.penalty]  # fmt: skip
    decay = "decay" if chosen.optimizer == "AdamW" else "weight_decay"
    return {"alpha": chosen.alpha, decay: weight[0], "weight_decay_l1": weight[1]}


# The program -------------------------------------------------------------------------------------


def program(
    phases: Sequence[tuple[Chosen, int]], data: Dataset, file: str | None, shown: dict[str, str]
) -> str:
    """Return a program that trains the same model to the same numbers.

    Parameters
    ----------
    phases : sequence of (Chosen, int)
        What was chosen, and how many steps were made with it.
    data : Dataset
        The data of the last of them.
    file : str or None
        The file of a table.
    shown : dict
        What the page showed at the end, as it showed it.
    """
    first = phases[0][0]
    steps = sum(count for _, count in phases)
    title = PROBLEMS[first.problem].title.lower()
    lines = [f'"""A network of the playground: {title}, trained for {steps:,} steps."""', ""]
    lines += ["import npnn", "", *_data_lines(first, data, file), ""]
    lines += [*_model_lines(first, data), ""]
    lines += _optimizer_lines(first)
    before = first
    for chosen, count in phases:
        differing = chosen.differs_in(before)
        if differing & OF_DATA:
            lines += ["", *_data_lines(chosen, data, file)]
        if differing & RUNNING:
            now, then = _running(chosen), _running(before)
            lines.append("")
            lines += [f"optimizer.{n} = {v!r}" for n, v in now.items() if v != then[n]]
        if count:
            lines += ["", f"for _ in range({count}):"]
            lines.append("    optimizer.step(*data.get_train_batch())")
        before = chosen
    lines += ["", "training = model.evaluate(data.x_train_data, data.y_train_data)"]
    lines.append("validation = model.evaluate(data.x_validation_data, data.y_validation_data)")
    for name in ("loss", "accuracy"):
        if name in shown:
            lines.append(
                f"print(f\"{name} {{training['{name}']:.6g}}, in validation "
                f"{{validation['{name}']:.6g}}\")"
            )
            lines.append(f"# the page showed {shown[name]}, and {shown[f'val_{name}']}")
    if any(" np." in line for line in lines):
        lines[2:2] = ["import numpy as np", ""]
    return "\n".join(lines) + "\n"


def _data_lines(chosen: Chosen, data: Dataset, file: str | None) -> list[str]:
    share = _share(chosen)
    size = min(chosen.batch_size, round(share * len(data.x_data)))
    if chosen.problem == "table":
        lines = [
            f"table = npnn.datasets.Table({file!r}, seed={chosen.seed}, train_fraction={share})",
            *_column_lines(chosen, data),
            "data = npnn.datasets.Dataset(",
            f"    x, table.y_data, table.c_data, {share}, {chosen.seed},",
            f"    class_names=table.class_names, task={data.task!r},",
            ")",
        ]
    else:
        given = ", ".join(f"{name}={value!r}" for name, value in _options(chosen, share).items())
        lines = [f"data = npnn.datasets.{PROBLEMS[chosen.problem].dataset}({given})"]
    if chosen.noise and not PROBLEMS[chosen.problem].is_made:
        deviation = "x.std()" if chosen.problem == "digits" else "x.std(axis=0)"
        lines += [
            f"x, rng = data.x_data, np.random.default_rng({chosen.seed})",
            f"x = x + {chosen.noise!r} * {deviation} * rng.standard_normal(x.shape)",
            "data = npnn.datasets.Dataset(",
            f"    x, data.y_data, data.c_data, {share}, {chosen.seed}, norm=data.norm,",
            f"    class_names=data.class_names, task={data.task!r},",
            ")",
        ]
    return [*lines, f"data.train_batch_size = {size}"]


def _column_lines(chosen: Chosen, data: Dataset) -> list[str]:
    if chosen.columns:
        return [
            "names = list(table.feature_names)",
            f"x = table.x_data[:, [names.index(name) for name in {list(chosen.columns)!r}]]",
        ]
    if (data.feature_names or ("",))[0] != "component 1":
        return ["x = table.x_data"]
    return [
        "# In the two directions in which the rows, each column at unit scale, differ most.",
        "norm = npnn.Normalization.standard(table.x_data)",
        "x = np.asarray(norm(table.x_data), np.float64)",
        "x = x @ np.linalg.svd(x, full_matrices=False)[2][:2].T",
    ]


def _model_lines(chosen: Chosen, data: Dataset) -> list[str]:
    layers = []
    for name, given, options in _row(chosen, data):
        arguments = [*map(repr, given), *(f"{n}={v!r}" for n, v in options.items())]
        layers.append(f"npnn.{name}({', '.join(arguments)})")
    return [
        "model = npnn.Sequential(",
        "    [",
        *(f"        {layer}," for layer in layers),
        "    ],",
        f"    backend={chosen.backend!r},",
        f"    seed={chosen.seed},",
        ")",
        "model.norm = data.norm",
        f"model.chain = npnn.{ENDS[data.task][1]}()",
    ]


def _optimizer_lines(chosen: Chosen) -> list[str]:
    options = [f"{name}={value!r}" for name, value in _running(chosen).items()
               if name == "alpha" or value or name == "decay"]  # fmt: skip
    return [
        f"optimizer = npnn.{chosen.optimizer}({', '.join(options)})",
        "optimizer.model = model",
    ]


# What the page is told ---------------------------------------------------------------------------


def on_numpy(chosen: Chosen) -> Chosen:
    """Return the same choices, but for the backend."""
    return dataclasses.replace(chosen, backend="numpy")


def as_plain(chosen: Chosen) -> dict[str, Any]:
    """Return choices by name."""
    return dataclasses.asdict(chosen)


def column_names(chosen: Chosen, path: str | None) -> list[str]:
    """Return the columns of a table that may be inputs."""
    if chosen.problem != "table" or path is None:
        return []
    return list(table_of(path, chosen.seed, _share(chosen)).feature_names or [])
