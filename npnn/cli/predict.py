"""``npnn predict``: answer for the rows of a file."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import npnn
from npnn.cli.arguments import (
    TABLE_OPTIONS,
    add_table_options,
    backend_name,
    device_name,
    say_aside,
    table_options,
)
from npnn.cli.models import fold_target_units, outputs_of, schema_of
from npnn.cli.recipes import run_of

if TYPE_CHECKING:
    from npnn.datasets import TableSchema


def add_predict(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to the parser."""
    predict = commands.add_parser(
        "predict",
        parents=[common],
        help="answer for the rows of a file",
        description=(
            "Print a line for each row of a CSV or NPZ file: the predicted class and its "
            "probability, or the predicted value. If the file also has the target, loss and "
            "accuracy (or root mean square error and R²) follow on the standard error stream."
        ),
        epilog="example:\n  npnn predict npnn-output/model.safetensors new.csv --output out.csv",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument("model", metavar="MODEL", help="a model file")
    predict.add_argument("data", metavar="DATA", help="a CSV or NPZ file")
    predict.add_argument(
        "--output", metavar="FILE", help="CSV file to write, with a header; - is stdout"
    )
    add_table_options(predict)
    predict.add_argument("--backend", type=backend_name, default="numpy", metavar="NAME")
    predict.add_argument("--device", type=device_name)
    predict.set_defaults(run=run_predict)


def run_predict(options: argparse.Namespace) -> int:
    """Answer for the rows of a file; return the exit code."""
    import csv
    import io

    from npnn import reports

    if options.output not in (None, "-"):
        _check_output(options)
    model = npnn.load(options.model, backend=options.backend, device=options.device)
    fold_target_units(model)
    schema = schema_of(model)
    x, t = _read(schema, run_of(model.details) or {}, options)
    y = outputs_of(model, x)
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
    if options.output in (None, "-"):
        _check_letters(text.getvalue(), getattr(sys.stdout, "encoding", None) or "utf-8")
        sys.stdout.write(text.getvalue())
        sys.stdout.flush()
    else:
        from npnn.io import replacing

        with replacing(options.output) as file:
            file.write(text.getvalue().encode())
        print(f"{len(rows):,} answers in {options.output}")
    if t is not None:
        # Of a regression only what has the units of the target: the loss may be of scaled targets.
        metrics = model.evaluate(x, t) if names else reports.regression_metrics(y, t)
        shown = ", ".join(f"{name} {value:.6g}" for name, value in metrics.items())
        print(f"{len(x):,} rows: {shown}", file=sys.stderr)
    return 0


def _check_letters(text: str, encoding: str) -> None:
    """Raise the error for answers that an encoding cannot tell apart from others."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the answers hold {text[error.start]!a}, which the output's encoding, {encoding}, has "
            "not: write them into a file with --output, or set PYTHONUTF8=1"
        ) from None


def _check_output(options: argparse.Namespace) -> None:
    for name, path in (("MODEL", options.model), ("DATA", options.data)):
        pair = (options.output, path)
        if all(map(os.path.exists, pair)) and os.path.samefile(*pair):
            raise ValueError(
                f"argument --output: {options.output} is the file of {name}, {path}, which would "
                "be overwritten"
            )


def _read(schema: TableSchema, run: dict[str, Any], options: argparse.Namespace) -> tuple[Any, Any]:
    """Return inputs and targets; a CSV file is read like the one trained on, if not told how."""
    from npnn.datasets.cells import existing
    from npnn.datasets.npz import is_npz

    path = existing(options.data)
    given = {name: getattr(options, name) for name in TABLE_OPTIONS}
    if is_npz(path):
        for name in (name for name, value in given.items() if value is not None):
            raise ValueError(f"argument --{name}: is for CSV files, not for {path}")
        return schema.read(path)
    # Whether there is a header is told from the names and kinds of the columns.
    before = {name: run.get(name) for name in TABLE_OPTIONS if name != "header"}
    chosen = {name: given[name] or before.get(name) for name in TABLE_OPTIONS}
    table = schema.read_table(path, **table_options(chosen))
    x, t = schema.encode(table)
    if not table.has_header:
        say_aside(
            f"{path} has no header: line 1 is read as data, and the columns go by position "
            "(--header yes if it holds names)"
        )
    return x, t
