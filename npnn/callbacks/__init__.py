"""What can happen beside training: stopping, saving, logging, changing the rate, showing it."""

from npnn.callbacks.callback import (
    AnyCallback,
    Callback,
    Checkpoint,
    EarlyStopping,
    FunctionCallback,
    LearningRateSchedule,
    Monitor,
    ProgressBar,
    TerminateOnNaN,
)
from npnn.callbacks.frames import Frames
from npnn.callbacks.live import LivePlot
from npnn.callbacks.logs import CSVLog, JSONLines, MLflow, TensorBoard
from npnn.callbacks.shown import Film, Report

__all__ = [
    "AnyCallback",
    "CSVLog",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "Film",
    "Frames",
    "FunctionCallback",
    "JSONLines",
    "LearningRateSchedule",
    "LivePlot",
    "MLflow",
    "Monitor",
    "ProgressBar",
    "Report",
    "TensorBoard",
    "TerminateOnNaN",
]
