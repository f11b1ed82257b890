"""The table of elementwise operations: each formula, compiled, gives what NumPy gives."""

import ctypes
import importlib.util
import shutil
import subprocess
import warnings

import numpy as np
import pytest

from npnn.backends.gpu.kernels import TYPES, C
from npnn.backends.operations.elementwise import OPERATIONS, computed_in, suits
from npnn.backends.recording.node import Node

DTYPES = ("float32", "float64", "int64", "bool")
POSITIVE = {"sqrt", "power", "log", "log2", "log10", "log1p"}


def samples(operation, dtype):
    """Return as many arrays of one dtype as an operation takes."""
    rng = np.random.default_rng(0)
    count = {"where": 3, "astype": 1, "copy": 1}.get(operation) or getattr(np, operation).nin
    arrays = [np.round(rng.uniform(-4, 4, 64), 2) for _ in range(count)]
    arrays = [np.abs(a) + 0.5 if operation in POSITIVE else a for a in arrays]
    arrays[0][:8] = 0.5
    arrays[-1][:8] = 0.5
    if dtype.startswith("float"):
        arrays[0][:5] = [np.nan, np.inf, -np.inf, 0.0, -0.0]
    return [a > 0 if dtype == "bool" else a.astype(dtype) for a in arrays]


def expected(operation, arrays):
    """Return what NumPy gives, and the node of the operation."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if operation == "where":
            result = np.where(arrays[0] != 0, *arrays[1:])
        elif operation in ("astype", "copy"):
            result = arrays[0].copy()
        else:
            result = getattr(np, operation)(*arrays)
    args = [Node("leaf", (), (), a.shape, a.dtype) for a in arrays]
    return result, Node(operation, tuple(args), (), result.shape, result.dtype)


def cases(known):
    """Yield each operation that a language knows, with arrays of each dtype that suits it."""
    for operation in OPERATIONS:
        for dtype in DTYPES:
            try:
                arrays = samples(operation, dtype)
                result, node = expected(operation, arrays)
            except TypeError:  # NumPy has no such operation for the dtype
                continue
            if known(operation) and suits(node) and result.dtype.name in DTYPES:
                yield operation, dtype, arrays, result, node


def compare(operation, dtype, given, result):
    tolerance = 8 * np.finfo(result.dtype).eps if result.dtype.kind == "f" else 0
    np.testing.assert_allclose(given, result, tolerance, err_msg=f"{operation} of {dtype}")
    zeros = result == 0
    if result.dtype.kind == "f" and operation not in ("maximum", "minimum"):
        np.testing.assert_array_equal(
            np.signbit(given[zeros]), np.signbit(result[zeros]), operation
        )


@pytest.mark.later
@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="Numba is not installed")
def test_each_operation_compiled_by_numba_gives_what_numpy_gives():
    import numba

    from npnn.backends.cpu import functions
    from npnn.backends.cpu.loops import NUMBA

    found = list(cases(NUMBA.knows))
    assert len({operation for operation, *_ in found}) > 30
    lines, names = [], {"np": np, "functions": functions}
    for number, (operation, _, arrays, _, node) in enumerate(found):
        elements = [f"{name}[i]" for name in "abc"[: len(arrays)]]
        written = NUMBA.write(operation, elements, computed_in(node).name)
        lines += [f"def f{number}(out, {', '.join('abc'[: len(arrays)])}):"]
        lines += ["    for i in range(len(out)):", f"        out[i] = {written}"]
    exec("\n".join(lines), names)
    for number, (operation, dtype, arrays, result, _) in enumerate(found):
        out = np.empty_like(result)
        numba.njit(error_model="numpy")(names[f"f{number}"])(out, *arrays)
        compare(operation, dtype, out, result)


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_each_operation_compiled_from_c_gives_what_numpy_gives(tmp_path):
    found = list(cases(C.knows))
    assert {operation for operation, *_ in found} == OPERATIONS.keys()
    lines = ["#include <cmath>", "using namespace std;"]
    for number, (operation, dtype, arrays, result, node) in enumerate(found):
        kind = TYPES[computed_in(node).name]
        values = [f"({kind}){name}[i]" for name in "abc"[: len(arrays)]]
        parameters = ", ".join(f"const {TYPES[dtype]}* {name}" for name in "abc"[: len(arrays)])
        lines.append(f'extern "C" void f{number}({TYPES[result.dtype.name]}* out, {parameters}) {{')
        written = C.write(operation, values, computed_in(node).name)
        lines.append(f"for (int i = 0; i < {len(result)}; ++i) out[i] = {written}; }}")
    source, library = tmp_path / "operations.cpp", tmp_path / "operations.so"
    source.write_text("\n".join(lines))
    options = ["-shared", "-fPIC", "-ffp-contract=off", "-o", library]
    subprocess.run(["g++", *options, source], check=True)
    compiled = ctypes.CDLL(str(library))
    for number, (operation, dtype, arrays, result, _) in enumerate(found):
        out = np.empty_like(result)
        compiled[f"f{number}"](*(ctypes.c_void_p(a.ctypes.data) for a in (out, *arrays)))
        compare(operation, dtype, out, result)


def test_a_formula_that_needs_what_a_language_lacks_is_not_known():
    assert not C._replace(calls={}).knows("exp")
    assert C.knows("add")
    assert not C.knows("heaviside")
