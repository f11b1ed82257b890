"""``npnn train``: train on a data set or a table, report, save, draw."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import npnn
from npnn.cli.arguments import say_aside, sentence, whole
from npnn.cli.fitting import batch_size_of, find, weights_of
from npnn.cli.hints import hint
from npnn.cli.models import outputs_of
from npnn.cli.outputs import (
    CHECKPOINT,
    HISTORY,
    MODEL,
    SaveNowAndThen,
    check_outputs,
    check_writable,
    earlier_outputs,
    save_somewhere,
)
from npnn.cli.recipes import (
    RECIPES,
    add_model_options,
    dataset_of,
    new_model,
    new_optimizer,
    run_of,
    settings,
)
from npnn.cli.report import (
    described,
    described_model,
    draw,
    parts_of,
    report,
    with_regression_metrics,
)
from npnn.cli.shown import Shown, add_shown_options
from npnn.cli.tables import wrapped
from npnn.io import counted
from npnn.losses import default_loss
from npnn.plain import field
from npnn.scores import Scores

if TYPE_CHECKING:
    from npnn.datasets import Dataset

INTERRUPTED = 130


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
    add("--metrics", nargs="+", metavar="NAME", help="to report too, such as f1 roc_auc, or mae")
    add(
        "--resume",
        nargs="?",
        const="",
        metavar="FILE",
        help="go on from a checkpoint (that in the output folder), as if never stopped",
    )
    add_shown_options(add)
    add("--no-capture", action="store_true", help="run each step plainly, for debugging")
    add("--quiet", action="store_true", help="print nothing but errors")
    train.set_defaults(run=run_train)


def run_train(options: argparse.Namespace) -> int:
    """Train, report and save; return the exit code."""
    folder = Path(options.output)
    checkpoint, done = _resumed(options, folder)
    run = settings(options, None if checkpoint is None else run_of(checkpoint.details))
    data = dataset_of(run, options)
    _check_fingerprint(run, data, options.resume)
    run["batch_size"] = run["batch_size"] or batch_size_of(data.num_train_data)
    say = (lambda text: None) if options.quiet else print
    show = not options.quiet and sys.stderr.isatty()
    # A rate that has fallen to where training should end is too small to go on with.
    anew = options.alpha is not None or (options.epochs is not None and run.get("falls", False))
    model = new_model(run, data, options) if checkpoint is None else checkpoint
    if model.shape_in != data.shape_in or model.shape_out != data.shape_out:
        raise ValueError(
            f"{options.resume} is a model from {model.shape_in} to {model.shape_out}, but "
            f"{run['data']} is data from {data.shape_in} to {data.shape_out}"
        )
    if checkpoint is not None and run["epochs"] <= done:
        already = (
            f"{options.resume} has already {counted(done, 'epoch')}; ask for more with --epochs"
        )
        if options.epochs is not None:
            raise ValueError(f"argument --epochs: {already}")
        if (folder / MODEL).exists():
            say(already)
            return 0
    if model.chain is None:
        model.chain = default_loss(model)
    Scores(run.get("metrics") or (), model.runner.network)  # which refuses what it cannot measure
    check_outputs(folder, run["data"])
    check_writable(folder)
    earlier = earlier_outputs(folder, options.resume)

    say(described(data))
    run["falls"] = run.get("falls", False) and options.epochs is None
    is_open = not run["epochs"]
    if is_open:
        find(run, data, options, show)
        model = new_model(run, data, options)
    say(described_model(model, run))
    if is_open:
        say(
            f"{run['epochs']} epochs and a dropout of {run['dropout']:g}, found on training rows "
            "that were held out"
        )
    say("")
    model.details["run"] = run
    saving = SaveNowAndThen(folder / CHECKPOINT)
    shown = Shown(options, data, folder)
    steps = run["epochs"] * math.ceil(data.num_train_data / run["batch_size"])
    fresh = new_optimizer(run, steps if run["falls"] else None)
    history = model.fit(
        data.x_train_data,
        data.y_train_data,
        w=weights_of(run, data.c_train_data),
        validation_data=(data.x_validation_data, data.y_validation_data),
        epochs=run["epochs"],
        batch_size=run["batch_size"],
        optimizer=None if checkpoint is not None and not anew else fresh,
        seed=run["seed"],
        callbacks=[saving, *shown.callbacks],
        metrics=run.get("metrics") or (),
        progress=show,
        resume=None if checkpoint is None else options.resume,
    )
    metrics = {name: model.evaluate(x, t) for name, (x, t) in parts_of(data).items()}

    # Before anything is printed: a reader that goes away must not leave them beside the model.
    for file in earlier:
        if file != MODEL and not (file == CHECKPOINT and saving.saved):
            (folder / file).unlink(missing_ok=True)

    place = save_somewhere(model, folder / MODEL)
    written = [("model", MODEL)] if place == folder / MODEL else []
    if saving.saved or checkpoint is not None:
        written.append(("checkpoint", CHECKPOINT))
    if history.num_epochs:
        try:
            history.to_csv(folder / HISTORY)
            written.append(("history", HISTORY))
        except OSError as error:
            say_aside(f"no history: {sentence(error)}")
    y = outputs_of(model, data.x_validation_data)
    if data.task == "regression":
        with_regression_metrics(model, data, y, metrics)
    for name, (x, t) in parts_of(data).items() if run.get("metrics") else ():
        found = model.evaluate(x, t, metrics=run["metrics"])
        metrics[name] = {**found, **metrics[name]}
    say(report(data, y, history, metrics))
    if not options.no_pictures:
        written += draw(model, data, y, history, folder)
    written += shown.write(model, history, run)
    width = max((len(name) for name, _ in written), default=0)
    say("\n" + "\n".join(f"{name:{width}}  {folder / file}" for name, file in written))
    stale = [file for file in earlier if file not in {file for _, file in written}]
    if stale:
        say(f"removed, of an earlier training: {', '.join(stale)}")
    say("\n" + "\n".join(wrapped([hint(data, y, history, metrics, run)])))
    if place != folder / MODEL:
        return 2
    if history.interrupted:
        say_aside(f"interrupted after {history.num_epochs} of {run['epochs']} epochs")
        return INTERRUPTED
    return 0


def _resumed(options: argparse.Namespace, folder: Path) -> tuple[npnn.Sequential | None, int]:
    """Return the model of the checkpoint, if one is asked for, and the epochs it has."""
    if options.resume is None:
        return None, 0
    from npnn import files

    options.resume = options.resume or str(folder / CHECKPOINT)
    if Path(options.resume).is_dir():
        options.resume = str(Path(options.resume) / CHECKPOINT)
    description, _, training = files.read(options.resume)
    run = run_of(description["details"])
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
    return model, field(training, "epoch", int)


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
