"""Importing the package: quick, and clear where it cannot work."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import npnn

SOURCES = Path(npnn.__file__).parent


def test_the_folder_of_the_sources_alone_says_what_to_do(tmp_path):
    shutil.copytree(SOURCES, tmp_path / "npnn", ignore=shutil.ignore_patterns("backends"))
    command = [sys.executable, "-S", "-c", "import npnn"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [tmp_path, *sys.path[1:]]))}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "pip install -e ." in done.stderr.splitlines()[-1]
