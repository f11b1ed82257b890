"""A trained model as a plain function of one array, which threads may call at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.acceptance import Acceptance
from npnn.backends.backend import Tree
from npnn.batches import in_parts
from npnn.copies import copied
from npnn.locks import held
from npnn.network import Network, arrays_in
from npnn.side import Side
from npnn.values import all_small

if TYPE_CHECKING:
    from npnn.arrays import Array
    from npnn.model import Sequential


class Function:
    """The outputs of a model as it is now; see :meth:`npnn.Sequential.function`.

    Parameters
    ----------
    model : Sequential
        Copied: what becomes of it later changes nothing here.
    """

    def __init__(self, model: Sequential) -> None:
        with held("step", model.runner.locks):
            if model.shape_in is None:
                model.build_at(None)
            self._model = copied(model, {})
        self._model.chain = None
        self._recording = threading.Lock()
        self._own = threading.local()

    def __call__(self, x: Any) -> Array:
        """Return the outputs for raw inputs `x`, of shape ``(samples, inputs)``."""
        try:
            calls = self._own.calls
        except AttributeError:
            with self._recording:
                calls = self._own.calls = _Calls(self._model)
        if type(x) is np.ndarray and (x.shape, x.dtype) == calls.form and all_small(x):
            return calls.step(calls.carry, calls.data, {"x": x, "metrics": []})[1]["y"]
        with self._recording:
            return calls.first(x)

    def __reduce__(self) -> tuple[Any, ...]:
        return Function, (self._model,)

    def __repr__(self) -> str:
        return f"<function of {self._model!r}>"


class _Calls:
    """What one thread has of its own: the recorded steps, whose memory they write into."""

    def __init__(self, model: Sequential) -> None:
        side = Side(Network(model, alone=True), True, model.capture)
        self.runner, self.accept = model.runner, Acceptance(side.network)
        self.step: Any = side.prediction(self.runner)
        network = side.network
        self.carry: Tree = {}
        self._as_given: Tree = {
            "parameters": arrays_in(network.parameters),
            "state": arrays_in(network.state),
            **self.runner.norm_data("target_norm", network.target_norm),
        }
        self._raw = {**self._as_given, **self.runner.norm_data("norm", model.norm)}
        self.data, self.form = self._raw, ((), None)  # of the last inputs that came in as they are

    def first(self, x: Any) -> Array:
        """Return the outputs for inputs that are looked at first, and may be converted."""
        batch, is_raw = self.accept.batch(x)
        data = self._raw if is_raw else self._as_given
        backend = self.runner.backend

        def predict(part: Tree) -> Array:
            y: Array = self.step(self.carry, data, {**part, "metrics": []})[1]["y"]
            return y

        y = in_parts(predict, batch, backend.rows_at_once, backend)
        if batch["x"] is x and type(x) is np.ndarray and len(y) <= (backend.rows_at_once or len(y)):
            self.data, self.form = data, (x.shape, x.dtype)
        return y
