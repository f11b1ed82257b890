"""All that ``backend="cupy"`` asks of its libraries is in the versions installed, GPU or not.

What is asked for is read off the sources, so that nothing is listed twice; what there is, off the
libraries and off NVIDIA's headers. ``make versions`` does this with the oldest and the newest
versions that pyproject.toml allows.
"""

import ast
import functools
import inspect
import re
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from npnn.backends.gpu import products

try:
    import cupy
except ImportError as error:
    pytest.skip(f"CuPy cannot be imported: {error}", allow_module_level=True)

pytestmark = pytest.mark.gpu

FOLDER = Path(products.__file__).parent.parent
SOURCES = sorted([*FOLDER.rglob("cupy*.py"), *FOLDER.rglob("products.py")])
# What the sources call by these names is a thing, or an instance, of CuPy.
OF_CUPY = {
    "cupy": "cupy",
    "runtime": "cupy.cuda.runtime",
    "stream": "cupy.cuda.Stream.null",
    "current": "cupy.cuda.Stream.null",
    "get_current_stream": "cupy.cuda.Stream.null",
    "copied": "cupy.cuda.Event",
    "read": "cupy.cuda.Event",
    "graph": "cupy.cuda.graph.Graph",
    "module": "cupy.RawModule",
    "data": "cupy.cuda.MemoryPointer",
    "owner": "cupy.cuda.MemoryPointer",
    "workspace": "cupy.cuda.MemoryPointer",
    "get_default_memory_pool": "cupy.cuda.MemoryPool",
}
HEADERS = {
    "nvidia-cublas": ("cublasLt.h", "cublas_api.h"),
    "nvidia-cublas-cu12": ("cublasLt.h", "cublas_api.h"),
    "nvidia-cuda-runtime": ("library_types.h",),
    "nvidia-cuda-runtime-cu12": ("library_types.h",),
}


def chain_of(node):
    """Return the names of `a.b().c` from left to right."""
    if isinstance(node, ast.Attribute):
        return [*chain_of(node.value), node.attr]
    if isinstance(node, ast.Call):
        return chain_of(node.func)
    return [node.id] if isinstance(node, ast.Name) else [""]


def uses(roots):
    """Yield where, the root, the path of names below it, and how many are given, or None."""
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        calls = {id(n.func): n for n in ast.walk(tree) if isinstance(n, ast.Call)}
        tuples = {
            ast.unparse(n.targets[0]): n.value.elts
            for n in ast.walk(tree)
            if isinstance(n, ast.Assign) and isinstance(n.value, ast.Tuple)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute):
                continue
            *before, name = chain_of(node)
            at = max((i for i, n in enumerate(before) if n in roots), default=None)
            if at is None or name in roots:
                continue
            call, given = calls.get(id(node)), None
            if call is not None:
                many = [ast.unparse(a.value) for a in call.args if isinstance(a, ast.Starred)]
                count = len(call.args) - len(many) + sum(len(tuples[name]) for name in many)
                given = count, [k.arg for k in call.keywords]
            yield f"{path.name}:{node.lineno}", before[at], [*before[at + 1 :], name], given


def signature_of(function):
    """Return the signature of a function, or the one that begins its documentation."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        match = re.match(r"[\w.]+\((.*)\)( -> .*)?(\n|$)", function.__doc__ or "")
        if match is None:
            raise TypeError("it has no signature") from None
        names = [a.split("=") for a in match[1].split(", ") if a]
        text = ", ".join("=".join([a[0].split()[-1], *["None" for _ in a[1:]]]) for a in names)
        signature = inspect.signature(eval(f"lambda {text}: None"))
    parameters = signature.parameters.values()
    return signature.replace(parameters=[p for p in parameters if p.name != "self"])


def found(name):
    """Return what a dotted name of CuPy means."""
    return functools.reduce(getattr, name.split(".")[1:], cupy)


def check(roots, least):
    """Fail with all uses that the libraries have no place for; there are at least so many."""
    wrong, seen = [], 0
    for where, root, path, given in uses(roots):
        seen += 1
        thing = roots[root]
        try:
            for name in path:
                thing = getattr(thing, name)
            if given is not None:
                positional, keywords = given
                signature_of(thing).bind(*[None] * positional, **dict.fromkeys(keywords))
        except (AttributeError, TypeError) as error:
            wrong.append(f"{where}: {root}.{'.'.join(path)}: {error}")
    assert not wrong, "\n" + "\n".join(wrong)
    assert seen >= least


def test_cupy_has_what_is_asked_of_it():
    check({name: found(of) for name, of in OF_CUPY.items()}, least=60)


def test_nvmath_has_what_is_asked_of_it():
    lt = pytest.importorskip("nvmath.bindings.cublasLt")
    kinds = lt.MatrixLayoutAttribute, lt.MatmulPreferenceAttribute, lt.MatmulDescAttribute
    names = {name: value for kind in kinds for name, value in kind.__members__.items()}
    check({"lt": lt, "cublasLt": lt, "names": SimpleNamespace(**names)}, least=30)


def constants():
    """Return the numbers that NVIDIA's headers give names."""
    text = ""
    for package, names in HEADERS.items():
        try:
            files = metadata.files(package) or []
        except metadata.PackageNotFoundError:
            continue
        text += "".join(f.locate().read_text() for f in files if f.name in names)
    return {name: int(value) for name, value in re.findall(r"\b(CU[A-Z0-9_]+) *= *(\d+)\b", text)}


NUMBERS = constants()
needs_headers = pytest.mark.skipif(
    "CUBLASLT_EPILOGUE_BIAS" not in NUMBERS or "CUDA_R_32F" not in NUMBERS,
    reason="NVIDIA's headers are not installed as packages",
)


@needs_headers
def test_the_numbers_in_products_are_those_of_the_headers():
    assert {
        "float32": NUMBERS["CUDA_R_32F"],
        "float64": NUMBERS["CUDA_R_64F"],
    } == products._DATA
    assert {
        "float32": NUMBERS["CUBLAS_COMPUTE_32F"],
        "tf32": NUMBERS["CUBLAS_COMPUTE_32F_FAST_TF32"],
        "bfloat16": NUMBERS["CUBLAS_COMPUTE_32F_FAST_16BF"],
        "float16": NUMBERS["CUBLAS_COMPUTE_32F_FAST_16F"],
        "float64": NUMBERS["CUBLAS_COMPUTE_64F"],
    } == products._COMPUTE
    assert {
        (True, False): NUMBERS["CUBLASLT_EPILOGUE_BIAS"],
        (False, True): NUMBERS["CUBLASLT_EPILOGUE_RELU"],
        (True, True): NUMBERS["CUBLASLT_EPILOGUE_BIAS"] | NUMBERS["CUBLASLT_EPILOGUE_RELU"],
    } == products._EPILOGUE


@needs_headers
@pytest.mark.parametrize(
    ("enumeration", "prefix", "names"),
    [
        ("MatmulDescAttribute", "MATMUL_DESC", "TRANSA TRANSB EPILOGUE BIAS_POINTER"),
        ("MatrixLayoutAttribute", "MATRIX_LAYOUT", "BATCH_COUNT STRIDED_BATCH_OFFSET"),
        (
            "MatmulPreferenceAttribute",
            "MATMUL_PREF",
            "MAX_WORKSPACE_BYTES MIN_ALIGNMENT_A_BYTES MIN_ALIGNMENT_B_BYTES "
            "MIN_ALIGNMENT_C_BYTES MIN_ALIGNMENT_D_BYTES",
        ),
    ],
)
def test_nvmaths_enumerations_are_those_of_the_headers(enumeration, prefix, names):
    lt = pytest.importorskip("nvmath.bindings.cublasLt")
    members = getattr(lt, enumeration).__members__
    for name in names.split():
        assert members[name] == NUMBERS[f"CUBLASLT_{prefix}_{name}"]


def test_nvmaths_buffers_are_as_large_as_cublaslt_reads_them():
    lt = pytest.importorskip("nvmath.bindings.cublasLt")
    for attribute, nbytes in (("TRANSA", 4), ("TRANSB", 4), ("EPILOGUE", 4), ("BIAS_POINTER", 8)):
        dtype = lt.get_matmul_desc_attribute_dtype(lt.MatmulDescAttribute[attribute])
        assert dtype().nbytes == nbytes
    for attribute, nbytes in (("BATCH_COUNT", 4), ("STRIDED_BATCH_OFFSET", 8)):
        dtype = lt.get_matrix_layout_attribute_dtype(lt.MatrixLayoutAttribute[attribute])
        assert dtype().nbytes == nbytes
    for attribute, nbytes in (("MAX_WORKSPACE_BYTES", 8), ("MIN_ALIGNMENT_A_BYTES", 4)):
        names = lt.MatmulPreferenceAttribute
        assert lt.get_matmul_preference_attribute_dtype(names[attribute])().nbytes == nbytes
    result = lt.matmul_heuristic_result_dtype
    assert result["algo"].itemsize == 64
    assert result.fields["state"][1] == 72
