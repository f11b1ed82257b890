#!/bin/bash
# Makes a virtual environment in which CuPy runs on an emulated CUDA device.
#   setup.sh [FOLDER]     FOLDER: .venv-cupy under the current folder unless given
# Needs g++, binutils and Python 3.11 or later (PYTHON names another than python3).
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
venv=${1:-.venv-cupy}
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'

say() { echo "[$(date +%T)] $*"; }
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
venv=$(cd "$venv" && pwd)
build=$venv/emulated
mkdir -p "$build/cache"
pip=("$venv/bin/python" -m pip --disable-pip-version-check -q)
ask() { "$venv/bin/python" -c "import sysconfig; print(sysconfig.$1)"; }
site=$(ask 'get_path("platlib")')
cuda=$site/nvidia/cu13
# What runs beside the rest must not fail unseen.
waited() { local job; for job in "$@"; do wait "$job"; done; }

packages=
if ! cmp -s "$here/requirements.txt" "$build/requirements.done"; then
    say "packages"
    grep -E '^(numpy|cython|setuptools)=' "$here/requirements.txt" > "$build/tools.txt"
    "${pip[@]}" install --no-deps -r "$build/tools.txt"
    "${pip[@]}" install --no-deps -r "$here/requirements.txt" & packages=$!
    rm -f "$build/runtime.done"
fi

# CuPy's module of the CUDA runtime without the static library, so that it takes the device's.
runtime=$site/cupy_backends/cuda/api/runtime$(ask 'get_config_var("EXT_SUFFIX")')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
source=$work/cupy-14.2.0
if [ ! -e "$build/runtime.done" ]; then
    # With the stub of CUDA, the sdist's metadata are made where there is no toolkit.
    CUPY_INSTALL_USE_STUB=1 "${pip[@]}" download --no-deps --no-build-isolation \
        --no-binary :all: -d "$work" cupy==14.2.0
    tar -xzf "$source.tar.gz" -C "$work"
    (cd "$source" && "$venv/bin/python" "$here/build_runtime.py") > "$build/runtime.log" 2>&1 ||
        { cat "$build/runtime.log" >&2; exit 1; }
    echo 'extern "C" { cudaError_t cudaProfilerStart(); cudaError_t cudaProfilerStop(); }' \
        > "$work/cuda_profiler_api.h"
fi
waited $packages
cp "$here/requirements.txt" "$build/requirements.done"

say "the device, its library of products, the headers of kernels"
rm -rf "$build/include"
cp -r "$here"/{emulated.py,emulated_compiler.py,emulated_pytest.py,nvrtc_server.py,run,include} "$build/"
compile() { g++ -std=c++17 -fPIC -w -I"$build/include" -I"$cuda/include" -I"$here/device" "$@"; }
started=()
if [ ! -e "$build/runtime.done" ]; then
    compile -O0 -shared -I"$work" -I"$source/cupy_backends" -I"$source" -I"$(ask 'get_path("include")')" \
        -x c++ "$source/cupy_backends/cuda/api/runtime.c" -o "$runtime.new" & started+=($!)
fi
# In one piece it takes half as long.
printf '#include "%s"\n' "$here"/device/{driver,streams,graphs,memory,kernels,races}.cpp |
    compile -O2 -c -x c++ - -o "$build/device.o" & started+=($!)
compile -O3 -fopenmp-simd -c "$here/device/products.cpp" -o "$build/products.o" & started+=($!)
EMU_HOME=$build "$venv/bin/python" -c \
    "import sys; sys.path.insert(0, '$build'); import emulated_compiler as c; c.precompile()" & started+=($!)
waited "${started[@]}"
if [ ! -e "$build/runtime.done" ]; then
    mv "$runtime.new" "$runtime"
    touch "$build/runtime.done"
fi

# Functions that CuPy's modules want and nobody wrote: each says so when it is called.
absent() { # PATTERN STATUS OBJECT MODULES...
    local pattern=$1 status=$2 object=$3
    shift 3
    echo 'extern "C" { void emu_absent(const char*);'
    comm -23 <(nm -D --undefined-only "$@" | awk '{print $NF}' | sed 's/@.*//' | grep -E "$pattern" | sort -u) \
        <(nm --defined-only "$object" | awk '{print $NF}' | sort -u) |
        sed "s/.*/int &() { emu_absent(\"&\"); return $status; }/"
    echo '}'
}
library() { # NAME EXPORTED OBJECT ABSENT OPTIONS...
    echo "$1 { global: $2; local: *; };" > "$build/$1.map"
    compile -shared "$3" "$4" -o "$build/$1.new" -Wl,-soname,"$1" \
        -Wl,--version-script="$build/$1.map" "${@:5}"
    mv "$build/$1.new" "$build/$1"  # programs that run keep the old one
}
modules=("$site"/cupy_backends/cuda/{api,libs}/*.so "$site"/cupy/cuda/*.so)
absent '^cu(da)?[A-Z]' 801 "$build/device.o" "${modules[@]}" > "$build/absent_device.cpp"
absent '^cublas' 15 "$build/products.o" "${modules[@]}" > "$build/absent_products.cpp"
library libcuda.so.1 'cuda*; cu[A-Z]*; emu_*; __tsan_*; __ubsan_*' "$build"/{device.o,absent_device.cpp} -ldl
library libcublas.so.13 'cublas*' "$build"/{products.o,absent_products.cpp} \
    -L"$build" -l:libcuda.so.1 -Wl,-rpath,'$ORIGIN' -ldl
# Its folder is searched, and it is imported, in every Python that `run` starts.
printf '%s\n' ../../../emulated 'import os; "EMU_HOME" in os.environ and __import__("emulated")' \
    > "$site/emulated_cuda.pth"
say "done: $build/run -m pytest ..."
