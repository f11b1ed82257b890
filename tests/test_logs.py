"""Logs of a training: lines of JSON, TensorBoard's event files, runs of MLflow."""

import json
import struct
import sys
import types

import numpy as np
import pytest

import npnn

X = np.random.default_rng(0).normal(size=(24, 2))
T = (X[:, 0] > 0).astype(int)


def fit(*callbacks, epochs=4, **options) -> npnn.History:
    model = npnn.Sequential(
        [npnn.Dense(2, 4), npnn.Tanh(), npnn.Dense(4, 2), npnn.Softmax()], seed=0
    )
    return model.fit(X, T, epochs=epochs, batch_size=8, callbacks=callbacks, **options)


class Failing(npnn.Callback):
    def on_epoch_end(self, training, metrics):
        raise RuntimeError("mine")


# Lines of JSON -----------------------------------------------------------------------------------


def test_each_epoch_is_a_line_of_json_as_it_ends(tmp_path):
    path, lengths = tmp_path / "log.jsonl", []
    seen = lambda training, metrics: lengths.append(len(path.read_text().splitlines()))  # noqa: E731
    history = fit(npnn.JSONLines(path), seen, validation_split=0.25)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert lengths == [1, 2, 3, 4]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert {name: [row[name] for row in rows] for name in history} == history
    assert list(rows[0]) == ["epoch", *history]


def test_lines_of_json_go_on_where_a_resumed_training_does(tmp_path):
    log, checkpoint = tmp_path / "log.jsonl", tmp_path / "c.safetensors"
    fit(npnn.JSONLines(log))
    whole = log.read_text()
    fit(npnn.JSONLines(log), npnn.Checkpoint(checkpoint, every=2), epochs=3)  # one is not saved
    assert len(log.read_text().splitlines()) == 3
    fit(npnn.JSONLines(log), npnn.Checkpoint(checkpoint), resume=checkpoint)
    assert log.read_text() == whole


def test_what_json_has_no_number_for_is_null(tmp_path):
    def worst(y, t):
        return np.inf

    def größe(y, t):
        return np.nan

    fit(npnn.JSONLines(tmp_path / "log"), epochs=1, metrics=[worst, größe])
    row = json.loads((tmp_path / "log").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert (row["worst"], row["größe"]) == (None, None)


# TensorBoard -------------------------------------------------------------------------------------


def events(folder):
    """Return the values of each metric by their step, as TensorBoard reads the folder's files."""
    event = pytest.importorskip("tensorboardX.proto.event_pb2")
    found = {}
    for file in sorted(folder.iterdir()):
        data, place = file.read_bytes(), 0
        while place < len(data):
            (size,) = struct.unpack_from("<Q", data, place)
            one = event.Event.FromString(data[place + 12 : place + 12 + size])
            place += 16 + size
            if one.HasField("session_log"):
                found = {
                    name: {step: v for step, v in values.items() if step < one.step}
                    for name, values in found.items()
                }
            for value in one.summary.value:
                found.setdefault(value.tag, {})[one.step] = value.simple_value
    return found


def test_tensorboard_reads_what_the_history_holds(tmp_path):
    pytest.importorskip("tensorboardX")
    history = fit(npnn.TensorBoard(tmp_path / "a" / "run"), validation_split=0.25)
    found = events(tmp_path / "a" / "run")
    assert {*found} == {*history, "learning_rate"}
    for name, values in history.items():
        assert list(found[name]) == [1, 2, 3, 4]
        assert list(found[name].values()) == pytest.approx(values, rel=1e-6)
    assert found["learning_rate"][1] == pytest.approx(npnn.Adam().rate)


def test_tensorboard_goes_on_and_starts_anew_in_the_same_folder(tmp_path):
    pytest.importorskip("tensorboardX")
    checkpoint, folder = tmp_path / "c.safetensors", tmp_path / "run"
    fit(npnn.TensorBoard(folder), epochs=6)
    fit(npnn.TensorBoard(folder), npnn.Checkpoint(checkpoint, every=2), epochs=3)
    assert list(events(folder)["loss"]) == [1, 2, 3]  # of the new one alone
    history = fit(npnn.TensorBoard(folder), npnn.Checkpoint(checkpoint), resume=checkpoint)
    loss = events(folder)["loss"]
    assert list(loss) == [1, 2, 3, 4]
    assert list(loss.values()) == pytest.approx(history["loss"], rel=1e-6)


def test_tensorboard_closes_its_file_after_an_error_and_can_be_used_again(tmp_path):
    pytest.importorskip("tensorboardX")
    log = npnn.TensorBoard(tmp_path)
    with pytest.raises(RuntimeError, match="mine"):
        fit(log, Failing())
    assert log._writer is None
    assert len(events(tmp_path)["loss"]) == 1
    fit(log)
    assert len(events(tmp_path)["loss"]) == 4


# MLflow ------------------------------------------------------------------------------------------


class Store(types.ModuleType):
    """What MLflow is asked to do, in memory."""

    def __init__(self):
        super().__init__("mlflow")
        self.runs, self.experiments, self.active = {}, {}, None

    def active_run(self):
        info = types.SimpleNamespace(run_id=self.active)
        return self.active and types.SimpleNamespace(info=info)

    def get_experiment_by_name(self, name):
        return self.experiments.get(name)

    def create_experiment(self, name):
        self.experiments[name] = types.SimpleNamespace(experiment_id=f"of {name}")
        return self.experiments[name].experiment_id

    def start_run(self, run_id=None, experiment_id=None, run_name=None):
        assert self.active is None
        if run_id is None:
            run = {"of": experiment_id, "name": run_name, "metrics": {}, "params": {}}
            self.runs[run_id := f"run {len(self.runs)}"] = run
        self.runs[run_id]["status"] = "RUNNING"
        self.active = run_id
        return self.active_run()

    def log_params(self, params):
        run = self.runs[self.active]
        assert not run["params"].keys() & params  # MLflow lets none be changed
        run["params"].update(params)

    def log_metrics(self, metrics, step):
        for name, value in metrics.items():
            self.runs[self.active]["metrics"].setdefault(name, {})[step] = value

    def end_run(self, status):
        self.runs[self.active]["status"], self.active = status, None


@pytest.fixture
def store(monkeypatch):
    made = Store()
    monkeypatch.setitem(sys.modules, "mlflow", made)
    return made


def test_mlflow_has_settings_metrics_and_the_end(store):
    history = fit(npnn.MLflow("flowers", "first"), validation_split=0.25)
    (run,) = store.runs.values()
    assert (run["of"], run["name"], run["status"]) == ("of flowers", "first", "FINISHED")
    assert run["params"]["epochs"] == "4"
    assert run["params"]["optimizer.type"] == "Adam"
    assert {*run["metrics"]} == {*history, "learning_rate"}
    assert list(run["metrics"]["val_loss"].values()) == history["val_loss"]
    fit(npnn.MLflow("flowers"), epochs=1)
    assert [run["of"] for run in store.runs.values()] == ["of flowers"] * 2


def test_mlflow_goes_on_in_the_same_run(store, tmp_path):
    checkpoint = tmp_path / "c.safetensors"
    fit(npnn.MLflow(), npnn.Checkpoint(checkpoint), epochs=2)
    history = fit(npnn.MLflow(), npnn.Checkpoint(checkpoint), resume=checkpoint)
    (run,) = store.runs.values()
    assert list(run["metrics"]["loss"].values()) == history["loss"]
    assert run["status"] == "FINISHED"
    log = npnn.MLflow()
    fit(log, epochs=1)
    fit(log, epochs=1)  # another training is another run
    assert len(store.runs) == 3


def test_mlflow_says_how_a_training_ended(store):
    with pytest.raises(RuntimeError, match="mine"):
        fit(npnn.MLflow(), Failing())
    fit(npnn.MLflow(), lambda training, metrics: training.stop("enough"))
    assert [run["status"] for run in store.runs.values()] == ["FAILED", "FINISHED"]


def test_the_active_run_of_mlflow_is_used_and_left_open(store):
    store.start_run()
    fit(npnn.MLflow(), epochs=1)
    (run,) = store.runs.values()
    assert list(run["metrics"]["loss"]) == [1]
    assert (run["status"], store.active) == ("RUNNING", "run 0")


def test_a_log_that_lacks_its_library_says_what_installs_it(monkeypatch):
    for library, make in {
        "tensorboardX": lambda: npnn.TensorBoard("runs"),
        "mlflow": npnn.MLflow,
    }.items():
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(
            npnn.MissingError, match=rf"{library} is needed .*pip install {library}"
        ):
            make()
