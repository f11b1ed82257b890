"""Weights that Keras wrote, into a model of the same layers."""

from __future__ import annotations

import io
import json
import os
import re
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn import checked
from npnn import layers as of
from npnn.errors import FileError, extra
from npnn.foreign import Weighty, check_shape, running_weight, weighty

if TYPE_CHECKING:
    from npnn.model import Sequential

KINDS: dict[str, tuple[type, tuple[str, ...]]] = {
    "Dense": (of.Dense, ("w", "b")),
    "Conv2D": (of.Conv2D, ("w", "b")),
    "Conv2DTranspose": (of.UpConv2D, ("w", "b")),
    "BatchNormalization": (
        of.BatchNorm,
        ("gamma", "beta", "running_mean", "running_variance"),
    ),
    "LayerNormalization": (of.LayerNorm, ("gamma", "beta")),
}
STEMS = {"_".join(re.findall("[A-Z][a-z]*|2D", kind)).lower(): kind for kind in KINDS}
DAMAGES = KeyError, ValueError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error
STEMS = {stem.replace("_2d", "2d"): kind for stem, kind in STEMS.items()}


def load_weights(model: Sequential, path: str | os.PathLike[str]) -> None:
    """Give a model the weights that Keras 3 wrote of one whose layers are the same.

    Keras is not needed. The n-th layer of a kind is given the weights of the n-th of that kind.

    Parameters
    ----------
    model : Sequential
        Its shapes must be known. Keras adds 1e-3 to the variance of a BatchNormalization by
        default: write ``BatchNorm(epsilon=1e-3)``.
    path : path_like
        A file ``.keras``, or ``.weights.h5``.

    Raises
    ------
    ValueError
        If layers, shapes or, in a ``.keras`` file, epsilons do not fit; the message names them,
        and nothing was changed.
    npnn.FileError
        If it is no such file.
    npnn.MissingError
        If h5py is not installed.
    """
    found, epsilons = _read(Path(checked.path(path, "path")))
    layers = weighty(model)
    counts = dict.fromkeys(KINDS, 0)
    arrays: dict[str, Any] = {}
    for at in layers:
        kind = next((k for k, (cls, _) in KINDS.items() if isinstance(at.layer, cls)), None)
        if kind is None:
            raise ValueError(f"{at}: no layer of Keras is known that has such weights")
        number, counts[kind] = counts[kind], counts[kind] + 1
        if number >= len(found[kind]):
            raise ValueError(f"{at}: the file has {len(found[kind])} layers {kind}")
        name, given = found[kind][number]
        _check_epsilon(at, name, epsilons.get(name))
        arrays |= _taken(at, name, given, KINDS[kind][1])
    for kind, own in found.items():
        if len(own) > counts[kind]:
            raise ValueError(f"the file has {len(own)} layers {kind}, the model {counts[kind]}")
    model.set_arrays(arrays)


def _check_epsilon(at: Weighty, name: str, epsilon: float | None) -> None:
    own = getattr(at.layer, "epsilon", None)
    if epsilon is not None and own is not None and not np.isclose(own, epsilon):
        raise ValueError(f"{at}: {name} has epsilon={epsilon}, and the layer {own}")


def _taken(
    at: Weighty, name: str, given: list[np.ndarray], order: tuple[str, ...]
) -> dict[str, Any]:
    layer = at.layer
    names = [own for own in order if own in (*layer.parameter_names, *layer.state_names)]
    if len(given) != len(names):
        raise ValueError(f"{at}: {name} has {len(given)} arrays, but {', '.join(names)} are needed")
    found: dict[str, Any] = {}
    for own, array in zip(names, given, strict=True):
        needed = tuple(getattr(layer, own).shape)
        theirs = (*needed[1:], needed[0]) if len(needed) == 4 else needed
        check_shape(at, f"{name}, {own},", array, theirs)
        found[f"{at.place}.{own}"] = np.moveaxis(array, -1, 0) if array.ndim == 4 else array
    if isinstance(layer, of.BatchNorm):
        found[f"{at.place}.running_weight"] = running_weight(layer, 1)
    return found


def _read(path: Path) -> tuple[dict[str, list[tuple[str, list[np.ndarray]]]], dict[str, float]]:
    """Return name and arrays of the layers of each kind, in order, and the epsilons known."""
    try:
        import h5py
    except ImportError:
        raise extra("h5py", "keras") from None
    data, names = path.read_bytes(), {}
    try:
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                names = json.loads(archive.read("config.json"))
                data = archive.read("model.weights.h5")
        with h5py.File(io.BytesIO(data), "r") as file:
            found = _layers(file["layers"])
        return found, _epsilons(found, names["config"]["layers"] if names else [])
    except (OSError, *DAMAGES) as error:
        raise FileError(f"{str(path)!r} is no file of Keras 3's weights: {error}") from None


def _epsilons(
    found: dict[str, list[tuple[str, list[np.ndarray]]]], entries: list[dict[str, Any]]
) -> dict[str, float]:
    """Return the epsilon of each layer that has one, from what describes the layers in a row."""
    counts, epsilons = dict.fromkeys(KINDS, 0), {}
    for entry in entries:
        kind = entry["class_name"]
        if kind in KINDS and counts[kind] < len(found[kind]):
            if "epsilon" in entry["config"]:
                epsilons[found[kind][counts[kind]][0]] = float(entry["config"]["epsilon"])
            counts[kind] += 1
    return epsilons


def _layers(group: Any) -> dict[str, list[tuple[str, list[np.ndarray]]]]:
    found: dict[str, list[tuple[int, str, list[np.ndarray]]]] = {kind: [] for kind in KINDS}
    for name, layer in group.items():
        stem, number = re.fullmatch(r"(.*?)(?:_(\d+))?", name).groups()  # type: ignore[union-attr]
        if "layers" in layer:
            raise ValueError(f"its layer {name!r} is made of layers, whose order it does not hold")
        variables = layer.get("vars", {})
        arrays = [np.asarray(variables[key]) for key in sorted(variables, key=int)]
        if not arrays:
            continue
        if stem not in STEMS:
            raise ValueError(f"its layer {name!r} is of a kind that is not known here")
        found[STEMS[stem]].append((int(number or 0), name, arrays))
    return {
        kind: [entry[1:] for entry in sorted(own, key=lambda e: e[0])]
        for kind, own in found.items()
    }
