"""Times predictions of npnn and its peers side by side, and writes them to RESULTS.md.

A network of 20, 64, 64 and 5 units predicts rows in one call, each contestant in its own process,
in turn; NumPy arrays are given and come back. Run: ``python benchmarks/prediction.py``.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

SIZES = (20, 64, 64, 5)
ROWS = (1, 100, 10_000)
Predict = Callable[[np.ndarray], Any]


def weights() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the same network for everybody."""
    rng = np.random.default_rng(0)
    return [
        (rng.normal(0, (2 / a) ** 0.5, (a, b)).astype("f"), rng.normal(0, 0.1, b).astype("f"))
        for a, b in itertools.pairwise(SIZES)
    ]


def _npnn(backend: str, plain: bool = False) -> Predict:
    import npnn

    layers: list[npnn.Layer] = []
    for inputs, outputs in itertools.pairwise(SIZES):
        layers += [npnn.Dense(inputs, outputs), npnn.ReLU()]
    model = npnn.Sequential([*layers[:-1], npnn.Softmax()], backend=backend)
    given = {}
    for number, (w, b) in enumerate(weights()):
        given |= {f"{2 * number}.w": w, f"{2 * number}.b": b}
    model.set_arrays(given)
    return model.function() if plain else lambda x: model.backend.to_numpy(model.predict(x))


def torch_eager() -> Predict:
    import torch
    from torch import nn

    layers: list[Any] = []
    for w, b in weights():
        dense = nn.Linear(*w.shape)
        dense.load_state_dict({"weight": torch.tensor(w.T), "bias": torch.tensor(b)})
        layers += [dense, nn.ReLU()]
    model = nn.Sequential(*layers[:-1], nn.Softmax(dim=1))

    def predict(x: np.ndarray) -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(x)).numpy()

    return predict


def jax_jit() -> Predict:
    import jax
    import jax.numpy as jnp

    parameters = [(jnp.asarray(w), jnp.asarray(b)) for w, b in weights()]

    @jax.jit
    def run(x: Any) -> Any:
        for w, b in parameters[:-1]:
            x = jax.nn.relu(x @ w + b)
        w, b = parameters[-1]
        return jax.nn.softmax(x @ w + b)

    return lambda x: np.asarray(run(x))


def onnx_runtime() -> Predict:
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    nodes, constants, name = [], [], "x"
    for i, (w, b) in enumerate(weights()):
        constants += [numpy_helper.from_array(w, f"w{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [name, f"w{i}", f"b{i}"], [f"z{i}"]))
        last = i == len(SIZES) - 2
        name = "y" if last else f"a{i}"
        nodes.append(helper.make_node("Softmax" if last else "Relu", [f"z{i}"], [name]))
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", width])
        for name, width in (("x", SIZES[0]), ("y", SIZES[-1]))
    ]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return lambda x: session.run(None, {"x": x})[0]


NEEDS = {
    "npnn numpy": "numpy",
    "npnn numpy, function()": "numpy",
    "npnn numba": "numba",
    "npnn numba, function()": "numba",
    "PyTorch": "torch",
    "JAX, jit": "jax",
    "ONNX Runtime": "onnxruntime",
}
CONTESTANTS: dict[str, Callable[[], Predict]] = {
    "npnn numpy": lambda: _npnn("numpy"),
    "npnn numpy, function()": lambda: _npnn("numpy", plain=True),
    "npnn numba": lambda: _npnn("numba"),
    "npnn numba, function()": lambda: _npnn("numba", plain=True),
    "PyTorch": torch_eager,
    "JAX, jit": jax_jit,
    "ONNX Runtime": onnx_runtime,
}


def serve(name: str) -> None:
    """Answer each ``ROWS SECONDS`` with the median microseconds of a prediction."""
    predict = CONTESTANTS[name]()
    rng = np.random.default_rng(1)
    pools = {n: [rng.standard_normal((n, SIZES[0]), dtype="f") for _ in range(8)] for n in ROWS}
    expected = _npnn("numpy")(pools[100][0])
    np.testing.assert_allclose(predict(pools[100][0]), expected, rtol=1e-4, atol=1e-6)
    print("ready", flush=True)
    for line in sys.stdin:
        rows, seconds = line.split()
        pool, times, end = pools[int(rows)], [], time.perf_counter() + float(seconds)
        while time.perf_counter() < end or len(times) < 5:
            x = pool[len(times) % len(pool)]
            started = time.perf_counter()
            predict(x)
            times.append(time.perf_counter() - started)
        print(float(np.median(times)) * 1e6, flush=True)


def main() -> None:
    """Measure, print, write."""
    import side_by_side
    from tabulate import tabulate

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", help="answer for one contestant")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each measurement")
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    names = [n for n, module in NEEDS.items() if importlib.util.find_spec(module)]
    times = side_by_side.in_turn(
        {name: ["prediction.py", "--serve", name] for name in names},
        {name: [str(rows) for rows in ROWS] for name in names},
        options.rounds,
        options.seconds,
    )
    heads = ["", *(f"{rows:,} row{'s' * (rows > 1)}" for rows in ROWS)]
    rows = [[n, *(f"{own[str(r)]:,.1f}" for r in ROWS)] for n, own in times.items()]
    table = tabulate(rows, heads, tablefmt="github", colalign=("left", *["right"] * len(ROWS)))
    text = (
        "Median microseconds to predict rows of 20 numbers in one call (64, 64 and 5 units, ReLU, "
        f"softmax), float32, from NumPy arrays to NumPy arrays:\n\n{table}\n\n"
        f"{side_by_side.machine()}"
    )
    print(text)
    if not options.no_write:
        side_by_side.write_section("Prediction, side by side", text)


if __name__ == "__main__":
    main()
