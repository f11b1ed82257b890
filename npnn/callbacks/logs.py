"""Where the metrics of each epoch are written, while training goes on and where it is resumed."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import time
from typing import TYPE_CHECKING, Any

from npnn import checked
from npnn.callbacks.callback import Callback
from npnn.errors import extra
from npnn.io import append, check_place, replacing
from npnn.plain import field

if TYPE_CHECKING:
    from npnn.training import Training


class CSVLog(Callback):
    """Append each epoch's metrics to a CSV file as they come.

    Parameters
    ----------
    path : path_like
        Overwritten when training starts, unless it resumes.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = checked.path(path, "path")

    def on_train_begin(self, training: Training) -> None:
        check_place(self.path)
        if training.history.num_epochs:
            training.history.to_csv(self.path)
        else:
            with replacing(self.path):
                pass  # an empty file

    def on_epoch_end(self, training: Training, metrics: dict[str, float]) -> None:
        line = io.StringIO()
        writer = csv.writer(line, lineterminator="\n")
        if os.path.getsize(self.path) == 0:
            writer.writerow(["epoch", *metrics])
        writer.writerow([training.epoch, *metrics.values()])
        append(self.path, line.getvalue().encode())


class JSONLines(Callback):
    r"""Append each epoch's metrics to a file, as a line that is an object of JSON.

    ``pandas.read_json(path, lines=True)`` and ``jq`` read it. JSON has no NaN and no infinity: they
    are null.

    Parameters
    ----------
    path : path_like
        Overwritten when training starts, unless it resumes.

    Examples
    --------
    >>> import os, tempfile, npnn
    >>> path = os.path.join(tempfile.mkdtemp(), "log.jsonl")
    >>> model = npnn.Sequential([npnn.Dense(1, 1)], seed=0)
    >>> history = model.fit([[0.0]], [[0.0]], epochs=1, callbacks=[npnn.JSONLines(path)])
    >>> open(path).read()
    '{"epoch": 1, "loss": 0.0}\n'
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = checked.path(path, "path")

    def on_train_begin(self, training: Training) -> None:
        check_place(self.path)
        past = training.history
        rows = zip(*past.values(), strict=True)
        lines = [_json_line(n, dict(zip(past, row, strict=True))) for n, row in enumerate(rows, 1)]
        with replacing(self.path) as file:
            file.write(b"".join(lines))

    def on_epoch_end(self, training: Training, metrics: dict[str, float]) -> None:
        append(self.path, _json_line(training.epoch, metrics))


def _json_line(epoch: int, metrics: dict[str, float]) -> bytes:
    values = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
    return (json.dumps({"epoch": epoch, **values}, ensure_ascii=False) + "\n").encode()


class TensorBoard(Callback):
    """Write each epoch's metrics and learning rate as event files, for ``tensorboard --logdir``.

    Parameters
    ----------
    folder : path_like
        Where the files of one run lie; it is made if need be. TensorBoard shows a training that
        resumes as one curve, and in place of an earlier one a training that starts there anew.

    Raises
    ------
    npnn.MissingError
        If the package tensorboardX is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = checked.path(folder, "folder")
        _writer_class()
        self._writer: Any = None

    def on_epoch_begin(self, training: Training) -> None:
        if self._writer is None:
            # Two files of one second would else have one name, and the first be lost.
            own = f".{os.getpid()}.{time.time_ns()}"
            self._writer = _writer_class()(
                os.fspath(self.folder), purge_step=training.epoch, filename_suffix=own
            )

    def on_epoch_end(self, training: Training, metrics: dict[str, float]) -> None:
        for name, value in {**metrics, "learning_rate": training.optimizer.rate}.items():
            self._writer.add_scalar(name, value, training.epoch)
        self._writer.flush()

    def on_train_end(self, training: Training) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _writer_class() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise extra("tensorboardX", "tensorboard") from None
    return SummaryWriter


class MLflow(Callback):
    """Log the settings of a training, and each epoch's metrics and learning rate, to MLflow.

    The metrics go to the run that is active, else to a new one, which gets the settings too and
    ends with the training: finished, killed after Ctrl-C, or failed after an error. A training that
    resumes goes on in the run that its checkpoint names. Where runs are kept is said to MLflow:
    ``mlflow.set_tracking_uri``, or ``MLFLOW_TRACKING_URI``.

    Parameters
    ----------
    experiment : str, optional
        Made if need be; by default what ``mlflow.set_experiment`` was given last.
    run_name : str, optional
        By default MLflow finds one.

    Attributes
    ----------
    run_id : str or None
        The run, once training has begun.

    Raises
    ------
    npnn.MissingError
        If the package mlflow is not installed.
    """

    def __init__(self, experiment: str | None = None, run_name: str | None = None) -> None:
        for name, value in {"experiment": experiment, "run_name": run_name}.items():
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} must be a str or None, not {value!r}")
        self.experiment, self.run_name = experiment, run_name
        self.run_id: str | None = None
        self._is_open = self._is_own = self._is_whole = False
        _mlflow()

    def on_epoch_begin(self, training: Training) -> None:
        if not self._is_open:
            self._begin(_mlflow(), training)
        self._is_whole = False

    def _begin(self, mlflow: Any, training: Training) -> None:
        active = mlflow.active_run()
        self._is_open, self._is_own = True, active is None
        if active is not None:
            self.run_id = active.info.run_id
        elif training.epoch > 1 and self.run_id is not None:
            mlflow.start_run(run_id=self.run_id)
        else:
            place = None if self.experiment is None else _experiment_id(mlflow, self.experiment)
            run = mlflow.start_run(experiment_id=place, run_name=self.run_name)
            self.run_id = run.info.run_id
            mlflow.log_params(_settings(training))

    def on_epoch_end(self, training: Training, metrics: dict[str, float]) -> None:
        values = {**metrics, "learning_rate": training.optimizer.rate}
        _mlflow().log_metrics(values, step=training.epoch)
        self._is_whole = True

    def on_train_end(self, training: Training) -> None:
        if self._is_open and self._is_own:
            history = training.history
            ended = self._is_whole and (history.stopped or training.epoch >= training.epochs)
            status = "KILLED" if history.interrupted else "FINISHED" if ended else "FAILED"
            _mlflow().end_run(status)
        self._is_open = False

    def get_state(self) -> dict[str, Any]:
        return {"run_id": self.run_id}

    def set_state(self, state: dict[str, Any], arrays: dict[str, Any]) -> None:
        self.run_id = field(state, "run_id", str)


def _experiment_id(mlflow: Any, name: str) -> str:
    found = mlflow.get_experiment_by_name(name)
    return str(mlflow.create_experiment(name) if found is None else found.experiment_id)


def _settings(training: Training) -> dict[str, str]:
    """Return what a training was given, as text that MLflow takes."""
    optimizer = training.optimizer.to_config()
    settings = {
        "epochs": training.epochs,
        "batch_size": training.batch_size,
        "seed": training.seed,
        "backend": training.model.backend.name,
        "dtype": training.model.dtype,
        **{f"optimizer.{name}": value for name, value in optimizer.items()},
    }
    return {name: str(value)[:500] for name, value in settings.items()}


def _mlflow() -> Any:
    try:
        import mlflow
    except ImportError:
        raise extra("mlflow", "mlflow") from None
    return mlflow
