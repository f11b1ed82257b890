"""CuPy as a backend: arrays of others, one device among several, memory, streaming, training."""

import numpy as np
import pytest
from conftest import WORKING
from on_gpu import DEVICE, DEVICES, classifier, on, run_apart, table, trainer, weights
from test_capture import assert_close
from test_plan import numbers

import npnn
from npnn import batches as data_batches
from npnn.backends.libraries.cupy_backend import CupyBackend

pytestmark = pytest.mark.gpu

cupy = pytest.importorskip("cupy")
two_devices = pytest.mark.skipif(len(DEVICES) < 2, reason="there is one device")


@pytest.fixture
def device():
    """The device that the tests use, as CuPy's."""
    return npnn.backends.get("cupy", device=DEVICE).device


# Arrays of others --------------------------------------------------------------------------------


def test_arrays_of_the_device_are_data_for_every_backend(device):
    x = numbers(5, 3)
    with device:
        there = cupy.asarray(x)
    for name in WORKING:
        layers = [npnn.Dense(3, 2), npnn.Tanh()]
        model = npnn.Sequential(layers, **on(name, dtype="float64", seed=0))
        ours, expected = (model.backend.to_numpy(model.predict(a)) for a in (there, x))
        np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_parts_of_a_table_are_inputs_too(device):
    both, losses = numbers(12, 25), []
    with device:
        whole = cupy.asarray(both)
        parts = whole[:, :20], whole[:, 20:]
        copies = [part.copy() for part in parts]
    for x, t in (parts, copies, (both[:, :20], both[:, 20:])):
        layers, _ = classifier()
        trains = npnn.SGD(alpha=1e-3)
        trains.model = npnn.Sequential(layers[:-1], **on("cupy", dtype="float64", seed=0))
        trains.model.chain = npnn.RMSLoss()
        for _ in range(3):
            trains.step(x, t)
        losses.append(trains.model.chain.get_loss())
    assert losses[0] == losses[1] == losses[2]


@two_devices
def test_an_array_of_another_device_is_copied_to_this_one(device):
    x = numbers(4, 3)
    with cupy.cuda.Device(0):
        elsewhere = cupy.asarray(x)
    backend = npnn.backends.get("cupy", "float64", "cuda:1")
    array = backend.asarray(elsewhere)
    assert array.device == device
    np.testing.assert_array_equal(backend.to_numpy(array), x)


# One device among several ------------------------------------------------------------------------


@two_devices
@pytest.mark.parametrize("capture", [True, False])
def test_all_is_done_on_the_device_that_was_chosen(capture, emulated, monkeypatch, tmp_path):
    trains, batches = trainer(classifier, "cupy", capture=capture)
    for batch in batches:
        trains.step(*batch)
    model, (x, t) = trains.model, batches[0]
    model.norm = npnn.Normalization.standard(x)
    model.fit(x, t, epochs=2, batch_size=5, seed=0, callbacks=[npnn.Checkpoint(tmp_path / "c")])
    model.evaluate(x, t)
    model.predict(x)
    model.predict_class(x)
    monkeypatch.setattr(data_batches, "SHARE_OF_DATA", 0.0)
    model.fit(x, t, epochs=2, batch_size=5, seed=0)
    counted = emulated.counters()
    assert counted.get("launch on 0", 0) == 0
    assert counted["launch on 1"] > 0
    assert cupy.cuda.runtime.getDevice() == 0


@two_devices
def test_what_is_free_is_what_the_pool_of_the_device_keeps_too(device):
    backend = npnn.backends.get("cupy", device=DEVICE)
    with device:
        kept = cupy.empty(1 << 20, np.uint8)
    used = backend.free_memory()
    del kept
    assert backend.free_memory() - used >= 1 << 20


# Memory ------------------------------------------------------------------------------------------


def fitted(backend, progress=False, **options):
    """Return the history and the model of a training, with validation and a normalisation."""
    x, t = table()
    layers, loss = classifier()
    model = npnn.Sequential(layers, **on(backend, seed=0, dtype="float64", **options))
    model.norm = npnn.Normalization.standard(x)
    history = model.fit(
        x, t, loss=loss, epochs=3, batch_size=8, seed=1, validation_split=0.2, progress=progress
    )
    return history, model


def assert_same_training(ours, theirs):
    """Check pairs of a history and a model against each other."""
    for name, values in theirs[0].items():
        np.testing.assert_allclose(ours[0][name], values, rtol=1e-9)
    arrays = [list(model.parameters().values()) for _, model in (ours, theirs)]
    to_numpy = [model.backend.to_numpy for _, model in (ours, theirs)]
    assert_close(*([f(a) for a in part] for f, part in zip(to_numpy, arrays, strict=True)), 1e-11)


@pytest.fixture(scope="module")
def on_numpy():
    return fitted("numpy")


def test_a_training_with_a_normalisation_is_what_it_is_on_numpy(on_numpy, capsys):
    assert_same_training(fitted("cupy", progress=True), on_numpy)
    assert "streamed" not in capsys.readouterr().err


def test_data_larger_than_the_device_are_streamed(on_numpy, monkeypatch, capsys):
    # Of the bytes that are free, the data need 8400, which is more than half.
    monkeypatch.setattr(CupyBackend, "free_memory", lambda self: 15_000)
    assert_same_training(fitted("cupy", progress=True), on_numpy)
    assert "the training data (0.0 GB) stay in the host" in capsys.readouterr().err


def test_whoever_stops_early_leaves_no_copies_under_way(emulated):
    x = numbers(20, 3)
    backend = npnn.backends.get("cupy", "float64", DEVICE)
    batches = backend.batches({"x": x}, np.split(np.arange(20), 5))
    np.testing.assert_array_equal(next(batches)["x"].get(), x[:4])
    emulated.reset()
    batches.close()
    assert emulated.counters()["wait stream"] == 1


def test_what_was_streamed_is_not_written_over_before_it_is_read():
    x = numbers(600, 50)
    backend = npnn.backends.get("cupy", "float64", DEVICE)
    order = np.random.default_rng(0).permutation(600)
    with backend.device:
        found = [batch["x"] * 1.0 for batch in backend.batches({"x": x}, np.array_split(order, 40))]
    np.testing.assert_array_equal(np.concatenate([part.get() for part in found]), x[order])


SMALL_DEVICE = """
import cupy, pytest
from on_gpu import classifier, trainer

trains, batches = trainer(classifier, "cupy", rows=36)
x, t = batches[0]
trains.step(x[:12], t[:12])
with pytest.raises(MemoryError, match=r"batch size 36 needs 0.\\d MB.*0.\\d MB are free") as caught:
    trains.step(x, t)
fitting = int(str(caught.value).partition("batch_size=")[2].split()[0])
assert 16 < fitting < 36
fitting = fitting * 3 // 4  # there are small things beside
trains.step(x[:fitting], t[:fitting])
rest = cupy.empty(trains.model.backend.free_memory() // 512 * 512, "uint8")
with pytest.raises(MemoryError, match=r"0.0 MB are free$"):
    trains.step(x[:10], t[:10])
"""


@pytest.mark.usefixtures("emulated")
def test_too_little_memory_says_which_batch_size_would_fit():
    # cuBLASLt's workspace takes 32 MiB.
    run_apart(SMALL_DEVICE, EMU_MB="33", EMU_NDEV="1")


# Training ----------------------------------------------------------------------------------------


def test_a_training_that_is_resumed_is_the_one_that_was_not_stopped(tmp_path):
    x, t = table()

    def run(backend, epochs, folder, resume=None):
        layers, loss = classifier()
        model = npnn.Sequential(layers, **on(backend, seed=0, dtype="float64"))
        model.norm = npnn.Normalization.standard(x)
        options = {"batch_size": 8, "seed": 1, "validation_split": 0.2, "resume": resume}
        history = model.fit(
            x, t, loss=loss, epochs=epochs, callbacks=[npnn.Checkpoint(folder)], **options
        )
        return history, model

    whole = run("cupy", 4, tmp_path / "whole")
    run("cupy", 2, tmp_path / "half")
    resumed = run("cupy", 4, tmp_path / "rest", resume=tmp_path / "half")
    elsewhere = run("numpy", 4, tmp_path / "other", resume=tmp_path / "half")
    for name, values in whole[0].items():
        np.testing.assert_array_equal(resumed[0][name], values)
    assert_same_training(elsewhere, whole)


def test_steps_go_to_the_stream_that_is_current(device):
    ours, batches = trainer(classifier, "cupy", npnn.SGD, dtype="float64")
    theirs, _ = trainer(classifier, "numpy", npnn.SGD, dtype="float64")
    ours.model.backend.synchronize()
    with device, cupy.cuda.Stream(non_blocking=True) as stream:
        for batch in batches:
            ours.step(*batch)
        stream.synchronize()
    for batch in batches:
        theirs.step(*batch)
    assert_close(weights(ours), weights(theirs), 1e-11)


def test_two_models_take_turns():
    pair = [trainer(classifier, "cupy", dtype="float64") for _ in range(2)]
    theirs, batches = trainer(classifier, "numpy", dtype="float64")
    for batch in batches:
        for ours, _ in pair:
            ours.step(*batch)
        theirs.step(*batch)
    for ours, _ in pair:
        assert_close(weights(ours), weights(theirs), 1e-11)
