"""Model files: safetensors, with everything that is not an array as JSON in the metadata.

Never pickle: reading a file runs no code of the file's author. What a file says is looked at before
it is believed, and before memory is taken for it; whatever is wrong with it is a `FileError`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn import tensors
from npnn.arrays import as_shape
from npnn.backends import DTYPES
from npnn.errors import FileError, MissingError
from npnn.initializers import Drawn
from npnn.io import Place, called, reading, writing
from npnn.losses import LossLayer
from npnn.normalization import Normalization
from npnn.plain import Reader, Writer, jsonable
from npnn.version import __version__

if TYPE_CHECKING:
    from npnn.model import Sequential

FORMAT = 1
"""The version of the layout below; a file of a later one is refused."""

# Tensors of the model bear their parameter's name ("0.w"); those under a folder are training's.
FOLDER = "/"


def save(
    model: Sequential,
    path: Place,
    *,
    extra_arrays: dict[str, np.ndarray] | None = None,
    extra: dict[str, Any] | None = None,
) -> None:
    """Write a model to a safetensors file, whole or not at all.

    Parameters
    ----------
    model : Sequential
        Its architecture, weights, state, loss, normalisation, class names and details are saved.
    path : path_like or binary file
        The file to write; an old one is replaced in one step, and keeps its mode. A file that is
        open is written to where it stands.
    extra_arrays, extra : dict, optional
        What training adds to be able to go on: arrays, whose names hold a ``/``, and plain values.

    Raises
    ------
    npnn.FileError
        If there is something that a file cannot hold; nothing is written then.
    ValueError
        If the model's shapes are not known yet.
    OSError
        If the file cannot be written; an old one is then as it was.
    """
    if not model.layers:
        raise ValueError("the model has no layers, and nothing to save")
    arrays = {**model.parameters(), **model.state()}
    with unsaved():
        check_arrays(model, arrays)
    write(model, path, arrays, extra_arrays or {}, extra)


def write(
    model: Sequential,
    path: Place,
    arrays: dict[str, Any],
    extra_arrays: dict[str, np.ndarray],
    extra: dict[str, Any] | None,
) -> None:
    """Write a model with these arrays, which are the backend's, and those of a training."""
    metadata = described(model, extra)
    found = {name: np.asarray(model.backend.to_numpy(a)) for name, a in arrays.items()}
    found.update(extra_arrays)
    with unsaved():
        header = tensors.header_of(found, metadata)
    with writing(path) as file:
        tensors.write(file, header, found)


def described(model: Sequential, extra: dict[str, Any] | None = None) -> dict[str, str]:
    """Return what a file holds of a model besides its arrays, or say what no file can hold."""
    with unsaved():
        config = {
            **model._described(Writer()),
            "shape_in": model.shape_in,
            "dtype": model.dtype,
            "loss": model.chain.to_config() if ends_with_loss(model) else None,
        }
        texts = {
            "model": json.dumps(config, separators=(",", ":")),
            "training": json.dumps(jsonable(extra, "the training"), separators=(",", ":")),
        }
        for text in texts.values():
            tensors.check_cost(text.encode())
    fixed = {"format": "npnn", "format_version": str(FORMAT), "npnn_version": __version__}
    return {**fixed, **texts}


def ends_with_loss(model: Sequential) -> bool:
    """Return whether the chain of a model is a loss and nothing more, as a file can hold it."""
    return isinstance(model.chain, LossLayer) and model.chain.chain is None


def with_settings(model: Sequential, config: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a row of layers, with what a model has beside them."""
    return {
        **config,
        "type": "Sequential",
        "norm": model.norm and model.norm.to_config(),
        "target_norm": model.target_norm and model.target_norm.to_config(),
        "class_names": model.class_names,
        "details": jsonable(model.details, "details"),
    }


def set_settings(model: Sequential, config: dict[str, Any], reader: Reader) -> None:
    """Put into an empty model what :func:`with_settings` described; it is not built then."""
    check_fields(config, FIELDS, "a model")
    model._take_in(reader.layers(config["layers"]))
    model.norm = _normalization(config["norm"], "norm")
    model.target_norm = _normalization(config.get("target_norm"), "target_norm")
    model.class_names, model.details = config["class_names"], config["details"]
    model.trainable = config.get("trainable", True) is not False


def _normalization(config: Any, what: str) -> Normalization | None:
    if config is None:
        return None
    check_fields(config, {"offset": ANY, "scale": ANY}, what)
    return Normalization(config["offset"], config["scale"])


@contextlib.contextmanager
def unsaved(what: str = "the model") -> Iterator[None]:
    """Say of an error within that it is why something cannot be saved."""
    try:
        yield
    except (ValueError, RecursionError) as error:
        raise FileError(f"{what} cannot be saved: {error}") from None


def read(path: Place) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Any] | None]:
    """Return the description, the tensors, and what training stored, of a model file.

    Raises
    ------
    npnn.FileError
        If it is damaged, no model of this package, or of a later version.
    FileNotFoundError
        If there is no such file.
    """
    with reading(path) as (file, size), blamed(path):
        with _whole():
            metadata, places = tensors.read_header(file, size)
        if metadata.get("format") != "npnn":
            raise FileError("it is a safetensors file, but not a model of npnn")
        description, training = _texts(metadata)
        with _whole():
            return description, tensors.read_arrays(file, places), training


def check_arrays(model: Sequential, arrays: dict[str, Any]) -> None:
    """Raise the error for an array of a model that cannot be one, such as a NaN as a weight."""
    with model.backend.current():
        for name, layer, attribute in model._slots("parameter_names", "state_names"):
            layer.check_array(attribute, arrays[name], repr(name))


def fill(
    model: Sequential,
    path: Place,
    description: dict[str, Any],
    arrays: dict[str, np.ndarray],
    *,
    as_it_is: bool = False,
) -> None:
    """Make an empty model what :func:`read` gave; a copy is `as_it_is`, NaN and all."""
    with blamed(path):
        own = {name: array for name, array in arrays.items() if FOLDER not in name}
        set_settings(model, description, Reader(model.backend))
        if description["shape_in"] is not None:
            shape = as_shape(description["shape_in"], "shape_in")
            places = {id(layer): place for place, layer in reversed(list(model.walk()))}
            model.build_at(shape, Drawn(places, own))
            _put(model, own)
            if not as_it_is:
                check_arrays(model, own)
            _check_norm(model)
        elif own:
            raise FileError(f"its shape_in is missing, but it has weights: {sorted(own)[0]!r}")
        if description["loss"] is not None:
            loss = Reader(model.backend).named("layer", description["loss"])
            if not isinstance(loss, LossLayer):
                raise FileError(f"its loss is none: {loss!r:.100}")
            model.chain = loss


def _put(model: Sequential, arrays: dict[str, np.ndarray]) -> None:
    """Give a model that was built the arrays of a file, if they are its own."""
    slots = list(model._slots("parameter_names", "state_names"))
    for name in sorted({name for name, _, _ in slots} ^ arrays.keys()):
        raise FileError(f"{name!r} is {'not in the model' if name in arrays else 'missing'}")
    for name, layer, attribute in slots:
        given, needed = arrays[name].shape, tuple(getattr(layer, attribute).shape)
        if given != needed:
            raise FileError(f"{name!r} has shape {given}, but the model needs {needed}")
    with model.backend.current():
        for name, layer, attribute in slots:
            vars(layer)[attribute] = model.backend.asarray(arrays[name], copy=True)


def _check_norm(model: Sequential) -> None:
    shape: Any = model.shape_in
    if model.norm is not None and isinstance(shape, tuple) and all(map(_is_int, shape)):
        model.norm.check_fits(shape)
    if model.target_norm is not None and model.shape_out is not None:
        model.target_norm.check_fits(model.shape_out, "target_norm", "outputs")


def _is_int(axis: object) -> bool:
    return isinstance(axis, int)


def _texts(metadata: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return what the metadata say of the model, and of its training."""
    version = metadata.get("format_version", "")
    if not version.isdecimal() or len(version) > 9:
        raise FileError(f"its format_version is {version!r:.100}, and no number")
    if int(version) > FORMAT:
        raise FileError(
            f"it was written by npnn {metadata.get('npnn_version', '?'):.100}, in file format "
            f"{version}; this version reads up to {FORMAT}: upgrade npnn"
        )
    found = {}
    for name in ("model", "training"):
        if name not in metadata:
            raise FileError(f"its metadata lack {name!r}")
        try:
            found[name] = tensors.parsed(metadata[name])
        except ValueError as error:
            raise FileError(f"its metadata {name!r}: {error}") from None
    check_fields(found["model"], {**FIELDS, **OUTERMOST}, "model")
    if found["model"]["dtype"] not in DTYPES:
        raise FileError(f"its dtype {found['model']['dtype']!r:.100} is none of a model's")
    if found["training"] is not None:
        check_fields(found["training"], {}, "training")
    return found["model"], found["training"]


NONE = type(None)
ANY = (list, int, float)
FIELDS: dict[str, tuple[type, ...]] = {
    "layers": (list,),
    "norm": (dict, NONE),
    "class_names": (list, NONE),
    "details": (dict,),
}
OUTERMOST: dict[str, tuple[type, ...]] = {
    "shape_in": (list, dict, NONE),
    "dtype": (str,),
    "loss": (dict, NONE),
}


def check_fields(values: Any, fields: dict[str, tuple[type, ...]], what: str) -> None:
    """Raise the error for values of which one is missing or of another type."""
    if not isinstance(values, dict):
        raise FileError(f"what it says of {what} must be a dict, not {values!r:.100}")
    for name, types in fields.items():
        if name not in values:
            raise FileError(f"what it says of {what} lacks {name!r}")
        if type(values[name]) not in types:
            raise FileError(f"its {name} cannot be {values[name]!r:.100}")


@contextlib.contextmanager
def blamed(path: Place) -> Iterator[None]:
    """Have whatever goes wrong within be the fault of a file, which the error names."""
    try:
        yield
    except (OSError, MissingError):
        raise
    except Exception as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise FileError(f"{called(path)}: {what or type(error).__name__:.1000}") from error


@contextlib.contextmanager
def _whole() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise FileError(f"it is not a whole safetensors file: {error}") from None
