"""``npnn info``: versions and backends, or what a model file holds."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

import npnn
from npnn import backends, summary
from npnn.cli.models import schema_of
from npnn.cli.recipes import run_of
from npnn.plain import field


def add_info(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to the parser."""
    info = commands.add_parser(
        "info",
        parents=[common],
        help="show versions and backends, or what a model file holds",
        description="Show versions and the backends that work here, or what a model file holds.",
    )
    info.add_argument("model", nargs="?", metavar="MODEL", help="a model file")
    info.set_defaults(run=run_info)


def run_info(options: argparse.Namespace) -> int:
    """Print versions and backends, or what a model file holds; return the exit code."""
    if options.model is not None:
        print(_model_info(options.model))
        return 0
    from importlib import metadata

    lines = [f"npnn {npnn.__version__}, Python {sys.version.split()[0]}, {sys.platform}"]
    libraries = (
        "numpy",
        "array-api-compat",
        "matplotlib",
        "numba",
        "cupy",
        "torch",
        "jax",
    )
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
    from npnn.datasets.cells import quoted
    from npnn.io import counted, human_bytes

    _, _, training = files.read(path)
    model = npnn.load(path)
    kind = "model"
    if training is not None:
        kind = f"checkpoint after epoch {field(training, 'epoch', int)}"
    lines = [f"{path}: {kind}, {human_bytes(os.path.getsize(path))}", "", summary.layers(model)]
    if model.chain is not None:
        lines.append(f"loss {model.chain!r}")
    if model.norm is not None:
        lines.append("inputs are normalised by the model")
    if model.class_names:
        lines.append(f"classes {quoted(model.class_names, 1000)}")
    if "schema" in model.details:
        schema = schema_of(model)
        lines.append(f"columns {quoted([column.name for column in schema.columns], 1000)}")
        lines.append(f"target {schema.target!r} ({schema.task})")
    run = run_of(model.details)
    if run is not None and run.get("ignore"):
        lines.append(f"left out {quoted(run['ignore'], 1000)}")
    if run is not None:
        lines.append(
            f"trained on {run['data']}: {counted(run['epochs'], 'epoch')}, "
            f"batch size {run['batch_size']}, {run['optimizer']} with alpha {run['alpha']:g}, "
            f"seed {run['seed']}"
        )
    return "\n".join(lines)
