"""Looks for what ``backend="cupy"`` asks of its libraries in all versions that pip may install.

What pip resolves the extras for CUDA 12 and 13 to, on every Python, is printed as a table. The
oldest and the newest versions are also installed, for the Python that runs this, and
test_cupy_versions.py is run on them. No GPU is needed; about 2 GB are downloaded. Run:
``make versions``, or ``python tests/versions.py [cupy-cuda12] [cupy-cuda13]``.
"""

import json
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
# Gigabytes that come with nvmath-python, of which npnn calls nothing.
UNUSED = re.compile(
    "cutensor|cuda-toolkit|nvidia-(cu(fft|file|rand|solver|sparse|dss)|nv|cuda-(nvcc|crt))"
)
SHOWN = ("cupy", "nvmath-python", "cuda-bindings", "cuda-core", "nvidia-cublas", "numpy")


def pip(*arguments: str) -> str:
    """Run pip, and return what it says; with its errors if it fails."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def resolved(extra: str, python: str, oldest: bool) -> dict[str, str]:
    """Return the version of each package that pip would install."""
    wanted = PROJECT["optional-dependencies"][extra]
    wanted = [r.replace(">=", "==") for r in wanted] if oldest else wanted
    with tempfile.TemporaryDirectory() as nowhere:
        text = pip(
            "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-",
            "--target", nowhere, "--only-binary", ":all:", "--python-version", python,
            *wanted, *PROJECT["dependencies"],
        )  # fmt: skip
    packages = [item["metadata"] for item in json.loads(text)["install"]]
    return {p["name"].lower().replace("_", "-"): p["version"] for p in packages}


def tested(packages: dict[str, str]) -> tuple[int, str]:
    """Install packages, and return the exit status and the last line of the test on them."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=False)
        python = f"{folder}/bin/python"
        used = [f"{n}=={v}" for n, v in packages.items() if not UNUSED.match(n)]
        pip("--python", python, "install", "--quiet", "--no-deps", *used)
        pip("--python", python, "install", "--quiet", "pytest", "hypothesis")
        pip("--python", python, "install", "--quiet", "--no-deps", "--editable", str(ROOT))
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_cupy_versions.py"]
        done = subprocess.run(command, cwd=ROOT / "tests", capture_output=True, text=True)
    lines = done.stdout.splitlines() or [done.stderr]
    if done.returncode:
        print(*lines, sep="\n", file=sys.stderr)
    return done.returncode, re.sub(r" in .*", "", lines[-1])


def main() -> None:
    """Resolve, install and test, and print the table."""
    print("| for | Python |", *(f"{name} |" for name in SHOWN), "test |")
    print("|---" * (len(SHOWN) + 3) + "|")
    failed = 0
    for extra in sys.argv[1:] or ("cupy-cuda12", "cupy-cuda13"):
        for python, oldest in [(HERE, True), *((python, False) for python in PYTHONS)]:
            packages = resolved(extra, python, oldest)
            shown = [next((v for n, v in packages.items() if n.startswith(s)), "") for s in SHOWN]
            status, line = tested(packages) if python == HERE else (0, "resolved only")
            failed += status != 0
            print("|", *(f"{cell} |" for cell in (extra, python, *shown, line)), flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
