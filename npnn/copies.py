"""What copying and pickling a model make of it: the bytes of a model file, and its settings."""

from __future__ import annotations

import copy
import io
from typing import TYPE_CHECKING, Any

from npnn import files
from npnn.backends import device_name
from npnn.plain import is_ours

if TYPE_CHECKING:
    from npnn.backends import Backend
    from npnn.model import Sequential


def packed(model: Sequential, backend: Any) -> tuple[Any, ...]:
    """Return the arguments of which :func:`unpacked` makes the same model, on `backend`."""
    file = io.BytesIO()
    files.write(model, file, _arrays(model), {}, None)
    settings = {
        "seed": model.seed,
        "capture": model.capture,
        "rng": model.rng.bit_generator.state,
        "epochs": model.runner.epochs,
        "is_undecided": model.is_undecided,
    }
    # The classes come along so that the modules that define them are imported first.
    classes = {type(layer) for _, layer in model.walk() if not is_ours(type(layer))}
    chain = None if files.ends_with_loss(model) else model.chain
    return type(model), file.getvalue(), backend, settings, chain, tuple(classes)


def unpacked(
    cls: type[Sequential],
    data: bytes,
    backend: dict[str, Any],
    settings: dict[str, Any],
    chain: Any,
    classes: tuple[type, ...],
) -> Sequential:
    """Return the model of which :func:`packed` gave the arguments."""
    model = cls(**backend, seed=settings["seed"], capture=settings["capture"])
    description, arrays, _ = files.read(io.BytesIO(data))
    files.fill(model, "the copy", description, arrays, as_it_is=True)
    if chain is not None:
        model.chain = chain
    model.rng.bit_generator.state = settings["rng"]
    model.runner.epochs = settings["epochs"]
    model.is_undecided = settings["is_undecided"]
    return model


def copied(model: Sequential, memo: dict[int, Any]) -> Sequential:
    """Return a copy on the same backend, which shares no array and no layer with the model."""
    cls, data, backend, settings, chain, classes = packed(model, {"backend": model.backend})
    return unpacked(cls, data, backend, settings, copy.deepcopy(chain, memo), classes)


def named(backend: Backend) -> dict[str, Any]:
    """Return the arguments that give such a backend in any process."""
    precision = None if backend.precision == backend.dtype_name else backend.precision
    return {
        "backend": backend.name,
        "dtype": backend.dtype_name,
        "device": device_name(backend.device),
        "precision": precision,
    }


def _arrays(model: Sequential) -> dict[str, Any]:
    if model.layers and model.shape_in is not None:
        return {**model.parameters(), **model.state()}
    if any(layer.is_built and layer.parameter_names for _, layer in model.walk()):
        raise ValueError(
            "the model holds weights, but its input shape is not known, which a copy needs: "
            "model.build_at(shape) first"
        )
    return {}
