"""What happens beside training, each callback by itself."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest

import npnn
from npnn import files

X = np.random.default_rng(0).normal(size=(24, 2))
T = (X[:, 0] > 0).astype(int)


def network(seed: int = 0) -> npnn.Sequential:
    return npnn.Sequential(
        [npnn.Dense(2, 4), npnn.Tanh(), npnn.Dense(4, 2), npnn.Softmax()], seed=seed
    )


def fit(*callbacks, epochs=5, **options) -> npnn.History:
    return network().fit(X, T, epochs=epochs, batch_size=8, callbacks=callbacks, **options)


class Recorder(npnn.Callback):
    def __init__(self):
        self.calls = []

    def on_train_begin(self, training):
        self.calls.append("train begins")

    def on_epoch_begin(self, training):
        self.calls.append(f"epoch {training.epoch} begins")

    def on_batch_end(self, training):
        self.calls.append(f"step {training.step}")

    def on_epoch_end(self, training, metrics):
        self.calls.append(f"epoch {training.epoch} ends with {', '.join(metrics)}")

    def on_train_end(self, training):
        self.calls.append("train ends")


class Rates(npnn.Callback):
    def __init__(self):
        self.rates = []

    def on_batch_end(self, training):
        self.rates.append(training.optimizer.rate)


class Plays(npnn.Callback):
    """Replace the metrics by given ones."""

    def __init__(self, **columns):
        self.columns = self.metric_names = columns

    def on_epoch_end(self, training, metrics):
        metrics.update({name: values[training.epoch - 1] for name, values in self.columns.items()})


def test_each_moment_is_called_in_order():
    recorder = Recorder()
    fit(recorder, epochs=2)
    epoch = ["step 1", "step 2", "step 3"]
    end = "ends with loss, accuracy"
    assert recorder.calls == [
        "train begins",
        "epoch 1 begins",
        *epoch,
        f"epoch 1 {end}",
        "epoch 2 begins",
        *epoch,
        f"epoch 2 {end}",
        "train ends",
    ]


def test_training_ends_for_the_callbacks_also_after_an_error():
    recorder = Recorder()

    class Failing(npnn.Callback):
        def on_epoch_end(self, training, metrics):
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fit(recorder, Failing())
    assert recorder.calls[-1] == "train ends"


def test_a_callback_can_stop_training():
    class Stopping(npnn.Callback):
        def on_epoch_end(self, training, metrics):
            if training.epoch == 2:
                training.stop("enough")

    history = fit(Stopping())
    assert (history.num_epochs, history.stopped) == (2, "enough")


# EarlyStopping -----------------------------------------------------------------------------------


def test_early_stopping_waits_for_its_patience():
    played = Plays(loss=[5.0, 4.0, 4.5, 4.0, 3.0, 9.0])
    history = fit(played, npnn.EarlyStopping(patience=2), epochs=6)
    assert history.num_epochs == 4
    assert history.stopped == "no improvement for 2 epochs; best was epoch 2"


def test_early_stopping_starts_to_wait_anew_after_an_improvement():
    played = Plays(loss=[5.0, 6.0, 4.0, 6.0, 3.0, 6.0, 7.0, 0.0])
    history = fit(played, npnn.EarlyStopping(patience=2), epochs=8)
    assert history.num_epochs == 7
    assert history.stopped == "no improvement for 2 epochs; best was epoch 5"


def test_early_stopping_goes_back_to_the_best_weights():
    weights = []

    class Keeping(npnn.Callback):
        def on_epoch_end(self, training, metrics):
            weights.append(training.get_arrays())

    model = network()
    model.fit(
        X,
        T,
        epochs=6,
        callbacks=[Plays(loss=[5.0, 4.0, 6.0, 6.0, 6.0, 6.0]), Keeping(), npnn.EarlyStopping(3)],
    )
    assert len(weights) == 5
    for name, array in model.parameters().items():
        np.testing.assert_array_equal(array, weights[1][name])
        assert np.any(array != weights[-1][name])


def test_early_stopping_can_stay_at_the_last_weights():
    played = Plays(loss=[1.0, 2.0, 2.0])
    model, other = network(), network()
    model.fit(X, T, epochs=3, callbacks=[played, npnn.EarlyStopping(5, restore_best=False)])
    other.fit(X, T, epochs=3)
    for name, array in model.parameters().items():
        np.testing.assert_array_equal(array, other.parameters()[name])


@pytest.mark.parametrize(
    ("monitor", "mode", "values", "epochs"),
    [
        ("accuracy", None, [0.1, 0.2, 0.1, 0.1, 0.9], 4),
        ("accuracy", "min", [0.3, 0.2, 0.1, 0.1, 0.1], 5),
        ("mine", "max", [1.0, 3.0, 2.0, 2.0, 9.0], 4),
    ],
)
def test_the_metric_says_which_way_is_better(monitor, mode, values, epochs):
    stopping = npnn.EarlyStopping(2, monitor, mode)
    assert fit(Plays(**{monitor: values}), stopping).num_epochs == epochs


def test_an_improvement_below_min_delta_is_none():
    played = Plays(loss=[1.0, 0.95, 0.92, 0.5, 0.5])
    assert fit(played, npnn.EarlyStopping(2, min_delta=0.1)).num_epochs == 3


def test_the_validation_loss_is_watched_where_there_is_one():
    played = Plays(loss=[5.0, 4.0, 3.0, 2.0, 1.0], val_loss=[1.0, 2.0, 3.0, 4.0, 5.0])
    assert fit(played, npnn.EarlyStopping(1), validation_split=0.25).num_epochs == 2


def test_an_unknown_metric_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"EarlyStopping watches 'val_loss', but.*loss, accuracy"):
        fit(npnn.EarlyStopping(monitor="val_loss"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: npnn.EarlyStopping(0), "patience must be at least 1, not 0"),
        (lambda: npnn.EarlyStopping(mode="up"), "mode must be one of min, max or None, not 'up'"),
        (lambda: npnn.Checkpoint("x", every=0), "every must be at least 1, not 0"),
    ],
)
def test_arguments_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Checkpoint --------------------------------------------------------------------------------------


def test_a_checkpoint_is_a_model_file_too(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    model = network()
    model.fit(X, T, epochs=2, callbacks=[npnn.Checkpoint(path)])
    np.testing.assert_array_equal(npnn.load(path).predict(X), model.predict(X))


def test_a_checkpoint_is_saved_every_so_many_epochs(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    fit(npnn.Checkpoint(path, every=2), epochs=5)
    _, arrays, training = files.read(path)
    assert training["epoch"] == 4
    assert arrays["history/loss"].shape == (4,)


def test_a_checkpoint_of_the_best_is_that_of_the_best_epoch(tmp_path):
    path = tmp_path / "best.safetensors"
    fit(Plays(loss=[3.0, 1.0, 2.0, 1.5, 4.0]), npnn.Checkpoint(path, best_only=True))
    assert files.read(path)[2]["epoch"] == 2


def test_a_checkpoint_holds_what_callbacks_behind_it_learnt_in_that_epoch(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    fit(npnn.Checkpoint(path), npnn.EarlyStopping(9), epochs=3)
    name, _, state = files.read(path)[2]["callbacks"][1]
    assert (name, state["best_epoch"]) == ("EarlyStopping", 3)


# The others --------------------------------------------------------------------------------------


def test_the_csv_log_grows_with_each_epoch(tmp_path):
    path, lengths = tmp_path / "log.csv", []

    class Reading(npnn.Callback):
        def on_epoch_end(self, training, metrics):
            lengths.append(len(path.read_text().splitlines()))

    history = fit(npnn.CSVLog(path), Reading(), epochs=3)
    assert lengths == [2, 3, 4]
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == history["loss"]
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]


def test_the_csv_log_goes_on_where_a_resumed_training_does(tmp_path):
    log, checkpoint = tmp_path / "log.csv", tmp_path / "c.safetensors"
    fit(npnn.CSVLog(log), npnn.Checkpoint(checkpoint), epochs=4)
    whole = log.read_text()
    fit(npnn.CSVLog(log), npnn.Checkpoint(checkpoint), epochs=2)
    assert log.read_text() != whole
    fit(npnn.CSVLog(log), npnn.Checkpoint(checkpoint), epochs=4, resume=checkpoint)
    assert log.read_text() == whole


def test_a_schedule_over_epochs_changes_the_rate_and_is_undone():
    rates, optimizer = Rates(), npnn.GradientDescent(0.8)
    schedule = npnn.LearningRateSchedule(npnn.StepDecay(2, 0.5))
    fit(rates, schedule, epochs=5, optimizer=optimizer)
    assert rates.rates == pytest.approx([0.8] * 6 + [0.4] * 6 + [0.2] * 3)
    assert optimizer.rate == 0.8


def test_the_rate_falls_on_a_plateau_of_the_watched_metric():
    rates = Rates()
    plateau = npnn.LearningRateSchedule(npnn.ReduceOnPlateau(0.1, patience=1), "accuracy")
    played = Plays(accuracy=[0.5, 0.6, 0.6, 0.6, 0.6])
    fit(rates, played, plateau, optimizer=npnn.GradientDescent(1.0))
    assert rates.rates[::3] == pytest.approx([1.0, 1.0, 1.0, 1.0, 0.1])


def test_the_progress_bar_shows_epochs_and_metrics(capsys):
    fit(epochs=3, progress=True)
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert ", loss 0." in shown


@pytest.mark.parametrize("width", [24, 30, 40, 60, 80, 120])
@pytest.mark.parametrize("epochs", [3, 3000])
def test_no_number_of_the_progress_bar_is_cut(width, epochs):
    metrics = {"loss": 1.5e-7, "accuracy": 0.98765, "val_loss": 12345678.0, "val_accuracy": 0.25}
    metrics |= {name: 0.5 for name in ("f1", "roc_auc", "precision", "recall", "val_f1")}
    bar = npnn.ProgressBar()
    bar.on_train_begin(SimpleNamespace(remark="", epochs=epochs, epoch=0))
    bar.bar.ncols = width
    bar.on_epoch_end(None, metrics)
    line = str(bar.bar)
    bar.on_train_end(None)
    assert len(line) <= width
    words = line.rpartition("|")[2].split(", ", 1)
    said = words[1].replace(",", "").replace(" val ", " ").split() if len(words) > 1 else []
    numbers = {f"{value:#.4g}" for value in metrics.values()}
    assert set(said) <= numbers | set(metrics)
    assert not said or said[-1] in numbers
    if width >= 80:
        assert "accuracy 0.9877 val 0.2500" in line


def test_the_path_of_a_checkpoint_holds_nothing_to_fill_in():
    with pytest.raises(ValueError, match=r"path must be that of one file, .* not 'm\{epoch:02d\}'"):
        npnn.Checkpoint("m{epoch:02d}")
