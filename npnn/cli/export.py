"""``npnn export``: a trained model as a file that others can run."""

from __future__ import annotations

import argparse
from typing import Any

import npnn


def add_export(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to the parser."""
    export = commands.add_parser(
        "export",
        parents=[common],
        help="write a trained model as an ONNX file, or as one that needs NumPy alone",
        description=(
            "Write a model, with the normalisation of its inputs, as an ONNX file, or as a Python "
            "file that needs NumPy alone, which run where npnn is not. That of a table takes the "
            "table's columns as they are: text, numbers, and (for ONNX, as seconds) dates."
        ),
        epilog=(
            "examples:\n"
            "  npnn export npnn-output/model.safetensors model.onnx\n"
            "  npnn export --numpy npnn-output/model.safetensors model.py\n"
            "  python model.py new.csv"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    export.add_argument("model", metavar="MODEL", help="a file that npnn train or save() wrote")
    export.add_argument(
        "file", metavar="FILE", help="the file to write: .onnx, or .py with --numpy"
    )
    export.add_argument(
        "--numpy", action="store_true", help="a Python file with predict(x), in the model's dtype"
    )
    export.add_argument(
        "--dtype",
        choices=("float32", "float64"),
        help="in which an ONNX file computes (float32)",
    )
    export.add_argument(
        "--inputs",
        choices=("columns", "features"),
        default="columns",
        help="what the file of a table takes: its columns, or what they become (columns)",
    )
    export.set_defaults(run=run_export)


def run_export(options: argparse.Namespace) -> int:
    """Write the file; return the exit code."""
    from npnn.datasets.cells import quoted
    from npnn.written import table_of

    if not options.file.lower().endswith(".py" if options.numpy else ".onnx"):
        raise ValueError(
            "argument FILE: the name must end in .onnx, or with --numpy in .py, "
            f"and not {options.file!r}{' with --numpy' if options.numpy else ''}"
        )
    if options.numpy and options.dtype:
        raise ValueError("--dtype is of ONNX files; a file for NumPy computes in the model's dtype")
    model = npnn.load(options.model)
    if options.numpy:
        from npnn.numpy_file import export as export_for_numpy

        export_for_numpy(model, options.file, inputs=options.inputs)
    else:
        from npnn.onnx import export

        export(model, options.file, dtype=options.dtype or "float32", inputs=options.inputs)
    table = table_of(model, options.inputs)
    if table is None:
        print(f"wrote {options.file}: input x {model.shape_in}, output y {model.shape_out}")
    else:
        print(f"wrote {options.file}: inputs {quoted(table.layout.names)}")
        dates = [column.name for column in table.columns if column.kind == "date"]
        if dates and not options.numpy:
            print(f"dates and times come in as seconds since 1970, or midnight: {quoted(dates)}")
    if model.class_names:
        print(f"classes {', '.join(map(repr, model.class_names))}")
    return 0
