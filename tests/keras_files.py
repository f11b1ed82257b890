"""Files of weights as Keras 3 lays them out, written without it."""

import io
import json
import re
import zipfile
from collections import Counter

import pytest


def write_keras(path, layers):
    """Write layers, each the name of its class, its config and its arrays, as a file of Keras."""
    h5py = pytest.importorskip("h5py")
    data, counts, entries = io.BytesIO(), Counter(), []
    with h5py.File(data, "w") as file:
        file.create_group("vars")
        for kind, config, arrays in layers:
            stem = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=2D)(?=[A-Z])", "_", kind).lower()
            stem = "re_lu" if kind == "ReLU" else stem
            name = f"{stem}_{counts[stem]}" if counts[stem] else stem
            counts[stem] += 1
            group = file.create_group(f"layers/{name}/vars")
            for number, array in enumerate(arrays):
                group[str(number)] = array
            entries.append({"class_name": kind, "config": {"name": name, **config}})
    if not path.name.endswith(".keras"):
        path.write_bytes(data.getvalue())
        return
    config = {"class_name": "Sequential", "config": {"name": "sequential", "layers": entries}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", data.getvalue())


def tree_of(path):
    """Return the groups and the shapes of the arrays of a file, and the classes it describes."""
    h5py = pytest.importorskip("h5py")
    data, classes = path.read_bytes(), []
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            assert {"config.json", "metadata.json", "model.weights.h5"} == set(archive.namelist())
            entries = json.loads(archive.read("config.json"))["config"]["layers"]
            data = archive.read("model.weights.h5")
        classes = [e["class_name"] for e in entries if e["class_name"] != "InputLayer"]
    found = {}
    with h5py.File(io.BytesIO(data)) as file:
        file.visititems(lambda name, item: found.update({name: getattr(item, "shape", None)}))
    return found, classes
