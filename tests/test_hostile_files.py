"""Damaged and hostile files: each is read, or refused by the one error for files, at no expense.

A campaign changes bytes, JSON, arrays and members of files, each time in a process of its own whose
memory is watched; ``NPNN_HOSTILE=20000`` says how many files of all kinds it makes.
"""

import contextlib
import copy
import gzip
import io
import json
import os
import random
import struct
import subprocess
import sys
import time
import traceback
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import npnn
from npnn import datasets, tensors

resource = pytest.importorskip("resource")
KINDS = ("model", "checkpoint", "npz")
FILES = int(os.environ.get("NPNN_HOSTILE", "240"))
X = np.random.default_rng(0).normal(size=(12, 6)).astype("f")
T = np.arange(12) % 2


# What is damaged ---------------------------------------------------------------------------------


def models():
    norm = npnn.Normalization(np.arange(6.0), 2.0)
    plain = npnn.Sequential([npnn.Dense(6, 4), npnn.LeakyReLU(slope=0.2), npnn.Dense(None, 2)])
    plain.chain, plain.norm, plain.class_names = npnn.RMSLoss(), norm, ["no", "yes"]
    plain.details = {"notes": ["any", {"plain": 1.5}, None]}
    image = [npnn.Shape(6, (3, 2, 1)), npnn.Conv2D(None, 4, (2, 1), padding="same"), npnn.ReLU()]
    image += [npnn.BatchNorm(), npnn.MaxPool(None, None, (3, 2)), npnn.Flatten()]
    images = npnn.Sequential([*image, npnn.Dense(None, 2, initializer="HeNormal"), npnn.Softmax()])
    images.chain = npnn.CrossEntropyLoss(2, class_weights={0: 2.0})
    shared = npnn.Dense(6, 6)
    inner = npnn.Sequential([npnn.Residual([shared, npnn.Tanh()]), shared])
    inner.norm = norm
    parts = npnn.Parallel([inner, [npnn.Dropout(0.5), npnn.Dense(None, 3)]])
    nested = npnn.Sequential([parts, npnn.Dense(None, 1), npnn.Sigmoid()])
    nested.build_at(6)
    return [plain, images, nested]


def training():
    layers = [npnn.Dense(6, 3), npnn.Tanh(), npnn.BatchNorm(), npnn.Dense(3, 2), npnn.Softmax()]
    model = npnn.Sequential(layers, seed=1)
    schedule = npnn.LearningRateSchedule(npnn.ReduceOnPlateau())
    return model, npnn.Adam(0.01, schedule=npnn.Cosine(90)), [npnn.EarlyStopping(5), schedule]


def samples(kind, folder):
    if kind == "model":
        files = [io.BytesIO() for _ in models()]
        for model, file in zip(models(), files, strict=True):
            model.save(file)
        return [file.getvalue() for file in files]
    if kind == "checkpoint":
        model, optimizer, callbacks = training()
        callbacks.append(npnn.Checkpoint(folder / "good"))
        model.fit(X, T, epochs=2, optimizer=optimizer, callbacks=callbacks, validation_split=0.25)
        return [(folder / "good").read_bytes()]
    found = []
    for write in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        write(file, x=X, t=T, names=np.array(["no", "yes"]))
        found.append(file.getvalue())
    return found


# How it is damaged -------------------------------------------------------------------------------

NASTY = [
    None, True, -1, 0, 1, 2, 7, 2**31, 2**40 + 15, 2**63, 10**30, -0.5, 1e308, float("nan"),
    float("inf"), "", "x" * 300, "Row", "Layer", "Activation", "_Pool", "Sequential", "Adam",
    "Dense", [], {}, [[]], [None], [10**5, 10**5], [-3], [1.5], {"a": 1}, {"layer": {}},
    {"again": 0}, {"again": 10**9}, {"pairs": [[1]]}, {"array": [1, "a"], "dtype": "float32"},
    {"initializer": {"type": "Constant", "value": []}}, {"schedule": {"type": "Cosine"}},
]  # fmt: skip


def change_bytes(rng, data):
    """Return bytes of which some are others, are gone, or come twice."""
    data = bytearray(data)
    start = rng.randrange(len(data))
    size = rng.choice([1, 1, 1, 2, 4, 8, 40])
    what = rng.randrange(6)
    if what == 0:
        data[start : start + size] = rng.randbytes(size)
    elif what == 1:
        data[start : start + size] = b""
    elif what == 2:
        data[start:start] = rng.randbytes(size)
    elif what == 3:
        del data[start:]
    elif what == 4:
        data[start : start + size] = bytes([rng.choice([0, 255])]) * size
    else:
        other = rng.randrange(len(data))
        data[start : start + size] = data[other : other + size]
    return bytes(data)


def nodes(value):
    """Yield the container and the key of everything within JSON."""
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in list(parts):
        yield value, key
        if isinstance(part, (dict, list)):
            yield from nodes(part)


def change_json(rng, tree):
    """Put something else in some place of JSON."""
    found = list(nodes(tree))
    holder, key = rng.choice(found)
    what = rng.randrange(5)
    if what == 0:
        del holder[key]
    elif what == 1:
        other, name = rng.choice(found)
        holder[key] = copy.deepcopy(other[name])
    elif what == 2 and isinstance(holder, list):
        holder.extend(copy.deepcopy(holder) * rng.choice([1, 3]))
    else:
        holder[key] = copy.deepcopy(rng.choice(NASTY))


def change_tensors(rng, data):
    """Return a safetensors file of which the JSON, or what it says of arrays, is another."""
    size = struct.unpack("<Q", data[:8])[0]
    header, rest = json.loads(data[8 : 8 + size]), data[8 + size :]
    metadata = header["__metadata__"]
    what = rng.randrange(8)
    names = [name for name in header if name != "__metadata__"]
    if what < 5:
        name = rng.choice(["model", "model", "training"])
        tree = {"": json.loads(metadata[name])}
        for _ in range(rng.choice([1, 1, 1, 2, 5])):
            if tree:
                change_json(rng, tree)
        metadata[name] = json.dumps(tree.get(""))
    elif what == 5:
        one, other = rng.choice(names), rng.choice(names)
        header[one], header[other] = header[other], header[one]
    elif what == 6:
        change_json(rng, header)
    else:
        name = rng.choice(names)
        header[rng.choice(["9.w", "0.w", "chain/0.w", "a/b", ""])] = header.pop(name)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


def change_members(rng, data):
    """Return an NPZ file with other members."""
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        members = {info.filename: old.read(info) for info in old.infolist()}
    name = rng.choice(list(members))
    what = rng.randrange(4)
    if what == 0:
        members[name] = change_bytes(rng, members[name])
    elif what == 1:
        shape = rng.choice([(10**5, 10**5), (2**62, 8), (0,), (12, 6, 0), (3,) * 40, (10**9,)])
        descr = rng.choice(["<f4", "<i8", "|O", "<U900000000", "|V8", "<c16", "<M8[s]", "|S9"])
        header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
        start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
        members[name] = start + bytes(rng.choice([0, 100, 288]))
    elif what == 2:
        members[rng.choice(["x.npy", "t.npy", "y", "a/b.npy"])] = members.pop(name)
    else:
        long = rng.choice([60_000, 2_000_000])
        members[name] = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b" " * long
    file = io.BytesIO()
    method = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
    with zipfile.ZipFile(file, "w", method) as new:
        for name, content in members.items():
            new.writestr(name, content)
    data = file.getvalue()
    return change_bytes(rng, data) if rng.random() < 0.2 else data


# What becomes of it ------------------------------------------------------------------------------


def read_model(path):
    npnn.load(path)


def everything(model, optimizer, callbacks):
    """Return what a training that is refused must leave as it was."""
    arrays = {name: a.copy() for name, a in {**model.parameters(), **model.state()}.items()}
    return {
        "arrays": {name: array.tobytes() for name, array in arrays.items()},
        "moments": [[a.tobytes() for a in moment] for moment in optimizer.state],
        "steps": optimizer.steps,
        "config": optimizer.to_config(),
        "callbacks": [dict(vars(callback)) for callback in callbacks],
        "model": (model.norm, model.class_names, model.chain, dict(model.details)),
    }


def read_checkpoint(path):
    model, optimizer, callbacks = training()
    model.fit(X[::-1].copy(), T, epochs=1, optimizer=optimizer, callbacks=callbacks)
    before = everything(model, optimizer, callbacks)
    try:
        model.fit(
            X, T, epochs=3, optimizer=optimizer, callbacks=callbacks,
            resume=path, validation_split=0.25,
        )  # fmt: skip
    except npnn.FileError:
        assert everything(model, optimizer, callbacks) == before, "something was changed"
        raise


def read_npz(path):
    datasets.Table(path)


READ = {"model": read_model, "checkpoint": read_checkpoint, "npz": read_npz}


def campaign(kind, count, seed, folder):
    """Read so many damaged files; return what came of it."""
    rng = random.Random(seed)
    found = samples(kind, folder)
    change = change_members if kind == "npz" else change_tensors
    path = folder / ("hostile.npz" if kind == "npz" else "hostile")
    for data in found:
        path.write_bytes(data)
        READ[kind](path)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = refused = 0
    slowest, wrong = 0.0, []
    for _ in range(count):
        data = rng.choice(found)
        data = change_bytes(rng, data) if rng.random() < 0.4 else change(rng, data)
        path.write_bytes(data)
        start = time.process_time()
        try:
            READ[kind](path)
            read += 1
        except npnn.FileError as error:
            refused += 1
            if str(path) not in str(error):
                wrong.append(f"does not name the file: {error}")
        except npnn.DivergedError:
            read += 1
        except BaseException:
            wrong.append(traceback.format_exc(limit=-3))
            path.with_suffix(f".wrong{len(wrong)}").write_bytes(data)
        slowest = max(slowest, time.process_time() - start)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    return {
        "read": read, "refused": refused, "wrong": wrong[:5], "num_wrong": len(wrong),
        "slowest": slowest, "MiB": grown,
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_read_or_refused_and_costs_little(kind, tmp_path):
    done = subprocess.run(
        [sys.executable, __file__, kind, str(FILES // len(KINDS)), "0", str(tmp_path)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    print(kind, found)
    assert not found["num_wrong"], "\n".join(found["wrong"])
    assert found["refused"] > found["read"] > 0
    assert found["MiB"] < 64
    assert found["slowest"] < 10  # a second, on a machine that does nothing else


# One by one --------------------------------------------------------------------------------------


def described(layers, **more):
    config = {
        "layers": [{"layer": layer} if "type" in layer else layer for layer in layers],
        "shape_in": [6], "dtype": "float32", "norm": None, "class_names": None, "loss": None,
        "details": {}, **more,
    }  # fmt: skip
    return json.dumps(config)


def file_of(text, arrays=(), training="null"):
    metadata = {"format": "npnn", "format_version": "1", "npnn_version": "0", "model": text}
    arrays = {name: np.zeros(shape, "f") for name, shape in arrays}
    return safetensors.numpy.save(arrays, {**metadata, "training": training})


def dense(*shapes):
    return {"type": "Dense", "shape_in": shapes[0], "shape_out": shapes[1]}


def laughs(depth=40):
    """Return layers of which each holds the one before it twice."""
    layer = {"type": "ReLU"}
    for number in range(depth, 0, -1):
        layer = {"type": "Row", "layers": [{"layer": layer}, {"again": number}]}
    return layer


def nested(depth):
    layer = {"type": "ReLU"}
    for _ in range(depth):
        layer = {"type": "Row", "layers": [{"layer": layer}]}
    return layer


PRIME = 2**61 - 1
IMAGE = {"type": "Conv2D", "shape_out": 4}
HOSTILE = {
    "more weights than there are": lambda: file_of(
        described([dense(20_000, 20_000)], shape_in=[20_000])
    ),
    "weights of 80 GB": lambda: file_of(described([dense(10**5, 10**5)]), [("0.w", (3, 3))]),
    "weights of 80 GB in the middle": lambda: file_of(
        described([dense(6, 10**5), dense(None, 10**5)]), [("0.w", (6, 7)), ("0.b", (7,))]
    ),
    "a prime axis": lambda: file_of(described([IMAGE], shape_in=[PRIME])),
    "a prime axis that arrays can have": lambda: file_of(
        described([IMAGE], shape_in=[2**31 - 1, 8191])
    ),
    "many divisors": lambda: file_of(
        described([{**IMAGE, "shape_out": 2**40, "groups": 7}], shape_in=[1, 1, 2**40])
    ),
    "a great many axes": lambda: file_of(described([{"type": "ReLU"}], shape_in=[2] * 10**5)),
    "an endless number": lambda: file_of(described([dense(6, int("9" * 4000))])),
    "5,000 layers and one that is none": lambda: file_of(
        described([{"type": "ReLU"}] * 5_000 + [{"type": "Nonesuch"}])
    ),
    "5,000 layers and one whose weights are not there": lambda: file_of(
        described([{"type": "ReLU"}] * 5_000 + [dense(None, 4)])
    ),
    "100,000 layers": lambda: file_of(described([{"type": "Flatten"}] * 100_000)),
    "layers of many layers": lambda: file_of(described([{"type": "Inception"}] * 4_000)),
    "layers that double at each level": lambda: file_of(described([laughs()])),
    "a layer in itself": lambda: file_of(described([{"type": "Row", "layers": [{"again": 0}]}])),
    "layers within layers": lambda: file_of(described([nested(200)])),
    "lists within lists": lambda: file_of("[" * 100_000),
    "a great many lists": lambda: file_of("[" + "[]," * 10**7 + "[]]"),
    "a great many strings": lambda: file_of('["' + '","\\u1234' * 2 * 10**6 + '"]'),
    "a great many numbers": lambda: file_of(described([], details={"a": [7] * 5 * 10**6})),
    "a dilated norm": lambda: file_of(
        described([dense(6, 1)], norm={"offset": [0.0] * 7, "scale": 1.0}),
        [("0.w", (6, 1)), ("0.b", (1,))],
    ),
    "details that are none": lambda: file_of(described([{"type": "ReLU"}], details=[1])),
    "no layers": lambda: file_of(described([])),
    "weights without a shape": lambda: file_of(
        described([dense(None, 1)], shape_in=None), [("0.w", (6, 1)), ("0.b", (1,))]
    ),
    "a margin without end": lambda: file_of(
        described([{"type": "Pad2D", "pad_axis0": 2**62}, dense(None, 3)], shape_in=[2, 2, 1])
    ),
}


@contextlib.contextmanager
def cheaply(size=0, most=64 << 20):
    tracemalloc.start()
    start = time.process_time()
    try:
        yield
        seconds, memory = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert memory < size + most
    assert seconds < 20  # a second, when nobody counts memory, and on a machine with nothing else


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_model_is_refused_before_it_costs_anything(name, tmp_path):
    path, data = tmp_path / "hostile.safetensors", HOSTILE[name]()
    path.write_bytes(data)
    small = len(data) < 100_000
    for place in (path, io.BytesIO(data))[: 1 + small]:
        with (
            cheaply(len(data)),
            pytest.raises(npnn.FileError, match=str(path) if place is path else "the BytesIO"),
        ):
            npnn.load(place)


@pytest.mark.parametrize("piece", ["300,", "[[0]],", '{"a%d":0,"b%d":0,"c%d":0,"d%d":0},', "%d:"])
def test_json_that_is_just_not_too_much_takes_no_more_than_it_may(piece, monkeypatch):
    part = '"%d":0,' if piece == "%d:" else piece

    def hostile(count):
        inner = "".join(part.replace("%d", str(number)) for number in range(count))[:-1]
        inner = f"{{{inner}}}" if piece == "%d:" else f"[{inner}]"
        start = (
            '{"layers":[{"layer":{"type":"ReLU"}}],"shape_in":[6],"dtype":"float32","norm":null,'
        )
        return file_of(f'{start}"class_names":null,"loss":null,"details":{{"a":{inner}}}}}')

    costs = [tensors.cost_of(hostile(number)[8:]) for number in (30_000, 60_000)]
    each = (costs[1] - costs[0]) / 30_000
    monkeypatch.setattr(tensors, "MOST_MEMORY", tensors.MOST_MEMORY >> 3)
    count = int(tensors.MOST_MEMORY / each)
    data = hostile(int(0.95 * count))
    with cheaply(len(data), 9 << 20):  # an eighth of 64 MiB, and what there is anyway
        assert npnn.load(io.BytesIO(data)).details
    with pytest.raises(npnn.FileError, match="is too much"):
        npnn.load(io.BytesIO(hostile(int(1.1 * count))))


def test_a_model_of_many_layers_is_loaded_and_saved_without_haste_of_squares():
    model = npnn.Sequential([npnn.Dense(2, 2), *[npnn.Linear() for _ in range(2_000)]], seed=0)
    file = io.BytesIO()
    with cheaply():
        model.save(file)
        file.seek(0)
        assert len(npnn.load(file).layers) == 2_001


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        *(("layer", {"type": name}) for name in ("Layer", "Link", "Activation", "LossLayer")),
        *(("layer", {"type": name}) for name in ("_Pool", "_Normalizing", "_Convolution", "Adam")),
        *(("layer", {"type": name}) for name in ("os.system", "__class__", "", 3, None, [])),
        ("loss", {"type": "Dense", "shape_in": 1, "shape_out": 1}),
        ("loss", {"type": "LossLayer"}),
        *(("initializer", {"type": n}) for n in ("_Normal", "_Scaled", "Initializer", "Dense")),
        ("initializer", {"type": "Constant", "value": "a"}),
        ("initializer", {"type": "Constant", "__class__": "a"}),
    ],
)
def test_a_class_that_a_file_names_is_a_public_one_of_its_kind(kind, config):
    layers, more = [{"type": "ReLU"}], {}
    if kind == "layer":
        layers = [config]
    elif kind == "loss":
        more = {"loss": config}
    else:
        layers = [{**dense(6, 2), "initializer": {"initializer": config}}]
    with pytest.raises(npnn.FileError):
        npnn.load(io.BytesIO(file_of(described(layers, **more))))


@pytest.mark.parametrize("kind", ["Optimizer", "Dense", "_Momentum", None, 1, "Cosine"])
def test_an_optimizer_that_a_file_names_is_one(kind):
    with pytest.raises(npnn.FileError):
        npnn.Optimizer.from_config({"type": kind})
    with pytest.raises(npnn.FileError):
        npnn.Schedule.from_config({"type": kind} if kind != "Cosine" else {"type": "Schedule"})


def test_a_schedule_from_a_file_has_only_what_it_can_learn():
    config = npnn.ReduceOnPlateau().to_config()
    for change in ({"observe": 1}, {"best": "low"}, {"new": 1.0}, {"waited": None}):
        with pytest.raises(npnn.FileError, match="has learnt no"):
            npnn.Schedule.from_config({**config, **change})
    schedule = npnn.Schedule.from_config({**config, "best": 0.5, "waited": 3})
    assert (schedule.best, schedule.waited) == (0.5, 3)


@pytest.mark.parametrize("name", [n for n in HOSTILE if "great" in n or "lists" in n])
def test_a_file_that_is_not_to_be_sought_in_is_read_no_further_than_needed(name):
    class Pipe(io.RawIOBase):
        def __init__(self, data):
            self.file = io.BytesIO(data)

        def read(self, count=-1):
            return self.file.read(min(count, 1000) if count > 1000 else count)

        def seekable(self):
            return False

    data = HOSTILE[name]()
    with cheaply(len(data)), pytest.raises(npnn.FileError, match="the Pipe"):
        npnn.load(Pipe(data))
    huge = (2**40).to_bytes(8, "little")
    with cheaply(), pytest.raises(npnn.FileError, match="not a whole safetensors file"):
        npnn.load(Pipe(huge + b"{}"))


# A checkpoint that is refused --------------------------------------------------------------------


class Learns(npnn.Callback):
    """Remembers something, and takes back only what it knows."""

    def __init__(self):
        self.seen = 0

    def on_epoch_end(self, training, metrics):
        self.seen += 1

    def get_state(self):
        return {"seen": self.seen}

    def set_state(self, state, arrays):
        self.seen = state["seen"] + 1000
        self.seen = {2: 2}[state["seen"]]


def rewritten(data, change):
    size = struct.unpack("<Q", data[:8])[0]
    header, rest = json.loads(data[8 : 8 + size]), data[8 + size :]
    tree = json.loads(header["__metadata__"]["training"])
    change(tree)
    header["__metadata__"]["training"] = json.dumps(tree)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: tree["callbacks"][2][2].update(seen=7),
        lambda tree: tree["callbacks"][0][2].update(waited="long"),
        lambda tree: tree["callbacks"][0][2].update(best=float("nan")),
        lambda tree: tree["callbacks"][0][2].update(waited=-1),
        lambda tree: tree["callbacks"][1][2].update(factor=[]),
        lambda tree: tree["callbacks"][1][2].update(current=-0.5),
        lambda tree: tree["callbacks"][1][2].update(best=float("nan")),
        lambda tree: tree["callbacks"][1][2].update(waited=-7),
        lambda tree: tree.update(steps=-1),
        lambda tree: tree.update(epoch=10**30),
        lambda tree: tree.update(callbacks={}),
        lambda tree: tree.pop("scaling"),
        lambda tree: tree.update(optimizer={"type": "SGD"}),
        lambda tree: tree.update(num_samples=7),
        lambda tree: tree.update(metrics=["loss"]),
        lambda tree: tree.update(seed="1"),
    ],
)
@pytest.mark.parametrize("other", [False, True], ids=["", "of another model"])
def test_a_checkpoint_that_is_refused_changes_nothing(change, other, tmp_path):
    path = tmp_path / "checkpoint"
    model, optimizer, callbacks = training()
    callbacks += [Learns(), npnn.Checkpoint(path)]
    options = {"epochs": 2, "callbacks": callbacks, "validation_split": 0.25}
    model.fit(X, T, optimizer=optimizer, **options)
    path.write_bytes(rewritten(path.read_bytes(), change))
    if other:  # the optimizer's moments are of a model that was trained before
        model = training()[0]
    before = everything(model, optimizer, callbacks)
    with pytest.raises(npnn.FileError):
        model.fit(X, T, optimizer=optimizer, **{**options, "epochs": 4}, resume=path)
    assert everything(model, optimizer, callbacks) == before
    model.fit(X, T, optimizer=optimizer, epochs=1)


@pytest.mark.parametrize("name", ["chain/2.running_variance", "callback/0/2.running_variance"])
def test_a_checkpoint_of_a_negative_variance_is_refused(name, tmp_path):
    path = tmp_path / "checkpoint"
    model, optimizer, callbacks = training()
    callbacks += [npnn.Checkpoint(path)]
    options = {"epochs": 2, "callbacks": callbacks, "validation_split": 0.25}
    model.fit(X, T, optimizer=optimizer, **options)
    data = bytearray(path.read_bytes())
    size = struct.unpack("<Q", data[:8])[0]
    start, stop = json.loads(data[8 : 8 + size])[name]["data_offsets"]
    data[8 + size + start : 8 + size + stop] = np.full((stop - start) // 4, -0.5, "f").tobytes()
    path.write_bytes(data)
    before = everything(model, optimizer, callbacks)
    with pytest.raises(npnn.FileError, match=f"{path}: '{name}' must be at least 0, .* -0.5"):
        model.fit(X, T, optimizer=optimizer, **options, resume=path)
    assert everything(model, optimizer, callbacks) == before


# Data --------------------------------------------------------------------------------------------


def npz_of(members, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as new:
        for name, content in members.items():
            with new.open(name, "w") as member:
                for part in content if isinstance(content, list) else [content]:
                    member.write(part)
    return file.getvalue()


def npy(descr, shape, *values):
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return [b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header, *values]


ZEROS = [bytes(1 << 20)] * 80
BOMBS = {
    "zeros": lambda: npz_of({"x.npy": npy("|u1", (80, 1 << 20), *ZEROS)}),
    "zeros beside data": lambda: npz_of(
        {"x.npy": npy("|u1", (2, 2), b"1234"), "other.npy": npy("|u1", (80 << 20,), *ZEROS)}
    ),
    "a header": lambda: npz_of(
        {"x.npy": [b"\x93NUMPY\x02\x00" + struct.pack("<I", 80 << 20), *[b" " * (1 << 20)] * 80]}
    ),
    "more than there is": lambda: npz_of({"x.npy": npy("<f8", (10**5, 10**5), bytes(80))}),
    "less than there is": lambda: npz_of({"x.npy": npy("<f8", (5, 2), bytes(88))}),
    "wide text": lambda: npz_of({"x.npy": npy("<U400000000", (1,), bytes(80))}),
    "arrays in arrays": lambda: npz_of({"x.npy": npy(("<f4", (10**9,)), (2,), bytes(80))}),
    "objects": lambda: npz_of({"x.npy": npy("|O", (2,), b"cos\nsystem\n")}),
    "nesting": lambda: npz_of({"x.npy": npy([("a", "(" * 4000)], (1,), b"")}),
    "no axis of that length": lambda: npz_of({"x.npy": npy("<f4", (-4, -2), bytes(32))}),
    "a directory": lambda: npz_of({f"{n}.npy": b"" for n in range(30_000)}),
    "another compression": lambda: npz_of(
        {"x.npy": npy("|u1", (80, 1 << 20), *ZEROS)}, zipfile.ZIP_BZIP2
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_hostile_data_are_refused_before_memory_is_taken_for_them(name, tmp_path):
    path = tmp_path / "data.npz"
    path.write_bytes(BOMBS[name]())
    with cheaply(path.stat().st_size), pytest.raises(npnn.FileError, match=r"data\.npz"):
        datasets.Table(path)


def test_zeros_that_are_meant_are_read_uncompressed(tmp_path):
    path = tmp_path / "data.npz"
    x, t = np.zeros((1000, 3000), "f"), np.arange(1000) % 2
    np.savez_compressed(path, x=x, t=t)
    with pytest.raises(npnn.FileError, match=r"would become 11.5 MiB.*np\.savez, uncompressed"):
        datasets.Table(path)
    np.savez(path, x=x, t=t)
    assert len(datasets.Table(path).x_data) == 1000


@pytest.mark.parametrize("shape", [(1 << 10, 1 << 20), (1 << 30, 2, 3), (200, 1 << 20), (3,)])
def test_an_idx_file_is_never_unpacked_further_than_it_says(shape, tmp_path):
    path = tmp_path / "data-idx.gz"
    header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    path.write_bytes(gzip.compress(header + bytes(40 << 20)))
    with cheaply(), pytest.raises(npnn.FileError, match="data-idx"):
        datasets.read_idx(path)


if __name__ == "__main__":
    print(json.dumps(campaign(sys.argv[1], *map(int, sys.argv[2:4]), Path(sys.argv[4]))))
