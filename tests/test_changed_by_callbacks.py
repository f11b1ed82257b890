"""What a callback changes of the very training that calls it: what counts, and what is refused."""

import math

import numpy as np
import pytest

import npnn
from npnn import HuberLoss, Normalization

X = np.random.default_rng(0).standard_normal((16, 3)).astype(np.float32)
T = X[:, :1]


def network():
    return npnn.Sequential([npnn.Dense(3, 4), npnn.Tanh(), npnn.Dense(4, 1)], seed=0)


def once(moment, change, step=None):
    """Return a callback that changes a training once, in its first epoch."""

    def called(self, training, *_):
        if training.epoch == 1 and step in (None, training.step):
            change(training)

    return type("Changes", (npnn.Callback,), {moment: called})()


def fit(*callbacks, epochs=3, **options):
    return network().fit(X, T, epochs=epochs, batch_size=4, callbacks=callbacks, **options)


def another_loss(training):
    training.model.chain = HuberLoss(delta=0.5)


@pytest.mark.parametrize("options", [{}, {"validation_data": (X, T), "metrics": ["r2"]}])
def test_an_epoch_is_measured_by_the_loss_that_its_last_batch_had(options):
    at_the_end = fit(once("on_batch_end", another_loss, step=4), **options)
    after_it = fit(once("on_epoch_end", another_loss), **options)
    assert at_the_end["loss"] == after_it["loss"]
    assert at_the_end["loss"][0] == fit(**options)["loss"][0]


def test_a_loss_that_is_taken_away_after_the_last_batch_is_missed_in_words():
    def take(training):
        training.model.chain = None

    for options in ({}, {"validation_data": (X, T)}):
        with pytest.raises(ValueError, match="the model has no loss to train on"):
            fit(once("on_batch_end", take, step=4), **options)
    history = fit(once("on_epoch_end", lambda training: None), epochs=1)
    assert history.num_epochs == 1


def test_metrics_that_come_later_stand_beside_their_epochs(tmp_path):
    def count(training):
        training.model.chain = npnn.BinaryCrossEntropyLoss()

    model = npnn.Sequential([npnn.Dense(3, 1), npnn.Sigmoid()], seed=0)
    callbacks = [once("on_epoch_end", count)]
    history = model.fit(X, T > 0.0, loss=npnn.RMSLoss(), epochs=3, callbacks=callbacks)
    assert math.isnan(history["accuracy"][0])
    assert np.isfinite(history["accuracy"][1:]).all()
    history.to_csv(tmp_path / "h.csv")
    assert len((tmp_path / "h.csv").read_text().splitlines()) == 4


CHANGES = {
    "norm": lambda model: setattr(model, "norm", Normalization(1.0, 2.0)),
    "target_norm": lambda model: setattr(model, "target_norm", Normalization(1.0, 2.0)),
    "the backend": lambda model: model.to("torch"),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("moment", ["on_train_begin", "on_epoch_begin", "on_batch_end"])
def test_what_the_data_were_made_for_stays_while_they_are_trained_on(what, moment):
    pytest.importorskip("torch")
    model = network()
    before = model.norm, model.target_norm, model.backend

    def called(self, training, *_):
        CHANGES[what](training.model)

    callback = type("Changes", (npnn.Callback,), {moment: called})()
    with pytest.raises(RuntimeError, match=f"^{what} cannot be changed by a callback while fit"):
        model.fit(X, T, epochs=1, callbacks=[callback])
    assert (model.norm, model.target_norm, model.backend) == before
    CHANGES[what](model)  # as at any other time


@pytest.mark.parametrize("what", CHANGES)
def test_at_the_end_of_a_training_all_may_be_changed(what):
    pytest.importorskip("torch")

    class Changes(npnn.Callback):
        def on_train_end(self, training):
            CHANGES[what](training.model)

    model = network()
    assert model.fit(X, T, epochs=1, callbacks=[Changes()]).num_epochs == 1
    assert np.isfinite(model.backend.to_numpy(model.predict(X))).all()


def test_what_diverged_by_a_callbacks_doing_goes_back_to_before_the_epoch():
    class Spoils(npnn.Callback):
        def on_batch_end(self, training):
            if (training.epoch, training.step) == (2, 4):
                training.model.layers[0].w[...] = np.nan  # past all doors

    model, other = network(), network()
    with pytest.raises(npnn.DivergedError, match="at epoch 2, step 1"):
        model.fit(X, T, epochs=3, batch_size=4, callbacks=[Spoils()], seed=0)
    other.fit(X, T, epochs=1, batch_size=4, seed=0)
    for name, array in model.parameters().items():
        np.testing.assert_array_equal(array, other.parameters()[name])
