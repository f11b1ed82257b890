"""Training: the same numbers for the same seed, stopped or not, and what stops it."""

import signal
import threading

import numpy as np
import pytest

import npnn
from npnn import backends, files
from npnn.backends.recording.capture import CapturedStep

RNG = np.random.default_rng(3)
X = RNG.normal(size=(50, 3))
C = (X[:, 0] * X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 1)
T = np.eye(3)[C]
SIZES = {"epochs": 6, "batch_size": 16, "seed": 4}


def network(backend="numpy", **options) -> npnn.Sequential:
    layers = [npnn.Dense(3, 8), npnn.Tanh(), npnn.Dense(8, 3), npnn.Softmax()]
    return npnn.Sequential(layers, backend=backend, seed=2, **options)


def weights(model: npnn.Sequential) -> dict[str, np.ndarray]:
    to_numpy = model.backend.to_numpy
    return {name: np.array(to_numpy(a)) for name, a in model.parameters().items()}


def assert_same_weights(model: npnn.Sequential, other: npnn.Sequential) -> None:
    expected = weights(other)
    for name, array in weights(model).items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


class At(npnn.Callback):
    """Do something at a certain step of a certain epoch."""

    def __init__(self, epoch, step, action):
        self.place, self.action = (epoch, step), action

    def on_batch_end(self, training):
        if (training.epoch, training.step) == self.place:
            self.action(training)


class Weights(npnn.Callback):
    """Keep the weights after each step."""

    def __init__(self):
        self.steps = []

    def on_batch_end(self, training):
        self.steps.append(weights(training.model))


# Data ------------------------------------------------------------------------------------------


def test_training_lowers_the_loss_and_records_each_epoch():
    history = network().fit(X, C, optimizer=npnn.Adam(0.02), validation_split=0.2, epochs=60)
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert all(len(values) == 60 for values in history.values())
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["accuracy"][-1] > 0.8
    assert history.samples == 60 * 40
    assert history.seconds > 0


def test_classes_and_one_hot_targets_give_the_same():
    first, second = network(), network()
    assert first.fit(X, C, **SIZES) == second.fit(X, T, **SIZES)
    assert_same_weights(first, second)


def test_lists_and_arrays_of_any_library_are_data(backend_name):
    backend = backends.get(backend_name)
    expected = network().fit(X.astype("float32"), T, **SIZES)
    x, t = backend.asarray(X), backend.asarray(T)
    assert network().fit(x, t, **SIZES) == expected
    assert network().fit(X.astype("float32").tolist(), T.tolist(), **SIZES) == expected


def test_a_dataset_brings_targets_validation_normalisation_and_names():
    data = npnn.datasets.XORTwoClasses(seed=1)
    layers = [npnn.Dense(2, 8), npnn.Tanh(), npnn.Dense(8, 2), npnn.Softmax()]
    model = npnn.Sequential(layers, seed=0)
    history = model.fit(data, epochs=40, optimizer=npnn.Adam(0.02))
    assert history["val_accuracy"][-1] == 1.0
    assert model.norm == data.norm
    assert tuple(model.class_names) == data.class_names
    metrics = model.evaluate(data.x_validation_data, data.y_validation_data)
    assert metrics["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-5)


def test_the_normalisation_that_a_model_has_stays():
    data = npnn.datasets.XORTwoClasses(seed=1)
    model = npnn.Sequential([npnn.Dense(2, 2), npnn.Softmax()], seed=0)
    mine = model.norm = npnn.Normalization(0.5, 2.0)
    model.fit(data, epochs=1)
    assert model.norm is mine


def test_inputs_are_normalised_and_predictions_take_raw_ones():
    norm = npnn.Normalization([10.0, -5.0, 0.0], [2.0, 3.0, 0.5])
    raw, plain = network(dtype="float64"), network(dtype="float64")
    raw.norm = norm
    first = raw.fit(norm.inverse(X), C, **SIZES)
    second = plain.fit(X, C, **SIZES)
    np.testing.assert_allclose(first["loss"], second["loss"], rtol=1e-9)
    np.testing.assert_allclose(raw.predict(norm.inverse(X)), plain.predict(X), rtol=1e-9)


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 50), (16, 4), (50, 1), (1000, 1)])
def test_every_sample_is_seen_once_an_epoch_whatever_the_batch(batch_size, steps):
    counting = Weights()
    history = network().fit(X, C, epochs=2, batch_size=batch_size, callbacks=[counting], seed=0)
    assert len(counting.steps) == 2 * steps
    assert history.samples == 100


def test_a_single_sample_can_be_trained_on():
    assert network().fit(X[:1], C[:1], epochs=2).num_epochs == 2


def test_an_epoch_without_order_is_plain_gradient_descent_by_hand():
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(5, 2)), rng.normal(size=(5, 1))
    model = npnn.Sequential([npnn.Dense(2, 1)], dtype="float64", seed=0)
    w, b = (np.array(a) for a in model.parameters().values())
    model.fit(x, t, epochs=3, batch_size=2, shuffle=False, optimizer=npnn.GradientDescent(0.1))
    for _ in range(3):
        for start in (0, 2, 4):
            part, target = x[start : start + 2], t[start : start + 2]
            error = (part @ w + b - target) / len(part)
            w, b = w - 0.1 * part.T @ error, b - 0.1 * error.sum(axis=0)
    np.testing.assert_allclose(model.parameters()["0.w"], w, rtol=1e-12)
    np.testing.assert_allclose(model.parameters()["0.b"], b, rtol=1e-12)


# Seeds -----------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_history_and_another_does_not():
    options = {**SIZES, "validation_split": 0.3}
    first, second = network(), network()
    assert first.fit(X, C, **options) == second.fit(X, C, **options)
    assert_same_weights(first, second)
    assert network().fit(X, C, **{**options, "seed": 5}) != first.fit(X, C, **options)


def test_the_models_seed_counts_where_fit_has_none():
    options = {"epochs": 3, "batch_size": 16}
    assert network().fit(X, C, **options) == network().fit(X, C, **options)
    assert network().fit(X, C, **options) == network().fit(X, C, **options, seed=2)


def test_the_order_changes_from_epoch_to_epoch():
    first, second = Weights(), Weights()
    for kept, shuffle in ((first, True), (second, False)):
        model = network(dtype="float64")
        frozen = npnn.GradientDescent(1e-12)
        model.fit(
            X, C, epochs=2, batch_size=25, shuffle=shuffle, callbacks=[kept], optimizer=frozen
        )
    steps = [
        [b["0.w"] - a["0.w"] for a, b in zip(kept.steps, kept.steps[1:], strict=False)]
        for kept in (first, second)
    ]
    # Steps 2 and 4 are the same half of the data only where nothing is shuffled.
    changed = [np.abs(s[0] - s[2]).max() / np.abs(s[0]).max() for s in steps]
    assert changed[0] > 0.1
    assert changed[1] < 0.01


def test_the_global_generator_is_left_alone():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    network().fit(X, C, epochs=1)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


# Validation ------------------------------------------------------------------------------------


def test_the_split_is_that_of_validation_data_by_hand():
    order = np.random.default_rng([4, 0]).permutation(50)
    held, rest = np.sort(order[:10]), np.sort(order[10:])
    first, second = network(), network()
    split = first.fit(X, C, validation_split=0.2, **SIZES)
    by_hand = second.fit(X[rest], C[rest], validation_data=(X[held], C[held]), **SIZES)
    assert split == by_hand


def test_validation_does_not_change_training():
    first, second = network(), network()
    first.fit(X, C, validation_data=(X[:7], C[:7]), **SIZES)
    second.fit(X, C, **SIZES)
    assert_same_weights(first, second)


def test_the_validation_loss_is_that_of_the_model_after_the_epoch():
    model = network(dtype="float64")
    history = model.fit(X, C, validation_data=(X[:9], C[:9]), **SIZES)
    metrics = model.evaluate(X[:9], C[:9])
    assert history["val_loss"][-1] == pytest.approx(metrics["loss"], rel=1e-12)
    assert history["val_accuracy"][-1] == metrics["accuracy"]


def test_more_validation_data_than_a_batch_of_it_is_all_counted(monkeypatch):
    options = {"validation_data": (X, C), **SIZES}
    whole = network(dtype="float64").fit(X, C, **options)
    monkeypatch.setattr("npnn.training.VALIDATION_BATCH", 7)
    parts = network(dtype="float64").fit(X, C, **options)
    np.testing.assert_allclose(parts["val_loss"], whole["val_loss"], rtol=1e-12)


# Mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"validation_split": 0.001}, "validation_split=0.001 of 50 samples leaves none"),
        ({"validation_split": 1.0}, r"validation_split=1\.0 of 50 samples leaves none"),
        ({"t": None}, "fit needs targets"),
        ({"t": C[:-1]}, "50 inputs do not go with 49 targets"),
        ({"t": T[:, :2]}, r"targets of shape \(50, 2\) do not fit"),
        ({"t": C + 1}, "class labels must be from 0 to 2, but there is a 3"),
        ({"x": X[:, :2]}, r"inputs must have shape \(batch, 3\)"),
        ({"x": X[:0], "t": C[:0]}, "inputs are empty"),
        ({"validation_data": (X[:0], C[:0])}, "inputs are empty"),
    ],
)
def test_a_mistake_is_named_before_anything_changes(arguments, message):
    model, other = network(), network()
    with pytest.raises(ValueError, match=message):
        model.fit(**{"x": X, "t": C, **arguments})
    assert_same_weights(model, other)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_found(bad):
    x, t = X.copy(), T.copy()
    x[17, 2] = bad
    with pytest.raises(ValueError, match=r"training data: inputs.*at sample 17, position \(2,\)"):
        network().fit(x, C)
    t[4, 1] = bad
    with pytest.raises(ValueError, match=r"training data: targets.*sample 4, position \(1,\)"):
        network().fit(X, t)
    with pytest.raises(ValueError, match=r"validation data: inputs.*sample 17"):
        network().fit(X, C, validation_data=(x, C))


# Going on --------------------------------------------------------------------------------------


def callbacks(path):
    return [
        npnn.Checkpoint(path),
        npnn.EarlyStopping(4, "val_accuracy"),
        npnn.LearningRateSchedule(npnn.ReduceOnPlateau(0.5, patience=1, threshold=0.2)),
        npnn.LearningRateSchedule(npnn.Cosine(12, warm_up=2)),
    ]


OPTIMIZERS = {
    "Adam": lambda: npnn.Adam(0.02),
    "SGD": lambda: npnn.SGD(0.1, momentum=0.9, schedule=npnn.StepDecay(7)),
    "Adadelta": lambda: npnn.Adadelta(),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.later("jax")
def test_resuming_gives_the_same_numbers_as_never_stopping(make, captured_on, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    options = {"batch_size": 16, "validation_split": 0.2, "seed": 8}
    whole, stopped, resumed = (network(captured_on) for _ in range(3))
    expected = whole.fit(
        X, C, epochs=9, optimizer=make(), callbacks=callbacks(tmp_path / "w"), **options
    )
    stopped.fit(X, C, epochs=4, optimizer=make(), callbacks=callbacks(path), **options)
    del options["seed"]
    history = resumed.fit(X, C, epochs=9, callbacks=callbacks(path), resume=path, **options)
    assert history == expected
    assert history.stopped == expected.stopped
    assert history.samples == expected.samples
    assert_same_weights(resumed, whole)


class Jitter(npnn.Layer):
    noise = "normal"
    state_names = ("seen",)

    def __init__(self):
        pass

    def build(self, shape_in, rng=None):
        self.seen = np.zeros((), dtype=self.dtype)
        return super().build(shape_in, rng)

    def forward(self, x):
        if not self.training:
            return x
        self.seen = self.seen + 1.0
        return x + 0.1 * self.random / self.seen

    def backward(self, grad_y):
        return grad_y


def test_resuming_goes_on_with_the_noise_and_the_state_of_layers(tmp_path):
    def jittery():
        return npnn.Sequential(
            [npnn.Dense(3, 4), Jitter(), npnn.Dense(4, 3), npnn.Softmax()], seed=1
        )

    path = tmp_path / "checkpoint.safetensors"
    whole, stopped, resumed = jittery(), jittery(), jittery()
    expected = whole.fit(X, C, epochs=6)
    stopped.fit(X, C, epochs=3, callbacks=[npnn.Checkpoint(path)])
    assert resumed.fit(X, C, epochs=6, resume=path) == expected
    assert_same_weights(resumed, whole)


def test_resuming_what_is_complete_changes_nothing(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    model, again = network(), network()
    history = model.fit(X, C, callbacks=[npnn.Checkpoint(path)], **SIZES)
    assert again.fit(X, C, resume=path, **SIZES) == history
    assert_same_weights(again, model)


def test_resuming_what_is_complete_says_so(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    network().fit(X, C, callbacks=[npnn.Checkpoint(path)], **SIZES)
    history = network().fit(X, C, resume=path, **SIZES)
    assert history.stopped == "all 6 epochs were done before: a larger epochs goes on"
    assert history.stopped in repr(history)
    with pytest.raises(ValueError, match="has done 6 epochs already, and epochs=5 counts those"):
        network().fit(X, C, resume=path, **{**SIZES, "epochs": 5})


def test_a_training_that_was_stopped_early_goes_on_where_nothing_stops_it(tmp_path):
    path = tmp_path / "checkpoint.safetensors"

    def early(patience):
        return npnn.EarlyStopping(patience, min_delta=10.0)

    options = {"batch_size": 16, "seed": 4, "epochs": 9}
    stopped = network().fit(X, C, callbacks=[npnn.Checkpoint(path), early(3)], **options)
    assert (stopped.num_epochs, stopped["loss"]) == (4, stopped["loss"])
    assert stopped.stopped == "no improvement for 3 epochs; best was epoch 1"
    whole, on, again, longer = network(), network(), network(), network()
    assert on.fit(X, C, callbacks=[], resume=path, **options) == whole.fit(X, C, **options)
    assert_same_weights(on, whole)
    history = again.fit(X, C, callbacks=[npnn.Checkpoint(path), early(3)], resume=path, **options)
    assert (history, history.stopped) == (stopped, stopped.stopped)
    history = longer.fit(X, C, callbacks=[npnn.Callback(), early(5)], resume=path, **options)
    assert history.num_epochs > 4


def test_early_stopping_starts_anew_with_each_training():
    early = npnn.EarlyStopping(2, min_delta=10.0)
    first, second = network(), network()
    options = {"epochs": 9, "seed": 4, "callbacks": [early]}
    assert first.fit(X, C, **options) == second.fit(X, C, **options)
    assert_same_weights(first, second)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": X[:30], "t": C[:30]}, "was trained on 40 samples, but resume is given 24 for it"),
        ({"validation_split": 0.4}, "was trained on 40 samples, but resume is given 30 for it"),
        ({"validation_split": 0.0}, "was trained on 40 samples, but resume is given 50 for it"),
        ({"seed": 5}, "was trained with seed=4, which training that goes on cannot change to 5"),
        (
            {"x": X[:40], "t": C[:40], "validation_split": 0.0},
            "was validated on 10 samples, but resume is given 0 for it",
        ),
    ],
)
def test_going_on_with_other_data_is_refused(change, message, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    options = {"x": X, "t": C, "validation_split": 0.2, **SIZES}
    network().fit(callbacks=[npnn.Checkpoint(path)], **options)
    model, other = network(), network()
    with pytest.raises(ValueError, match=message):
        model.fit(resume=path, **{**options, **change, "epochs": 9})
    assert_same_weights(model, other)


def test_a_second_fit_goes_on_with_the_optimizers_moments():
    adam, model = npnn.Adam(0.01), network()
    model.fit(X, C, epochs=1, batch_size=50, shuffle=False, optimizer=adam)
    model.fit(X, C, epochs=1, batch_size=50, shuffle=False, optimizer=adam)
    other = network()
    other.fit(X, C, epochs=2, batch_size=50, shuffle=False, optimizer=npnn.Adam(0.01))
    assert_same_weights(model, other)
    assert adam.steps == 2


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path):
    path, model_file = tmp_path / "c.safetensors", tmp_path / "m.safetensors"
    model = network()
    model.fit(X, C, epochs=1, callbacks=[npnn.Checkpoint(path)])
    model.save(model_file)
    with pytest.raises(ValueError, match="holds a model, but no training to resume"):
        network().fit(X, C, resume=model_file)
    with pytest.raises(ValueError, match="was trained by Adam, not SGD"):
        network().fit(X, C, resume=path, optimizer=npnn.SGD())
    other = npnn.Sequential([npnn.Dense(3, 3), npnn.Softmax()], seed=0)
    with pytest.raises(ValueError, match=f"{path} does not fit this model"):
        other.fit(X, C, resume=path)
    with pytest.raises(FileNotFoundError, match="there is no model file"):
        network().fit(X, C, resume=tmp_path / "absent")


# Divergence ------------------------------------------------------------------------------------


def diverging():
    """Return data on which squared errors explode, and a network without a bound."""
    x = np.linspace(-1, 1, 40)[:, None]
    model = npnn.Sequential([npnn.Dense(1, 8), npnn.ReLU(), npnn.Dense(8, 1)], seed=0)
    return model, x, 3 * x + 1


def options(**more):
    return {
        "epochs": 20,
        "batch_size": 4,
        "seed": 1,
        "optimizer": npnn.GradientDescent(3.0),
        **more,
    }


def test_divergence_says_where_and_leaves_the_last_good_weights():
    model, x, t = diverging()
    kept = Weights()
    with pytest.raises(npnn.DivergedError, match="A smaller alpha") as caught:
        model.fit(x, t, **options(callbacks=[kept]))
    error = caught.value
    assert not np.isfinite(error.loss)
    assert f"epoch {error.epoch}, step {error.step}" in str(error)
    good = 10 * (error.epoch - 1) + error.step - 1  # steps done before
    assert good >= 1
    assert error.step <= 10
    expected = kept.steps[good - 1]
    for name, array in weights(model).items():
        assert np.isfinite(array).all()
        np.testing.assert_array_equal(array, expected[name])


def test_terminate_on_nan_ends_quietly_with_the_same_weights():
    model, x, t = diverging()
    history = model.fit(x, t, **options(callbacks=[npnn.TerminateOnNaN()]))
    assert "the training loss became" in history.stopped
    other, x, t = diverging()
    with pytest.raises(npnn.DivergedError) as caught:
        other.fit(x, t, **options())
    assert_same_weights(model, other)
    assert history.num_epochs == caught.value.epoch - 1
    assert np.isfinite(history.get("loss", [])).all()


# Ctrl-C ----------------------------------------------------------------------------------------


def interrupt(_):
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_returns_the_epochs_that_are_complete(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    stop = At(3, 2, interrupt)
    history = network().fit(X, C, callbacks=[npnn.Checkpoint(path), stop], **SIZES)
    assert (history.num_epochs, history.interrupted) == (2, True)
    assert files.read(path)[2]["epoch"] == 2


def test_ctrl_c_leaves_the_count_of_epochs_at_those_that_are_complete():
    class Ending(npnn.Callback):
        def on_train_end(self, training):
            self.epoch = training.epoch

    ending = Ending()
    network().fit(X, C, callbacks=[At(3, 2, interrupt), ending], **SIZES)
    assert ending.epoch == 2


def test_after_ctrl_c_training_goes_on_as_if_never_stopped(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    whole, resumed = network(), network()
    expected = whole.fit(X, C, **SIZES)
    network().fit(X, C, callbacks=[npnn.Checkpoint(path), At(3, 2, interrupt)], **SIZES)
    assert resumed.fit(X, C, resume=path, **SIZES) == expected
    assert_same_weights(resumed, whole)


def test_a_second_ctrl_c_stops_at_once():
    def twice(training):
        interrupt(training)
        interrupt(training)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        network().fit(X, C, callbacks=[At(1, 1, twice)], **SIZES)
    assert signal.getsignal(signal.SIGINT) is before


def test_training_works_in_another_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(network().fit(X, C, **SIZES)))
    thread.start()
    thread.join()
    assert found == [network().fit(X, C, **SIZES)]


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("own_optimizer", [True, False])
def test_training_again_and_again_records_one_step_of_each_kind(
    backend, own_optimizer, monkeypatch
):
    recorded = []
    record = CapturedStep._record
    monkeypatch.setattr(
        CapturedStep, "_record", lambda self, *rest: recorded.append(1) or record(self, *rest)
    )
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((40, 3)), rng.integers(2, size=40)
    layers = [npnn.Dense(3, 4), npnn.ReLU(), npnn.Dense(4, 2), npnn.Softmax()]
    model = npnn.Sequential(layers, backend=backend, seed=0)
    optimizer = npnn.Adam() if own_optimizer else None
    losses = [
        model.fit(x, t, epochs=1, batch_size=10, seed=0, optimizer=optimizer)["loss"][0]
        for _ in range(20)
    ]
    assert len(recorded) == 1
    assert losses[-1] < losses[0]
    model.evaluate(x, t)
    model.predict(x[:10])
    model.summary()
    recorded.clear()
    model.fit(x, t, epochs=1, batch_size=10, seed=0, optimizer=optimizer)
    model.evaluate(x, t)
    model.predict(x[:10])
    assert recorded == []


def test_a_new_optimizer_starts_from_nothing_where_an_old_one_lay():
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((40, 3)), rng.standard_normal((40, 2))

    def after(first):
        model = npnn.Sequential([npnn.Dense(3, 2)], seed=0)
        start = {name: a.copy() for name, a in model.parameters().items()}
        if first:
            model.fit(x, t, epochs=3, batch_size=8, seed=0)
            model.set_arrays(start)
        model.fit(x + 1.0, t, epochs=2, batch_size=8, seed=0)
        return [a.copy() for a in model.parameters().values()]

    for a, b in zip(after(True), after(False), strict=True):
        np.testing.assert_array_equal(a, b)
