"""Kernels for the emulated device: compiled by g++, and looked at by the real NVRTC."""

import atexit
import fcntl
import functools
import hashlib
import os
import pathlib
import pickle
import re
import subprocess
import sys
import sysconfig

HOME = pathlib.Path(os.environ["EMU_HOME"])
CACHE = HOME / "cache"
SITE = pathlib.Path(sysconfig.get_path("platlib"))
LIBRARIES = SITE / "nvidia/cu13/lib"
RACE = os.environ.get("EMU_RACE", "0") == "1"
CHECKED = os.environ.get("EMU_NVRTC", "1") == "1"

compiled = []  # (source, options, name in the cache) of all that this process compiled

FLAGS = [
    "-O0", "-std=c++17", "-w", "-fPIC", "-fpermissive", "-fno-strict-aliasing",
    "-ffp-contract=off", "-fstack-clash-protection", "-fno-gnu-unique",
    "-D__CUDA_ARCH__=900", "-D__CUDACC_VER_MAJOR__=13",
    "-I" + str(HOME / "include"), "-I" + str(SITE / "cupy/_core/include"),
]  # fmt: skip
# Accesses to memory call functions of the device, which are those of gcc's sanitizers.
RACE_FLAGS = ["-fsanitize=thread", "-fsanitize=alignment"]
# Without libraries: the device has the sanitizers' functions, and Python what else is needed.
LINK_FLAGS = ["-shared", "-nostdlib"]
CUPY_HEADERS = [
    "cupy/complex.cuh", "cupy/carray.cuh", "cupy/float16.cuh", "cupy/atomics.cuh",
    "cupy/math_constants.h",
]  # fmt: skip
KERNEL = re.compile(
    r'extern\s+"C"\s+__global__\s+(?:void\s+)?'
    r"(?:__launch_bounds__\(\s*(\d+)[^)]*\)\s*)?(?:void\s+)?(\w+)\s*\("
)
SHARED = re.compile(r"extern\s+__shared__\s+([\w:<>, ]+?)\s+(\w+)\s*\[\s*\]")


def _environment():
    """Return the environment for programs that have nothing to do with the device."""
    hidden = ("LD_PRELOAD", "LD_LIBRARY_PATH", "EMU_HOME")
    return {name: value for name, value in os.environ.items() if name not in hidden}


@functools.cache
def _headers():
    """Return a digest of what kernels are compiled with."""
    texts = [file.read_bytes() for file in sorted((HOME / "include").rglob("*.*h"))]
    return hashlib.sha256(b"".join([*texts, repr([FLAGS, RACE_FLAGS]).encode()])).hexdigest()


def _header(of_cupy, race):
    return HOME / f"{'cupy' if of_cupy else 'plain'}{'_race' if race else ''}.h"


def _start_gxx(*arguments):
    command = ["g++", *FLAGS, *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=_environment())


def _finish_gxx(process):
    errors = process.communicate()[1]
    if process.returncode:
        raise RuntimeError(f"{' '.join(process.args)}\n{errors[:6000]}")


def precompile():
    """Compile the headers of kernels: with CuPy's and without, with races looked for and not."""
    started = []
    for of_cupy in (False, True):
        for race in (False, True):
            header, flags = _header(of_cupy, race), RACE_FLAGS if race else []
            headers = ["kernel.h", *(CUPY_HEADERS if of_cupy else [])]
            header.write_text("".join(f"#include <{h}>\n" for h in headers))
            output = ("-o", f"{header}.gch")
            started.append(_start_gxx(*flags, "-x", "c++-header", str(header), *output))
    for process in started:
        _finish_gxx(process)


class Nvrtc:
    """NVRTC in a process of its own."""

    # To PTX and no further, without optimizations: what is asked is whether it is accepted.
    options = ("-arch=compute_90", "-G", "--device-as-default-execution-space")
    process = None

    def check(self, source, options):
        """Raise CuPy's error if NVRTC does not accept a source."""
        if self.process is None:
            library = str(LIBRARIES / "libnvrtc.so.13")
            self.process = subprocess.Popen(
                [sys.executable, str(HOME / "nvrtc_server.py"), library],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=_environment(),
            )
            atexit.register(self.close)
        pickle.dump((source, [*options, *self.options]), self.process.stdin)
        self.process.stdin.flush()
        refused, log = pickle.load(self.process.stdout)
        if refused:
            from cupy.cuda.compiler import CompileException

            raise CompileException(log, source, "k.cu", options, "nvrtc")
        if log.strip():
            print("NVRTC:", log[:1500], file=sys.stderr)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


nvrtc = Nvrtc()


def _build(source, options, key, of_cupy):
    """Make a library of a source, while NVRTC looks at it."""
    kernels = KERNEL.findall(source)
    if not kernels:
        raise RuntimeError('a source without extern "C" __global__:\n' + source[-2000:])
    unit, made = CACHE / f"{key}.cpp", CACHE / f"{key}.new"
    entries = [f"EMU_ENTRY({name}, {bounds or 1024})\n" for bounds, name in kernels]
    text = SHARED.sub(r"static \1* const \2 = (\1*)emu_shared", source)
    unit.write_text(f'#include "{_header(of_cupy, RACE)}"\n{text}\n{"".join(entries)}')
    flags = [*(RACE_FLAGS if RACE else []), *LINK_FLAGS]
    process = _start_gxx(*flags, str(unit), "-o", str(made))
    digest = hashlib.sha256(repr((source, options, nvrtc.options)).encode()).hexdigest()[:24]
    accepted = CACHE / f"{digest}.accepted"
    try:
        if CHECKED and not of_cupy and not accepted.exists():
            nvrtc.check(source, options)
            accepted.touch()
    except Exception:
        process.communicate()  # NVRTC's words are those that count
        raise
    _finish_gxx(process)
    os.replace(made, CACHE / f"{key}.so")


def compile_module(source, options=(), *args, **kwargs):
    """Compile a module by g++; what CuPy takes for the module names the library to load."""
    of_cupy = "#include <cupy/" in source or '#include "cupy/' in source
    key = hashlib.sha256(f"{source}{RACE}{_headers()}".encode()).hexdigest()[:24]
    library = CACHE / f"{key}.so"
    if not library.exists():
        with open(CACHE / f"{key}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be at it
            if not library.exists():
                _build(source, options, key, of_cupy)
    compiled.append((source, options, key))
    return b"EMU:" + str(library).encode() + b"\0", None
