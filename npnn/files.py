"""Model files: safetensors, with everything that is not an array as JSON in the metadata.

Never pickle: reading a file runs no code of the file's author.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.io import replacing
from npnn.version import __version__

if TYPE_CHECKING:
    from npnn.model import Sequential

FORMAT = 1
"""The version of the layout below; a file of a later one is refused."""

# Tensors of the model bear their parameter's name ("0.w"); those under a folder are training's.
FOLDER = "/"


def save(
    model: Sequential,
    path: str | os.PathLike[str],
    *,
    extra_arrays: dict[str, np.ndarray] | None = None,
    extra: dict[str, Any] | None = None,
) -> None:
    """Write a model to a safetensors file, whole or not at all.

    Parameters
    ----------
    model : Sequential
        Its architecture, weights, state, loss, normalisation, class names and details are saved.
    path : path_like
        The file to write; an old one is replaced in one step.
    extra_arrays, extra : dict, optional
        What training adds to be able to go on: arrays, whose names hold a ``/``, and plain values.

    Raises
    ------
    ValueError
        If the model's shapes are not known yet.
    OSError
        If the file cannot be written; an old one is then as it was.
    """
    import safetensors.numpy

    arrays = {**model.parameters(), **model.state()}
    tensors = {name: np.asarray(model.backend.to_numpy(a), order="C") for name, a in arrays.items()}
    description = {
        "layers": model.to_config()["layers"],
        "shape_in": model.shape_in,
        "dtype": model.dtype,
        "norm": model.norm and model.norm.to_config(),
        "target_norm": model.target_norm and model.target_norm.to_config(),
        "class_names": model.class_names,
        "loss": _loss_config(model),
        "details": model.details,
    }
    metadata = {
        "format": "npnn",
        "format_version": str(FORMAT),
        "npnn_version": __version__,
        "model": json.dumps(description),
        "training": json.dumps(extra),
    }
    data = safetensors.numpy.save({**tensors, **(extra_arrays or {})}, metadata)
    with replacing(path) as file:
        file.write(data)


def read(
    path: str | os.PathLike[str],
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Any] | None]:
    """Return the description, the tensors, and what training stored, of a model file."""
    import safetensors
    import safetensors.numpy

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {path}")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        tensors = safetensors.numpy.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from None
    if metadata.get("format") != "npnn":
        raise ValueError(f"{path} is a safetensors file, but not a model of npnn")
    try:
        version = int(metadata["format_version"])
        if version > FORMAT:
            raise ValueError(
                f"it was written by npnn {metadata.get('npnn_version')}, in file format {version}; "
                f"this version reads up to {FORMAT}: upgrade npnn"
            )
        return json.loads(metadata["model"]), tensors, json.loads(metadata["training"])
    except KeyError as error:
        raise ValueError(f"{path}: its metadata lack {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _loss_config(model: Sequential) -> dict[str, Any] | None:
    loss = model.chain
    alone = loss is not None and loss.is_loss and loss.chain is None
    return loss.to_config() if alone else None
