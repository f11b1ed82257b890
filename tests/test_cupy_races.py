"""Races that are planted in the kernels are seen by the emulated device, and none without them."""

import json

import pytest
from on_gpu import run_apart

pytest.importorskip("emulated", reason="only the emulated device sees races")
pytestmark = pytest.mark.gpu

# What stands in the kernels, what takes its place, and what is then counted.
PLANTED = {
    "nothing": ("", "", ""),
    "no barrier after a share of a block's sum is written": (
        "cells[threadIdx.y / EACH][threadIdx.x] = v;\n    __syncthreads();",
        "cells[threadIdx.y / EACH][threadIdx.x] = v;",
        "races",
    ),
    "no barrier after a share of what the blocks left is written": (
        "cells[thread] = sum;\n            __syncthreads();",
        "cells[thread] = sum;",
        "races",
    ),
    "no barrier before the memory of a block's sum is used again": (
        "v += __shfl_xor_sync(0xffffffffu, v, step, 32);\n    __syncthreads();",
        "v += __shfl_xor_sync(0xffffffffu, v, step, 32);",
        "races",
    ),
    "all warps of a block write to one cell": (
        "cells[threadIdx.y / EACH][threadIdx.x] = v;",
        "cells[0][threadIdx.x] = v;",
        "races",
    ),
    "no fence before a block says that it is done": (
        "__shared__ bool last;\n    __threadfence();",
        "__shared__ bool last;",
        "races",
    ),
    "no barrier after one thread has found that a block is the last": (
        "if (last) *counter = 0;\n    }\n    __syncthreads();",
        "if (last) *counter = 0;\n    }",
        "races",
    ),
    "each block believes that it is the last": ("== blocks - 1;", "< blocks;", "races"),
    "rows beyond the last are worked on": (
        "if (inside && column < 33)",
        "if (column < 33)",
        "out of bounds",
    ),
    "each thread of a team writes what stands for a row": (
        "if (inside && lane == 0)",
        "if (inside)",
        "races",
    ),
    "an element too many": ("if (q < 2001)", "if (q < 2002)", "out of bounds"),
}

PROGRAM = """
import json, sys
import emulated, numpy as np
import npnn
from npnn.arrays import array_namespace
from npnn.backends import tuning
from npnn.backends.gpu.cupy_target import Cuda
from on_gpu import DEVICE, OnDevice

tuning.ROWS_EACH = 1  # several blocks leave partial sums
source = Cuda.source.fget


def step(carry, data, inputs):
    x = inputs["x"]
    xp = array_namespace(x)
    e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    y = e / xp.sum(e, axis=-1, keepdims=True)
    change = xp.sum(y, axis=0) + xp.sum(y * x, axis=0) + xp.sum(y * y)
    new = carry["row"] + xp.sum(y * x, axis=-1, keepdims=True)
    return {"sums": carry["sums"] + change, "row": new, "z": carry["z"] * 2.0}, {}


found = {}
for name, (old, new, _) in json.loads(sys.stdin.read()).items():

    def planted(self):
        text = source(self)
        assert old in text, old
        return text.replace(old, new)

    Cuda.source = property(planted)
    rng = np.random.default_rng(0)
    carry = {"sums": np.zeros(33), "row": rng.random((131, 1)), "z": np.zeros(8001)}
    captured = npnn.backends.get("cupy", "float64", DEVICE).capture(step)
    backend = npnn.backends.get("cupy", "float64", DEVICE)
    emulated.reset()
    there = {key: backend.asarray(value) for key, value in carry.items()}
    captured(there, {}, {"x": backend.asarray(rng.standard_normal((131, 33)))})
    backend.synchronize()
    found[name] = emulated.faults()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found():
    """What the emulated device tells of each."""
    environment = {"EMU_RACE": "1", "EMU_POOL": "0", "EMU_NVRTC": "0", "EMU_LOG": "/dev/null"}
    return json.loads(run_apart(PROGRAM, stdin=json.dumps(PLANTED), **environment))


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_race_is_seen(name, found):
    kind = PLANTED[name][2]
    assert found[name].get(kind, 0) > 0 if kind else not found[name]
