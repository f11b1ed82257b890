"""Threads that use one model, or models with something in common: each waits for its turn."""

import copy
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

import npnn
from npnn.backends.recording.tracer import Recorded
from npnn.locks import locks_of

RNG = np.random.default_rng(0)
X = RNG.standard_normal((32, 6))
T = RNG.integers(0, 3, 32)
THREADS = 8
MODELS = int(os.environ.get("NPNN_THREADS", "2"))  # for each backend


@pytest.fixture(autouse=True)
def impatient():
    """Threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def together(*actions):
    """Do actions in threads of their own that begin at once; raise what one of them raised."""
    barrier, raised = threading.Barrier(len(actions)), []

    def run(action):
        try:
            barrier.wait()
            action()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(action,), daemon=True) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300.0)
    assert not any(thread.is_alive() for thread in threads), "they wait for each other for ever"
    if raised:
        raise raised[0]


def classifier(backend="numpy", seed=0, **options):
    layers = [npnn.Dense(6, 16), npnn.Tanh(), npnn.layers.BatchNorm(), npnn.layers.Dropout(0.2)]
    layers += [npnn.Dense(16, 3), npnn.Softmax()]
    return npnn.Sequential(layers, seed=seed, backend=backend, **options)


def left_behind(model):
    """Return what no layer may hold after a step: arrays that recorded it."""
    found = [value for _, layer in model.walk() for value in vars(layer).values()]
    return [value for value in found if isinstance(value, Recorded) or "Tracer" in str(type(value))]


def everything(model, path):
    """Return what threads may do with a model."""

    def step():
        optimizer = npnn.Adam()
        optimizer.model = model
        if model.chain is not None:
            optimizer.step(X, T)
            optimizer.predict(X, T)

    return [
        lambda: model.fit(X, T, epochs=2, batch_size=16),
        lambda: model.fit(X, T, epochs=1, batch_size=32, validation_data=(X, T)),
        step,
        lambda: [model.predict(X[:rows]) for rows in (5, 32, 5)],
        lambda: [model.evaluate(X, T) for _ in range(2)],
        lambda: [model.summary(), model.predict_class(X)],
        lambda: model.plan(16),
        lambda: model.save(path),
    ]


# All at once --------------------------------------------------------------------------------------


@pytest.mark.parametrize("capture", [True, False], ids=["captured", "uncaptured"])
def test_threads_do_everything_with_one_model_at_once(backend_name, capture, tmp_path):
    if backend_name == "jax" and MODELS == 2:
        pytest.skip("JAX compiles longer than it runs: NPNN_THREADS=30 does it")
    for number in range(MODELS if capture else 1):
        model, path = classifier(backend_name, number, capture=capture), tmp_path / "model.npnn"
        if number % 2:
            model.chain = npnn.CrossEntropyLoss()
        together(*everything(model, path))
        assert left_behind(model) == []
        assert np.isfinite(model.backend.to_numpy(model.predict(X))).all()
        assert npnn.load(path).shape_out == (3,)


# Numbers ------------------------------------------------------------------------------------------


class Sum(npnn.LossLayer):
    """The outputs themselves, whose gradient is the same wherever training is."""

    needs_targets = False

    def value(self, y, t):
        return y

    def derivative(self, y, t):
        return y * 0.0 + 1.0


RATE = 2.0**-10
ONES = np.ones((4, 2))


def counter(layers=None, backend="numpy", **options):
    """Return a model that says how many steps were made: each makes every parameter less."""
    layers = layers or [npnn.Dense(2, 64, initializer="Constant")]
    model = npnn.Sequential(layers, backend=backend, dtype="float64", **options)
    model.chain = Sum()
    return model


def counted(model, rows=1):
    """Return the steps that each output tells of."""
    return np.asarray(model.backend.to_numpy(model.predict(ONES[:rows]))) / (-3.0 * RATE)


def trains(model, steps, optimizer=None):
    optimizer = optimizer or npnn.GradientDescent(RATE)

    def by_hand():
        optimizer.model = model
        for _ in range(steps):
            optimizer.step(ONES, None)

    return by_hand


def test_no_step_of_any_thread_is_lost(backend_name):
    model = counter(backend=backend_name)
    together(*[trains(model, 20) for _ in range(THREADS)])
    np.testing.assert_array_equal(counted(model), 20.0 * THREADS)


@pytest.mark.parametrize("backend", ["numpy", "numba", "torch"])
def test_a_prediction_is_that_of_a_model_between_two_steps(backend):
    pytest.importorskip(backend)
    model, seen, trained = counter(backend=backend), [], []
    counted(model)

    def train():
        try:
            trains(model, 40)()
        finally:
            trained.append(True)

    def ask():
        while len(trained) < 2 or len(seen) < 40:
            seen.extend(counted(model, rows) for rows in (1, 2, 3, 4))

    together(train, train, *[ask] * (THREADS - 2))
    for counts in seen:
        assert counts.min() == counts.max() == round(counts[0, 0])


def test_eight_threads_are_answered_what_one_is(backend_name):
    model = classifier(backend_name)
    batches = [X[:rows] for rows in (1, 3, 7, 8, 16, 20, 31, 32)]
    to_numpy = model.backend.to_numpy
    expected = [np.array(to_numpy(model.predict(batch))) for batch in batches]

    def ask(number):
        for _ in range(10):
            y = to_numpy(model.predict(batches[number]))
            np.testing.assert_array_equal(y, expected[number])

    together(*[lambda number=number: ask(number) for number in range(THREADS)])


def test_trainings_of_one_model_come_one_after_the_other():
    def trained(*order):
        model = classifier(dtype="float64")
        fits = [lambda n=n: model.fit(X, T, epochs=2, batch_size=8, seed=n) for n in order]
        return model, fits

    expected = []
    for order in ((1, 2), (2, 1)):
        model, fits = trained(*order)
        histories = [fit()["loss"] for fit in fits]
        expected.append((dict(zip(order, histories, strict=True)), model.layers[0].w))
    model, fits = trained(1, 2)
    found = {}
    together(*[lambda n=n: found.update({n: fits[n - 1]()["loss"]}) for n in (1, 2)])
    assert any(
        found == histories and np.array_equal(model.layers[0].w, w) for histories, w in expected
    )


@pytest.mark.parametrize("capture", [True, False], ids=["captured", "uncaptured"])
def test_what_is_measured_meanwhile_is_no_part_of_a_training(capture):
    def losses(*others):
        model, found = classifier(dtype="float64", capture=capture), []
        model.chain = npnn.CrossEntropyLoss()
        together(
            lambda: found.append(model.fit(X, T, epochs=5, batch_size=4)),
            *[lambda other=other: other(model) for other in others],
        )
        return found[0]["loss"]

    def evaluate(model):
        for _ in range(20):
            model.evaluate(X, T)

    assert losses(evaluate, evaluate) == losses()


# What models have in common -----------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_models_that_share_a_layer_wait_for_each_other(backend):
    pytest.importorskip(backend)
    first = npnn.Dense(2, 64, initializer="Constant")
    models = [counter([first], backend) for _ in range(4)]
    together(*[trains(model, 10) for model in models])
    np.testing.assert_array_equal(counted(models[0]), 40.0)


def test_models_that_were_used_apart_and_are_put_together_wait_for_each_other():
    one, two = counter(), counter([npnn.Dense(64, 64)])
    for model, width in ((one, 2), (two, 64)):
        model.predict(np.ones((1, width)))
    both = npnn.Sequential([*one.layers, *two.layers], dtype="float64")
    both.chain = Sum()
    two.layers[0].trainable = False
    two.layers[0].w = np.eye(64)
    together(*[trains(one, 20) for _ in range(3)], *[trains(both, 20) for _ in range(3)])
    np.testing.assert_array_equal(counted(one), 120.0)


def test_a_loss_of_two_models_measures_each_training_alone():
    def losses(at_once):
        loss, found = npnn.CrossEntropyLoss(), {}

        def fit(seed):
            model = classifier(seed=seed, dtype="float64")
            found[seed] = model.fit(X, T, epochs=3, batch_size=4, loss=loss)["loss"]

        fits = [lambda seed=seed: fit(seed) for seed in range(4)]
        together(*fits) if at_once else [fit() for fit in fits]
        return found

    assert losses(at_once=True) == losses(at_once=False)


def test_an_optimizer_of_two_models_trains_one_after_the_other():
    optimizer = npnn.Adam()
    models = [classifier(seed=seed) for seed in range(3)]
    together(*[lambda m=m: m.fit(X, T, epochs=3, optimizer=optimizer) for m in models])
    for model in models:
        assert np.isfinite(model.predict(X)).all()


def test_an_optimizer_that_goes_to_another_model_does_not_wait_for_the_first():
    optimizer, one, two = npnn.GradientDescent(RATE), counter(), counter()
    trains(one, 1, optimizer)()
    trains(two, 1, optimizer)()
    assert locks_of([optimizer]) is two.runner.locks() is not one.runner.locks()


# Callbacks ----------------------------------------------------------------------------------------


class Does(npnn.Callback):
    """Does something after each batch."""

    def __init__(self, action):
        self.action = action

    def on_batch_end(self, training):
        self.action(training.model)


def test_a_callback_may_use_the_model_itself(tmp_path):
    def all_of_it(model):
        model.predict(X)
        model.evaluate(X, T)
        model.summary()
        model.plan(8)
        model.save(tmp_path / "model.npnn")

    def losses(*callbacks):
        model = classifier(dtype="float64")
        return model.fit(X, T, epochs=2, batch_size=8, callbacks=list(callbacks))["loss"]

    assert losses(Does(all_of_it)) == losses()


def test_a_thread_of_a_callback_may_look_at_the_model(tmp_path):
    def elsewhere(model):
        together(
            lambda: model.predict(X),
            lambda: model.evaluate(X, T),
            lambda: model.summary(),
            lambda: model.save(tmp_path / "model.npnn"),
        )

    classifier().fit(X, T, epochs=1, batch_size=8, callbacks=[Does(elsewhere)])


def test_threads_that_would_wait_for_each_other_for_ever_are_told():
    one, two = counter(), counter()
    both, raised = threading.Barrier(2), []

    def fit(model, other):
        step, first = trains(other, 1), []

        def train(_):
            if not first:
                first.append(both.wait(60.0))
                step()

        options = {"epochs": 2, "batch_size": 2, "optimizer": npnn.GradientDescent(RATE)}
        try:
            model.fit(ONES, np.zeros((4, 64)), callbacks=[Does(train)], **options)
        except RuntimeError as error:
            raised.append(str(error))

    together(lambda: fit(one, two), lambda: fit(two, one))
    assert len(raised) == 1
    assert raised[0].startswith("the model is being trained by a thread that waits")
    trains(one, 1)()
    trains(two, 1)()


# Copies and forks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_of_what_was_used_waits_for_nobody(copied):
    model, optimizer = classifier(), npnn.Adam()
    model.fit(X, T, epochs=1, optimizer=optimizer)
    mine = model.runner.locks()
    for thing in (model.layers[0], optimizer):
        other = copied(thing)
        assert locks_of([other]) is not mine
        together(lambda other=other: locks_of([other]).step.__enter__())


FORKING = """
import os, sys, threading
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import numpy as np
import test_model_threads as t

model = t.counter(backend=sys.argv[2])
t.trains(model, 1)()
t.counted(model)
end = threading.Event()

def train():
    while not end.is_set():
        optimizer = t.npnn.GradientDescent(t.RATE)
        model.fit(t.ONES, np.zeros((4, 64)), batch_size=1, epochs=5, optimizer=optimizer)

threads = [threading.Thread(target=train) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(10):
    child = os.fork()
    if not child:
        try:
            counts = t.counted(model)
            assert counts.min() == counts.max() == round(counts[0, 0]), counts
            t.trains(model, 3)()
            model.fit(t.ONES, np.zeros((4, 64)), epochs=1)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
end.set()
for thread in threads:
    thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_process_that_forks_while_threads_train_has_a_whole_model_that_nobody_holds(backend):
    pytest.importorskip(backend)
    command = [sys.executable, "-W", "ignore", "-c", FORKING, __file__, backend]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


# Changes of a model that others use ---------------------------------------------------------------


def other_layers(model):
    for width in (8, 16) * 4:
        layers = [npnn.Dense(6, width), npnn.Tanh(), npnn.Dense(width, 3), npnn.Softmax()]
        model.layers = layers


def other_rows(model):
    for width in (8, 16) * 4:
        model.layers[0].layers = [npnn.Dense(6, width), npnn.Tanh(), npnn.Dense(width, 6)]


def another_loss(model):
    for number in range(20):
        model.chain = npnn.CrossEntropyLoss(label_smoothing=0.1 * (number % 2))


def other_weights(model):
    for number in range(20):
        model.set_arrays({name: np.array(a) for name, a in model.parameters().items()})
        model.layers[-2].b = [0.1 * number] * 3


def other_settings(model):
    for number in range(200):
        model.layers[-2].trainable = number % 2 == 0
        model.norm = npnn.Normalization(0.1 * (number % 3))
        model.capture = number % 50 != 0


def elsewhere(model):
    for name in ("array_api_strict", "numpy") * 5:
        model.to(name)


@pytest.mark.parametrize(
    "change",
    [other_layers, other_rows, another_loss, other_weights, other_settings, elsewhere],
)
def test_a_model_is_changed_between_the_steps_of_others(change, tmp_path):
    within = npnn.Sequential([npnn.Dense(6, 6), npnn.Tanh()])
    model = npnn.Sequential([within, npnn.Dense(6, 3), npnn.Softmax()], seed=0)
    model.chain = npnn.CrossEntropyLoss()
    histories = []

    def fit():
        optimizer = npnn.Adam(1e-4)
        histories.append(model.fit(X, T, epochs=3, batch_size=4, optimizer=optimizer))

    others = everything(model, tmp_path / "model.npnn")
    others.pop()  # a file holds no weights of which some are drawn anew meanwhile
    together(lambda: change(model), fit, fit, *others)
    assert [history.num_epochs for history in histories] == [3, 3]
    assert left_behind(model) == []
    model.to("numpy")
    assert np.isfinite(model.predict(X)).all()
    assert np.isfinite(model.fit(X, T, epochs=1)["loss"]).all()


def test_a_callback_may_give_its_training_another_loss():
    class Another(npnn.Callback):
        def on_epoch_begin(self, training):
            weight = 100.0**training.epoch
            training.model.chain = npnn.CrossEntropyLoss(class_weights=[weight] * 3)

    history = classifier().fit(X, T, epochs=3, callbacks=[Another()])
    assert history["loss"][2] > 10 * history["loss"][1] > 100 * history["loss"][0]
