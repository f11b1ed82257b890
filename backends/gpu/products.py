"""Matrix products on a GPU, by cuBLASLt or cuBLAS, made ready once and called with no argument.

Both libraries count columns first: what lies row by row is to them a transposed matrix, so that the
product they are asked for is the transposed one, with its factors exchanged.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from npnn.backends.gpu.cupy_shadows import Shadows
from npnn.backends.operations.product import lies

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
    def of(cls, array: np.ndarray, address: int) -> Matrix:
        """Return an array of two or three axes, which lies as :func:`lies` wants it, as such."""
        lying, (rows, columns) = lies(array), array.shape[-2:]
        assert lying is not None
        between = array.strides[0] // array.itemsize if array.ndim == 3 else 0
        return cls(address, rows, columns, lying[1], lying[0], between)

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


class BlasProducts:
    """cuBLAS through CuPy, which refuses it while a stream is captured."""

    name = "cuBLAS"
    epilogues = False

    def __init__(self, cupy: Any, precision: str) -> None:
        self.cupy, self.precision = cupy, precision

    def make(self, product: Product) -> ProductCall:
        """Return the product, ready to be called."""
        return BlasCall(self, product)


class LtProducts(BlasProducts):
    """cuBLASLt through nvmath-python: it can be part of a CUDA graph, and knows epilogues."""

    name = "cuBLASLt"
    epilogues = True

    def __init__(self, cupy: Any, lt: Any, precision: str) -> None:
        super().__init__(cupy, precision)
        self.lt, self.workspace = lt, cupy.cuda.alloc(WORKSPACE)
        self.handle = lt.create()  # after what makes the device ready

    def make(self, product: Product) -> ProductCall:
        """Return the product, ready to be called; by cuBLAS where cuBLASLt cannot compute it."""
        try:
            return LtCall(self, product)
        except (NoAlgorithm, self.lt.cuBLASLtError) as error:
            if product.bias or product.relu:
                raise RuntimeError(f"cuBLASLt cannot compute {product}: {error}") from error
            return super().make(product)


class NoAlgorithm(Exception):
    """cuBLASLt knows no way to compute a product."""


class ProductCall:
    """One product, or many of one shape, whose result lies row by row."""

    capturable: bool
    """Whether it can be part of a CUDA graph."""

    def __init__(self, library: BlasProducts, product: Product) -> None:
        if product.out.transposed:
            assert not product.bias, "a bias is added to each row"
            product = product._replace(a=product.b.mT, b=product.a.mT, out=product.out.mT)
        self.cupy, self.product, self.data = library.cupy, product, _DATA[product.dtype]
        self.compute = _COMPUTE["float64" if product.dtype == "float64" else library.precision]
        self.numbers = np.array([1.0, 0.0], product.dtype)
        self.one, self.zero = self.numbers.ctypes.data, self.numbers[1:].ctypes.data

    def __call__(self) -> None:
        """Put the product on the current stream."""
        raise NotImplementedError


class LtCall(ProductCall):
    """A product of cuBLASLt, with the algorithm that its heuristics put first."""

    capturable = True

    def __init__(self, library: LtProducts, product: Product) -> None:
        super().__init__(library, product)
        self.library, self.lt = library, library.lt
        a, b, out, *_, bias, relu = self.product
        names = self.lt.MatmulDescAttribute
        self.operation = self.lt.matmul_desc_create(self.compute, self.data)
        # Columns first, the second factor comes first.
        described: dict[Any, int] = {names.TRANSA: b.transposed, names.TRANSB: a.transposed}
        if bias or relu:
            described[names.EPILOGUE] = _EPILOGUE[bool(bias), relu]
        if bias:
            described[names.BIAS_POINTER] = bias
        dtype = self.lt.get_matmul_desc_attribute_dtype
        _describe(self.lt.matmul_desc_set_attribute, dtype, self.operation, described)
        self.layouts = [self._layout(matrix) for matrix in (b, a, out)]
        self.algorithm = self._best_algorithm()
        done = weakref.finalize(self, _destroy, self.lt, self.operation, tuple(self.layouts))
        done.atexit = False

    def _layout(self, matrix: Matrix) -> int:
        names, lying = self.lt.MatrixLayoutAttribute, matrix if matrix.transposed else matrix.mT
        layout: int = self.lt.matrix_layout_create(
            self.data, lying.rows, lying.columns, matrix.step
        )
        described = {
            names.BATCH_COUNT: self.product.batch,
            names.STRIDED_BATCH_OFFSET: matrix.between,
        }
        dtype = self.lt.get_matrix_layout_attribute_dtype
        _describe(self.lt.matrix_layout_set_attribute, dtype, layout, described)
        return layout

    def _best_algorithm(self) -> np.ndarray:
        lt, names = self.lt, self.lt.MatmulPreferenceAttribute
        preference = lt.matmul_preference_create()
        (a, b, out), bias = self.product[:3], self.product.bias
        wanted = {
            names.MAX_WORKSPACE_BYTES: WORKSPACE,
            names.MIN_ALIGNMENT_A_BYTES: _alignment(b.address),
            names.MIN_ALIGNMENT_B_BYTES: _alignment(a.address),
            names.MIN_ALIGNMENT_C_BYTES: _alignment(out.address),
            # The only one that can say how a bias lies.
            names.MIN_ALIGNMENT_D_BYTES: _alignment(out.address | bias),
        }
        dtype = lt.get_matmul_preference_attribute_dtype
        _describe(lt.matmul_preference_set_attribute, dtype, preference, wanted)
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
        library, (a, b, out) = self.library, self.product[:3]
        first, second, result = self.layouts
        self.lt.matmul(
            library.handle, self.operation, self.one, b.address, first, a.address, second,
            self.zero, out.address, result, out.address, result, self.algorithm.ctypes.data,
            library.workspace.ptr, WORKSPACE, self.cupy.cuda.get_current_stream().ptr,
        )  # fmt: skip


def _describe(set_attribute: Any, dtype: Any, thing: int, attributes: Mapping[Any, int]) -> None:
    """Set attributes of something of cuBLASLt's."""
    for attribute, value in attributes.items():
        buffer = np.array([value], dtype(attribute))
        set_attribute(thing, attribute, buffer.ctypes.data, buffer.nbytes)


def _destroy(lt: Any, operation: int, layouts: tuple[int, ...]) -> None:
    lt.matmul_desc_destroy(operation)
    for layout in layouts:
        lt.matrix_layout_destroy(layout)


def _alignment(address: int) -> int:
    """Return the largest power of two, of at most 256, that divides an address."""
    return math.gcd(address, 256)


class BlasCall(ProductCall):
    """A product of cuBLAS."""

    capturable = False

    def __init__(self, library: BlasProducts, product: Product) -> None:
        super().__init__(library, product)
        (a, b, out), data = self.product[:3], self.data
        self.arguments = (
            int(b.transposed), int(a.transposed), out.columns, out.rows, a.columns, self.one,
            b.address, data, b.step, b.between, a.address, data, a.step, a.between, self.zero,
            out.address, data, out.step, out.between, product.batch, self.compute, -1,
        )  # fmt: skip

    def __call__(self) -> None:
        """Put the product on the current stream."""
        handle = self.cupy.cuda.get_cublas_handle()
        self.cupy.cuda.cublas.gemmStridedBatchedEx(handle, *self.arguments)


def find_products(cupy: Any, precision: str) -> BlasProducts:
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

    call: ProductCall

    def __init__(
        self,
        products: BlasProducts,
        arrays: tuple[np.ndarray, np.ndarray, np.ndarray],
        bias: np.ndarray | None,
        relu: bool,
    ) -> None:
        self.products, self.arrays, self.bias, self.relu = products, arrays, bias, relu

    @property
    def capturable(self) -> bool:
        """Whether it can be part of a CUDA graph."""
        return self.call.capturable

    def make_ready(self, shadows: Shadows) -> None:
        """Have the library choose how to compute it."""
        a, b, out = (Matrix.of(x, shadows.pointer(x)) for x in self.arrays)
        bias = 0 if self.bias is None else shadows.pointer(self.bias)
        count, dtype = len(self.arrays[2]), self.arrays[2].dtype.name
        self.call = self.products.make(Product(a, b, out, count, dtype, bias, self.relu))

    def __call__(self) -> None:
        """Put the product on the current stream."""
        self.call()
