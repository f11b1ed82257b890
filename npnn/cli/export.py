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
            "file that needs NumPy alone, which run where npnn is not."
        ),
        epilog=(
            "examples:\n"
            "  npnn export npnn-output/model.safetensors model.onnx\n"
            "  npnn export --numpy npnn-output/model.safetensors model.py"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    export.add_argument("model", metavar="MODEL", help="a file that npnn train or save() wrote")
    export.add_argument("file", metavar="FILE", help="the file to write")
    export.add_argument(
        "--numpy", action="store_true", help="a Python file with predict(x), in the model's dtype"
    )
    export.add_argument(
        "--dtype",
        choices=("float32", "float64"),
        help="in which an ONNX file computes (float32)",
    )
    export.set_defaults(run=run_export)


def run_export(options: argparse.Namespace) -> int:
    """Write the file; return the exit code."""
    if options.numpy and options.dtype:
        raise ValueError("--dtype is of ONNX files; a file for NumPy computes in the model's dtype")
    model = npnn.load(options.model)
    if options.numpy:
        from npnn.numpy_file import export as export_for_numpy

        export_for_numpy(model, options.file)
    else:
        from npnn.onnx import export

        export(model, options.file, dtype=options.dtype or "float32")
    print(f"wrote {options.file}: input x {model.shape_in}, output y {model.shape_out}")
    if model.class_names:
        print(f"classes {', '.join(map(repr, model.class_names))}")
    return 0
