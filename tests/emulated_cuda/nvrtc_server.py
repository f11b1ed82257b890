"""Compiles sources with NVRTC in a process of its own, where the emulated device is not loaded."""

import ctypes
import pickle
import sys


def errors(nvrtc, source, options):
    """Return whether NVRTC refuses a source, and what it says."""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    by_reference = ctypes.byref(program)
    assert nvrtc.nvrtcCreateProgram(by_reference, source.encode(), b"k.cu", 0, None, None) == 0
    given = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    refused = nvrtc.nvrtcCompileProgram(program, len(options), given) != 0
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(by_reference)
    return refused, log.value.decode()


def main():
    nvrtc = ctypes.CDLL(sys.argv[1])
    while sys.stdin.buffer.peek(1):
        answer = errors(nvrtc, *pickle.load(sys.stdin.buffer))
        pickle.dump(answer, sys.stdout.buffer)
        sys.stdout.flush()


main()
