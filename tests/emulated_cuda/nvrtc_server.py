"""Compiles sources with NVRTC in a process of its own, where the emulated device is not loaded."""

import ctypes
import pickle
import struct
import sys


def compile_(nvrtc, source, options):
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    assert (
        nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"k.cu", 0, None, None)
        == 0
    )
    given = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    status = nvrtc.nvrtcCompileProgram(program, len(options), given)
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log, cubin = ctypes.create_string_buffer(size.value), b""
    nvrtc.nvrtcGetProgramLog(program, log)
    if status == 0:
        nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
        image = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetCUBIN(program, image)
        cubin = image.raw
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return status, log.value.decode(), cubin


def main():
    nvrtc = ctypes.CDLL(sys.argv[1])
    read, write = sys.stdin.buffer, sys.stdout.buffer
    while len(head := read.read(8)) == 8:
        answer = compile_(nvrtc, *pickle.loads(read.read(struct.unpack("<q", head)[0])))
        out = pickle.dumps(answer)
        write.write(struct.pack("<q", len(out)) + out)
        write.flush()


main()
