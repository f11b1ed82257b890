"""What the page sees: the structure of a network once, and at each frame its numbers."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

import numpy as np

import npnn
from npnn import inside
from npnn.inside.distributions import summarised
from npnn.inside.passes import looking
from npnn.playground import making
from npnn.playground.chosen import (
    ACTIVATIONS,
    MOST_FILTERS,
    MOST_LAYERS,
    MOST_UNITS,
    OPTIMIZERS,
    PENALTIES,
    PROBLEMS,
    Chosen,
    installed_backends,
)

if TYPE_CHECKING:
    from npnn.datasets import Dataset

GRID, SMALL, LINE = 48, 16, 120  # points of the plane along each side, of a unit, of a curve
MOST_SAMPLES = 256  # that distributions and gradients are of
MOST_STORED = 240  # moments of a story
MOST_POINTS = 400  # that are drawn
BINS = 24

Array = np.ndarray


class View:
    """Sees a model as it is trained, by way of a copy of it on NumPy.

    Parameters
    ----------
    chosen : Chosen
        What is trained.
    data : Dataset
        On what.
    model : Sequential
        Of the same structure as those that are seen.
    """

    def __init__(self, chosen: Chosen, data: Dataset, model: npnn.Sequential) -> None:
        self.copy = making.model_of(making.on_numpy(chosen), data)
        self.norm = model.norm
        self.names = list(model.parameters())
        self.curve: list[list[float | None]] = []
        self.stories: list[tuple[int, Array, Array]] = []
        self.every = 1  # moment that is stored
        self._moments = 0
        self.see(chosen, data)

    def see(self, chosen: Chosen, data: Dataset) -> None:
        """See it trained on other data."""
        self.chosen, self.data = chosen, data
        self.copy.norm = self.norm
        self.inputs = math.prod(data.shape_in)
        self.kind = "line" if self.inputs == 1 else "plane" if self.inputs == 2 else "slice"
        self.projection = _Projection(data) if self.kind == "slice" else None
        x = data.x_data.reshape(len(data.x_data), -1)
        self.shown = x if self.projection is None else self.projection.down(x)
        low, high = self.shown.min(axis=0), self.shown.max(axis=0)
        margin = 0.08 * np.where(high > low, high - low, 1.0)
        self.low, self.high = low - margin, high + margin
        self.grid = self._grid()

    def _grid(self) -> Array:
        if self.kind == "line":
            return np.linspace(self.low[0], self.high[0], LINE)[:, None]
        across = np.linspace(self.low[0], self.high[0], GRID)
        down = np.linspace(self.high[1], self.low[1], GRID)  # as a picture is drawn
        points = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)
        return points if self.projection is None else self.projection.up(points)

    # What is told once -------------------------------------------------------------------------

    def structure(self, table: str | None, table_columns: list[str]) -> dict[str, Any]:
        """Return what stays as it is: choices, layers, points."""
        chosen = self.chosen
        data, task = self.data, self.data.task
        names = list(data.feature_names or [])
        return {
            "chosen": making.as_plain(chosen),
            "kind": self.kind,
            "task": task,
            "inputs": self.inputs,
            "image": 8 if chosen.problem == "digits" else 0,
            "axes": ["component 1", "component 2"] if self.kind == "slice" else names,
            "classes": list(data.class_names or []),
            "outputs": math.prod(data.shape_out),
            "columns": self._columns(),
            "parameters": [
                {"name": name, "shape": list(a.shape)} for name, a in self.copy.parameters().items()
            ],
            "points": self._points(),
            "limits": [self.low.tolist(), self.high.tolist()],
            "sizes": [data.num_train_data, data.num_validation_data],
            "table": table and table.replace("\\", "/").rsplit("/", 1)[-1],
            "table_columns": table_columns,
            "grid": [GRID, SMALL, LINE],
            "choices": choices(),
        }

    def _columns(self) -> list[dict[str, Any]]:
        """Return the columns of the picture: inputs, hidden layers, outputs, and their places."""
        found: list[dict[str, Any]] = [{"units": self.inputs, "place": None, "activation": ""}]
        layers, biases = self.copy.layers, self.copy.parameters()
        for at, layer in enumerate(layers):
            if layer.parameter_names:
                given = layers[at + 1 : at + 2]  # its activation, but for the last of a regression
                found.append({
                    "units": len(biases[f"{at}.b"]), "dense": str(at), "kind": type(layer).__name__,
                    "activation": type(given[0]).__name__ if given else "",
                    "place": str(at + len(given)),
                })  # fmt: skip
        for number, column in enumerate(found):
            is_kernel = column.get("kind") == "Conv2D"
            column["side"] = 2 * number + 1 if is_kernel else 8  # of its picture, of images
        return found

    def _points(self) -> dict[str, Any]:
        """Return some points of either part, with their classes or targets."""
        data, found = self.data, {}
        parts = {
            "train": (data.x_train_data, data.y_train_data, data.c_train_data),
            "validation": (data.x_validation_data, data.y_validation_data, data.c_validation_data),
        }
        for name, (x, t, c) in parts.items():
            x = x[:MOST_POINTS].reshape(min(len(x), MOST_POINTS), -1)
            x = x if self.projection is None else self.projection.down(x)
            targets = t[:MOST_POINTS, 0] if c is None else c[:MOST_POINTS]
            found[name] = [np.round(x.astype(float), 4).tolist(), np.round(targets, 4).tolist()]
        return found

    # What is told at each frame ----------------------------------------------------------------

    def frame(
        self, model: npnn.Sequential, step: int, shown: dict[str, str], more: bool
    ) -> dict[str, Any]:
        """Return the numbers of a frame; with `more`, those that change less visibly too."""
        arrays = {n: model.backend.to_numpy(a) for n, a in model.parameters().items()}
        self.copy.set_arrays(arrays)
        found: dict[str, Any] = {
            "parameters": _encoded(np.concatenate([arrays[n].ravel() for n in self.names])),
            **self._maps(),
        }
        if more:
            found |= self._more()
            self._remember(step, arrays, shown)
        point = _point(step, shown)
        if more:
            self._add_to_curve(point)
            found["curve"] = self.curve
        found["point"] = point
        return found

    def _maps(self) -> dict[str, Any]:
        """Return what each unit gives over the plane, in bytes, 128 being 0."""
        if self.kind == "slice":
            y = self.copy.predict(self.grid.reshape(-1, *self.data.shape_in))
            return {"outputs": self._outputs(y), "maps": _encoded(self._images())}
        outputs = self.copy.activations(self.grid)
        places = [column["place"] for column in self._columns()[1:]]
        y = outputs[places[-1]]
        maps = [_signed(outputs[place]) for place in places[:-1]]
        maps.append(_signed(2.0 * y - 1.0 if self.data.task != "regression" else y))
        rows = np.concatenate(maps, axis=1).T  # a row for each unit
        if self.kind == "plane":
            step = GRID // SMALL
            rows = rows.reshape(-1, GRID, GRID)[:, step // 2 :: step, step // 2 :: step]
        return {"outputs": self._outputs(y), "maps": _encoded(np.ascontiguousarray(rows))}

    def _outputs(self, y: Array) -> Any:
        """Return the outputs over the plane: shares of classes as bytes, or numbers."""
        if self.data.task == "regression":
            return _encoded(np.asarray(y, np.float32))
        return _encoded(np.clip(np.nan_to_num(y) * 255.0, 0, 255).astype(np.uint8).T)

    def _images(self) -> Array:
        """Return what each unit would like to see: weights, multiplied through to the pixels.

        Each pixel alone is sent through what is linear of the layers. Of a convolution, it is what
        the middle of the image would like to see.
        """
        seen: Any = np.eye(self.inputs, dtype=np.float32).reshape(-1, *self.data.shape_in)
        found, number = [], 0
        for layer in self.copy.layers:
            if layer.parameter_names:
                seen = layer.forward(seen) - layer.forward(np.zeros_like(seen[:1]))
                picture, number = _signed(seen), number + 1
                if seen.ndim > 2:
                    side, middle = seen.shape[1], seen.shape[1] // 2
                    reach = slice(middle - number, middle + number + 1)
                    picture = _signed(seen[:, middle, middle].reshape(side, side, -1)[reach, reach])
                found.append(picture.reshape(-1, seen.shape[-1]).T.ravel())
            elif isinstance(layer, npnn.Flatten):
                seen = layer.forward(seen)
        return np.concatenate(found)

    def _more(self) -> dict[str, Any]:
        data = self.data
        x, t = data.x_train_data[:MOST_SAMPLES], data.y_train_data[:MOST_SAMPLES]
        with looking(self.copy, x, t) as seen:
            seen.backward()
            found = summarised(seen, BINS)
            gradients = seen.grad_parameters()
            self.gradients = np.concatenate([np.ravel(gradients[name]) for name in self.names])
            at_units = seen.grad_outputs()
            mean = {
                place: [_means(y), _means(at_units[place])]
                for place, y in seen.outputs.items()
                if place in at_units
            }
        bars = [
            {
                "of": one.of, "place": one.place, "layer": one.layer, "remark": one.remark,
                "counts": one.counts.tolist(), "low": float(one.edges[0]),
                "high": float(one.edges[-1]), "rms": one.rms,
            }
            for one in found
        ]  # fmt: skip
        return {"gradients": _encoded(self.gradients), "distributions": bars, "units": mean,
                "findings": inside.findings(found), "confusion": self._confusion()}  # fmt: skip

    def _confusion(self) -> list[list[int]] | None:
        data = self.data
        if data.c_validation_data is None:
            return None
        y = np.asarray(self.copy.predict(data.x_validation_data))
        if not np.isfinite(y).all():
            return None
        answers = np.asarray(self.copy.predict_class(data.x_validation_data)).ravel()
        count = max(2, math.prod(data.shape_out))
        pairs = data.c_validation_data * count + answers
        return np.bincount(pairs, minlength=count * count).reshape(count, count).tolist()

    # What was ----------------------------------------------------------------------------------

    def _remember(self, step: int, arrays: dict[str, Array], shown: dict[str, str]) -> None:
        self._moments += 1
        if self._moments % self.every:
            return
        flat = np.concatenate([arrays[name].ravel() for name in self.names])
        if self.stories and self.stories[-1][0] == step:
            self.stories.pop()
        self.stories.append((step, flat.astype(np.float32), self.gradients.astype(np.float32)))
        if len(self.stories) > MOST_STORED:
            self.stories, self.every = self.stories[::2], 2 * self.every

    def _add_to_curve(self, point: list[float | None]) -> None:
        if self.curve and self.curve[-1][0] == point[0]:
            self.curve.pop()
        self.curve.append(point)
        if len(self.curve) > 2 * MOST_STORED:
            self.curve = self.curve[::2]

    def story(self, name: str, index: tuple[int, ...]) -> dict[str, Any]:
        """Return steps, values and gradients of one parameter."""
        start = 0
        for each, array in self.copy.parameters().items():
            if each == name:
                if len(index) != array.ndim or not all(
                    0 <= i < n for i, n in zip(index, array.shape, strict=True)
                ):
                    raise ValueError(f"{name} has shape {array.shape}, and no place {index}")
                at = start + int(np.ravel_multi_index(index, array.shape))
                return {
                    "steps": [step for step, _, _ in self.stories],
                    "values": [float(values[at]) for _, values, _ in self.stories],
                    "gradients": [float(gradients[at]) for _, _, gradients in self.stories],
                }
            start += array.size
        raise ValueError(f"there is no parameter {name!r}; there are {', '.join(self.names)}")


class _Projection:
    """The plane through the mean of data in the two directions in which they differ most."""

    def __init__(self, data: Dataset) -> None:
        x = data.x_data.reshape(len(data.x_data), -1).astype(np.float64)
        self.mean = x.mean(axis=0)
        self.directions = np.linalg.svd(x - self.mean, full_matrices=False)[2][:2]

    def down(self, x: Array) -> Array:
        """Return where samples lie in the plane."""
        found: Array = (x - self.mean) @ self.directions.T
        return found

    def up(self, points: Array) -> Array:
        """Return the samples that points of the plane are."""
        found: Array = (self.mean + points @ self.directions).astype(np.float32)
        return found


def choices() -> dict[str, Any]:
    """Return all that can be chosen on the page."""
    return {
        "problems": {
            name: [problem.title, problem.most_noise] for name, problem in PROBLEMS.items()
        },
        "activations": ACTIVATIONS,
        "optimizers": OPTIMIZERS,
        "penalties": PENALTIES,
        "backends": installed_backends(),
        "most": [MOST_LAYERS, MOST_UNITS, MOST_FILTERS],
    }


def shown_numbers(training: dict[str, float], validation: dict[str, float]) -> dict[str, str]:
    """Return the metrics as the page and the program show them."""
    found = {name: f"{value:.6g}" for name, value in training.items()}
    return {**found, **{f"val_{name}": f"{value:.6g}" for name, value in validation.items()}}


def _point(step: int, shown: dict[str, str]) -> list[float | None]:
    names = ("loss", "val_loss", "accuracy", "val_accuracy")
    numbers = [float(shown[name]) if name in shown else None for name in names]
    return [step, *(n if n is not None and math.isfinite(n) else None for n in numbers)]


def _means(values: Array) -> list[float | None]:
    """Return the mean of each unit over samples, and places; None where it is no number."""
    means = np.mean(values, axis=tuple(range(values.ndim - 1)))
    return [m if math.isfinite(m) else None for m in means.tolist()]


def _signed(values: Array) -> Array:
    """Return numbers as bytes, 128 being 0, the largest of them 255."""
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    largest = float(np.abs(values).max()) or 1.0
    return np.clip(np.round(128.0 + 127.0 * values / largest), 0, 255).astype(np.uint8)


def _encoded(array: Array) -> str:
    array = array if array.dtype == np.uint8 else array.astype("<f4")
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
