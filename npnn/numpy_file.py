"""Models as Python files that need NumPy alone, for where nothing can be installed.

Each layer becomes the lines of NumPy that compute its formula; training is left out.
"""

from __future__ import annotations

import base64
import functools
import io
import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn import checked
from npnn import layers as of
from npnn.io import Place, writing
from npnn.layers.layer import Layer
from npnn.layers.row import Row
from npnn.numpy_columns import PREDICT, table_lines
from npnn.version import __version__
from npnn.written import check_known, check_shape, input_names, rows_of, table_of

if TYPE_CHECKING:
    from npnn.model import Sequential

# What a file holds of these are those that its layers call.
FUNCTIONS = {
    "sigmoid": '''
def sigmoid(x):
    """Return 1 / (1 + e^-x), without an overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)
''',
    "softplus": '''
def softplus(x):
    """Return ln(1 + e^x), without an overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
''',
    "softmax": '''
def softmax(x):
    """Return e^x as shares of its sum over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
''',
    "layer_norm": '''
def layer_norm(x, epsilon):
    """Return x with mean 0 and variance 1 over the last axis."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + epsilon)
''',
    "windows": '''
def windows(x, kernel, stride):
    """Return what a kernel sees of images: (batch, rows, columns, channels, *kernel)."""
    seen = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(1, 2))
    return seen[:, :: stride[0], :: stride[1]]
''',
    "convolution": '''
def convolution(x, w, stride, margins, groups):
    """Slide kernels w of shape (outputs, *kernel, channels) over images."""
    x = np.pad(x, ((0, 0), *margins, (0, 0)))
    seen = windows(x, w.shape[1:3], stride)
    seen = seen.reshape(*seen.shape[:3], groups, -1, *seen.shape[4:])
    w = w.reshape(groups, -1, *w.shape[1:])
    y = np.einsum("bhwgcij,goijc->bhwgo", seen, w, optimize=True)
    return y.reshape(*y.shape[:3], -1)
''',
    "transposed_convolution": '''
def transposed_convolution(x, w, stride, painted, margins, groups):
    """Paint kernels w of shape (inputs, *kernel, outputs) into images of the size `painted`."""
    batch, rows, columns, _ = x.shape
    x = x.reshape(batch, rows, columns, groups, -1)
    w = w.reshape(groups, -1, *w.shape[1:])
    y = np.zeros((batch, *painted, groups * w.shape[-1]), x.dtype)
    for i in range(w.shape[2]):
        for j in range(w.shape[3]):
            part = np.einsum("bhwgc,gco->bhwgo", x, w[:, :, i, j], optimize=True)
            down = slice(i, i + (rows - 1) * stride[0] + 1, stride[0])
            across = slice(j, j + (columns - 1) * stride[1] + 1, stride[1])
            y[:, down, across] += part.reshape(batch, rows, columns, -1)
    (top, bottom), (left, right) = margins
    return y[:, top : y.shape[1] - bottom, left : y.shape[2] - right]
''',
}
NEEDS = {"convolution": ("windows",)}

FILE = '''\
"""{title}

Written by npnn {version}; it needs NumPy alone. ``predict`` gives what the network's own gives.
"""

{future}{imports}

import numpy as np

CLASSES = {classes!r}
INPUTS = {inputs!r}

{predict}
def {network}(x):
    """Return the outputs, of shape (batch{shape_out}), for inputs of shape (batch{shape_in})."""
{lines}
    return x
{functions}

def read(text):
    """Return the arrays of the network, by their names."""
    with np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False) as arrays:
        return dict(arrays)


A = read(
    """
{arrays}
"""
)
{table}'''


def export(
    model: Sequential, path: Place, *, name: str = "A network.", inputs: str = "columns"
) -> None:
    """Write a model as a Python file that needs NumPy alone, with the norm of its inputs.

    The file's ``predict(x)`` gives what :meth:`Sequential.predict` does, in the model's dtype; its
    ``CLASSES`` and ``INPUTS`` are the names of classes and inputs that the model knows.

    Of a model that was trained on a table, ``predict(rows)`` takes raw cells: the path of a CSV
    file, dicts, lists or a frame. ``answers(rows)`` gives for each row its class and how probable
    that is, ``network(x)`` takes features, and ``python model.py data.csv`` prints answers.

    Parameters
    ----------
    model : Sequential
        Of built-in layers; its shapes must be known.
    path : path_like or binary file
        Replaced, whole or not at all.
    name : str, optional
        The first line of the file's docstring.
    inputs : {"columns", "features"}, default "columns"
        Whether the file of a model that knows its table takes the columns of that, or the features
        that they become.

    Raises
    ------
    TypeError
        If a layer is one of your own, whose formula is not known here.
    ValueError
        If the model has not seen the shape of its inputs, or takes several inputs.

    Examples
    --------
    >>> import io, npnn, npnn.numpy_file
    >>> model = npnn.Sequential([npnn.Dense(2, 3), npnn.Softmax()], seed=0)
    >>> file = io.BytesIO()
    >>> npnn.numpy_file.export(model, file)
    """
    data = exported(model, name, inputs).encode()
    with writing(path) as file:
        file.write(data)


def exported(model: Sequential, name: str = "A network.", inputs: str = "columns") -> str:
    """Return a model as the text of a Python file; see :func:`export`."""
    check_shape(model, "for NumPy")
    checked.text(name, "name")
    assert model.shape_in is not None
    schema = table_of(model, inputs)
    writer = Writer(model)
    if model.norm is None:
        writer.add(f"x = np.asarray(x, {str(model.dtype)!r})")
    else:
        offset, scale = (
            writer.array("offset", model.norm.offset),
            writer.array("scale", model.norm.scale),
        )
        writer.add("# Centred before it is rounded.")
        writer.add(f"x = ((np.asarray(x, 'float64') - {offset}) / {scale}).astype({model.dtype!r})")
    written(model, writer, "")
    if model.target_norm is not None:
        writer.add("# In the units of the targets.")
        offset = writer.array("target_offset", model.target_norm.offset, model.dtype)
        scale = writer.array("target_scale", model.target_norm.scale, model.dtype)
        writer.add(f"x = x * {scale} + {offset}")
    shapes = {
        "shape_in": "".join(f", {n}" for n in model.shape_in),
        "shape_out": "".join(f", {n}" for n in model.shape_out or ()),
    }
    names, classes = input_names(model), model.class_names
    imports, predict, table = {"import base64", "import io"}, "", ""
    if schema is not None:
        names = list(schema.layout.names)
        classes = None if schema.class_names is None else list(schema.class_names)
        more, table = table_lines(rows_of(model, schema))
        imports, predict = imports | more - {"import numpy as np"}, PREDICT.format(**shapes)
    return FILE.format(
        title=" ".join(name.split()).replace("\\", "/").replace('"', "'"),
        version=__version__,
        imports="\n".join(sorted(imports, key=str.split)),
        future="" if schema is None else "from __future__ import annotations\n\n",
        classes=None if classes is None else list(map(str, classes)),
        inputs=names,
        predict=predict,
        network="predict" if schema is None else "network",
        table=table,
        **shapes,
        lines=textwrap.indent("\n".join(writer.lines), "    "),
        functions="".join(f"\n{FUNCTIONS[name]}" for name in FUNCTIONS if name in writer.used),
        arrays=writer.as_text(),
    )


class Writer:
    """The lines and the arrays of a file that is being written; each line works on ``x``.

    Parameters
    ----------
    model : Sequential
        Whose arrays they are.
    """

    def __init__(self, model: Sequential) -> None:
        self.model = model
        self.lines: list[str] = []
        self.used: set[str] = set()
        self._arrays: dict[str, np.ndarray] = {}

    def add(self, line: str) -> None:
        """Add a line."""
        self.lines.append(line)

    def call(self, name: str) -> str:
        """Return the name of a function, which the file then holds."""
        self.used.update((name, *NEEDS.get(name, ())))
        return name

    def array(self, name: str, values: Any, dtype: Any = None) -> str:
        """Add an array, and return the expression that is it."""
        self._arrays[name] = np.asarray(values, dtype)
        return f"A[{name!r}]"

    def parameter(self, layer: Layer, place: str, name: str) -> str:
        """Add a parameter, or a state, and return the expression that is it."""
        array = self.model.backend.to_numpy(getattr(layer, name))
        return self.array(f"{place}.{name}", array)

    def as_text(self) -> str:
        """Return the arrays as letters."""
        file = io.BytesIO()
        np.savez_compressed(file, **self._arrays)  # type: ignore[arg-type]
        return textwrap.fill(base64.b64encode(file.getvalue()).decode(), 100)


@functools.singledispatch
def written(layer: Layer, writer: Writer, place: str) -> None:
    """Add the lines of a layer to a file.

    A layer of one's own is written by a function that is registered for its class:
    ``@npnn.numpy_file.written.register``.
    """
    raise NotImplementedError(f"{layer!r} is written as part of a row")


@written.register
def _(layer: Row, writer: Writer, place: str) -> None:
    for name, each in layer.children():
        where = f"{place}.{name}" if place else name
        if not isinstance(each, Row):
            writer.add(f"# {where}: {type(each).__name__}, of shape {each.shape_out}")
        check_known(
            each,
            written.registry,
            "lines of NumPy",
            "(layer, writer, place) by @npnn.numpy_file.written.register",
        )
        written(each, writer, where)


@written.register
def _(layer: of.Dense, writer: Writer, place: str) -> None:
    shape_in, shape_out = layer.shape_in, layer.shape_out
    assert shape_in is not None
    if len(shape_in) > 1:
        writer.add(f"x = x.reshape(-1, {math.prod(shape_in)})")
    bias = f" + {writer.parameter(layer, place, 'b')}" if layer.bias else ""
    writer.add(f"x = x @ {writer.parameter(layer, place, 'w')}{bias}")
    if len(shape_out) > 1:
        writer.add(f"x = x.reshape(-1, {', '.join(map(str, shape_out))})")


# Activations -------------------------------------------------------------------------------------


@written.register(of.Linear)
@written.register(of.Dropout)
def _(layer: Layer, writer: Writer, place: str) -> None:
    """Add nothing: outside training it gives on what comes in."""


@written.register
def _(layer: of.ReLU, writer: Writer, place: str) -> None:
    writer.add("x = np.maximum(x, 0)")


@written.register
def _(layer: of.LeakyReLU, writer: Writer, place: str) -> None:
    writer.add(f"x = np.maximum(x, {float(layer.slope)!r} * x)")


@written.register
def _(layer: of.Tanh, writer: Writer, place: str) -> None:
    writer.add("x = np.tanh(x)")


@written.register
def _(layer: of.Sigmoid, writer: Writer, place: str) -> None:
    writer.add(f"x = {writer.call('sigmoid')}(x)")


@written.register
def _(layer: of.Swish, writer: Writer, place: str) -> None:
    writer.add(f"x = x * {writer.call('sigmoid')}(x)")


@written.register
def _(layer: of.Softplus, writer: Writer, place: str) -> None:
    writer.add(f"x = {writer.call('softplus')}(x)")


@written.register
def _(layer: of.Softmax, writer: Writer, place: str) -> None:
    writer.add(f"x = {writer.call('softmax')}(x)")


# Images ------------------------------------------------------------------------------------------


@written.register(of.Conv2D)
@written.register(of.UpConv2D)
def _(layer: Any, writer: Writer, place: str) -> None:
    name, window = "convolution", layer.window
    options: dict[str, object] = {"stride": window.stride}
    if isinstance(layer, of.UpConv2D):
        name, options["painted"] = "transposed_convolution", window.padded
    options |= {"margins": window.margins, "groups": layer.groups}
    given = ", ".join(f"{key}={value}" for key, value in options.items())
    bias = f" + {writer.parameter(layer, place, 'b')}" if layer.bias else ""
    w = writer.parameter(layer, place, "w")
    writer.add(f"x = {writer.call(name)}(x, {w}, {given}){bias}")


@written.register(of.MaxPool)
@written.register(of.AvgPool)
def _(layer: Any, writer: Writer, place: str) -> None:
    what = "max" if isinstance(layer, of.MaxPool) else "mean"
    seen = f"{writer.call('windows')}(x, {layer.kernel}, {layer.strides})"
    writer.add(f"x = {seen}.{what}(axis=(-2, -1))")


@written.register
def _(layer: of.GlobalAvgPool, writer: Writer, place: str) -> None:
    writer.add("x = x.mean(axis=(1, 2))")


@written.register
def _(layer: of.Pad2D, writer: Writer, place: str) -> None:
    value = layer.pad_value
    shown = f"{value!r}" if math.isfinite(value) else f"float({str(value)!r})"
    writer.add(
        f"x = np.pad(x, ((0, 0), {layer.margins[0]}, {layer.margins[1]}, (0, 0)), "
        f"constant_values={shown})"
    )


@written.register(of.Shape)
@written.register(of.Flatten)
def _(layer: Layer, writer: Writer, place: str) -> None:
    writer.add(f"x = x.reshape(-1, {', '.join(map(str, layer.shape_out or ()))})")


# The rest ----------------------------------------------------------------------------------------


@written.register
def _(layer: of.BatchNorm, writer: Writer, place: str) -> None:
    names = "gamma", "running_mean", "running_variance", "beta"
    gamma, mean, variance, beta = (writer.parameter(layer, place, name) for name in names)
    epsilon = float(layer.epsilon)
    writer.add(f"x = {gamma} * (x - {mean}) / np.sqrt({variance} + {epsilon!r}) + {beta}")


@written.register
def _(layer: of.LayerNorm, writer: Writer, place: str) -> None:
    gamma, beta = (writer.parameter(layer, place, name) for name in ("gamma", "beta"))
    normal = f"{writer.call('layer_norm')}(x, {float(layer.epsilon)!r})"
    writer.add(f"x = {gamma} * {normal} + {beta}")


@written.register
def _(layer: of.Parallel, writer: Writer, place: str) -> None:
    given, parts = _variable("given", place), []
    writer.add(f"{given} = x")
    for name, branch in layer.children():
        parts.append(_variable("part", f"{place}.{name}"))
        if len(parts) > 1:
            writer.add(f"x = {given}")
        written(branch, writer, f"{place}.{name}")
        writer.add(f"{parts[-1]} = x")
    writer.add(f"x = np.concatenate(({', '.join(parts)},), axis=-1)")


@written.register
def _(layer: of.Residual, writer: Writer, place: str) -> None:
    given = _variable("given", place)
    writer.add(f"{given} = x")
    written(layer.layers, writer, f"{place}.layers")
    writer.add(f"x = {given} + x")


@written.register
def _(layer: of.Sample, writer: Writer, place: str) -> None:
    assert layer.shape_in is not None
    writer.add(f"x = x[..., :{layer.shape_in[-1] // 2}]  # the means")


def _variable(word: str, place: str) -> str:
    return f"{word}_{place.replace('.', '_')}"
