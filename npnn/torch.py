"""Weights of PyTorch's modules, into a model of the same layers and back."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn import checked, tensors
from npnn import layers as of
from npnn.errors import FileError, extra
from npnn.foreign import (
    Weighty,
    channels_first,
    channels_last,
    check_shape,
    running_weight,
    weighty,
)

if TYPE_CHECKING:
    from npnn.model import Sequential

WEIGHTS = {"w": "weight", "b": "bias"}
NORMS = {"gamma": "weight", "beta": "bias"}
RUNNING = {"running_mean": "running_mean", "running_variance": "running_var"}
COUNT = "num_batches_tracked"


def load_state_dict(
    model: Sequential,
    state: Mapping[str, Any] | str | os.PathLike[str],
    *,
    names: Sequence[str] | None = None,
) -> None:
    """Give a model the weights of a PyTorch module whose layers are the same, in the same order.

    Kernels are turned from PyTorch's layouts to npnn's, and so are the rows of a Dense layer that
    stands behind a flattened image, which has its channels first there.

    Parameters
    ----------
    model : Sequential
        Its shapes must be known.
    state : mapping or path_like
        Tensors by name, as ``module.state_dict()`` gives them, or a file of them: ``.safetensors``,
        or what torch.save wrote, of which nothing but weights is read.
    names : sequence of str, optional
        Of the modules, in the order of the model's layers; by default that of `state`, and for
        ``.safetensors``, which keeps none, that of their names, with numbers as numbers.

    Raises
    ------
    ValueError
        If layers or shapes do not fit; the message names them, and nothing was changed.
    npnn.FileError
        If a file holds no such tensors.
    npnn.MissingError
        If a file of torch.save is to be read, and PyTorch is not installed.
    """
    modules = _modules(state, names)
    layers = weighty(model)
    if len(modules) != len(layers):
        raise ValueError(
            f"the weights are of {len(modules)} modules ({', '.join(modules)}), but the model has "
            f"{len(layers)} layers with weights ({', '.join(at.place for at in layers)})"
        )
    arrays: dict[str, Any] = {}
    for at, (name, given) in zip(layers, modules.items(), strict=True):
        arrays |= _taken(at, name, given)
    model.set_arrays(arrays)


def state_dict(model: Sequential) -> dict[str, np.ndarray]:
    """Return the weights of a model as PyTorch's modules name and lay them, as NumPy arrays.

    The names begin with the layer's place, as those of a ``torch.nn.Sequential`` of the same layers
    do, where an image is flattened by a layer of its own.
    """
    found: dict[str, np.ndarray] = {}
    for at in weighty(model):
        for own, name in _names(at).items():
            array = np.asarray(model.backend.to_numpy(getattr(at.layer, own)))
            array = channels_first(array, at.image) if own != "b" else array
            if own == "w":
                array = array.T if array.ndim == 2 else np.moveaxis(array, -1, 1)
            found[f"{at.place}.{name}"] = np.array(array, order="C")
        if isinstance(at.layer, of.BatchNorm):
            weight = float(model.backend.to_numpy(at.layer.running_weight)[0])
            found[f"{at.place}.{COUNT}"] = np.asarray(int(weight > 0))
    return found


def _names(at: Weighty) -> dict[str, str]:
    """Return PyTorch's name of each array of a layer."""
    layer = at.layer
    if isinstance(layer, (of.Dense, of.Conv2D, of.UpConv2D)):
        return {own: WEIGHTS[own] for own in layer.parameter_names}
    if isinstance(layer, of.BatchNorm):
        return {**NORMS, **RUNNING}
    if isinstance(layer, of.LayerNorm):
        return NORMS
    raise ValueError(f"{at}: no module of PyTorch is known that has the weights of such a layer")


def _taken(at: Weighty, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the arrays of a layer by their names in the model, all of the shapes it needs."""
    names, found = _names(at), {}
    odd = given.keys() - {COUNT} ^ set(names.values())
    for other in sorted(odd):
        raise ValueError(
            f"{at}: {name}.{other} is " + ("not of such a layer" if other in given else "missing")
        )
    for own, other in names.items():
        array, needed = given[other], tuple(getattr(at.layer, own).shape)
        if own == "w":
            theirs = needed[::-1] if len(needed) == 2 else (needed[0], needed[-1], *needed[1:-1])
            check_shape(at, f"{name}.{other}", array, theirs)
            array = array.T if array.ndim == 2 else np.moveaxis(array, 1, -1)
        else:
            check_shape(at, f"{name}.{other}", array, needed)
        found[f"{at.place}.{own}"] = array if own == "b" else channels_last(array, at.image)
    if isinstance(at.layer, of.BatchNorm):
        batches = int(given.get(COUNT, np.asarray(1)))
        found[f"{at.place}.running_weight"] = running_weight(at.layer, batches)
    return found


def _modules(state: Any, names: Sequence[str] | None) -> dict[str, dict[str, np.ndarray]]:
    """Return the arrays of each module that has some."""
    if not isinstance(state, (Mapping, str, os.PathLike)):
        raise TypeError(
            "state must be a dict of tensors by name, as module.state_dict() gives it, or the path "
            f"of a file of one, not {checked.shown(state)}"
        )
    if not isinstance(state, Mapping):
        state = _read(Path(state))
    modules: dict[str, dict[str, np.ndarray]] = {}
    for name, tensor in state.items():
        if not hasattr(tensor, "shape"):
            raise ValueError(
                f"state holds {name!r}, which is no tensor but {checked.shown(tensor)}: give the "
                "dict of tensors that is in there"
            )
        module, _, own = name.rpartition(".")
        modules.setdefault(module, {})[own] = _array(tensor)
    if names is None:
        return modules
    names = checked.names(names, "names")
    if sorted(names) != sorted(modules):
        raise ValueError(f"names must be {', '.join(modules)}, in some order, not {names}")
    return {name: modules[name] for name in names}


def _array(tensor: Any) -> np.ndarray:
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
        tensor = tensor.double() if tensor.is_floating_point() else tensor
        return np.asarray(tensor.numpy())
    return np.asarray(tensor)


def _read(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        try:
            with path.open("rb") as file:
                _, places = tensors.read_header(file, path.stat().st_size)
                found = tensors.read_arrays(file, places)
        except ValueError as error:
            raise FileError(f"{str(path)!r} is no file of safetensors: {error}") from None
        return {name: found[name] for name in sorted(found, key=_natural)}
    try:
        import torch
    except ImportError:
        raise extra("torch", "torch") from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception:  # of many kinds, and with much advice
        state = None
    if not isinstance(state, Mapping):
        raise FileError(
            f"{str(path)!r} holds no dict of tensors: write it by "
            "torch.save(module.state_dict(), path)"
        )
    return state


def _natural(name: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
