"""Two GPUs and several streams, on the emulated machine: where, and in which order, is computed."""

import contextlib
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import npnn
from npnn import batches
from npnn.callbacks import Callback, Checkpoint, EarlyStopping
from npnn.profiling import profile

emulated = pytest.importorskip("emulated", reason="needs the emulated device")
cupy = pytest.importorskip("cupy")

MODE, PEER = os.environ.get("EMU_MODE", "eager"), os.environ.get("EMU_PEER", "1")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        cupy.cuda.runtime.getDeviceCount() < 2, reason="EMU_NDEV=2 makes two devices of it"
    ),
]

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 6)) * [1, 2, 3, 4, 5, 6]
C = RNG.integers(0, 3, 40)


class Elsewhere(cupy.cuda.MemoryHook):
    """Inside it a device is current on which nothing may be launched or allocated."""

    name = "elsewhere"

    def __init__(self, device):
        self.device = device

    def malloc_preprocess(self, **given):
        # Not the device_id given: with CuPy 14.2 it is that of the first allocation ever.
        assert cupy.cuda.runtime.getDevice() != self.device, "no model is on this device"

    @contextlib.contextmanager
    def current(self):
        emulated.reset()
        with cupy.cuda.Device(self.device), self:
            yield
        counted = emulated.counters()
        assert counted.get(f"launch on {self.device}", 0) == 0
        assert counted.get(f"launch on {1 - self.device}", 0) > 0
        assert not emulated.faults()  # with EMU_RACE=1 each access is looked at


def classifier(**options):
    layers = [
        npnn.Dense(6, 16),
        npnn.BatchNorm(),
        npnn.ReLU(),
        npnn.Dropout(0.25),
        npnn.Dense(16, 3),
        npnn.Softmax(),
    ]
    model = npnn.Sequential(layers, seed=1, dtype="float64", **options)
    model.norm = npnn.Normalization.standard(X)
    model.chain = npnn.CrossEntropyLoss()
    return model


def on_host(model, *arrays):
    given = [*model.parameters().values(), *model.state().values(), *arrays]
    return [np.array(model.backend.to_numpy(a)) for a in given]


# What a person may do with a model; each returns numbers that are the same on every backend.


def fit(model, folder, **options):
    history = model.fit(X, C, epochs=2, batch_size=8, validation_split=0.25, **options)
    return [*on_host(model), *map(np.array, history.values())]


def fit_with_callbacks(model, folder):
    class Looks(Callback):
        norms = ()

        def on_epoch_end(self, training, metrics):
            w = training.model.layers[0].w
            self.norms = (*self.norms, float((w * w).sum()))

    looks = Looks()
    callbacks = [looks, EarlyStopping(1, "loss", "max"), Checkpoint(folder / "checkpoint")]
    return [*fit(model, folder, callbacks=callbacks), np.array(looks.norms)]


def fit_and_resume(model, folder):
    first = fit(model, folder, callbacks=[Checkpoint(folder / "checkpoint")])
    model.fit(X, C, epochs=4, batch_size=8, validation_split=0.25, resume=folder / "checkpoint")
    return [*first, *on_host(model)]


def fit_until_it_diverges(model, folder):
    model.chain = npnn.RMSLoss()
    large = npnn.GradientDescent(1e37, weight_decay=1.0)
    with pytest.raises(npnn.DivergedError) as caught:
        model.fit(X, np.eye(3)[C], epochs=9, batch_size=8, optimizer=large)
    assert all(np.isfinite(array).all() for array in on_host(model))
    return [np.array([caught.value.epoch, caught.value.step])]


def step(model, folder):
    optimizer = npnn.AdamW(clip_norm=1.0)
    optimizer.model = model
    for rows in (slice(0, 16), slice(16, 32), slice(32, 40)):
        optimizer.step(X[rows], C[rows])
        optimizer.step(X[rows].tolist(), np.eye(3)[C[rows]])
    return on_host(model, optimizer.predict(X), optimizer.predict_class(X))


def one_output(model, folder):
    model.layers = [*model.layers[:4], npnn.Dense(16, 1), npnn.Sigmoid()]
    model.chain = npnn.BinaryCrossEntropyLoss()
    optimizer = npnn.SGD(0.1, momentum=0.5)
    optimizer.model = model
    for _ in range(3):
        optimizer.step(X, C == 1)
    loss = model.chain
    return [*on_host(model), np.array([loss.get_loss(), loss.get_accuracy()])]


def predict(model, folder):
    return on_host(model, model.predict(X), model.predict(X, batch_size=16), model.predict_class(X))


def evaluate(model, folder):
    return [np.array(list(model.evaluate(X, t, batch_size=16).values())) for t in (C, np.eye(3)[C])]


def by_hand(model, folder):
    t = model.backend.asarray(np.eye(3)[C])
    y = model.forward(model.backend.asarray(X))
    with model.backend.current():
        model.chain.forward(y, t)
        gradient = model.chain.backward()
    gradient = model.backward(gradient)
    gradients = [layer.grad_w for layer in model.layers if hasattr(layer, "grad_w")]
    return [*on_host(model, y, gradient, *gradients), np.array(model.chain.get_loss())]


def save_and_load(model, folder):
    model.save(folder / "model")
    again = npnn.load(folder / "model", backend=model.backend)
    again.set_arrays(again.parameters() | again.state())
    return on_host(again, again.predict(X))


def look_at_it(model, folder):
    assert "Dense" in model.summary()
    assert "Dense" in model.plan()
    profile(model, X, C, steps=2)
    return on_host(model)


USES = (
    fit, fit_with_callbacks, fit_and_resume, fit_until_it_diverges, step, one_output, predict,
    evaluate, by_hand, save_and_load, look_at_it,
)  # fmt: skip


def compare(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-9)


HOMES = pytest.mark.parametrize("home", [0, 1])


@HOMES
@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_a_model_uses_its_own_device_alone_whichever_is_current(use, home, tmp_path):
    with Elsewhere(1 - home).current():
        found = use(classifier(backend="cupy", device=home), tmp_path)
    compare(found, use(classifier(), tmp_path))


@HOMES
@pytest.mark.parametrize("capture", [True, False])
def test_streamed_data_and_steps_that_are_not_captured_stay_there_too(
    home, capture, monkeypatch, tmp_path
):
    expected = fit(classifier(), tmp_path)
    monkeypatch.setattr(batches, "SHARE_OF_DATA", 0.0)
    with Elsewhere(1 - home).current():
        compare(fit(classifier(backend="cupy", device=home, capture=capture), tmp_path), expected)


@HOMES
def test_arrays_of_the_other_device_are_copied_to_the_model_s(home, tmp_path):
    """Their own device launches nothing for it, unless they have to be put in order first."""

    def use(model, x, c):
        optimizer = npnn.Adam()
        optimizer.model = model
        for rows in (slice(0, 20), slice(20, 40)):
            optimizer.step(x[rows], c[rows])
        model.fit(x, c, epochs=1, batch_size=8, validation_data=(x, c))
        y = model.predict(x, batch_size=16), model.predict_class(x)
        return [*on_host(model, *y), np.array(list(model.evaluate(x, c).values()))]

    with cupy.cuda.Device(1 - home):
        x, c = cupy.asarray(X), cupy.asarray(C)
        turned = cupy.asarray(np.asfortranarray(X[::-1]))[::-1]
    expected = use(classifier(), X, C)
    with Elsewhere(1 - home).current():
        compare(use(classifier(backend="cupy", device=home), x, c), expected)
    with cupy.cuda.Device(1 - home):
        model = classifier(backend="cupy", device=home)
        compare(on_host(model, model.predict(turned)), predict(classifier(), tmp_path)[:-2])


# How often the host waits ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"validation_split": 0.25}, {"validation_data": (X, C)}],
    ids=["alone", "with-a-split", "with-validation-data"],
)
def test_an_epoch_is_waited_for_once_and_its_order_copied_at_once(options):
    class Count(Callback):
        epochs = ()

        def on_epoch_end(self, training, metrics):
            self.epochs = (*self.epochs, emulated.counters())
            emulated.reset()

    model, count = classifier(backend="cupy"), Count()
    model.layers = [layer for layer in model.layers if not isinstance(layer, npnn.Dropout)]
    model.fit(X, C, epochs=4, batch_size=8, callbacks=[count], **options)
    for counted in count.epochs[2:]:  # steps have been captured
        waits = {name: n for name, n in counted.items() if name.startswith("wait ")}
        # Memory that the host may move is copied to while it waits.
        assert waits == {"wait stream": 1, "wait memcpy": 1}
        assert counted["copy d2h pageable async"] == counted["copy h2d pinned async"] == 1


# Streams -----------------------------------------------------------------------------------------

BATCHES = [(X[start : start + 8], C[start : start + 8]) for start in range(0, 40, 8)]


def trained(streams, **options):
    """Return numbers of steps that are done on one stream after the other."""
    optimizer = npnn.Adam()
    optimizer.model = model = classifier(**options)
    found = []
    for number, batch in enumerate(BATCHES * 2):
        with streams[number % len(streams)]:
            optimizer.step(*batch)
        if number % 3 == 0:
            with streams[(number + 1) % len(streams)]:
                found.append(optimizer.predict(X))
        if number % 4 == 3:
            found.append(np.array(model.chain.get_loss()))
    return on_host(model, *map(model.backend.asarray, found))


def new_streams(count=2):
    return [cupy.cuda.Stream(non_blocking=True) for _ in range(count)]


@pytest.mark.parametrize("capture", [True, False])
def test_steps_on_several_streams_are_done_one_after_the_other(capture):
    expected = trained([contextlib.nullcontext()])
    compare(trained(new_streams(3), backend="cupy", capture=capture), expected)


def test_a_change_of_streams_is_not_waited_for_by_the_host():
    optimizer = npnn.Adam()
    optimizer.model = classifier(backend="cupy")
    x, c = (optimizer.model.backend.asarray(a, keep_integers=True) for a in (X, np.eye(3)[C]))
    first, second = new_streams()
    for _ in range(2):  # it is recorded, then captured
        optimizer.step(x, c)
    cupy.cuda.Device().synchronize()
    for streams, events in (((first, first, first), 1), ((second, first, second), 3)):
        emulated.reset()
        for stream in streams:
            with stream:
                optimizer.step(x, c)
        counted = emulated.counters()
        assert not [name for name in counted if name.startswith("wait ")], counted
        assert counted["waitEvent"] == events


def test_what_one_thread_does_is_followed_by_another_s_stream():
    backend = npnn.backends.get("cupy")
    first, second = new_streams()
    x = backend.asarray(np.zeros(1000))
    begun, looked = threading.Event(), threading.Event()

    def add():
        with first, backend.current():
            begun.set()
            looked.wait()
            x[...] += 1.0

    thread = threading.Thread(target=add)
    thread.start()
    begun.wait()
    with second:
        backend.asarray([1.0])
    looked.set()
    thread.join()
    with second:
        assert (backend.to_numpy(x) == 1.0).all()


class OfAnotherLibrary:
    """An array whose library has put it on a stream of its own, and orders it for who asks."""

    def __init__(self, array, stream):
        self.array, self.stream, self.asked = array, stream, []

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, *, stream=None, **options):
        self.asked.append(stream)
        with self.array.device, self.stream:
            return self.array.__dlpack__(stream=stream, **options)


@pytest.mark.parametrize(("home", "source"), [(0, 0), (1, 1), (0, 1)])
def test_arrays_of_another_library_s_stream_are_in_order(home, source):
    """Such as PyTorch's: the stream of the device they are on is what their library is told."""

    def use(model, lend):
        optimizer = npnn.Adam()
        optimizer.model = model
        for x, c in BATCHES:
            optimizer.step(lend(x), lend(np.eye(3)[c]))
        model.fit(lend(X), lend(C), epochs=1, batch_size=8, validation_split=0.25)
        return on_host(model, model.predict(lend(X)), model.predict(lend(X), batch_size=8))

    lent = []

    def lend(array):
        with cupy.cuda.Device(source), theirs:
            lent.append(OfAnotherLibrary(cupy.asarray(array) * 1, theirs))
        return lent[-1]

    expected = use(classifier(), lambda array: array)
    with cupy.cuda.Device(source):
        (theirs,) = new_streams(1)
    with cupy.cuda.Device(home), new_streams(1)[0] as ours:
        compare(use(classifier(backend="cupy"), lend), expected)
    told = {stream for array in lent for stream in array.asked}
    assert told == {ours.ptr if home == source else 1}  # 1 is the default stream


def test_what_another_library_lends_is_not_waited_for_by_the_host():
    optimizer = npnn.Adam()
    optimizer.model = classifier(backend="cupy")
    (theirs,) = new_streams(1)
    with theirs:
        x, t = (OfAnotherLibrary(cupy.asarray(a), theirs) for a in (X, np.eye(3)[C]))
    for _ in range(2):
        optimizer.step(x, t)
    emulated.reset()
    optimizer.step(x, t)
    assert not [name for name in emulated.counters() if name.startswith("wait ")]


def test_an_array_of_the_other_device_s_stream_is_copied_when_it_is_written_and_before_it_changes():
    model = classifier(backend="cupy", device=0)
    with cupy.cuda.Device(1), new_streams(1)[0] as theirs:
        x = cupy.zeros(X.shape)
        x += cupy.asarray(X)
    with cupy.cuda.Device(1), theirs:
        y = model.predict(x)
        x *= 0.0
        theirs.synchronize()
    compare([model.backend.to_numpy(y)], [classifier().predict(X)])


@pytest.mark.skipif((MODE, PEER) != ("eager", "1"), reason="it is one of those that are started")
@pytest.mark.parametrize(
    ("setting", "tests"),
    [
        ({"EMU_MODE": "lazy"}, ""),
        ({"EMU_MODE": "random"}, "stream or thread or library"),
        ({"EMU_PEER": "0"}, ""),
    ],
    ids=["when-somebody-waits", "at-random-times", "without-peer-access"],
)
def test_all_of_it_holds_on_a_device_that_works(setting, tests):
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", __file__, "-k", tests]
    done = subprocess.run(command, env=os.environ | setting, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout
