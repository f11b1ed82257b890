"""Every program in examples/ runs, prints its result and draws its picture."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import WORKING

image = pytest.importorskip("matplotlib.image")

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
ON_MNIST = ("lenet5", "inception")


def write_idx(path, array):
    header = bytes([0, 0, 0x08, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def mnist_folder(tmp_path):
    rng = np.random.default_rng(0)
    write_idx(tmp_path / "t10k-images-idx3-ubyte", rng.integers(256, size=(60, 28, 28)))
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.arange(60) % 10)
    return tmp_path


def run(monkeypatch, path, *arguments):
    monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
    runpy.run_path(str(path), run_name="__main__")


@pytest.mark.filterwarnings("ignore:.*tqdm.*")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_draws_its_picture(path, tmp_path, mnist_folder, monkeypatch, capsys):
    output = tmp_path / "new" / "folder"
    folder = ("--folder", mnist_folder) if path.stem in ON_MNIST else ()
    run(monkeypatch, path, "--epochs", 1, "--output", output, *folder)
    (picture,) = output.glob(f"{path.stem}.*")
    assert picture.read_bytes().startswith((b"\x89PNG", b"GIF89a"))
    assert str(picture) in capsys.readouterr().out
    if picture.suffix == ".png":  # nothing is cut off at an edge
        grey = image.imread(picture)[..., :3].mean(axis=-1)
        edges = [grey[:2], grey[-2:], grey[:, :2], grey[:, -2:]]
        assert all(edge.min() > 0.98 for edge in edges)


def test_an_example_runs_on_every_backend(backend_name, tmp_path, monkeypatch):
    (path,) = (path for path in EXAMPLES if path.stem == "xor_sigmoid")
    run(monkeypatch, path, "--backend", backend_name, "--epochs", 1, "--output", tmp_path)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:.*tqdm.*")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_finds_on_a_gpu_what_it_finds_on_numpy(
    path, tmp_path, mnist_folder, monkeypatch, capsys
):
    if "cupy" not in WORKING:
        pytest.skip("CuPy does not work here")
    folder = ("--folder", mnist_folder) if path.stem in ON_MNIST else ()
    printed = []
    for backend in ("numpy", "cupy"):
        run(monkeypatch, path, "--backend", backend, "--epochs", 1, "--output", tmp_path, *folder)
        lines = [x for x in capsys.readouterr().out.splitlines() if "iB" not in x]  # of memory
        printed.append([float(x) for line in lines for x in re.findall(r"-?\d+\.\d+", line)])
    assert printed[0]
    np.testing.assert_allclose(printed[1], printed[0], rtol=1e-3)


def test_there_are_examples():
    assert len(EXAMPLES) >= 12
