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

say "packages"
"${pip[@]}" install --no-deps -r "$here/requirements.txt"
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
cuda=$site/nvidia/cu13

say "CuPy's module of the CUDA runtime, without the static library"
runtime=$site/cupy_backends/cuda/api/runtime$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
if [ ! -e "$build/runtime.done" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    # With the stub of CUDA, the sdist's metadata are made where there is no toolkit.
    CUPY_INSTALL_USE_STUB=1 "${pip[@]}" download --no-deps --no-build-isolation \
        --no-binary :all: -d "$work" cupy==14.2.0
    tar -xzf "$work"/cupy-14.2.0.tar.gz -C "$work"
    (cd "$work/cupy-14.2.0" && "$venv/bin/python" "$here/build_runtime.py") > "$build/runtime.log" 2>&1 ||
        { cat "$build/runtime.log" >&2; exit 1; }
    echo 'extern "C" { cudaError_t cudaProfilerStart(); cudaError_t cudaProfilerStop(); }' > "$work/cuda_profiler_api.h"
    g++ -O1 -w -fPIC -shared -I"$work" -I"$work/cupy-14.2.0/cupy_backends" -I"$work/cupy-14.2.0" \
        -I"$cuda/include" $("$venv/bin/python" -c 'import sysconfig; print("-I" + sysconfig.get_path("include"))') \
        -x c++ "$work/cupy-14.2.0/cupy_backends/cuda/api/runtime.c" -o "$runtime.new"
    mv "$runtime.new" "$runtime"
    touch "$build/runtime.done"
fi

say "the device and its library of products"
cp -r "$here"/{emulated.py,emulated_pytest.py,nvrtc_server.py,kernel.h,overlay,run} "$build/"
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
flags=(-O2 -g -std=c++17 -fPIC -w -I"$here/overlay" -I"$cuda/include")
g++ "${flags[@]}" -c "$here/device.cpp" -o "$build/device.o"
absent '^cu(da)?[A-Z]' 801 "$build/device.o" "$site"/cupy_backends/cuda/api/*.so "$site"/cupy_backends/cuda/libs/*.so \
    "$site"/cupy/cuda/*.so > "$build/absent_device.cpp"
echo '{ global: cuda*; cu[A-Z]*; emu_*; __tsan_*; local: *; };' > "$build/device.map"
g++ "${flags[@]}" -shared "$build/device.o" "$build/absent_device.cpp" -o "$build/libcuda.so.1" \
    -Wl,-soname,libcuda.so.1 -Wl,--version-script="$build/device.map" -ldl
g++ "${flags[@]}" -c "$here/products.cpp" -o "$build/products.o"
absent '^cublas' 15 "$build/products.o" "$site"/cupy_backends/cuda/libs/*.so > "$build/absent_products.cpp"
echo 'libcublas.so.13 { global: cublas*; local: *; };' > "$build/products.map"
g++ "${flags[@]}" -shared "$build/products.o" "$build/absent_products.cpp" -o "$build/libcublas.so.13" \
    -Wl,-soname,libcublas.so.13 -Wl,--version-script="$build/products.map" -L"$build" -l:libcuda.so.1 \
    -Wl,-rpath,'$ORIGIN' -ldl
# Its folder is searched, and it is imported, in every Python that `run` starts.
printf '%s\n' ../../../emulated 'import os; "EMU_HOME" in os.environ and __import__("emulated")' > "$site/emulated_cuda.pth"

say "headers of kernels"
EMU_HOME=$build "$venv/bin/python" -c 'import emulated; emulated.precompile()'
say "done: $build/run -m pytest ..."
