"""What `gpu.py` needs on a machine with a card but no network: carried there as wheels.

CuPy, PyTorch, JAX and NumPy are taken as they are there. What is carried is put into a folder of
its own, and the environment of that machine stays as it is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = (
    "pytest", "iniconfig", "packaging", "pluggy", "pygments", "pytest-xdist", "execnet",
    "hypothesis", "sortedcontainers",
)  # fmt: skip
# nvmath-python binds cuBLASLt, the library itself comes with PyTorch.
PRODUCTS = ("nvmath-python", "cuda-bindings=={cuda}.*", "cuda-core", "cuda-pathfinder")
MOST = 64  # MB, that all wheels may have together


def download(folder: Path, python: str, cuda: int) -> None:
    """Fill a folder with wheels for Linux on x86-64."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    own = [name for name in project["dependencies"] if not name.startswith("numpy")]
    names = [name.format(cuda=cuda) for name in (*own, *TESTS, *PRODUCTS)]
    # pip takes each of them exactly, none for the ones below it.
    platforms = [f"manylinux_2_{minor}_x86_64" for minor in range(5, 35)]
    command = [
        sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet",
        "--no-deps", "--only-binary", ":all:", "--implementation", "cp",
        "--python-version", python, "--dest", str(folder),
    ]  # fmt: skip
    for platform in (*platforms, "manylinux2014_x86_64", "manylinux1_x86_64"):
        command += ["--platform", platform]
    subprocess.run([*command, *names], check=True)
    wheels = sorted(folder.glob("*.whl"))
    kinds = [re.split("-", wheel.name)[0] for wheel in wheels]
    twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
    if twice:
        sys.exit(f"{folder} holds more than one version of {', '.join(twice)}")
    total = sum(wheel.stat().st_size for wheel in wheels) / 1e6
    if total > MOST:
        sys.exit(f"the wheels in {folder} have {total:.0f} MB, more than {MOST}")
    print(f"{len(wheels)} wheels, {total:.0f} MB: there, benchmarks/gpu.py --install {folder}")


def install(folder: Path) -> None:
    """Install wheels and this npnn beside the environment, for this program and those it starts."""
    target = ROOT / "build" / "gpu"
    shutil.rmtree(target, ignore_errors=True)
    wheels = sorted(map(str, folder.glob("*.whl")))
    if not wheels:
        sys.exit(f"there are no wheels in {folder}; --wheels {folder} downloads them")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    command += ["--no-index", "--no-deps", "--no-compile", "--target", str(target), *wheels]
    subprocess.run(command, check=True)
    # As it is installed: the folder backends/ is the package npnn.backends.
    (target / "npnn").mkdir()
    for path in (*(ROOT / "npnn").iterdir(), ROOT / "backends"):
        if path.name != "__pycache__":
            (target / "npnn" / path.name).symlink_to(path)
    sys.path.insert(0, str(target))
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(target) + (f"{os.pathsep}{before}" if before else "")
