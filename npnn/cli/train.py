"""``npnn train``: train on a data set or a table, report, save, draw."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

import npnn
from npnn import backends
from npnn.callbacks import Callback
from npnn.cli.arguments import (
    TABLE_OPTIONS,
    add_table_options,
    backend_name,
    column_list,
    device_name,
    hidden_sizes,
    positive,
    say_aside,
    table_options,
    whole,
)
from npnn.cli.models import fold_target_units, outputs_of, target_units
from npnn.errors import MissingError

if TYPE_CHECKING:
    from npnn.datasets import Dataset, Table, TableSchema
    from npnn.history import History
    from npnn.training import Training

MODEL, CHECKPOINT, HISTORY = "model.safetensors", "checkpoint.safetensors", "history.csv"
PICTURES = ("curves.png", "confusion.png", "boundary.png", "regression.png", "predicted.png")
INTERRUPTED = 130

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
    "noisy-linear": Recipe("NoisyLinear", "a straight line with noise", (), 60, 2e-2, 16),
    "noisy-sine": Recipe("NoisySine", "a sine with noise", (32, 32), 150, 1e-2, 16, "tanh"),
}
TABLE = Recipe("Table", "a CSV or NPZ file", (64,), 0, 1e-3, 32)
TABLE_STEPS = 2000
"""About as many steps are taken on a table, so that small ones get more epochs than large ones."""


def add_train(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to the parser."""
    names = "\n".join(f"  {name:17}{recipe.description}" for name, recipe in RECIPES.items())
    train = commands.add_parser(
        "train",
        parents=[common],
        help="train a network and save it with its pictures",
        description="Train a network, print how good it is, and save it with its pictures.",
        epilog=(
            f"data sets:\n{names}\n\n"
            "examples:\n"
            "  npnn train digits --backend torch --hidden 128,64 --epochs 30\n"
            "  npnn train houses.csv --target price --task regression\n"
            "  npnn train mnist --folder ~/mnist --output runs/mnist\n"
            "  npnn train --resume --epochs 60          go on with what npnn-output holds\n"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = train.add_argument
    add_model_options(train)
    add("--epochs", type=whole(1), metavar="N", help="passes over the data")
    add(
        "--resume",
        nargs="?",
        const="",
        metavar="FILE",
        help="go on from a checkpoint (that in the output folder), as if never stopped",
    )
    add("--no-capture", action="store_true", help="run each step plainly, for debugging")
    add("--quiet", action="store_true", help="print nothing but errors")
    train.set_defaults(run=run_train)


def add_model_options(command: argparse.ArgumentParser) -> None:
    """Add the options that say what is trained on what, and where the results go."""
    add = command.add_argument
    add("data", nargs="?", metavar="DATA", help="a data set below, or a CSV or NPZ file (digits)")
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
        help="columns of a CSV to leave out, named or numbered like the target (--ignore=-1,0)",
    )
    add_table_options(command)
    add("--folder", metavar="DIR", help="where the files of MNIST are (downloaded once)")
    add("--no-pictures", action="store_true", help="draw nothing")


def run_train(options: argparse.Namespace) -> int:
    """Train, report and save; return the exit code."""
    folder = Path(options.output)
    checkpoint, done = _resumed(options, folder)
    run = settings(options, None if checkpoint is None else checkpoint.details.get("run"))
    data = dataset_of(run, options)
    _check_fingerprint(run, data, options.resume)
    run["epochs"] = run["epochs"] or _table_epochs(data, run["batch_size"])
    model = new_model(run, data, options) if checkpoint is None else checkpoint
    if model.shape_in != data.shape_in or model.shape_out != data.shape_out:
        raise ValueError(
            f"{options.resume} is a model from {model.shape_in} to {model.shape_out}, but "
            f"{run['data']} is data from {data.shape_in} to {data.shape_out}"
        )
    say = (lambda text: None) if options.quiet else print
    if checkpoint is not None and run["epochs"] <= done:
        already = f"{options.resume} has already {done} epochs; ask for more with --epochs"
        if options.epochs is not None:
            raise ValueError(f"argument --epochs: {already}")
        if (folder / MODEL).exists():
            say(already)
            return 0
    model.details["run"] = run
    _check_outputs(folder, run["data"])
    check_writable(folder)
    earlier = _earlier_outputs(folder, options.resume)

    say(f"{_described(data)}\n{_described_model(model, run)}\n")
    offset, scale = target_units(model)
    loss_name = "scaled loss" if np.any(scale != 1.0) else "loss"
    saving = SaveNowAndThen(folder / CHECKPOINT)
    show = not options.quiet and sys.stderr.isatty()
    history = model.fit(
        data.x_train_data,
        (data.y_train_data - offset) / scale,
        validation_data=(data.x_validation_data, (data.y_validation_data - offset) / scale),
        epochs=run["epochs"],
        batch_size=run["batch_size"],
        optimizer=None if checkpoint is not None and options.alpha is None else _optimizer(run),
        seed=run["seed"],
        callbacks=[saving],
        progress=show,
        resume=None if checkpoint is None else options.resume,
    )
    # In the units of training, so that the table and the history agree.
    metrics = {
        name: model.evaluate(x, (t - offset) / scale) for name, (x, t) in _parts(data).items()
    }

    # Before anything is printed: a reader that goes away must not leave them beside the model.
    for file in earlier:
        if file != MODEL and not (file == CHECKPOINT and saving.saved):
            (folder / file).unlink(missing_ok=True)

    # From here on the model speaks in the units of the data.
    fold_target_units(model)
    model.save(folder / MODEL)
    written = [("model", MODEL)]
    if saving.saved or checkpoint is not None:
        written.append(("checkpoint", CHECKPOINT))
    if history.num_epochs:
        _renamed(history, loss_name).to_csv(folder / HISTORY)
        written.append(("history", HISTORY))
    y = outputs_of(model, data.x_validation_data)
    say(_report(model, data, y, history, metrics, loss_name))
    if not options.no_pictures:
        written += _draw(model, data, y, history, folder, loss_name)
    if loss_name != "loss":
        say(
            "\nThe scaled loss, here and in the history, is that of targets scaled to a standard "
            "deviation of 1;\nthe rms error is in the target's own units."
        )
    width = max(len(name) for name, _ in written)
    say("\n" + "\n".join(f"{name:{width}}  {folder / file}" for name, file in written))
    stale = [file for file in earlier if file not in {file for _, file in written}]
    if stale:
        say(f"removed, of an earlier training: {', '.join(stale)}")
    if history.interrupted:
        say_aside(f"interrupted after {history.num_epochs} of {run['epochs']} epochs")
        return INTERRUPTED
    return 0


class SaveNowAndThen(Callback):
    """Save a checkpoint after the last epoch, and before that no oftener than each second.

    Parameters
    ----------
    path : path_like
        The checkpoint.
    seconds : float, default 1
        Time between two saves.
    """

    def __init__(self, path: str | os.PathLike[str], seconds: float = 1.0) -> None:
        self.path, self.seconds = path, seconds
        self.saved = 0
        self.last = time.monotonic()

    def on_epoch_end(self, training: Training, metrics: dict[str, float]) -> None:
        done = training.epoch >= training.epochs
        if done or not self.saved or time.monotonic() - self.last >= self.seconds:
            training.when_epoch_is_complete(lambda: self._save(training))

    def _save(self, training: Training) -> None:
        training.save(self.path)
        self.saved += 1
        self.last = time.monotonic()


def _resumed(options: argparse.Namespace, folder: Path) -> tuple[npnn.Sequential | None, int]:
    """Return the model of the checkpoint, if one is asked for, and the epochs it has."""
    if options.resume is None:
        return None, 0
    from npnn import files

    options.resume = options.resume or str(folder / CHECKPOINT)
    if Path(options.resume).is_dir():
        options.resume = str(Path(options.resume) / CHECKPOINT)
    description, _, training = files.read(options.resume)
    run = description["details"].get("run")
    if run is None or training is None:
        raise ValueError(f"{options.resume} is not a checkpoint of npnn train")
    model = npnn.load(
        options.resume,
        backend=options.backend or run["backend"],
        dtype=options.dtype,
        device=options.device,
        precision=options.precision,
    )
    model.capture, model.seed = not options.no_capture, run["seed"]
    return model, int(training["epoch"])


def _check_fingerprint(run: dict[str, Any], data: Dataset, resume: str | None) -> None:
    """Raise a ValueError if a table is not what it was before; else keep what it is."""
    from zlib import crc32

    if getattr(data, "schema", None) is None:
        return
    checksum = crc32(repr((data.feature_names, data.class_names)).encode())
    for array in (data.x_data, data.y_data):
        checksum = crc32(np.ascontiguousarray(array).data, checksum)
    found = {"rows": len(data.x_data), "inputs": math.prod(data.shape_in), "checksum": checksum}
    before = run.get("fingerprint")
    if resume is not None and before is not None and before != found:
        counts = [f"{f['rows']:,} rows and {f['inputs']:,} inputs" for f in (before, found)]
        change = (
            "other values" if counts[0] == counts[1] else f"{counts[1]}, and it had {counts[0]}"
        )
        raise ValueError(
            f"{run['data']} is not what {resume} was trained on: it has now {change}; restore it, "
            "or train anew without --resume"
        )
    run["fingerprint"] = found


def _check_outputs(folder: Path, data: str) -> None:
    """Raise a ValueError if a result would be written over the data."""
    for name in (MODEL, CHECKPOINT, HISTORY, *PICTURES):
        if (folder / name).exists() and os.path.exists(data) and (folder / name).samefile(data):
            raise ValueError(f"argument --output: the data, {data}, would be overwritten by {name}")


def _earlier_outputs(folder: Path, resume: str | None) -> list[str]:
    """Return the results in the folder of a training that this one does not go on with."""
    mine = [file for file in (MODEL, CHECKPOINT) if (folder / file).exists()]
    goes_on = resume is not None and any(Path(resume).samefile(folder / file) for file in mine)
    # Without a model, a picture of that name is not known to be ours.
    if not mine or goes_on:
        return []
    return [file for file in (MODEL, CHECKPOINT, HISTORY, *PICTURES) if (folder / file).exists()]


def settings(options: argparse.Namespace, before: dict[str, Any] | None) -> dict[str, Any]:
    """Return the settings of a run: the user's, or those of the run before, or the recipe's."""
    if before is not None:
        fixed = ("data", "hidden", "activation", "optimizer", "seed", "target", "task", "ignore")
        for name in (*fixed, *TABLE_OPTIONS):
            value = getattr(options, name)
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
    for name in ("target", "task", "ignore", *TABLE_OPTIONS):
        if recipe is not TABLE and getattr(options, name) is not None:
            raise ValueError(f"argument --{name}: is for CSV and NPZ files, not for {data}")
    if options.folder is not None and data not in ("mnist", "fashion-mnist"):
        raise ValueError(f"argument --folder: is for mnist and fashion-mnist, not for {data}")
    optimizer = options.optimizer or "adam"
    alpha = OPTIMIZERS[optimizer][2] or recipe.alpha
    return {
        "data": data,
        "target": options.target,
        "task": None if options.task == "auto" else options.task,
        "ignore": options.ignore,
        **{name: getattr(options, name) for name in TABLE_OPTIONS},
        "folder": options.folder,
        "backend": options.backend or "numpy",
        "hidden": list(recipe.hidden) if options.hidden is None else options.hidden,
        "activation": options.activation or recipe.activation,
        "epochs": options.epochs or recipe.epochs,
        "batch_size": options.batch_size or recipe.batch_size,
        "alpha": options.alpha or alpha,
        "optimizer": optimizer,
        "seed": options.seed or 0,
    }


def dataset_of(run: dict[str, Any], options: argparse.Namespace) -> Dataset:
    """Return the data set that the settings name."""
    from npnn import datasets

    recipe, seed = RECIPES.get(run["data"]), run["seed"]
    if recipe is None:
        if not os.path.exists(run["data"]):
            raise ValueError(
                f"argument DATA: there is no file {run['data']!r}, and no data set of that name; "
                f"there are {', '.join(RECIPES)}"
            )
        return datasets.Table(
            run["data"],
            run["target"],
            ignore=run.get("ignore") or (),
            task=run["task"],
            seed=seed,
            **table_options(run),
        )
    make: Callable[..., Dataset] = getattr(datasets, recipe.dataset)
    if run["folder"] is not None:
        return make(run["folder"], seed=seed)
    return make(seed=seed)


def _table_epochs(data: Dataset, batch_size: int) -> int:
    steps = math.ceil(data.num_train_data / batch_size)
    return min(100, max(10, TABLE_STEPS // steps))


def new_model(run: dict[str, Any], data: Dataset, options: argparse.Namespace) -> npnn.Sequential:
    """Return a fresh model for the data."""
    activation = npnn.Layer.registry[ACTIVATIONS[run["activation"]]]
    layers: list[npnn.Layer] = []
    shape = data.shape_in
    for size in run["hidden"]:
        layers += [npnn.Dense(shape, size), activation()]
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
        model.details["schema"] = schema.to_config()
        model.details["target_name"] = schema.target
        if data.task == "regression":
            # Targets of any size are learnt at unit scale; fold_target_units undoes it.
            spread = np.std(data.y_train_data, axis=0, dtype=np.float64)
            model.details["target_units"] = {
                "offset": np.mean(data.y_train_data, axis=0, dtype=np.float64).tolist(),
                "scale": np.where(spread > 0.0, spread, 1.0).tolist(),
            }
    return model


def _optimizer(run: dict[str, Any]) -> npnn.Optimizer:
    kind, arguments, _ = OPTIMIZERS[run["optimizer"]]
    return npnn.Optimizer.registry[kind](run["alpha"], **arguments)


def check_writable(folder: Path) -> None:
    """Raise an OSError unless files can be written to the folder, which is made if need be."""
    import tempfile

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"argument --output: cannot write to {str(folder)!r}: {error.strerror}"
        ) from None


def _parts(data: Dataset) -> dict[str, tuple[Any, Any]]:
    return {
        "training": (data.x_train_data, data.y_train_data),
        "validation": (data.x_validation_data, data.y_validation_data),
    }


def _renamed(history: History, loss_name: str) -> History:
    """Return the history with its loss called by its full name."""
    full = loss_name.replace(" ", "_")
    return type(history)({name.replace("loss", full): v for name, v in history.items()})


def _report(
    model: npnn.Sequential,
    data: Dataset,
    y: Any,
    history: History,
    metrics: dict[str, dict[str, float]],
    loss_name: str,
) -> str:
    from npnn import reports

    parts: dict[str, dict[str, float]] = {}
    for name, (x, t) in _parts(data).items():
        parts[name] = {key.replace("loss", loss_name): v for key, v in metrics[name].items()}
        if data.task == "regression":
            outputs = y if name == "validation" else outputs_of(model, x)
            parts[name] |= reports.regression_metrics(outputs, t)
    tables = [reports.metrics_table(parts)]
    if data.c_validation_data is not None:
        tables.append(reports.class_table(_counts(data, y), data.class_names))
    return "\n\n".join([*tables, reports.time_line(history)])


def _counts(data: Dataset, y: Any) -> Any:
    from npnn import reports

    predicted = y.argmax(axis=1) if y.shape[1] > 1 else (y[:, 0] > 0.5).astype(np.int64)
    return reports.confusion_counts(data.c_validation_data, predicted, max(2, y.shape[1]))


def _draw(
    model: npnn.Sequential,
    data: Dataset,
    y: Any,
    history: History,
    folder: Path,
    loss_name: str,
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
            plots.curves(history, folder / "curves.png", loss_name)
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
    except MissingError as error:
        say_aside(f"no pictures: {error}")
    return drawn


def _described(data: Dataset) -> str:
    classes = "" if data.class_names is None else f", {len(data.class_names)} classes"
    count = math.prod(data.shape_in)
    lines = [
        f"{data.name}: {data.num_train_data:,} training and {data.num_validation_data:,} "
        f"validation samples, {count:,} input{'s' * (count != 1)}{classes}"
    ]
    if getattr(data, "schema", None) is not None:
        lines += _described_table(cast("Table", data))
    return "\n".join(lines)


def _described_table(data: Table) -> list[str]:
    """Say what became of a table: its target, its categories, and whether line 1 is names."""
    from npnn.datasets.cells import quoted

    schema = data.schema
    kind = data.task
    if data.class_names is not None:
        kind = f"{data.task} into {quoted(data.class_names, 10)}"
    if data.has_header is None:
        return [f"target {schema.target!r}: {kind}"]
    place = f"column {schema.target_position}"
    place = "" if schema.target == place else f", {place} counted from 0"
    lines = [f"target {schema.target!r}{place}: {kind}"]
    for column in schema.columns:
        if column.categories is not None:
            lines.append(
                f"column {column.name!r}: {len(column.categories)} categories, "
                f"{quoted(column.categories, 5)}"
            )
    if schema.ignored:
        lines.append(f"left out: column(s) {', '.join(map(str, schema.ignored))}, counted from 0")
    if not data.has_header:
        lines.append("no header: line 1 is read as data (--header yes if it holds names)")
    return lines


def _described_model(model: npnn.Sequential, run: dict[str, Any]) -> str:
    sizes = (math.prod(model.shape_in or ()), *run["hidden"], math.prod(model.shape_out or ()))
    activation = f" with {run['activation']}" if run["hidden"] else ""
    count = sum(math.prod(array.shape) for array in model.parameters().values())
    return (
        f"network {' → '.join(map(str, sizes))}{activation}: {count:,} parameters, "
        f"on {model.backend.name} in {model.dtype}"
    )
