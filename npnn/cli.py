"""The command line: ``npnn train``, ``npnn predict`` and ``npnn info``.

What a command needs is imported when it runs, so that small things start quickly.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

import npnn
from npnn import backends
from npnn.callbacks import Callback
from npnn.errors import DivergedError, MissingError

if TYPE_CHECKING:
    from npnn.datasets import Dataset, TableSchema
    from npnn.history import History
    from npnn.training import Training

MODEL, CHECKPOINT, HISTORY = "model.safetensors", "checkpoint.safetensors", "history.csv"
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
    "digits": Recipe("Digits", "1,797 images of 8x8 pixels, 10 classes", (512,), 30, 3e-4, 8),
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 2 for an error, 130 after Ctrl-C.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.
    """
    try:
        options = parser().parse_args(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    if options.run is None:
        parser().print_help()
        return 0
    try:
        return int(options.run(options))
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is left to say, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    except (ValueError, TypeError, MissingError, DivergedError, OSError, MemoryError) as error:
        if options.debug:
            raise
        _say_error(_sentence(error))
        return 2


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    common = _Parser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show where an error came from")
    top = _Parser(
        prog="npnn",
        description="Train and use neural networks on NumPy, CuPy, PyTorch or JAX arrays.",
        epilog=(
            "examples:\n"
            "  npnn train                       handwritten digits, in a few seconds\n"
            "  npnn train flowers.csv           a table of your own, its last column the target\n"
            "  npnn predict npnn-output/model.safetensors more-flowers.csv\n"
            "  npnn info                        which array libraries work here\n"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"npnn {npnn.__version__}")
    top.set_defaults(run=None, debug=False)
    commands = top.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
    _add_train(commands, common)
    _add_predict(commands, common)
    _add_info(commands, common)
    return top


def _add_train(commands: Any, common: argparse.ArgumentParser) -> None:
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
    add("data", nargs="?", metavar="DATA", help="a data set below, or a CSV or NPZ file (digits)")
    add(
        "--output",
        default="npnn-output",
        metavar="DIR",
        help="folder for the results (%(default)s)",
    )
    add("--backend", type=_backend, metavar="NAME", help="array library (numpy); see npnn info")
    add("--device", type=_device, help="such as cuda:1, or 1; the library's default")
    add("--dtype", choices=backends.DTYPES, help="floating-point type (float32)")
    add("--hidden", type=_hidden, metavar="N,N", help="sizes of the hidden layers; 0 for none")
    add("--activation", choices=ACTIVATIONS, metavar="NAME", help=", ".join(ACTIVATIONS))
    add("--epochs", type=_whole(1), metavar="N", help="passes over the data")
    add("--batch-size", type=_whole(1), metavar="N", help="samples of one step")
    add("--alpha", type=_positive, help="learning rate")
    add("--optimizer", choices=OPTIMIZERS, metavar="NAME", help=", ".join(OPTIMIZERS))
    add("--seed", type=_whole(0), metavar="N", help="of the split, the weights and the order (0)")
    add("--target", metavar="COLUMN", help="a file's target: name or number (the last column)")
    add(
        "--task",
        choices=("classification", "binary", "regression"),
        help="what a file's target means (found out)",
    )
    add("--folder", metavar="DIR", help="where the files of MNIST are (downloaded once)")
    add(
        "--resume",
        nargs="?",
        const="",
        metavar="FILE",
        help="go on from a checkpoint (that in the output folder), as if never stopped",
    )
    add("--no-pictures", action="store_true", help="draw nothing")
    add("--no-capture", action="store_true", help="run each step plainly, for debugging")
    add("--quiet", action="store_true", help="print nothing but errors")
    train.set_defaults(run=run_train)


def _add_predict(commands: Any, common: argparse.ArgumentParser) -> None:
    predict = commands.add_parser(
        "predict",
        parents=[common],
        help="answer for the rows of a file",
        description=(
            "Print a line for each row of a CSV or NPZ file: the predicted class and its "
            "probability, or the predicted value. If the file also has the target, accuracy and "
            "loss follow on the standard error stream."
        ),
        epilog="example:\n  npnn predict npnn-output/model.safetensors new.csv --output out.csv",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument("model", metavar="MODEL", help="a model file")
    predict.add_argument("data", metavar="DATA", help="a CSV or NPZ file")
    predict.add_argument("--output", metavar="FILE", help="CSV file to write, with a header")
    predict.add_argument("--backend", type=_backend, default="numpy", metavar="NAME")
    predict.add_argument("--device", type=_device)
    predict.set_defaults(run=run_predict)


def _add_info(commands: Any, common: argparse.ArgumentParser) -> None:
    info = commands.add_parser(
        "info",
        parents=[common],
        help="show versions and backends, or what a model file holds",
        description="Show versions and the backends that work here, or what a model file holds.",
    )
    info.add_argument("model", nargs="?", metavar="MODEL", help="a model file")
    info.set_defaults(run=run_info)


# train -------------------------------------------------------------------------------------------


def run_train(options: argparse.Namespace) -> int:
    """Train, report and save; return the exit code."""
    folder = Path(options.output)
    checkpoint = _resumed(options, folder)
    run = _settings(options, None if checkpoint is None else checkpoint.details.get("run"))
    data = _dataset(run, options)
    run["epochs"] = run["epochs"] or _table_epochs(data, run["batch_size"])
    model = _new_model(run, data, options) if checkpoint is None else checkpoint
    if model.shape_in != data.shape_in or model.shape_out != data.shape_out:
        raise ValueError(
            f"{options.resume} is a model from {model.shape_in} to {model.shape_out}, but "
            f"{run['data']} is data from {data.shape_in} to {data.shape_out}"
        )
    model.details["run"] = run
    _check_writable(folder)

    say = (lambda text: None) if options.quiet else print
    say(f"{_described(data)}\n{_described_model(model, run)}\n")
    offset, scale = _target_units(model)
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

    # From here on the model speaks in the units of the data.
    _fold_target_units(model)
    model.save(folder / MODEL)
    written = [("model", MODEL)]
    if saving.saved or checkpoint is not None:
        written.append(("checkpoint", CHECKPOINT))
    if history.num_epochs:
        history.to_csv(folder / HISTORY)
        written.append(("history", HISTORY))
    y = _outputs(model, data.x_validation_data)
    say(_report(model, data, y, history))
    if not options.no_pictures:
        written += _draw(model, data, y, history, folder)
    if np.any(scale != 1.0):
        say("\nThe history's losses are those of targets scaled to a standard deviation of 1.")
    width = max(len(name) for name, _ in written)
    say("\n" + "\n".join(f"{name:{width}}  {folder / file}" for name, file in written))
    if history.interrupted:
        _say(f"interrupted after {history.num_epochs} of {run['epochs']} epochs")
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

    def on_epoch_end(self, training: Training, metrics: dict[str, float]) -> None:  # noqa: D102
        done = training.epoch >= training.epochs
        if done or not self.saved or time.monotonic() - self.last >= self.seconds:
            training.when_epoch_is_complete(lambda: self._save(training))

    def _save(self, training: Training) -> None:
        training.save(self.path)
        self.saved += 1
        self.last = time.monotonic()


def _resumed(options: argparse.Namespace, folder: Path) -> npnn.Sequential | None:
    if options.resume is None:
        return None
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
    )
    model.capture, model.seed = not options.no_capture, run["seed"]
    return model


def _settings(options: argparse.Namespace, before: dict[str, Any] | None) -> dict[str, Any]:
    """Return the settings of a run: the user's, or those of the run before, or the recipe's."""
    if before is not None:
        fixed = ("data", "hidden", "activation", "optimizer", "seed", "target", "task", "folder")
        for name in fixed:
            value = getattr(options, name)
            if name != "folder" and value is not None and value != before[name]:
                argument = name if name == "data" else f"--{name}"
                raise ValueError(
                    f"argument {argument}: the checkpoint was made with {before[name]}, and "
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
    for name in ("target", "task"):
        if recipe is not TABLE and getattr(options, name) is not None:
            raise ValueError(f"argument --{name}: is for CSV and NPZ files, not for {data}")
    if options.folder is not None and data not in ("mnist", "fashion-mnist"):
        raise ValueError(f"argument --folder: is for mnist and fashion-mnist, not for {data}")
    optimizer = options.optimizer or "adam"
    alpha = OPTIMIZERS[optimizer][2] or recipe.alpha
    return {
        "data": data,
        "target": options.target,
        "task": options.task,
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


def _dataset(run: dict[str, Any], options: argparse.Namespace) -> Dataset:
    from npnn import datasets

    recipe, seed = RECIPES.get(run["data"]), run["seed"]
    if recipe is None:
        if not os.path.exists(run["data"]):
            raise ValueError(
                f"argument DATA: there is no file {run['data']!r}, and no data set of that name; "
                f"there are {', '.join(RECIPES)}"
            )
        return datasets.Table(run["data"], run["target"], task=run["task"], seed=seed)
    make: Callable[..., Dataset] = getattr(datasets, recipe.dataset)
    if run["folder"] is not None:
        return make(run["folder"], seed=seed)
    return make(seed=seed)


def _table_epochs(data: Dataset, batch_size: int) -> int:
    steps = math.ceil(data.num_train_data / batch_size)
    return min(100, max(10, TABLE_STEPS // steps))


def _new_model(run: dict[str, Any], data: Dataset, options: argparse.Namespace) -> npnn.Sequential:
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
            # Targets of any size are learnt at unit scale; _fold_target_units undoes it.
            spread = np.std(data.y_train_data, axis=0, dtype=np.float64)
            model.details["target_units"] = {
                "offset": np.mean(data.y_train_data, axis=0, dtype=np.float64).tolist(),
                "scale": np.where(spread > 0.0, spread, 1.0).tolist(),
            }
    return model


def _target_units(model: npnn.Sequential) -> tuple[Any, Any]:
    units = model.details.get("target_units")
    if units is None:
        return np.float32(0.0), np.float32(1.0)
    return np.asarray(units["offset"]), np.asarray(units["scale"])


def _fold_target_units(model: npnn.Sequential) -> None:
    """Let the last layer do the way back from scaled targets, exactly: it is affine."""
    if "target_units" not in model.details:
        return
    offset, scale = _target_units(model)
    to_numpy = model.backend.to_numpy
    arrays = {**model.parameters(), **model.state()}
    host = {name: np.array(to_numpy(a)) for name, a in arrays.items()}
    last = str(len(model.layers) - 1)
    host[f"{last}.w"] = (host[f"{last}.w"] * scale[:, None]).astype(model.dtype)
    host[f"{last}.b"] = (host[f"{last}.b"] * scale + offset).astype(model.dtype)
    model.set_arrays(host)
    del model.details["target_units"]


def _optimizer(run: dict[str, Any]) -> npnn.Optimizer:
    kind, arguments, _ = OPTIMIZERS[run["optimizer"]]
    return npnn.Optimizer.registry[kind](run["alpha"], **arguments)


def _check_writable(folder: Path) -> None:
    import tempfile

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"argument --output: cannot write to {str(folder)!r}: {error.strerror}"
        ) from None


def _report(model: npnn.Sequential, data: Dataset, y: Any, history: History) -> str:
    from npnn import reports

    parts: dict[str, dict[str, float]] = {}
    for name, x, t, outputs in (
        ("training", data.x_train_data, data.y_train_data, None),
        ("validation", data.x_validation_data, data.y_validation_data, y),
    ):
        parts[name] = model.evaluate(x, t)
        if data.task == "regression":
            outputs = _outputs(model, x) if outputs is None else outputs
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
    model: npnn.Sequential, data: Dataset, y: Any, history: History, folder: Path
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
    except MissingError as error:
        _say(f"no pictures: {error}")
    return drawn


def _described(data: Dataset) -> str:
    classes = "" if data.class_names is None else f", {len(data.class_names)} classes"
    count = math.prod(data.shape_in)
    return (
        f"{data.name}: {data.num_train_data:,} training and {data.num_validation_data:,} "
        f"validation samples, {count:,} input{'s' * (count != 1)}{classes}"
    )


def _described_model(model: npnn.Sequential, run: dict[str, Any]) -> str:
    sizes = (math.prod(model.shape_in or ()), *run["hidden"], math.prod(model.shape_out or ()))
    activation = f" with {run['activation']}" if run["hidden"] else ""
    count = sum(math.prod(array.shape) for array in model.parameters().values())
    return (
        f"network {' → '.join(map(str, sizes))}{activation}: {count:,} parameters, "
        f"on {model.backend.name} in {model.dtype}"
    )


# predict -----------------------------------------------------------------------------------------


def run_predict(options: argparse.Namespace) -> int:
    """Answer for the rows of a file; return the exit code."""
    import csv
    import io

    model = npnn.load(options.model, backend=options.backend, device=options.device)
    _fold_target_units(model)
    schema = _schema(model)
    x, t = schema.read(options.data)
    y = _outputs(model, x)
    names = schema.class_names
    rows: list[Sequence[Any]]
    if names is None:
        many = [f"value{i + 1}" for i in range(y.shape[1])]
        columns = [schema.target] if len(many) == 1 else many
        rows = [[f"{value:.7g}" for value in row] for row in y]
    else:
        columns = ["class", "probability"]
        share = y if y.shape[1] > 1 else np.concatenate([1.0 - y, y], axis=1)
        best = share.argmax(axis=1)
        rows = [(names[i], f"{row[i]:.6f}") for i, row in zip(best, share, strict=True)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if options.output is not None:
        writer.writerow(columns)
    writer.writerows(rows)
    if options.output is None:
        sys.stdout.write(text.getvalue())
        sys.stdout.flush()
    else:
        from npnn.files import replacing

        with replacing(options.output) as file:
            file.write(text.getvalue().encode())
        print(f"{len(rows):,} answers in {options.output}")
    if t is not None:
        metrics = model.evaluate(x, t)
        shown = ", ".join(f"{name} {value:.6g}" for name, value in metrics.items())
        print(f"{len(x):,} rows: {shown}", file=sys.stderr)
    return 0


def _schema(model: npnn.Sequential) -> TableSchema:
    """Return the schema of the model's table, or one of plain numbers for other models."""
    from npnn.datasets import TableColumn, TableSchema

    config = model.details.get("schema")
    if config is not None:
        return TableSchema.from_config(config)
    assert model.shape_in is not None
    assert model.shape_out is not None
    inputs, outputs = math.prod(model.shape_in), math.prod(model.shape_out)
    last = type(model.layers[-1])
    task, names = "regression", None
    if last is npnn.Softmax or (last is npnn.Sigmoid and outputs == 1):
        task = "classification" if last is npnn.Softmax else "binary"
        names = tuple(model.class_names or map(str, range(max(2, outputs))))
    return TableSchema(
        columns=tuple(TableColumn(f"x{i + 1}") for i in range(inputs)),
        task=task,
        target="target",
        target_position=inputs,
        class_names=names,
        num_outputs=outputs,
        shape_in=model.shape_in,
        has_header=False,
    )


def _outputs(model: npnn.Sequential, x: Any) -> Any:
    """Return the outputs on the host, as rows."""
    y = model.backend.to_numpy(model.predict(x, batch_size=4096))
    return np.asarray(y, dtype=np.float64).reshape(len(x), -1)


# info --------------------------------------------------------------------------------------------


def run_info(options: argparse.Namespace) -> int:
    """Print versions and backends, or what a model file holds; return the exit code."""
    if options.model is not None:
        print(_model_info(options.model))
        return 0
    from importlib import metadata

    lines = [f"npnn {npnn.__version__}, Python {sys.version.split()[0]}, {sys.platform}"]
    libraries = ("numpy", "array-api-compat", "safetensors", "matplotlib", "cupy", "torch", "jax")
    for name in libraries:
        for distribution in (name, f"{name}-cuda12x", f"{name}-cuda13x"):
            try:
                lines.append(f"  {distribution} {metadata.version(distribution)}")
                break
            except metadata.PackageNotFoundError:
                continue
    lines += ["", "backends"]
    for name, found in backends.available().items():
        state = ", ".join(found["devices"]) if found["works"] else f"no: {found['reason']}"
        lines.append(f"  {name:17} {state}")
    print("\n".join(lines))
    return 0


def _model_info(path: str) -> str:
    from npnn import files
    from npnn.tables import human_bytes

    _, _, training = files.read(path)
    model = npnn.load(path)
    kind = "model" if training is None else f"checkpoint after epoch {training['epoch']}"
    lines = [f"{path}: {kind}, {human_bytes(os.path.getsize(path))}", "", model.summary()]
    if model.chain is not None:
        lines.append(f"loss {model.chain!r}")
    if model.norm is not None:
        lines.append("inputs are normalised by the model")
    if model.class_names:
        lines.append(f"classes {', '.join(model.class_names)}")
    if "schema" in model.details:
        schema = _schema(model)
        lines.append(f"columns {', '.join(column.name for column in schema.columns)}")
        lines.append(f"target {schema.target} ({schema.task})")
    run = model.details.get("run")
    if run is not None:
        lines.append(
            f"trained on {run['data']}: {run['epochs']} epochs, batch size {run['batch_size']}, "
            f"{run['optimizer']} with alpha {run['alpha']:g}, seed {run['seed']}"
        )
    return "\n".join(lines)


# Arguments and errors ----------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        _say_error(message)
        raise SystemExit(2)


def _whole(least: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(
                f"must be a whole number, {least} or more, not {text!r}"
            )
        return value

    return convert


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value


def _hidden(text: str) -> list[int]:
    if text.strip() in ("0", "none", ""):
        return []
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        sizes = [0]
    if min(sizes) < 1:
        raise argparse.ArgumentTypeError(
            f"must be sizes such as 128,64 (or 0 for no hidden layer), not {text!r}"
        )
    return sizes


def _backend(text: str) -> str:
    if text not in backends.names():
        raise argparse.ArgumentTypeError(
            f"unknown backend {text!r}; there are {', '.join(backends.names())}"
        )
    return text


def _device(text: str) -> str | int:
    return int(text) if text.isdigit() else text


def _sentence(error: BaseException) -> str:
    """Return an error as one line."""
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    elif isinstance(error, MemoryError):
        text = f"not enough memory: {error}" if str(error) else "not enough memory"
    else:
        text = str(error)
    return " ".join(text.split())


def _say_error(text: str) -> None:
    _say(f"error: {text}")


def _say(text: str) -> None:
    sys.stdout.flush()
    print(f"npnn: {text}", file=sys.stderr)
