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
from npnn.cli.models import outputs_of, schema_of
from npnn.cli.recipes import run_of

if TYPE_CHECKING:
    from npnn.datasets import TableSchema
    from npnn.datasets.schema import Answerable


def add_predict(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to the parser."""
    predict = commands.add_parser(
        "predict",
        parents=[common],
        help="answer for the rows of a file",
        description=(
            "Print a line for each row of a table: the predicted class and its "
            "probability, or the predicted value. If the file also has the target, loss and "
            "accuracy (or root mean square error and R²) follow on the standard error stream."
        ),
        epilog="example:\n  npnn predict npnn-output/model.safetensors new.csv --output out.csv",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument("model", metavar="MODEL", help="a model file")
    predict.add_argument("data", metavar="DATA", help="a table like that trained on; - is stdin")
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

    if options.output not in (None, "-"):
        _check_output(options)
    model = npnn.load(options.model, backend=options.backend, device=options.device)
    schema = schema_of(model)
    found = _read(schema, run_of(model.details) or {}, options)
    y = outputs_of(model, found.x)
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
    if any(found.remarks):
        columns = [*columns, "remark"]
        rows = [(*row, remark) for row, remark in zip(rows, found.remarks, strict=True)]
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
    if found.t is not None:
        print(_measures(model, names is not None, y, found), file=sys.stderr)
    return 0


def _measures(model: npnn.Sequential, classes: bool, y: np.ndarray, found: Answerable) -> str:
    """Say how good the answers are, of the rows that have a label."""
    from npnn import reports

    t = np.asarray(found.t)
    known = np.isfinite(t).all(axis=1)
    strange = sum(found.unknown_labels.values()) if classes else 0
    metrics: dict[str, float] = {}
    if known.any():
        x, t = found.x[known], t[known]
        metrics = model.evaluate(x, t) if classes else reports.regression_metrics(y[known], t)
    if strange:
        # An answer is never a label that the model does not know, and so is a mistake.
        count = int(known.sum())
        metrics["accuracy"] = metrics.get("accuracy", 0.0) * count / (count + strange)
    shown = ", ".join(f"{name} {value:.6g}" for name, value in metrics.items())
    lines = [f"{int(known.sum()) + strange:,} rows: {shown}"]
    without = len(known) - int(known.sum()) - strange
    if without:
        lines[0] += f" ({without:,} more have no target)"
    if found.unknown_labels and classes:
        each = ", ".join(
            f"{label!r} ({n:,})" for label, n in list(found.unknown_labels.items())[:5]
        )
        lines.append(f"labels that training did not have count as mistakes: {each}")
    return "\n".join(lines)


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


def _read(schema: TableSchema, run: dict[str, Any], options: argparse.Namespace) -> Answerable:
    """Return inputs and targets; a text is read like the one trained on, if not told how."""
    from npnn.datasets.npz import is_npz
    from npnn.datasets.schema import Answerable
    from npnn.datasets.sources import existing

    path = existing(options.data)
    given = {name: getattr(options, name) for name in TABLE_OPTIONS}
    if is_npz(path):
        for name in (name for name, value in given.items() if value is not None):
            raise ValueError(f"argument --{name}: is for CSV files, not for {path}")
        x, t = schema.read(path)
        return Answerable(x, t, {}, [""] * len(x), {})
    # Whether there is a header is told from the names and kinds of the columns.
    before = {name: run.get(name) for name in TABLE_OPTIONS if name != "header"}
    chosen = {name: given[name] or before.get(name) for name in TABLE_OPTIONS}
    table = schema.read_table(path, **table_options(chosen))
    found = schema.encode(table)
    if not table.has_header:
        say_aside(
            f"{path} has no header: line 1 is read as data, and the columns go by position "
            "(--header yes if it holds names)"
        )
    for note in table.notes:
        say_aside(note)
    if found.missing:
        each = ", ".join(f"{name!r} ({count:,})" for name, count in found.missing.items())
        say_aside(f"missing values were filled: {each:.300}")
    strange = [(line, text) for line, text in zip(table.lines, found.remarks, strict=True) if text]
    if strange:
        first = "; ".join(f"line {line}: {text}" for line, text in strange[:3])
        more = f" and {len(strange) - 3:,} more" if len(strange) > 3 else ""
        say_aside(f"values that training did not have count as average ones: {first}{more}")
    return found
