"""The thread that trains: at full speed, with a look at the model now and then."""

from __future__ import annotations

import contextlib
import io
import json
import math
import queue
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from npnn import inside
from npnn.inside.formulas import as_mathml
from npnn.inside.slow import rows_of
from npnn.playground import making
from npnn.playground.chosen import Chosen
from npnn.playground.view import View, shown_numbers
from npnn.values import quiet

R = TypeVar("R")
SLICE = 0.004  # seconds of steps between two looks at what is to be done
GAP = 1 / 30  # seconds between two views
SHARE = 3.0  # times what a view took, at least, are trained before the next
SELDOM = 0.25  # seconds between two looks at distributions, and at all if nobody watches
DIVERGED = "The loss is no number any more. Reset, with a smaller rate."
PATIENCE = 60.0  # seconds for what is asked of the thread


class Trainer(threading.Thread):
    """Trains what was chosen, in a thread of its own, and says what came of it.

    Parameters
    ----------
    chosen : Chosen
        What to begin with.
    table : path_like, optional
        A CSV file.

    Attributes
    ----------
    chosen : Chosen
        What is trained.
    steps : int
        That were made since the model was new.
    """

    _pending: Any = None  # a batch that was looked at, and is trained on next

    def __init__(self, chosen: Chosen, table: str | None = None) -> None:
        super().__init__(name="npnn playground", daemon=True)
        self.table, self.table_name = table, table
        self.watchers = 0
        self.is_running, self.problem = True, ""
        self._tasks: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._ended = False
        self._news = threading.Condition()
        self._number, self._frame, self._structure = 0, b"{}", (0, b"{}")
        self._due, self._due_seldom, self._is_stale = 0.0, 0.0, True
        self._per_slice, self._speed = 1, 0.0
        self._folder: Any = None
        self._begin(chosen)

    # What others ask of it ---------------------------------------------------------------------

    def ask(self, task: Callable[[], R]) -> R:
        """Have the thread do something between two steps, and return what it gives."""
        future: Future[R] = Future()
        self._tasks.put((task, future))
        return future.result(PATIENCE)

    def change(self, given: dict[str, Any]) -> None:
        """Train on with other choices; what cannot be, changes nothing."""
        self.ask(lambda: self._change(self.chosen.changed(given)))

    def play(self) -> None:
        """Train on."""
        self.ask(lambda: self._set_running(True))

    def pause(self) -> None:
        """Train no more, for now."""
        self.ask(lambda: self._set_running(False))

    def step(self) -> None:
        """Make one step, and pause."""

        def one() -> None:
            self._set_running(False)
            self._steps(1)

        self.ask(one)

    def reset(self) -> None:
        """Begin anew with the same choices."""
        self.ask(lambda: self._begin(self.chosen))

    def open_table(self, name: str, text: str) -> None:
        """Train on a table of a person's own, given as the text of a CSV file."""

        def opened() -> None:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="npnn-playground-")
            path = Path(self._folder.name) / "table.csv"
            before = path.read_text(encoding="utf-8") if path.exists() else None
            kept = self.table, self.table_name
            path.write_text(text, encoding="utf-8")
            self.table, self.table_name = str(path), Path(name).name or "table.csv"
            try:
                chosen = self.chosen.changed({"problem": "table", "columns": []})
                self._begin(chosen)
            except BaseException as error:
                called, (self.table, self.table_name) = self.table_name, kept
                if before is not None:
                    path.write_text(before, encoding="utf-8")
                if isinstance(error, ValueError):
                    raise ValueError(str(error).replace(str(path), called)) from None
                raise

        self.ask(opened)

    def program(self) -> str:
        """Return the program that trains the same model to the same numbers."""
        return self.ask(
            lambda: making.program(self.phases, self.data, self.table_name, self._measured())
        )

    def save(self) -> bytes:
        """Return the model's file."""

        def saved() -> bytes:
            file = io.BytesIO()
            self.model.save(file)
            return file.getvalue()

        return self.ask(saved)

    def slow(self, sample: int) -> dict[str, Any]:
        """Pause, and return the next step, one operation at a time, with one sample's numbers."""

        def explained() -> dict[str, Any]:
            self._set_running(False)
            x, t, _ = self._batch()
            number = sample % len(x)
            found = inside.operations(self.model, x, t, number, self.optimizer)
            return {"step": self.steps + 1, "sample": number, "samples": len(x),
                    "operations": [_as_plain(each) for each in found]}  # fmt: skip

        return self.ask(explained)

    def story(self, name: str, index: tuple[int, ...]) -> dict[str, Any]:
        """Return how a parameter, and its gradient, went until now."""
        return self.ask(lambda: self.view.story(name, index))

    def next_frame(self, seen: int, patience: float) -> tuple[int, bytes, tuple[int, bytes]]:
        """Return a frame newer than the one seen, with its number and the structure it is of.

        After so many seconds it may be the same one.
        """
        with self._news:
            self._news.wait_for(lambda: self._number > seen or self._ended, patience)
            return self._number, self._frame, self._structure

    @contextlib.contextmanager
    def watched(self) -> Any:
        """Make frames for as long as this lasts."""
        with self._news:
            self.watchers += 1
        self._tasks.put((self._look_soon, Future()))
        try:
            yield
        finally:
            with self._news:
                self.watchers -= 1

    def end(self) -> None:
        """End the thread."""
        self._ended = True
        self._tasks.put((lambda: None, Future()))
        if self.is_alive():
            self.join(PATIENCE)
        with self._news:
            self._news.notify_all()
        if self._folder is not None:
            self._folder.cleanup()

    # What the thread does ----------------------------------------------------------------------

    def run(self) -> None:
        """Train, look, and do what is asked, until the end."""
        with quiet():  # what is not finite, the page says
            while not self._ended:
                self._do_tasks()
                if self.is_running and not self._ended:
                    self._train_for_a_slice()
                self._look()

    def _do_tasks(self) -> None:
        wait = None if self.is_running else 0.005 if self._is_stale else 1.0
        while True:
            try:
                task, future = self._tasks.get(timeout=wait) if wait else self._tasks.get_nowait()
            except queue.Empty:
                return
            wait = None
            try:
                future.set_result(task())
            except BaseException as error:
                future.set_exception(error)

    def _train_for_a_slice(self) -> None:
        start, count = time.perf_counter(), self._per_slice
        try:
            self._steps(count)
        except Exception as error:  # which the page shows, instead of a thread that ended
            self.is_running, self.problem = False, str(error)
            return
        took = time.perf_counter() - start
        self._per_slice = max(1, min(2 * count, round(count * SLICE / max(took, 1e-6))))

    def _steps(self, count: int) -> None:
        for _ in range(count):
            batch = self._batch()
            self.optimizer.step(*batch)
            self._pending = None
            self.steps += 1
            self.samples += len(batch[0])
            self.phases[-1] = (self.phases[-1][0], self.phases[-1][1] + 1)
        self._is_stale = True

    def _batch(self) -> Any:
        """Return the next batch; the same one until a step was made on it."""
        if self._pending is None:
            self._pending = self.data.get_train_batch()
        return self._pending

    def _set_running(self, is_running: bool) -> None:
        self.is_running, self._is_stale = is_running, True
        self.problem = "" if is_running else self.problem
        self._look_soon()

    def _look_soon(self) -> None:
        self._due = self._due_seldom = 0.0
        self._is_stale = True

    # What is trained ---------------------------------------------------------------------------

    def _begin(self, chosen: Chosen) -> None:
        data = making.data_of(chosen, self.table)
        model = making.model_of(chosen, data)
        optimizer = making.optimizer_of(chosen, model)
        self.view = View(chosen, data, model)
        self.chosen, self.data, self.model, self.optimizer = chosen, data, model, optimizer
        self.phases: list[tuple[Chosen, int]] = [(chosen, 0)]
        self.steps = self.samples = 0
        self._pending = None
        self.problem = ""
        self.columns = making.column_names(chosen, self.table)
        self._per_slice, self._speed, self._then = 1, 0.0, (time.perf_counter(), 0)
        self._new_structure()

    def _change(self, chosen: Chosen) -> None:
        differing = chosen.differs_in(self.chosen)
        if not differing:
            return
        if differing - making.RUNNING - making.OF_DATA:
            self._begin(chosen)
            return
        if differing & making.OF_DATA:
            data = making.data_of(chosen, self.table)
            self.data, self._pending = data, None
        self.view.see(chosen, self.data)
        making.set_running(self.optimizer, chosen)
        self.chosen = chosen
        if self.phases[-1][1] == 0 and len(self.phases) > 1:
            self.phases.pop()
        self.phases.append((chosen, 0))
        self._new_structure()

    def _new_structure(self) -> None:
        number = self._structure[0] + 1
        structure = {"structure": number, **self.view.structure(self.table_name, self.columns)}
        with self._news:
            self._structure = number, json.dumps(structure).encode()
        self._look_soon()

    # Looks -------------------------------------------------------------------------------------

    def _measured(self) -> dict[str, str]:
        """Return the loss, and the accuracy if there is one, as they are shown."""
        data, evaluate = self.data, self.model.evaluate
        return shown_numbers(
            evaluate(data.x_train_data, data.y_train_data),
            evaluate(data.x_validation_data, data.y_validation_data),
        )

    def _look(self) -> None:
        now = time.perf_counter()
        is_seldom = now >= self._due_seldom
        if not self._is_stale or not (is_seldom or (self.watchers and now >= self._due)):
            return
        try:
            numbers = self._measured()
            if not math.isfinite(float(numbers["loss"])):
                self.is_running, self.problem, frame = False, DIVERGED, {}
            else:
                frame = self.view.frame(self.model, self.steps, numbers, is_seldom)
        except Exception as error:
            self.is_running, self.problem = False, str(error)
            frame, numbers = {}, {}
        if is_seldom:
            then, steps = self._then
            self._speed = (self.steps - steps) / max(now - then, 1e-9)
            self._then = now, self.steps
        frame |= {
            "structure": self._structure[0],
            "step": self.steps,
            "epoch": round(self.samples / self.data.num_train_data, 2),
            "running": self.is_running,
            "speed": round(self._speed),
            "shown": numbers,
            "problem": self.problem,
        }
        encoded = json.dumps(frame, allow_nan=False).encode()
        with self._news:
            self._number += 1
            self._frame = encoded
            self._news.notify_all()
        end = time.perf_counter()
        self._is_stale = False
        self._due = now + max(GAP, (1.0 + SHARE) * (end - now))
        if is_seldom:
            self._due_seldom = end + SELDOM


def _as_plain(operation: inside.Operation) -> dict[str, Any]:
    """Return an operation as a page shows it."""
    return {
        **operation._asdict(),
        "formulas": [as_mathml(formula) for formula in operation.formulas],
        "values": [
            [name, "×".join(map(str, np.shape(value))), rows_of(value, 8)]
            for name, value in operation.values
        ],
    }
