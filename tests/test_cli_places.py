"""The command line where letters, the disk or somebody's patience end."""

import errno
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

import npnn
from npnn import cli, files, plots
from npnn.cli import main, outputs
from npnn.plots.style import shortened

XOR = ["train", "xor-two-classes", "--no-pictures", "--epochs", "2"]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_an_encoding_of_few_letters_loses_ornaments(encoding):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "npnn", "train", "noisy-linear", "--epochs", "2"]
    done = subprocess.run(command, capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    out = done.stdout.decode(encoding)
    assert "network 1 - 1" in out
    assert ("R2" if encoding == "ascii" else "R²") in out
    assert "\\u" not in out


def test_version_has_a_short_option(capsys):
    assert main(["-V"]) == 0
    assert capsys.readouterr().out == f"npnn {npnn.__version__}\n"


def test_a_shell_completes_commands_and_options(monkeypatch, capsys):
    pytest.importorskip("shtab")
    assert main(["--completion", "bash"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("predict", "--batch-size", "--metrics"))
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["--completion", "bash"]) == 2
    assert "pip install 'npnn-xp[completion]'" in capsys.readouterr().err


def test_ctrl_c_while_options_are_read_ends_with_130(monkeypatch, capsys):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "parser", interrupt)
    assert main(["info"]) == 130
    assert capsys.readouterr().err == "npnn: interrupted\n"


def test_metrics_are_reported_and_go_on(capsys):
    assert main([*XOR, "--metrics", "f1", "roc_auc"]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("f1", "roc_auc"))
    assert main(["train", "--resume", "--epochs", "3", "--no-pictures"]) == 0
    with open("npnn-output/history.csv") as file:
        names, *rows = file.read().splitlines()
    assert {"f1", "val_f1", "roc_auc", "val_roc_auc"} < set(names.split(","))
    assert len(rows) == 3
    assert main([*XOR, "--metrics", "f3"]) == 2
    assert "there is no 'f3'" in capsys.readouterr().err


def test_metrics_of_a_regression_are_in_the_units_of_its_targets(capsys, tmp_path):
    x = np.random.default_rng(0).uniform(size=(80, 1))
    rows = np.hstack([x, 5e4 * x])
    np.savetxt("t.csv", rows, delimiter=",", header="a,price", comments="")
    assert main(["train", "t.csv", "--no-pictures", "--epochs", "2", "--metrics", "rmse"]) == 0
    line = next(s for s in capsys.readouterr().out.splitlines() if s.startswith("validation"))
    values = [float(word) for word in line.split()[1:]]
    assert len([v for v in values if v > 100]) == 3  # the loss, rmse, and the rms error
    last = (tmp_path / "npnn-output" / "history.csv").read_text().splitlines()
    rmse = float(last[-1].split(",")[last[0].split(",").index("val_rmse")])
    assert len([v for v in values if v == pytest.approx(rmse, rel=1e-4)]) == 2


@pytest.mark.parametrize("full", [("npnn-output",), ("npnn-output", "elsewhere")])
def test_a_full_disk_loses_no_model(full, monkeypatch, capsys, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(outputs.tempfile, "gettempdir", lambda: str(tmp_path / "elsewhere"))
    real = files.writing

    def writing(path):
        if any(name in str(path) for name in full):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real(path)

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(files, "writing", writing)
    assert main(XOR) == 2
    _, err = capsys.readouterr()
    assert err.count("no checkpoint") == 1
    (saved,) = [p for p in tmp_path.rglob("*model.safetensors")]
    assert f"the model is saved to {saved}" in err
    assert npnn.load(saved).shape_in == (2,)


def test_a_full_disk_takes_no_answers_away(monkeypatch, capsys, tmp_path):
    np.savetxt("t.csv", np.random.default_rng(0).normal(size=(40, 3)), delimiter=",")
    assert main(["train", "t.csv", "--no-pictures", "--epochs", "1", "--quiet"]) == 0
    (tmp_path / "answers.csv").write_text("those of yesterday\n")
    before = sorted(path.name for path in tmp_path.iterdir())

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("npnn.io.os.fsync", full)
    command = ["predict", "npnn-output/model.safetensors", "t.csv", "--output", "answers.csv"]
    capsys.readouterr()
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == "npnn: error: answers.csv: No space left on device"
    assert (tmp_path / "answers.csv").read_text() == "those of yesterday\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_table_is_found_again_from_any_folder(monkeypatch, tmp_path):
    np.savetxt("t.csv", np.random.default_rng(0).normal(size=(40, 3)), delimiter=",")
    assert main(["train", "t.csv", "--no-pictures", "--epochs", "2", "--output", "out"]) == 0
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    options = ["--epochs", "3", "--no-pictures", "--output", "../out"]
    assert main(["train", "--resume", *options]) == 0
    assert len((tmp_path / "out" / "history.csv").read_text().splitlines()) == 4


def test_names_are_drawn_as_they_are_written(tmp_path):
    text = pytest.importorskip("matplotlib.text")
    model = npnn.Sequential([npnn.Dense(2, 2), npnn.Softmax()], seed=0)
    x = np.random.default_rng(0).normal(size=(20, 2))
    names = ["_no", "$x_1$ and $\\oops{$"]
    figure = plots.decision_boundary(model, x, (x[:, 0] > 0).astype(int), "a.png", names)
    shown = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    assert shown[:2] == names
    assert not any(t.get_parse_math() for t in figure.findobj(text.Text))
    plots.confusion_matrix([[1, 2], [3, 4]], ["日本", "a\nb"], "b.png")
    assert shortened(["a\nb", "c"]) == ["a b", "c"]


@pytest.mark.parametrize(
    ("command", "given", "meant"),
    [("train", "digitz", "digits"), ("playground", "circle", "circles")],
)
def test_data_that_there_are_not_are_answered_with_those_that_are_meant(
    command, given, meant, capsys
):
    assert main([command, given]) == 2
    assert f"did you mean {meant!r}?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["", "train", "predict", "export", "info", "profile", "playground"]
)
@pytest.mark.parametrize("columns", [70, 80])
def test_help_is_wrapped_to_the_terminal(command, columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main([*command.split(), "--help"]) == 0
    before_examples = capsys.readouterr().out.partition("data sets:")[0].partition("example")[0]
    assert max(map(len, before_examples.splitlines())) <= columns


def test_a_metric_that_there_is_not_is_refused_before_anything_is_tried(tmp_path, capsys):
    file = tmp_path / "t.csv"
    file.write_text("a,label\n" + "".join(f"{i},{'xy'[i % 2]}\n" for i in range(20)))
    output = tmp_path / "out"
    assert main(["train", str(file), "--metrics", "nope", "--output", str(output)]) == 2
    said = capsys.readouterr()
    assert "there is no 'nope'" in said.err
    assert said.out == ""
    assert not output.exists()


@pytest.mark.parametrize("port", ["65536", "-1", "1.5", "x"])
def test_a_port_that_there_is_not_is_refused(port, capsys):
    assert main(["playground", "--no-browser", f"--port={port}"]) == 2
    assert f"argument --port: must be a whole number from 0 to 65535, not '{port}'" in (
        capsys.readouterr().err
    )


def test_a_place_where_nobody_can_listen_is_named(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        assert main(["playground", "--no-browser", "--port", str(number)]) == 2
    error = capsys.readouterr().err
    assert f"--host and --port: cannot listen on 127.0.0.1:{number}: " in error
