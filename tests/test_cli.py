"""The command line: what it prints, writes and returns, and each mistake in one line."""

import csv
import json
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

import npnn
from npnn import files
from npnn.cli import main, outputs, recipes, train

XOR = ["train", "xor-two-classes", "--no-pictures"]
FLOWERS = ("daisy", "rose, red")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def flowers(tmp_path):
    """A table with numbers, text and two classes, one of whose names holds a comma."""
    rng = np.random.default_rng(0)
    path = tmp_path / "flowers.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["length", "colour", "kind"])
        for _ in range(60):
            kind = int(rng.integers(2))
            colour = ("white", "red")[kind] if rng.random() < 0.7 else "yellow"
            writer.writerow([f"{rng.normal(3 * kind):.3f}", colour, FLOWERS[kind]])
    return path


@pytest.fixture
def houses(tmp_path):
    """A table whose target is far from 0 and not of unit scale."""
    rng = np.random.default_rng(0)
    path = tmp_path / "houses.csv"
    rows = rng.uniform(0, 1, (200, 2))
    lines = [f"{a},{b},{300_000 + 50_000 * a - 20_000 * b}" for a, b in rows]
    path.write_text("\n".join(["rooms,age,price", *lines]))
    return path


def history(folder="npnn-output"):
    with open(f"{folder}/history.csv", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def error_of(capsys, *arguments) -> str:
    """Run a command that must fail, and return its one line."""
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("npnn: error: ")
    assert captured.out == ""
    return line


def validation_error(out) -> float:
    """Return the root mean square error that the final table shows."""
    return float(re.search(r"^validation +\S+ +(\S+)", out, re.MULTILINE)[1])


# train -----------------------------------------------------------------------------------------


def test_train_prints_the_result_and_writes_everything(capsys, tmp_path):
    assert main(["train", "xor-two-classes"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "280 training and 120 validation samples, 2 inputs, 2 classes" in out
    assert re.search(r"validation +\S+ +1\.0000", out)
    assert re.search(r"different +1\.0000 +1\.0000 +1\.0000 +60", out)
    assert re.search(r"60 epochs in [\d.]+ s, [\d,]+ samples per second", out)
    names = ["model.safetensors", "checkpoint.safetensors", "history.csv"]
    pictures = ["curves.png", "confusion.png", "boundary.png"]
    for name in names + pictures:
        assert f"npnn-output/{name}" in out
        assert (tmp_path / "npnn-output" / name).stat().st_size > 100
    assert sorted(p.name for p in (tmp_path / "npnn-output").iterdir()) == sorted(names + pictures)
    assert len(history()) == 60


def test_the_saved_model_is_as_good_as_was_printed():
    assert main([*XOR, "--seed", "5", "--output", "here"]) == 0
    model = npnn.load("here/model.safetensors")
    data = npnn.datasets.XORTwoClasses(seed=5)
    assert model.evaluate(data.x_validation_data, data.y_validation_data)["accuracy"] == 1.0
    assert model.class_names == ["equal", "different"]
    assert model.details["run"]["seed"] == 5


@pytest.mark.parametrize("name", ["xor-two-classes", "xor-bin-classes"])
def test_exclusive_or_is_learnt_with_every_seed(name):
    for seed in range(5):
        assert main(["train", name, "--no-pictures", "--quiet", "--seed", str(seed)]) == 0
        assert history()[-1]["val_accuracy"] == 1.0


@pytest.mark.later
@pytest.mark.parametrize("seed", range(10))
def test_digits_are_learnt_with_every_seed(seed):
    assert main(["train", "digits", "--no-pictures", "--quiet", "--seed", str(seed)]) == 0
    assert history()[-1]["val_accuracy"] >= 0.97


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("xor-bin-classes", "boundary.png"),
        ("xor-function", "boundary.png"),
        ("and-function", "boundary.png"),
        ("noisy-linear", "regression.png"),
        ("noisy-sine", "regression.png"),
    ],
)
def test_each_small_data_set_has_its_picture(name, picture, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert main(["train", name]) == 0
    assert (tmp_path / "npnn-output" / picture).exists()
    if name.startswith("noisy"):
        assert validation_error(capsys.readouterr().out) < 0.2  # the noise is 0.1


def test_a_table_of_several_inputs_and_a_regression_has_its_picture(houses, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert main(["train", str(houses), "--epochs", "3"]) == 0
    assert "npnn-output/predicted.png" in capsys.readouterr().out
    pictures = {path.name for path in (tmp_path / "npnn-output").glob("*.png")}
    assert pictures == {"curves.png", "predicted.png"}


def test_quiet_prints_nothing(capsys):
    assert main([*XOR, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_options_reach_the_model_and_the_training():
    arguments = [*XOR, "--hidden", "7,5", "--activation", "leaky-relu", "--epochs", "2"]
    arguments += ["--batch-size", "100", "--optimizer", "rmsprop", "--alpha", "0.003"]
    assert main([*arguments, "--dtype", "float64", "--no-capture", "--seed", "3"]) == 0
    model = npnn.load("npnn-output/model.safetensors")
    assert [type(layer).__name__ for layer in model.layers][1::2] == ["LeakyReLU"] * 2 + ["Softmax"]
    assert [layer.shape_out for layer in model.layers][::2] == [(7,), (5,), (2,)]
    assert model.dtype == "float64"
    training = files.read("npnn-output/checkpoint.safetensors")[2]
    assert training["steps"] == 2 * 3
    assert training["optimizer"]["type"] == "RMSprop"
    assert training["optimizer"]["alpha"] == 0.003
    assert main([*XOR, "--hidden", "0", "--epochs", "1"]) == 0
    assert len(npnn.load("npnn-output/model.safetensors").layers) == 2


def test_a_seed_repeats_and_another_does_not():
    found = []
    for seed in ("1", "1", "2"):
        assert main([*XOR, "--epochs", "3", "--seed", seed]) == 0
        found.append(history())
    assert found[0] == found[1] != found[2]


@pytest.mark.later("jax")
def test_every_backend_trains(backend_name, capsys):
    assert main([*XOR, "--backend", backend_name, "--epochs", "20"]) == 0
    assert f"on {backend_name} in float32" in capsys.readouterr().out
    assert history()[-1]["val_accuracy"] > 0.9
    assert len(npnn.load("npnn-output/model.safetensors").layers) == 4


def test_without_matplotlib_training_works_and_says_what_is_missing(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["train", "xor-two-classes"]) == 0
    out, err = capsys.readouterr()
    assert "pip install 'npnn-xp[plot]'" in err
    assert ".png" not in out
    assert (tmp_path / "npnn-output" / "model.safetensors").exists()


def test_a_progress_bar_is_for_people(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert main([*XOR, "--epochs", "3"]) == 0
    assert "3/3" in capsys.readouterr().err


# Files -----------------------------------------------------------------------------------------


def test_a_table_is_trained_on_and_predicted(flowers, capsys, tmp_path):
    assert main(["train", str(flowers), "--no-pictures", "--epochs", "60"]) == 0
    assert "2 classes" in capsys.readouterr().out
    model = "npnn-output/model.safetensors"
    assert npnn.load(model).details["schema"]["target"] == "kind"

    assert main(["predict", model, str(flowers)]) == 0
    out, err = capsys.readouterr()
    rows = list(csv.reader(out.splitlines()))
    assert len(rows) == 60
    assert {name for name, _ in rows} == set(FLOWERS)
    assert all(0.5 <= float(share) <= 1.0 for _, share in rows)
    assert re.fullmatch(r"60 rows: loss \S+, accuracy (0\.9\S*|1)", err.strip())

    # By name, in another order, without the target, and with a column that nobody asked for.
    other = tmp_path / "new.csv"
    other.write_text("note,colour,length\nx,white,-1.0\ny,red,4.5\n")
    assert main(["predict", model, str(other), "--output", "answers.csv"]) == 0
    assert capsys.readouterr() == ("2 answers in answers.csv\n", "")
    answers = list(csv.DictReader((tmp_path / "answers.csv").read_text().splitlines()))
    assert [row["class"] for row in answers] == list(FLOWERS)
    assert list(answers[0]) == ["class", "probability"]


def test_the_target_and_the_task_can_be_chosen(flowers):
    assert main(["train", str(flowers), "--no-pictures", "--task", "binary", "--epochs", "3"]) == 0
    assert npnn.load("npnn-output/model.safetensors").shape_out == (1,)
    arguments = ["--target", "length", "--epochs", "3"]
    assert main(["train", str(flowers), "--no-pictures", *arguments]) == 0
    model = npnn.load("npnn-output/model.safetensors")
    assert model.details["schema"]["task"] == "regression"


def test_a_target_of_any_size_is_learnt_and_answered_in_its_own_units(houses, capsys):
    assert main(["train", str(houses), "--no-pictures"]) == 0
    assert validation_error(capsys.readouterr().out) < 3000
    answers = {}
    for name in ("model", "checkpoint"):
        assert main(["predict", f"npnn-output/{name}.safetensors", str(houses)]) == 0
        answers[name] = np.array(capsys.readouterr().out.split(), dtype=float)
    prices = np.loadtxt(houses, delimiter=",", skiprows=1)[:, 2]
    assert np.sqrt(np.mean((answers["model"] - prices) ** 2)) < 3000
    np.testing.assert_allclose(answers["model"], answers["checkpoint"], rtol=1e-5)
    x = np.loadtxt(houses, delimiter=",", skiprows=1)[:, :2]
    by_hand = npnn.load("npnn-output/model.safetensors").predict(x)[:, 0]
    np.testing.assert_allclose(by_hand, answers["model"], rtol=1e-5)


def test_targets_of_different_sizes_are_answered_each_in_its_own_units(capsys, tmp_path):
    x = np.random.default_rng(0).uniform(-1.0, 1.0, (200, 2))
    t = np.stack([5000.0 + 900.0 * x[:, 0], 3.0 - 0.1 * x[:, 1]], axis=1)
    np.savez(tmp_path / "two.npz", x=x, t=t)
    network = ["--hidden", "2", "--activation", "linear", "--alpha", "0.02"]
    assert main(["train", "two.npz", "--task", "regression", "--no-pictures", *network]) == 0
    capsys.readouterr()
    answers = {}
    for name in ("model", "checkpoint"):
        assert main(["predict", f"npnn-output/{name}.safetensors", "two.npz"]) == 0
        rows = list(csv.reader(capsys.readouterr().out.splitlines()))
        answers[name] = np.array(rows, dtype=float)
    np.testing.assert_allclose(answers["model"], answers["checkpoint"], rtol=1e-5)
    assert (np.abs(answers["model"] - t).max(axis=0) < 0.1 * t.std(axis=0)).all()


def test_an_npz_file_of_images_is_data(capsys, tmp_path):
    rng = np.random.default_rng(0)
    t = np.arange(80) % 2
    x = rng.normal(size=(80, 4, 4)) + 2 * t[:, None, None]
    np.savez(tmp_path / "images.npz", x=x, t=t)
    np.savez(tmp_path / "new.npz", x=x[:3])
    assert main(["train", "images.npz", "--no-pictures", "--epochs", "20"]) == 0
    capsys.readouterr()
    assert main(["predict", "npnn-output/model.safetensors", "new.npz"]) == 0
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == ["0", "1", "0"]


def test_a_model_trained_from_arrays_answers_for_tables_of_numbers(capsys, tmp_path):
    model = npnn.Sequential([npnn.Dense(2, 1), npnn.Sigmoid()], seed=0)
    model.set_arrays({"0.w": np.array([[50.0], [0.0]]), "0.b": np.array([0.0])})
    model.save("mine.safetensors")
    (tmp_path / "plain.csv").write_text("1.0,7\n-1.0,8\n")
    assert main(["predict", "mine.safetensors", "plain.csv"]) == 0
    assert capsys.readouterr().out == "1,1.000000\n0,1.000000\n"
    (tmp_path / "with-target.csv").write_text("a,b,c\n1.0,7,1\n-1.0,8,1\n")
    assert main(["predict", "mine.safetensors", "with-target.csv"]) == 0
    assert "accuracy 0.5" in capsys.readouterr().err
    np.savez(tmp_path / "plain.npz", x=[[1.0, 0.0]])
    assert main(["predict", "mine.safetensors", "plain.npz"]) == 0
    assert capsys.readouterr().out == "1,1.000000\n"
    assert "must have 2 columns" in error_of(capsys, "predict", "mine.safetensors", csv_of_width(4))


def csv_of_width(width: int) -> str:
    with open("wide.csv", "w") as file:
        file.write(",".join(["1.5"] * width) + "\n" + ",".join(["2.5"] * width) + "\n")
    return "wide.csv"


def test_several_values_are_columns(tmp_path):
    npnn.Sequential([npnn.Dense(2, 3)], seed=0).save("mine.safetensors")
    np.savez("x.npz", x=np.zeros((2, 2)))
    assert main(["predict", "mine.safetensors", "x.npz", "--output", "y.csv"]) == 0
    assert (tmp_path / "y.csv").read_text() == "value1,value2,value3\n0,0,0\n0,0,0\n"


def test_what_became_of_a_table_is_printed(flowers, houses, capsys, tmp_path):
    one_epoch = ["--no-pictures", "--epochs", "1"]
    assert main(["train", str(flowers), *one_epoch]) == 0
    out = capsys.readouterr().out
    assert (
        "target 'kind', column 2 counted from 0: classification into 'daisy', 'rose, red'\n" in out
    )
    assert "\nnumbers: length\ncategories: colour (3)\n" in out
    assert "unweighted mean" in out
    assert main(["train", str(houses), *one_epoch, "--ignore", "age"]) == 0
    out = capsys.readouterr().out
    assert "target 'price', column 2 counted from 0: regression\n" in out
    assert "left out: age (ignored)\n" in out
    (tmp_path / "years.csv").write_text("1,2,3\n" + "1,2,0.5\n3,4,1.5\n" * 5)
    assert main(["train", "years.csv", *one_epoch]) == 0
    out = capsys.readouterr().out
    assert "8 training and 3 validation" in out
    assert "target 'column 2': regression\nnumbers: column 0, column 1\nno header: line 1" in out
    assert main(["train", "years.csv", *one_epoch, "--header", "yes"]) == 0
    out = capsys.readouterr().out
    assert "7 training and 3 validation" in out
    assert "target '3', column 2 counted from 0: regression\n" in out
    assert "no header" not in out
    assert main(["predict", "npnn-output/model.safetensors", "years.csv"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 10
    assert "header" not in err


def test_a_file_without_a_header_is_said_when_it_is_predicted(houses, capsys, tmp_path):
    assert main(["train", str(houses), "--no-pictures", "--epochs", "1", "--quiet"]) == 0
    (tmp_path / "plain.csv").write_text("0.5,0.5\n0.5,0.25\n")
    assert main(["predict", "npnn-output/model.safetensors", "plain.csv"]) == 0
    assert "plain.csv has no header: line 1 is read as data" in capsys.readouterr().err
    arguments = ["predict", "npnn-output/model.safetensors", "plain.csv", "--header", "no"]
    assert main(arguments) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_table_in_another_writing_is_trained_on_and_predicted_alike(capsys, tmp_path):
    lines = "".join(f"x{i};{i},5;{i % 7},125;{i},25\n" for i in range(40))
    (tmp_path / "german.csv").write_text("Größe;Länge;Höhe;Maß\n" + lines, encoding="cp1252")
    assert main(["train", "german.csv", "--no-pictures", "--epochs", "1"]) == 0
    out = capsys.readouterr().out
    assert "note: it is no UTF-8 and read as cp1252 (encoding, --encoding)\n" in out
    assert "\nleft out: Größe (identifier)\n" in out
    options = ["--encoding", "cp1252", "--delimiter", "semicolon", "--decimal", ","]
    options += ["--ignore", "Größe", "--no-pictures", "--epochs", "2"]
    assert main(["train", "german.csv", *options]) == 0
    assert "2 inputs" in capsys.readouterr().out
    assert main(["predict", "npnn-output/model.safetensors", "german.csv"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 40
    assert re.fullmatch(r"40 rows: rms error \S+, R² \S+\n", err)
    assert main(["info", "npnn-output/model.safetensors"]) == 0
    assert "left out 'Größe'" in capsys.readouterr().out
    np.savez("x.npz", x=np.zeros((1, 2)))
    arguments = ["predict", "npnn-output/model.safetensors", "x.npz"]
    assert main(arguments) == 0
    capsys.readouterr()
    assert "argument --decimal: is for CSV" in error_of(capsys, *arguments, "--decimal", ",")


def table_of(cells, name, folder):
    lines = [
        f"{row / 7 % 1:.3f},{cells[row % len(cells)]},{'ny'[row % 3 > 0]}" for row in range(60)
    ]
    path = folder / name
    path.write_text("\n".join(["a,k,y", *lines]) + "\n")
    return str(path)


def test_every_row_is_answered_and_what_is_unknown_is_said(capsys, tmp_path):
    path = table_of(["u", "v", "", "NA"], "table.csv", tmp_path)
    assert main(["train", path, "--no-pictures", "--epochs", "2"]) == 0
    out = capsys.readouterr().out
    assert "\nfilled 30 cells without a value: k (30)\n" in out
    assert "\nnote: 'NA' counts as missing (--missing none if it is a value)\n" in out
    new = tmp_path / "new.csv"
    new.write_text("y,k,a\ny,u,0.5\nmaybe,w,\n,v,many\nn,,0.25\n")
    command = ["predict", "npnn-output/model.safetensors", str(new)]
    assert main([*command, "--output", "answers.csv"]) == 0
    out, err = capsys.readouterr()
    assert out == "4 answers in answers.csv\n"
    with open("answers.csv", newline="") as file:
        answers = list(csv.DictReader(file))
    assert {row["class"] for row in answers} <= {"n", "y"}
    remarks = [row["remark"] for row in answers]
    assert remarks == ["", "unknown k 'w'", "unknown a 'many'", ""]
    right = (answers[0]["class"] == "y") + (answers[3]["class"] == "n")
    assert f"3 rows: loss {LOSS}, accuracy {right / 3:.6g} (1 more have no target)" in re.sub(
        r"loss [\d.]+", f"loss {LOSS}", err
    )
    assert "labels that training did not have count as mistakes: 'maybe' (1)\n" in err
    assert "line 3: unknown k 'w'; line 4: unknown a 'many'\n" in err
    assert "missing values were filled: 'a' (1), 'k' (1)\n" in err


LOSS = "L"


def test_what_columns_become_can_be_said(capsys, tmp_path):
    path = table_of([1, 2, 3], "table.csv", tmp_path)
    options = ["--no-pictures", "--epochs", "1"]
    assert main(["train", path, *options, "--kinds", "k=category", "--categories", "9"]) == 0
    assert "categories: k (3)\n" in capsys.readouterr().out
    path = table_of(["NA", "EU"], "table.csv", tmp_path)
    assert main(["train", path, *options, "--missing", "none"]) == 0
    assert "categories: k (2)\n" in capsys.readouterr().out
    model = npnn.load("npnn-output/model.safetensors")
    assert model.details["schema"]["missing"] == []
    assert "argument --kinds: must be columns" in error_of(capsys, "train", path, "--kinds", "k=x")
    message = error_of(capsys, "train", path, "--kinds", "z=text")
    assert "kinds must be a column of" in message


def test_what_is_said_of_a_table_is_short(capsys, tmp_path):
    names = [f"a column with a name that is long {i}" for i in range(60)]
    lines = [",".join("abc"[(row + i) % 3] for i in range(60)) for row in range(20)]
    (tmp_path / "wide.csv").write_text("\n".join([",".join(names), *lines]) + "\n")
    assert main(["train", "wide.csv", "--no-pictures", "--epochs", "1"]) == 0
    lines = capsys.readouterr().out.partition("\nnetwork")[0].splitlines()
    assert len(lines) < 9
    assert max(map(len, lines)) <= 80


def test_the_losses_of_a_regression_are_in_one_unit(houses, capsys):
    assert main(["train", str(houses), "--no-pictures", "--epochs", "20"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^ +loss +rms error +R²$", out, re.MULTILINE)
    shown = re.search(r"^validation +(\S+) +(\S+) +(\S+)", out, re.MULTILINE)
    last = history()[-1]
    assert list(last) == ["epoch", "loss", "val_loss"]
    assert float(shown[1]) == pytest.approx(last["val_loss"], rel=1e-3)
    assert float(shown[2]) ** 2 / 2 == pytest.approx(last["val_loss"], rel=1e-3)
    assert main(["predict", "npnn-output/model.safetensors", str(houses)]) == 0
    rms, r2 = re.fullmatch(
        r"200 rows: rms error (\S+), R² (\S+)\n", capsys.readouterr().err
    ).groups()
    prices = np.loadtxt(houses, delimiter=",", skiprows=1)[:, 2]
    assert 1 - (float(rms) / prices.std()) ** 2 == pytest.approx(float(r2), abs=1e-4)


def test_the_answers_are_not_written_over_model_or_data(flowers, capsys, tmp_path):
    assert main(["train", str(flowers), "--no-pictures", "--epochs", "1", "--quiet"]) == 0
    model = tmp_path / "npnn-output" / "model.safetensors"
    (tmp_path / "link.csv").symlink_to(flowers)
    before = model.read_bytes(), flowers.read_bytes()
    for output, name in (
        (str(model), "MODEL"),
        ("npnn-output/../npnn-output/model.safetensors", "MODEL"),
        ("flowers.csv", "DATA"),
        ("link.csv", "DATA"),
    ):
        arguments = ["predict", str(model), str(flowers), "--output", output]
        assert f"argument --output: {output} is the file of {name}" in error_of(capsys, *arguments)
    assert (model.read_bytes(), flowers.read_bytes()) == before
    data = tmp_path / "npnn-output" / "history.csv"
    data.write_bytes(flowers.read_bytes())
    assert "would be overwritten by history.csv" in error_of(capsys, "train", str(data))
    assert data.read_bytes() == flowers.read_bytes()


def test_a_minus_as_output_is_stdout(flowers, capsys, tmp_path):
    assert main(["train", str(flowers), "--no-pictures", "--epochs", "1", "--quiet"]) == 0
    assert main(["predict", "npnn-output/model.safetensors", str(flowers), "--output", "-"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], len(lines)) == ("class,probability", 61)
    assert not (tmp_path / "-").exists()


def test_results_of_an_earlier_training_do_not_stay(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    folder = tmp_path / "npnn-output"
    folder.mkdir()
    (folder / "boundary.png").write_text("mine")
    assert main(["train", "noisy-linear", "--epochs", "1", "--quiet"]) == 0
    assert (folder / "boundary.png").exists()  # nothing says that it was of an earlier training
    assert main(["train", "xor-two-classes", "--epochs", "2"]) == 0
    assert "removed, of an earlier training: regression.png\n" in capsys.readouterr().out
    assert {path.name for path in folder.glob("*.png")} == {
        "boundary.png",
        "confusion.png",
        "curves.png",
    }
    assert main([*XOR, "--resume", "--epochs", "3"]) == 0
    assert (folder / "boundary.png").exists()
    assert main([*XOR, "--epochs", "1"]) == 0
    assert not list(folder.glob("*.png"))


# Going on --------------------------------------------------------------------------------------


def test_resuming_gives_the_numbers_of_a_training_that_never_stopped(capsys):
    assert main([*XOR, "--epochs", "12", "--output", "whole", "--seed", "4"]) == 0
    assert main([*XOR, "--epochs", "5", "--output", "parts", "--seed", "4"]) == 0
    assert main(["train", "--no-pictures", "--resume", "--epochs", "12", "--output", "parts"]) == 0
    assert history("parts") == history("whole")
    whole, parts = (npnn.load(f"{name}/model.safetensors") for name in ("whole", "parts"))
    for name, array in whole.parameters().items():
        np.testing.assert_array_equal(array, parts.parameters()[name])


def test_a_table_is_resumed_with_its_units(houses):
    table = ["train", str(houses), "--no-pictures"]
    assert main([*table, "--epochs", "6", "--output", "whole"]) == 0
    assert main([*table, "--epochs", "3", "--output", "parts"]) == 0
    checkpoint = "parts/checkpoint.safetensors"
    resume = ["train", "--no-pictures", "--resume", checkpoint, "--epochs", "6", "--output", "more"]
    assert main(resume) == 0
    assert history("more") == history("whole")
    whole, more = (files.read(f"{name}/model.safetensors")[1] for name in ("whole", "more"))
    for name, array in whole.items():
        np.testing.assert_array_equal(array, more[name])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--hidden", "3"),
        ("--seed", "9"),
        ("--optimizer", "sgd"),
        ("--activation", "relu"),
    ],
)
def test_what_a_checkpoint_fixes_cannot_change(option, value, capsys):
    assert main([*XOR, "--epochs", "1", "--quiet"]) == 0
    message = error_of(capsys, *XOR, "--resume", option, value)
    assert f"argument {option}: the checkpoint was made with" in message


def test_a_resumed_training_says_what_is_wrong(capsys):
    assert "no model file" in error_of(capsys, *XOR, "--resume")
    npnn.Sequential([npnn.Dense(2, 2)], seed=0).save("mine.safetensors")
    message = error_of(capsys, *XOR, "--resume", "mine.safetensors")
    assert "mine.safetensors is not a checkpoint of npnn train" in message


def test_a_table_that_changed_is_not_gone_on_with(houses, capsys):
    table = ["train", str(houses), "--no-pictures"]
    assert main([*table, "--epochs", "3", "--quiet"]) == 0
    lines = houses.read_text().splitlines(keepends=True)
    before = files.read("npnn-output/checkpoint.safetensors")[1]
    for text, change in (
        (lines[:100], "99 rows and 2 inputs, and it had 200 rows and 2 inputs"),
        ([*lines[:-1], "0.1,0.1,7\n"], "other values"),
    ):
        houses.write_text("".join(text))
        message = error_of(capsys, *table, "--resume", "--epochs", "6")
        assert "is not what npnn-output/checkpoint.safetensors was trained on" in message
        assert f"it has now {change}; " in message
    after = files.read("npnn-output/checkpoint.safetensors")[1]
    assert all(np.array_equal(after[name], array) for name, array in before.items())
    houses.write_text("".join(lines))
    assert main([*table, "--resume", "--epochs", "4", "--quiet"]) == 0


def test_epochs_that_were_done_already_are_not_done_again(capsys, tmp_path):
    assert main([*XOR, "--epochs", "7", "--quiet"]) == 0
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "npnn-output").iterdir()}
    already = "npnn-output/checkpoint.safetensors has already 7 epochs; ask for more with --epochs"
    for epochs in ("3", "7"):
        message = error_of(capsys, *XOR, "--resume", "--epochs", epochs)
        assert message == f"npnn: error: argument --epochs: {already}"
    assert main([*XOR, "--resume"]) == 0
    assert capsys.readouterr().out == f"{already}\n"
    assert written == {p: p.stat().st_mtime_ns for p in (tmp_path / "npnn-output").iterdir()}


def test_ctrl_c_saves_what_there_is(monkeypatch, capsys, tmp_path):
    def interrupt(self, training):
        if training.epoch == 4:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(outputs.SaveNowAndThen, "on_batch_end", interrupt)
    assert main([*XOR, "--epochs", "12", "--seed", "4", "--output", "parts"]) == 130
    out, err = capsys.readouterr()
    assert err == "npnn: interrupted after 3 of 12 epochs\n"
    assert "parts/model.safetensors" in out
    assert len(history("parts")) == 3
    assert npnn.load("parts/model.safetensors").shape_in == (2,)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--resume", "--no-pictures", "--output", "parts"]) == 0
    assert main([*XOR, "--epochs", "12", "--seed", "4", "--output", "whole"]) == 0
    assert history("parts") == history("whole")


def test_ctrl_c_before_the_first_epoch_is_over_is_no_error(monkeypatch, capsys):
    def interrupt(self, training):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(outputs.SaveNowAndThen, "on_batch_end", interrupt)
    assert main(["train", "xor-two-classes"]) == 130
    out, err = capsys.readouterr()
    assert "interrupted after 0 of 60 epochs" in err
    assert "npnn-output/model.safetensors" in out
    assert "history.csv" not in out


def test_ctrl_c_outside_of_training_ends_with_130(monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "dataset_of", interrupt)
    assert main(XOR) == 130
    assert capsys.readouterr().err == "npnn: interrupted\n"


# info ------------------------------------------------------------------------------------------


@pytest.mark.gpu
def test_info_lists_versions_and_backends(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert f"npnn {npnn.__version__}" in out
    assert f"numpy {np.__version__}" in out
    for name, found in npnn.backends.available().items():
        (line,) = [line for line in out.splitlines() if line.split()[:1] == [name]][-1:]
        assert (", ".join(found["devices"]) if found["works"] else found["reason"]) in line


def test_info_describes_a_model(flowers, capsys):
    assert main(["train", str(flowers), "--no-pictures", "--epochs", "2", "--seed", "7"]) == 0
    capsys.readouterr()
    assert main(["info", "npnn-output/model.safetensors"]) == 0
    out = capsys.readouterr().out
    for text in (
        "Dense(4, 128)",
        "'daisy', 'rose, red'",
        "'length', 'colour'",
        "'kind'",
        "seed 7",
        "Softmax",
    ):
        assert text in out
    assert main(["info", "npnn-output/checkpoint.safetensors"]) == 0
    assert "checkpoint after epoch 2" in capsys.readouterr().out


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"npnn {npnn.__version__}\n"
    for arguments in ([], ["--help"], ["train", "--help"], ["predict", "-h"], ["info", "-h"]):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert out.startswith("usage: npnn")
    assert main(["train", "--help"]) == 0
    out = capsys.readouterr().out
    for name in (*recipes.RECIPES, *recipes.ACTIVATIONS, *recipes.OPTIMIZERS):
        assert name in out


# Mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--epochs", "0"], "argument --epochs: must be a whole number, 1 or more"),
        (["train", "--epochs", "1.5"], "argument --epochs: must be a whole number"),
        (["train", "--batch-size", "-3"], "argument --batch-size: must be a whole number"),
        (["train", "--alpha", "nan"], "argument --alpha: must be a number above 0, not 'nan'"),
        (["train", "--alpha", "inf"], "argument --alpha"),
        (["train", "--alpha", "0"], "argument --alpha"),
        (["train", "--hidden", "12,x"], "argument --hidden: must be sizes such as 128,64"),
        (["train", "--hidden", "12,-1"], "argument --hidden"),
        (["train", "--activation", "foo"], "argument --activation: invalid choice: 'foo'"),
        (["train", "--optimizer", "foo"], "argument --optimizer: invalid choice: 'foo'"),
        (["train", "--backend", "foo"], "argument --backend: unknown backend 'foo'"),
        (["train", "--dtype", "int8"], "argument --dtype: invalid choice: 'int8'"),
        (["train", "--precision", "tf32"], "precision must be left out, or 'float32', for backend"),
        (["train", "--device", "cuda:9"], "device must be None or 'cpu' for backend 'numpy'"),
        (["train", "--seed", "-1"], "argument --seed"),
        (["train", "--target", "x"], "argument --target: is for files"),
        (["train", "--task", "binary"], "argument --task: is for files"),
        (["train", "--task", "foo"], "argument --task: invalid choice"),
        (["train", "--ignore", "x"], "argument --ignore: is for files"),
        (["train", "--ignore", "x,,y"], "argument --ignore: must be columns such as id,name"),
        (["train", "--header", "yes"], "argument --header: is for files"),
        (["train", "--header", "maybe"], "argument --header: invalid choice"),
        (["train", "--delimiter", "::"], "argument --delimiter: must be a single character"),
        (["train", "--decimal", ";"], "argument --decimal: invalid choice"),
        (["train", "--folder", "x"], "argument --folder: is for mnist and fashion-mnist"),
        (["train", "mnist", "--folder", "nowhere"], "'nowhere'"),
        (["train", "nowhere.csv"], "argument DATA: there is no file 'nowhere.csv'"),
        (["train", "--nonsense"], "--nonsense"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["predict", "nowhere", "x.csv"], "there is no model file nowhere"),
        (["info", "nowhere"], "there is no model file nowhere"),
        (["predict"], "MODEL, DATA"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_argument(arguments, message, capsys, tmp_path):
    assert message in error_of(capsys, *arguments)
    assert not (tmp_path / "npnn-output" / "model.safetensors").exists()


def test_a_backend_that_is_not_there_says_how_to_get_it(capsys):
    missing = [n for n, found in npnn.backends.available().items() if not found["works"]]
    if not missing:
        pytest.skip("every backend works here")
    assert "pip install" in error_of(capsys, "train", "--backend", missing[0])


def test_a_folder_that_cannot_be_written_is_said_before_training(capsys, monkeypatch, tmp_path):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setattr(npnn.Sequential, "fit", lambda *_, **__: pytest.fail("it trained"))
    for folder in ("taken", "taken/below"):
        message = error_of(capsys, *XOR, "--output", folder)
        assert f"argument --output: cannot write to '{folder}'" in message


def test_a_bad_table_says_where(capsys, tmp_path):
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n1,2,3\n4,5\n")
    message = error_of(capsys, "train", "bad.csv")
    assert "line 3: expected 2 cells like most lines, found 3" in message


def test_a_table_that_does_not_fit_the_model_is_refused(flowers, capsys, tmp_path):
    assert main(["train", str(flowers), "--epochs", "1", "--no-pictures", "--quiet"]) == 0
    (tmp_path / "other.csv").write_text("width,colour\n1,red\n")
    message = error_of(capsys, "predict", "npnn-output/model.safetensors", "other.csv")
    assert "lacks the feature column(s) 'length'" in message


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_divergence_is_one_line(capsys):
    arguments = ["train", "noisy-sine", "--no-pictures", "--optimizer", "gradient-descent"]
    assert main([*arguments, "--activation", "relu", "--alpha", "1e6", "--quiet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(r"npnn: error: the training loss became \S+ at epoch \d+, step \d+", line)


def test_debug_shows_where_an_error_came_from():
    with pytest.raises(ValueError, match="argument DATA"):
        main(["train", "nowhere.csv", "--debug"])


def test_what_no_one_expected_is_not_hidden(monkeypatch):
    def broken(*_):
        raise KeyError("a bug")

    monkeypatch.setattr(train, "dataset_of", broken)
    with pytest.raises(KeyError):
        main(XOR)


# As a process ----------------------------------------------------------------------------------


def run(*arguments):
    command = [sys.executable, "-m", "npnn", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def test_a_training_is_a_process_that_says_how_good_it_became():
    done = run(*XOR)
    assert (done.returncode, done.stderr) == (0, "")
    assert "accuracy" in done.stdout


def test_nothing_slow_is_imported_without_need():
    code = (
        "import sys\n"
        "from npnn.cli import main\n"
        "assert main(['train', 'xor-two-classes', '--no-pictures', '--quiet']) == 0\n"
        "slow = {'matplotlib', 'torch', 'jax', 'numba', 'tqdm', 'pooch', 'scipy', 'pandas'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_exit_codes_and_streams_of_the_process(tmp_path):
    done = run("train", "--epochs", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "npnn: error: argument --epochs: must be a whole number, 1 or more, not '0'\n"
    )


def test_a_reader_that_goes_away_is_no_error():
    npnn.Sequential([npnn.Dense(2, 1)], seed=0).save("m.safetensors")
    np.savez("x.npz", x=np.zeros((100_000, 2)))
    command = [sys.executable, "-m", "npnn", "predict", "m.safetensors", "x.npz"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""


def test_the_details_in_a_model_file_are_plain_json(flowers):
    assert main(["train", str(flowers), "--epochs", "1", "--no-pictures"]) == 0
    details = npnn.load("npnn-output/model.safetensors").details
    assert json.loads(json.dumps(details)) == details


def test_damaged_details_of_a_model_are_one_line(houses, capsys):
    assert main(["train", str(houses), "--epochs", "1", "--no-pictures"]) == 0
    capsys.readouterr()
    model = npnn.load("npnn-output/model.safetensors")
    whole = dict(model.details)
    for kind in ("schema", "run"):
        for damage in (7, [], {}, "x", {"offset": "a", "scale": []}, {"columns": [1]}):
            model.details = {**whole, kind: damage}
            model.save("damaged")
            for command in (["info", "damaged"], ["predict", "damaged", str(houses)]):
                code = main(command)
                out, err = capsys.readouterr()
                assert (code == 2) == err.startswith("npnn: error: "), (command, out, err)
            assert "is not a checkpoint" in error_of(capsys, "train", "--resume", "damaged")
