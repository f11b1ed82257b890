"""NVIDIA's compiler for kernels, which needs no GPU: it comes as a package of its own."""

import ctypes
from functools import cache
from importlib import metadata

from npnn.backends.cuda import OPTIONS

PACKAGES = "nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12"


@cache
def library():
    """Return the compiler's library; None if it is not installed."""
    for package in PACKAGES:
        try:
            files = metadata.files(package) or []
        except metadata.PackageNotFoundError:
            continue
        for file in files:
            if file.name.startswith("libnvrtc.so"):
                return ctypes.CDLL(str(file.locate()))
    return None


def errors(source):
    """Return what the compiler has against a source; "" if nothing."""
    lib, program = library(), ctypes.c_void_p()
    assert lib.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"k.cu", 0, 0, 0) == 0
    added = ("--gpu-architecture=compute_80", "-ftz=true")  # as CuPy does
    options = [option.encode() for option in (*OPTIONS, *added)]
    given = (ctypes.c_char_p * len(options))(*options)
    failed = lib.nvrtcCompileProgram(program, len(options), given)
    size = ctypes.c_size_t()
    lib.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    lib.nvrtcGetProgramLog(program, log)
    lib.nvrtcDestroyProgram(ctypes.byref(program))
    return log.value.decode() or "it did not compile" if failed else ""
