"""A step that fails, or is interrupted, changes nothing; signals are left to whoever has them."""

import bdb
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
import tomllib

import numpy as np
import pytest
from oracles import host_parameters

import npnn
from npnn import interrupts
from npnn.layers import BatchNorm

RNG = np.random.default_rng(0)
X = RNG.standard_normal((32, 3))
T = (X.sum(axis=1) > 0).astype(int)
CAPTURED = pytest.mark.parametrize("capture", [True, False], ids=["captured", "uncaptured"])


class Raises(npnn.Layer):
    """The identity, until it has something to raise in backward."""

    error = None

    def forward(self, x):
        return x

    def backward(self, grad_y):
        if self.error is not None:
            raise self.error
        return grad_y


def trained(backend="numpy", layer=None, **options):
    layers = [npnn.Dense(3, 4), layer or npnn.Tanh(), BatchNorm(), npnn.Dense(4, 2)]
    model = npnn.Sequential([*layers, npnn.Softmax()], seed=0, backend=backend, **options)
    model.chain = npnn.CrossEntropyLoss()
    optimizer = npnn.Adam()
    optimizer.model = model
    return model, optimizer


def all_of(model, optimizer):
    """Return copies of all that a step changes."""
    to_numpy = model.backend.to_numpy
    moments = [np.array(to_numpy(a)) for moment in optimizer.state for a in moment]
    state = [np.array(to_numpy(a)) for a in model.state().values()]
    return [*host_parameters(model).values(), *state, *moments, optimizer.steps]


def assert_equal(actual, expected):
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


# A step that fails --------------------------------------------------------------------------------


class Own(Exception):
    pass


class OwnKind(ValueError):
    pass


@CAPTURED
@pytest.mark.parametrize("error", [Own, OwnKind, KeyError, RuntimeError, bdb.BdbQuit, MemoryError])
def test_what_a_layer_raises_comes_out_and_nothing_is_changed(error, capture, backend_name):
    layer = Raises()
    model, optimizer = trained(backend_name, layer, capture=capture)
    optimizer.step(X, T)
    before = all_of(model, optimizer)
    layer.error = error("by the layer")
    with pytest.raises(error, match="by the layer"):
        optimizer.step(X[:9], T[:9])
    assert_equal(all_of(model, optimizer), before)
    layer.error = None
    optimizer.step(X, T)
    assert optimizer.steps == 2


@CAPTURED
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_numbers_that_vanish_are_no_error(backend, capture):
    def run():
        model, optimizer = trained(backend, capture=capture, dtype="float32")
        for _ in range(3):
            optimizer.step(X * 1e-30, T)
        model.fit(X * 1e-30, T, epochs=2, optimizer=optimizer, seed=0)
        return [*all_of(model, optimizer), model.predict(X * 1e-38)]

    expected = run()
    with np.errstate(all="raise"):
        actual = run()
    assert_equal(actual, expected)


def test_a_captured_step_asks_nobody_what_to_do_about_infinite_numbers():
    _, optimizer = trained(dtype="float32")
    with np.errstate(all="raise"):
        optimizer.step(X, T)
        optimizer.step(np.full((32, 3), 3e38), T)
    assert optimizer.steps == 2


def test_a_recorded_array_tells_its_shape():
    class Shows(npnn.Layer):
        def forward(self, x):
            seen.append(repr(x))
            return x

        def backward(self, grad_y):
            return grad_y

    seen = []
    _, optimizer = trained(layer=Shows())
    optimizer.step(X, T)
    assert any("(32, 4)" in text and "float32" in text and "capture=False" in text for text in seen)


# Signals ------------------------------------------------------------------------------------------


class Presses(npnn.Callback):
    """Presses Ctrl-C at a batch, and notes who has the signal."""

    def __init__(self, at=None):
        self.at = at

    def on_batch_end(self, training):
        self.handler = signal.getsignal(signal.SIGINT)
        if training.step == self.at:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def restored():
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def fit(*callbacks, **options):
    return trained()[0].fit(X, T, epochs=3, batch_size=8, callbacks=list(callbacks), **options)


def test_fit_ends_after_the_step_in_which_ctrl_c_was_pressed(restored):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert fit(Presses(at=2)).interrupted
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_the_program_keeps_the_signal(restored):
    seen = []
    signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    own, presses = signal.getsignal(signal.SIGINT), Presses(at=2)
    history = fit(presses)
    assert presses.handler is own is signal.getsignal(signal.SIGINT)
    assert not history.interrupted
    assert len(seen) == len(history["loss"]) == 3


def test_a_program_that_ignores_the_signal_goes_on_to(restored):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    presses = Presses(at=2)
    assert not fit(presses).interrupted
    assert presses.handler == signal.getsignal(signal.SIGINT) == signal.SIG_IGN


@pytest.mark.parametrize("error", [None, ValueError])
def test_where_signals_are_not_pythons_they_are_left_alone(monkeypatch, error):
    def refuse(*arguments):
        raise ValueError("signal only works in main thread of the main interpreter")

    if error is None:  # a program that embeds Python has a handler of its own
        monkeypatch.setattr(interrupts, "getsignal", lambda number: None)
    monkeypatch.setattr(interrupts, "signal", refuse)
    assert not fit().interrupted
    _, optimizer = trained()
    optimizer.step(X, T)


def test_threads_train_without_signals():
    histories = []
    thread = threading.Thread(target=lambda: histories.append(fit()))
    thread.start()
    thread.join()
    assert len(histories[0]["loss"]) == 3


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_ctrl_c_within_a_step_is_raised_at_its_end(backend, monkeypatch, restored):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    expected_model, expected_optimizer = trained(backend)
    model, optimizer = trained(backend)
    for _ in range(2):
        expected_optimizer.step(X, T)
    optimizer.step(X, T)
    ready = model.runner.attach(optimizer)
    replay = ready.step

    def pressed(*trees):
        signal.raise_signal(signal.SIGINT)
        result = replay(*trees)
        signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(ready, "step", pressed)
    with pytest.raises(KeyboardInterrupt):
        optimizer.step(X, T)
    assert_equal(all_of(model, optimizer), all_of(expected_model, expected_optimizer))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


STORM = """
import os, signal, sys, threading, time
import numpy as np, npnn

backend, signals, steps = sys.argv[1], int(sys.argv[2]), 150
rng = np.random.default_rng(0)
x = rng.standard_normal((64, 8)).astype("f")
t = rng.integers(0, 3, 64)

def make():
    layers = [npnn.Dense(8, 64), npnn.Tanh(), npnn.Dense(64, 3), npnn.Softmax()]
    model = npnn.Sequential(layers, seed=0, backend=backend)
    model.chain = npnn.CrossEntropyLoss()
    optimizer = npnn.Adam()
    optimizer.model = model
    return model, optimizer

def storm(begin, end, over, sleeps):
    begin.wait()
    while not end.is_set():
        time.sleep(sleeps.uniform(0.0, 0.004))
        os.kill(os.getpid(), signal.SIGINT)
    over.set()

def steps_in_a_storm(optimizer, seed):
    begin, end, over = (threading.Event() for _ in range(3))
    sleeps, pressed = np.random.default_rng(seed), 0
    thread = threading.Thread(target=storm, args=(begin, end, over, sleeps))
    try:
        thread.start()
        while True:
            try:
                begin.set()
                while optimizer.steps < steps or pressed <= 3:
                    optimizer.step(x, t)
                end.set()
                break
            except KeyboardInterrupt:
                pressed += 1
    finally:
        while not over.is_set():
            try:
                begin.set()
                end.set()
                over.wait()
            except KeyboardInterrupt:
                pass
    thread.join()
    return pressed

make()[1].step(x, t)
threads, pressed, storms = threading.active_count(), 0, 0
while pressed < signals:
    model, optimizer = make()
    optimizer.step(x, t)
    pressed += steps_in_a_storm(optimizer, storms)
    storms += 1
    expected, again = make()
    for _ in range(optimizer.steps):
        again.step(x, t)
    for name, array in expected.parameters().items():
        np.testing.assert_array_equal(array, model.parameters()[name], name)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert threading.active_count() == threads
print(storms, pressed)
"""
SIGNALS = int(os.environ.get("NPNN_SIGNALS", "4"))  # for each backend


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_storm_of_signals_leaves_the_model_after_a_whole_step(backend):
    command = [sys.executable, "-c", textwrap.dedent(STORM), backend, str(SIGNALS)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    storms, pressed = map(int, done.stdout.split())
    print(f"{pressed} signals in {storms} storms")
    assert pressed >= SIGNALS


@pytest.mark.parametrize(
    "start",
    [
        "import npnn_command\nsys.exit(npnn_command.main())\n",
        "import runpy\nrunpy.run_module('npnn', run_name='__main__')\n",
    ],
    ids=["npnn", "python -m npnn"],
)
def test_a_command_that_is_interrupted_while_it_is_imported_ends_with_a_line(start):
    code = (
        "import sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'npnn.cli.arguments':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\n"
    ) + start
    root = pathlib.Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "npnn: interrupted\n")
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    assert settings["project"]["scripts"] == {"npnn": "npnn_command:main"}
    assert settings["tool"]["setuptools"]["py-modules"] == ["npnn_command"]
