"""Matrix products on a GPU, by cuBLASLt or cuBLAS, made ready once and called with no argument.

Both libraries count columns first: what lies row by row is to them a transposed matrix, so that the
product they are asked for is the transposed one, with its factors exchanged.
"""

from __future__ import annotations

import math
import weakref
from typing import Any, NamedTuple

import numpy as np

from npnn.backends.gpu.cupy_shadows import Shadows

PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
WORKSPACE = 32 << 20  # bytes, as NVIDIA recommends for Hopper
_DATA = {"float32": 0, "float64": 1}  # cudaDataType
_COMPUTE = {"float32": 68, "tf32": 77, "bfloat16": 75, "float16": 74, "float64": 70}
_EPILOGUE = {(True, False): 4, (False, True): 2, (True, True): 6}  # bias, ReLU, both


class Matrix(NamedTuple):
    """One factor, or the result, of a product or of many: how it lies in memory."""

    address: int
    rows: int
    columns: int
    step: int  # from one row to the next, in elements; or from one column, if transposed
    transposed: bool
    between: int  # from one matrix to the next

    @classmethod
    def of(cls, array: np.ndarray, address: int) -> Matrix | None:
        """Return an array of two or three axes as such; None if it must be copied first."""
        rows, columns = array.shape[-2:]
        down, across = (s // array.itemsize for s in array.strides[-2:])
        between = array.strides[0] // array.itemsize if array.ndim == 3 else 0
        if (across == 1 or columns == 1) and (down >= columns or rows == 1):
            return cls(address, rows, columns, max(down, columns), False, between)
        if (down == 1 or rows == 1) and (across >= rows or columns == 1):
            return cls(address, rows, columns, max(across, rows), True, between)
        return None

    @property
    def mT(self) -> Matrix:
        """The transposed matrix, in the same memory."""
        return self._replace(rows=self.columns, columns=self.rows, transposed=not self.transposed)


class Product(NamedTuple):
    """What is computed: ``out = a @ b``, then a bias for each column, then the rectifier."""

    a: Matrix
    b: Matrix
    out: Matrix
    batch: int
    dtype: str
    bias: int = 0  # the address; 0 if there is none
    relu: bool = False


class LtProducts:
    """cuBLASLt through nvmath-python: it can be part of a CUDA graph, and knows epilogues."""

    name = "cuBLASLt"
    capturable = True
    epilogues = True

    def __init__(self, cupy: Any, lt: Any, precision: str) -> None:
        self.cupy, self.lt, self.precision = cupy, lt, precision
        self.workspace = cupy.cuda.alloc(WORKSPACE)
        self.handle = lt.create()  # after what makes the device ready

    def make(self, product: Product) -> LtCall | BlasCall:
        """Return the product, ready to be called; by cuBLAS where cuBLASLt cannot compute it."""
        try:
            return LtCall(self, product)
        except (NoAlgorithm, self.lt.cuBLASLtError) as error:
            if product.bias or product.relu:
                raise RuntimeError(f"cuBLASLt cannot compute {product}: {error}") from error
            return BlasCall(self, product)


class NoAlgorithm(Exception):
    """cuBLASLt knows no way to compute a product."""


class LtCall:
    """One product of cuBLASLt, with the algorithm that its heuristics put first."""

    capturable = True

    def __init__(self, library: LtProducts, product: Product) -> None:
        if product.out.transposed:
            assert not product.bias, "a bias is added to each row"
            product = product._replace(a=product.b.mT, b=product.a.mT, out=product.out.mT)
        self.library, self.product = library, product
        lt, data = library.lt, _DATA[product.dtype]
        compute = _COMPUTE["float64" if product.dtype == "float64" else library.precision]
        self.numbers = np.array([1.0, 0.0], product.dtype)
        self.operation = lt.matmul_desc_create(compute, data)
        # Columns first, the second factor comes first.
        self._describe(lt.MatmulDescAttribute.TRANSA, product.b.transposed)
        self._describe(lt.MatmulDescAttribute.TRANSB, product.a.transposed)
        if product.bias or product.relu:
            epilogue = _EPILOGUE[bool(product.bias), product.relu]
            self._describe(lt.MatmulDescAttribute.EPILOGUE, epilogue)
        if product.bias:
            self._describe(lt.MatmulDescAttribute.BIAS_POINTER, product.bias)
        self.layouts = [self._layout(m, data) for m in (product.b, product.a, product.out)]
        self.algorithm = self._best_algorithm()
        weakref.finalize(self, _destroy, lt, self.operation, tuple(self.layouts)).atexit = False

    def _describe(self, attribute: Any, value: int) -> None:
        lt = self.library.lt
        buffer = np.array([value], lt.get_matmul_desc_attribute_dtype(attribute))
        lt.matmul_desc_set_attribute(self.operation, attribute, buffer.ctypes.data, buffer.nbytes)

    def _layout(self, matrix: Matrix, data: int) -> int:
        lt, names = self.library.lt, self.library.lt.MatrixLayoutAttribute
        lying = matrix if matrix.transposed else matrix.mT
        layout: int = lt.matrix_layout_create(data, lying.rows, lying.columns, matrix.step)
        for attribute, value in (
            (names.BATCH_COUNT, self.product.batch),
            (names.STRIDED_BATCH_OFFSET, matrix.between),
        ):
            buffer = np.array([value], lt.get_matrix_layout_attribute_dtype(attribute))
            lt.matrix_layout_set_attribute(layout, attribute, buffer.ctypes.data, buffer.nbytes)
        return layout

    def _best_algorithm(self) -> np.ndarray:
        lt, names = self.library.lt, self.library.lt.MatmulPreferenceAttribute
        preference = lt.matmul_preference_create()
        a, b, out = self.product.b, self.product.a, self.product.out
        for attribute, value in (
            (names.MAX_WORKSPACE_BYTES, WORKSPACE),
            (names.MIN_ALIGNMENT_A_BYTES, _alignment(a.address)),
            (names.MIN_ALIGNMENT_B_BYTES, _alignment(b.address)),
            (names.MIN_ALIGNMENT_C_BYTES, _alignment(out.address)),
            # The only one that can say how a bias lies.
            (names.MIN_ALIGNMENT_D_BYTES, _alignment(out.address | self.product.bias)),
        ):
            buffer = np.array([value], lt.get_matmul_preference_attribute_dtype(attribute))
            lt.matmul_preference_set_attribute(
                preference, attribute, buffer.ctypes.data, buffer.nbytes
            )
        found, count = np.zeros(1, lt.matmul_heuristic_result_dtype), np.zeros(1, np.int32)
        first, second, result = self.layouts
        try:
            lt.matmul_algo_get_heuristic(
                self.library.handle, self.operation, first, second, result, result, preference,
                1, found.ctypes.data, count.ctypes.data,
            )  # fmt: skip
        finally:
            lt.matmul_preference_destroy(preference)
        if count[0] == 0 or found["state"][0] != 0:
            raise NoAlgorithm("it has no algorithm")
        return np.ascontiguousarray(found["algo"])

    def __call__(self) -> None:
        """Put the product on the current stream."""
        library, product = self.library, self.product
        one, zero = self.numbers.ctypes.data, self.numbers[1:].ctypes.data
        first, second, result = self.layouts
        address = product.out.address
        library.lt.matmul(
            library.handle, self.operation, one, product.b.address, first, product.a.address,
            second, zero, address, result, address, result, self.algorithm.ctypes.data,
            library.workspace.ptr, WORKSPACE, library.cupy.cuda.get_current_stream().ptr,
        )  # fmt: skip


def _destroy(lt: Any, operation: int, layouts: tuple[int, ...]) -> None:
    lt.matmul_desc_destroy(operation)
    for layout in layouts:
        lt.matrix_layout_destroy(layout)


def _alignment(address: int) -> int:
    """Return the largest power of two, of at most 256, that divides an address."""
    return math.gcd(address, 256)


class BlasProducts:
    """cuBLAS through CuPy, which refuses it while a stream is captured."""

    name = "cuBLAS"
    capturable = False
    epilogues = False

    def __init__(self, cupy: Any, precision: str) -> None:
        self.cupy, self.precision = cupy, precision

    def make(self, product: Product) -> BlasCall:
        """Return the product, ready to be called."""
        return BlasCall(self, product)


class BlasCall:
    """One product, or many of one shape, of cuBLAS."""

    capturable = False

    def __init__(self, library: BlasProducts | LtProducts, product: Product) -> None:
        if product.out.transposed:
            product = product._replace(a=product.b.mT, b=product.a.mT, out=product.out.mT)
        self.cupy = library.cupy
        a, b, out = product.a, product.b, product.out
        data = _DATA[product.dtype]
        self.numbers = np.array([1.0, 0.0], product.dtype)
        compute = _COMPUTE["float64" if product.dtype == "float64" else library.precision]
        one, zero = self.numbers.ctypes.data, self.numbers[1:].ctypes.data
        self.arguments = (
            int(b.transposed), int(a.transposed), out.columns, out.rows, a.columns, one,
            b.address, data, b.step, b.between, a.address, data, a.step, a.between, zero,
            out.address, data, out.step, out.between, product.batch, compute, -1,
        )  # fmt: skip

    def __call__(self) -> None:
        """Put the product on the current stream."""
        handle = self.cupy.cuda.get_cublas_handle()
        self.cupy.cuda.cublas.gemmStridedBatchedEx(handle, *self.arguments)


def find_products(cupy: Any, precision: str) -> LtProducts | BlasProducts:
    """Return the best library for products that is installed."""
    try:
        from nvmath.bindings import cublasLt
    except (ImportError, OSError, RuntimeError):
        # Not installed, or without the library that it binds.
        return BlasProducts(cupy, precision)
    try:
        return LtProducts(cupy, cublasLt, precision)
    except (OSError, RuntimeError, cublasLt.cuBLASLtError):
        return BlasProducts(cupy, precision)


class ProductLaunch:
    """One product, or many of one shape, that is made ready when all memory has its place."""

    def __init__(
        self,
        products: LtProducts | BlasProducts,
        arrays: tuple[np.ndarray, np.ndarray, np.ndarray],
        bias: np.ndarray | None,
        relu: bool,
    ) -> None:
        self.products = products
        self.arrays, self.bias, self.relu = arrays, bias, relu
        self.call: Any = None

    @property
    def capturable(self) -> bool:
        """Whether it can be part of a CUDA graph."""
        return bool(self.call.capturable)

    def make_ready(self, shadows: Shadows) -> None:
        """Have the library choose how to compute it."""
        a, b, out = (Matrix.of(x, shadows.pointer(x)) for x in self.arrays)
        assert a is not None
        assert b is not None
        assert out is not None
        bias = 0 if self.bias is None else shadows.pointer(self.bias)
        count, dtype = len(self.arrays[2]), self.arrays[2].dtype.name
        self.call = self.products.make(Product(a, b, out, count, dtype, bias, self.relu))

    def __call__(self) -> None:
        """Put the product on the current stream."""
        self.call()
