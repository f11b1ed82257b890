"""Where the units of a first layer bend, and how a table is trained where nobody says it."""

import re

import numpy as np
import pytest

import npnn
from npnn import beginning
from npnn.cli import fitting, main


@pytest.mark.parametrize("count", [1, 5])
def test_each_unit_bends_at_a_sample(backend_name, count):
    x = np.random.default_rng(0).normal(7.0, 3.0, (50, count))
    model = npnn.Sequential(
        [npnn.Dense(count, 20), npnn.ReLU(), npnn.Dense(20, 1)], seed=0, backend=backend_name
    )
    model.norm = npnn.Normalization.standard(x)
    before = {name: np.asarray(a).copy() for name, a in _host(model).items()}
    beginning.spread(model, x, seed=1)
    after = _host(model)
    inputs = model.norm(x) @ after["0.w"] + after["0.b"]
    assert np.abs(inputs).min(axis=0).max() < 1e-5
    assert len(np.unique(np.abs(inputs).argmin(axis=0))) > 10
    for name in ("0.w", "2.w", "2.b"):
        np.testing.assert_array_equal(after[name], before[name])


def test_before_training_a_table_is_answered_by_its_mean(backend_name):
    model = npnn.Sequential(
        [npnn.Dense(2, 20), npnn.ReLU(), npnn.Dense(20, 3), npnn.Softmax()],
        seed=0,
        backend=backend_name,
    )
    before = {name: np.asarray(a).copy() for name, a in _host(model).items()}
    beginning.level(model)
    x = np.random.default_rng(0).normal(size=(10, 2))
    np.testing.assert_allclose(model.backend.to_numpy(model.predict(x)), 1 / 3, rtol=1e-6)
    np.testing.assert_array_equal(_host(model)["0.w"], before["0.w"])


def _host(model):
    return {name: model.backend.to_numpy(array) for name, array in model.parameters().items()}


@pytest.mark.parametrize(
    "layers",
    [
        [npnn.Dense(2, 1)],
        [npnn.Dense(2, 3, bias=False), npnn.ReLU(), npnn.Dense(3, 1)],
        [npnn.Dense(2, 3), npnn.Dense(3, 1)],
        [npnn.ReLU(2), npnn.Dense(2, 1)],
    ],
)
def test_what_does_not_bend_stays(layers):
    model = npnn.Sequential(layers, seed=0)
    before = {name: np.asarray(a).copy() for name, a in model.parameters().items()}
    beginning.spread(model, np.ones((5, 2)))
    for name, array in model.parameters().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.fixture
def sine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).uniform(-5, 5, 150)
    lines = [f"{a:.4f},{np.sin(1.3 * a):.4f}" for a in x]
    (tmp_path / "sine.csv").write_text("\n".join(["x,y", *lines]) + "\n")
    return "sine.csv"


def test_a_curve_of_one_input_is_learnt(sine, capsys):
    """With all bends at the mean, R² stays at 0.8."""
    assert main(["train", sine, "--no-pictures", "--epochs", "300"]) == 0
    out = capsys.readouterr().out
    assert float(re.search(r"^validation +\S+ +\S+ +(\S+)", out, re.MULTILINE)[1]) > 0.97


def test_what_is_found_is_kept_and_what_is_said_is_not_looked_for(sine, capsys, monkeypatch):
    monkeypatch.setattr(fitting, "MOST_STEPS", 60)
    assert main(["train", sine, "--no-pictures"]) == 0
    run = npnn.load("npnn-output/model.safetensors").details["run"]
    assert re.search(rf"^{run['epochs']} epochs and a dropout", capsys.readouterr().out, re.M)
    assert run["falls"] is True
    more = run["epochs"] + 2
    assert main(["train", sine, "--no-pictures", "--resume", "--epochs", str(more)]) == 0
    model = npnn.load("npnn-output/model.safetensors")
    assert model.details["run"]["falls"] is False
    monkeypatch.setattr(fitting, "_errors", lambda *_: pytest.fail("it looked"))
    assert main(["train", sine, "--no-pictures", "--epochs", "2"]) == 0
    assert "found on training rows" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), [([128], 0.3), ([128, 64], 0.0)]),
        (("--dropout", "0.1"), [([128], 0.1), ([128, 64], 0.1)]),
        (("--hidden", "9"), [([9], 0.0), ([9], 0.3)]),
        (("--hidden", "9", "--dropout", "0.1"), [([9], 0.1)]),
        (("--hidden", "0"), [([], 0.0)]),
    ],
)
def test_networks_are_tried_that_nobody_said(sine, capsys, monkeypatch, arguments, expected):
    tried = []

    def errors(run, *_):
        tried.append((run["hidden"], run["dropout"]))
        return np.array([2.0, 1.0 / len(tried), 3.0])  # the last one is the best

    monkeypatch.setattr(fitting, "_errors", errors)
    assert main(["train", sine, "--no-pictures", *arguments]) == 0
    assert tried == expected
    hidden, dropout = expected[-1]
    model = npnn.load("npnn-output/model.safetensors")
    dropped = [layer.probability for layer in model.layers if isinstance(layer, npnn.Dropout)]
    assert [layer.shape_out for layer in model.layers if isinstance(layer, npnn.Dense)] == [
        (size,) for size in (*hidden, 1)
    ]
    assert dropped == ([dropout] * len(hidden) if dropout else [])
    assert f"network {' → '.join(map(str, (1, *hidden, 1)))}" in capsys.readouterr().out
    assert model.details["run"]["epochs"] == 4  # twice the second


def test_all_rows_are_trained_for_twice_the_best_epochs(sine, monkeypatch):
    monkeypatch.setattr(fitting, "_errors", lambda *_: np.r_[np.ones(7), 0.5, np.ones(90)])
    assert main(["train", sine, "--no-pictures", "--quiet"]) == 0
    assert npnn.load("npnn-output/model.safetensors").details["run"]["epochs"] == 16


def test_ctrl_c_while_epochs_are_looked_for_ends_with_130(sine, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "_errors", interrupt)
    assert main(["train", sine, "--no-pictures"]) == 130
    assert capsys.readouterr().err == "npnn: interrupted\n"
