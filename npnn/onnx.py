"""Models as ONNX files, for where npnn is not.

Each layer becomes the operators of the standard that compute the same; training is left out. Images
have their channels last here and first there, which transposes at the convolutions see to. What the
columns of a table become is in `onnx_columns.py`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn import checked
from npnn import layers as of
from npnn.errors import MissingError
from npnn.io import Place, writing
from npnn.layers.layer import Layer
from npnn.layers.row import Row
from npnn.onnx_columns import ML, columns_in
from npnn.version import __version__
from npnn.written import check_known, check_shape, input_names, table_of

if TYPE_CHECKING:
    from npnn.model import Sequential

OPSET = 17  # the first with LayerNormalization
ML_OPSET = 3  # of ai.onnx.ml, which encodes the columns of tables
IR_VERSION = 8  # that goes with them


def export(
    model: Sequential,
    path: Place,
    *,
    name: str = "model",
    dtype: str = "float32",
    inputs: str = "columns",
) -> None:
    """Write a model as an ONNX file, with the normalisation of its inputs.

    Its input ``"x"`` and its output ``"y"`` have a first axis of any length. The names of classes
    and inputs are in the file's metadata.

    Of a model that was trained on a table, the file has an input of shape ``(batch, 1)`` for each
    column, by its name: strings without blanks around them for categories, empty where they are
    missing; floats for numbers, of 64 bits where 32 would tell too few of them apart, and NaN
    where they are missing; for dates and times, seconds since 1970-01-01 00:00 (or since midnight)
    as floats of 64 bits. Its outputs are ``"label"``, a string, and ``"probabilities"``, of shape
    ``(batch, classes)``; or ``"y"`` in the units of the target. Each input's ``doc_string`` says
    what it takes.

    Parameters
    ----------
    model : Sequential
        Of built-in layers; its shapes must be known.
    path : path_like or binary file
        Replaced, whole or not at all.
    name : str, default "model"
        What the file calls the network.
    dtype : str, default "float32"
        In which it computes; few runtimes know convolutions, or Softplus, of
        ``"float64"``.
    inputs : {"columns", "features"}, default "columns"
        Whether the file of a model that knows its table takes the columns of that, or as ``"x"``
        the features that they become.

    Raises
    ------
    MissingError
        If the package onnx is not installed.
    TypeError
        If a layer is one of your own, which no operator of ONNX is known for.
    ValueError
        If the model has not seen the shape of its inputs, or takes several inputs; or if a column
        is text of many words, which ONNX cannot take apart.

    Examples
    --------
    >>> import io, npnn, npnn.onnx
    >>> model = npnn.Sequential([npnn.Dense(2, 3), npnn.Softmax()], seed=0)
    >>> file = io.BytesIO()
    >>> npnn.onnx.export(model, file)
    """
    data = exported(model, name, dtype, inputs).SerializeToString()
    with writing(path) as file:
        file.write(data)


def exported(
    model: Sequential, name: str = "model", dtype: str = "float32", inputs: str = "columns"
) -> Any:
    """Return a model as the ``ModelProto`` of the package onnx; see :func:`export`."""
    try:
        import onnx
    except ImportError:
        raise MissingError(
            "a model is written as ONNX by the package onnx, which is not installed: "
            "pip install 'npnn-xp[onnx]', or pip install onnx"
        ) from None
    check_shape(model, "as ONNX")
    checked.word(dtype, "dtype", ("float32", "float64"))
    checked.text(name, "name")
    assert model.shape_in is not None
    schema = table_of(model, inputs)
    graph = Graph(onnx, model, dtype, () if schema is None else schema.layout.names)
    if schema is None:
        infos = [graph.info("x", graph.dtype, model.shape_in)]
        x = graph.normalized("x", model.norm)
    else:
        infos, x = columns_in(graph, schema, model.norm)
    y = written(model, graph, x)
    y = graph.scaled_back(y, getattr(model, "target_norm", None))
    classes = None if schema is None else schema.class_names
    outputs = graph.answers(y, classes, model.shape_out or ())
    helper = onnx.helper
    made = helper.make_graph(graph.nodes, name, infos, outputs, graph.tensors)
    opsets = [helper.make_opsetid("", OPSET)]
    if schema is not None:
        opsets.append(helper.make_opsetid(ML, ML_OPSET))
    proto = helper.make_model(
        made,
        opset_imports=opsets,
        ir_version=IR_VERSION,
        producer_name="npnn",
        producer_version=__version__,
    )
    names = input_names(model) if schema is None else [info.name for info in infos]
    known = {"class_names": classes or model.class_names, "inputs": names}
    helper.set_model_props(
        proto, {key: "\n".join(map(str, names)) for key, names in known.items() if names}
    )
    onnx.checker.check_model(proto, full_check=True)
    return proto


class Graph:
    """The operators and the arrays of a file that is being written.

    Parameters
    ----------
    onnx : module
        What writes it.
    model : Sequential
        Whose arrays they are.
    dtype : str
        Of the numbers.
    inputs : sequence of str
        Names that are taken.
    """

    def __init__(
        self, onnx: Any, model: Sequential, dtype: str, inputs: Sequence[str] = ()
    ) -> None:
        self.onnx, self.model, self.dtype = onnx, model, np.dtype(dtype)
        self._taken = set(inputs)
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def type_of(self, dtype: np.dtype[Any]) -> int:
        """Return ONNX's number for a dtype."""
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(dtype))

    def info(self, name: str, dtype: Any, shape: Sequence[int], doc: str = "") -> Any:
        """Return the description of an input or an output, a row for each sample."""
        kind = self.type_of(np.dtype(dtype))
        return self.onnx.helper.make_tensor_value_info(name, kind, ["batch", *shape], doc)

    def _named(self, name: str) -> str:
        """Return a name that no input has."""
        while name in self._taken:
            name += "_"
        return name

    def answers(self, y: str, classes: Sequence[str] | None, shape: Sequence[int]) -> list[Any]:
        """Add what is given out: outputs; or of a table with classes, those and probabilities."""
        if classes is None:
            name = self.add("Identity", [y], output=self._named("y"))
            return [self.info(name, self.dtype, shape)]
        if shape == (1,):  # one output for two classes
            other = self.add("Sub", [self.array(1.0), y])
            y = self.add("Concat", [other, y], axis=1)
        best = self.add("ArgMax", [y], axis=-1, keepdims=0)
        names = self.array(classes, np.dtype(object))
        label = self.add("Gather", [names, best], output=self._named("label"))
        shares = self.add("Identity", [y], output=self._named("probabilities"))
        return [
            self.info(label, object, shape[:-1]),
            self.info(shares, self.dtype, [*shape[:-1], len(classes)]),
        ]

    def add(self, operator: str, inputs: list[str], output: str = "", **options: Any) -> str:
        """Add an operator, and return the name of what it gives."""
        output = output or self._named(f"v{len(self.nodes)}")
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [output], **options))
        return output

    def array(self, values: Any, dtype: Any = None) -> str:
        """Add an array, and return its name; it is of the graph's dtype if None."""
        array = np.array(values, self.dtype if dtype is None else dtype)
        name = self._named(f"a{len(self.tensors)}")
        self.tensors.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def parameter(self, layer: Layer, name: str) -> np.ndarray:
        """Return a parameter, or a state, on the host."""
        return self.model.backend.to_numpy(getattr(layer, name))

    def reshaped(self, x: str, shape: tuple[int, ...]) -> str:
        """Add a reshape of each sample."""
        return self.add("Reshape", [x, self.array([-1, *shape], np.int64)])

    def normalized(self, x: str, norm: Any) -> str:
        """Add what raw inputs go through first."""
        if norm is None:
            return x
        shifted = self.add("Sub", [x, self.array(norm.offset)])
        return self.add("Div", [shifted, self.array(norm.scale)])

    def scaled_back(self, y: str, norm: Any) -> str:
        """Add what brings outputs to the units of the targets."""
        if norm is None:
            return y
        scaled = self.add("Mul", [y, self.array(norm.scale)])
        return self.add("Add", [scaled, self.array(norm.offset)])

    def channels_first(self, x: str) -> str:
        """Add a transpose of images from npnn's order to ONNX's."""
        return self.add("Transpose", [x], perm=[0, 3, 1, 2])

    def channels_last(self, x: str) -> str:
        """Add a transpose of images from ONNX's order to npnn's."""
        return self.add("Transpose", [x], perm=[0, 2, 3, 1])


@functools.singledispatch
def written(layer: Layer, graph: Graph, x: str) -> str:
    """Add the operators of a layer to a graph, and return the name of its output.

    A layer of one's own is written by a function that is registered for its class:
    ``@npnn.onnx.written.register``.
    """
    raise NotImplementedError(f"{layer!r} is written as part of a row")


@written.register
def _(layer: Row, graph: Graph, x: str) -> str:
    for each in layer.layers:
        check_known(
            each,
            written.registry,
            "operators of ONNX",
            "(layer, graph, x) by @npnn.onnx.written.register",
        )
        x = written(each, graph, x)
    return x


@written.register
def _(layer: of.Dense, graph: Graph, x: str) -> str:
    shape_in, shape_out = layer.shape_in, layer.shape_out
    assert shape_in is not None
    if len(shape_in) > 1:
        x = graph.reshaped(x, (math.prod(shape_in),))
    y = graph.add("MatMul", [x, graph.array(graph.parameter(layer, "w"))])
    if layer.bias:
        y = graph.add("Add", [y, graph.array(graph.parameter(layer, "b"))])
    return graph.reshaped(y, shape_out) if len(shape_out) > 1 else y


# Activations -------------------------------------------------------------------------------------


@written.register(of.Linear)
@written.register(of.Dropout)
def _(layer: Layer, graph: Graph, x: str) -> str:
    return x


@written.register(of.ReLU)
@written.register(of.Tanh)
@written.register(of.Sigmoid)
@written.register(of.Softplus)
def _(layer: Layer, graph: Graph, x: str) -> str:
    names = {of.ReLU: "Relu", of.Tanh: "Tanh", of.Sigmoid: "Sigmoid", of.Softplus: "Softplus"}
    name = next(name for kind, name in names.items() if isinstance(layer, kind))
    return graph.add(name, [x])


@written.register
def _(layer: of.LeakyReLU, graph: Graph, x: str) -> str:
    # An operator's attributes have 32 bits, and an array has the graph's.
    return graph.add("Max", [x, graph.add("Mul", [x, graph.array(layer.slope)])])


@written.register
def _(layer: of.Swish, graph: Graph, x: str) -> str:
    return graph.add("Mul", [x, graph.add("Sigmoid", [x])])


@written.register
def _(layer: of.Softmax, graph: Graph, x: str) -> str:
    return graph.add("Softmax", [x], axis=-1)


# Images ------------------------------------------------------------------------------------------


@written.register(of.Conv2D)
@written.register(of.UpConv2D)
def _(layer: Any, graph: Graph, x: str) -> str:
    # (outputs, kernel, kernel, inputs) there, and the other way round for the transposed one.
    w = np.moveaxis(graph.parameter(layer, "w"), -1, 1)
    inputs = [graph.channels_first(x), graph.array(w)]
    if layer.bias:
        inputs.append(graph.array(graph.parameter(layer, "b")))
    (top, bottom), (left, right) = layer.window.margins
    options: dict[str, Any] = {"pads": [top, left, bottom, right], "group": layer.groups}
    options |= {"kernel_shape": list(layer.kernel), "strides": list(layer.strides)}
    if isinstance(layer, of.Conv2D):
        return graph.channels_last(graph.add("Conv", inputs, **options))
    window = layer.window
    axes = zip(window.steps, window.stride, window.kernel, strict=True)
    painted = [(steps - 1) * stride + kernel for steps, stride, kernel in axes]
    left_over = [
        size - (full - sum(margin))
        for size, full, margin in zip(window.size, painted, window.margins, strict=True)
    ]
    y = graph.add("ConvTranspose", inputs, output_padding=left_over, **options)
    return graph.channels_last(y)


@written.register(of.MaxPool)
@written.register(of.AvgPool)
def _(layer: Any, graph: Graph, x: str) -> str:
    y = graph.add(
        "MaxPool" if isinstance(layer, of.MaxPool) else "AveragePool",
        [graph.channels_first(x)],
        kernel_shape=list(layer.kernel),
        strides=list(layer.strides),
    )
    return graph.channels_last(y)


@written.register
def _(layer: of.GlobalAvgPool, graph: Graph, x: str) -> str:
    return graph.add("ReduceMean", [x], axes=[1, 2], keepdims=0)


@written.register
def _(layer: of.Pad2D, graph: Graph, x: str) -> str:
    (top, bottom), (left, right) = layer.margins
    pads = graph.array([0, top, left, 0, 0, bottom, right, 0], np.int64)
    return graph.add("Pad", [x, pads, graph.array(layer.pad_value)])


@written.register(of.Shape)
@written.register(of.Flatten)
def _(layer: Layer, graph: Graph, x: str) -> str:
    assert layer.shape_out is not None
    return graph.reshaped(x, layer.shape_out)


# The rest ----------------------------------------------------------------------------------------


@written.register
def _(layer: of.BatchNorm, graph: Graph, x: str) -> str:
    gamma, beta, mean, variance = (
        graph.parameter(layer, name).astype(np.float64)
        for name in ("gamma", "beta", "running_mean", "running_variance")
    )
    centred = graph.add("Sub", [x, graph.array(mean)])
    scaled = graph.add("Mul", [centred, graph.array(gamma / np.sqrt(variance + layer.epsilon))])
    return graph.add("Add", [scaled, graph.array(beta)])


@written.register
def _(layer: of.LayerNorm, graph: Graph, x: str) -> str:
    gamma, beta = (graph.array(graph.parameter(layer, name)) for name in ("gamma", "beta"))
    return graph.add("LayerNormalization", [x, gamma, beta], axis=-1, epsilon=float(layer.epsilon))


@written.register
def _(layer: of.Parallel, graph: Graph, x: str) -> str:
    parts = [written(branch, graph, x) for branch in layer.branches]
    return graph.add("Concat", parts, axis=-1)


@written.register
def _(layer: of.Residual, graph: Graph, x: str) -> str:
    return graph.add("Add", [x, written(layer.layers, graph, x)])


@written.register
def _(layer: of.Sample, graph: Graph, x: str) -> str:
    assert layer.shape_in is not None
    half = layer.shape_in[-1] // 2
    ends = [graph.array([n], np.int64) for n in (0, half, -1)]
    return graph.add("Slice", [x, *ends])
