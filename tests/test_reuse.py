"""Objects that are used again: what one training left in them says nothing of the next."""

import numpy as np
import pytest
from oracles import host_parameters

import npnn
from npnn.callbacks import Callback, Checkpoint, EarlyStopping, LearningRateSchedule
from npnn.layers import Dropout
from npnn.schedules import ReduceOnPlateau, StepDecay

RNG = np.random.default_rng(0)
X = RNG.standard_normal((48, 3))
T = (X.sum(axis=1) > 0).astype(int)


def classifier(seed=0, backend="numpy"):
    layers = [npnn.Dense(3, 8), Dropout(0.3), npnn.Dense(8, 2), npnn.Softmax()]
    return npnn.Sequential(layers, seed=seed, backend=backend, dtype="float64")


def stepped(optimizer, model, steps=1):
    model.chain = npnn.CrossEntropyLoss()
    optimizer.model = model
    for _ in range(steps):
        optimizer.step(X, T)
    return host_parameters(model)


@pytest.mark.parametrize("kind", [npnn.Adam, npnn.SGD, npnn.GradientDescent])
def test_an_optimizer_given_another_model_begins_at_step_one(kind):
    used = kind(alpha=0.1, schedule=StepDecay(3))
    stepped(used, classifier(), 7)
    actual = stepped(used, classifier(1))
    expected = stepped(kind(alpha=0.1, schedule=StepDecay(3)), classifier(1))
    assert used.steps == 1
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array)


@pytest.mark.parametrize("kind", [npnn.Adam, npnn.SGD, npnn.GradientDescent])
def test_an_optimizer_given_another_head_begins_at_step_one(kind):
    optimizer, model = kind(alpha=0.1), classifier()
    stepped(optimizer, model, 4)
    model.layers = [*model.layers[:2], npnn.Dense(8, 5), npnn.Softmax()]
    stepped(optimizer, model)
    assert optimizer.steps == 1


@pytest.mark.parametrize("capture", [True, False])
def test_a_training_with_another_loss_makes_that_one_small(capture):
    t = X.sum(axis=1, keepdims=True)
    model = npnn.Sequential([npnn.Dense(3, 1)], seed=0, dtype="float64", capture=capture)
    optimizer = npnn.GradientDescent(alpha=0.01)
    model.fit(X, t, epochs=2, optimizer=optimizer, loss=npnn.RMSLoss())
    w, b = (host_parameters(model)[name] for name in ("0.w", "0.b"))
    error = X @ w + b - t
    history = model.fit(X, t, epochs=1, batch_size=48, optimizer=optimizer, loss=npnn.L1Loss())
    assert history["loss"] == pytest.approx([abs(error).mean()])
    changed = w - 0.01 * X.T @ np.sign(error) / 48
    np.testing.assert_allclose(host_parameters(model)["0.w"], changed, rtol=1e-12)


@pytest.mark.parametrize("kind", [npnn.Adam, npnn.GradientDescent])
def test_an_optimizer_goes_on_counting_when_a_setting_changes(kind):
    optimizer, model = kind(alpha=0.1), classifier()
    stepped(optimizer, model, 4)
    model.layers[1].probability = 0.5
    stepped(optimizer, model)
    model.layers[0].trainable = False
    stepped(optimizer, model)
    assert optimizer.steps == 6


def test_a_loss_may_belong_to_two_models(backend_name):
    loss = npnn.CrossEntropyLoss()
    models = [classifier(seed, backend_name) for seed in (1, 2)]
    optimizers = [npnn.Adam(), npnn.Adam()]
    for model, optimizer in zip(models, optimizers, strict=True):
        model.chain, optimizer.model = loss, model
    for _ in range(2):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.step(X, T)
            measured = loss.get_loss()
            np.testing.assert_allclose(model.evaluate(X, T)["loss"], measured, rtol=0.3)
    for seed, model in zip((1, 2), models, strict=True):
        alone = classifier(seed, backend_name)
        stepped(npnn.Adam(), alone, 2)
        for name, array in host_parameters(alone).items():
            np.testing.assert_array_equal(host_parameters(model)[name], array)


# One training after another -----------------------------------------------------------------------


def fitted(epochs, **options):
    model, optimizer = classifier(), npnn.Adam()
    histories = [
        model.fit(X, T, epochs=n, batch_size=16, optimizer=optimizer, **options) for n in epochs
    ]
    return host_parameters(model), [loss for history in histories for loss in history["loss"]]


def test_one_epoch_after_another_is_as_good_as_all_at_once():
    (actual, losses), (expected, of_one) = fitted([1, 1, 1, 1]), fitted([4])
    assert losses == of_one
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array)


def test_a_seed_of_its_own_begins_a_training_anew():
    model, seen = classifier(), []
    for _ in range(2):
        model.set_arrays(host_parameters(classifier()))
        seen.append(model.fit(X, T, epochs=2, batch_size=16, seed=7, optimizer=npnn.Adam())["loss"])
    assert seen[0] == seen[1]


def test_a_training_that_went_on_is_resumed_in_its_own_order(tmp_path):
    def run(*parts):
        model, optimizer = classifier(), npnn.Adam()
        model.fit(X, T, epochs=3, batch_size=16, optimizer=optimizer)
        for epochs, resume in parts:
            callbacks = [Checkpoint(tmp_path / "c.npnn")]
            model.fit(
                X, T, epochs=epochs, batch_size=16, optimizer=optimizer, callbacks=callbacks,
                resume=tmp_path / "c.npnn" if resume else None,
            )  # fmt: skip
        model.fit(X, T, epochs=1, batch_size=16, optimizer=optimizer)
        return host_parameters(model)

    expected, actual = run((4, False)), run((2, False), (4, True))
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array)


# Callbacks ----------------------------------------------------------------------------------------


class Reports(Callback):
    """Reports given numbers as a metric."""

    metric_names = ("given",)

    def __init__(self, *numbers):
        self.numbers = numbers

    def on_epoch_end(self, training, metrics):
        metrics["given"] = self.numbers[training.epoch - 1]


def test_a_checkpoint_of_the_best_forgets_another_training(tmp_path):
    path = tmp_path / "best.npnn"
    checkpoint = Checkpoint(path, best_only=True, monitor="given")
    for numbers in ([1.0, 0.5], [9.0, 8.0]):
        path.unlink(missing_ok=True)
        classifier().fit(X, T, epochs=2, callbacks=[Reports(*numbers), checkpoint])
        assert path.exists()
        assert checkpoint.best == numbers[1]


def test_early_stopping_forgets_another_training():
    stopping = EarlyStopping(2, "given", restore_best=False)
    for numbers in ([1.0, 2.0, 3.0, 4.0], [9.0, 8.0, 9.0, 9.0]):
        history = classifier().fit(X, T, epochs=4, callbacks=[Reports(*numbers), stopping])
    assert len(history["loss"]) == 4
    assert stopping.best == 8.0


def test_a_rate_that_has_fallen_is_whole_again_in_another_training():
    schedule = LearningRateSchedule(ReduceOnPlateau(patience=1, factor=0.5), "given")
    for _ in range(2):
        classifier().fit(X, T, epochs=4, callbacks=[Reports(1.0, 2.0, 2.0, 2.0), schedule])
        assert schedule.schedule.current == 0.5


def test_a_checkpoint_of_the_best_of_every_second_epoch_is_written(tmp_path):
    path = tmp_path / "best.npnn"
    checkpoint = Checkpoint(path, best_only=True, every=2, monitor="given")
    numbers = 0.0, 5.0, -1.0, 4.0, -2.0, 6.0  # the best are always between two saves
    classifier().fit(X, T, epochs=6, callbacks=[Reports(*numbers), checkpoint])
    assert path.exists()
    assert checkpoint.best == 4.0


def callbacks(path):
    return {
        "short": EarlyStopping(30, "loss"),
        "long": EarlyStopping(50, "accuracy"),
        "rate": LearningRateSchedule(ReduceOnPlateau()),
        "file": Checkpoint(path),
    }


@pytest.mark.parametrize(
    "order", [("long", "rate", "file", "short"), ("long",), ("file", "long", "rate")]
)
def test_callbacks_that_are_resumed_in_another_order_take_back_their_own(tmp_path, order):
    path = tmp_path / "c.npnn"
    before, after = callbacks(path), callbacks(path)
    history = classifier().fit(X, T, epochs=5, callbacks=list(before.values()))
    classifier().fit(X, T, epochs=5, callbacks=[after[name] for name in order], resume=path)
    assert after["long"].best == -max(history["accuracy"])
    for name in order:
        assert after[name].get_state() == before[name].get_state()


def test_a_callback_resumed_with_another_argument_goes_on_where_it_is_the_only_one(tmp_path):
    path = tmp_path / "c.npnn"
    before, after = EarlyStopping(3, "loss"), EarlyStopping(9, "loss")
    classifier().fit(X, T, epochs=4, callbacks=[before, Checkpoint(path)])
    classifier().fit(X, T, epochs=4, callbacks=[after], resume=path)
    assert after.get_state() == before.get_state()


@pytest.mark.parametrize("look", ["evaluate", "predict", "summary"])
def test_an_optimizer_follows_a_new_loss_whoever_looked_at_the_model_before(look, backend_name):
    x, t = np.ones((4, 3)), np.zeros((4, 2))

    def trained(*looks):
        model = npnn.Sequential([npnn.Dense(3, 2)], seed=0, backend=backend_name)
        model.chain = npnn.RMSLoss()
        optimizer = npnn.SGD(0.1)
        optimizer.model = model
        optimizer.step(x, t)
        model.chain = npnn.L1Loss()
        for call in looks:
            call(model, optimizer)
        optimizer.step(x, t)
        return model.backend.to_numpy(model.parameters()["0.b"])

    calls = {
        "evaluate": lambda model, optimizer: model.evaluate(x, t),
        "predict": lambda model, optimizer: optimizer.predict(x, t),
        "summary": lambda model, optimizer: model.runner.network,
    }
    np.testing.assert_array_equal(trained(calls[look]), trained())
