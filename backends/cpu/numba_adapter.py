"""All that is asked of Numba beyond what it documents: what a new version may break stands here.

Beside functions that make LLVM's instructions, these are where it lets compiled code be kept: its
own files are run whatever they hold, and those of ``cache.py`` only when they are whole.
"""

from __future__ import annotations

import hashlib
import pickle
import platform
import sys
from collections.abc import Callable
from functools import cache as once
from pathlib import Path
from types import ModuleType
from typing import Any

import llvmlite
import numba
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils, serialize, sigutils
from numba.core.ccallback import CFunc
from numba.core.compiler import CompileResult
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from npnn.backends.cpu import cache

_WORD, _ENUM, _BYTE = ir.IntType(64), ir.IntType(32), ir.IntType(8)

# What is compiled, and kept ----------------------------------------------------------------------


class Kept:
    """Takes the place of Numba's own cache of a function."""

    def __init__(self, key: str) -> None:
        self._key = key

    def load_overload(self, signature: Any, context: Any) -> Any:
        """Return what was compiled earlier, for the same versions and the same processor."""
        context.refresh()
        content = cache.read(self._full_key(signature, context))
        try:
            return content and CompileResult._rebuild(context, *pickle.loads(content))
        except Exception:  # what is whole may still be of no use, as to a changed library
            return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep what was compiled."""
        if not result.library.has_dynamic_globals:
            content = serialize.dumps(result._reduce())
            cache.write(self._full_key(signature, result.target_context), content)

    def _full_key(self, signature: Any, context: Any) -> bytes:
        versions = numba.__version__, llvmlite.__version__, sys.version
        processor = context.codegen().magic_tuple()
        return repr((self._key, _version(), str(signature), versions, processor)).encode()


@once
def _version() -> str:
    """Return a digest of the sources of all that compiled code may call."""
    sources = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256(b"".join(sources)).hexdigest()


def nogil(signature: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function that runs without the interpreter's lock."""

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        machine: Any = njit(nogil=True)(function)
        machine._cache = Kept(f"{function.__module__}.{function.__qualname__}")
        machine.compile(signature)
        machine.disable_compile()
        return machine  # type: ignore[no-any-return]

    return compiled


@once
def address_of_kernel(source: str) -> int:
    """Return where the function ``kernel(block)`` of a source lies in machine code."""
    name = "npnn_" + hashlib.sha256(source.encode()).hexdigest()[:24]
    module = sys.modules[name] = ModuleType(name)  # where Numba looks for what it compiled earlier
    exec(compile(source, f"<{name}>", "exec"), module.__dict__)
    signature = sigutils.normalize_signature("void(intp)")
    function: Any = CFunc(module.kernel, signature, locals={}, options={"error_model": "numpy"})
    function._cache = Kept(source)
    function.compile()
    _kernels.append(function)
    return int(function.address)


_kernels: list[Any] = []  # whose code is to stay where it is

# Words of memory that threads share --------------------------------------------------------------


@intrinsic
def load(typing: Any, address: Any) -> Any:
    """Return the word at an address, as another thread may have written it."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], _WORD.as_pointer())
        return builder.load_atomic(place, "acquire", 8)

    return types.intp(address), code


@intrinsic
def call(typing: Any, address: Any, block: Any) -> Any:
    """Call a function of a block."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_WORD])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1]])
        return context.get_dummy_value()

    return types.void(address, block), code


def _changing(operation: str) -> Any:
    """Return a function that changes the word at an address and returns what it was, at once."""

    @intrinsic
    def change(typing: Any, address: Any, value: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            place = builder.inttoptr(args[0], _WORD.as_pointer())
            return builder.atomic_rmw(operation, place, args[1], "seq_cst")

        return types.intp(types.intp, types.intp), code

    return change


exchange, add = _changing("xchg"), _changing("add")


@intrinsic
def replace(typing: Any, address: Any, old: Any, new: Any) -> Any:
    """Write a word if another one stands there, and return whether it did."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], _WORD.as_pointer())
        both = builder.cmpxchg(place, args[1], args[2], "seq_cst", "seq_cst")
        return builder.extract_value(both, 1)

    return types.boolean(types.intp, types.intp, types.intp), code


@intrinsic
def pause(typing: Any) -> Any:
    """Let the processor breathe between two looks at the same word."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if platform.machine() in ("x86_64", "AMD64"):
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(builder.module.declare_intrinsic("llvm.x86.sse2.pause", (), kind), [])
        return context.get_dummy_value()

    return types.void(), code


# Blocks, arrays and CBLAS ---------------------------------------------------------------------


def _word(builder: Any, block: Any, place: int) -> Any:
    words = builder.inttoptr(block, _WORD.as_pointer())
    return builder.load(builder.gep(words, [ir.Constant(_WORD, place)]))


@intrinsic(prefer_literal=True)
def word_at(typing: Any, block: Any, place: Any) -> Any:
    """Return the number that stands at a place of a block."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _word(builder, args[0], place.literal_value)

    return types.intp(block, place), code


@intrinsic(prefer_literal=True)
def array_at(typing: Any, block: Any, place: Any, dtype: Any, ndim: Any, layout: Any) -> Any:
    """Return the array whose address, shape and strides stand in a block from a place on."""
    rows = layout.literal_value == "rows"  # whose elements are neighbours
    kind = types.Array(dtype.dtype, ndim.literal_value, "A" if rows else layout.literal_value)
    axes = ndim.literal_value

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        places = range(place.literal_value, place.literal_value + 1 + 2 * axes)
        data, *numbers = [_word(builder, args[0], i) for i in places]
        element = context.get_data_type(kind.dtype)
        itemsize = context.get_constant(types.intp, context.get_abi_sizeof(element))
        if rows:
            numbers[-1] = itemsize
        array = context.make_array(kind)(context, builder)
        populate_array(
            array,
            data=builder.inttoptr(data, element.as_pointer()),
            shape=numbers[:axes],
            strides=numbers[axes:],
            itemsize=itemsize,
            meminfo=None,
        )
        return array._getvalue()

    return kind(block, place, dtype, ndim, layout), code


@intrinsic
def copy(typing: Any, target: Any, source: Any, nbytes: Any) -> Any:
    """Copy bytes from one address to another."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        places = [builder.inttoptr(arg, _BYTE.as_pointer()) for arg in args[:2]]
        cgutils.raw_memcpy(builder, *places, args[2], 1)
        return context.get_dummy_value()

    return types.void(target, source, nbytes), code


@intrinsic(prefer_literal=True)
def call_cblas(typing: Any, block: Any, dtype: Any, bits: Any, kinds: Any) -> Any:
    """Call the function whose address stands first in a block with what stands behind it."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integer, number = ir.IntType(bits.literal_value), context.get_data_type(dtype.dtype)
        given: list[Any] = []
        place = 0
        for kind in kinds.literal_value:
            if kind in "01":
                given.append(ir.Constant(number, float(kind)))
                continue
            place += 1
            word = _word(builder, args[0], place)
            if kind == "a":
                given.append(builder.inttoptr(word, number.as_pointer()))
            else:
                size = _ENUM if kind == "e" else integer
                given.append(word if size == _WORD else builder.trunc(word, size))
        function = ir.FunctionType(ir.VoidType(), [value.type for value in given])
        address = _word(builder, args[0], 0)
        builder.call(builder.inttoptr(address, function.as_pointer()), given)
        return context.get_dummy_value()

    return types.void(block, dtype, bits, kinds), code


# Numbers ----------------------------------------------------------------------------------------

SAME_BITS = {
    types.float32: types.int32, types.int32: types.float32,
    types.float64: types.int64, types.int64: types.float64,
}  # fmt: skip


@intrinsic
def same_bits(typing: Any, x: Any) -> Any:
    """Return the integer that has the bits of a float, or the other way round."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(signature.return_type))

    return SAME_BITS[x](x), code


def inlined(function: Callable[..., Any], **options: bool) -> Any:
    """Return a function that becomes part of the loop that calls it."""
    return njit(forceinline=True, error_model="numpy", **options)(function)


def in_any_order(combine: Callable[[Any, Any, Any], Any]) -> Any:
    """Return the function that takes one more number into a result, whichever comes first."""

    @intrinsic
    def taken_in(typing: Any, result: Any, x: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return combine(builder, *args)

        return result(result, result), code

    return inlined(lambda result, x: taken_in(result, x))
