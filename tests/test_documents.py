"""What README and CONTRIBUTING show is run, so that it stays true."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

import npnn
from npnn.cli import main

ROOT = Path(__file__).parents[1]


def python_blocks(document: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), flags=re.S)


@pytest.fixture
def _clean_registries():
    """Take back what a document registers."""
    kept = [
        (registry, dict(registry)) for registry in (npnn.Layer.registry, npnn.backends._register)
    ]
    yield
    for registry, entries in kept:
        registry.clear()
        registry.update(entries)


@pytest.mark.filterwarnings("ignore:.*tqdm.*", "ignore:the loss was still falling")
def test_the_programs_of_the_readme_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program, fitting, gpu, estimator = python_blocks("README.md")
    names: dict = {}
    exec(program.replace("XORTwoClasses()", "XORTwoClasses(seed=1)"), names)
    assert names["loss_layer"].get_loss() < 0.6
    exec(fitting.replace("epochs=20", "epochs=2"), names)
    assert names["history"].num_epochs == 2
    assert 'backend="cupy"' in gpu
    pytest.importorskip("sklearn")
    exec(estimator, names)
    assert names["search"].best_score_ > 0.8


@pytest.mark.usefixtures("_clean_registries")
def test_the_layer_of_the_contributing_page_is_right():
    layer, _ = python_blocks("CONTRIBUTING.md")
    names: dict = {"__name__": "contributing"}
    exec(layer, names)
    gaussian = names["Gaussian"]()
    x = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    y = torch.exp(-x * x)
    y.sum().backward()
    np.testing.assert_allclose(gaussian.forward(x.detach().numpy()), y.detach().numpy())
    np.testing.assert_allclose(gaussian.backward(np.ones(9)), x.grad.numpy())


@pytest.mark.usefixtures("_clean_registries")
def test_the_backend_of_the_contributing_page_trains_like_numpy():
    _, backend = python_blocks("CONTRIBUTING.md")
    assert len(backend.splitlines()) < 60
    exec(backend, {})
    losses = []
    for name in ("numpy", "mine"):
        model = npnn.Sequential(
            [npnn.Dense(2, 3), npnn.Tanh(), npnn.Dense(3, 1)], backend=name, seed=0
        )
        losses.append(model.fit(np.eye(2), np.ones((2, 1)), epochs=3, seed=0)["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_the_programs_of_the_page_for_those_who_come_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    blocks = python_blocks("docs/coming_from.md")
    assert len(blocks) == 6
    for block in blocks:
        exec(block, names)
    assert names["history"].num_epochs == 4
    assert "MaxPool(" in capsys.readouterr().out


def test_the_names_of_the_page_for_those_who_come_are_there():
    """In each table the right column holds names of this package."""
    rows = re.findall(r"^\|[^|]*\|(.*)\|$", (ROOT / "docs/coming_from.md").read_text(), flags=re.M)
    assert len(rows) > 50
    for row in rows:
        for code in re.findall(r"`([^`]*)`", row):
            for name in re.findall(r"\b([A-Z][A-Za-z0-9]+)\(", code):
                assert hasattr(npnn, name), code
            for name in re.findall(r"\bmodel\.(\w+)", code):
                assert hasattr(npnn.Sequential, name), code


USE = sorted((ROOT / "docs/use").glob("*.md"))


def test_there_are_pages_on_the_use():
    assert len(USE) >= 8


@pytest.mark.filterwarnings("ignore:.*tqdm.*", "ignore:the loss was still falling")
@pytest.mark.parametrize("page", USE, ids=lambda page: page.stem)
@pytest.mark.later("csv", "showing", "functions")  # films, and what JAX compiles
def test_the_programs_of_a_page_on_the_use_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_measurements(tmp_path)
    names: dict = {"__name__": "a_page"}
    programs = re.findall(r"```(python|sh)\n(.*?)```", page.read_text(), flags=re.S)
    assert programs
    for kind, program in programs:
        if kind == "python":
            exec(compile(program, page.name, "exec"), names)
        else:
            for line in program.splitlines():
                command, *arguments = shlex.split(line)
                if command == "npnn":
                    assert main(arguments) == 0, line


def write_measurements(folder: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["id,length,width,species"]
    for i in range(60):
        species = ("setosa", "virginica")[i % 2]
        length, width = rng.normal((5.0, 6.5)[i % 2], 0.3), rng.normal(3.0, 0.3)
        lines.append(f"{i},{length:.2f},{width:.2f},{species}")
    (folder / "measurements.csv").write_text("\n".join(lines) + "\n")
    new = [",".join(line.split(",")[:3]) for line in lines[:6]]
    (folder / "new.csv").write_text("\n".join(new) + "\n")
