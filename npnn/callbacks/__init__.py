"""Callbacks: what can happen beside training, and where its metrics are written."""

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
from npnn.callbacks.logs import CSVLog, JSONLines, MLflow, TensorBoard

__all__ = [
    "AnyCallback",
    "CSVLog",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "FunctionCallback",
    "JSONLines",
    "LearningRateSchedule",
    "MLflow",
    "Monitor",
    "ProgressBar",
    "TensorBoard",
    "TerminateOnNaN",
]
