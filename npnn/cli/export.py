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
        help="write a trained model as an ONNX file",
        description=(
            "Write a model, with the normalisation of its inputs, as an ONNX file, which runs "
            "where npnn is not."
        ),
        epilog="example:\n  npnn export npnn-output/model.safetensors model.onnx",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    export.add_argument("model", metavar="MODEL", help="a file that npnn train or save() wrote")
    export.add_argument("file", metavar="FILE", help="the ONNX file to write")
    export.add_argument(
        "--dtype",
        choices=("float32", "float64"),
        default="float32",
        help="in which it computes (float32)",
    )
    export.set_defaults(run=run_export)


def run_export(options: argparse.Namespace) -> int:
    """Write the file; return the exit code."""
    from npnn.onnx import export

    model = npnn.load(options.model)
    export(model, options.file, dtype=options.dtype)
    print(f"wrote {options.file}: input x {model.shape_in}, output y {model.shape_out}")
    if model.class_names:
        print(f"classes {', '.join(map(repr, model.class_names))}")
    return 0
