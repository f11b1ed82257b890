"""What the tests of CuPy share: captured steps on the device, networks, and how both are read.

Whoever imports this is skipped as a whole where CuPy does not work. ``make test-cupy`` runs it on
an emulated device.
"""

import contextlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import AVAILABLE

import npnn
from npnn.backends.gpu.cupy_capture import CupyStep
from npnn.backends.gpu.products import PRECISIONS
from npnn.backends.libraries.numpy_backend import NumpyBackend

if not AVAILABLE["cupy"]["works"]:
    pytest.skip("CuPy does not work here", allow_module_level=True)

try:
    import emulated
except ModuleNotFoundError:
    emulated = None

EMULATED = emulated is not None
DEVICES = AVAILABLE["cupy"]["devices"]
# Where there are two, what goes to the first one by mistake is seen.
DEVICE = DEVICES[-1]
# How many random programs and models are drawn; always the same ones unless a number is given.
PROGRAMS = int(os.environ.get("NPNN_PROGRAMS", "72"))
NETWORKS = int(os.environ.get("NPNN_MODELS", "16"))


# Steps -------------------------------------------------------------------------------------------


class OnDevice:
    """A captured step that is given NumPy arrays, and copies them to the device and back.

    Every second time it hands the inputs on as they are.
    """

    def __init__(self, step, backend):
        self.captured, self.there, self.calls = CupyStep(step, backend), {}, 0
        self.cupy, self.device = backend.cupy, backend.device

    def __call__(self, carry, data, inputs):
        before = faults()
        with self.device:
            given = [self._put(tree) for tree in (carry, data)]
            inputs = inputs if self.calls % 2 else self._put(inputs, keep=False)
        self.calls += 1
        _, outputs = self.captured(*given, inputs)
        self._fetch(carry)
        outputs = self._host(outputs)
        assert faults() == before
        return carry, outputs

    def _put(self, tree, keep=True):
        if isinstance(tree, dict):
            return {key: self._put(value, keep) for key, value in tree.items()}
        if isinstance(tree, list):
            return [self._put(value, keep) for value in tree]
        if keep:
            return self.there.setdefault(id(tree), (tree, self._as_it_lies(tree)))[1]
        return self._as_it_lies(tree) if isinstance(tree, np.ndarray | np.generic) else tree

    def _as_it_lies(self, a):
        """Return an array of the device with the strides that it has on the host."""
        cupy = self.cupy
        a = whole = np.asarray(a)
        while isinstance(whole.base, np.ndarray):
            whole = whole.base
        if whole is a or not a.size or not whole.flags.c_contiguous or whole.dtype != a.dtype:
            return cupy.asarray(a)
        there = cupy.asarray(whole.reshape(-1))
        offset = a.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
        return cupy.ndarray(a.shape, a.dtype, there.data + offset, strides=a.strides)

    def _fetch(self, tree):
        if isinstance(tree, dict | list):
            for value in tree.values() if isinstance(tree, dict) else tree:
                self._fetch(value)
        else:
            tree[...] = self.there[id(tree)][1].get()

    def _host(self, tree):
        if isinstance(tree, dict):
            return {key: self._host(value) for key, value in tree.items()}
        if isinstance(tree, list):
            return [self._host(value) for value in tree]
        return tree.get()


def faults():
    """Return what the emulated device found wrong: races, and accesses out of bounds."""
    return emulated.faults() if emulated else {}


def some_mode(number):
    """Have the emulated device do its work at once, as late as it may, or at any time between."""
    if emulated is None:
        return contextlib.nullcontext()
    return emulated.mode(emulated.mode.NAMES[number % 3], seed=number)


def run_apart(program, stdin="", **environment):
    """Run a program in a process of its own, and return what it prints."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path[1:]])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "PYTHONPATH": path, **environment},
        input=stdin,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Networks ----------------------------------------------------------------------------------------


def dense(*widths):
    """Return the layers of a classifier with rectifiers, and its loss."""
    layers = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [npnn.Dense(inputs, outputs), npnn.ReLU()]
    return [*layers[:-1], npnn.Softmax()], npnn.CrossEntropyLoss()


def classifier():
    return dense(20, 64, 600, 5)


def lenet5():
    layers = [
        npnn.layers.Pad2D((28, 28, 1), 2, 2),
        npnn.layers.Conv2D(None, 6, kernel_size=5),
        npnn.Tanh(),
        npnn.layers.MaxPool(),
        npnn.layers.Conv2D(None, 16, kernel_size=5),
        npnn.Tanh(),
        npnn.layers.MaxPool(),
        npnn.layers.Conv2D(None, 120, kernel_size=5),
        npnn.Tanh(),
        npnn.layers.Flatten(),
        npnn.Dense(None, 84),
        npnn.Tanh(),
        npnn.Dense(None, 10),
        npnn.Softmax(),
    ]
    return layers, npnn.CrossEntropyLoss()


def on(backend, **options):
    """Return the options of a model on a backend: on the device that the tests use."""
    return {"backend": backend, "device": DEVICE if backend == "cupy" else None, **options}


def trainer(make, backend, optimizer=npnn.Adam, rows=12, **options):
    """Return an optimizer with a model of `make`, and batches for it."""
    layers, loss = make()
    model = npnn.Sequential(layers, **on(backend, seed=0, **options))
    model.chain = loss
    trains = optimizer(alpha=1e-3)
    trains.model = model
    rng = np.random.default_rng(1)
    classes = model.shape_out[-1]
    batches = [
        (
            rng.standard_normal((rows, *model.shape_in)),
            np.eye(classes)[rng.integers(classes, size=rows)],
        )
        for _ in range(4)
    ]
    return trains, batches


def weights(optimizer):
    """Return copies, on the host, of all parameters and states that an optimizer trains."""
    to_numpy = optimizer.model.backend.to_numpy
    return [np.array(to_numpy(array)) for _, array in optimizer.model.runner.arrays()]


def plan_of(optimizer):
    """Return the plan of the steps that an optimizer has done."""
    (plan, _), *_ = next(iter(optimizer.model.runner.side()._training.values())).plans.values()
    return plan


def table(rows=50):
    """Return inputs and classes that a classifier learns from."""
    rng = np.random.default_rng(3)
    return rng.standard_normal((rows, 20)), rng.integers(5, size=rows)


# Products of rounded factors ---------------------------------------------------------------------


def rounded(x, precision):
    """Return numbers in float32 as the factors of a product see them."""
    if precision == "float16":
        with np.errstate(over="ignore"):
            return x.astype(np.float16).astype(np.float32)
    if precision == "float32":
        return x
    bits = np.ascontiguousarray(x).view(np.uint32)
    # A tie becomes the even one in bfloat16, and the larger one in tf32.
    lost, odd = (16, bits >> 16 & 1) if precision == "bfloat16" else (13, 1)
    up = (bits + (1 << lost - 1) - 1 + odd) >> lost << lost
    return np.where(np.isfinite(x), up.view(np.float32), x)


class Rounding(np.ndarray):
    """An array of the host that rounds the factors of products."""

    precision = "float32"

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        plain = [np.asarray(x) if isinstance(x, Rounding) else x for x in inputs]
        if ufunc is np.matmul and np.result_type(*plain) == np.float32:
            plain = [rounded(x, self.precision) for x in plain]
        if out is not None:
            options["out"] = tuple(np.asarray(x) for x in out)
        result = getattr(ufunc, method)(*plain, **options)
        return out[0] if out is not None else np.asarray(result).view(type(self))

    def __array_function__(self, *arguments):
        result = super().__array_function__(*arguments)
        return result.view(type(self)) if isinstance(result, np.ndarray) else result


def rounding(precision):
    """Return the kind of arrays that round to a precision."""
    return type(f"Rounding_{precision}", (Rounding,), {"precision": precision})


class RoundingBackend(NumpyBackend):
    """NumPy, uncaptured, with products as a GPU computes them in some precision."""

    precisions = PRECISIONS

    def load(self):
        super().load()
        self.kind = rounding(self.precision)

    def owns(self, x):
        return isinstance(x, self.kind)

    def convert(self, x):
        return super().convert(x).view(self.kind)

    def zeros(self, shape):
        return super().zeros(shape).view(self.kind)

    def to_numpy(self, x):
        return np.asarray(x).view(np.ndarray)

    def capture(self, step):
        return step
