"""The kernels of plans on a GPU, as NVIDIA's compiler makes them, and the races in them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from oracles import LOSSES, OPTIMIZERS
from test_capture import KINDS, model_of

import npnn
from npnn.backends.gpu import kernels as cuda

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import kernels

emulated = pytest.importorskip("emulated", reason="needs the emulated GPU: make test-cupy")
pytestmark = pytest.mark.gpu
COUNT = max(-(-len(KINDS) // 3), len(LOSSES), len(OPTIMIZERS))


def compiled(step):
    """Return what the compiler makes of the kernels of a step, which is not run."""
    return kernels.compiled(kernels.plan_of(step).target.source, "sm_90", cuda.OPTIONS)


def training(model, loss, optimizer):
    """Return a step on six samples."""
    model.chain, optimizer.model = loss, model
    x = np.random.default_rng(1).standard_normal((6, *model.shape_in))
    return lambda: optimizer.step(x, np.eye(*model.shape_out)[[0, 1, 1, 0, 1, 0]])


def check(made):
    """Check that kernels of float32 compute in it, and in registers."""
    assert "warning" not in made.log
    # The numbers of a step come in as doubles, and are rounded first.
    doubles = set(re.findall(r"^\s+(?:@\S+\s+)?([a-z]\S*f64\S*)", made.ptx, re.MULTILINE))
    assert {
        op for op in doubles if not re.fullmatch(r"ld\.param\.f64|cvt\S*\.f32\.f64", op)
    } == set()
    taken = kernels.resources(made.log)
    assert len(taken) == made.ptx.count(".entry")
    assert [name for name, used in taken.items() if used.local] == []


def elementwise(formula, *arrays):
    """Return a step that gives what a formula makes of arrays."""
    backend = npnn.backends.get("cupy")
    captured = backend.capture(lambda carry, data, inputs: (carry, {"y": formula(**inputs)}))
    inputs = {name: backend.asarray(array) for name, array in zip("abc", arrays, strict=False)}
    return lambda: captured({}, {}, inputs)


def zeros(*shape):
    return np.zeros(shape, np.float32)


@pytest.mark.filterwarnings("ignore:layer .* leave one of the two out:UserWarning")
@pytest.mark.parametrize("number", range(COUNT))
def test_a_float32_model_takes_no_double_and_no_thread_s_own_memory(number):
    kinds = [KINDS[(3 * number + n) % len(KINDS)] for n in range(3)]
    loss, optimizer = LOSSES[number % len(LOSSES)], OPTIMIZERS[number % len(OPTIMIZERS)]
    model = model_of(kinds, loss, backend="cupy", dtype="float32", seed=1)
    check(compiled(training(model, loss(), optimizer())))


def test_rows_longer_than_a_warp_stay_in_registers_too():
    layers = [npnn.Dense(3, 131), npnn.layers.LayerNorm(), npnn.Dense(None, 150), npnn.Softmax()]
    model = npnn.Sequential(layers, backend="cupy", seed=1)
    check(compiled(training(model, npnn.CrossEntropyLoss(), npnn.Adam())))


def test_quotients_roots_and_products_are_rounded_one_by_one_as_on_the_cpu():
    layers = [npnn.Dense(3, 8), npnn.Tanh(), npnn.Dense(8, 2)]
    model = npnn.Sequential(layers, backend="cupy", seed=0)
    made = compiled(training(model, npnn.RMSLoss(), npnn.Adam()))
    (adam,) = (part for part in made.ptx.split(".entry") if "sqrt" in part)
    assert set(re.findall(r"\b(?:div|sqrt|fma|rcp|rsqrt)\.\w+", adam)) == {"div.rn", "sqrt.rn"}
    assert not re.search(r"\b(?:div|sqrt)\.(?:approx|full)", made.ptx)


def test_cupy_has_the_smallest_numbers_count_as_0_whatever_it_is_asked_for():
    source = 'extern "C" __global__ void half(float* x) { x[0] *= 0.5f; }'
    cupy = npnn.backends.get("cupy").cupy
    cupy.RawModule(code=source, options=("-ftz=false",)).get_function("half")
    _, options, _ = emulated.compiled[-1]
    assert [option for option in options if "ftz" in option] == ["-ftz=false", "-ftz=true"]
    asked = ("-ftz=false",)  # behind which `compiled` puts what CuPy puts there
    assert "mul.ftz.f32" in kernels.compiled(source, "sm_90", asked).ptx


@pytest.mark.parametrize(
    ("shapes", "width"),
    [
        ([(1000,)] * 3, "v4"),
        ([(7, 143)] * 3, "v4"),  # one by one at its end
        ([(9, 8), (8,), (9, 1)], "v4"),
        ([(9, 6), (6,), (9, 1)], "v2"),
        ([(9, 7), (7,), (9, 1)], None),
    ],
)
def test_neighbours_are_loaded_and_stored_at_once(shapes, width):
    made = compiled(elementwise(lambda a, b, c: a * b + c, *(zeros(*shape) for shape in shapes)))
    first = made.ptx.split(".entry")[1]
    assert set(re.findall(r"ld\.global\.(v\d)", first)) == ({width} if width else set())
    assert set(re.findall(r"st\.global\.(v\d)", first)) == ({width} if width else set())


ROWS = """
import cupy, emulated, npnn
import numpy as np
from npnn.arrays import array_namespace

def step(carry, data, inputs):
    xp, x, c = array_namespace(inputs["x"]), inputs["x"], carry["c"]
    rows = xp.sum(x * c, axis=-1, keepdims=True) + c
    y = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    s = xp.sum(y * rows, axis=0)
    outputs = [s, xp.sum(y), xp.argmax(y, axis=-1), xp.max(inputs["n"], axis=-1)]
    return {"c": rows / 10.0}, {"y": outputs}

captured = npnn.backends.get("cupy").capture(step)
rng = np.random.default_rng(0)
for rows, columns in [(70, 5), (130, 8), (3, 300), (900, 12)]:
    carry = {"c": cupy.ones((rows, 1), "float32")}
    x = cupy.asarray(rng.standard_normal((rows, columns), "float32"))
    n = cupy.asarray(rng.integers(9, size=(rows, columns)))
    for _ in range(3):
        carry, outputs = captured(carry, {}, {"x": x, "n": n})
cupy.cuda.Device().synchronize()
assert emulated.counters()["launch"] > 0
print(emulated.faults())
"""


@pytest.mark.parametrize("options", [{}, {"EMU_SHUFFLE": "1", "EMU_POOL": "0"}], ids=str)
def test_no_thread_touches_what_another_writes(options):
    environment = {**os.environ, "EMU_RACE": "1", **options}
    command = [sys.executable, "-c", ROWS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "{}", done.stderr
