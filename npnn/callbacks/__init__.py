"""What can happen beside training: stopping, saving, logging, changing the rate, showing it."""

from npnn.callbacks.callback import (
    AnyCallback,
    Callback,
    Checkpoint,
    CSVLog,
    EarlyStopping,
    FunctionCallback,
    LearningRateSchedule,
    Monitor,
    ProgressBar,
    TerminateOnNaN,
)
from npnn.callbacks.frames import Frames
from npnn.callbacks.live import LivePlot
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
    "LearningRateSchedule",
    "LivePlot",
    "Monitor",
    "ProgressBar",
    "Report",
    "TerminateOnNaN",
]
