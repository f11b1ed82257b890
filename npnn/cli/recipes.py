"""What is trained on what: data sets, the settings that suit them, and the model made of those."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import npnn
from npnn import backends, beginning
from npnn.cli.arguments import (
    TABLE_OPTIONS,
    add_column_options,
    add_table_options,
    backend_name,
    column_list,
    device_name,
    hidden_sizes,
    positive,
    share,
    table_options,
    unknown_data,
    whole,
)

if TYPE_CHECKING:
    from npnn.datasets import Dataset, TableSchema

FILE_OPTIONS = ("target", "task", "ignore", "kinds", "categories", "missing", *TABLE_OPTIONS)
"""Those that are for a table of one's own."""

ACTIVATIONS = {
    "relu": "ReLU",
    "leaky-relu": "LeakyReLU",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "softplus": "Softplus",
    "swish": "Swish",
    "linear": "Linear",
}
# Name -> class, arguments beside alpha, and alpha (None: the data set's own, which suits Adam).
OPTIMIZERS: dict[str, tuple[str, dict[str, Any], float | None]] = {
    "adam": ("Adam", {}, None),
    "adamw": ("AdamW", {}, None),
    "rmsprop": ("RMSprop", {}, None),
    "sgd": ("SGD", {"momentum": 0.9}, 0.02),
    "gradient-descent": ("GradientDescent", {}, 0.1),
    "adagrad": ("Adagrad", {}, 0.02),
    "adadelta": ("Adadelta", {}, 1.0),
}


@dataclass(frozen=True)
class Recipe:
    """A data set and settings that train well on it."""

    dataset: str
    description: str
    hidden: tuple[int, ...]
    epochs: int
    alpha: float
    batch_size: int
    activation: str = "relu"
    dropout: float = 0.0


RECIPES = {
    "digits": Recipe("Digits", "1,797 images of 8x8 pixels, 10 classes", (512,), 60, 1e-3, 16),
    "mnist": Recipe("MNIST", "70,000 images of digits, 28x28 pixels", (256, 128), 10, 1e-3, 128),
    "fashion-mnist": Recipe(
        "FashionMNIST", "70,000 images of clothes, 28x28 pixels", (256, 128), 10, 1e-3, 128
    ),
    "xor-two-classes": Recipe(
        "XORTwoClasses", "exclusive or, two outputs", (16,), 60, 2e-2, 16, "tanh"
    ),
    "xor-bin-classes": Recipe(
        "XORBinClasses", "exclusive or, one output", (16,), 60, 2e-2, 16, "tanh"
    ),
    "xor-function": Recipe(
        "XORFunction", "exclusive or as a regression", (16,), 60, 2e-2, 16, "tanh"
    ),
    "and-function": Recipe("ANDFunction", "and as a regression", (8,), 60, 2e-2, 16, "tanh"),
    "circles": Recipe("Circles", "a disc within a ring", (16,), 60, 2e-2, 16, "tanh"),
    "clusters": Recipe("Clusters", "two clouds of points", (16,), 60, 2e-2, 16, "tanh"),
    "spirals": Recipe("Spirals", "two arms around each other", (32, 32), 150, 1e-2, 16, "tanh"),
    "noisy-linear": Recipe("NoisyLinear", "a straight line with noise", (), 60, 2e-2, 16),
    "noisy-sine": Recipe("NoisySine", "a sine with noise", (32, 32), 150, 1e-2, 16, "tanh"),
}
FINAL_RATE = 0.02  # of the first one
# Layers, dropout, epochs and the rows of a step are found out; see fitting.py.
TABLE = Recipe("Table", "a table of one's own", (128,), 0, 2e-3, 0)


def add_model_options(command: argparse.ArgumentParser) -> None:
    """Add the options that say what is trained on what, and where the results go."""
    add = command.add_argument
    add("data", nargs="?", metavar="DATA", help="a data set below, or a file; - is stdin (digits)")
    add(
        "--output",
        default="npnn-output",
        metavar="DIR",
        help="folder for the results (%(default)s)",
    )
    add("--backend", type=backend_name, metavar="NAME", help="array library (numpy); see npnn info")
    add("--device", type=device_name, help="such as cuda:1, or 1; the library's default")
    add("--dtype", choices=backends.DTYPES, help="floating-point type (float32)")
    add(
        "--precision",
        metavar="NAME",
        help="of matrix products on a GPU: float32, tf32, bfloat16 or float16",
    )
    add("--hidden", type=hidden_sizes, metavar="N,N", help="sizes of the hidden layers; 0 for none")
    add("--activation", choices=ACTIVATIONS, metavar="NAME", help=", ".join(ACTIVATIONS))
    add("--dropout", type=share, metavar="P", help="share of hidden units left out in a step (0)")
    add("--balance", action="store_true", help="let rare classes count as much as frequent ones")
    add("--batch-size", type=whole(1), metavar="N", help="samples of one step")
    add("--alpha", type=positive, help="learning rate")
    add("--optimizer", choices=OPTIMIZERS, metavar="NAME", help=", ".join(OPTIMIZERS))
    add("--seed", type=whole(0), metavar="N", help="of the split, the weights and the order (0)")
    add(
        "--target",
        metavar="COLUMN",
        help="a file's target: name, or number from 0 up, or from -1 at the end (the last column)",
    )
    add(
        "--task",
        choices=("auto", "classification", "binary", "regression"),
        help="what a file's target means (auto: found out)",
    )
    add(
        "--ignore",
        type=column_list,
        metavar="COLUMN,COLUMN",
        help="columns to leave out, named or numbered like the target (--ignore=-1,0)",
    )
    add_table_options(command)
    add_column_options(command)
    add("--folder", metavar="DIR", help="where the files of MNIST are (downloaded once)")
    add("--no-pictures", action="store_true", help="draw nothing")


def settings(options: argparse.Namespace, before: dict[str, Any] | None) -> dict[str, Any]:
    """Return the settings of a run: the user's, or those of the run before, or the recipe's."""
    if before is not None:
        for name in ("data", "hidden", "activation", "optimizer", "seed", "metrics", *FILE_OPTIONS):
            value = getattr(options, name, None)
            if value not in (None, "auto") and value != before.get(name):
                argument = name if name == "data" else f"--{name}"
                raise ValueError(
                    f"argument {argument}: the checkpoint was made with {before.get(name)}, and "
                    f"training that goes on cannot change to {value}"
                )
        own = {
            name: value
            for name in ("epochs", "batch_size", "alpha", "backend", "folder")
            if (value := getattr(options, name)) is not None
        }
        return {**before, **own}
    data = options.data or "digits"
    recipe = RECIPES.get(data, TABLE)
    for name in FILE_OPTIONS:
        if recipe is not TABLE and getattr(options, name) is not None:
            raise ValueError(f"argument --{name}: is for files, not for {data}")
    if options.folder is not None and data not in ("mnist", "fashion-mnist"):
        raise ValueError(f"argument --folder: is for mnist and fashion-mnist, not for {data}")
    optimizer = options.optimizer or "adam"
    alpha = OPTIMIZERS[optimizer][2] or recipe.alpha
    return {
        "data": data,
        "place": None if recipe is not TABLE else _from(options.output, data),
        **{name: getattr(options, name) for name in FILE_OPTIONS},
        "task": None if options.task == "auto" else options.task,
        "folder": options.folder,
        "backend": options.backend or "numpy",
        "hidden": list(recipe.hidden) if options.hidden is None else options.hidden,
        "activation": options.activation or recipe.activation,
        "epochs": options.epochs or recipe.epochs,
        "batch_size": options.batch_size or recipe.batch_size,
        "alpha": options.alpha or alpha,
        "optimizer": optimizer,
        "dropout": recipe.dropout if options.dropout is None else options.dropout,
        "balance": options.balance,
        "seed": options.seed or 0,
        "metrics": getattr(options, "metrics", None),
    }


RUN: dict[str, tuple[type, ...]] = {
    "data": (str,),
    "target": (str, int, type(None)),
    "task": (str, type(None)),
    "folder": (str, type(None)),
    "backend": (str,),
    "hidden": (list,),
    "epochs": (int,),
    "batch_size": (int,),
    "alpha": (int, float),
    "seed": (int,),
}


def run_of(details: dict[str, Any]) -> dict[str, Any] | None:
    """Return the settings that `npnn train` left in a model; None if it did not make it."""
    run = details.get("run")
    if not isinstance(run, dict):
        return None
    whole = all(name in run and type(run[name]) in types for name, types in RUN.items())
    known = run.get("optimizer") in list(OPTIMIZERS) and run.get("activation") in list(ACTIVATIONS)
    return run if whole and known else None


def dataset_of(run: dict[str, Any], options: argparse.Namespace) -> Dataset:
    """Return the data set that the settings name."""
    from npnn import datasets

    recipe, seed = RECIPES.get(run["data"]), run["seed"]
    if recipe is None:
        file = run["data"]
        resume = getattr(options, "resume", None)
        if resume and isinstance(run.get("place"), str):  # from whichever folder
            found = os.path.normpath(os.path.join(os.path.dirname(resume), run["place"]))
            file = found if os.path.exists(found) else file
        if file != "-" and not os.path.exists(file):
            raise ValueError(unknown_data(run["data"], "data set", RECIPES))
        return datasets.Table(
            file,
            run["target"],
            ignore=run.get("ignore") or (),
            kinds=run.get("kinds"),
            max_categories=run.get("categories") or datasets.table.MAX_CATEGORIES,
            missing=run.get("missing"),
            task=run["task"],
            seed=seed,
            **table_options(run),
        )
    make: Callable[..., Dataset] = getattr(datasets, recipe.dataset)
    if run["folder"] is not None:
        return make(run["folder"], seed=seed)
    return make(seed=seed)


def _from(folder: str, file: str) -> str | None:
    """Return where a file lies, seen from a folder, so that both may be moved together."""
    if file == "-":
        return None
    try:
        return os.path.relpath(file, folder)
    except ValueError:  # on another disk of Windows
        return os.path.abspath(file)


def new_model(run: dict[str, Any], data: Dataset, options: argparse.Namespace) -> npnn.Sequential:
    """Return a fresh model for the data."""
    activation = npnn.Layer.registry[ACTIVATIONS[run["activation"]]]
    layers: list[npnn.Layer] = []
    shape = data.shape_in
    for size in run["hidden"]:
        layers += [npnn.Dense(shape, size), activation()]
        layers += [npnn.Dropout(run["dropout"])] if run.get("dropout") else []
        shape = (size,)
    layers.append(npnn.Dense(shape, data.shape_out))
    if data.task != "regression":
        layers.append(npnn.Softmax() if data.task == "classification" else npnn.Sigmoid())
    model = npnn.Sequential(
        layers,
        backend=run["backend"],
        dtype=options.dtype or "float32",
        device=options.device,
        precision=options.precision,
        seed=run["seed"],
        capture=not options.no_capture,
    )
    model.norm = data.norm
    model.class_names = None if data.class_names is None else list(data.class_names)
    schema: TableSchema | None = getattr(data, "schema", None)
    if math.prod(data.shape_in) <= 2:
        model.details["feature_names"] = list(data.feature_names or ())
    if schema is not None:
        beginning.spread(model, data.x_train_data, run["seed"])
        beginning.level(model)
        model.details["schema"] = schema.to_config()
        model.details["target_name"] = schema.target
        if data.task == "regression":
            model.target_norm = _norm_of_targets(data.y_train_data)
    return model


def _norm_of_targets(t: np.ndarray) -> npnn.Normalization:
    """Return what brings targets to mean 0 and deviation 1, with one scale for all outputs."""
    t = t.astype(np.float64)
    spread = math.sqrt(t.var(axis=0).mean())
    return npnn.Normalization(t.mean(axis=0), spread)


def new_optimizer(run: dict[str, Any], steps: int | None = None) -> npnn.Optimizer:
    """Return the optimizer that the settings name; its rate falls, if all `steps` are known."""
    kind, arguments, _ = OPTIMIZERS[run["optimizer"]]
    schedule = None if steps is None else npnn.Cosine(steps, final=FINAL_RATE)
    optimizer: npnn.Optimizer = npnn.Optimizer.registry[kind](
        run["alpha"], schedule=schedule, **arguments
    )
    return optimizer
