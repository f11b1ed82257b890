"""Models, losses, optimizers and what training gives are copied and pickled, and share nothing."""

import copy
import io
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest
from oracles import host_parameters

import npnn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 3))
T = (X.sum(axis=1) > 0).astype(int)


class Scaled(npnn.Layer):
    """A layer of one's own, with a parameter and a state."""

    parameter_names = ("factor",)
    state_names = ("count",)

    def __init__(self, start=2.0):
        self.start = start

    def build(self, shape_in, rng=None):
        self.shape_in = self.shape_out = self.accept(shape_in)
        self.factor = np.full(self.shape_in, self.start, dtype=self.dtype)
        self.count = np.zeros((), dtype=self.dtype)
        return self.shape_out

    def forward(self, x):
        self.x = x
        if self.training:
            self.count = self.count + 1.0
        return self.factor * x

    def backward(self, grad_y):
        self.grad_factor = (grad_y * self.x)[0, ...] + 0.0 * self.factor
        return grad_y * self.factor


def network(backend="numpy", **options):
    layers = [npnn.Dense(3, 8), npnn.Tanh(), npnn.BatchNorm(), npnn.Dropout(0.2), Scaled()]
    model = npnn.Sequential(
        [*layers, npnn.Dense(8, 2), npnn.Softmax()], seed=3, backend=backend, **options
    )
    model.norm = npnn.Normalization.standard(X)
    model.class_names, model.details = ["no", "yes"], {"notes": [1, {"a": 2.5}]}
    model.chain = npnn.CrossEntropyLoss()
    return model


def pickled(thing):
    return pickle.loads(pickle.dumps(thing))


WAYS = pytest.mark.parametrize("copied", [copy.deepcopy, pickled, copy.copy])


def assert_same(one, other):
    assert (one.seed, one.capture) == (other.seed, other.capture)
    assert_answer_alike(one, other)


def assert_answer_alike(one, other):
    assert repr(one) == repr(other)
    assert (one.norm, one.class_names, one.details) == (
        other.norm,
        other.class_names,
        other.details,
    )
    assert repr(one.backend) == repr(other.backend)
    assert repr(one.chain) == repr(other.chain)
    for name, array in host_parameters(one).items():
        np.testing.assert_array_equal(array, host_parameters(other)[name])
    to_numpy = one.backend.to_numpy
    np.testing.assert_array_equal(to_numpy(one.predict(X)), to_numpy(other.predict(X)))


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_a_copy_answers_and_trains_as_its_model(copied, captured_on):
    model = network(captured_on)
    model.fit(X, T, epochs=2)
    other = copied(model)
    assert_same(other, model)
    # Order and noise go on where the training ended.
    for each in (model, other):
        each.fit(X, T, epochs=2, optimizer=npnn.SGD(0.1))
    assert_same(other, model)


@WAYS
def test_a_copy_shares_nothing(copied, captured_on):
    model = network(captured_on)
    other = copied(model)
    before = host_parameters(other)
    mine = {id(part) for layer in model.walk() for part in vars(layer[1]).values()}
    for _, layer in other.walk():
        for name in (*layer.parameter_names, *layer.state_names):
            assert id(getattr(layer, name)) not in mine
    model.fit(X, T, epochs=2)
    model.details["notes"].append(3)
    model.class_names.append("maybe")
    model.norm.offset[0] = 100.0
    for name, array in host_parameters(other).items():
        np.testing.assert_array_equal(array, before[name])
    assert other.details == {"notes": [1, {"a": 2.5}]}
    assert other.class_names == ["no", "yes"]
    assert other.norm.offset[0] != 100.0
    assert other.chain is not model.chain
    assert not {id(layer) for _, layer in model.walk()} & {id(layer) for _, layer in other.walk()}


@WAYS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_copy_has_dtype_capture_and_what_its_seed_draws_next(copied, dtype):
    model = network(dtype=dtype, capture=False)
    other = copied(model)
    assert_same(other, model)
    for each in (model, other):
        each.layers = [npnn.Dense(3, 50), npnn.Dense(50, 2)]
    assert_same(other, model)


@WAYS
def test_layers_that_are_shared_are_so_in_a_copy(copied):
    shared = npnn.Dense(3, 3)
    parts = npnn.Parallel([[shared, npnn.Tanh()], shared])
    model = npnn.Sequential([shared, shared, parts, npnn.Dense(None, 2)], seed=0)
    other = copied(model)
    first, again, branches, _ = other.layers
    assert first is again is branches.branches[0].layers[0] is branches.branches[1].layers[0]
    assert first is not shared
    assert len(other.parameters()) == len(model.parameters()) == 4
    assert_same(other, model)


@WAYS
def test_a_model_without_a_shape_can_be_copied(copied):
    model = npnn.Sequential([npnn.Dense(None, 4), npnn.Tanh(), npnn.Dense(None, 2)], seed=5)
    other = copied(model)
    assert repr(other) == repr(model)
    for each in (model, other):
        each.fit(X, np.zeros((24, 2)), epochs=1)
    assert_same(other, model)
    empty = copied(npnn.Sequential(seed=1))
    empty.layers = [npnn.Dense(3, 2)]
    assert_same(empty, npnn.Sequential([npnn.Dense(3, 2)], seed=1))


@WAYS
def test_weights_in_a_model_without_a_shape_are_not_lost(copied):
    dense = npnn.Sequential([npnn.Dense(4, 2)], seed=0).layers[0]
    model = npnn.Sequential([npnn.Flatten(), dense])
    with pytest.raises(ValueError, match=r"model\.build_at\(shape\) first"):
        copied(model)
    model.build_at((2, 2))
    np.testing.assert_array_equal(copied(model).parameters()["1.w"], dense.w)


@WAYS
def test_a_chain_is_copied_as_a_whole(copied):
    def chain():
        encoder = npnn.Sequential([npnn.Latent(3, 4)], seed=0)
        decoder = npnn.Sequential([npnn.Sample(4), npnn.Dense(2, 3)], seed=1)
        encoder.chain = npnn.KullbackLeiblerLoss(beta=0.5)
        encoder.chain.chain = decoder
        decoder.chain = npnn.RMSLoss()
        return encoder

    model = chain()
    other = copied(model)
    assert other.chain.chain is not model.chain.chain
    for each in (model, other):
        each.fit(X, X, epochs=2, optimizer=npnn.SGD(0.1))
    assert_same(other, model)
    found, expected = host_parameters(other.chain.chain), host_parameters(model.chain.chain)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


@WAYS
def test_a_model_within_other_objects_is_copied_with_them(copied):
    model = network()
    found = copied([model, {"again": model}])
    if copied is not copy.copy:
        assert found[0] is found[1]["again"] is not model


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
@pytest.mark.parametrize(
    "make",
    [
        lambda: npnn.Adam(schedule=npnn.Cosine(40)),
        lambda: npnn.SGD(momentum=0.9, nesterov=True),
        lambda: npnn.GradientDescent(schedule=npnn.StepDecay(3, 0.5)),
        npnn.Adadelta,
    ],
)
def test_a_copy_of_model_and_optimizer_trains_on_as_they_do(copied, make, backend_name):
    model, optimizer = network(backend_name), make()
    optimizer.factor = 0.5
    model.fit(X, T, epochs=2, batch_size=8, optimizer=optimizer)
    found = copied(copied([model, optimizer]))
    for each, by in (found, (model, optimizer)):
        each.fit(X, T, epochs=1, batch_size=8, optimizer=by)
    assert_same(found[0], model)
    assert (found[1].steps, found[1].factor) == (9, 0.5)


def test_a_copy_of_an_optimizer_starts_anew_with_other_parameters():
    model, optimizer = network(), npnn.Adam()
    model.fit(X, T, epochs=2, optimizer=optimizer)
    late = copy.deepcopy(optimizer)
    model.fit(X, T, epochs=1, optimizer=optimizer)
    for by, other in ((late, model), (copy.deepcopy(optimizer), network())):
        expected = copy.deepcopy(other)
        other.fit(X, T, epochs=1, optimizer=by, seed=1)
        expected.fit(X, T, epochs=1, optimizer=npnn.Adam(), seed=1)
        assert by.steps == 1
        for name, array in host_parameters(expected).items():
            np.testing.assert_array_equal(host_parameters(other)[name], array)


@WAYS
def test_a_copy_that_cannot_be_made_is_refused(copied):
    class Local(Scaled):
        pass

    model = npnn.Sequential([npnn.Dense(3, 2), Local()])
    with pytest.raises(npnn.FileError, match="layer 1, Local: the class Local is defined"):
        copied(model)


def test_no_code_is_in_what_is_pickled():
    data = pickle.dumps(network(), protocol=0)
    names = {line for line in data.splitlines() if line.startswith((b"c", b"i"))}
    assert b"cnpnn.copies" in names
    allowed = (b"cnpnn.", b"ctest_copies", b"c_codecs", b"c__builtin__")
    assert all(name.startswith(allowed) for name in names if name[:1] == b"c"), names


def test_a_damaged_pickle_is_the_error_of_files():
    function, (cls, data, *rest) = network().__reduce__()
    with pytest.raises(npnn.FileError, match="not a whole safetensors file"):
        function(cls, data[:-1], *rest)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_are_given_models(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    model = npnn.Sequential([npnn.Dense(3, 4), npnn.Tanh(), npnn.Dense(4, 2)], seed=0)
    with multiprocessing.get_context(method).Pool(1) as pool:
        (y,) = pool.map(model.predict, [X])
        history, trained = pool.apply(_trained, (model,))
    np.testing.assert_array_equal(y, model.predict(X))
    assert model.fit(X, np.zeros((24, 2)), epochs=2) == history
    assert_same(trained, model)


def _trained(model):
    return model.fit(X, np.zeros((24, 2)), epochs=2), model


def test_a_process_that_has_not_imported_a_layer_of_ones_own_finds_it(tmp_path):
    (tmp_path / "own.py").write_text(
        "import npnn\n"
        "class Mine(npnn.Linear):\n"
        "    pass\n"
        "if __name__ != '__main__':\n"
        "    model = npnn.Sequential([npnn.Dense(2, 2), Mine()], seed=0)\n"
    )
    make = "import own, pickle; pickle.dump(own.model, open('model', 'wb'))"
    use = "import pickle; print(type(pickle.load(open('model', 'rb')).layers[1]))"
    for code in (make, use):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert "own.Mine" in done.stdout


# What is not a model -----------------------------------------------------------------------------


@WAYS
def test_a_history_is_copied_with_what_it_knows(copied):
    history = network().fit(X, T, epochs=2)
    history.stopped = "by a test"
    other = copied(history)
    assert type(other) is npnn.History
    assert other == history
    assert vars(other) == vars(history)


OPTIMIZERS = [
    npnn.Adam(0.02, clip_norm=1.0, schedule=npnn.Cosine(50, warm_up=2)),
    npnn.SGD(0.1, momentum=0.5, schedule=npnn.StepDecay(3)),
]


@WAYS
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_an_optimizer_is_copied_without_its_model_and_trains_another_anew(copied, optimizer):
    optimizer.model = network()
    optimizer.step(X, T)
    other = copied(optimizer)
    assert repr(other) == repr(optimizer)
    assert other.schedule is not optimizer.schedule
    assert (other.state, other.model) == ([], None)
    models = network(), network()
    for model, each in zip(models, (other, copied(optimizer)), strict=True):
        model.fit(X, T, epochs=2, optimizer=each)
        assert each.steps == 2
    assert_same(*models)


@WAYS
def test_callbacks_are_copied_with_what_they_learnt(copied):
    stopping, rate = npnn.EarlyStopping(2), npnn.LearningRateSchedule(npnn.ReduceOnPlateau())
    bar, log = npnn.ProgressBar(), npnn.TerminateOnNaN()
    callbacks = [stopping, rate, bar, log]
    network().fit(X, T, epochs=2, callbacks=callbacks)
    for callback in callbacks:
        other = copied(callback)
        assert type(other) is type(callback)
        assert other.get_state() == callback.get_state()
    assert copied(stopping).best_arrays.keys() == stopping.best_arrays.keys()
    network().fit(X, T, epochs=2, callbacks=[copied(callback) for callback in callbacks])


@WAYS
@pytest.mark.parametrize("loss", [npnn.HuberLoss(2, delta=0.5), npnn.CrossEntropyLoss()], ids=repr)
def test_a_loss_is_copied_without_its_sums(copied, loss):
    model = npnn.Sequential([npnn.Dense(3, 2), npnn.Softmax()], seed=0)
    model.chain = loss
    model.evaluate(X, np.eye(2)[T])
    other = copied(loss)
    assert repr(other) == repr(loss)
    assert np.isnan(other.get_loss())


@WAYS
def test_a_layer_is_copied_with_its_weights(copied):
    model = npnn.Sequential([npnn.Dense(3, 2)], seed=0)
    other = copied(model.layers[0])
    np.testing.assert_array_equal(other.w, model.layers[0].w)


# Files that are open -----------------------------------------------------------------------------


def test_models_are_saved_to_files_that_are_open_and_read_from_them(tmp_path):
    model = network()
    path, memory = tmp_path / "model", io.BytesIO()
    model.save(memory)
    model.save(path)
    assert memory.getvalue() == path.read_bytes()
    with open(tmp_path / "open", "wb") as file:
        file.write(b"before")
        model.save(file)
    with open(tmp_path / "open", "rb") as file:
        assert file.read(6) == b"before"
        assert_answer_alike(npnn.load(file), model)
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        with archive.open("model", "w") as member:
            model.save(member)
        with archive.open("model") as member:
            assert_answer_alike(npnn.load(member), model)
    memory.seek(0)
    assert_answer_alike(npnn.load(memory), model)


def test_a_model_goes_through_a_pipe():
    model = network()
    ends = os.pipe()
    with os.fdopen(ends[0], "rb") as reader, os.fdopen(ends[1], "wb") as writer:

        def save():
            model.save(writer)
            writer.close()

        thread = threading.Thread(target=save)
        thread.start()
        assert_answer_alike(npnn.load(reader), model)
        thread.join()


def test_a_file_must_be_open_for_bytes(tmp_path):
    model = network()
    with open(tmp_path / "text", "w") as file, pytest.raises(TypeError, match="open for bytes"):
        model.save(file)
    with open(tmp_path / "text") as file, pytest.raises(TypeError, match="open for bytes"):
        npnn.load(file)
    with pytest.raises(TypeError, match="open for bytes"):
        model.save(io.StringIO())
    for wrong in (None, 3, b"bytes", ["path"]):
        with pytest.raises(TypeError, match="path must be the path of a file"):
            model.save(wrong)
        with pytest.raises(TypeError, match="path must be the path of a file"):
            npnn.load(wrong)


def test_an_open_file_that_is_damaged_is_named(tmp_path):
    model = network()
    model.save(tmp_path / "model")
    data = (tmp_path / "model").read_bytes()
    (tmp_path / "model").write_bytes(data + b"more")
    with (
        open(tmp_path / "model", "rb") as file,
        pytest.raises(npnn.FileError, match="model: it is"),
    ):
        npnn.load(file)
    with pytest.raises(npnn.FileError, match="the BytesIO: it is not a whole safetensors file"):
        npnn.load(io.BytesIO(data[:-3]))


def test_a_training_goes_on_from_a_file_that_is_open(tmp_path):
    class Saves(npnn.Callback):
        def on_epoch_end(self, training, metrics):
            training.when_epoch_is_complete(lambda: training.save(saved))

    saved = io.BytesIO()
    whole, stopped = network(), network()
    expected = whole.fit(X, T, epochs=4)
    stopped.fit(X, T, epochs=1, callbacks=[Saves()])
    saved.seek(0)
    first = network()
    first.fit(X, T, epochs=2, resume=saved, callbacks=[npnn.Checkpoint(tmp_path / "c")])
    with open(tmp_path / "c", "rb") as file:
        resumed = network()
        assert resumed.fit(X, T, epochs=4, resume=file) == expected
    assert_same(resumed, whole)


@WAYS
def test_a_loss_that_balanced_the_classes_of_a_training_does_so_in_a_copy(copied):
    model = npnn.Sequential([npnn.Dense(3, 2), npnn.Softmax()], seed=0)
    model.chain = npnn.CrossEntropyLoss(class_weights="balanced")
    assert copied(model).chain.balanced is None
    model.fit(X, T, epochs=1)
    other, file = copied(model), io.BytesIO()
    model.save(file)
    file.seek(0)
    assert other.chain.balanced == model.chain.balanced
    assert other.evaluate(X, T) == npnn.load(file).evaluate(X, T) == model.evaluate(X, T)
    config = model.chain.to_config()
    for wrong in ([1.0], [1.0, -1.0], 3, ["a", "b"]):
        with pytest.raises(npnn.FileError):
            npnn.Layer.from_config({**config, "balanced": wrong})
